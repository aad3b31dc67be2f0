"""Random access into gzip layers, where the extra `seek` (rapidgzip) is installed.

Without it a file in a compressed layer is reached by decompressing what stands before it. With it
that is so for the first look alone: places to start from are remembered on the way.
"""

from __future__ import annotations

import io
import os
from functools import cache
from typing import IO

from layerview.errors import DamageError
from layerview.layer.blob import Blob


@cache
def can_seek() -> bool:
    """Whether rapidgzip is there."""
    import importlib.util

    return importlib.util.find_spec("rapidgzip") is not None


class SeekableGzip:
    """The plain bytes of a gzip blob, by offset; may be shared by threads."""

    def __init__(self, blob: Blob) -> None:
        """Open a blob.

        Raises:
            NotFoundError: when its file can't be opened.
        """
        import threading

        import rapidgzip

        with blob.opened() as fd:
            part = _Part(os.dup(fd), blob.start, blob.length)
        self._lock = threading.Lock()
        self._file: IO[bytes] = rapidgzip.open(part, parallelization=1)

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at an offset; fewer where the layer ends.

        Raises:
            DamageError: when the gzip data is corrupt.
        """
        with self._lock:
            try:
                self._file.seek(offset)
                return self._file.read(size)
            except (RuntimeError, ValueError, OSError, EOFError) as error:
                raise DamageError(f"the gzip data is corrupt: {error}") from None


class _Part(io.RawIOBase):
    """A run of bytes of a file, as a file."""

    def __init__(self, fd: int, start: int, length: int) -> None:
        super().__init__()
        self._fd = fd
        self._start = start
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        room = min(len(view), self._length - self._at)
        if room <= 0:
            return 0
        count = os.preadv(self._fd, [view[:room]], self._start + self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
