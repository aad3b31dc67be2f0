"""`layerview start`: containers that do not run."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.cli.area import containers, in_area, say
from layerview.cli.attached import check_terminal, follow, start_and_follow
from layerview.cli.flags import Flags, Values
from layerview.cli.several import Done, each
from layerview.containers.plan import StartError
from layerview.errors import LayerviewError, NamespaceError, UsageError

_OWN_FAILURE = 125


def run(words: Sequence[str]) -> int:
    """Start containers."""
    flags = Flags(
        "start",
        "CONTAINER [CONTAINER...]",
        "Start containers that do not run.",
        example="layerview start -ai try",
    )
    flags.switch("-a", "--attach", about="show its output, and end with its exit status")
    flags.switch("-i", "--interactive", about="give it our input as well")
    flags.switch("--sig-proxy", about="pass signals on to it (default)", default=True)
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1)
    if arguments.attach or arguments.interactive:
        if len(arguments.rest) > 1:
            raise UsageError("one container at a time can be followed: leave out -a and -i")
        if arguments.json:
            raise UsageError("--json is for containers that run by themselves: leave out -a and -i")
        try:
            return in_area(arguments, lambda: _attached(arguments))
        except NamespaceError as error:
            return _instead(arguments, error)
    return in_area(arguments, lambda: _detached(arguments))


def _instead(arguments: Values, error: LayerviewError) -> int:
    from layerview.cli.shell_instead import start_instead

    try:
        return start_instead(
            containers(arguments),
            arguments.rest[0],
            error,
            interactive=arguments.interactive,
        )
    except LayerviewError as problem:
        say(str(problem))
        return problem.code if isinstance(problem, StartError) else 1


def _detached(arguments: Values) -> int:
    place = containers(arguments)

    def start(word: str) -> Done:
        record = place.find(word)
        if not record.running:
            place.start(record.id)
        return Done(record.id, record.name)

    return each(arguments.rest, start, json=arguments.json)


def _attached(arguments: Values) -> int:
    place = containers(arguments)
    try:
        record = place.find(arguments.rest[0])
        config = place.document(record).inner("Config")
        stdin = arguments.interactive and config.flag("OpenStdin")
        check_terminal(stdin=stdin, tty=record.tty)
        if record.running:
            attached = place.attach(record.id, stdin=stdin)
            code = follow(place, record.id, attached, stdin=stdin, signals=arguments.sig_proxy)
        else:
            code = start_and_follow(
                place, record.id, tty=record.tty, stdin=stdin, signals=arguments.sig_proxy
            )
        if code is not None and place.area.data.host_config(record.id).flag("AutoRemove"):
            place.remove(record.id, force=True, volumes=True)
    except LayerviewError as error:
        if isinstance(error, StartError) and error.code == _OWN_FAILURE:
            return _instead(arguments, error)
        # It may come out of a user namespace, which the code would not survive.
        say(str(error))
        return error.code if isinstance(error, StartError) else 1
    return 0 if code is None else code
