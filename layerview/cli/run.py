"""`layerview run`: a new container of an image, started."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from layerview.cli.area import in_area, say
from layerview.cli.attached import check_terminal, start_and_follow
from layerview.cli.flags import Flags, Values
from layerview.cli.new_container import (
    add_flags,
    count,
    image_in_area,
    options,
    wanted_driver,
)
from layerview.containers.plan import Options, StartError
from layerview.errors import LayerviewError, NamespaceError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.containers.life import Containers, Created
    from layerview.containers.plan import Started

OWN_FAILURE = 125
"""Docker's exit status for what is not the container's own failure."""


def run(words: Sequence[str]) -> int:
    """Make containers and start them."""
    flags = Flags(
        "run",
        "IMAGE [COMMAND] [ARG...]",
        "Make a container of an image, and start it. An image that is not in the storage area is\n"
        "loaded first from the file, the folder or the transport that IMAGE names. ctrl-p ctrl-q\n"
        "leaves a container with a terminal running.\n\n"
        "Exit status: the command's own; 125 it was not started, 126 it can't be executed, 127 it\n"
        "was not found.",
        example="layerview run -it --rm demo: sh",
        short=False,
    )
    flags.switch("-d", "--detach", about="let it run by itself, and print its ID")
    flags.value("--count", metavar="N", default=None, read=count, about="start so many, with -d")
    flags.switch("--sig-proxy", about="pass signals on to it (default)", default=True)
    add_flags(flags)
    arguments = flags.parse(words, least=1, stop=True)
    detach = arguments.detach
    several = arguments.count is not None
    if several and not detach:
        raise UsageError("--count starts containers that run by themselves: say -d as well")
    if arguments.name and (arguments.count or 1) > 1:
        raise UsageError("--name can't name several containers: leave out --name or --count")
    if arguments.json and not detach:
        raise UsageError("--json is for containers that run by themselves: say -d as well")
    if not detach:
        check_terminal(stdin=arguments.interactive, tty=arguments.tty)
    driver = wanted_driver(arguments)
    try:
        return in_area(arguments, lambda: _run(arguments, driver))
    except NamespaceError as error:
        return _instead(arguments, driver, error)


def _instead(
    arguments: Values,
    driver: str | None,
    error: LayerviewError,
    give_way: Callable[[], None] = lambda: None,
) -> int:
    """See shell_instead.run_instead; `driver` is the one that was asked for."""
    from layerview.cli.shell_instead import run_instead

    try:
        return run_instead(arguments, driver, error, give_way)
    except LayerviewError as problem:
        say(str(problem))
        return problem.code if isinstance(problem, StartError) else OWN_FAILURE


def _run(arguments: Values, driver: str | None) -> int:
    from layerview.containers.life import Containers

    try:
        place, image, record = image_in_area(arguments, arguments.rest[0])
        asked = options(arguments, attached=not arguments.detach)
        containers = Containers(place, say)

        def create() -> Created:
            created = containers.create(image, asked, record=record)
            for note in created.notes:
                say(note)
            return created

        if not arguments.detach:
            return _attached(containers, create, asked, arguments, driver)
        status = 0
        for _ in range(arguments.count or 1):
            status = max(status, _detached(containers, create, asked, arguments))
        return status
    except LayerviewError as error:
        if driver == "aufs" and not isinstance(error, UsageError | NotFoundError):
            return _instead(arguments, driver, error)
        # It may come out of a user namespace, which the code would not survive.
        say(str(error))
        return error.code if isinstance(error, StartError) else OWN_FAILURE


def _attached(
    containers: Containers,
    create: Callable[[], Created],
    asked: Options,
    arguments: Values,
    driver: str | None,
) -> int:
    created = create()

    def started(how: Started) -> None:
        if os.isatty(2):
            _report(created, how, arguments)

    try:
        code = start_and_follow(
            containers,
            created.id,
            tty=asked.tty,
            stdin=asked.open_stdin,
            signals=arguments.sig_proxy,
            started=started,
        )
    except LayerviewError as error:
        if asked.auto_remove:
            _remove(containers, created.id)
        if isinstance(error, StartError) and error.code == OWN_FAILURE:
            return _instead(arguments, driver, error, lambda: _remove(containers, created.id))
        raise
    if code is not None and asked.auto_remove:
        _remove(containers, created.id)
    return 0 if code is None else code


def _remove(containers: Containers, id: str) -> None:
    # Somebody else may have been faster.
    with suppress(LayerviewError):
        containers.clear(id)


def _detached(
    containers: Containers, create: Callable[[], Created], asked: Options, arguments: Values
) -> int:
    created = create()
    if not arguments.json:
        # As in Docker: it is there, whether it starts or not.
        print(created.id)
        sys.stdout.flush()
    try:
        started = containers.start(created.id)
    except LayerviewError:
        if asked.auto_remove:
            _remove(containers, created.id)
        raise
    if arguments.json:
        print(json.dumps(_fields(created, started)))
        sys.stdout.flush()
    else:
        _report(created, started, arguments)
    return 0


def _fields(created: Created, started: Started) -> dict[str, object]:
    return {
        "id": created.id,
        "name": created.name,
        "driver": created.driver,
        "pid": started.pid,
        "start_ns": started.nanoseconds,
        "allocated": created.allocated,
    }


def _report(created: Created, started: Started, arguments: Values) -> None:
    from layerview.sizes import format_size

    for note in started.notes:
        say(note)
    took = started.nanoseconds / 1e6
    print(
        f"started in {took:.1f} ms, {format_size(created.allocated)} allocated ({created.driver})",
        file=sys.stderr,
    )
