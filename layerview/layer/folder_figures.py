"""What the entries of one folder take on the disk, read with as little Python as can be."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from itertools import islice
from typing import Any

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
"""What open(2) says of a folder that has gone, or that something else has taken the place of."""

_LOOK = 0x100 | 0x800
"""AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT."""
_AT_EMPTY_PATH = 0x1000
_BASIC = 0x7FF
_MOUNT_ROOT = 0x2000
"""STATX_ATTR_MOUNT_ROOT (Linux 5.8): something is mounted here."""
_PIECE = 8192
_BLOCK = 512


class FolderFigures:
    """Adds up what folders' entries take; an inode with several names counts once."""

    def __init__(
        self,
        root: int,
        is_foreign: Callable[[int, bytes], bool],
        failed: Callable[[int, bytes, OSError], None],
        check: Callable[[], None],
    ) -> None:
        """Begin with nothing.

        Args:
            root: descriptor of a folder above those that are to be read.
            is_foreign: whether an entry that seems to be a mount point is to be left out.
            failed: is told of an entry that can't be looked at; of the folder itself with b"".
            check: is called now and then, and may raise.
        """
        self.bytes = 0
        """Allocated, as `du` counts."""
        self.entries = 0
        self.mounted: frozenset[bytes] = frozenset()
        """Names that mount points have; those of folders only where `knows_mounts` is false."""
        self._is_foreign = is_foreign
        self._failed = failed
        self._check = check
        self._unchecked = 0
        self._seen: dict[int, set[int]] = {}
        """Inodes that have several names, by device."""
        # os.stat_result alone takes as long to make as the kernel needs to look.
        self._statx: Any = getattr(ctypes.CDLL(None), "statx", None)
        buffer = ctypes.create_string_buffer(256)
        self._buffer = ctypes.byref(buffer)
        whole = memoryview(buffer).cast("B")
        # struct statx is the same on every architecture (linux/stat.h).
        self._eights = whole.cast("Q")
        self._fours = whole.cast("I")
        self._twos = whole.cast("H")
        self.knows_mounts = (
            self._statx is not None
            and self._statx(root, b"", _LOOK | _AT_EMPTY_PATH, _BASIC, self._buffer) == 0
            and bool(self._eights[7] & _MOUNT_ROOT)
        )
        """Whether the kernel tells of each entry whether it is a mount point."""

    def read(self, folder: int) -> list[bytes]:
        """Add an open folder's entries, and return the names of the folders among them."""
        below: list[bytes] = []
        try:
            with os.scandir(folder) as found:
                while names := [entry.name for entry in islice(found, _PIECE)]:
                    # Encoding each name for itself would take as long as looking at it.
                    self.add(folder, os.fsencode("\0".join(names)).split(b"\0"), below)
        except OSError as error:
            if error.errno not in GONE:
                self._failed(folder, b"", error)
        return below

    def add(self, folder: int, names: list[bytes], below: list[bytes]) -> None:
        """Add entries of an open folder; `below` gets the names of the folders among them."""
        self._unchecked += len(names)
        if self._unchecked >= _PIECE:
            self._unchecked = 0
            self._check()
        if self.mounted and not self.mounted.isdisjoint(names):
            names = [
                name
                for name in names
                if name not in self.mounted or not self._is_foreign(folder, name)
            ]
        if self.knows_mounts:
            self._add_quickly(folder, names, below)
        else:
            self._add_plainly(folder, names, below)

    def _add_quickly(self, folder: int, names: list[bytes], below: list[bytes]) -> None:
        look, buffer = self._statx, self._buffer
        eights, fours, twos = self._eights, self._fours, self._twos
        blocks = 0
        left_out = 0
        for name in names:
            if look(folder, name, _LOOK, _BASIC, buffer):
                left_out += 1
                self._add_plainly(folder, [name], below)
                continue
            taken = eights[6]
            # Only folders, pipes and devices are of a kind below that of regular files.
            if twos[14] < 0o100000 and twos[14] & 0o170000 == 0o040000:
                if eights[1] & _MOUNT_ROOT and self._is_foreign(folder, name):
                    left_out += 1
                    continue
                below.append(name)
            elif fours[4] != 1 and self._is_known(fours[34] << 32 | fours[35], eights[4]):
                taken = 0
            blocks += taken
        self.bytes += blocks * _BLOCK
        self.entries += len(names) - left_out

    def _add_plainly(self, folder: int, names: list[bytes], below: list[bytes]) -> None:
        """Do the same where there is no statx(2), or where it failed."""
        device = os.fstat(folder).st_dev
        for name in names:
            try:
                state = os.lstat(name, dir_fd=folder)
            except OSError as error:
                if error.errno not in GONE:
                    self._failed(folder, name, error)
                continue
            if stat.S_ISDIR(state.st_mode):
                if state.st_dev != device and self._is_foreign(folder, name):
                    continue
                below.append(name)
            self.entries += 1
            if (
                state.st_nlink == 1
                or stat.S_ISDIR(state.st_mode)
                or not self._is_known(
                    os.major(state.st_dev) << 32 | os.minor(state.st_dev), state.st_ino
                )
            ):
                self.bytes += state.st_blocks * _BLOCK

    def _is_known(self, device: int, inode: int) -> bool:
        seen = self._seen.get(device)
        if seen is None:
            seen = self._seen[device] = set()
        if inode in seen:
            return True
        seen.add(inode)
        return False
