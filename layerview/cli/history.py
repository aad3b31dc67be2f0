"""`layerview history`: what made an image, step by step."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from layerview.cli.options import TerminalProgress, parser, report_image
from layerview.cli.output import print_json, table
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.sources.image import Image
from layerview.sources.loading import LoadedLayer, load_layers
from layerview.sources.resolve import open_image
from layerview.text import printable
from layerview.times import ago, utc

_LONGEST = 45
"""Characters of what made a step that Docker shows."""


def run(words: Sequence[str]) -> int:
    """Print the steps of an image's history, newest first."""
    made = parser(
        "history",
        "Print what made the image, newest first, with the size of each step's layer. Steps whose\n"
        "image is not known here are <missing>, as docker history has it.",
        example="layerview history app.tar",
    )
    made.add_argument("image", metavar="IMAGE")
    made.add_argument(
        "--no-trunc", action="store_true", help="whole IDs and times, and steps as recorded"
    )
    made.add_argument("-q", "--quiet", action="store_true", help="print IDs alone")
    arguments = made.parse_args(words)
    with _opened(arguments) as (image, loaded):
        steps = _steps(image, loaded)
        if arguments.json:
            print_json(steps)
        elif arguments.quiet:
            for step in steps:
                print(_id(step, arguments))
        else:
            _print(image, steps, arguments)
        return report_image(image, loaded)


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[tuple[Image, list[LoadedLayer]]]:
    """Open the image; its layers are read where nothing else says their sizes."""
    progress = TerminalProgress()
    with open_image(arguments.image, platform=arguments.platform, progress=progress) as image:
        known = all(layer.size is not None for layer in image.layers if not layer.role)
        loaded = []
        if arguments.verify or not known:
            loaded = load_layers(
                image,
                verify=arguments.verify,
                cache=not arguments.no_cache,
                progress=progress,
            )
        progress.clear()
        yield image, loaded


def _id(step: dict[str, object], arguments: argparse.Namespace) -> str:
    image_id = step["image_id"]
    if image_id is None:
        return "<missing>"
    return str(image_id) if arguments.no_trunc else str(image_id)[7:19]


def _print(image: Image, steps: list[dict[str, object]], arguments: argparse.Namespace) -> None:
    now = time.time()
    rows = [["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT", "LAYER"]]
    for step, row in zip(steps, reversed(image.history), strict=True):
        size, layer, created = step["size"], step["layer"], step["created"]
        recorded = created if isinstance(created, str) else None
        if arguments.no_trunc:
            made_by = printable(str(step["created_by"] or ""))
        else:
            made_by = instruction(row.history)
            if len(made_by) > _LONGEST:
                made_by = made_by[: _LONGEST - 1] + "…"
        rows.append(
            [
                _id(step, arguments),
                (recorded or "N/A") if arguments.no_trunc else ago(recorded, now),
                made_by,
                format_size(size, binary=arguments.binary) if isinstance(size, int) else "?",
                printable(str(step["comment"] or "")),
                "" if layer is None else str(layer),
            ]
        )
    table(rows, right=(3, 5), cut=2)


def _steps(image: Image, loaded: Sequence[LoadedLayer]) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = []
    # As Docker does: one image after the other, down to the first that it was not built on here.
    ids = [image.image_id, *image.parents] if image.image_id is not None else []
    for newest, row in enumerate(reversed(image.history)):
        history = row.history
        empty = history is not None and history.empty_layer
        size = 0 if empty else None
        if row.layer is not None:
            size = image.layers[row.layer].size
            index = loaded[row.layer].index if loaded and size is None else None
            if index is not None:
                size = index.size
        steps.append(
            {
                "image_id": str(ids[newest]) if newest < len(ids) else None,
                "created": utc(history.created) if history is not None else None,
                "created_by": history.created_by if history is not None else None,
                "size": size,
                "comment": history.comment if history is not None else None,
                "empty_layer": empty,
                "layer": row.layer,
            }
        )
    return steps
