"""Hearing of changes in single folders (inotify(7)); for everybody who may read them."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from layerview.drivers.mounts import libc

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
OVERFLOW = 0x4000
IGNORED = 0x8000
IS_FOLDER = 0x40000000
"""Bits of an event's mask, as fanotify has them too."""
_CHANGES = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
_ONLY_FOLDERS = 0x01000000
_BUT_UNLINKED = 0x04000000
_EVENT = struct.Struct("=iIII")
"""Number of the folder, mask, cookie, and the length of the name with what pads it."""
_BUFFER = 1 << 16
_READS = 16
_SETTINGS = "/proc/sys/fs/inotify/"


class Heard(NamedTuple):
    """An event."""

    folder: int
    """The number that `hear` gave; -1: some events were lost."""
    mask: int
    name: bytes
    """In the folder; empty: the folder itself."""


class LimitReachedError(Exception):
    """One of inotify's limits is reached; its text says which, and what raises it."""


class Inotify:
    """A queue of events of some folders."""

    def __init__(self) -> None:
        """Make an empty one.

        Raises:
            LimitReachedError: where this user has too many of them.
            OSError: where there is none to be had.
        """
        c = libc()
        if not hasattr(c, "inotify_init1"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "inotify")
        found = c.inotify_init1(ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK))
        if found < 0:
            code = ctypes.get_errno()
            if code == errno.EMFILE:
                raise LimitReachedError(limit_reached("max_user_instances", "instances"))
            raise OSError(code, os.strerror(code), "inotify")
        self.fd: int = found

    def close(self) -> None:
        """Hear nothing more."""
        os.close(self.fd)

    def hear(self, folder: int) -> int:
        """Hear what happens in an open folder; return its number, the same if it is heard already.

        Raises:
            LimitReachedError: where too many folders are watched.
            OSError: where it can't be heard.
        """
        number: int = libc().inotify_add_watch(
            ctypes.c_int(self.fd),
            ctypes.c_char_p(b"/proc/self/fd/%d" % folder),
            ctypes.c_uint32(_CHANGES | _ONLY_FOLDERS | _BUT_UNLINKED),
        )
        if number < 0:
            code = ctypes.get_errno()
            if code == errno.ENOSPC:
                raise LimitReachedError(limit_reached("max_user_watches", "watched folders"))
            raise OSError(code, os.strerror(code), "inotify")
        return number

    def read(self) -> Iterator[Heard]:
        """Yield what was heard, not all of it where that is much; nothing when there is nothing."""
        for data in read_queue(self.fd, _READS):
            yield from _events(data)


def read_queue(fd: int, most: int) -> Iterator[bytes]:
    """Yield what waits in a queue of the kernel's, whole events, by so many reads at most."""
    for _ in range(most):
        try:
            data = os.read(fd, _BUFFER)
        except BlockingIOError:
            return
        yield data
        if len(data) < _BUFFER // 2:
            return


def _events(data: bytes) -> Iterator[Heard]:
    at = 0
    while at + _EVENT.size <= len(data):
        folder, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield Heard(folder, mask, data[at : at + length].rstrip(b"\0"))
        at += length


def limit_reached(name: str, what: str) -> str:
    """Say that one of inotify's limits is reached, and what raises it."""
    value = _setting(name)
    more = f"; sysctl fs.inotify.{name}={4 * value} helps" if value is not None else ""
    count = f" of {value:,}" if value is not None else ""
    return (
        f"inotify's limit{count} {what} is reached:"
        f" everything is looked at once a second instead{more}"
    )


def _setting(name: str) -> int | None:
    with suppress(OSError, ValueError), open(_SETTINGS + name) as file:
        return int(file.read(32))
    return None
