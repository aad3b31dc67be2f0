"""The bytes of files inside a layer, fetched by offset when somebody looks at them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from layerview.errors import DamageError
from layerview.layer.blob import Blob, BlobReader
from layerview.layer.compression import open_plain
from layerview.layer.index import UNRESOLVED, LayerIndex
from layerview.layer.seeking import SeekableGzip, can_seek
from layerview.layer.windows import StreamWindow
from layerview.progress import QUIET, Progress

PIECE = 1 << 20
"""Bytes of one piece of a file."""
MAX_HOLE_BYTES = 1 << 36
"""Files with more bytes of holes than this (64 GiB) are not hashed hole by hole."""

_ZEROS = bytes(PIECE)


class PlainBytes(Protocol):
    """Reads the plain bytes of a layer; in ascending order it is cheapest."""

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at an offset; fewer where the layer ends."""


class LayerContents(Protocol):
    """Gives the bytes of a layer's files."""

    def pieces(self, row: int, offset: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of the file in a row, from an offset on, at most `limit`."""

    def digests(self, rows: Iterable[int], progress: Progress = QUIET) -> dict[int, bytes]:
        """Hash the contents of files: sha256 by row.

        Two files with as many bytes have the same content when their digests are equal. Files of
        huge holes have a digest that stands for their pieces of data instead.
        """

    def each(
        self, rows: Iterable[int], progress: Progress = QUIET
    ) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """Yield rows with the data of their files, in the order in which reading is cheapest.

        The data comes in pieces, each with its offset in the file; holes are left out. A file's
        data is read before the next row is asked for, or not at all.
        """

    def stored(self, rows: Iterable[int]) -> int:
        """Sum the bytes of data that files hold, holes left out."""


class TarContents:
    """The files of a layer that is a tar, plain or compressed."""

    def __init__(self, blob: Blob, index: LayerIndex) -> None:
        self._blob = blob
        self._index = index
        self._known: dict[int, bytes] = {}
        self._seekable: SeekableGzip | None = None

    @contextmanager
    def _plain(self, progress: Progress = QUIET) -> Iterator[PlainBytes]:
        blob = self._blob
        with blob.opened() as fd:
            if blob.compression == "none":
                yield _FileBytes(fd, blob)
            else:
                reader = BlobReader(fd, blob, progress=progress, what="reading contents")
                yield _Forward(lambda: open_plain(reader.buffered(), blob.compression))

    def pieces(self, row: int, offset: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """See LayerContents.

        Raises:
            DamageError: when the layer ends inside the file.
        """
        if self._blob.compression == "gzip" and can_seek():
            if self._seekable is None:
                self._seekable = SeekableGzip(self._blob)
            given = 0
            try:
                for piece in _file_pieces(self._index, self._seekable, row, offset, limit):
                    yield piece
                    given += len(piece)
                return
            except DamageError:
                # It gives nothing of a part that it can't decompress to the part's end; read
                # forward, what comes before the damage is there.
                offset += given
                limit = None if limit is None else limit - given
        with self._plain() as plain:
            yield from _file_pieces(self._index, plain, row, offset, limit)

    def digests(self, rows: Iterable[int], progress: Progress = QUIET) -> dict[int, bytes]:
        """See LayerContents."""
        index, known = self._index, self._known
        wanted = set(rows)
        inodes = {row: index.inode(row) for row in wanted}
        todo = {row for row in inodes.values() if row != UNRESOLVED and row not in known}
        if todo:
            with self._plain(progress) as plain:
                for row in sorted(todo, key=index.offsets.__getitem__):
                    progress.check()
                    known[row] = _digest(index, plain, row)
        return {row: known[inode] for row, inode in inodes.items() if inode != UNRESOLVED}

    def each(
        self, rows: Iterable[int], progress: Progress = QUIET
    ) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """See LayerContents."""
        index = self._index
        with self._plain(progress) as plain:
            for row in sorted(rows, key=index.offsets.__getitem__):
                yield row, _data_pieces(index, plain, row)

    def stored(self, rows: Iterable[int]) -> int:
        """See LayerContents."""
        sizes, sparse = self._index.sizes, self._index.columns.sparse
        return sum(
            sum(length for _, length in sparse[row]) if row in sparse else sizes[row]
            for row in rows
        )


class _FileBytes:
    def __init__(self, fd: int, blob: Blob) -> None:
        self._fd = fd
        self._start = blob.start
        self._length = blob.length

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self._length - offset)
        if size <= 0 or offset < 0:
            return b""
        try:
            return os.pread(self._fd, size, self._start + offset)
        except OSError as error:
            raise DamageError((error.strerror or "").lower()) from None


class _Forward:
    """Decompresses forward; never asked to go back within one use."""

    def __init__(self, open_stream: Callable[[], object]) -> None:
        self._window = StreamWindow(open_stream())  # type: ignore[arg-type]

    def read(self, offset: int, size: int) -> bytes:
        self._window.skip_to(offset)
        return self._window.read(offset, size)


def is_full_of_holes(index: LayerIndex, row: int) -> bool:
    """Whether a file has more bytes of holes than anybody would want hashed."""
    pieces = index.columns.sparse.get(index.inode(row))
    if pieces is None:
        return False
    return index.sizes[row] - sum(length for _, length in pieces) > MAX_HOLE_BYTES


def _digest(index: LayerIndex, plain: PlainBytes, row: int) -> bytes:
    size = index.sizes[row]
    if size <= PIECE and row not in index.columns.sparse:
        data = plain.read(index.offsets[row], size)
        if len(data) < size:
            raise _ends_inside(index, row)
        return hashlib.sha256(data).digest()
    hashed = hashlib.sha256()
    if is_full_of_holes(index, row):
        stored = index.columns.sparse[row]
        hashed.update(repr((size, stored)).encode())
        offset = index.offsets[row]
        for _, length in stored:
            for piece in _run(plain, offset, length, index, row):
                hashed.update(piece)
            offset += length
        return hashed.digest()
    for piece in _file_pieces(index, plain, row, 0, None):
        hashed.update(piece)
    return hashed.digest()


def _file_pieces(
    index: LayerIndex, plain: PlainBytes, row: int, offset: int, limit: int | None
) -> Iterator[bytes]:
    row = index.inode(row)
    end = index.sizes[row] if limit is None else min(index.sizes[row], offset + limit)
    sparse = index.columns.sparse.get(row)
    if sparse is None:
        yield from _run(plain, index.offsets[row] + offset, end - offset, index, row)
        return
    stored = index.offsets[row]
    at = offset
    for start, length in sparse:
        stop = start + length
        if stop > at and start < end:
            yield from _zeros(min(start, end) - at)
            begin = max(at, start)
            yield from _run(plain, stored + begin - start, min(stop, end) - begin, index, row)
            at = max(at, min(stop, end))
        stored += length
    yield from _zeros(end - at)


def _data_pieces(index: LayerIndex, plain: PlainBytes, row: int) -> Iterator[tuple[int, bytes]]:
    stored = index.offsets[row]
    for start, length in index.columns.sparse.get(row, ((0, index.sizes[row]),)):
        at = start
        for piece in _run(plain, stored, length, index, row):
            yield at, piece
            at += len(piece)
        stored += length


def _run(
    plain: PlainBytes, offset: int, length: int, index: LayerIndex, row: int
) -> Iterator[bytes]:
    while length > 0:
        data = plain.read(offset, min(length, PIECE))
        if not data:
            raise _ends_inside(index, row)
        yield data
        offset += len(data)
        length -= len(data)


def _zeros(length: int) -> Iterator[bytes]:
    while length > 0:
        yield _ZEROS[:length] if length < PIECE else _ZEROS
        length -= PIECE


def _ends_inside(index: LayerIndex, row: int) -> DamageError:
    from layerview.text import printable

    return DamageError(f"the layer ends inside /{printable(index.path(row))}")
