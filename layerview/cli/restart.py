"""`layerview restart`: containers stopped, and started again."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, in_area
from layerview.cli.flags import Flags, Values, natural
from layerview.cli.several import Done, each


def run(words: Sequence[str]) -> int:
    """Stop containers, and start them again."""
    flags = Flags(
        "restart",
        "CONTAINER [CONTAINER...]",
        "Stop containers as `layerview stop` does, and start them again.",
        example="layerview restart try",
    )
    flags.value(
        *("-t", "--time"), metavar="SECONDS", read=natural, about="until they are killed (10 s)"
    )
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    return in_area(arguments, lambda: _restart(arguments))


def _restart(arguments: Values) -> int:
    place = containers(arguments)

    def restart(word: str) -> Done:
        record = place.stop(word, arguments.time)
        place.start(record.id)
        return Done(record.id, record.name)

    return each(arguments.rest, restart, json=arguments.json)
