"""The unified view: what a container sees through all layers, and from which layer each path is.

Rules: OCI image-spec, layer.md, "Applying Changesets", "Whiteouts". A folder's content is that of
all layers that hold it, from the top down to the first that makes it opaque, deletes it, or has
something else in its place. Nothing is computed before it is asked for: opening a folder costs
what its layers hold in it, and a subtree that only one layer holds costs nothing at all.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate

from layerview.layer.index import NO_DIR, UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from layerview.view.folder import Folder
from layerview.view.links import Links, find_links
from layerview.view.nodes import Node
from layerview.view.summary import Summary

Stack = tuple[tuple[int, int], ...]
"""The layers whose content shows in a folder, top first: (layer, its number for the folder)."""

_WHITEOUT = int(Kind.WHITEOUT)
_DIR = int(Kind.DIR)
_IMPLIED = int(Kind.IMPLIED_DIR)
_NOT_A_FILE = bytes(0 if kind in (_DIR, _IMPLIED, _WHITEOUT) else 1 for kind in range(256))
_KEPT_STACKS = 50_000


class Merged:
    """The children of a folder that several layers share."""

    __slots__ = ("folders", "others")

    def __init__(self) -> None:
        self.others: dict[bytes, tuple[int, int]] = {}
        """Layer and row of each child that is no folder."""
        self.folders: dict[bytes, list[tuple[int, int]]] = {}
        """The stack of each child that is a folder."""


class UnionView:
    """The merged tree of some layers; a layer that is None is not here, or not yet read."""

    def __init__(self, layers: Sequence[LayerIndex | None]) -> None:
        """Look through layers, given base first."""
        self.layers = list(layers)
        self._top_missing = max(
            (number for number, layer in enumerate(self.layers) if layer is None), default=-1
        )
        self._stacks: dict[bytes, Stack | None] = {}
        self._summaries: dict[bytes, Summary] = {}
        self._below: dict[int, UnionView] = {}

    def below(self, layer: int) -> UnionView:
        """Return the view of all layers under a layer."""
        view = self._below.get(layer)
        if view is None:
            view = self._below[layer] = UnionView(self.layers[:layer])
            # What lies under a layer is the same in every view that holds it.
            view._below = self._below
        return view

    # -- folders ------------------------------------------------------------------------------

    @cached_property
    def _root(self) -> Stack:
        stack = []
        for number in range(len(self.layers) - 1, -1, -1):
            index = self.layers[number]
            if index is not None:
                stack.append((number, 0))
                if 0 in index.opaque:
                    break
        return tuple(stack)

    def stack(self, path: bytes) -> Stack | None:
        """Return the layers that show in a folder, top first; None when it is no folder."""
        if not path:
            return self._root
        stacks = self._stacks
        if path in stacks:
            return stacks[path]
        # Climb to the nearest known folder, then come down again.
        missing = []
        at = path
        while at and at not in stacks:
            missing.append(at)
            at = at.rpartition(b"/")[0]
        stack = stacks[at] if at else self._root
        if len(stacks) > _KEPT_STACKS:
            stacks.clear()
        for below in reversed(missing):
            if stack is not None:
                stack = self.child_stack(stack, below.rpartition(b"/")[2]) or None
            stacks[below] = stack
        return stack

    def child_stack(self, stack: Stack, name: bytes) -> Stack:
        """Return the stack of a folder inside a folder; empty when it is none."""
        found = []
        for layer, number in stack:
            index = self.layers[layer]
            assert index is not None
            row = index.find_in(number, name)
            if row is None:
                continue
            below = index.dir_of_row[row]
            if below == NO_DIR:
                break
            found.append((layer, below))
            if below in index.opaque:
                break
        return tuple(found)

    def merge(self, stack: Stack) -> Merged:
        """Merge what the layers of a stack hold in their folder."""
        merged = Merged()
        others, folders = merged.others, merged.folders
        closed: set[bytes] = set()
        for layer, number in stack:
            index = self.layers[layer]
            assert index is not None
            dir_of_row, kinds, opaque = index.dir_of_row, index.kinds, index.opaque
            for row, name in enumerate(index.names_in(number), index.dir_starts[number]):
                if name in closed:
                    continue
                below = dir_of_row[row]
                if below != NO_DIR:
                    folders.setdefault(name, []).append((layer, below))
                    if below in opaque:
                        closed.add(name)
                else:
                    closed.add(name)
                    if kinds[row] != _WHITEOUT and name not in folders:
                        others[name] = (layer, row)
        return merged

    def folder(self, path: bytes) -> Folder:
        """Return the children of a folder; empty when it is none."""
        return Folder(self, path, self.stack(path) or ())

    # -- single paths -------------------------------------------------------------------------

    def node(self, path: bytes) -> Node | None:
        """Return what shows at a path; None when nothing does."""
        if not path:
            return self.root()
        parent, _, name = path.rpartition(b"/")
        stack = self.stack(parent) or ()
        found = self._highest(stack, name)
        if found is None:
            return None
        layer, row = found
        index = self.layers[layer]
        assert index is not None
        if index.dir_of_row[row] != NO_DIR:
            return self.folder_node(path, self.child_stack(stack, name))
        return self.entry_node(path, layer, row)

    def entry(self, path: bytes) -> tuple[int, int] | None:
        """Return layer and row of what shows at a path; None for folders and for nothing."""
        parent, _, name = path.rpartition(b"/")
        found = self._highest(self.stack(parent) or (), name) if path else None
        if found is None:
            return None
        index = self.layers[found[0]]
        assert index is not None
        return found if index.dir_of_row[found[1]] == NO_DIR else None

    def _highest(self, stack: Stack, name: bytes) -> tuple[int, int] | None:
        """Return layer and row of a name in a folder; None when nothing shows there."""
        for layer, number in stack:
            index = self.layers[layer]
            assert index is not None
            row = index.find_in(number, name)
            if row is not None:
                return None if index.kinds[row] == _WHITEOUT else (layer, row)
        return None

    def root(self) -> Node:
        """Return the root folder, with the attributes that the highest layer gives it."""
        return self.folder_node(b"", self._root)

    def folder_node(self, path: bytes, stack: Sequence[tuple[int, int]]) -> Node:
        """Make the node of a folder from its stack."""
        for layer, number in stack:
            index = self.layers[layer]
            assert index is not None
            row = index.row_of_dir[number]
            if index.kinds[row] == _DIR:
                return Node(path, _DIR, layer, row, index, row, certain=layer > self._top_missing)
        if stack:
            layer, number = stack[-1]
            index = self.layers[layer]
            if index is not None and number in index.opaque:
                listed = self._listed_below(path, layer)
                if listed is not None:
                    return listed
        return Node(path, _IMPLIED, None, -1, None, -1, certain=self._top_missing < 0)

    def _listed_below(self, path: bytes, top: int) -> Node | None:
        """Find the attributes of a folder that a layer makes opaque without listing it.

        The marker hides what the folder holds, not the folder: the next layer that shows beside
        it and lists it has its attributes.
        """
        parent, _, name = path.rpartition(b"/")
        if path:
            beside: Sequence[tuple[int, int]] = self.stack(parent) or ()
        else:
            beside = [(layer, 0) for layer in range(top - 1, -1, -1)]
        for layer, number in beside:
            index = self.layers[layer]
            if layer >= top or index is None:
                continue
            row = index.find_in(number, name) if path else index.row_of_dir[0]
            if row is None:
                continue
            if index.dir_of_row[row] == NO_DIR:
                break
            if index.kinds[row] == _DIR:
                return Node(path, _DIR, layer, row, index, row, certain=layer > self._top_missing)
        return None

    def entry_node(self, path: bytes, layer: int, row: int) -> Node:
        """Make the node of an entry that is no folder."""
        index = self.layers[layer]
        assert index is not None
        node = Node(
            path, index.kinds[row], layer, row, index, row, certain=layer > self._top_missing
        )
        if row in index.links or row in index.link_groups:
            links = self._links
            node.hardlink = links.first_path.get((layer, row))
            source = links.source.get((layer, row))
            if source is not None:
                node.written, node.inode = source
                node.index = self.layers[source[0]]
                assert node.index is not None
                node.kind = node.index.kinds[node.inode]
        elif self._has_cross_links and (layer, row) in self._links.first_path:
            node.hardlink = self._links.first_path[layer, row]
        return node

    # -- hard links ---------------------------------------------------------------------------

    @cached_property
    def _has_cross_links(self) -> bool:
        return any(UNRESOLVED in index.links.values() for index in self.layers if index is not None)

    def source_of(self, layer: int, row: int) -> tuple[int, int]:
        """Return layer and row of the inode behind an entry, in a lower layer perhaps."""
        index = self.layers[layer]
        assert index is not None
        inode = index.links.get(row, row)
        if inode != UNRESOLVED:
            return layer, inode
        return self._links.source.get((layer, row), (layer, row))

    def is_unresolved(self, layer: int, row: int) -> bool:
        """Whether an entry is a hard link whose target is nowhere."""
        index = self.layers[layer]
        assert index is not None
        return index.links.get(row) == UNRESOLVED and (layer, row) not in self._links.source

    def linked_rows(self, layer: int) -> set[int]:
        """Return the rows of a layer whose inode has, or could have, other names."""
        index = self.layers[layer]
        assert index is not None
        rows = {*index.links, *index.link_groups}
        if self._has_cross_links:
            rows.update(row for number, row in self._links.first_path if number == layer)
        return rows

    def is_kept(self, layer: int, row: int) -> bool:
        """Whether some visible name keeps the inode in a row, be it of another layer."""
        return (layer, row) in self._links.kept

    @cached_property
    def _links(self) -> Links:
        return find_links(self)

    # -- totals -------------------------------------------------------------------------------

    @property
    def total_bytes(self) -> int:
        """Sum of the layers' sizes."""
        return sum(index.size for index in self.layers if index is not None)

    @property
    def live_bytes(self) -> int:
        """File bytes that show in the view, each inode once."""
        return self.summary(b"").bytes

    def summary(self, path: bytes) -> Summary:
        """Sum up what shows below a folder, or at a path that is none."""
        stack = self.stack(path)
        if stack is None:
            node = self.node(path)
            if node is None:
                return Summary()
            size = node.size if node.kind == Kind.FILE else 0
            return Summary(size, {node.written: size} if node.written is not None else {}, 1)
        base = self._summaries.get(path)
        if base is None:
            base = self._sum_single(*stack[0]) if len(stack) == 1 else self._sum(path, stack)
        extra = self._extra(path)
        if extra is None:
            return base
        whole = Summary()
        whole.add(base)
        whole.add(extra)
        return whole

    def _extra(self, path: bytes) -> Summary | None:
        if not self._has_links:
            return None
        return self._links.extra.get(path)

    @cached_property
    def _has_links(self) -> bool:
        return any(index.links for index in self.layers if index is not None)

    def _sum_single(self, layer: int, number: int) -> Summary:
        index = self.layers[layer]
        assert index is not None
        size = index.bytes_below(number)
        rows = index.rows_below(number)
        counts = self._file_counts(layer)
        files = counts[rows.stop] - counts[rows.start]
        return Summary(size, {layer: size}, files)

    def _file_counts(self, layer: int) -> array[int]:
        counts = self._counts.get(layer)
        if counts is None:
            index = self.layers[layer]
            assert index is not None
            counts = array("Q", accumulate(index.kinds.translate(_NOT_A_FILE), initial=0))
            self._counts[layer] = counts
        return counts

    @cached_property
    def _counts(self) -> dict[int, array[int]]:
        return {}

    def _sum(self, path: bytes, stack: Stack) -> Summary:
        # Folders first, sums on the way back; hostile images nest deeper than Python recurses.
        summaries = self._summaries
        waiting: list[tuple[bytes, Stack]] = [(path, stack)]
        entered: list[tuple[bytes, Summary, list[bytes]]] = []
        while waiting:
            at, stack = waiting.pop()
            merged = self.merge(stack)
            total = Summary(0, {}, len(merged.others))
            by_layer = total.by_layer
            for layer, row in merged.others.values():
                index = self.layers[layer]
                assert index is not None
                size = index.counted[row]
                if size:
                    total.bytes += size
                    by_layer[layer] = by_layer.get(layer, 0) + size
            later = []
            prefix = at + b"/" if at else b""
            for name, below in merged.folders.items():
                if len(below) == 1:
                    total.add(self._sum_single(*below[0]))
                    continue
                child = prefix + name
                known = summaries.get(child)
                if known is not None:
                    total.add(known)
                else:
                    later.append(child)
                    waiting.append((child, tuple(below)))
            entered.append((at, total, later))
        for at, total, later in reversed(entered):
            for child in later:
                total.add(summaries[child])
            summaries[at] = total
        return summaries[path]

    # -- walking ------------------------------------------------------------------------------

    def walk(self, path: bytes = b"", depth: int | None = None) -> Iterator[Node]:
        """Yield everything below a folder in path order, the folder itself left out.

        Args:
            path: where to start.
            depth: how many levels to go down; None for all.
        """
        for at, layer, row, stack in self.walk_rows(path, depth):
            if stack is not None:
                yield self.folder_node(at, stack)
            else:
                yield self.entry_node(at, layer, row)

    def walk_rows(
        self, path: bytes = b"", depth: int | None = None
    ) -> Iterator[tuple[bytes, int, int, Sequence[tuple[int, int]] | None]]:
        """Yield path, layer, row and, for folders, the stack of everything below a folder.

        The order is path order. This is `walk` without the nodes, for whom speed matters.
        """
        stack = self.stack(path)
        if stack is None:
            return
        frames = [self._frame(path, stack)]
        while frames:
            prefix, children = frames[-1]
            for name, layer, row, below in children:
                at = prefix + name
                yield at, layer, row, below
                if below is not None and (depth is None or len(frames) < depth):
                    frames.append(self._frame(at, below))
                    break
            else:
                frames.pop()

    def _frame(
        self, path: bytes, stack: Sequence[tuple[int, int]]
    ) -> tuple[bytes, Iterator[tuple[bytes, int, int, Sequence[tuple[int, int]] | None]]]:
        return path + b"/" if path else b"", self.children(stack)

    def children(
        self, stack: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[bytes, int, int, Sequence[tuple[int, int]] | None]]:
        """Yield name, layer, row and, for folders, the stack of each child, in path order."""
        if len(stack) == 1:
            return self._single_children(*stack[0])
        return self._merged_children(stack)

    def _single_children(
        self, layer: int, number: int
    ) -> Iterator[tuple[bytes, int, int, Sequence[tuple[int, int]] | None]]:
        index = self.layers[layer]
        assert index is not None
        dir_of_row, kinds = index.dir_of_row, index.kinds
        for row, name in enumerate(index.names_in(number), index.dir_starts[number]):
            below = dir_of_row[row]
            if below != NO_DIR:
                yield name, layer, row, ((layer, below),)
            elif kinds[row] != _WHITEOUT:
                yield name, layer, row, None

    def _merged_children(
        self, stack: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[bytes, int, int, Sequence[tuple[int, int]] | None]]:
        merged = self.merge(tuple(stack))
        for name in sorted([*merged.others, *merged.folders]):
            other = merged.others.get(name)
            if other is not None:
                yield name, other[0], other[1], None
            else:
                yield name, -1, -1, merged.folders[name]
