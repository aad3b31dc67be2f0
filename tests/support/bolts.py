"""Databases of bbolt, made by hand, page for page."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Tree: TypeAlias = "Mapping[bytes, bytes | Tree]"

BRANCH, LEAF, META, FREE = 1, 2, 4, 16
FIRST = 3
"""The first page that is neither a meta page nor the free list."""


def checksum(data: bytes) -> int:
    """Hash by FNV-1a, 64 bits."""
    found = 14695981039346656037
    for byte in data:
        found = (found ^ byte) * 1099511628211 % 2**64
    return found


def meta(
    number: int,
    *,
    root: int,
    pages: int,
    transaction: int,
    page_size: int = 4096,
    version: int = 2,
    magic: int = 0xED0CDAED,
    wrong: int = 0,
) -> bytes:
    """Return a meta page; `wrong` is added to its checksum."""
    head = struct.pack("=IIIIQQQQQ", magic, version, page_size, 0, root, 0, 2, pages, transaction)
    page = struct.pack("=QHHI", number, META, 0, 0) + head
    page += struct.pack("=Q", (checksum(head) + wrong) % 2**64)
    return page.ljust(page_size, b"\0")


class Writer:
    """Puts the pages of a database together."""

    def __init__(self, page_size: int = 4096, *, inline: bool = True) -> None:
        """Begin.

        Args:
            page_size: bytes.
            inline: whether small buckets lie in the value itself, as bbolt has it.
        """
        self.page_size = page_size
        self._inline = inline
        self._pages: list[bytes] = []

    def _put(self, flags: int, count: int, body: bytes) -> int:
        number = FIRST + sum(len(page) // self.page_size for page in self._pages)
        over = (16 + len(body) - 1) // self.page_size
        page = struct.pack("=QHHI", number, flags, count, over) + body
        self._pages.append(page.ljust((over + 1) * self.page_size, b"\0"))
        return number

    def bucket(self, tree: Tree, *, top: bool = True) -> bytes:
        """Write a bucket; return what stands for it in the bucket above."""
        elements = []
        for key in sorted(tree):
            value = tree[key]
            if isinstance(value, bytes):
                elements.append((0, key, value))
            else:
                elements.append((1, key, self.bucket(value, top=False)))
        size = 16 + sum(16 + len(key) + len(value) for _, key, value in elements)
        plain = not any(flags for flags, _, _ in elements)
        if self._inline and not top and plain and size <= self.page_size // 4:
            body = leaf(elements)
            return struct.pack("=QQ", 0, 0) + struct.pack("=QHHI", 0, LEAF, len(elements), 0) + body
        return struct.pack("=QQ", self._tree(elements), 0)

    def _tree(self, elements: Sequence[tuple[int, bytes, bytes]]) -> int:
        level: list[tuple[bytes, int]] = []
        waiting: list[tuple[int, bytes, bytes]] = []
        room = self.page_size - 16
        for element in elements:
            need = 16 + len(element[1]) + len(element[2])
            if waiting and need > room:
                level.append((waiting[0][1], self._put(LEAF, len(waiting), leaf(waiting))))
                waiting, room = [], self.page_size - 16
            waiting.append(element)
            room -= need
        first = waiting[0][1] if waiting else b""
        level.append((first, self._put(LEAF, len(waiting), leaf(waiting))))
        most = max(2, self.page_size // 128)
        while len(level) > 1:
            groups = [level[at : at + most] for at in range(0, len(level), most)]
            level = [(one[0][0], self._put(BRANCH, len(one), branch(one))) for one in groups]
        return level[0][1]

    def finish(self, tree: Tree, *, transaction: int = 8) -> bytes:
        """Write all; return the file."""
        root = struct.unpack_from("=Q", self.bucket(tree))[0]
        return self.file(root, transaction=transaction)

    def file(self, root: int, *, transaction: int = 8) -> bytes:
        """Return the file whose root bucket has a page."""
        body = b"".join(self._pages)
        pages = FIRST + len(body) // self.page_size
        size = self.page_size
        metas = [
            meta(at, root=root, pages=pages, page_size=size, transaction=transaction - at)
            for at in (0, 1)
        ]
        free = struct.pack("=QHHI", 2, FREE, 0, 0).ljust(size, b"\0")
        return b"".join(metas) + free + body


def leaf(elements: Sequence[tuple[int, bytes, bytes]]) -> bytes:
    """Return what follows the header of a leaf page."""
    heads, data = b"", b""
    for at, (flags, key, value) in enumerate(elements):
        position = 16 * (len(elements) - at) + len(data)
        heads += struct.pack("=IIII", flags, position, len(key), len(value))
        data += key + value
    return heads + data


def branch(below: Sequence[tuple[bytes, int]]) -> bytes:
    """Return what follows the header of a branch page."""
    heads, data = b"", b""
    for at, (key, page) in enumerate(below):
        heads += struct.pack("=IIQ", 16 * (len(below) - at) + len(data), len(key), page)
        data += key
    return heads + data


def database(tree: Tree, page_size: int = 4096, *, inline: bool = True) -> bytes:
    """Return a database that holds buckets and values."""
    return Writer(page_size, inline=inline).finish(tree)


def sealed(data: bytes) -> bytes:
    """Give the meta pages of a damaged database right checksums, so that it is looked into."""
    found = bytearray(data)
    size = struct.unpack_from("=I", found, 24)[0] if len(found) >= 28 else 0
    for at in (0, size):
        if at + 80 <= len(found):
            struct.pack_into("=Q", found, at + 72, checksum(bytes(found[at + 16 : at + 72])))
    return bytes(found)
