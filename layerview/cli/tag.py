"""`layerview tag`: give an image of the storage area another name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from layerview.cli.area import add_area_options, area, in_own_area, say
from layerview.cli.options import parser
from layerview.cli.output import print_json
from layerview.errors import UsageError
from layerview.oci.reference import Reference
from layerview.store.finding import find


def run(words: Sequence[str]) -> int:
    """Tag an image."""
    made = parser(
        "tag",
        "Let NAME mean IMAGE, whatever it meant before.",
        example="layerview tag app:latest registry.example/app:1.0",
        reads=False,
    )
    made.add_argument("image", metavar="IMAGE", help="a name or an ID")
    made.add_argument("name", metavar="NAME", help="the new name")
    add_area_options(made)
    arguments = made.parse_args(words)
    return in_own_area(arguments, lambda: _tag(arguments))


def _tag(arguments: argparse.Namespace) -> int:
    reference = Reference.parse(arguments.name)
    if reference.digest is not None or reference.tag is None:
        raise UsageError(f"{reference.familiar}: a name with a digest can't be given")
    place = area(arguments)
    with place.writing(say) as writing, writing.lock.hold():
        record = find(place.data, arguments.image, arguments.driver).record
        writing.tag(record.driver, reference, record.image_id)
        writing.note_tagged(record.driver, record.image_id)
    if arguments.json:
        print_json({"image_id": str(record.image_id), "references": [reference.familiar]})
    return 0
