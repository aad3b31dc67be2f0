"""`layerview rm`: containers, with their layers."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from layerview.cli.area import containers, in_own_area, say
from layerview.cli.flags import Flags, Values
from layerview.errors import LayerviewError, NotFoundError
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Remove containers."""
    flags = Flags(
        "rm",
        "CONTAINER [CONTAINER...]",
        "Remove containers with what they changed. Volumes that have a name stay.",
        example="layerview rm -f try",
    )
    flags.switch("-f", "--force", about="kill those that run")
    flags.switch("-v", "--volumes", about="their volumes without a name as well")
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    return in_own_area(arguments, lambda: _remove(arguments))


def _remove(arguments: Values) -> int:
    place = containers(arguments)
    status = 0
    removed: list[str] = []
    gone: list[str] = []
    for word in arguments.rest:
        try:
            done = place.remove(word, force=arguments.force, volumes=arguments.volumes)
        except LayerviewError as error:
            say(str(error))
            # As in Docker: with -f what is not there is as it should be.
            if not (arguments.force and isinstance(error, NotFoundError)):
                status = 1
            continue
        removed.append(done.id)
        gone += done.volumes
        if not arguments.json:
            print(printable(word))
            sys.stdout.flush()
    if arguments.json:
        from layerview.cli.output import print_json

        print_json({"deleted": removed, "volumes": gone})
    return status
