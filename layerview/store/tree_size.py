"""What trees take on the disk, as `du` counts: blocks, folders too, each inode once."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layerview.errors import Cancelled
from layerview.layer.beneath import open_beneath
from layerview.layer.folder_figures import GONE, FolderFigures, Inside
from layerview.layer.tree_figures import walk
from layerview.store.foreign_mounts import ForeignMounts
from layerview.text import printable

LEFT_OUT = "a mount, left out"
"""How the problems end that are none: what is mounted is not the tree's."""
MOST_PROBLEMS = 100
"""Lines that a meter keeps; what else it could not read, it counts only."""


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
        """
        self.problems: list[str] = []
        """What could not be read and what was left out, a line each; a bounded number."""
        self._root = os.fsencode(root).rstrip(b"/") or b"/"
        self._stop = stop
        self._unread = 0
        self._mounts = ForeignMounts(root)
        self._is_shared = threading.active_count() > 1
        self._figures = FolderFigures(
            self._failed, self._check, self._is_foreign, shared=self._is_shared
        )
        self._figures.mounted = self._mounts.names()

    def tree(self, path: str | bytes) -> Size:
        """Measure a folder or file by its absolute path; nothing where there is none (any more).

        Raises:
            Cancelled: when it should stop.
            ValueError: for a path that is not beneath the root.
        """
        beneath = self._beneath(path)
        if not beneath:
            return self._whole()
        above, _, name = beneath.rpartition(b"/")
        try:
            base = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                folder = open_beneath(base, above, os.O_PATH | os.O_DIRECTORY)
            finally:
                os.close(base)
        except OSError as error:
            if error.errno not in GONE:
                self._say(_reason(os.fsencode(path), error))
            elif self._leads_through_link(above):
                place = printable(os.fsencode(path))
                self._say(f"{place}: a symbolic link is in the way, and is not followed")
            else:
                return Size(0, 0, 0)
            self._unread += 1
            return Size(0, 0, 1)
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
        beneath = self._beneath(path)
        base = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder = open_beneath(base, beneath, os.O_RDONLY | os.O_DIRECTORY)
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
                        yield from self._child(folder, name, _kind(mode))
            for name in folders:
                yield from self._child(folder, name, "folder")
        finally:
            os.close(folder)

    def _child(self, folder: int, name: bytes, kind: str) -> Iterator[Child]:
        size = self.entry(folder, name)
        if size.entries or size.unread:
            yield Child(name, kind, size)
        elif self.is_left_out(folder, name):
            yield Child(name, "mount", size)

    def _beneath(self, path: str | bytes) -> bytes:
        whole = os.fsencode(path).rstrip(b"/") or b"/"
        if whole == self._root:
            return b""
        prefix = self._root.rstrip(b"/") + b"/"
        if not whole.startswith(prefix):
            raise ValueError(f"{printable(whole)} is not beneath {printable(self._root)}")
        return whole[len(prefix) :]

    def _leads_through_link(self, beneath: bytes) -> bool:
        at = self._root
        for part in beneath.split(b"/"):
            at = os.path.join(at, part)
            if os.path.islink(at):
                return True
        return False

    def _whole(self) -> Size:
        """Measure the root, which may be a mount point and is its owner's word."""
        before = self._now()
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._figures.bytes += os.fstat(fd).st_blocks * 512
            self._figures.entries += 1
            self._walk(fd, self._figures.read(fd, large=True))
        finally:
            os.close(fd)
        return self._since(before)

    def _walk(self, fd: int, waiting: list[bytes]) -> None:
        """Add all below some folders in an open one, whose descriptor stays its owner's."""
        if self._is_shared:
            walk(self._figures, fd, waiting, self._failed, self._lost)
            return
        with Inside(self._figures):
            walk(self._figures, fd, waiting, self._failed, self._lost)

    def _lost(self, name: bytes, count: int) -> None:
        self._unread += count
        self._say(f"{printable(name)}, a folder: moved while it was read; look again")

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
    return f"{printable(path)}: {error.strerror}"


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "file")
