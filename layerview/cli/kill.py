"""`layerview kill`: a signal for running containers."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, settle_root
from layerview.cli.flags import Flags
from layerview.cli.several import Done, each


def run(words: Sequence[str]) -> int:
    """Send containers a signal."""
    flags = Flags(
        "kill",
        "CONTAINER [CONTAINER...]",
        "Send running containers' first processes a signal: SIGKILL, or another one.",
        example="layerview kill -s HUP try",
    )
    flags.value(
        *("-s", "--signal"), metavar="SIGNAL", default="KILL", about="a name or a number (KILL)"
    )
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    from layerview.containers.spec import signal_number

    number = signal_number(arguments.signal)
    # What talks to its shim alone needs no user namespace.
    settle_root(arguments)
    place = containers(arguments)

    def kill(word: str) -> Done:
        record = place.kill(word, number)
        return Done(record.id, record.name)

    return each(arguments.rest, kill, json=arguments.json)
