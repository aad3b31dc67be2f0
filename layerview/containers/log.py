"""Reading a container's log, which Docker's json-file driver or our shim wrote."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

_BLOCK = 1 << 16
_MAX_LINE = 1 << 20
"""Bytes of a line that is still read; a writer's are a tenth of that."""
_PAUSE = 0.05
"""Seconds between two looks at a log that grows."""
_STREAMS = ("stdout", "stderr")


class Line(NamedTuple):
    """An entry of a log."""

    stream: str
    """"stdout" or "stderr"."""
    data: bytes
    """A line with its line feed; without one, a part of a line."""
    time: str
    """RFC 3339, as recorded; "" where it is not."""


def read(
    path: str,
    *,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    lives: Callable[[], bool] | None = None,
) -> Iterator[Line]:
    """Yield a log's entries; damaged ones are left out, and so is one that is not finished.

    Args:
        path: the file; one that is missing has no entries.
        tail: only so many, the last ones.
        since: seconds since 1970; older ones are left out.
        until: seconds since 1970; it ends at the first one that is younger.
        lives: whether the container lives: then what it will write is waited for.

    Raises:
        OSError: when it can't be read.
    """
    first = None if since is None else _Moment(since)
    last = None if until is None else _Moment(until)
    for raw in _lines(path, tail, lives):
        line = _parsed(raw)
        if line is None or (first is not None and first.is_after(line.time)):
            continue
        first = None
        if last is not None and last.is_before(line.time):
            return
        yield line


def _parsed(raw: bytes) -> Line | None:
    try:
        # Blocks that a crash left empty are filled with zeros.
        found = json.loads(raw.strip(b"\0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    text, stream, at = found.get("log", ""), found.get("stream"), found.get("time")
    if not isinstance(text, str):
        return None
    return Line(
        stream if stream in _STREAMS else "stdout",
        text.encode("utf-8", "replace"),
        at if isinstance(at, str) else "",
    )


class _Moment:
    """A time that recorded ones are compared with, without parsing most of them."""

    def __init__(self, seconds: float) -> None:
        whole = int(seconds // 1)
        try:
            self._whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        except (ValueError, OverflowError, OSError):
            self._whole = "0" if seconds < 0 else "A"
        self._fraction = seconds - whole

    def is_after(self, recorded: str) -> bool:
        """Whether it is after a recorded time (UTC, as the writers' are)."""
        if recorded[:19] != self._whole:
            return recorded[:19] < self._whole
        return _fraction(recorded) < self._fraction

    def is_before(self, recorded: str) -> bool:
        """Whether it is before a recorded time."""
        if recorded[:19] != self._whole:
            return recorded[:19] > self._whole
        return _fraction(recorded) > self._fraction


def _fraction(recorded: str) -> float:
    digits = recorded[19:].removesuffix("Z")
    try:
        return float("0" + digits) if digits.startswith(".") else 0.0
    except ValueError:
        return 0.0


def _lines(path: str, tail: int | None, lives: Callable[[], bool] | None) -> Iterator[bytes]:
    """Yield a file's whole lines, without line feeds; those that come later, too, if asked."""
    file = _Growing(path)
    try:
        if tail is not None:
            file.go_back(tail)
        while True:
            goes_on = lives is not None and lives()
            yield from file.lines()
            if not goes_on:
                if file.held:
                    yield bytes(file.held)
                return
            time.sleep(_PAUSE)
    finally:
        file.close()


class _Growing:
    """A file that is read while others write to it, cut it or put another in its place."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._place = 0
        self._skips = False
        self.held = bytearray()
        """A line that has not ended."""
        self._open()

    def _open(self) -> bool:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(self._path, flags)
        except FileNotFoundError:
            return False
        self._place = 0
        self.held.clear()
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def go_back(self, count: int) -> None:
        """Go to where the last `count` lines begin, from the end backwards."""
        if self._fd < 0:
            return
        place = os.fstat(self._fd).st_size
        # The line feed of the last one, too, has to be passed.
        left = count + 1
        while place:
            begin = max(0, place - _BLOCK)
            block = os.pread(self._fd, place - begin, begin)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                left -= 1
                if not left:
                    self._place = begin + at + 1
                    return
            place = begin
        self._place = 0

    def lines(self) -> Iterator[bytes]:
        """Yield the whole lines up to the end of what is there."""
        while True:
            if self._fd < 0 and not self._open():
                return
            data = os.pread(self._fd, _BLOCK, self._place)
            if not data:
                if self._moved():
                    continue
                return
            self._place += len(data)
            *whole, rest = data.split(b"\n")
            for line in whole:
                if self._skips:
                    self._skips = False
                elif self.held:
                    yield bytes(self.held + line)
                else:
                    yield line
                self.held.clear()
            if not self._skips:
                self.held += rest
            if len(self.held) > _MAX_LINE:
                self._skips = True
                self.held.clear()

    def _moved(self) -> bool:
        """Begin anew where the file was cut or replaced; whether that is so."""
        if os.fstat(self._fd).st_size < self._place:
            self._place = 0
            self.held.clear()
            return True
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return False
        own = os.fstat(self._fd)
        if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
            return False
        self.close()
        return self._open()
