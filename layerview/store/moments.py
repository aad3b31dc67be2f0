"""When a file was made, and when it was last renamed or changed otherwise."""

from __future__ import annotations

import ctypes
import os
from functools import cache

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800


class _Time(ctypes.Structure):
    _fields_ = (
        ("seconds", ctypes.c_int64),
        ("nanoseconds", ctypes.c_uint32),
        ("_reserved", ctypes.c_int32),
    )


class _Statx(ctypes.Structure):
    # linux/stat.h, struct statx; what stands before and behind is of no use here.
    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("_before", ctypes.c_uint8 * 60),
        ("accessed", _Time),
        ("born", _Time),
        ("_behind", ctypes.c_uint8 * 160),
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def birth(path: str) -> float | None:
    """Return when a file was made, in seconds since 1970; links are not followed.

    Where the file system does not keep that, it is the last change of the file's attributes, which
    is never earlier. None where the file is not there.
    """
    found = _Statx()
    if hasattr(_libc(), "statx"):
        failed = _libc().statx(
            _AT_FDCWD,
            ctypes.c_char_p(os.fsencode(path)),
            _AT_SYMLINK_NOFOLLOW,
            _STATX_BTIME,
            ctypes.byref(found),
        )
        if not failed and found.mask & _STATX_BTIME and found.born.seconds:
            seconds: float = found.born.seconds + found.born.nanoseconds / 1e9
            return seconds
    return changed(path)


def changed(path: str) -> float | None:
    """Return when a file's attributes or its name last changed; None where it is not there."""
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return None
