"""File handles: what an inode is, whatever its name (name_to_handle_at(2))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from functools import cache

from layerview.drivers.mounts import libc

_MOST = 128
"""Bytes of a handle (MAX_HANDLE_SZ)."""
_AT_EMPTY_PATH = 0x1000
_HEAD = struct.Struct("=Ii")
_KIND = struct.Struct("=i")
_ORIGIN = struct.Struct("=BBBBB16s")
_ORIGIN_VERSION = 0
_ORIGIN_MAGIC = 0xFB


def handle_of(folder: int, name: bytes = b"") -> bytes | None:
    """Return the handle of a name in a folder's descriptor, which no other inode ever has.

    Args:
        folder: the descriptor; with no name, of the entry itself.
        name: not followed where it is a link.

    Returns:
        The handle's type and bytes; None where the file system has no handles.

    Raises:
        OSError: when there is nothing.
    """
    scratch = _scratch()
    buffer = scratch.buffer
    _HEAD.pack_into(buffer, 0, _MOST, 0)
    flags = 0 if name else _AT_EMPTY_PATH
    if scratch.call(folder, name, scratch.place, scratch.mount, flags) < 0:
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EOVERFLOW):
            return None
        raise OSError(code, os.strerror(code), os.fsdecode(name))
    size, kind = _HEAD.unpack_from(buffer)
    return _KIND.pack(kind) + buffer[_HEAD.size : _HEAD.size + size]


class _Scratch(threading.local):
    """What the call needs, made once in each thread: it is made for each file that is looked at."""

    def __init__(self) -> None:
        size = _HEAD.size + _MOST
        self.buffer = bytearray(size)
        self.place = (ctypes.c_char * size).from_buffer(self.buffer)
        self._mount = ctypes.c_int()
        self.mount = ctypes.byref(self._mount)
        self.call = ctypes.CFUNCTYPE(
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int,
            use_errno=True,
        )(("name_to_handle_at", libc()))


@cache
def _scratch() -> _Scratch:
    return _Scratch()


def open_handle(mount: int, handle: bytes) -> int:
    """Open with O_PATH what has a handle, on the file system of a descriptor.

    Raises:
        OSError: ESTALE when it is gone, EPERM for who is not root.
    """
    body = handle[4:]
    given = ctypes.create_string_buffer(
        _HEAD.pack(len(body), struct.unpack("=i", handle[:4])[0]) + body
    )
    found: int = libc().open_by_handle_at(
        ctypes.c_int(mount), given, ctypes.c_int(os.O_PATH | os.O_CLOEXEC)
    )
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


def handle_in_origin(mark: bytes) -> bytes | None:
    """Return the handle in overlayfs's `origin` attribute (struct ovl_fb, fs/overlayfs)."""
    if len(mark) < _ORIGIN.size:
        return None
    version, magic, length, _, kind, _ = _ORIGIN.unpack_from(mark)
    if version != _ORIGIN_VERSION or magic != _ORIGIN_MAGIC or length != len(mark):
        return None
    return struct.pack("=i", kind) + mark[_ORIGIN.size :]
