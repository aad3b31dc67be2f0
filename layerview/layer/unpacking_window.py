"""The bytes of a tar that is unpacked: each hashed once, and given to one file or the tar-split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Semaphore, Thread

from layerview.layer.tar import TarDamage
from layerview.layer.tar_split import TarSplitWriter
from layerview.layer.windows import Readable
from layerview.progress import Progress

_PIECE = 1 << 20
_KEEP = 1 << 16
"""Bytes behind the position that a window holds, so that headers make few segments."""


class _Hashing:
    """sha256 in a thread of its own: hashlib lets others work meanwhile."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = Semaphore(4)
        self._thread = Thread(target=self._run, daemon=True, name="sha256")
        self._thread.start()

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            self._sum.update(data)
            self._room.release()

    def update(self, data: bytes) -> None:
        """Hash bytes soon."""
        self._room.acquire()
        self._queue.put(data)

    def close(self) -> None:
        """Wait for the end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def hexdigest(self) -> str:
        """Return the sum of all bytes."""
        self.close()
        return self._sum.hexdigest()


class UnpackingWindow:
    """The tar's bytes, each hashed, and each given once: to a file or to the tar-split.

    See windows.Window.
    """

    def __init__(
        self,
        stream: Readable,
        tar_split: TarSplitWriter | None,
        progress: Progress,
        what: str,
    ) -> None:
        self._stream = stream
        self._tar_split = tar_split
        self._progress = progress
        self._what = what
        self._hash = _Hashing()
        self._chunk = b""
        self._start = 0
        self._end = 0
        self._given = 0
        """What is before it was given away."""

    def _fill(self) -> bytes:
        data = self._stream.read(_PIECE)
        if data and len(data) < _PIECE // 4:
            # Decoders give little at a time.
            pieces, size = [data], len(data)
            while size < _PIECE // 2 and (data := self._stream.read(_PIECE - size)):
                pieces.append(data)
                size += len(data)
            data = b"".join(pieces)
        if data:
            self._hash.update(data)
            self._progress.step(self._what, self._end + len(data), None)
        return data

    def _give(self, offset: int) -> None:
        """Give what is before an offset, and not a file's, to the tar-split."""
        if offset > self._given:
            if self._tar_split is not None:
                at = self._given - self._start
                self._tar_split.segment(self._chunk[at : offset - self._start])
            self._given = offset

    def _hold(self, offset: int, size: int) -> None:
        """Hold `size` bytes from an offset on, or all that there are."""
        if offset + size <= self._end:
            return
        if offset - self._given > _KEEP:
            self._give(min(offset, self._end))
        pieces = [self._chunk[self._given - self._start :]]
        self._start = self._given
        while self._end < offset + size and (data := self._fill()):
            self._end += len(data)
            pieces.append(data)
            if self._end <= offset:
                self._chunk = b"".join(pieces)
                self._give(self._end)
                pieces, self._start = [], self._end
        self._chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def at(self, offset: int) -> tuple[bytes, int]:
        """See Window."""
        self._hold(offset, 512)
        return self._chunk, self._start

    def read(self, offset: int, size: int) -> bytes:
        """See Window."""
        self._hold(offset, size)
        return self._chunk[offset - self._start : offset - self._start + size]

    def skip_to(self, offset: int) -> int:
        """See Window."""
        self._hold(offset, 0)
        return min(offset, self._end)

    def header(self, data: int) -> None:
        """Give what is before an entry's data to the tar-split."""
        self._hold(data, 0)
        self._give(min(data, self._end))

    def data(self, offset: int, size: int) -> Iterator[bytes | memoryview]:
        """Yield a file's bytes, which the tar-split does not get.

        Raises:
            TarDamage: when the tar ends before.
        """
        left = size
        while left:
            if offset == self._end:
                self._chunk = self._fill()
                self._start, self._end = offset, offset + len(self._chunk)
                if not self._chunk:
                    raise TarDamage(f"truncated: the tar ends at byte {offset}, inside a file")
            here = min(left, self._end - offset)
            at = offset - self._start
            whole = not at and here == len(self._chunk)
            # Given first, so that what stops half-way leaves no byte for two.
            self._given = offset = offset + here
            left -= here
            yield self._chunk if whole else memoryview(self._chunk)[at : at + here]

    def drain(self) -> None:
        """Read what is behind the tar's end."""
        self._give(self._end)
        while data := self._fill():
            self._chunk, self._start = data, self._end
            self._end += len(data)
            self._give(self._end)

    def diff_id(self) -> str:
        """Return the sum of all bytes."""
        return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        """End the thread."""
        self._hash.close()
