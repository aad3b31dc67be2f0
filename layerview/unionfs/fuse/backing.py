"""Passthrough: the kernel reads and writes a file itself that an open one stands for."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from contextlib import suppress

from layerview.unionfs.fuse.mount import checked, libc
from layerview.unionfs.fuse.protocol import BACKING_CLOSE, BACKING_MAP, BACKING_OPEN

_CAPABILITIES_3 = 0x20080522
_CAP_FSETID = 1 << 4
_SETS = struct.Struct("=6I")
"""Effective, permitted, inheritable: of the first 32 capabilities, then of the others."""


class Backing:
    """The files that one connection has registered with the kernel."""

    def __init__(self, connection: int) -> None:
        """Speak on a connection that has answered INIT with passthrough."""
        self._connection = connection
        self._head = struct.pack("=Ii", _CAPABILITIES_3, 0)
        sets = ctypes.create_string_buffer(_SETS.size)
        capget = libc().capget
        checked(capget(ctypes.c_char_p(self._head), sets), "capget")
        self._all = sets.raw
        first, *others = _SETS.unpack(self._all)
        self._fewer = _SETS.pack(first & ~_CAP_FSETID, *others)
        self._capset = libc().capset
        self._capset.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        self._has_fewer = False

    def works(self, folder: int) -> bool:
        """Whether the kernel takes files of a folder's file system from this process.

        It says yes at INIT also where it refuses every file afterwards: in a user namespace.

        Args:
            folder: a descriptor; nothing is written there but an unnamed file for a moment.
        """
        try:
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError:
            return False
        try:
            self.close(self.open(fd))
        except OSError:
            return False
        finally:
            os.close(fd)
            self.regain()
        return True

    def open(self, fd: int) -> int:
        """Register a file; return its number.

        The kernel writes as who registered it. Without CAP_FSETID a write takes away what a write
        takes away: the setuid and setgid bits of a file that got them while it was open. It stays
        without until `regain`.

        Raises:
            OSError: when the kernel does not take it.
        """
        if not self._has_fewer:
            self._capset(self._head, self._fewer)
            self._has_fewer = True
        # With other than a bytearray it gives back the buffer, not the number.
        said = bytearray(BACKING_MAP.pack(fd, 0, 0))
        number: int = fcntl.ioctl(self._connection, BACKING_OPEN, said)
        return number

    def regain(self) -> None:
        """Have CAP_FSETID again, before the server itself may set or keep those bits."""
        if self._has_fewer:
            self._capset(self._head, self._all)
            self._has_fewer = False

    def close(self, number: int) -> None:
        """Let go of a file; what is open goes on."""
        with suppress(OSError):
            fcntl.ioctl(self._connection, BACKING_CLOSE, bytearray(struct.pack("=I", number)))
