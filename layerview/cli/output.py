"""Printing: JSON as json.md's names have it, and plain tables."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from json import dumps
from json.encoder import encode_basestring_ascii

from layerview.layer.kinds import KIND_LABELS, Kind
from layerview.text import decode
from layerview.times import rfc3339
from layerview.view.nodes import ChangedNode, Node
from layerview.view.union import UnionView

quote = encode_basestring_ascii


def print_json(document: object) -> None:
    """Print one JSON document: a field of the whole, or an item of a list, on each line."""
    # json's own indenting leaves its C encoder, which takes ten times as long on long lists.
    if isinstance(document, dict):
        fields = (f"  {dumps(key)}: {_json_value(value)}" for key, value in document.items())
        sys.stdout.write("{\n" + ",\n".join(fields) + "\n}\n")
    else:
        sys.stdout.write(_json_value(document, "") + "\n")


def _json_value(value: object, margin: str = "  ") -> str:
    if not isinstance(value, list) or not value:
        return dumps(value)
    lines = ",\n".join(f"{margin}  {dumps(item)}" for item in value)
    return f"[\n{lines}\n{margin}]"


def shown_path(path: bytes) -> str:
    """Return a view's path as JSON and people write it."""
    return "/" + decode(path)


def path_fields(path: bytes, key: str = "path") -> dict[str, object]:
    """Return a path's fields: the bytes stand beside it when they are not UTF-8."""
    fields: dict[str, object] = {key: shown_path(path)}
    if not _is_utf8(path):
        fields[f"{key}_bytes"] = base64(b"/" + path)
    return fields


def text_fields(raw: bytes | None, key: str) -> dict[str, object]:
    """Return the fields of bytes that are no path of the image, as a link's target."""
    if raw is None:
        return {key: None}
    fields: dict[str, object] = {key: decode(raw)}
    if not _is_utf8(raw):
        fields[f"{key}_bytes"] = base64(raw)
    return fields


def base64(raw: bytes) -> str:
    """Encode bytes for JSON."""
    return b64encode(raw).decode("ascii")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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


def table(
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    cut: int | None = None,
    least: int = 0,
) -> None:
    """Print rows in columns; the first row is the heading.

    Args:
        rows: cells, safe to print.
        right: columns whose cells stand right.
        cut: the column that gives way where a terminal is too narrow; pipes get all of it.
        least: width of the narrowest column.
    """
    widths = [max(least, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    if cut is not None and sys.stdout.isatty():
        from shutil import get_terminal_size

        excess = sum(widths) + 3 * (len(widths) - 1) - get_terminal_size().columns
        widths[cut] = min(widths[cut], max(20, widths[cut] - excess))
    last = len(widths) - 1
    for row in rows:
        cells = []
        for column, cell in enumerate(row):
            width = widths[column]
            if len(cell) > width:
                cell = cell[: width - 1] + "…"
            if column in right:
                cells.append(cell.rjust(width))
            else:
                cells.append(cell if column == last else cell.ljust(width))
        sys.stdout.write("   ".join(cells).rstrip() + "\n")
