"""Opening names beneath a folder: no name, link or race leads out of it (openat2(2))."""

from __future__ import annotations

import ctypes
import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache

MAX_PATH = 4095
"""Bytes of the longest path that Linux takes (PATH_MAX, without the NUL)."""
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_PIECE = 1 << 20
_TRIES = 64

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def open_beneath(folder: int, path: bytes, flags: int, mode: int = 0o600) -> int:
    """Open a path beneath a folder's descriptor, through real folders only.

    Args:
        folder: the descriptor.
        path: relative, without `..`; b"" is the folder itself.
        flags: as for open(2); O_CLOEXEC and O_NOFOLLOW are added.
        mode: of a file that is made.

    Raises:
        OSError: as open(2) and openat2(2) have it; ELOOP where a symbolic link stands in the way.
    """
    path = path or b"."
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    how = _OpenHow(
        flags,
        mode if flags & (os.O_CREAT | getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY) else 0,
        _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,
    )
    code = errno.EAGAIN
    for _ in range(_TRIES):
        found: int = _libc().syscall(
            _SYS_OPENAT2,
            folder,
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code in (errno.EINTR, errno.EAGAIN):
            continue
        if code in (errno.ENOSYS, errno.EPERM):
            # An old kernel, or a sandbox that does not know the call.
            return _open_stepwise(folder, path, flags, mode)
        break
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def _open_stepwise(folder: int, path: bytes, flags: int, mode: int) -> int:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    at = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = os.open(part, OPEN_FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1] if parts else b".", flags, mode, dir_fd=at)
    finally:
        os.close(at)


def is_component(name: bytes) -> bool:
    """Whether a name is one part of a path, so that it leads nowhere but into its own folder."""
    return bool(name) and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


class Folders:
    """The folders beneath one, by path; a bounded number of them is held open."""

    def __init__(self, base: int, most: int = 64) -> None:
        """Look beneath a folder's descriptor, which stays its owner's to close."""
        self._base = base
        self._most = most
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def open(self, path: bytes) -> int:
        """Return the descriptor of a folder; it is good until `most` others are asked for.

        Raises:
            OSError: as open_beneath; ELOOP or ENOTDIR where something else stands there now.
        """
        if not path:
            return self._base
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        fd = open_beneath(self._base, path, OPEN_FOLDER)
        self._open[path] = fd
        if len(self._open) > self._most:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def forget(self, path: bytes) -> None:
        """Close a folder that is removed: what has its path later is another one."""
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close all that is held open."""
        while self._open:
            os.close(self._open.popitem()[1])


def file_data(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield a file's data up to a size, each piece with its offset; holes are left out."""
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno != errno.EINVAL:
                raise
            # A file system that does not tell where holes are.
            end = size
        while at < end:
            data = os.pread(fd, min(end - at, _PIECE), at)
            if not data:
                return
            yield at, data
            at += len(data)
