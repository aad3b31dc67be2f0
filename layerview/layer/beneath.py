"""Opening names beneath a folder: no name, link or race leads out of it (openat2(2))."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

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
    while True:
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
        raise OSError(code, os.strerror(code), os.fsdecode(path))


def _open_stepwise(folder: int, path: bytes, flags: int, mode: int) -> int:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    at = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = os.open(
                part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at
            )
            os.close(at)
            at = below
        return os.open(parts[-1] if parts else b".", flags, mode, dir_fd=at)
    finally:
        os.close(at)
