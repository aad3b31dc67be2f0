"""A LayerIndex as bytes, for the cache on disk and for the way between processes.

The columns follow one another as they lie in memory (little-endian), each with its length; the
few entries that have more than columns hold are columns of their own: rows, lengths, one blob.
Nothing in it is code, so that reading bytes from anywhere can at worst be refused.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable

from layerview.errors import DamageError
from layerview.layer.index import IndexColumns, LayerIndex

VERSION = 3
"""Raised whenever the form, or what an index means, changes."""

_MAGIC = b"LVIX"
_HEAD = struct.Struct("<4sHH")
_LENGTH = struct.Struct("<Q")


class _Writer:
    def __init__(self) -> None:
        self.parts: list[bytes] = [_HEAD.pack(_MAGIC, VERSION, 0)]

    def blob(self, data: bytes) -> None:
        self.parts += (_LENGTH.pack(len(data)), data)

    def column(self, column: array[int]) -> None:
        if sys.byteorder == "big":
            column = column[:]
            column.byteswap()
        self.blob(column.tobytes())

    def integers(self, numbers: Iterable[int]) -> None:
        self.column(array("q", numbers))

    def blobs(self, blobs: list[bytes]) -> None:
        self.integers(map(len, blobs))
        self.blob(b"".join(blobs))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.at = _HEAD.size
        if len(data) < _HEAD.size or _HEAD.unpack_from(data)[:2] != (_MAGIC, VERSION):
            raise DamageError("an index of another version")

    def blob(self) -> bytes:
        return bytes(self._view())

    def _view(self) -> memoryview:
        end = self.at + _LENGTH.size
        if end > len(self.data):
            raise DamageError("an index is cut off")
        (length,) = _LENGTH.unpack_from(self.data, self.at)
        if end + length > len(self.data):
            raise DamageError("an index is cut off")
        self.at = end + length
        return self.data[end : self.at]

    def column(self, code: str) -> array[int]:
        column = array(code)
        data = self._view()
        if len(data) % column.itemsize:
            raise DamageError("an index is damaged")
        column.frombytes(data)
        if sys.byteorder == "big":
            column.byteswap()
        return column

    def integers(self) -> list[int]:
        return self.column("q").tolist()

    def blobs(self) -> list[bytes]:
        lengths, data = self.integers(), self.blob()
        found, at = [], 0
        for length in lengths:
            if length < 0 or at + length > len(data):
                raise DamageError("an index is damaged")
            found.append(data[at : at + length])
            at += length
        return found


def pack(index: LayerIndex) -> bytes:
    """Write an index as bytes."""
    columns = index.columns
    out = _Writer()
    out.blob(columns.names)
    out.column(columns.name_starts)
    out.blob(columns.kinds)
    for column in (
        columns.modes,
        columns.uids,
        columns.gids,
        columns.sizes,
        columns.mtimes,
        columns.fractions if columns.fractions is not None else array("Q"),
        columns.offsets,
        columns.dir_of_row,
        columns.dir_starts,
        columns.dir_ends,
        columns.row_of_dir,
    ):
        out.column(column)
    out.integers(sorted(columns.opaque))
    for texts in (columns.targets, columns.link_paths):
        out.integers(texts)
        out.blobs(list(texts.values()))
    out.integers(columns.links)
    out.integers(columns.links.values())
    _pack_xattrs(out, columns.xattrs)
    out.integers(columns.devices)
    out.integers(part for device in columns.devices.values() for part in device)
    out.integers(columns.sparse)
    out.integers(map(len, columns.sparse.values()))
    out.integers(
        number for pieces in columns.sparse.values() for piece in pieces for number in piece
    )
    out.blobs([warning.encode("utf-8", "surrogateescape") for warning in columns.warnings])
    out.integers((columns.repeated_bytes, index.size))
    return b"".join(out.parts)


def unpack(data: bytes) -> LayerIndex:
    """Read an index from bytes.

    Raises:
        DamageError: when the bytes are not what `pack` of this version writes.
    """
    source = _Reader(data)
    try:
        columns = _columns(source)
    except (ValueError, OverflowError, UnicodeError):
        raise DamageError("an index is damaged") from None
    _check(columns)
    return LayerIndex(columns)


def _columns(source: _Reader) -> IndexColumns:
    names = source.blob()
    name_starts = source.column("Q")
    kinds = source.blob()
    modes = source.column("H")
    uids, gids = source.column("I"), source.column("I")
    sizes, mtimes = source.column("q"), source.column("q")
    fractions: array[int] | None = source.column("Q")
    columns = IndexColumns(
        names=names,
        name_starts=name_starts,
        kinds=kinds,
        modes=modes,
        uids=uids,
        gids=gids,
        sizes=sizes,
        mtimes=mtimes,
        fractions=fractions if fractions else None,
        offsets=source.column("q"),
        dir_of_row=source.column("I"),
        dir_starts=source.column("Q"),
        dir_ends=source.column("I"),
        row_of_dir=source.column("Q"),
    )
    columns.opaque = set(source.integers())
    for texts in (columns.targets, columns.link_paths):
        texts.update(zip(source.integers(), source.blobs(), strict=True))
    columns.links = dict(zip(source.integers(), source.integers(), strict=True))
    columns.xattrs = _unpack_xattrs(source)
    rows, parts = source.integers(), source.integers()
    columns.devices = dict(zip(rows, zip(parts[::2], parts[1::2], strict=True), strict=True))
    rows, counts, numbers = source.integers(), source.integers(), source.integers()
    at = 0
    for row, count in zip(rows, counts, strict=True):
        end = at + 2 * count
        if not at <= end <= len(numbers):
            raise DamageError("an index is damaged")
        columns.sparse[row] = tuple(zip(numbers[at:end:2], numbers[at + 1 : end : 2], strict=True))
        at = end
    columns.warnings = tuple(
        warning.decode("utf-8", "surrogateescape") for warning in source.blobs()
    )
    columns.repeated_bytes, columns.size = source.integers()
    return columns


def _check(columns: IndexColumns) -> None:
    """Refuse columns that do not fit each other: looking into them would fail later."""
    rows, folders = len(columns.kinds), len(columns.dir_ends)
    by_row = (
        columns.modes,
        columns.uids,
        columns.gids,
        columns.sizes,
        columns.mtimes,
        columns.offsets,
        columns.dir_of_row,
    )
    if (
        any(len(column) != rows for column in by_row)
        or len(columns.name_starts) != rows + 1
        or (columns.fractions is not None and len(columns.fractions) != rows)
        or len(columns.dir_starts) != folders + 1
        or len(columns.row_of_dir) != folders
        or not folders
        or columns.name_starts[-1] != len(columns.names)
        or columns.dir_starts[-1] > rows
    ):
        raise DamageError("an index is damaged")


def _pack_xattrs(out: _Writer, xattrs: dict[int, dict[bytes, bytes]]) -> None:
    rows = [row for row, values in xattrs.items() for _ in values]
    out.integers(rows)
    out.blobs([name for values in xattrs.values() for name in values])
    out.blobs([value for values in xattrs.values() for value in values.values()])


def _unpack_xattrs(source: _Reader) -> dict[int, dict[bytes, bytes]]:
    found: dict[int, dict[bytes, bytes]] = {}
    for row, name, value in zip(source.integers(), source.blobs(), source.blobs(), strict=True):
        found.setdefault(row, {})[name] = value
    return found
