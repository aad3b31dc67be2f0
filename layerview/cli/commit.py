"""`layerview commit`: an image of what a container changed."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, in_own_area
from layerview.cli.flags import Flags, Values


def run(words: Sequence[str]) -> int:
    """Make an image of a container."""
    flags = Flags(
        "commit",
        "CONTAINER [REPOSITORY[:TAG]]",
        "Make an image: the container's own, and what the container changed of it as one more\n"
        "layer. Volumes are not part of it.",
        example="layerview commit -m 'with curl' try app:2",
    )
    flags.value("-a", "--author", metavar="NAME", about="whose it is", default="")
    flags.value("-m", "--message", metavar="TEXT", about="the comment in its history", default="")
    flags.values(
        *("-c", "--change"),
        metavar="INSTRUCTION",
        about="as a Dockerfile has it: CMD, ENTRYPOINT, ENV, LABEL, USER, …",
    )
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1, most=2)
    return in_own_area(arguments, lambda: _commit(arguments))


def _commit(arguments: Values) -> int:
    from layerview.cli.options import TerminalProgress
    from layerview.oci.reference import Reference

    reference = Reference.parse(arguments.rest[1]) if len(arguments.rest) > 1 else None
    progress = TerminalProgress()
    image_id = containers(arguments).commit(
        arguments.rest[0],
        reference=reference,
        author=arguments.author,
        message=arguments.message,
        changes=arguments.change,
        progress=progress,
    )
    progress.clear()
    if arguments.json:
        from layerview.cli.output import print_json

        names = [reference.familiar] if reference is not None else []
        print_json({"image_id": str(image_id), "references": names})
    else:
        print(image_id)
    return 0
