"""`layerview inspect`: an image's config, digests and layers, without reading the layers."""

from __future__ import annotations

from collections.abc import Sequence
from json import loads

from layerview import settings
from layerview.cli.describe import layer_fields, title
from layerview.cli.options import TerminalProgress, parser, report_image
from layerview.cli.output import print_json
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.sources.image import Image
from layerview.sources.loading import LoadedLayer, load_layers
from layerview.sources.resolve import open_image
from layerview.text import printable
from layerview.times import utc


def run(words: Sequence[str]) -> int:
    """Print what an image says about itself."""
    made = parser(
        "inspect",
        "Print an image's config, digests and layers. The layers are not read: sizes are known\n"
        "when the index cache has them, or with --verify, which reads and hashes everything.",
        example="layerview inspect app.tar --json",
    )
    made.add_argument("image", metavar="IMAGE")
    arguments = made.parse_args(words)
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
