"""Who may write an area: our own lock, and the engine that may hold the data root."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from layerview.errors import LayerviewError
from layerview.store.durable import named
from layerview.text import printable

_ENGINE_FILES = (
    "volumes/metadata.db",
    "network/files/local-kv.db",
    "buildkit/*.db",
    "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
)
"""Databases (bbolt) that a live dockerd keeps locked with flock for as long as it runs."""
_PATIENCE = 2.0
"""Seconds of waiting for another process after which it is said."""


class AreaLock:
    """The lock that every writer of an area takes for as long as it changes something."""

    def __init__(self, path: str, waiting: Callable[[str], None]) -> None:
        """Name the lock.

        Args:
            path: the file; made when it is not there.
            waiting: told, once, whom we wait for.
        """
        self._path = path
        self._waiting = waiting
        self._fd = -1
        self._depth = 0

    @property
    def held(self) -> bool:
        """Whether this process holds it through this object."""
        return self._depth > 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock; it may be taken again inside."""
        if not self._depth:
            self._take()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                os.close(self._fd)
                self._fd = -1

    def _take(self) -> None:
        with named(self._path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
        started, said, pause = time.monotonic(), False, 0.002
        try:
            while not flock(self._fd, fcntl.LOCK_EX):
                if not said and time.monotonic() - started > _PATIENCE:
                    said = True
                    self._waiting(f"waiting for {holder(self._fd)}, which writes the same area")
                time.sleep(pause)
                pause = min(pause * 1.5, 0.1)
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise


def flock(fd: int, how: int) -> bool:
    """Take a lock without waiting; False when another process holds it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def undisturbed(root: str) -> Iterator[None]:
    """Have our own writers change nothing in an area for a moment; go on where that can't be had.

    What is read meanwhile is of one moment: they change records under this lock alone.
    """
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(os.path.join(root, "layerview", "lock"), flags)
    except OSError:
        yield
        return
    try:
        until = time.monotonic() + _PATIENCE
        while not flock(fd, fcntl.LOCK_SH) and time.monotonic() < until:
            time.sleep(0.002)
        yield
    finally:
        os.close(fd)


def holder(fd: int) -> str:
    """Say which process holds a lock on an open file, as well as can be known."""
    pid = holding_process(fd)
    return process_name(pid) if pid else "another process"


def holding_process(fd: int) -> int:
    """Return the process that holds a lock on an open file; 0 where it can't be seen from here."""
    # /proc/locks (proc(5)): "1: FLOCK ADVISORY WRITE 708 08:01:13 0 EOF"; hexadecimal device.
    inode = os.fstat(fd).st_ino
    wanted = {f"{major:02x}:{minor:02x}:{inode}" for major, minor in _devices(fd)}
    with suppress(OSError), open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if "FLOCK" not in words or "->" in words:
                continue
            found = wanted.intersection(words)
            if not found:
                continue
            pid = words[words.index(found.pop()) - 1]
            if pid.isdecimal() and int(pid):
                return int(pid)
    return 0


def _devices(fd: int) -> set[tuple[int, int]]:
    """Return the numbers that the device of an open file goes by."""
    device = os.fstat(fd).st_dev
    found = {(os.major(device), os.minor(device))}
    # A subvolume of btrfs has a number of its own, which but files' states tell.
    with suppress(OSError, ValueError), open(f"/proc/self/fdinfo/{fd}") as info:
        mount = next((line.split()[1] for line in info if line.startswith("mnt_id:")), "")
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                words = line.split(b" ", 3)
                if words[0] == mount.encode():
                    major, minor = words[2].split(b":")
                    found.add((int(major), int(minor)))
    return found


def process_name(pid: int) -> str:
    """Name a process for people."""
    with suppress(OSError), open(f"/proc/{pid}/comm") as name:
        return f"process {pid} ({printable(name.read().strip())})"
    return f"process {pid}"


@contextmanager
def without_engine(root: str, *, lasting: bool = False) -> Iterator[list[int]]:
    """Keep engines from a data root for a while: a dockerd that starts meanwhile gives up.

    Args:
        root: the data root.
        lasting: also where no engine was yet, so that there is no database to hold: an empty one
            is made, which is as good as none to an engine.

    Yields:
        The descriptors that keep them away, for a process that goes on with it.

    Raises:
        LayerviewError: when a live engine holds it; the process is named.
    """
    kept: list[int] = []
    if lasting:
        _make_database(root)
    try:
        for path in engine_databases(root):
            fd = _open_database(path)
            if fd is None:
                continue
            kept.append(fd)
            if not flock(fd, fcntl.LOCK_SH):
                raise LayerviewError(
                    f"{printable(root)} is in use by {holder(fd)}; stop it first,"
                    " or name another area with --root"
                )
        yield kept
    finally:
        for fd in kept:
            os.close(fd)


def _make_database(root: str) -> None:
    path = os.path.join(root, _ENGINE_FILES[0])
    if os.path.lexists(path):
        return
    folder = os.path.dirname(path)
    with named(path):
        if not os.path.isdir(folder):
            os.mkdir(folder)
            os.chmod(folder, 0o701)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def engine_databases(root: str) -> list[str]:
    """Return the paths that a live engine's databases have below a data root."""
    return [path for pattern in _ENGINE_FILES for path in matching(root, pattern)]


def matching(root: str, pattern: str) -> list[str]:
    """Return the paths that a pattern means, whose `*` stands for the start of a file's name."""
    folder, _, name = pattern.rpartition("/")
    place = os.path.join(root, folder)
    if not name.startswith("*"):
        return [os.path.join(place, name)]
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return []
    return [os.path.join(place, each) for each in names if each.endswith(name[1:])]


def live_engine(root: str) -> str | None:
    """Name the engine that holds a data root; None when there is none."""
    try:
        with without_engine(root):
            return None
    except LayerviewError as error:
        return str(error)


def _open_database(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None  # not ours to read, so not ours to write either: that will be said
