"""`layerview rmi`: take names and images out of the storage area."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from layerview.cli.area import add_area_options, area, in_own_area, say
from layerview.cli.options import parser
from layerview.cli.output import print_json
from layerview.errors import LayerviewError
from layerview.store.removal import Removal
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Remove images."""
    made = parser(
        "rmi",
        "Take away a name, and the image with it when it was the last one.",
        example="layerview rmi app:latest",
        reads=False,
    )
    made.add_argument("images", metavar="IMAGE", nargs="+", help="a name or an ID")
    made.add_argument(
        "-f", "--force", action="store_true", help="though containers use it, or it is damaged"
    )
    made.add_argument("--no-prune", action="store_true", help="keep parents without a name")
    add_area_options(made)
    arguments = made.parse_args(words)
    return in_own_area(arguments, lambda: _remove(arguments))


def _remove(arguments: argparse.Namespace) -> int:
    status = 0
    with area(arguments).writing(say) as writing:
        removal = Removal(writing, force=arguments.force, prune=not arguments.no_prune)
        done = removal.removed
        for word in arguments.images:
            names, digests = len(done.untagged), len(done.deleted)
            try:
                removal.remove(word, arguments.driver)
            except LayerviewError as error:
                say(str(error))
                status = 1
            for note in writing.notes:
                say(note)
            writing.notes.clear()
            if not arguments.json:
                for name in done.untagged[names:]:
                    print(f"Untagged: {printable(name)}")
                for digest in done.deleted[digests:]:
                    print(f"Deleted: {digest}")
    if arguments.json:
        print_json({"untagged": done.untagged, "deleted": [str(each) for each in done.deleted]})
    return status
