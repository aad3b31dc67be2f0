"""What differs between two images' unified views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from layerview.progress import QUIET, Progress
from layerview.view.compare import could_be_same, same_attributes
from layerview.view.contents import Contents
from layerview.view.nodes import Node
from layerview.view.union import UnionView

_Child = tuple[bytes, int, int, Sequence[tuple[int, int]] | None]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One path that differs."""

    path: bytes
    change: str
    """added (only in the second), removed (only in the first), modified or metadata."""
    a: Node | None
    b: Node | None


@dataclass(slots=True)
class Side:
    """One of the two images."""

    view: UnionView
    contents: Contents | None = None
    layer_keys: Sequence[object] = ()
    """By layer, what two layers with the same bytes have in common (DiffIDs, say)."""

    def key(self, layer: int) -> object:
        """Return a layer's key; without one a layer equals only itself."""
        if layer < len(self.layer_keys) and self.layer_keys[layer] is not None:
            return self.layer_keys[layer]
        return (id(self), layer)


def compare(a: Side, b: Side, progress: Progress = QUIET) -> list[FileDiff]:
    """Find every path that differs, in path order.

    Folders that resolve from the same layers in both are not looked into.

    Raises:
        DamageError: when contents must be compared and can't be read.
    """
    found = list(_walk(a, b, progress))
    contents = _Bytes(a, b, [item for item in found if item.change in _DECIDES], progress)
    differing = []
    for item in found:
        if item.change in _DECIDES:
            change = _DECIDES[item.change] if contents.same(item) else "modified"
            if change:
                differing.append(FileDiff(item.path, change, item.a, item.b))
        else:
            differing.append(item)
    return differing


def _walk(a: Side, b: Side, progress: Progress) -> Iterator[FileDiff]:
    frames = [(b"", _pairs(a, b, b"", a.view.stack(b""), b.view.stack(b"")))]
    while frames:
        prefix, pairs = frames[-1]
        for name, left, right in pairs:
            progress.check()
            path = prefix + name
            difference = _compare(a, b, path, left, right)
            if difference is not None:
                yield difference
            stacks = (left[3] if left else None, right[3] if right else None)
            if (stacks[0] is not None or stacks[1] is not None) and not _same(a, b, *stacks):
                frames.append((path + b"/", _pairs(a, b, path, *stacks)))
                break
        else:
            frames.pop()


def _same(
    a: Side,
    b: Side,
    left: Sequence[tuple[int, int]] | None,
    right: Sequence[tuple[int, int]] | None,
) -> bool:
    if left is None or right is None or len(left) != len(right):
        return False
    return all(
        number == other and a.key(layer) == b.key(other_layer)
        for (layer, number), (other_layer, other) in zip(left, right, strict=True)
    )


def _pairs(
    a: Side,
    b: Side,
    path: bytes,
    left: Sequence[tuple[int, int]] | None,
    right: Sequence[tuple[int, int]] | None,
) -> Iterator[tuple[bytes, _Child | None, _Child | None]]:
    ours = {child[0]: child for child in a.view.children(left)} if left is not None else {}
    theirs = {child[0]: child for child in b.view.children(right)} if right is not None else {}
    for name in sorted(ours.keys() | theirs.keys()):
        yield name, ours.get(name), theirs.get(name)


def _node(side: Side, path: bytes, child: _Child) -> Node:
    _, layer, row, stack = child
    if stack is not None:
        return side.view.folder_node(path, stack)
    return side.view.entry_node(path, layer, row)


def _compare(
    a: Side, b: Side, path: bytes, left: _Child | None, right: _Child | None
) -> FileDiff | None:
    if left is None:
        assert right is not None
        return FileDiff(path, "added", None, _node(b, path, right))
    if right is None:
        return FileDiff(path, "removed", _node(a, path, left), None)
    # The same row of the same layer's bytes.
    if left[1:] == right[1:] and left[3] is None and a.key(left[1]) == b.key(right[1]):
        return None
    old, new = _node(a, path, left), _node(b, path, right)
    change = _change(old, new)
    return FileDiff(path, change, old, new) if change else None


_UNSURE = {"": "bytes", "metadata": "bytes+metadata"}
"""What `_change` says when equal bytes would leave this change."""
_DECIDES = {unsure: change for change, unsure in _UNSURE.items()}


def _change(old: Node, new: Node) -> str:
    if old.index is None or new.index is None:
        if old.is_dir and new.is_dir:
            return "" if _attributes(old) == _attributes(new) else "metadata"
        return "modified"
    same_content = could_be_same(old.index, old.inode, new.index, new.inode)
    if same_content is False:
        return "modified"
    alike = same_attributes(old.index, old.inode, new.index, new.inode)
    change = "" if alike else "metadata"
    return _UNSURE[change] if same_content is None else change


def _attributes(node: Node) -> tuple[object, ...]:
    return node.mode, node.uid, node.gid, node.xattrs


class _Bytes:
    """Compares the contents of files of the two sides, each layer read once."""

    def __init__(self, a: Side, b: Side, unsure: list[FileDiff], progress: Progress) -> None:
        self._a = _digests(a, [item.a for item in unsure], progress)
        self._b = _digests(b, [item.b for item in unsure], progress)

    def same(self, item: FileDiff) -> bool:
        assert item.a is not None
        assert item.b is not None
        digest = self._a.get((item.a.written, item.a.inode))
        return digest is not None and digest == self._b.get((item.b.written, item.b.inode))


def _digests(
    side: Side, nodes: list[Node | None], progress: Progress
) -> dict[tuple[int | None, int], bytes]:
    wanted: dict[int, set[int]] = {}
    for node in nodes:
        if node is not None and node.written is not None:
            wanted.setdefault(node.written, set()).add(node.inode)
    found: dict[tuple[int | None, int], bytes] = {}
    if side.contents is not None:
        for layer, rows in wanted.items():
            for row, digest in side.contents.digests(layer, rows, progress).items():
                found[layer, row] = digest
    return found
