"""Printing paths of an image's view as JSON, as json.md's names have it."""

from __future__ import annotations

from collections.abc import Iterable
from json import dumps
from json.encoder import encode_basestring_ascii as quote

from layerview.cli.output import base64, path_fields, text_fields
from layerview.layer.kinds import KIND_LABELS, Kind
from layerview.text import decode
from layerview.times import rfc3339
from layerview.view.nodes import ChangedNode, Node
from layerview.view.union import UnionView


def xattr_fields(xattrs: dict[bytes, bytes]) -> dict[str, object]:
    """Return extended attributes as an object, name to base64; nothing when there are none."""
    if not xattrs:
        return {}
    return {"xattrs": {decode(name): base64(value) for name, value in xattrs.items()}}


def node_fields(node: Node, view: UnionView | None = None) -> dict[str, object]:
    """Return a path's fields, as `files --json` prints them."""
    fields = path_fields(node.path)
    size: int | None = node.size
    if view is not None and node.layer is not None and view.is_unresolved(node.layer, node.row):
        size = None
    fields |= {
        "type": node.type,
        "size": size,
        "mode": f"{node.mode:04o}",
        "uid": node.uid,
        "gid": node.gid,
        "mtime": node.mtime,
        "layer": node.layer,
        "certain": node.certain,
    }
    if node.kind == Kind.SYMLINK:
        fields |= text_fields(node.target, "target")
    if node.hardlink is not None:
        fields |= path_fields(node.hardlink, "hardlink")
    fields |= xattr_fields(node.xattrs)
    if isinstance(node, ChangedNode):
        fields["change"] = node.change
        if node.change == "deleted" or node.hides:
            fields["hides"] = node.hides
    return fields


class NodeWriter:
    """Prints one JSON line a path; entries without anything special take a short way."""

    def __init__(self, view: UnionView) -> None:
        self._view = view
        missing = [number for number, index in enumerate(view.layers) if index is None]
        self._top_missing = max(missing, default=-1)
        self._special: list[set[int]] = []
        """By layer, the rows whose line has more than the usual fields."""
        for layer, index in enumerate(view.layers):
            rows: set[int] = set()
            if index is not None:
                rows.update(view.linked_rows(layer), index.targets, index.xattrs)
            self._special.append(rows)

    def lines(self, path: bytes, depth: int | None) -> Iterable[str]:
        """Yield the lines of everything below a folder, in path order."""
        view, special, top_missing = self._view, self._special, self._top_missing
        layers = view.layers
        modes = [f"{mode:04o}" for mode in range(0o10000)]
        for at, layer, row, stack in view.walk_rows(path, depth):
            if stack is not None:
                node = view.folder_node(at, stack)
                if node.layer is None:
                    yield dumps(node_fields(node)) + "\n"
                    continue
                layer, row = node.layer, node.row
            if row in special[layer] or not at.isascii():
                node = node if stack is not None else view.entry_node(at, layer, row)
                yield dumps(node_fields(node, view)) + "\n"
                continue
            index = layers[layer]
            assert index is not None
            fractions = index.columns.fractions
            mtime = rfc3339(index.mtimes[row], fractions[row] if fractions is not None else 0)
            yield (
                f'{{"path": {quote("/" + at.decode("ascii"))},'
                f' "type": "{KIND_LABELS[index.kinds[row]]}", "size": {index.sizes[row]},'
                f' "mode": "{modes[index.modes[row]]}", "uid": {index.uids[row]},'
                f' "gid": {index.gids[row]}, "mtime": {_quoted(mtime)}, "layer": {layer},'
                f' "certain": {"true" if layer > top_missing else "false"}}}\n'
            )


def _quoted(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'
