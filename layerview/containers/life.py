"""A container's life: created from an image, started, looked at, stopped, committed, removed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from layerview.containers.names import check_name, new_id, random_name
from layerview.containers.plan import ExecPlan, Options, Plan, Started, StartError
from layerview.containers.spec import DEFAULT_STOP_SIGNAL, environment, settle, signal_number
from layerview.errors import LayerviewError, NotFoundError
from layerview.oci.fields import Fields
from layerview.progress import QUIET, Progress
from layerview.records import Record
from layerview.store.containers import (
    ContainerRuns,
    NameInUse,
    NewContainer,
    complete,
    container_lock,
    folder_of,
    note_failure,
    note_start,
    read_lock,
    run_folder,
)
from layerview.store.finding import find
from layerview.store.liveness import kill
from layerview.store.locks import without_engine
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.containers import sockets
    from layerview.containers.log import Line
    from layerview.containers.talk import Attached, Exec, Shim
    from layerview.drivers.base import Driver
    from layerview.layer.tree_changes import Change
    from layerview.oci.digest import Digest
    from layerview.oci.reference import Reference
    from layerview.store.area import Area
    from layerview.store.data_root import ContainerRecord, ImageRecord

PATIENCE = 10
"""Seconds that a container has to end by itself, as in Docker."""
_NAMES = 6
"""Names that are made up before a number is put behind one."""


class Created(Record):
    """A container that was made."""

    id: str
    name: str
    driver: str
    allocated: int
    """Bytes that its two layers took on the disk at once."""
    notes: Sequence[str] = ()


class Removed(Record):
    """What went with a container, and what stayed."""

    id: str
    volumes: Sequence[str] = ()
    kept: Sequence[str] = ()
    """Names of volumes that it used, and that stay."""


class Containers:
    """The containers of an area. Who uses it is root, if only of a user namespace."""

    def __init__(self, area: Area, say: Callable[[str], None] = lambda message: None) -> None:
        """Look after an area's containers.

        Args:
            area: the area.
            say: told what a person should know, a line each.
        """
        self.area = area
        self._say = say
        self._drivers: dict[str, Driver] = {}

    # -- finding ------------------------------------------------------------------------------

    def find(self, word: str) -> ContainerRecord:
        """Find a container by its name, its ID, or the first digits of that.

        Raises:
            NotFoundError: when there is none.
            UsageError: when several IDs begin so.
        """
        return self.area.data.container(word)

    def document(self, record: ContainerRecord) -> Fields:
        """Return what config.v2.json says.

        Raises:
            LayerviewError: when it can't be read.
        """
        return record.document or self.area.data.container_document(record.id)

    def _driver(self, name: str) -> Driver:
        if name not in self._drivers:
            from layerview.drivers.by_name import make_driver

            self._drivers[name] = make_driver(name, self.area.root)
        return self._drivers[name]

    # -- creating -----------------------------------------------------------------------------

    def create(self, image: str, options: Options, *, record: ImageRecord | None = None) -> Created:
        """Make a container of an image of the area, with a thin layer of its own.

        Args:
            image: a name, an ID, or the first digits of that.
            options: what else is asked for.
            record: the image's, where the caller has looked it up just now.

        Raises:
            NotFoundError: when there is no such image.
            StartError: when there is nothing to run.
            UsageError: when an option makes no sense.
            LayerviewError: when it can't be made; nothing of it stays.
        """
        from layerview.containers.init_layer import fill
        from layerview.containers.mounting import Mounts

        runtime = "layerview"
        if options.runtime or os.environ.get("LAYERVIEW_RUNTIME"):
            from layerview.containers.runtimes import choose_runtime

            runtime = choose_runtime(self.area.own, options.runtime)
        with self.area.writing(self._say) as writing:
            if record is None:
                record = find(self.area.data, image, options.driver).record
            id = new_id()
            settings = settle(record.config, image, id, options)
            driver = writing.driver(record.driver)
            self._drivers[record.driver] = driver
            parent = record.chain_ids[-1] if record.chain_ids else None
            below = (
                self.area.data.layer(record.driver, parent).cache_id if parent is not None else None
            )
            mounts = Mounts(self.area, settings.mounts)
            name = check_name(options.name) if options.name else ""
            new = NewContainer(
                id=id,
                name=name,
                driver=record.driver,
                image_id=record.image_id,
                parent=parent,
                mount_id=os.urandom(32).hex(),
                path=settings.path,
                args=settings.args,
                config=settings.config,
                mount_points=mounts.points,
                binds=mounts.binds,
                network=options.network,
                auto_remove=options.auto_remove,
                runtime=runtime,
            )
            for attempt in range(_NAMES + 1):
                if not options.name:
                    number = None if attempt < _NAMES else int.from_bytes(os.urandom(2), "little")
                    new = new._replace(name=random_name(number))
                try:
                    with writing.new_container(new) as making:
                        mounts.make()
                        fill(driver, making.init_id, below)
                        driver.create_writable(new.mount_id, making.init_id)
                        mounts.fill(driver, new.mount_id)
                        allocated = _allocated(driver, (new.mount_id, making.init_id))
                        making.note("allocated", allocated)
                    break
                except NameInUse:
                    if options.name or attempt == _NAMES:
                        raise
            return Created(id, new.name, record.driver, allocated, list(writing.notes))

    # -- starting -----------------------------------------------------------------------------

    def start(
        self,
        id: str,
        *,
        client: sockets.socket | None = None,
        rows: int = 0,
        columns: int = 0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Started:
        """Start a container that does not run.

        Args:
            id: whole.
            client: one end of a pair of sockets; the other one is attached from the first byte on.
            rows: of the terminal, where it has one.
            columns: of the same.
            meanwhile: called while the container is put together.

        Raises:
            StartError: when it was not started, with the exit status that `docker run` would have.
            LayerviewError: when it runs already, or its records can't be read.
        """
        record = self.find(id)
        lock = container_lock(self.area, record.id)
        if lock is None:
            raise LayerviewError(f"container {_called(record)} runs already")
        try:
            with without_engine(self.area.root, lasting=True) as engines:
                document = self.document(record)
                plan = self._plan(record, document, rows, columns)
                return self._launch(record, plan, lock, engines, client, meanwhile)
        finally:
            os.close(lock)

    def _launch(
        self,
        record: ContainerRecord,
        plan: Plan,
        lock: int,
        engines: Sequence[int],
        client: sockets.socket | None,
        meanwhile: Callable[[], None],
    ) -> Started:
        from layerview.containers.launch import launch

        driver = self._driver(record.driver)
        fd = client.fileno() if client is not None else -1
        try:
            started = launch(plan, driver, lock=lock, keep=engines, client=fd, meanwhile=meanwhile)
        except StartError as error:
            with suppress(LayerviewError):
                note_failure(self.area, record.id, error.code, str(error))
            raise
        # A short one may have ended, or be gone, by now.
        with suppress(NotFoundError):
            sync = not plan.volatile
            note_start(self.area, record.id, started.pid, started.nanoseconds, sync=sync)
        return started

    def _plan(self, record: ContainerRecord, document: Fields, rows: int, columns: int) -> Plan:
        from layerview.containers.mounting import planned_binds

        folder = folder_of(self.area, record.id)
        config = document.inner("Config")
        host = self.area.data.host_config(record.id)
        hostname = config.optional_text("Hostname") or record.id[:12]
        remove = host.flag("AutoRemove")
        network = "host" if host.optional_text("NetworkMode") == "host" else "none"
        complete(self.area, record.id, document, network)
        return Plan(
            id=record.id,
            folder=folder,
            run=run_folder(self.area, record.id),
            mount_id=record.mount_id,
            log=os.path.join(folder, f"{record.id}-json.log"),
            args=(document.text("Path"), *document.texts("Args")),
            env=environment(document.mapping("Config"), hostname),
            cwd=config.optional_text("WorkingDir") or "/",
            user=config.optional_text("User") or "",
            hostname=hostname,
            tty=config.flag("Tty"),
            rows=rows,
            columns=columns,
            open_stdin=config.flag("OpenStdin"),
            stdin_once=config.flag("StdinOnce"),
            binds=planned_binds(folder, document),
            network=network,
            runtime=self.area.data.container_notes(record.id).optional_text("runtime")
            or "layerview",
            remove=self._removal(record.id) if remove else (),
            volatile=remove,
        )

    def _removal(self, id: str) -> tuple[str, ...]:
        return (
            *(sys.executable, "-P", "-m", "layerview", "rm", "--force", "--volumes"),
            *("--root", self.area.root, id),
        )

    # -- talking to one that runs -------------------------------------------------------------

    @contextmanager
    def _shim(self, record: ContainerRecord) -> Iterator[Shim]:
        from layerview.containers.talk import connect

        with connect(run_folder(self.area, record.id)) as shim:
            yield shim

    def attach(self, id: str, *, stdin: bool = True) -> Attached:
        """Take part in a running container's input and output; see talk.Attached.

        Raises:
            LayerviewError: when it does not run.
        """
        from layerview.containers.talk import connect

        record = self._running(id)
        return connect(run_folder(self.area, record.id)).attach(stdin)

    def resize(self, id: str, rows: int, columns: int) -> None:
        """Tell a running container's terminal its size."""
        with self._shim(self.find(id)) as shim:
            shim.resize(rows, columns)

    def exec(
        self,
        id: str,
        args: Sequence[str],
        *,
        env: Sequence[str] = (),
        workdir: str = "",
        user: str = "",
        tty: bool = False,
        rows: int = 0,
        columns: int = 0,
        stdio: tuple[int, int, int] | None = None,
    ) -> Exec:
        """Run a command in a running container; see talk.Exec.

        Args:
            id: the container's, or a word for it.
            args: program and arguments.
            env: above the container's.
            workdir: the container's when left out.
            user: the container's when left out.
            tty: give it a terminal of its own, whose master comes with the answer.
            rows: of that.
            columns: of that.
            stdio: descriptors of its input, output and errors where it has no terminal.

        Raises:
            StartError: when it was not started.
            LayerviewError: when the container does not run.
        """
        from layerview.containers.talk import connect

        record = self._running(id)
        document = self.document(record)
        config = document.inner("Config")
        settings: dict[str, object] = {
            "Env": [*config.texts("Env"), *env],
            "Tty": tty,
        }
        plan = ExecPlan(
            args=tuple(args),
            env=environment(settings, config.optional_text("Hostname") or record.id[:12]),
            cwd=workdir or config.optional_text("WorkingDir") or "/",
            user=user or config.optional_text("User") or "",
            tty=tty,
            rows=rows,
            columns=columns,
        )
        return connect(run_folder(self.area, record.id)).exec(plan, stdio)

    def _running(self, word: str) -> ContainerRecord:
        record = self.find(word)
        if not record.running:
            raise LayerviewError(f"container {_called(record)} does not run")
        return record

    # -- ending -------------------------------------------------------------------------------

    def kill(self, word: str, number: int = signal.SIGKILL) -> ContainerRecord:
        """Send a running container's first process a signal.

        Raises:
            LayerviewError: when it does not run.
        """
        record = self._running(word)
        self._signal(record, number)
        return record

    def _signal(self, record: ContainerRecord, number: int) -> None:
        try:
            with self._shim(record) as shim:
                shim.signal(number)
        except LayerviewError as error:
            # Nobody answers: the socket was cleared away, the shim hangs, or it is ending just now.
            holder = read_lock(self.area, record.id)
            if number == signal.SIGKILL:
                self._end(record.id)
            elif holder is not None and holder.pid == holder.shim:
                # The built-in shell, which is its own keeper.
                if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    kill(holder.pid, holder.pid_start, number)
            elif not isinstance(error, NotFoundError):
                raise

    def stop(self, word: str, patience: float | None = None) -> ContainerRecord:
        """Ask a container to end by its stop signal; after a while it is killed.

        Args:
            word: names it.
            patience: seconds; None: as its config has it, else 10.

        Raises:
            LayerviewError: when it can't be stopped.
        """
        record = self.find(word)
        if not record.running:
            return record
        config = self.document(record).inner("Config")
        if patience is None:
            asked = config.get("StopTimeout")
            patience = asked if isinstance(asked, int) else PATIENCE
        name = config.optional_text("StopSignal") or DEFAULT_STOP_SIGNAL
        self._signal(record, signal_number(name))
        if not self._gone(record.id, patience):
            self._signal(record, signal.SIGKILL)
            if not self._gone(record.id, PATIENCE):
                self._end(record.id)
        return record

    def _gone(self, id: str, patience: float) -> bool:
        """Wait until nothing of a container lives; whether it came to that in time."""
        end, pause = time.monotonic() + patience, 0.001
        while True:
            lock = container_lock(self.area, id)
            if lock is not None:
                os.close(lock)
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def _end(self, id: str) -> None:
        """Kill a container's shim, which takes all its processes and mounts with it."""
        holder = read_lock(self.area, id)
        if holder is not None and holder.shim_lives:
            # The first process too: while a program in there has the kernel fill the shim's pipe
            # from a terminal (sendfile), the kernel lets the shim end no earlier than that.
            for pid, start in (
                (holder.pid, holder.pid_start),
                (holder.shim, holder.shim_start),
            ):
                kill(pid, start)
        if not self._gone(id, PATIENCE):
            raise LayerviewError(f"container {id[:12]} does not end; its processes hang")

    def wait(self, word: str) -> int:
        """Wait until a container has ended; return its exit status."""
        record = self.find(word)
        if record.running:
            try:
                with self._shim(record) as shim:
                    return shim.wait()
            except NotFoundError:
                while not self._gone(record.id, 3600):
                    pass
            record = self.find(record.id)
        return record.exit_code or 0

    def remove(self, word: str, *, force: bool = False, volumes: bool = False) -> Removed:
        """Remove a container with its layer.

        Args:
            word: names it.
            force: kill it first when it runs.
            volumes: remove its anonymous volumes as well, as far as no other container has them.

        Raises:
            LayerviewError: when it runs, or can't be removed.
        """
        try:
            record = self.find(word)
        except NotFoundError as error:
            try:
                record = self.area.data.remains(word)  # its records may be damaged
            except NotFoundError:
                raise error from None
        if record.running:
            if not force:
                raise LayerviewError(
                    f"container {_called(record)} runs; stop it first, or use --force"
                )
            self._signal(record, signal.SIGKILL)
            if not self._gone(record.id, PATIENCE):
                self._end(record.id)
        with self.area.writing(self._say) as writing:
            gone = writing.remove_container(record.id, volumes=volumes)
        return Removed(record.id, gone, [name for name in record.volumes if name not in gone])

    def clear(self, id: str) -> None:
        """Remove a container that has ended, with its volumes without a name.

        Args:
            id: whole.

        Raises:
            LayerviewError: when it can't be removed.
        """
        try:
            with self.area.writing(self._say) as writing:
                writing.remove_container(id, volumes=True)
        except ContainerRuns:
            # Its first process has ended, and something of it lives.
            self.remove(id, force=True, volumes=True)

    # -- looking and changing -----------------------------------------------------------------

    def rename(self, word: str, name: str) -> None:
        """Give a container another name.

        Raises:
            UsageError: when it is no name.
            NameInUse: when another container has it.
        """
        record = self.find(word)
        with self.area.writing(self._say) as writing:
            writing.rename_container(record.id, check_name(name))

    def changes(self, word: str) -> list[Change]:
        """Say what a container changed of its image, as `docker diff` does."""
        record = self.find(word)
        return self._driver(record.driver).changes(record.mount_id, record.init_id or None)

    def commit(
        self,
        word: str,
        *,
        reference: Reference | None = None,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        progress: Progress = QUIET,
    ) -> Digest:
        """Make an image of what a container changed; see committing.commit."""
        from layerview.containers.committing import commit

        record = self.find(word)
        with self.area.writing(self._say) as writing:
            base = self.area.data.image(str(record.image_id), record.driver)
            return commit(
                writing,
                record,
                self.document(record).values(),
                base,
                reference=reference,
                author=author,
                message=message,
                changes=changes,
                progress=progress,
            )

    def logs(
        self,
        word: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Iterator[Line]:
        """Yield what a container wrote; see log.read."""
        from layerview.containers.log import read

        record = self.find(word)
        path = os.path.join(folder_of(self.area, record.id), f"{record.id}-json.log")
        lives = (lambda: not self._gone(record.id, 0)) if follow else None
        return read(path, tail=tail, since=since, until=until, lives=lives)


def _called(record: ContainerRecord) -> str:
    return printable(record.name) or record.id[:12]


def _allocated(driver: Driver, ids: Sequence[str]) -> int:
    """Sum the bytes that layers' own folders take on the disk, each inode once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for id in ids:
        waiting = [os.fsencode(driver.layer_folder(id))]
        while waiting:
            folder = waiting.pop()
            total += os.lstat(folder).st_blocks * 512
            with os.scandir(folder) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    state = entry.stat(follow_symlinks=False)
                    if state.st_nlink > 1:
                        if (state.st_dev, state.st_ino) in seen:
                            continue
                        seen.add((state.st_dev, state.st_ino))
                    total += state.st_blocks * 512
    return total
