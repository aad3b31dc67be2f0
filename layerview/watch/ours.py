"""The containers of a storage area, or of a Docker data root that is read in place."""

from __future__ import annotations

import os

from layerview.errors import LayerviewError, NotFoundError
from layerview.store.area import Area, is_own
from layerview.store.containers import lives
from layerview.store.data_root import ContainerRecord, DataRoot
from layerview.store.inventory import is_active
from layerview.text import printable
from layerview.watch.data_roots import recorded_target
from layerview.watch.running import first_process
from layerview.watch.target import Target


def find(word: str, root: str) -> Target:
    """Find a container in an area or a data root by its name, its ID, or the ID's first digits.

    Raises:
        NotFoundError: when there is none, or the folder can't be read.
        UsageError: when several IDs begin so.
        LayerviewError: when it can't be watched.
    """
    data = open_root(root)
    return target_of(data, data.container(word))


def running(root: str) -> list[Target]:
    """List what runs there; what can't be read is left out."""
    data = open_root(root)
    found = []
    for record in data.containers([]):
        if is_active(record):
            try:
                found.append(target_of(data, record))
            except LayerviewError:
                continue
    return found


def open_root(root: str) -> DataRoot:
    """Open an area or a data root.

    Raises:
        NotFoundError: when it is not there, or may not be read.
        FormatError: when it is none.
    """
    try:
        os.stat(os.path.join(root, "image"))
    except PermissionError:
        raise NotFoundError(f"{printable(root)}: permission denied; use sudo") from None
    except FileNotFoundError:
        if not os.path.lexists(root):
            raise NotFoundError(f"{printable(root)}: no such folder") from None
    except OSError:
        pass  # DataRoot says what is wrong
    return DataRoot(root)


def target_of(data: DataRoot, record: ContainerRecord) -> Target:
    """Return what can be watched of a container; see `recorded_target`."""
    own = os.path.join(data.path, "layerview")
    pid: int | None = record.pid if is_active(record) and record.pid else None
    if not is_own(own):
        return recorded_target(
            data, record, engine="docker", pid=first_process(record.id, pid) if pid else None
        )
    ours = lives(Area(data.path, None), record.id)
    if pid is not None and not ours:
        # An engine was started on the area, and counts in its own way.
        pid = first_process(record.id, pid)
    steps = None
    if record.driver == "aufs":
        from layerview.drivers.aufs import Aufs

        steps = Aufs(data.path).steps_of(record.mount_id)
    return recorded_target(
        data,
        record,
        engine="layerview" if ours or pid is None else "docker",
        pid=pid,
        steps=steps,
    )
