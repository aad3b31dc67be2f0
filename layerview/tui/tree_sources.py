"""What a file tree can show: the unified view, one layer's changes, or what a filter leaves."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from layerview.layer.kinds import Kind
from layerview.progress import Progress
from layerview.text import encode
from layerview.view.changes import ChangedFolder
from layerview.view.nodes import ChangedNode, Node

if TYPE_CHECKING:
    from layerview.layer.index import LayerIndex
    from layerview.view.changes import LayerChanges
    from layerview.view.union import UnionView

CHECK_EVERY = 512
"""Rows between two looks at whether a search is still wanted."""

OPENED_AT_ONCE = 400
"""About how many rows a search opens by itself."""


Weight = tuple[int | None, Mapping[int, int]]
"""Bytes at and below a node, and the same by layer; None while nobody has summed them up."""


class AnyFolder(Protocol):
    """The children of a folder, in path order."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Node: ...

    def find(self, name: bytes) -> int | None:
        """Find the position of a child."""

    def order(self, key: str = "name", *, reverse: bool = False) -> Sequence[int]:
        """Return the positions in another order: "size" is the largest first."""


class TreeSource(Protocol):
    """A tree of nodes, what they weigh and how they changed."""

    def root(self) -> Node:
        """Return the root folder."""

    def folder(self, path: bytes) -> AnyFolder:
        """Return the children of a folder."""

    def weigh(self, node: Node) -> Weight:
        """Return the bytes at and below a node, and the same by layer."""

    def change(self, node: Node) -> str:
        """Return how a node relates to the layers below its own; "" when that says nothing."""

    def search(self, needle: bytes, progress: Progress) -> Iterable[tuple[bytes, bool]]:
        """Yield the paths of all nodes with a name that contains `needle`, and whether folders."""

    def is_changed(self, node: Node) -> bool:
        """Whether a node, or anything below it, is other than the base layer has it."""


class UnifiedTree:
    """What a container of the image sees."""

    def __init__(self, view: UnionView, *, summed: bool = True) -> None:
        """Show a view.

        Args:
            view: what to show.
            summed: whether the sizes of folders are summed up already; if not, they are left
                unknown, for summing up all of a large image takes a moment.
        """
        self.view = view
        self._summed = summed
        self._base = next(
            (number for number, index in enumerate(view.layers) if index is not None), 0
        )

    def root(self) -> Node:
        """Return the root folder."""
        return self.view.root()

    def folder(self, path: bytes) -> AnyFolder:
        """Return the children of a folder."""
        return self.view.folder(path)

    def weigh(self, node: Node) -> Weight:
        """Return the live bytes at and below a node, and the same by layer."""
        if not node.is_dir:
            owner = node.written
            return node.size, ({owner: node.size} if owner is not None else {})
        if not self._summed:
            return None, {}
        summary = self.view.summary(node.path)
        return summary.bytes, summary.by_layer

    def change(self, node: Node) -> str:
        """Say new or changed for what came above the base; a folder only when one layer owns it."""
        layer = node.layer
        if node.is_dir:
            owners = self.weigh(node)[1]
            if len(owners) > 1 or not self._summed:
                return ""
            layer = next(iter(owners), layer)
        if layer is None or layer == self._base or not node.path:
            return ""
        below = self.view.below(layer).node(node.path)
        if below is None:
            return "added"
        return "modified"

    def search(self, needle: bytes, progress: Progress) -> Iterable[tuple[bytes, bool]]:
        """Search the names of all layers, and keep what shows."""
        for layer, index in enumerate(self.view.layers):
            if index is None:
                continue
            for path, row in _search_layer(index, needle, progress):
                if index.kinds[row] == Kind.WHITEOUT:
                    continue
                node = self.view.node(path)
                if node is None:
                    continue
                if node.is_dir or (node.layer == layer and node.row == row):
                    yield path, node.is_dir

    def is_changed(self, node: Node) -> bool:
        """Whether anything at or below a node comes from above the base."""
        if not node.is_dir:
            return node.layer != self._base
        return any(layer != self._base for layer, _ in self.view.stack(node.path) or ())


