"""What one layer changes in the layers below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from layerview.errors import NotFoundError
from layerview.layer.index import NO_DIR, LayerIndex
from layerview.layer.kinds import Kind
from layerview.progress import QUIET, Progress
from layerview.view.compare import ContentComparer, Version, could_be_same, same_attributes
from layerview.view.contents import Contents
from layerview.view.nodes import ChangedNode
from layerview.view.union import Stack, UnionView

CHANGES = ("", "added", "modified", "metadata", "identical", "deleted")
ADDED, MODIFIED, METADATA, IDENTICAL, DELETED = 1, 2, 3, 4, 5


@dataclass(slots=True)
class LayerChanges:
    """A layer's rows, each with what it does to the layers below."""

    layer: int
    codes: bytearray
    """By row, an index into CHANGES; 0 for rows that are no entries."""
    hides: dict[int, int] = field(default_factory=dict)
    """By row of a deletion or an opaque folder: bytes of lower layers that it hides."""

    @property
    def counts(self) -> dict[str, int]:
        """How many entries were added, modified, and so on."""
        return {name: self.codes.count(code) for code, name in enumerate(CHANGES) if name}

    def change(self, row: int) -> str:
        """Return the word for what a row does."""
        return CHANGES[self.codes[row]]


def measure_changes(
    view: UnionView, layer: int, contents: Contents | None = None, progress: Progress = QUIET
) -> LayerChanges:
    """Compare a layer with what shows below it.

    Args:
        view: all layers.
        layer: which.
        contents: where file contents are read; without, equal sizes count as modified.
        progress: told about reading.

    Raises:
        NotFoundError: when the layer is not here.
    """
    index = view.layers[layer]
    if index is None:
        raise NotFoundError(f"layer {layer} is not here")
    return _Comparison(view, layer, index, ContentComparer(contents), progress).run()


class _Comparison:
    def __init__(
        self,
        view: UnionView,
        layer: int,
        index: LayerIndex,
        comparer: ContentComparer,
        progress: Progress,
    ) -> None:
        self.view = view
        self.lower = view.below(layer)
        self.layer = layer
        self.index = index
        self.comparer = comparer
        self.progress = progress
        self.changes = LayerChanges(layer, bytearray(len(index)))
        self.unsure: list[tuple[int, Version, Version]] = []
        """Row, and the two inodes whose content decides."""

    def run(self) -> LayerChanges:
        waiting: list[tuple[int, bytes, Stack]] = [(0, b"", self.lower.stack(b"") or ())]
        codes, index = self.changes.codes, self.index
        while waiting:
            number, path, stack = waiting.pop()
            self.progress.check()
            if not stack:
                self._all_new(number)
                continue
            if number in index.opaque and number:
                self.changes.hides[index.row_of_dir[number]] = self.lower.summary(path).bytes
            prefix = path + b"/" if path else b""
            for row, name in enumerate(index.names_in(number), index.dir_starts[number]):
                below, kind = index.dir_of_row[row], index.kinds[row]
                if kind == Kind.WHITEOUT:
                    codes[row] = DELETED
                    self.changes.hides[row] = self.lower.summary(prefix + name).bytes
                    continue
                if below != NO_DIR:
                    lower_stack = self.lower.child_stack(stack, name)
                    waiting.append((below, prefix + name, lower_stack))
                if kind != Kind.IMPLIED_DIR:
                    codes[row] = self._compare(row, prefix + name, stack, name)
        self.comparer.prepare([(a, b) for _, a, b in self.unsure], self.progress)
        for row, mine, lower in self.unsure:
            if not self.comparer.same(mine, lower):
                codes[row] = MODIFIED
        return self.changes

    def _all_new(self, number: int) -> None:
        """Everything below a folder that no lower layer has is added."""
        index, codes = self.index, self.changes.codes
        rows = index.rows_below(number)
        table = bytes(
            DELETED if kind == Kind.WHITEOUT else 0 if kind == Kind.IMPLIED_DIR else ADDED
            for kind in range(256)
        )
        codes[rows.start : rows.stop] = index.kinds[rows.start : rows.stop].translate(table)

    def _compare(self, row: int, path: bytes, stack: Stack, name: bytes) -> int:
        lower = self.lower
        for layer, number in stack:
            index = lower.layers[layer]
            assert index is not None
            found = index.find_in(number, name)
            if found is None:
                continue
            if index.kinds[found] == Kind.WHITEOUT:
                return ADDED
            if index.kinds[found] == Kind.IMPLIED_DIR:
                node = lower.node(path)
                if node is None or node.layer is None:
                    # The folder was there, with no attributes of its own to compare.
                    return METADATA if self.index.dir_of_row[row] != NO_DIR else MODIFIED
                layer, found = node.layer, node.row
            return self._versions(row, layer, found)
        return ADDED

    def _versions(self, row: int, lower_layer: int, lower_row: int) -> int:
        mine = self.view.source_of(self.layer, row)
        theirs = self.view.source_of(lower_layer, lower_row)
        a, b = self.view.layers[mine[0]], self.view.layers[theirs[0]]
        assert a is not None
        assert b is not None
        same = could_be_same(a, mine[1], b, theirs[1])
        if same is False:
            return MODIFIED
        if same is None and mine != theirs:
            self.unsure.append((row, mine, theirs))
        return IDENTICAL if same_attributes(a, mine[1], b, theirs[1]) else METADATA


