"""Databases of Docker and BuildKit (bbolt files), read on a copy in memory and never written.

The format is that of go.etcd.io/bbolt 1.3, version 2: pages of a B+ tree, two of which say in turn
where its root is. An engine may write the file meanwhile: a transaction only writes pages that
were free before it, and says last where its root is. So a copy is of one moment when no
transaction ended while it was made.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator

from layerview.errors import (
    DamageError,
    FormatError,
    LayerviewError,
    LimitError,
    NotFoundError,
)
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.store.data_root import DataRoot

MAX_BYTES = 256 << 20
"""The largest database that is read; real ones have some megabytes."""

_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH, _LEAF, _META = 0x01, 0x02, 0x04
_IS_BUCKET = 0x01
_MAX_DEPTH = 64
"""Pages above a leaf, and buckets in buckets; a tree that fits in memory is never so deep."""
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 18))
_MOST_VISITS = 8
"""How often every page may be looked at: each time that a bucket is gone through."""
_TRIES = 50
_PAUSE = 0.01
"""Seconds between two tries, while transactions end faster than the file is read."""
_PIECE = 1 << 20

# In the byte order of the machine, as bbolt writes them.
_PAGE = struct.Struct("=QHHI")
"""Number, flags, count of elements, count of pages that it runs on over."""
_HEAD = struct.Struct("=IIIIQQQQQQ")
"""Of a meta page: magic, version, page size, flags; root page and sequence of the root bucket;
free list, count of pages, transaction, checksum."""
_BRANCH_ELEMENT = struct.Struct("=IIQ")
"""Where its key is, counted from here, and how long; the page below."""
_LEAF_ELEMENT = struct.Struct("=IIII")
"""Flags; where its key is, counted from here; how long key and value are."""
_BUCKET = struct.Struct("=QQ")
"""Root page, or 0 where the bucket's only page follows; sequence."""


class _Meta:
    """What one of the two meta pages says."""

    __slots__ = ("page_size", "pages", "root", "transaction")

    def __init__(self, data: bytes) -> None:
        """Read the head that follows the header of a page.

        Raises:
            DamageError: when it is none.
        """
        if len(data) < _PAGE.size + _HEAD.size:
            raise DamageError("is too short")
        flags = _PAGE.unpack_from(data)[1]
        fields = _HEAD.unpack_from(data, _PAGE.size)
        magic, version, self.page_size, _, self.root, _, _, self.pages, self.transaction = fields[
            :9
        ]
        if magic != _MAGIC or not flags & _META:
            raise DamageError("is no meta page")
        if version != _VERSION:
            raise DamageError(f"is of version {version}")
        if fields[9] != _checksum(data[_PAGE.size : _PAGE.size + _HEAD.size - 8]):
            raise DamageError("has a wrong checksum")
        if self.page_size not in _PAGE_SIZES:
            raise DamageError(f"has pages of {self.page_size} bytes")


