"""A blob: the bytes of a layer as it is stored, in a file of its own or inside an archive."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from layerview.errors import DamageError, NotFoundError
from layerview.layer.compression import MAGIC_LENGTH, sniff
from layerview.progress import QUIET, Progress


class Blob:
    """A run of bytes in a file; nothing is opened before it is asked for."""

    def __init__(self, path: str, *, fd: int | None = None, start: int = 0, length: int) -> None:
        """Describe a blob.

        Args:
            path: the file, for opening it and for messages.
            fd: an open descriptor to use instead; it stays its owner's to close.
            start: where the blob starts in the file (bytes).
            length: bytes of the blob.
        """
        self.path = path
        self.start = start
        self.length = length
        self._fd = fd
        self._compression: str | None = None

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Give a descriptor of the file the blob lies in.

        Raises:
            NotFoundError: when the file is gone.
            DamageError: when it is no regular file any more, or shorter than it was.
        """
        if self._fd is not None:
            yield self._fd
            return
        fd = open_regular(self.path)
        try:
            if os.fstat(fd).st_size < self.start + self.length:
                raise DamageError(f"{self.path} became shorter while it was read")
            yield fd
        finally:
            os.close(fd)

    @property
    def descriptor(self) -> int | None:
        """The open descriptor that the blob is read from, where it has one."""
        return self._fd

    @property
    def compression(self) -> str:
        """The compression, judged from the first bytes."""
        if self._compression is None:
            with self.opened() as fd:
                length = min(MAGIC_LENGTH, self.length)
                self._compression = sniff(os.pread(fd, length, self.start))
        return self._compression

    def identity(self) -> tuple[int, ...]:
        """Tell this file's bytes from others: device, inode, size, mtime_ns, offset, length."""
        with self.opened() as fd:
            found = os.fstat(fd)
        return (
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            self.start,
            self.length,
        )


class BlobReader(io.RawIOBase):
    """Reads a blob from its start; reports progress, and shows all bytes read to `passed`."""

    def __init__(
        self,
        fd: int,
        blob: Blob,
        *,
        passed: Callable[[memoryview], object] | None = None,
        progress: Progress = QUIET,
        what: str = "",
    ) -> None:
        super().__init__()
        self._fd = fd
        self._blob = blob
        self._at = 0
        self._passed = passed
        self._progress = progress
        self._what = what

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See io.RawIOBase."""
        view = memoryview(buffer).cast("B")
        room = min(len(view), self._blob.length - self._at)
        if room <= 0:
            return 0
        count = os.preadv(self._fd, [view[:room]], self._blob.start + self._at)
        self._at += count
        if self._passed is not None and count:
            self._passed(view[:count])
        self._progress.step(self._what, self._at, self._blob.length)
        return count

    def buffered(self) -> IO[bytes]:
        """Read ahead in pieces of 256 KiB."""
        return io.BufferedReader(self, 1 << 18)

    def drain(self) -> None:
        """Read to the end, so that `passed` has seen every byte."""
        buffer = memoryview(bytearray(1 << 18))
        while self.readinto(buffer):
            pass


def open_regular(path: str) -> int:
    """Open a file for reading; a device, FIFO or socket is refused without waiting on it.

    Raises:
        NotFoundError: when it is not there or may not be read.
        DamageError: when it is no regular file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise NotFoundError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DamageError(f"{path} is no regular file")
    return fd
