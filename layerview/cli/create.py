"""`layerview create`: a new container of an image, not started yet."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import in_own_area, say
from layerview.cli.flags import Flags, Values
from layerview.cli.new_container import add_flags, image_in_area, options, wanted_driver


def run(words: Sequence[str]) -> int:
    """Make a container, and print its ID."""
    flags = Flags(
        "create",
        "IMAGE [COMMAND] [ARG...]",
        "Make a container of an image, and print its ID; `layerview start` starts it.",
        example="layerview create -it --name try demo: sh",
        short=False,
    )
    add_flags(flags)
    arguments = flags.parse(words, least=1, stop=True)
    return in_own_area(arguments, lambda: _create(arguments))


def _create(arguments: Values) -> int:
    from layerview.containers.life import Containers

    # A container of driver aufs can be opened where nothing can be mounted.
    trial = wanted_driver(arguments) != "aufs"
    place, image, record = image_in_area(arguments, arguments.rest[0], trial=trial)
    asked = options(arguments, attached=True)
    created = Containers(place, say).create(image, asked, record=record)
    for note in created.notes:
        say(note)
    if arguments.json:
        from layerview.cli.output import print_json

        print_json(
            {
                "id": created.id,
                "name": created.name,
                "driver": created.driver,
                "allocated": created.allocated,
            }
        )
    else:
        print(created.id)
    return 0
