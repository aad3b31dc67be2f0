"""What trees take on the disk, as `du` counts: blocks, folders too, each inode once."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from layerview.errors import Cancelled
from layerview.layer.beneath import OPEN_FOLDER, open_beneath
from layerview.layer.folder_figures import GONE, FolderFigures
from layerview.store.foreign_mounts import ForeignMounts
from layerview.text import printable

LEFT_OUT = "a mount, left out"
"""How the problems end that are none: what is mounted is not the tree's."""
MOST_PROBLEMS = 100
"""Lines that a meter keeps; what else it could not read, it counts only."""
_HELD = 64
"""Folders on the way down that are held open; those above are found again by `..`."""


_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


class Size(NamedTuple):
    """What a tree takes."""

    bytes: int
    """Allocated, the tree's own folder included."""
    entries: int
    unread: int
    """Entries that could not be looked at, or into."""


class Child(NamedTuple):
    """An entry of a folder, with all below it."""

    name: bytes
    kind: str
    """"folder", "file", "link", "device", "pipe", "socket" or, left out, "mount"."""
    size: Size


def never() -> bool:
    """Never stop."""
    return False


class _Level:
    """A folder on the way down: its descriptor, or how to know it again, and what waits in it."""

    __slots__ = ("fd", "identity", "name", "waiting")

    def __init__(self, name: bytes, fd: int, waiting: list[bytes]) -> None:
        self.name = name
        self.fd = fd
        self.identity = (0, 0)
        self.waiting = waiting


