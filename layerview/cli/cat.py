"""`layerview cat`: a file's content, of any version."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from layerview.cli.options import Opened, image_path, natural, opened, parser, report
from layerview.errors import NotFoundError, UsageError
from layerview.layer.kinds import Kind
from layerview.text import printable
from layerview.view.changes import changed_node
from layerview.view.nodes import Node
from layerview.view.resolve import resolve


def run(words: Sequence[str]) -> int:
    """Write a file's bytes to standard output."""
    made = parser(
        "cat",
        "Write a file's content to standard output; with --layer the version that layer holds,\n"
        "hidden or not.",
        example="layerview cat app.tar /etc/os-release",
    )
    made.add_argument("image", metavar="IMAGE")
    made.add_argument("path", metavar="PATH")
    made.add_argument("--layer", type=natural, metavar="N", help="the version that layer N holds")
    arguments = made.parse_args(words)
    if arguments.json:
        raise UsageError("cat prints a file's bytes: there is no --json")
    with opened(arguments) as found:
        node = find_version(found, arguments.path, arguments.layer)
        shown = printable(node.path)
        if node.kind != Kind.FILE or node.written is None:
            raise NotFoundError(f"/{shown} is no file but a {node.type}")
        if node.layer is not None and found.view.is_unresolved(node.layer, node.row):
            raise NotFoundError(f"/{shown} is a hard link to a file that is not in the image")
        write = sys.stdout.buffer.write
        for piece in found.contents.pieces(node.written, node.inode):
            write(piece)
        sys.stdout.buffer.flush()
        return report([found])


def find_version(found: Opened, typed: str, layer: int | None, *, follow: bool = True) -> Node:
    """Find what a path names: what shows, or the version that one layer holds.

    Raises:
        NotFoundError: when there is no such thing.
    """
    path = image_path(typed)
    if layer is None:
        resolution = resolve(found.view, path, follow=follow)
        if resolution.node is None:
            report([found])
            raise NotFoundError(f"{typed} does not show in the image; layerview which says why")
        return resolution.node
    index = found.layer(layer).index
    if index is None:
        raise NotFoundError(f"layer {layer} is not here")
    path = path.strip(b"/")
    row = index.find(path) if path else None
    if path and (row is None or index.kinds[row] == Kind.WHITEOUT):
        raise NotFoundError(f"layer {layer} holds no /{printable(path)}")
    if row is None:
        return found.view.root()
    return changed_node(found.view, None, layer, row, path)
