"""`layerview diff`: what differs between two images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from json import dumps

from layerview.cli.options import Opened, opened, parser, report
from layerview.cli.output import path_fields, print_json
from layerview.sizes import format_size
from layerview.sources.image import Image
from layerview.sources.loading import LoadedLayer
from layerview.text import printable
from layerview.view.diff import FileDiff, Side, compare
from layerview.view.nodes import Node

_MARKS = {"added": "+", "removed": "-", "modified": "~", "metadata": "m"}


def run(words: Sequence[str]) -> int:
    """Print the layers, the config fields and the files that differ."""
    made = parser(
        "diff",
        "Print what differs between two images: layers, config and files of the unified view.",
        example="layerview diff old.tar new.tar",
    )
    made.add_argument("a", metavar="IMAGE_A")
    made.add_argument("b", metavar="IMAGE_B")
    arguments = made.parse_args(words)
    with ExitStack() as stack:
        a = stack.enter_context(opened(arguments, arguments.a))
        b = stack.enter_context(opened(arguments, arguments.b))
        files = compare(_side(a), _side(b), a.progress)
        document: dict[str, object] = {
            "layers": _layers(a.image, b.image),
            "config": _config(a.image, b.image),
            "files": [_file(item) for item in files],
        }
        if arguments.json:
            print_json(document)
        else:
            _print(document, files, binary=arguments.binary)
        return report([a, b])


def _side(found: Opened) -> Side:
    return Side(found.view, found.contents, [_key(layer) for layer in found.layers])


def _key(layer: LoadedLayer) -> object:
    """Return a DiffID where it is known to hold; claims prove nothing."""
    return str(layer.source.diff_id) if layer.verified and layer.source.diff_id else None


def _layers(a: Image, b: Image) -> dict[str, list[str]]:
    ours = [str(layer.diff_id) for layer in a.layers if layer.diff_id is not None]
    theirs = [str(layer.diff_id) for layer in b.layers if layer.diff_id is not None]
    return {
        "shared": [diff_id for diff_id in ours if diff_id in theirs],
        "only_a": [diff_id for diff_id in ours if diff_id not in theirs],
        "only_b": [diff_id for diff_id in theirs if diff_id not in ours],
    }


def _config(a: Image, b: Image) -> list[dict[str, object]]:
    def fields(image: Image) -> dict[str, object]:
        config = image.config
        found: dict[str, object] = {
            "architecture": config.architecture or None,
            "os": config.os or None,
            "variant": config.variant,
            "created": config.created,
            "author": config.author,
        }
        found.update({f"config.{key}": value for key, value in config.config.items()})
        return found

    ours, theirs = fields(a), fields(b)
    return [
        {"field": key, "a": ours.get(key), "b": theirs.get(key)}
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]


def _file(item: FileDiff) -> dict[str, object]:
    return {
        **path_fields(item.path),
        "change": item.change,
        "a": _version(item.a),
        "b": _version(item.b),
    }


def _version(node: Node | None) -> dict[str, object] | None:
    if node is None:
        return None
    return {
        "type": node.type,
        "size": node.size,
        "mode": f"{node.mode:04o}",
        "uid": node.uid,
        "gid": node.gid,
        "layer": node.layer,
    }


def _print(document: dict[str, object], files: list[FileDiff], *, binary: bool) -> None:
    layers, config = document["layers"], document["config"]
    assert isinstance(layers, dict)
    assert isinstance(config, list)
    print(
        f"layers: {len(layers['shared'])} shared, {len(layers['only_a'])} only in the first,"
        f" {len(layers['only_b'])} only in the second"
    )
    for field in config:
        before, after = (printable(dumps(field[side])) for side in ("a", "b"))
        print(f"{field['field']}: {before} -> {after}")
    for item in files:
        node = item.b or item.a
        assert node is not None
        before = format_size(item.a.size, binary=binary) if item.a else ""
        after = format_size(item.b.size, binary=binary) if item.b else ""
        print(f"{_MARKS[item.change]} {before:>10} {after:>10}  /{printable(item.path)}")
    if not files:
        print("no file differs")
