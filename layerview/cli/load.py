"""`layerview load`: images into the local storage area."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from layerview.cli.area import add_area_options, area, in_own_area, say
from layerview.cli.options import TerminalProgress, parser
from layerview.errors import UsageError
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Load all images of a file, a folder or standard input."""
    made = parser(
        "load",
        "Load images into the storage area: all that the file or folder holds.",
        example="layerview load -i app.tar",
    )
    made.add_argument("image", metavar="IMAGE", nargs="?", help="a file, a folder, - or a name")
    made.add_argument("-i", "--input", metavar="FILE", help="the same, as docker load has it")
    made.add_argument("-q", "--quiet", action="store_true", help="print IDs alone")
    made.add_argument("-t", "--tag", metavar="NAME", help="name the image so")
    add_area_options(made)
    arguments = made.parse_args(words)
    if arguments.image is not None and arguments.input is not None:
        raise UsageError("an image is named twice; see layerview load --help")
    if arguments.image is None:
        arguments.image = arguments.input
    if arguments.image is None:
        if sys.stdin.isatty():
            raise UsageError("there is no image to load; see layerview load --help")
        arguments.image = "-"
    return in_own_area(arguments, lambda: _load(arguments))


def choose_driver_of(root: str, wanted: str | None, *, trial: bool = True) -> str:
    """Return the driver to load under; one that the area has already is not tried again.

    Args:
        root: the area.
        wanted: what is asked for.
        trial: whether one that the area has not is tried: what is not to be mounted need not be.
    """
    from layerview.drivers.by_name import make_driver
    from layerview.drivers.probe import choose_driver

    name = wanted or os.environ.get("LAYERVIEW_DRIVER", "")
    if name and not trial:
        return make_driver(name, root).name
    if name and os.path.isdir(os.path.join(root, "image", name, "layerdb", "sha256")):
        return make_driver(name, root).name
    return choose_driver(root, wanted).name


def _load(arguments: argparse.Namespace) -> int:
    from layerview.sources.several import open_all
    from layerview.transfer.load import Loaded, link_parents, load

    progress = TerminalProgress()
    place = area(arguments, create=True)
    done: list[Loaded] = []
    with (
        open_all(arguments.image, platform=arguments.platform, progress=progress) as images,
        place.writing(say) as writing,
    ):
        with writing.lock.hold():
            driver = choose_driver_of(place.root, arguments.driver)
        for image in images:
            if arguments.tag is not None and done:
                raise UsageError("the file holds several images: one --tag can't name them all")
            loaded = load(
                writing,
                driver,
                image,
                tag=arguments.tag,
                verify=arguments.verify,
                progress=progress,
            )
            done.append(loaded)
            progress.clear()
            for note in loaded.notes:
                say(note)
            if arguments.json:
                print(
                    json.dumps(
                        {
                            "image_id": str(loaded.image_id),
                            "references": loaded.references,
                            "layers": [
                                {"diff_id": str(diff_id), "existed": existed}
                                for diff_id, existed in loaded.layers
                            ],
                            "driver": driver,
                        }
                    )
                )
                continue
            for reference, before in loaded.renamed:
                say(f"{reference} was the name of image {before.short}, which keeps no name of it")
            for reference in loaded.references:
                print(reference if arguments.quiet else f"Loaded image: {printable(reference)}")
            if not loaded.references:
                print(loaded.image_id if arguments.quiet else f"Loaded image ID: {loaded.image_id}")
            sys.stdout.flush()
        link_parents(writing, driver, done)
    return 0
