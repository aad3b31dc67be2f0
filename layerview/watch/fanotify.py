"""Hearing of changes on whole file systems, with who made them (fanotify(7)); for root."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from layerview.drivers.mounts import libc
from layerview.watch.inotify import read_queue

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
OPEN = 0x20
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
OVERFLOW = 0x4000
_ONDIR = 0x40000000
CHANGES = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONDIR

_CLOEXEC, _NONBLOCK = 0x1, 0x2
_REPORT_FID, _REPORT_DIR_FID, _REPORT_NAME = 0x200, 0x400, 0x800
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_EVENT_ON_CHILD = 0x08000000
_INFO_FID, _INFO_DFID_NAME = 1, 2
_EVENT = struct.Struct("=IBBHQii")
_INFO = struct.Struct("=BBHQII")
"""The head of a record: kind, padding, length, file system, and the handle's size and type."""
_VERSION = 3
_READS = 2


class Heard(NamedTuple):
    """What was heard: one or more events of one process at one name."""

    mask: int
    pid: int
    device: int
    """The file system's ID (see device_of)."""
    folder: bytes = b""
    """The folder's handle, as handles.handle_of has it."""
    name: bytes = b""
    child: bytes = b""
    """The entry's own handle, where it is told."""


def device_of(path: str | bytes) -> int:
    """Return the ID of the file system that a path lies on, as fanotify tells it."""
    return os.statvfs(path).f_fsid & (1 << 64) - 1


class Fanotify:
    """A queue of events of some file systems."""

    def __init__(self) -> None:
        """Make an empty one.

        Raises:
            OSError: EPERM for who is not root of the machine, EINVAL before Linux 5.9.
        """
        flags = _CLOEXEC | _NONBLOCK | _REPORT_FID | _REPORT_DIR_FID | _REPORT_NAME
        found = libc().fanotify_init(
            ctypes.c_uint(flags), ctypes.c_uint(os.O_RDONLY | os.O_LARGEFILE)
        )
        if found < 0:
            raise _error("fanotify_init")
        self.fd: int = found

    def close(self) -> None:
        """Hear nothing more."""
        os.close(self.fd)

    def hear(self, path: str, mask: int = CHANGES) -> None:
        """Hear what happens on the file system that a path lies on.

        Raises:
            OSError: where that can't be heard.
        """
        self._mark(_MARK_ADD | _MARK_FILESYSTEM, path, mask)

    def hear_in(self, folder: str, mask: int) -> None:
        """Hear what happens to the files in one folder.

        Raises:
            OSError: where that can't be heard.
        """
        self._mark(_MARK_ADD, folder, mask | _EVENT_ON_CHILD)

    def read(self) -> Iterator[Heard]:
        """Yield what was heard, not all of it where that is much; nothing when there is nothing."""
        for data in read_queue(self.fd, _READS):
            yield from _events(data)

    def _mark(self, command: int, path: str, mask: int) -> None:
        done = libc().fanotify_mark(
            ctypes.c_int(self.fd),
            ctypes.c_uint(command),
            ctypes.c_uint64(mask),
            ctypes.c_int(-100),
            ctypes.c_char_p(os.fsencode(path)),
        )
        if done < 0:
            raise _error(path)


def _events(data: bytes) -> Iterator[Heard]:
    at = 0
    while at + _EVENT.size <= len(data):
        length, version, _, head, mask, _, pid = _EVENT.unpack_from(data, at)
        if version != _VERSION or length < _EVENT.size:
            return
        end = at + length
        device, folder, name, child = 0, b"", b"", b""
        at += head
        while at + _INFO.size <= end:
            kind, _, size, device, handle_size, _ = _INFO.unpack_from(data, at)
            if size < _INFO.size:
                break
            body = at + _INFO.size
            # The type and the bytes, as handle_of has them.
            handle = data[body - 4 : body + handle_size]
            if kind == _INFO_FID:
                child = handle
            else:
                folder = handle
                if kind == _INFO_DFID_NAME:
                    name = data[body + handle_size : at + size].split(b"\0", 1)[0]
            at += size
        at = end
        yield Heard(mask, pid, device, folder, name, child)


def _error(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), what)
