"""`layerview attach`: the input and output of a container that runs."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, settle_root
from layerview.cli.attached import follow
from layerview.cli.flags import Flags


def run(words: Sequence[str]) -> int:
    """Follow a running container."""
    flags = Flags(
        "attach",
        "CONTAINER",
        "Show a running container's output, and give it our input, until it ends. ctrl-p ctrl-q\n"
        "leaves a container with a terminal running.",
        example="layerview attach try",
    )
    flags.switch("--no-stdin", about="give it no input")
    flags.switch("--sig-proxy", about="pass signals on to it (default)", default=True)
    flags.area()
    arguments = flags.parse(words, least=1, most=1)
    # What talks to its shim alone needs no user namespace.
    settle_root(arguments)
    place = containers(arguments)
    record = place.find(arguments.rest[0])
    stdin = not arguments.no_stdin
    attached = place.attach(record.id, stdin=stdin)
    code = follow(place, record.id, attached, stdin=stdin, signals=arguments.sig_proxy)
    return 0 if code is None else code
