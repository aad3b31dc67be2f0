"""`layerview stop`: running containers, by their stop signal and then by force."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, settle_root
from layerview.cli.flags import Flags, natural
from layerview.cli.several import Done, at_once


def run(words: Sequence[str]) -> int:
    """Stop containers."""
    flags = Flags(
        "stop",
        "CONTAINER [CONTAINER...]",
        "Ask containers to end; after a while they are killed.",
        example="layerview stop -t 2 try",
    )
    flags.value(*("-t", "--time"), metavar="SECONDS", read=natural, about="how long that is (10 s)")
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    # What talks to its shim alone needs no user namespace.
    settle_root(arguments)
    place = containers(arguments)

    def stop(word: str) -> Done:
        record = place.stop(word, arguments.time)
        return Done(record.id, record.name)

    return at_once(arguments.rest, stop, json=arguments.json)
