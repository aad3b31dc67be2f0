"""What commands read and write: files of the union, pipes between commands, the terminal."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import Protocol

from layerview.unionfs.shell.places import Place, fail
from layerview.unionfs.union import Caller

PIECE = 1 << 20
MAX_SHOWN = 16 << 20
"""Bytes that one line may bring to the terminal."""
MAX_PIPED = 64 << 20
"""Bytes that a command may hand to the next one."""
_IN_MEMORY = 1 << 20


class Interrupted(Exception):
    """The person wants it to stop."""


class Source(Protocol):
    """Something to read."""

    def read(self, most: int) -> bytes:
        """Return some bytes; none at the end."""


class Sink(Protocol):
    """Something to write to."""

    def write(self, data: bytes) -> None:
        """Take all of it."""


class Nothing:
    """/dev/null: nothing comes out of it, and what goes in is gone."""

    def read(self, most: int) -> bytes:
        """See Source."""
        return b""

    def write(self, data: bytes) -> None:
        """See Sink."""


class Zeros:
    """/dev/zero."""

    def read(self, most: int) -> bytes:
        """See Source."""
        return bytes(min(most, PIECE))

    def write(self, data: bytes) -> None:
        """See Sink."""


class OpenFile:
    """A regular file of the tree that is open."""

    def __init__(self, place: Place, fd: int, size: int, by: Caller) -> None:
        """Use `Session.open_to_read` and `open_to_write`."""
        self.place = place
        self.fd = fd
        self.size = size
        """When it was opened: no more is read, so that no file is copied into itself for ever."""
        self._by = by
        self._left = size

    def read(self, most: int) -> bytes:
        """See Source."""
        data = os.read(self.fd, min(most, PIECE, self._left))
        self._left -= len(data)
        return data

    def seek(self, offset: int) -> None:
        """Go to an offset of the file, for reading and writing."""
        os.lseek(self.fd, offset, os.SEEK_SET)
        self._left = max(0, self.size - offset)

    def write(self, data: bytes) -> None:
        """See Sink."""
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                done += os.write(self.fd, view[done:])
        finally:
            if done:
                self.place.union.wrote(self.place.node, done, self._by)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


def refuse_devices(mode: int) -> None:
    """Make sure that it is a file or a folder: no device of an image is ever opened.

    Raises:
        OSError: ENXIO for a device, a pipe or a socket.
    """
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        fail(errno.ENXIO)


class Pipe:
    """What a command hands to the next one: all of it, before that begins."""

    def __init__(self) -> None:
        """Begin with nothing in it."""
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._size = 0

    def write(self, data: bytes) -> None:
        """See Sink."""
        self._size += len(data)
        if self._size > MAX_PIPED:
            fail(errno.EPIPE)
        self._file.write(data)

    def turn(self) -> None:
        """Begin to read what was written."""
        self._file.seek(0)

    def read(self, most: int) -> bytes:
        """See Source."""
        return self._file.read(most)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


class Shown:
    """What one line brings to the terminal, or to whom else the shell was given; bounded."""

    def __init__(self, out: Callable[[bytes], None]) -> None:
        """Hand on what is written."""
        self._out = out
        self._size = 0

    def write(self, data: bytes) -> None:
        """See Sink."""
        room = MAX_SHOWN - self._size
        self._size += len(data)
        if room > 0:
            self._out(data[:room])
        if self._size > MAX_SHOWN:
            fail(errno.EFBIG)


def pieces(source: Source, tick: Callable[[], None]) -> Iterator[bytes]:
    """Yield all that a source has."""
    while True:
        tick()
        data = source.read(PIECE)
        if not data:
            return
        yield data


def lines(source: Source, tick: Callable[[], None]) -> Iterator[bytes]:
    """Yield a source's lines with their ends; those of more than a piece in several parts."""
    rest = b""
    for data in pieces(source, tick):
        *found, rest = (rest + data).split(b"\n")
        for line in found:
            yield line + b"\n"
        if len(rest) >= PIECE:
            yield rest
            rest = b""
    if rest:
        yield rest
