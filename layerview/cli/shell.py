"""`layerview shell`: the built-in shell over a container that does not run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from layerview.cli.area import containers, in_own_area
from layerview.cli.flags import Flags, Values


def run(words: Sequence[str]) -> int:
    """Open a container in the built-in shell."""
    flags = Flags(
        "shell",
        "CONTAINER",
        "Open a container of driver aufs in the built-in shell: no program of it runs, nothing is\n"
        "mounted, and the union is the same. For machines that can start no containers; it works\n"
        "on all. The word help lists its commands.\n\n"
        "Exit status: the last command's.",
        example="layerview shell try",
    )
    flags.value("-c", "--command", metavar="LINE", about="do what the line says, and end")
    flags.area()
    arguments = flags.parse(words, least=1, most=1)
    return in_own_area(arguments, lambda: _open(arguments))


def _open(arguments: Values) -> int:
    from layerview.cli.shell_lines import run_shell

    line = None if arguments.command is None else os.fsencode(arguments.command)
    return run_shell(containers(arguments), arguments.rest[0], line)