class LayerFolder:
    """What a layer itself holds in one folder."""

    def __init__(self, folder: ChangedFolder, index: LayerIndex, number: int | None) -> None:
        self._folder = folder
        self._index = index
        self._number = number

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, position: int) -> Node:
        node: Node = self._folder[position]
        return node

    def find(self, name: bytes) -> int | None:
        """Find the position of a child."""
        if self._number is None:
            return None
        row = self._index.find_in(self._number, name)
        return None if row is None else row - self._index.rows_in(self._number).start

    def order(self, key: str = "name", *, reverse: bool = False) -> Sequence[int]:
        """Return the positions in another order."""
        count = len(self)
        if key == "name" or self._number is None:
            return range(count - 1, -1, -1) if reverse else range(count)
        index = self._index
        rows = index.rows_in(self._number)
        sizes = [
            index.bytes_below(index.dir_number(row))
            if index.kinds[row] in (Kind.DIR, Kind.IMPLIED_DIR)
            else index.sizes[row]
            for row in rows
        ]
        return array("Q", sorted(range(count), key=sizes.__getitem__, reverse=not reverse))


class LayerTree:
    """What one layer itself holds, and what each entry does to the layers below."""

    def __init__(self, view: UnionView, layer: int, changes: LayerChanges | None) -> None:
        self.view = view
        self.layer = layer
        self.changes = changes

    def root(self) -> Node:
        """Return the root folder."""
        return Node(b"", Kind.DIR, None, -1, None, -1)

    def folder(self, path: bytes) -> AnyFolder:
        """Return the layer's entries in a folder."""
        index = self.view.layers[self.layer]
        assert index is not None
        folder = ChangedFolder(self.view, self.changes, self.layer, path)
        return LayerFolder(folder, index, index.find_dir(path))

    def weigh(self, node: Node) -> Weight:
        """Return the layer's bytes at and below a node."""
        index = self.view.layers[self.layer]
        if index is None:
            return 0, {}
        if not node.is_dir:
            return node.size, {self.layer: node.size}
        number = index.find_dir(node.path)
        size = 0 if number is None else index.bytes_below(number)
        return size, {self.layer: size}

    def change(self, node: Node) -> str:
        """Return what the entry does."""
        return node.change if isinstance(node, ChangedNode) else ""

    def search(self, needle: bytes, progress: Progress) -> Iterable[tuple[bytes, bool]]:
        """Search the layer's names."""
        index = self.view.layers[self.layer]
        if index is None:
            return
        for path, row in _search_layer(index, needle, progress):
            yield path, index.kinds[row] in (Kind.DIR, Kind.IMPLIED_DIR)

    def is_changed(self, node: Node) -> bool:
        """Whether the entry is more than a copy of what was there."""
        return node.is_dir or self.change(node) != "identical"


def _search_layer(
    index: LayerIndex, needle: bytes, progress: Progress
) -> Iterable[tuple[bytes, int]]:
    """Yield path and row of each entry with a name that contains a needle.

    A needle without capitals finds both cases. One with a slash is looked for in whole paths.
    """
    fold = needle == needle.lower()
    names = index.columns.names.lower() if fold else index.columns.names
    starts = index.columns.name_starts
    last = needle.rpartition(b"/")[2]
    count = len(index)
    if not last:
        rows: Iterable[int] = range(count)
    else:
        rows = _rows_with(names, starts, last, count)
    for seen, row in enumerate(rows):
        if seen % CHECK_EVERY == 0:
            progress.check()
        path = index.path(row)
        if b"/" in needle and needle not in b"/" + (path.lower() if fold else path) + b"/":
            continue
        yield path, row


