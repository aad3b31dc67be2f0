"""`layerview rename`: another name for a container."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, in_own_area
from layerview.cli.flags import Flags, Values


def run(words: Sequence[str]) -> int:
    """Give a container another name."""
    flags = Flags(
        "rename",
        "CONTAINER NAME",
        "Give a container another name.",
        example="layerview rename try kept",
    )
    flags.area()
    arguments = flags.parse(words, least=2, most=2)
    return in_own_area(arguments, lambda: _rename(arguments))


def _rename(arguments: Values) -> int:
    containers(arguments).rename(*arguments.rest)
    return 0
