"""`layerview exec`: another command in a container that runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from layerview.cli.area import containers, say, settle_root
from layerview.cli.attached import check_terminal, terminal_size
from layerview.cli.flags import Flags, Values
from layerview.cli.new_container import environment
from layerview.containers.plan import StartError
from layerview.errors import UsageError
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Run a command in a container."""
    flags = Flags(
        "exec",
        "CONTAINER COMMAND [ARG...]",
        "Run another command in a container that runs.\n\n"
        "Exit status: the command's own; 125 it was not started, 126 it can't be executed, 127 it\n"
        "was not found.",
        example="layerview exec -it try sh",
    )
    flags.switch("-d", "--detach", about="let it run by itself")
    flags.switch("-i", "--interactive", about="give it our input")
    flags.switch("-t", "--tty", about="give it a terminal")
    flags.values("-e", "--env", metavar="KEY=VALUE", about="an environment variable")
    flags.values("--env-file", metavar="FILE", about="environment variables, one a line")
    flags.value("-w", "--workdir", metavar="DIR", about="where it starts", default="")
    flags.value("-u", "--user", metavar="USER", about="name or ID, and :GROUP", default="")
    flags.area()
    arguments = flags.parse(words, least=2, stop=True)
    if arguments.workdir and not arguments.workdir.startswith("/"):
        raise UsageError(f"-w {printable(arguments.workdir)}: it is not an absolute path")
    if not arguments.detach:
        check_terminal(stdin=arguments.interactive, tty=arguments.tty)
    # What talks to its shim alone needs no user namespace.
    settle_root(arguments)
    try:
        return _exec(arguments)
    except StartError as error:
        say(str(error))
        return error.code


def _exec(arguments: Values) -> int:
    from layerview.containers.spec import asked_environment
    from layerview.containers.talk import Exec
    from layerview.containers.terminal import run_exec

    place = containers(arguments)
    tty = arguments.tty and not arguments.detach
    rows, columns = terminal_size() if tty else (0, 0)
    env = asked_environment(environment(arguments))

    def start(stdio: tuple[int, int, int] | None) -> Exec:
        return place.exec(
            arguments.rest[0],
            arguments.rest[1:],
            env=env,
            workdir=arguments.workdir,
            user=arguments.user,
            tty=tty,
            rows=rows,
            columns=columns,
            stdio=stdio,
        )

    if arguments.detach:
        null = os.open(os.devnull, os.O_RDWR)
        start((null, null, null)).close()
        return 0
    sys.stdout.flush()
    return run_exec(start, tty=tty, stdin=0 if arguments.interactive else None)
