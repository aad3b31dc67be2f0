"""The children of one folder of a view, each looked at only when it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from layerview.layer.index import NO_DIR, UNRESOLVED
from layerview.layer.kinds import Kind
from layerview.view.nodes import Node

if TYPE_CHECKING:
    from layerview.view.union import Merged, Stack, UnionView

_WHITEOUT = int(Kind.WHITEOUT)
_DIR = int(Kind.DIR)
_IMPLIED = int(Kind.IMPLIED_DIR)


class Folder(Sequence[Node]):
    """The children of one folder in path order, each made into a node when it is asked for."""

    def __init__(self, view: UnionView, path: bytes, stack: Stack) -> None:
        self.view = view
        self.path = path
        self.stack = stack

    @cached_property
    def _single(self) -> tuple[int, range] | None:
        """Layer and rows, where one layer holds all and deletes nothing."""
        if len(self.stack) != 1:
            return None
        layer, number = self.stack[0]
        index = self.view.layers[layer]
        assert index is not None
        rows = index.rows_in(number)
        if index.kinds.find(_WHITEOUT, rows.start, rows.stop) >= 0:
            return None
        return layer, rows

    @cached_property
    def _mixed(self) -> tuple[list[bytes], Merged]:
        merged = self.view.merge(self.stack)
        return sorted([*merged.others, *merged.folders]), merged

    def __len__(self) -> int:
        if self._single is not None:
            return len(self._single[1])
        return len(self._mixed[0]) if self.stack else 0

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        view = self.view
        prefix = self.path + b"/" if self.path else b""
        if self._single is not None:
            layer, rows = self._single
            row = rows[position]
            index = view.layers[layer]
            assert index is not None
            path = prefix + index.name(row)
            below = index.dir_of_row[row]
            if below != NO_DIR:
                return view.folder_node(path, ((layer, below),))
            return view.entry_node(path, layer, row)
        names, merged = self._mixed
        name = names[position]
        other = merged.others.get(name)
        if other is not None:
            return view.entry_node(prefix + name, *other)
        return view.folder_node(prefix + name, merged.folders[name])

    def name_at(self, position: int) -> bytes:
        """Return one child's name."""
        if self._single is not None:
            layer, rows = self._single
            index = self.view.layers[layer]
            assert index is not None
            return index.name(rows[position])
        return self._mixed[0][position]

    def find(self, name: bytes) -> int | None:
        """Find the position of a child."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.name_at(middle) < name:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.name_at(low) == name else None

    def sizes(self) -> array[int]:
        """Return each child's bytes: a file's, or of all that shows below a folder."""
        view = self.view
        prefix = self.path + b"/" if self.path else b""
        if self._single is not None:
            layer, rows = self._single
            index = view.layers[layer]
            assert index is not None
            sizes = index.sizes[rows.start : rows.stop]
            for row, inode in index.links.items():
                if inode == UNRESOLVED and row in rows:
                    sizes[row - rows.start] = view.entry_node(b"", layer, row).size
            at = rows.start
            while (at := index.kinds.find(_DIR, at, rows.stop)) >= 0:
                sizes[at - rows.start] = view.summary(prefix + index.name(at)).bytes
                at += 1
            at = rows.start
            while (at := index.kinds.find(_IMPLIED, at, rows.stop)) >= 0:
                sizes[at - rows.start] = view.summary(prefix + index.name(at)).bytes
                at += 1
            return sizes
        names, merged = self._mixed
        return array(
            "q",
            (
                view.summary(prefix + name).bytes
                if name in merged.folders
                else view.entry_node(prefix + name, *merged.others[name]).size
                for name in names
            ),
        )

    def order(self, key: str = "name", *, reverse: bool = False) -> Sequence[int]:
        """Return the children's positions in another order.

        Args:
            key: "name" (path order) or "size" (largest first).
            reverse: turn the order round.
        """
        if key == "name":
            return range(len(self) - 1, -1, -1) if reverse else range(len(self))
        sizes = self.sizes()
        return array("Q", sorted(range(len(sizes)), key=sizes.__getitem__, reverse=not reverse))
