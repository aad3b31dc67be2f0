"""`layerview wait`: until containers have ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from layerview.cli.area import containers, say, settle_root
from layerview.cli.flags import Flags
from layerview.errors import LayerviewError


def run(words: Sequence[str]) -> int:
    """Wait, and print how they ended."""
    flags = Flags(
        "wait",
        "CONTAINER [CONTAINER...]",
        "Wait until containers have ended, and print their exit statuses.",
        example="layerview wait try",
    )
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    # What talks to its shim alone needs no user namespace.
    settle_root(arguments)
    place = containers(arguments)
    status = 0
    found: list[dict[str, object]] = []
    for word in arguments.rest:
        try:
            record = place.find(word)
            code = place.wait(record.id)
        except LayerviewError as error:
            say(str(error))
            status = 1
            continue
        found.append({"id": record.id, "name": record.name, "exit_code": code})
        if not arguments.json:
            print(code)
            sys.stdout.flush()
    if arguments.json:
        from layerview.cli.output import print_json

        print_json(found)
    return status
