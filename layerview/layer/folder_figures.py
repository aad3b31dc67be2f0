"""What the entries of one folder take on the disk, added up with as little Python as can be.

One os.stat_result takes as long to make as the kernel needs to look. Here the C library's lstat(2)
fills a row of `struct stat`, and their fields are added up across it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import cache
from itertools import islice, repeat
from typing import Any, NamedTuple

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
"""What the kernel says of a folder that has gone, or that something else has taken the place of."""

_AT_SYMLINK_NOFOLLOW = 0x100
_BLOCK = 512
_PIECE = 8192
"""Names of a large folder that are held at once."""
_ASK = 256
"""Entries after which it is asked whether to go on: on a disk that turns, a second's worth."""
_ROW = 128
_LARGE = 1 << 24
"""Bytes of a folder whose names are not all held at once: it has some hundred thousand of them."""
_IS_FOLDER = bytes(kind >> 4 == stat.S_IFDIR >> 12 for kind in range(256))
"""For the upper byte of a mode."""


class LargeFolder(bytes):
    """The name of a folder with a great many entries."""


class _Layout(NamedTuple):
    """Where `struct stat` has what: offsets in bytes. Alike are device 0, inode 8, blocks 64."""

    mode: int
    links: int
    links_size: int


_STRIDE = 144
_LAYOUTS = (_Layout(24, 16, 8), _Layout(16, 20, 4))
"""That of x86-64, and that of most others with 64 bits."""


