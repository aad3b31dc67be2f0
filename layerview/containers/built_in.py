"""A container opened without a process of its own: its layers in this one, nothing mounted.

The container counts as running meanwhile, and this process as its first one: its lock is held, and
`ps`, `rm`, `stop` and `watch` take it as they take all others.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from layerview.containers.content import open_union
from layerview.containers.exit_record import record_exit
from layerview.containers.mounting import planned_binds
from layerview.errors import LayerviewError
from layerview.store.containers import complete, container_lock, folder_of, note_start
from layerview.store.liveness import boot_id, now, start_time
from layerview.store.locks import without_engine
from layerview.text import printable
from layerview.unionfs.shell.places import Tree
from layerview.unionfs.union import Caller

if TYPE_CHECKING:
    from layerview.containers.life import Containers
    from layerview.containers.plan import Bind
    from layerview.store.data_root import ContainerRecord
    from layerview.unionfs.shell.telling import Telling

DRIVER = "aufs"
"""The driver whose layers the union reads and writes as they lie there."""


class BuiltIn:
    """An open container."""

    def __init__(self, tree: Tree, workdir: bytes, home: bytes) -> None:
        """Use `open_built_in`."""
        self.tree = tree
        self.workdir = workdir
        self.home = home
        self.exit_code = 0
        """What the container's end is recorded with."""


@contextmanager
def open_built_in(containers: Containers, word: str) -> Iterator[BuiltIn]:
    """Open a container that does not run.

    Args:
        containers: of the area.
        word: names it.

    Raises:
        NotFoundError: when there is none.
        LayerviewError: when it runs, is of another driver, or can't be opened.
    """
    begun = time.perf_counter_ns()
    record = containers.find(word)
    called = printable(record.name) or record.id[:12]
    if record.driver != DRIVER:
        raise LayerviewError(
            f"container {called} is of driver {record.driver}: the built-in shell opens those of"
            f" {DRIVER}; layerview create --driver {DRIVER} makes one"
        )
    runs = f"container {called} runs already; layerview exec enters it"
    if record.running:
        raise LayerviewError(runs)
    lock = container_lock(containers.area, record.id)
    if lock is None:
        raise LayerviewError(runs)
    with ExitStack() as held:
        held.callback(os.close, lock)
        held.callback(os.ftruncate, lock, 0)
        held.enter_context(without_engine(containers.area.root, lasting=True))
        opened = _open(containers, record, held)
        _note_start(containers, record, lock, time.perf_counter_ns() - begun)
        try:
            yield opened
        finally:
            _note_end(containers, record, opened.exit_code)


def _open(containers: Containers, record: ContainerRecord, held: ExitStack) -> BuiltIn:
    document = containers.document(record)
    config = document.inner("Config")
    host = containers.area.data.host_config(record.id)
    network = "host" if host.optional_text("NetworkMode") == "host" else "none"
    complete(containers.area, record.id, document, network)
    from layerview.drivers.aufs import Aufs
    from layerview.drivers.layered import shown_below

    driver = Aufs(containers.area.root)
    layers = (record.mount_id, *shown_below(driver, record.mount_id))
    telling = _tell(driver.steps_of(record.mount_id), held)
    report = telling.tell if telling is not None else None
    union = open_union([driver.layer_folder(each) for each in layers], held, report=report)
    if telling is not None:
        telling.follow(union)
    by = Caller(os.geteuid(), os.getegid(), os.getpid())
    binds = planned_binds(folder_of(containers.area, record.id), document)
    tree = Tree(union, by=by)
    for bind in binds:
        _mount(tree, bind, held)
    home = "/root" if not config.optional_text("User") else "/"
    for variable in config.texts("Env"):
        if variable.startswith("HOME="):
            home = variable[5:]
    return BuiltIn(tree, os.fsencode(config.optional_text("WorkingDir") or "/"), os.fsencode(home))


def _tell(path: str, held: ExitStack) -> Telling | None:
    """Have a socket where the union's steps are told; None where there can't be one."""
    from layerview.unionfs.shell.telling import Telling

    folder = os.path.dirname(path)
    try:
        with suppress(FileExistsError):
            os.makedirs(folder, 0o700)
        telling = Telling(path)
    except (OSError, AttributeError):
        # On other systems than Linux.
        return None
    held.callback(_remove_folder, folder)
    held.callback(telling.close)
    return telling


def _remove_folder(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _mount(tree: Tree, bind: Bind, held: ExitStack) -> None:
    """Show a volume, a bind mount or a file of /etc in the tree."""
    target = os.fsencode(bind.target)
    if bind.kind == "tmpfs":
        import tempfile

        source = held.enter_context(tempfile.TemporaryDirectory())
    else:
        source = os.path.realpath(bind.source)
    is_folder = stat.S_ISDIR(os.stat(source).st_mode)
    place = source if is_folder else os.path.dirname(source)
    union = open_union([place], held, writable=not bind.read_only)
    node = (
        union.root if is_folder else union.lookup(union.root, os.fsencode(os.path.basename(source)))
    )
    tree.mount(target, union, node)


def _note_start(containers: Containers, record: ContainerRecord, lock: int, took: int) -> None:
    own = os.getpid()
    start = start_time(own)
    if start is None:
        # No /proc, so nobody could tell whether this process lives.
        return
    says = {
        "shim": own,
        "shim_start": start,
        "pid": own,
        "pid_start": start,
        "boot": boot_id(),
        "started": now(),
    }
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(says).encode() + b"\n", 0)
    note_start(containers.area, record.id, own, took)


def _note_end(containers: Containers, record: ContainerRecord, code: int) -> None:
    with suppress(OSError):
        folder = os.open(folder_of(containers.area, record.id), os.O_RDONLY | os.O_DIRECTORY)
        try:
            record_exit(folder, code, volatile=False)
        finally:
            os.close(folder)
