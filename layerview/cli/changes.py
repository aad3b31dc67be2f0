"""`layerview changes`: what a container changed of its image."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from layerview.cli.area import containers, in_own_area
from layerview.cli.flags import Flags, Values
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Print what a container changed."""
    flags = Flags(
        "changes",
        "CONTAINER",
        "Print what a container changed of its image, as docker diff does: A added, C changed,\n"
        "D deleted. Volumes do not count.",
        example="layerview changes try",
    )
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1, most=1)
    return in_own_area(arguments, lambda: _changes(arguments))


def _changes(arguments: Values) -> int:
    found = containers(arguments).changes(arguments.rest[0])
    if arguments.json:
        from layerview.cli.output import path_fields, print_json

        print_json([{**path_fields(change.path), "kind": change.kind} for change in found])
        return 0
    for change in found:
        sys.stdout.write(f"{change.kind} /{printable(change.path)}\n")
    return 0