class FolderFigures:
    """Adds up what folders' entries take; an inode with several names counts once."""

    def __init__(
        self,
        failed: Callable[[int, bytes, OSError], None],
        check: Callable[[], None],
        is_foreign: Callable[[int, bytes], bool] | None = None,
        *,
        apparent: bool = False,
        leave_out: bytes = b"",
        shared: bool = True,
    ) -> None:
        """Begin with nothing.

        Args:
            failed: is told of an entry that can't be looked at; of the folder itself with b"".
            check: is called now and then, and may raise.
            is_foreign: whether an entry that seems to be a mount point is to be left out.
            apparent: count the lengths of all but folders instead of what is allocated.
            leave_out: what names start with that do not count, nor what is in them.
            shared: whether other threads are to run meanwhile.
        """
        self.bytes = 0
        self.entries = 0
        self.mounted: frozenset[bytes] = frozenset()
        """Names that mount points have."""
        self.inside = False
        """Whether the process may be moved into each folder that is read; see `Inside`."""
        self._failed = failed
        self._check = check
        self._is_foreign = is_foreign
        self._devices: set[int] = set()
        """Whose folders need no second look."""
        self._unchecked = 0
        self._seen: dict[int, set[int]] = {}
        """Inodes that have several names, by device."""
        self._apparent = apparent
        self._leave_out = leave_out
        self._row = _Row(shared, apparent) if _layout() is not None else None

    def read(self, folder: int, *, large: bool = False) -> list[bytes]:
        """Add an open folder's entries, and return the names of the folders among them.

        Args:
            folder: its descriptor.
            large: do not hold all its names at once.
        """
        below: list[bytes] = []
        try:
            if large:
                with os.scandir(folder) as found:
                    while names := [os.fsencode(entry.name) for entry in islice(found, _PIECE)]:
                        self.add(folder, names, below)
            elif self.inside:
                os.fchdir(folder)
                self.add(folder, os.listdir(b"."), below, inside=True)
            elif found_names := os.listdir(folder):
                # Encoding each name for itself takes half as long as looking at it.
                self.add(folder, os.fsencode("\0".join(found_names)).split(b"\0"), below)
        except OSError as error:
            if error.errno not in GONE:
                self._failed(folder, b"", error)
        return below

    def add(
        self, folder: int, names: list[bytes], below: list[bytes], *, inside: bool = False
    ) -> None:
        """Add entries of an open folder; `below` gets the names of the folders among them.

        Args:
            folder: its descriptor.
            names: those of its entries.
            below: a list.
            inside: the folder is the process's own.
        """
        if self._leave_out:
            names = [name for name in names if not name.startswith(self._leave_out)]
        if self.mounted and not self.mounted.isdisjoint(names):
            names = [name for name in names if not self._is_mounted(folder, name)]
        if len(names) <= _ROW:
            self._add_some(folder, names, below, inside)
        else:
            for start in range(0, len(names), _ROW):
                self._add_some(folder, names[start : start + _ROW], below, inside)

    def _add_some(self, folder: int, names: list[bytes], below: list[bytes], inside: bool) -> None:
        self._unchecked += len(names)
        if self._unchecked >= _ASK:
            self._unchecked = 0
            self._check()
        if self._row is not None:
            self._add_row(self._row, folder, names, below, inside)
        else:
            self._add_plainly(folder, names, below)

    def _add_row(
        self, row: _Row, folder: int, names: list[bytes], below: list[bytes], inside: bool
    ) -> None:
        count = len(names)
        if any(
            map(row.lstat, names, row.places)
            if inside
            else map(row.fstatat, repeat(folder), names, row.places, row.flags)
        ):
            # One of them has gone, most likely.
            self._add_plainly(folder, names, below)
            return
        total = sum(row.figures[count])
        kinds = row.kinds[count].tobytes().translate(_IS_FOLDER)
        at = kinds.find(1)
        while at >= 0:
            start = at * (_STRIDE // 8)
            if self._is_elsewhere(folder, names[at], row.eights[start]):
                count -= 1
                total -= row.eights[start + row.figure]
            else:
                large = row.eights[start + 6] >= _LARGE
                below.append(LargeFolder(names[at]) if large else names[at])
                if self._apparent:
                    total -= row.eights[start + row.figure]
            at = kinds.find(1, at + 1)
        if row.links[len(names)].tobytes() != row.ones[len(names)]:
            for at, links in enumerate(row.links[len(names)].tolist()):
                if links > 1 and not kinds[at]:
                    start = at * (_STRIDE // 8)
                    if self._is_known(row.eights[start], row.eights[start + 1]):
                        total -= row.eights[start + row.figure]
        self.bytes += total if self._apparent else total * _BLOCK
        self.entries += count

    def _add_plainly(self, folder: int, names: list[bytes], below: list[bytes]) -> None:
        """Do the same where the layout is unknown, or something was in the way."""
        for name in names:
            try:
                state = os.lstat(name, dir_fd=folder)
            except PermissionError as error:
                # The folder lets one read its names, and no more.
                self._failed(folder, b"", error)
                return
            except OSError as error:
                if error.errno not in GONE:
                    self._failed(folder, name, error)
                continue
            if stat.S_ISDIR(state.st_mode):
                if self._is_elsewhere(folder, name, state.st_dev):
                    continue
                below.append(LargeFolder(name) if state.st_size >= _LARGE else name)
                taken = 0 if self._apparent else state.st_blocks * _BLOCK
            elif state.st_nlink > 1 and self._is_known(state.st_dev, state.st_ino):
                taken = 0
            else:
                taken = state.st_size if self._apparent else state.st_blocks * _BLOCK
            self.bytes += taken
            self.entries += 1

    def _is_mounted(self, folder: int, name: bytes) -> bool:
        return (
            name in self.mounted and self._is_foreign is not None and self._is_foreign(folder, name)
        )

    def _is_elsewhere(self, folder: int, name: bytes, device: int) -> bool:
        """Whether a folder is to be left out; one on a device seen for the first time may be."""
        if device in self._devices or self._is_foreign is None:
            return False
        if self._is_foreign(folder, name):
            return True
        self._devices.add(device)
        return False

    def _is_known(self, device: int, inode: int) -> bool:
        seen = self._seen.get(device)
        if seen is None:
            seen = self._seen[device] = set()
        if inode in seen:
            return True
        seen.add(inode)
        return False


class Inside:
    """Lets figures move the process into the folders that they read, and brings it back.

    A name beneath the process's own folder is found quicker than one beneath a descriptor. Only for
    a process that has one thread: all have the same folder.
    """

    def __init__(self, figures: FolderFigures) -> None:
        self._figures = figures
        self._home = -1

    def __enter__(self) -> None:
        if self._figures.inside:
            return
        try:
            self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            # One may be where one may not come back to.
            os.fchdir(self._home)
        except OSError:
            return
        self._figures.inside = True

    def __exit__(self, *_: object) -> None:
        if self._home < 0:
            return
        try:
            if self._figures.inside:
                self._figures.inside = False
                os.fchdir(self._home)
        finally:
            os.close(self._home)
            self._home = -1


class _Row:
    """Room for the states of some files, and how to fill it."""

    def __init__(self, shared: bool, apparent: bool) -> None:
        layout = _layout()
        assert layout is not None
        # PyDLL keeps other threads waiting, and is the quicker one.
        library: Any = ctypes.CDLL(None) if shared else ctypes.PyDLL(None)
        self.lstat = library.lstat
        self.fstatat = library.fstatat
        self.flags = repeat(_AT_SYMLINK_NOFOLLOW)
        buffer = ctypes.create_string_buffer(_STRIDE * _ROW)
        self.places = [ctypes.byref(buffer, _STRIDE * at) for at in range(_ROW)]
        whole = memoryview(buffer).cast("B")
        self.eights = whole.cast("Q")
        self.figure = 6 if apparent else 8
        width = layout.links_size
        links = whole.cast("Q" if width == 8 else "I")
        counts = range(_ROW + 1)
        self.figures = [_column(self.eights, self.figure, 8, count) for count in counts]
        self.links = [_column(links, layout.links // width, width, count) for count in counts]
        self.kinds = [_column(whole, layout.mode + 1, 1, count) for count in counts]
        self.ones = [(1).to_bytes(width, "little") * count for count in counts]
        """What the links look like where no inode has several names."""


def _column(view: memoryview, first: int, width: int, count: int) -> memoryview:
    stride = _STRIDE // width
    return view[first : first + stride * (count - 1) + 1 : stride] if count else view[:0]


@cache
def _layout() -> _Layout | None:
    """Find out where this machine's `struct stat` has what, by looking at what is known."""
    library: Any = ctypes.CDLL(None)
    if sys.byteorder != "little" or not (hasattr(library, "lstat") and hasattr(library, "fstatat")):
        return None
    layouts = [*_LAYOUTS]
    looked = 0
    for path in (b"/", b"/dev/null", os.fsencode(sys.executable)):
        buffer = ctypes.create_string_buffer(b"\xa5" * 512, 512)
        try:
            state = os.lstat(path)
        except OSError:
            continue
        if library.lstat(path, buffer) or buffer.raw[_STRIDE:] != b"\xa5" * (512 - _STRIDE):
            return None
        layouts = [layout for layout in layouts if _agrees(layout, buffer.raw, state)]
        looked += 1
    return layouts[0] if layouts and looked > 1 else None


def _agrees(layout: _Layout, raw: bytes, state: os.stat_result) -> bool:
    def number(offset: int, size: int) -> int:
        return int.from_bytes(raw[offset : offset + size], "little")

    return (
        number(0, 8),
        number(8, 8),
        number(layout.mode, 4),
        number(layout.links, layout.links_size),
        number(48, 8),
        number(64, 8),
    ) == (
        state.st_dev,
        state.st_ino,
        state.st_mode,
        state.st_nlink,
        state.st_size,
        state.st_blocks,
    )
