"""`layerview inspect`: a container, or an image's config, digests and layers, unread."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from json import loads

from layerview import settings
from layerview.cli.describe import layer_fields, title
from layerview.cli.options import TerminalProgress, parser, report_image
from layerview.cli.output import print_json
from layerview.errors import LayerviewError, NotFoundError
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.sources.image import Image
from layerview.sources.loading import LoadedLayer, load_layers
from layerview.sources.resolve import open_image
from layerview.text import printable
from layerview.times import utc

_MAY_BE_A_CONTAINER = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)


def run(words: Sequence[str]) -> int:
    """Print what a container is, or what an image says about itself."""
    made = parser(
        "inspect",
        "Print a container of the storage area; or, where there is none of that name, an image's\n"
        "config, digests and layers. The layers are not read: sizes are known when the index\n"
        "cache has them, or with --verify, which reads and hashes everything.",
        example="layerview inspect app.tar --json",
    )
    made.add_argument("image", metavar="CONTAINER|IMAGE")
    made.add_argument("--type", choices=("container", "image"), help="which of the two it is")
    made.add_argument(
        "--root", metavar="PATH", help="a Docker data root; else the storage area (LAYERVIEW_ROOT)"
    )
    arguments = made.parse_args(words)
    if arguments.type != "image" and (
        arguments.type == "container" or _MAY_BE_A_CONTAINER.fullmatch(arguments.image)
    ):
        status = _inspect_container(arguments)
        if status is not None:
            return status
    if arguments.root and not os.path.exists(arguments.image):
        arguments.image = f"data-root:{os.path.abspath(arguments.root)}:{arguments.image}"
    return _inspect_image(arguments)


def _inspect_container(arguments: argparse.Namespace) -> int | None:
    """Print a container; None where there is none of that name and an image may be meant."""
    from layerview.cli.area import in_own_area
    from layerview.store.area import default_root
    from layerview.store.data_root import DataRoot

    own, word, only = not arguments.root, arguments.image, arguments.type == "container"
    root = os.path.abspath(arguments.root) if arguments.root else default_root()
    if own and not only and not os.path.lexists(os.path.join(root, "image")):
        return None
    data = DataRoot(root)
    try:
        record = data.container(word)
    except LayerviewError as error:
        if not only and (isinstance(error, NotFoundError) or os.path.exists(word)):
            return None
        raise
    called = word.removeprefix("/") in (record.name, record.id)
    if not called and not only and os.path.exists(word):
        return None
    arguments.root = root

    def show() -> int:
        from layerview.cli.inspect_container import inspect

        return inspect(data, record, json=arguments.json, binary=arguments.binary)

    # What an ordinary user's container changed is hidden from them outside of a namespace.
    return in_own_area(arguments, show) if own else show()


def _inspect_image(arguments: argparse.Namespace) -> int:
    progress = TerminalProgress()
    with open_image(arguments.image, platform=arguments.platform, progress=progress) as image:
        loaded: list[LoadedLayer] = []
        if arguments.verify:
            loaded = load_layers(
                image, verify=True, cache=not arguments.no_cache, progress=progress
            )
        progress.clear()
        layers = _layers(image, loaded, use_cache=not arguments.no_cache)
        sizes = [layer["size"] for layer in layers]
        size = sum(part for part in sizes if isinstance(part, int)) if None not in sizes else None
        document = {
            "image_id": str(image.image_id) if image.image_id is not None else None,
            "references": list(image.references),
            "digest": str(image.digest) if image.digest is not None else None,
            "platform": image.platform or None,
            "created": utc(image.config.created),
            "config": loads(image.config.raw) if image.has_config else None,
            "layers": layers,
            "size": size,
            "warnings": _warnings(image, loaded),
        }
        if arguments.json:
            print_json(document)
        else:
            _print(image, document, layers, binary=arguments.binary)
        return report_image(image, loaded)


def _layers(
    image: Image, loaded: Sequence[LoadedLayer], *, use_cache: bool
) -> list[dict[str, object]]:
    if loaded:
        return [layer_fields(item.source, item.index, item.verified) for item in loaded]
    cache = None
    if use_cache and settings.cache_wanted():
        from layerview.layer.cache import IndexCache

        cache = IndexCache(settings.cache_dir())
    return [
        layer_fields(
            source,
            None,
            None,
            cache.sizes(source.blob) if cache is not None and source.blob is not None else None,
        )
        for source in image.layers
    ]


def _warnings(image: Image, loaded: Sequence[LoadedLayer]) -> list[str]:
    found = [*image.damage, *image.warnings]
    for layer in image.layers:
        if not layer.available:
            found.append(f"layer {layer.number} is not here: {layer.missing_reason}")
    for item in loaded:
        if item.damage is not None:
            found.append(item.damage)
        if item.index is not None:
            found.extend(f"layer {item.source.number}: {text}" for text in item.index.warnings)
    return [printable(text) for text in found]


def _print(
    image: Image, document: dict[str, object], layers: list[dict[str, object]], *, binary: bool
) -> None:
    print(printable(title(image)))
    for key in ("image_id", "digest", "created"):
        print(f"{key.replace('_', ' '):<12}{document[key] or '?'}")
    print(f"{'place':<12}{image.place} {printable(image.location)}")
    size = document["size"]
    shown = format_size(size, binary=binary) if isinstance(size, int) else "unknown until read"
    print(f"{'size':<12}{shown} in {len(layers)} layers")
    for key, value in image.config.config.items():
        if value not in (None, "", [], {}):
            print(f"{key:<12}{printable(str(value))}")
    for source in reversed(image.layers):
        print(f"{source.number:>5}  {source.diff_id or '?'}  {instruction(source.history)}")
    warnings = document["warnings"]
    assert isinstance(warnings, list)
    for warning in warnings:
        print(f"warning     {warning}")
