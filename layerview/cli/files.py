"""`layerview files`: the unified view, or what one layer itself holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from json import dumps

from layerview.cli.node_output import NodeWriter, node_fields
from layerview.cli.options import Opened, image_path, natural, opened, parser, report
from layerview.errors import NotFoundError, UsageError
from layerview.sizes import format_size
from layerview.text import printable
from layerview.view.nodes import ChangedNode, Node

_FLUSH = 1 << 16
_GLYPHS = {"added": "+", "modified": "~", "metadata": "~", "deleted": "-", "identical": "="}


def run(words: Sequence[str]) -> int:
    """Print paths, one a line."""
    made = parser(
        "files",
        "Print the unified view in path order, each path with the layer it resolves from;\n"
        "with --layer what that layer itself holds, and what it does to the layers below.",
        example="layerview files app.tar /usr --sort size --limit 20",
    )
    made.add_argument("image", metavar="IMAGE")
    made.add_argument("path", metavar="PATH", nargs="?", default="/")
    made.add_argument("--layer", type=natural, metavar="N", help="what layer N itself holds")
    made.add_argument(
        "--changes",
        metavar="KINDS",
        help="with --layer: only these, of added,modified,metadata,identical,deleted",
    )
    made.add_argument("--depth", type=natural, metavar="N", help="at most N levels down")
    made.add_argument("--sort", choices=("path", "size"), default="path", help="largest first")
    made.add_argument("--limit", type=natural, metavar="N", help="at most N lines")
    arguments = made.parse_intermixed_args(words)
    kinds = _kinds(arguments)
    with opened(arguments) as found:
        path = image_path(arguments.path)
        if arguments.layer is None:
            path = _showing(found, path, arguments.path)
            plain = arguments.sort == "path" and arguments.json
            if plain:
                lines: Iterable[str] = _json_lines(found, path, arguments.depth)
                _write(islice(lines, arguments.limit))
                return report([found])
            nodes: Iterable[Node] = _view_nodes(found, path, arguments.depth)
        else:
            path = path.strip(b"/")
            nodes = _layer_nodes(found, arguments.layer, path, kinds)
            if arguments.depth is not None:
                deepest = arguments.depth + (path.count(b"/") + 1 if path else 0)
                nodes = (node for node in nodes if node.path.count(b"/") < deepest)
        if arguments.sort == "size":
            nodes = _largest(nodes, arguments.limit)
        nodes = islice(nodes, arguments.limit)
        if arguments.json:
            _write(dumps(node_fields(node, found.view)) + "\n" for node in nodes)
        else:
            _write(_line(node, binary=arguments.binary) for node in nodes)
        return report([found])


def _kinds(arguments: argparse.Namespace) -> set[str] | None:
    if arguments.changes is None:
        return None
    if arguments.layer is None:
        raise UsageError("--changes goes with --layer N")
    from layerview.view.changes import CHANGES

    kinds = set(arguments.changes.split(","))
    unknown = kinds.difference(CHANGES[1:])
    if unknown:
        raise UsageError(f"--changes knows {','.join(CHANGES[1:])}, not {sorted(unknown)[0]!r}")
    return kinds


def _showing(found: Opened, path: bytes, typed: str) -> bytes:
    """Return where a typed path leads, its folders' symbolic links followed."""
    if not path:
        return b""
    from layerview.view.resolve import resolve

    resolution = resolve(found.view, path, follow=False)
    if not resolution.exists:
        report([found])
        raise NotFoundError(f"{typed} does not show in the image; layerview which says why")
    return resolution.resolved


def _view_nodes(found: Opened, path: bytes, depth: int | None) -> Iterator[Node]:
    if path:
        node = found.view.node(path)
        assert node is not None
        yield node
    if depth != 0:
        yield from found.view.walk(path, depth)


def _json_lines(found: Opened, path: bytes, depth: int | None) -> Iterator[str]:
    if path:
        node = found.view.node(path)
        assert node is not None
        yield dumps(node_fields(node, found.view)) + "\n"
    if depth != 0:
        yield from NodeWriter(found.view).lines(path, depth)


def _layer_nodes(
    found: Opened, number: int, path: bytes, kinds: set[str] | None
) -> Iterator[ChangedNode]:
    from layerview.view.changes import measure_changes, walk_layer

    loaded = found.layer(number)
    if loaded.index is None:
        raise NotFoundError(
            f"layer {number} is not here: {loaded.source.missing_reason or loaded.damage}"
        )
    changes = measure_changes(found.view, number, found.contents, found.progress)
    found.progress.clear()
    nodes = walk_layer(found.view, changes, number, path)
    first = next(nodes, None)
    if first is None and path:
        raise NotFoundError(f"layer {number} holds no /{printable(path)}")
    if first is not None:
        yield from (node for node in _chain(first, nodes) if kinds is None or node.change in kinds)


def _chain(first: ChangedNode, rest: Iterator[ChangedNode]) -> Iterator[ChangedNode]:
    yield first
    yield from rest


def _largest(nodes: Iterable[Node], limit: int | None) -> Iterable[Node]:
    def key(node: Node) -> tuple[int, bytes]:
        size = node.hides if isinstance(node, ChangedNode) and not node.size else node.size
        return -size, node.path.replace(b"/", b"\0")

    return sorted(nodes, key=key) if limit is None else nsmallest(limit, nodes, key=key)


def _line(node: Node, *, binary: bool) -> str:
    mark = _GLYPHS.get(node.change, " ") + " " if isinstance(node, ChangedNode) else ""
    layer = "-" if node.layer is None else str(node.layer)
    letter = "d" if node.is_dir else {"file": "-", "symlink": "l"}.get(node.type, node.type[0])
    size = "" if node.is_dir else format_size(node.size, binary=binary)
    if node.type == "whiteout":
        assert isinstance(node, ChangedNode)
        size = format_size(node.hides, binary=binary)
        letter = "w"
    target = f" -> {printable(node.target)}" if node.target is not None else ""
    doubt = "" if node.certain else "  (uncertain: a layer above is not here)"
    owner = f"{node.uid}:{node.gid}"
    path = f"/{printable(node.path)}{target}{doubt}"
    return f"{mark}{letter} {node.mode:04o} {owner:>9} {size:>10} {layer:>4}  {path}\n"


def _write(lines: Iterable[str]) -> None:
    """Print lines in large pieces."""
    write = sys.stdout.write
    pieces: list[str] = []
    waiting = 0
    for line in lines:
        pieces.append(line)
        waiting += len(line)
        if waiting > _FLUSH:
            write("".join(pieces))
            pieces.clear()
            waiting = 0
    write("".join(pieces))
