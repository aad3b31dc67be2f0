"""The built-in shell instead of a container's process, where this machine can start none."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from layerview.cli.area import say
from layerview.cli.flags import Values
from layerview.containers.built_in import DRIVER
from layerview.errors import LayerviewError, NamespaceError

if TYPE_CHECKING:
    from layerview.containers.life import Containers

_SHELLS = ("sh", "ash", "bash", "dash", "zsh", "ksh")


def why_none_start(error: LayerviewError, driver: str | None) -> str | None:
    """Say why this machine can start no container; None where the error is another one.

    Args:
        error: what was said.
        driver: the one that was asked for.
    """
    if isinstance(error, NamespaceError):
        return str(error)
    if driver == DRIVER:
        from layerview.unionfs.serve import can_serve

        reason = can_serve()
        if reason is not None:
            return reason
    from layerview.containers.machine import launcher_problem

    problem = launcher_problem()
    return None if problem is None else "; ".join(problem)


def wanted(args: list[str], *, interactive: bool) -> tuple[bool, bytes | None]:
    """Return whether the built-in shell can do what a container was to do, and the line for it.

    Args:
        args: the program and its words; none for the image's own.
        interactive: whether its input is kept open. Then a shell, or nothing at all, is one that
            reads lines.
    """
    from layerview.unionfs.shell.commands import COMMANDS

    name = os.path.basename(args[0]) if args else ""
    if len(args) == 3 and name in _SHELLS and args[1] == "-c":
        return True, os.fsencode(args[2])
    if not args or (len(args) == 1 and name in _SHELLS):
        return interactive, None
    if name in COMMANDS:
        return True, os.fsencode(shlex.join([name, *args[1:]]))
    return False, None


def run_instead(
    arguments: Values,
    driver: str | None,
    error: LayerviewError,
    give_way: Callable[[], None] = lambda: None,
) -> int:
    """Make a container of the image on driver aufs, and open it in the built-in shell.

    Args:
        arguments: of `run`.
        driver: the one that was asked for.
        error: why its container was not started.
        give_way: takes that one away, whose name may be needed.

    Raises:
        LayerviewError: the one that was given, where that is not what is wrong or would not help.
    """
    from layerview.cli.new_container import image_in_area, options
    from layerview.cli.shell_lines import run_shell
    from layerview.containers.life import Containers

    if arguments.detach or arguments.runtime or driver not in (None, DRIVER):
        raise error
    able, line = wanted(arguments.rest[1:], interactive=arguments.interactive)
    why = why_none_start(error, driver) if able and not arguments.entrypoint else None
    if why is None:
        raise error
    _say_why(why)
    give_way()
    arguments.driver = DRIVER
    place, image, record = image_in_area(arguments, arguments.rest[0], trial=False)
    containers = Containers(place, say)
    created = containers.create(image, options(arguments, attached=True), record=record)
    for note in created.notes:
        say(note)
    try:
        return run_shell(containers, created.id, line)
    finally:
        if arguments.rm:
            with suppress(LayerviewError):
                containers.remove(created.id, force=True, volumes=True)


def start_instead(
    containers: Containers, word: str, error: LayerviewError, *, interactive: bool
) -> int:
    """Open a container that could not be started in the built-in shell.

    Raises:
        LayerviewError: the one that was given, where that is not what is wrong or would not help.
    """
    from layerview.cli.shell_lines import run_shell

    record = containers.find(word)
    if record.running or record.driver != DRIVER:
        raise error
    document = containers.document(record)
    args = [document.text("Path"), *document.texts("Args")]
    able, line = wanted(args, interactive=interactive)
    if not able and interactive and record.tty:
        # Whatever it was to run: who sits at the terminal wants to see the container.
        able = True
    why = why_none_start(error, DRIVER) if able else None
    if why is None:
        raise error
    _say_why(why)
    return run_shell(containers, record.id, line)


def _say_why(why: str) -> None:
    say(f"containers can't be started here: {why}; it opens in the built-in shell instead")
