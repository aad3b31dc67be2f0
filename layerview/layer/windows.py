"""Looking at the bytes of a plain tar: by offset where they can be, else forward only."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from layerview.progress import QUIET, Progress

_WINDOW = 16 * 1024
"""Bytes a look-up reads around a header: measured best of 4 KiB to 1 MiB, warm and cold."""


class Readable(Protocol):
    """What a forward window reads from."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes; b"" at the end."""


class Window(Protocol):
    """Bytes of a plain tar, asked for in ascending order of their offsets."""

    def at(self, offset: int) -> tuple[bytes, int]:
        """Return bytes that hold `offset` and the 512 after it, and the offset of their first.

        Fewer bytes than that mean that the tar ends there.
        """

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at an offset; fewer where the tar ends."""

    def skip_to(self, offset: int) -> int:
        """Pass over all bytes before an offset; return the offset reached, less at the end."""


class FileWindow:
    """A plain tar that lies in a file, or in a part of one."""

    def __init__(
        self, fd: int, start: int, length: int, progress: Progress = QUIET, what: str = ""
    ) -> None:
        self._fd = fd
        self._start = start
        self._length = length
        self._progress = progress
        self._what = what
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, start, length, os.POSIX_FADV_SEQUENTIAL)

    def at(self, offset: int) -> tuple[bytes, int]:
        """See Window."""
        self._progress.step(self._what, offset, self._length)
        return self.read(offset, _WINDOW), offset

    def read(self, offset: int, size: int) -> bytes:
        """See Window."""
        size = min(size, self._length - offset)
        return os.pread(self._fd, size, self._start + offset) if size > 0 else b""

    def skip_to(self, offset: int) -> int:
        """See Window."""
        return min(offset, self._length)


class StreamWindow:
    """A plain tar that comes as a stream, such as out of a decompressor."""

    def __init__(self, stream: Readable, passed: Callable[[bytes], object] | None = None) -> None:
        """Read from a stream.

        Args:
            stream: gives the plain bytes.
            passed: is shown every byte once, in order (a hash's update, say).
        """
        self._stream = stream
        self._passed = passed
        self._chunk = b""
        self._start = 0
        self._ended = False

    def _fill(self) -> bytes:
        data = b"" if self._ended else self._stream.read(1 << 18)
        if not data:
            self._ended = True
        elif self._passed is not None:
            self._passed(data)
        return data

    def _forward(self, offset: int, size: int) -> None:
        """Hold `size` bytes from `offset` on, or all that there are."""
        end = self._start + len(self._chunk)
        if offset + size <= end:
            return
        pieces = []
        if offset < end:
            pieces.append(self._chunk[offset - self._start :])
            start = offset
        else:
            start = end
        while start + sum(map(len, pieces)) < offset + size:
            data = self._fill()
            if not data:
                break
            if start + len(data) <= offset and not pieces:
                start += len(data)
                continue
            pieces.append(data)
        self._chunk, self._start = b"".join(pieces), start

    def at(self, offset: int) -> tuple[bytes, int]:
        """See Window."""
        self._forward(offset, 512)
        return self._chunk, self._start

    def read(self, offset: int, size: int) -> bytes:
        """See Window."""
        self._forward(offset, size)
        return self._chunk[offset - self._start : offset - self._start + size]

    def skip_to(self, offset: int) -> int:
        """See Window."""
        self._forward(offset, 0)
        while self._start + len(self._chunk) < offset:
            self._start += len(self._chunk)
            self._chunk = self._fill()
            if not self._chunk:
                break
        return min(offset, self._start + len(self._chunk))

    def drain(self) -> int:
        """Read to the end, so that `passed` has seen every byte; return their number."""
        end = self._start + len(self._chunk)
        while data := self._fill():
            end += len(data)
        self._chunk, self._start = b"", end
        return end
