"""`layerview shell`: the built-in shell over a container that does not run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

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
    _take_terminal()
    return in_own_area(arguments, lambda: _open(arguments))


def _take_terminal() -> None:
    """Have our terminal's ctrl-c where we lead a session that has none, as in a terminal's pane."""
    if os.isatty(0) and os.getsid(0) == os.getpid():
        with suppress(OSError):
            os.close(os.open(os.ttyname(0), os.O_RDWR | os.O_CLOEXEC))


def _open(arguments: Values) -> int:
    from layerview.cli.shell_lines import run_shell

    line = None if arguments.command is None else os.fsencode(arguments.command)
    return run_shell(containers(arguments), arguments.rest[0], line)
