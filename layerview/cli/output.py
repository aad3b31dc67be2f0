"""Printing: JSON as json.md's names have it, and plain tables."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Sequence
from json import dumps

from layerview.text import decode


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
