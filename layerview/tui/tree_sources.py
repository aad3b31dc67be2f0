"""What a file tree can show: the unified view, one layer's changes, or what a filter found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from layerview.view.union import Folder, Node, UnionView


class TreeSource(Protocol):
    """A tree of nodes with their weights."""

    def root(self) -> Node:
        """Return the root folder."""

    def folder(self, path: bytes) -> Folder:
        """Return the children of a folder."""

    def weigh(self, node: Node) -> tuple[int, Mapping[int, int]]:
        """Return the bytes at and below a node, and the same by layer."""


class UnifiedTree:
    """What a container of the image sees."""

    def __init__(self, view: UnionView) -> None:
        self._view = view

    def root(self) -> Node:
        """Return the root folder."""
        node = self._view.node(b"")
        assert node is not None
        return node

    def folder(self, path: bytes) -> Folder:
        """Return the children of a folder."""
        return self._view.folder(path)

    def weigh(self, node: Node) -> tuple[int, Mapping[int, int]]:
        """Return the live bytes below a folder, and the same by layer."""
        summary = self._view.summary(node.path)
        return summary.bytes, summary.by_layer


class LayerTree(UnifiedTree):
    pass


class PrunedTree(UnifiedTree):
    pass