class Meter:
    """Measures trees below a root; an inode with several names counts once in a meter's life.

    Every folder is opened beneath the one that it was found in, so that what moves meanwhile leads
    nowhere else. What is mounted below is left out; what vanishes meanwhile is no problem.
    """

    def __init__(self, root: str, stop: Callable[[], bool] = never) -> None:
        """Prepare to measure.

        Args:
            root: absolute path of the folder that all is below.
            stop: is asked now and then.

        Raises:
            OSError: the root can't be opened.
        """
        self.problems: list[str] = []
        """What could not be read and what was left out, a line each; a bounded number."""
        self._root = os.fsencode(root).rstrip(b"/") or b"/"
        self._stop = stop
        self._unread = 0
        self._mounts = ForeignMounts(root)
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._figures = FolderFigures(fd, self._is_foreign, self._failed, self._check)
        finally:
            os.close(fd)
        self._figures.mounted = self._mounts.names(folders=not self._figures.knows_mounts)

    def tree(self, path: str | bytes) -> Size:
        """Measure a folder or file by its absolute path; nothing where there is none (any more).

        Raises:
            Cancelled: when it should stop.
            ValueError: for a path that is not beneath the root.
        """
        whole = os.fsencode(path).rstrip(b"/") or b"/"
        if whole == self._root:
            return self._whole()
        prefix = self._root.rstrip(b"/") + b"/"
        if not whole.startswith(prefix):
            raise ValueError(f"{printable(whole)} is not beneath {printable(self._root)}")
        above, _, name = whole[len(prefix) :].rpartition(b"/")
        try:
            base = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                folder = open_beneath(base, above, os.O_PATH | os.O_DIRECTORY)
            finally:
                os.close(base)
        except OSError as error:
            before = self._unread
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._unread += 1
                self._say(_reason(whole, error))
            return Size(0, 0, self._unread - before)
        try:
            return self.entry(folder, name)
        finally:
            os.close(folder)

    def entry(self, fd: int, name: str | bytes) -> Size:
        """Measure an entry of an open folder.

        Raises:
            Cancelled: when it should stop.
        """
        raw = os.fsencode(name)
        before = self._now()
        below: list[bytes] = []
        self._figures.add(fd, [raw], below)
        if below:
            self._walk(fd, below)
        return self._since(before)

    def is_left_out(self, fd: int, name: str | bytes) -> bool:
        """Whether an entry of an open folder is a mount that does not count; it is then said."""
        return self._is_foreign(fd, os.fsencode(name))

    def children(self, path: str | bytes) -> Iterator[Child]:
        """Yield each entry of a folder with what it takes, as soon as that is known; files first.

        Raises:
            Cancelled: when it should stop.
            OSError: the folder can't be opened.
        """
        whole = os.fsencode(path).rstrip(b"/") or b"/"
        prefix = self._root.rstrip(b"/") + b"/"
        if whole != self._root and not whole.startswith(prefix):
            raise ValueError(f"{printable(whole)} is not beneath {printable(self._root)}")
        base = os.open(self._root, OPEN_FOLDER & ~os.O_NOFOLLOW)
        try:
            folder = open_beneath(base, whole[len(prefix) :], os.O_RDONLY | os.O_DIRECTORY)
        finally:
            os.close(base)
        try:
            folders = []
            with os.scandir(folder) as found:
                for item in found:
                    name = os.fsencode(item.name)
                    try:
                        mode = os.lstat(name, dir_fd=folder).st_mode
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        self._failed(folder, name, error)
                        continue
                    if stat.S_ISDIR(mode):
                        folders.append(name)
                    else:
                        yield Child(name, _kind(mode), self.entry(folder, name))
            for name in folders:
                size = self.entry(folder, name)
                yield Child(name, "folder" if size.entries else "mount", size)
        finally:
            os.close(folder)

    def _whole(self) -> Size:
        """Measure the root, which may be a mount point and is its owner's word."""
        before = self._now()
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._figures.bytes += os.fstat(fd).st_blocks * 512
            self._figures.entries += 1
            self._walk(fd, self._figures.read(fd))
        finally:
            os.close(fd)
        return self._since(before)

    def _walk(self, fd: int, waiting: list[bytes]) -> None:
        """Add all below some folders in an open one, whose descriptor stays its owner's."""
        levels = [_Level(b"", os.dup(fd), waiting)]
        try:
            while levels:
                self._descend(levels)
                done = levels.pop()
                try:
                    while levels and levels[-1].fd < 0 and not self._reopen(levels, done.fd):
                        lost = levels.pop()
                        if lost.waiting:
                            self._unread += len(lost.waiting)
                            where = printable(lost.name)
                            self._say(f"{where}, a folder: moved while it was read; look again")
                finally:
                    os.close(done.fd)
        finally:
            for level in levels:
                if level.fd >= 0:
                    os.close(level.fd)

    def _descend(self, levels: list[_Level]) -> None:
        """Read folders as long as the lowest one has some that wait."""
        read = self._figures.read
        here = levels[-1]
        fd, waiting = here.fd, here.waiting
        while waiting:
            name = waiting.pop()
            try:
                below = os.open(name, OPEN_FOLDER, dir_fd=fd)
            except OSError as error:
                if error.errno not in GONE:
                    self._failed(fd, name, error)
                continue
            try:
                found = read(below)
            except BaseException:
                os.close(below)
                raise
            if not found:
                os.close(below)
                continue
            levels.append(_Level(name, below, found))
            fd, waiting = below, found
            if len(levels) > _HELD + 1:
                far = levels[-1 - _HELD]
                if far.fd >= 0:
                    far.identity = _identity(far.fd)
                    os.close(far.fd)
                    far.fd = -1

    @staticmethod
    def _reopen(levels: list[_Level], below: int) -> bool:
        """Open the lowest folder again, from the one below it or, where that moved, from above."""
        wanted = levels[-1]
        with suppress(OSError):
            wanted.fd = os.open(b"..", OPEN_FOLDER, dir_fd=below)
            if _identity(wanted.fd) == wanted.identity:
                return True
            os.close(wanted.fd)
        wanted.fd = -1
        at = os.dup(levels[0].fd)
        try:
            for level in levels[1:]:
                next_one = os.open(level.name, OPEN_FOLDER, dir_fd=at)
                os.close(at)
                at = next_one
            if _identity(at) == wanted.identity:
                wanted.fd, at = at, -1
                return True
        except OSError:
            pass
        finally:
            if at >= 0:
                os.close(at)
        return False

    def _now(self) -> Size:
        return Size(self._figures.bytes, self._figures.entries, self._unread)

    def _since(self, before: Size) -> Size:
        now = self._now()
        return Size(*(new - old for new, old in zip(now, before, strict=True)))

    def _check(self) -> None:
        if self._stop():
            raise Cancelled("cancelled")

    def _is_foreign(self, folder: int, name: bytes) -> bool:
        if not self._mounts.is_foreign(folder, name):
            return False
        self._say(f"{printable(_path(folder, name))}: {LEFT_OUT}")
        return True

    def _failed(self, folder: int, name: bytes, error: OSError) -> None:
        self._unread += 1
        self._say(_reason(_path(folder, name), error))

    def _say(self, line: str) -> None:
        if len(self.problems) < MOST_PROBLEMS and line not in self.problems:
            self.problems.append(line)


def _path(folder: int, name: bytes) -> bytes:
    """Tell people where an entry of an open folder is; the folder itself has the name b""."""
    try:
        above = os.readlink(b"/proc/self/fd/%d" % folder)
    except OSError:
        # Too far down for one path.
        above = b"..."
    return os.path.join(above, name) if name else above


def _reason(path: bytes, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{printable(path)} may only be read by its owner"
    if error.errno == errno.ELOOP:
        return f"{printable(path)}: a symbolic link is in the way, and is not followed"
    return f"{printable(path)}: {error.strerror}"


def _identity(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "file")
