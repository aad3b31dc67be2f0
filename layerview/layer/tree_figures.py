"""Trees walked for what they take: beneath descriptors, however deep they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from layerview.layer.beneath import OPEN_FOLDER
from layerview.layer.folder_figures import GONE, FolderFigures, LargeFolder

_HELD = 64
"""Folders on the way down that are held open; those above are found again by `..`."""


class _Level:
    """A folder on the way down: its descriptor, or how to know it again, and what waits in it."""

    __slots__ = ("fd", "identity", "name", "waiting")

    def __init__(self, name: bytes, fd: int, waiting: list[bytes]) -> None:
        self.name = name
        self.fd = fd
        self.identity = (0, 0)
        self.waiting = waiting


def walk(
    figures: FolderFigures,
    folder: int,
    waiting: list[bytes],
    failed: Callable[[int, bytes, OSError], None],
    lost: Callable[[bytes, int], None],
) -> None:
    """Add all below some folders.

    Args:
        figures: what is added to.
        folder: descriptor of the folder that they are in; it stays its owner's.
        waiting: their names; the list is used up.
        failed: is told of a folder that can't be opened: the descriptor above it, its name.
        lost: is told of a folder that was moved meanwhile, and of how many in it were not read.
    """
    levels = [_Level(b"", os.dup(folder), waiting)]
    try:
        while levels:
            _descend(figures, levels, failed)
            done = levels.pop()
            try:
                while levels and levels[-1].fd < 0 and not _reopen(levels, done.fd):
                    gone = levels.pop()
                    if gone.waiting:
                        lost(gone.name, len(gone.waiting))
            finally:
                os.close(done.fd)
    finally:
        for level in levels:
            if level.fd >= 0:
                os.close(level.fd)


def apparent_size(folder: int, *, leave_out: bytes = b"") -> int:
    """Sum the lengths of all that is no folder, each inode once (moby, pkg/directory, Size).

    What goes meanwhile does not count.

    Args:
        folder: descriptor of the folder that it is below.
        leave_out: what names start with that do not count, nor what is in them.

    Raises:
        OSError: when something can't be read, or moved meanwhile.
    """

    def failed(_folder: int, _name: bytes, error: OSError) -> None:
        raise error

    def lost(name: bytes, _count: int) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)

    figures = FolderFigures(failed, lambda: None, apparent=True, leave_out=leave_out)
    walk(figures, folder, figures.read(folder), failed, lost)
    return figures.bytes


def _descend(
    figures: FolderFigures,
    levels: list[_Level],
    failed: Callable[[int, bytes, OSError], None],
) -> None:
    """Read folders as long as the lowest one has some that wait."""
    read = figures.read
    fd, waiting = levels[-1].fd, levels[-1].waiting
    while waiting:
        name = waiting.pop()
        try:
            below = os.open(name, OPEN_FOLDER, dir_fd=fd)
        except OSError as error:
            if error.errno not in GONE:
                failed(fd, name, error)
            continue
        found = None
        try:
            found = read(below, large=type(name) is LargeFolder)
        finally:
            if not found:
                os.close(below)
        if not found:
            continue
        levels.append(_Level(name, below, found))
        fd, waiting = below, found
        if len(levels) > _HELD + 1:
            far = levels[-1 - _HELD]
            if far.fd >= 0:
                far.identity = _identity(far.fd)
                os.close(far.fd)
                far.fd = -1


def _reopen(levels: list[_Level], below: int) -> bool:
    """Open the lowest folder again, from the one below it or, where that moved, from the top."""
    wanted = levels[-1]
    with suppress(OSError):
        up = os.open(b"..", OPEN_FOLDER, dir_fd=below)
        if _identity(up) == wanted.identity:
            wanted.fd = up
            return True
        os.close(up)
    at = os.dup(levels[0].fd)
    try:
        for level in levels[1:]:
            further = os.open(level.name, OPEN_FOLDER, dir_fd=at)
            os.close(at)
            at = further
        if _identity(at) == wanted.identity:
            wanted.fd, at = at, -1
            return True
    except OSError:
        return False
    finally:
        if at >= 0:
            os.close(at)
    return False


def _identity(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino
