"""What a terminal is connected to: a pseudo-terminal's master, or a container's attached socket.

All of it lives on the screen's event loop and never blocks it: output is read in small pieces
with pauses in which the screen gets its turn, and what can't be written at once waits.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

PIECE = 4096
"""Bytes that are read at once."""

TURN = 0.006
"""Seconds that output is read before the screen gets its turn."""

PAUSE = 0.003
"""Seconds that the screen gets then."""

MOST_WAITING = 1 << 20
"""Bytes that may wait to be written; what is typed beyond that is lost."""

_HEADER = struct.Struct(">B3xI")
_LAST_FRAME = 3
_MOST_LAST = 4096


class Wire(Protocol):
    """A connection to a program that thinks it has a terminal."""

    @property
    def waiting(self) -> int:
        """Bytes that are not written yet."""

    def open(self, take: Callable[[bytes], None], ended: Callable[[int | None], None]) -> None:
        """Begin to read; called once, on the event loop.

        Args:
            take: gets what the program writes.
            ended: called once at the end, with the exit status where it is known.
        """

    def write(self, data: bytes) -> None:
        """Send what was typed."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal's size."""

    def close(self) -> None:
        """Let go of it; `ended` is not called any more."""


class DescriptorWire:
    """A wire over a descriptor that is the wire's own from now on: a pty's master."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take: Callable[[bytes], None] = lambda data: None
        self._ended: Callable[[int | None], None] = lambda status: None
        self._out = bytearray()
        self._pausing: asyncio.TimerHandle | None = None
        self._closed = False
        self.status: int | None = None
        """The program's exit status, where the wire told it."""

    @property
    def waiting(self) -> int:
        """Bytes that are not written yet."""
        return len(self._out)

    def open(self, take: Callable[[bytes], None], ended: Callable[[int | None], None]) -> None:
        """Begin to read."""
        self._take, self._ended = take, ended
        self._loop = asyncio.get_running_loop()
        os.set_blocking(self._descriptor, False)
        self._read_on()
        if self._out:
            self._loop.add_writer(self._descriptor, self._write_on)

    def write(self, data: bytes) -> None:
        """Send what was typed."""
        if self._closed or len(self._out) + len(data) > MOST_WAITING:
            return
        idle = not self._out
        self._out += data
        if idle and self._loop is not None:
            self._write_on()
            if self._out and not self._closed:
                self._loop.add_writer(self._descriptor, self._write_on)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal's size; the program gets SIGWINCH."""
        if not self._closed:
            with suppress(OSError, termios.error):
                termios.tcsetwinsize(self._descriptor, (rows, columns))

    def close(self) -> None:
        """Let go of it: the program gets SIGHUP."""
        if self._closed:
            return
        self._closed = True
        if self._pausing is not None:
            self._pausing.cancel()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
        self._let_go()

    def _let_go(self) -> None:
        os.close(self._descriptor)

    def _read_on(self) -> None:
        self._pausing = None
        if self._loop is not None and not self._closed:
            self._loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        """Read for one turn; then let the screen have one, lest a flood drowns its keys."""
        end = time.monotonic() + TURN
        while not self._closed:
            try:
                data = os.read(self._descriptor, PIECE)
            except BlockingIOError:
                return
            except OSError:
                # EIO: nobody has the other end open.
                data = b""
            if not data or not self._decode(data):
                self._end()
                return
            if time.monotonic() > end:
                assert self._loop is not None
                self._loop.remove_reader(self._descriptor)
                self._pausing = self._loop.call_later(PAUSE, self._read_on)
                return

    def _decode(self, data: bytes) -> bool:
        """Pass on what was read; return whether more may come."""
        self._take(data)
        return True

    def _end(self) -> None:
        if not self._closed:
            self.close()
            self._ended(self.status)

    def _write_on(self) -> None:
        try:
            written = os.write(self._descriptor, self._out)
        except BlockingIOError:
            return
        except OSError:
            # The end shows on the side that reads.
            self._out.clear()
        else:
            del self._out[:written]
        if not self._out and self._loop is not None:
            self._loop.remove_writer(self._descriptor)


class FramedWire(DescriptorWire):
    """A wire over the socket of an attached container: frames come, bare bytes go.

    A frame is Docker's (its API, "attach to a container", stream format): the stream's number,
    three zero bytes, the length, the data. Stream 3 is the end: `{"exit": status}`.
    """

    def __init__(self, connection: socket.socket, resize: Callable[[int, int], object]) -> None:
        """Take over a socket.

        Args:
            connection: attached; the wire's own from now on.
            resize: tells the container's terminal its rows and columns, at once.
        """
        super().__init__(connection.fileno())
        self._connection = connection
        self._tell_size = resize
        self._begun = b""
        self._left = 0
        self._stream = 0

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal's size."""
        if not self._closed:
            self._tell_size(rows, columns)

    def _let_go(self) -> None:
        self._connection.close()

    def _decode(self, data: bytes) -> bool:
        while data:
            if self._left and self._stream != _LAST_FRAME:
                self._take(data[: self._left])
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                continue
            data, self._begun = self._begun + data, b""
            if self._left:
                if len(data) < self._left:
                    self._begun = data
                    return True
                self._read_status(data[: self._left])
                return False
            if len(data) < _HEADER.size:
                self._begun = data
                return True
            self._stream, self._left = _HEADER.unpack_from(data)
            data = data[_HEADER.size :]
            if self._stream == _LAST_FRAME and self._left > _MOST_LAST:
                return False
        return True

    def _read_status(self, data: bytes) -> None:
        with suppress(ValueError):
            told = json.loads(data)
            if isinstance(told, dict) and isinstance(told.get("exit"), int):
                self.status = told["exit"]
