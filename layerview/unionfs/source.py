"""A folder of a union as a tree that is copied out of it; see drivers.copying.Source."""

from __future__ import annotations

import os
from collections import OrderedDict

from layerview.unionfs.node import Node
from layerview.unionfs.tree import Tree

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST = 64


class UnionSource:
    """What a folder of a union shows, with nothing mounted."""

    def __init__(self, union: Tree, folder: Node) -> None:
        """Read a folder of a union, which stays its owner's to close."""
        self._union = union
        self._folder = folder
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def names(self, folder: bytes) -> list[bytes]:
        """See Source."""
        return [entry.name for entry in self._union.entries(self._node(folder))]

    def lies_in(self, folder: bytes, name: bytes) -> int:
        """See Source."""
        node = self._node(folder)
        return self._union.descriptor(node, self._union.lookup(node, name).branch)

    def open(self, folder: bytes) -> int:
        """See Source."""
        fd = self._open.get(folder)
        if fd is not None:
            self._open.move_to_end(folder)
            return fd
        node = self._node(folder)
        fd = os.open(".", _FOLDER, dir_fd=self._union.descriptor(node, node.branch))
        self._open[folder] = fd
        if len(self._open) > _MOST:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def close(self) -> None:
        """See Source."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _node(self, folder: bytes) -> Node:
        node = self._folder
        for name in folder.split(b"/") if folder else ():
            node = self._union.lookup(node, name)
        return node