class Bucket:
    """A bucket: keys, in their order, with values or further buckets."""

    __slots__ = ("_database", "_depth", "_inline", "_root")

    def __init__(self, database: Database, root: int, inline: bytes, depth: int) -> None:
        self._database = database
        self._root = root
        self._inline = inline
        self._depth = depth

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Yield each key with its value or bucket.

        Raises:
            DamageError: when the pages are not what they should be.
        """
        database = self._database
        depth = self._depth + 1
        for flags, key, value in database.leaves(self._root, self._inline):
            if not flags & _IS_BUCKET:
                yield key, value
                continue
            if len(value) < _BUCKET.size or depth > _MAX_DEPTH:
                raise database.damage("a bucket that is none")
            root, _ = _BUCKET.unpack_from(value)
            yield key, Bucket(database, root, b"" if root else value[_BUCKET.size :], depth)

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """Yield the buckets alone."""
        for key, value in self.items():
            if isinstance(value, Bucket):
                yield key, value

    def values(self) -> dict[bytes, bytes]:
        """Return the values alone, by key."""
        return {key: value for key, value in self.items() if isinstance(value, bytes)}

    def bucket(self, name: bytes) -> Bucket | None:
        """Return a bucket by name; None when there is none."""
        return next((bucket for key, bucket in self.buckets() if key == name), None)


class Database:
    """A database as it was at one moment."""

    def __init__(self, fd: int, name: str) -> None:
        """Copy it.

        Args:
            fd: the file, which stays its owner's to close.
            name: of the file, for errors.

        Raises:
            FormatError: when it is no file.
            LimitError: when it has more than `MAX_BYTES`.
            DamageError: when no meta page is whole.
            LayerviewError: when it changes faster than it can be read.
        """
        self._name = printable(name)
        self._data = b""
        self._meta: _Meta | None = None
        self._visited = 0
        """Pages that were looked at; buckets that share them would have no end."""
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise FormatError(f"{self._name} is no file")
        for attempt in range(_TRIES):
            if not os.fstat(fd).st_size:
                return  # made, and not written yet
            before = self._newest(fd)
            self._data = self._read(fd)
            if self._newest(fd).transaction == before.transaction:
                self._meta = before
                return
            time.sleep(_PAUSE * min(attempt, 10))
        raise LayerviewError(f"{self._name} changes all the time; try again in a moment")

    @property
    def root(self) -> Bucket:
        """The bucket that has all others; empty in a database that was never written."""
        if self._meta is None:
            return Bucket(self, 0, _PAGE.pack(0, _LEAF, 0, 0), 0)
        return Bucket(self, self._meta.root, b"", 0)

    def damage(self, what: str) -> DamageError:
        """Return the error that says what was found in the file."""
        return DamageError(f"{self._name} is damaged: {what}")

    def _newest(self, fd: int) -> _Meta:
        """Read both meta pages; return the whole one whose transaction is the last."""
        found = []
        said = ""
        size = _PAGE.size + _HEAD.size
        # The second is one page behind the first, whose size a damaged first can't say.
        try:
            found.append(_Meta(self._piece(fd, 0, size)))
            seconds: tuple[int, ...] = (found[0].page_size,)
        except DamageError as error:
            said = f"its first meta page {error}"
            seconds = _PAGE_SIZES
        for at in seconds:
            try:
                meta = _Meta(self._piece(fd, at, size))
            except DamageError:
                continue
            if meta.page_size == at:
                found.append(meta)
        if not found:
            raise self.damage(f"{said}, and the second is none")
        return max(found, key=lambda meta: meta.transaction)

    def _piece(self, fd: int, at: int, size: int) -> bytes:
        try:
            return os.pread(fd, size, at)
        except OSError as error:
            raise self.damage((error.strerror or str(error)).lower()) from None

    def _read(self, fd: int) -> bytes:
        pieces, at = [], 0
        while data := self._piece(fd, at, _PIECE):
            pieces.append(data)
            at += len(data)
            if at > MAX_BYTES:
                raise LimitError(f"{self._name} is longer than {MAX_BYTES:,} bytes")
        return b"".join(pieces)

    def leaves(self, root: int, inline: bytes = b"") -> Iterator[tuple[int, bytes, bytes]]:
        """Yield the elements of a bucket in the order of their keys: flags, key, value.

        Args:
            root: its root page; 0 where the bucket has but one page, which `inline` holds.
            inline: that page.
        """
        last: bytes | None = None
        seen: set[int] = set()
        # By level: what is left of a branch page.
        waiting: list[Iterator[int]] = [iter((root,))]
        while waiting:
            number = next(waiting[-1], None)
            if number is None:
                waiting.pop()
                continue
            if number in seen or len(waiting) > _MAX_DEPTH:
                raise self.damage(f"page {number} is reached twice")
            seen.add(number)
            page, flags, count = self._page(number, inline)
            if flags & _BRANCH and number:
                waiting.append(iter(self._below(page, count)))
                continue
            if not flags & _LEAF:
                raise self.damage(f"page {number} is no part of a tree")
            for found in self._elements(page, count):
                if last is not None and found[1] <= last:
                    raise self.damage(f"the keys of page {number} are out of order")
                last = found[1]
                yield found

    def _page(self, number: int, inline: bytes) -> tuple[bytes, int, int]:
        """Return a page with those that it runs on over, its flags and its count."""
        if not number:
            if len(inline) < _PAGE.size:
                raise self.damage("a bucket without a page")
            _, flags, count, _ = _PAGE.unpack_from(inline)
            return inline, flags, count
        assert self._meta is not None
        size, at = self._meta.page_size, number * self._meta.page_size
        if not 1 < number < self._meta.pages or at + _PAGE.size > len(self._data):
            raise self.damage(f"page {number} lies outside")
        said, flags, count, over = _PAGE.unpack_from(self._data, at)
        end = at + (over + 1) * size
        self._visited += over + 1
        if self._visited > _MOST_VISITS * self._meta.pages:
            raise self.damage("buckets share pages")
        if said != number or number + over >= self._meta.pages or end > len(self._data):
            raise self.damage(f"page {number} is another one")
        return self._data[at:end], flags, count

    def _below(self, page: bytes, count: int) -> list[int]:
        """Return the pages below a branch page."""
        end = _PAGE.size + count * _BRANCH_ELEMENT.size
        if end > len(page) or not count:
            raise self.damage("a branch page that leads nowhere")
        return [found[2] for found in _BRANCH_ELEMENT.iter_unpack(page[_PAGE.size : end])]

    def _elements(self, page: bytes, count: int) -> Iterator[tuple[int, bytes, bytes]]:
        end = _PAGE.size + count * _LEAF_ELEMENT.size
        if end > len(page):
            raise self.damage("a leaf page with more elements than it has room for")
        at = _PAGE.size
        for flags, position, keys, values in _LEAF_ELEMENT.iter_unpack(page[at:end]):
            key = at + position
            value = key + keys
            if value + values > len(page) or key < end:
                raise self.damage("an element that lies outside its page")
            yield flags, page[key:value], page[value : value + values]
            at += _LEAF_ELEMENT.size


def read_database(root: DataRoot, below: str) -> Database | None:
    """Read a database of a data root; None when it is not there.

    Raises:
        LayerviewError: when it can't be read.
    """
    path = os.path.join(root.path, below)
    try:
        fd = root.open_file(path)
    except NotFoundError:
        try:
            os.lstat(path)
        except FileNotFoundError:
            return None
        except OSError:
            pass
        raise
    try:
        return Database(fd, path)
    finally:
        os.close(fd)


def _checksum(data: bytes) -> int:
    """Hash bytes by FNV-1a of 64 bits."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found