def _rows_with(names: bytes, starts: Sequence[int], needle: bytes, count: int) -> Iterable[int]:
    from bisect import bisect_right

    at = names.find(needle)
    while at >= 0:
        row = bisect_right(starts, at) - 1
        if row >= count:
            return
        yield row
        at = names.find(needle, starts[row + 1])


class PrunedFolder:
    """Some of a folder's children."""

    def __init__(
        self,
        folder: AnyFolder,
        positions: Sequence[int],
        weigh: Callable[[Node], Weight],
    ) -> None:
        self._folder = folder
        self._positions = positions
        self._weigh = weigh

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: int) -> Node:
        return self._folder[self._positions[position]]

    def find(self, name: bytes) -> int | None:
        """Find the position of a child."""
        from bisect import bisect_left

        place = self._folder.find(name)
        if place is None:
            return None
        at = bisect_left(self._positions, place)
        return at if at < len(self._positions) and self._positions[at] == place else None

    def order(self, key: str = "name", *, reverse: bool = False) -> Sequence[int]:
        """Return the positions in another order."""
        count = len(self)
        if key == "name":
            return range(count - 1, -1, -1) if reverse else range(count)
        sizes = [self._weigh(self[at])[0] or 0 for at in range(count)]
        return array("Q", sorted(range(count), key=sizes.__getitem__, reverse=not reverse))


class PrunedTree:
    """A tree of which a filter leaves only a part."""

    def __init__(self, source: TreeSource, needle: str, changed_only: bool) -> None:
        self.source = source
        self.needle = encode(needle)
        self.changed_only = changed_only
        self.count = 0
        self._kept: dict[bytes, set[bytes]] = {}
        """By folder: the names in it that match or lead to a match."""
        self._whole: set[bytes] = set()
        """Folders that match themselves; all below them stays."""

    def prepare(self, progress: Progress) -> list[bytes]:
        """Search; return the folders to open so that matches are seen.

        Raises:
            Cancelled: when `progress` was cancelled.
        """
        kept = self._kept
        for path, is_dir in self.source.search(self.needle, progress) if self.needle else ():
            if is_dir:
                if path in self._whole:
                    continue
                self._whole.add(path)
            self.count += 1
            parent, _, name = path.rpartition(b"/")
            while True:
                names = kept.get(parent)
                if names is None:
                    kept[parent] = {name}
                else:
                    known = name in names
                    names.add(name)
                    if known:
                        break
                if not parent:
                    break
                parent, _, name = parent.rpartition(b"/")
        opened: list[bytes] = []
        rows = 0
        for path in sorted(kept, key=lambda path: (path.count(b"/") if path else -1, path)):
            rows += len(kept[path])
            if rows > OPENED_AT_ONCE and opened:
                break
            opened.append(path)
        return opened or [b""]

    def root(self) -> Node:
        """Return the root folder."""
        return self.source.root()

    def weigh(self, node: Node) -> Weight:
        """Return what the node weighs unfiltered."""
        return self.source.weigh(node)

    def change(self, node: Node) -> str:
        """Return how the node changed."""
        return self.source.change(node)

    def search(self, needle: bytes, progress: Progress) -> Iterable[tuple[bytes, bool]]:
        """Search what the filter was laid over."""
        return self.source.search(needle, progress)

    def is_changed(self, node: Node) -> bool:
        """Whether the node changed."""
        return self.source.is_changed(node)

    def folder(self, path: bytes) -> AnyFolder:
        """Return the children that the filter leaves."""
        folder = self.source.folder(path)
        positions: Sequence[int] = range(len(folder))
        if self.needle and not self._inside_whole(path):
            places = (folder.find(name) for name in self._kept.get(path, ()))
            positions = array("Q", sorted(place for place in places if place is not None))
        if self.changed_only:
            changed = self.source.is_changed
            positions = array("Q", (at for at in positions if changed(folder[at])))
        return PrunedFolder(folder, positions, self.source.weigh)

    def _inside_whole(self, path: bytes) -> bool:
        while path:
            if path in self._whole:
                return True
            path = path.rpartition(b"/")[0]
        return False