class ChangedFolder(Sequence[ChangedNode]):
    """What a layer itself holds in one folder, in path order."""

    def __init__(self, view: UnionView, changes: LayerChanges | None, layer: int, path: bytes):
        self.view = view
        self.path = path
        self.layer = layer
        self.changes = changes
        index = view.layers[layer]
        number = index.find_dir(path) if index is not None else None
        self._index = index
        self._rows = index.rows_in(number) if index is not None and number is not None else range(0)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        row = self._rows[position]
        assert self._index is not None
        path = self.path + b"/" + self._index.name(row) if self.path else self._index.name(row)
        return changed_node(self.view, self.changes, self.layer, row, path)


def changed_node(
    view: UnionView, changes: LayerChanges | None, layer: int, row: int, path: bytes
) -> ChangedNode:
    """Make the node of what a layer itself holds in a row."""
    index = view.layers[layer]
    assert index is not None
    source_layer, inode = view.source_of(layer, row)
    source = view.layers[source_layer]
    node = ChangedNode(path, index.kinds[row], layer, row, source, inode, written=source_layer)
    group = index.link_groups
    if index.links.get(row, -1) >= 0 or row in group:
        names = sorted(
            (index.path(name) for name in (inode, *group.get(inode, ())) if name < len(index)),
            key=lambda name: name.replace(b"/", b"\0"),
        )
        if names and names[0] != path:
            node.hardlink = names[0]
    elif row in index.links:
        node.hardlink = index.link_paths[row]
    node.change = changes.change(row) if changes is not None else ""
    node.hides = changes.hides.get(row, 0) if changes is not None else 0
    return node


def walk_layer(
    view: UnionView, changes: LayerChanges | None, layer: int, path: bytes = b""
) -> Iterator[ChangedNode]:
    """Yield what a layer itself holds at and below a path, in path order.

    Implied folders are left out.
    """
    index = view.layers[layer]
    if index is None:
        return
    number: int | None = 0
    if path:
        row = index.find(path)
        if row is None:
            return
        if index.kinds[row] != Kind.IMPLIED_DIR:
            yield changed_node(view, changes, layer, row, path)
        number = index.find_dir(path)
    if number is None:
        return
    for below, row in index.walk_rows(number, path):
        if index.kinds[row] != Kind.IMPLIED_DIR:
            yield changed_node(view, changes, layer, row, below)
