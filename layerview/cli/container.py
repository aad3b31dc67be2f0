"""`layerview container`: what `docker container` has; most of it is a command of its own here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from layerview.cli.area import containers, in_own_area
from layerview.cli.flags import Flags, Values
from layerview.errors import UsageError
from layerview.sizes import format_size
from layerview.store.data_root import ContainerRecord

_OTHERS = {
    **dict.fromkeys(("ls", "list", "ps"), "ps"),
    **{
        name: name
        for name in (
            *("attach", "commit", "create", "exec", "inspect", "kill", "logs", "rename"),
            *("restart", "rm", "run", "start", "stop", "wait"),
        )
    },
    "diff": "changes",
}


def run(words: Sequence[str]) -> int:
    """Do what the next word says."""
    word = words[0] if words else ""
    if word == "prune":
        return _run_prune(words[1:])
    if word in _OTHERS:
        return int(importlib.import_module(f"layerview.cli.{_OTHERS[word]}").run(words[1:]))
    flags = Flags(
        "container",
        "prune|ls|…",
        "prune removes the containers that do not run. The other words of docker container are\n"
        "commands by themselves: layerview ps, layerview start, …",
        example="layerview container prune -f",
    )
    flags.parse(words)
    raise UsageError("prune, or another command; see layerview container --help")


def _run_prune(words: Sequence[str]) -> int:
    flags = Flags(
        "container prune",
        "",
        "Remove the containers that do not run.",
        example="layerview container prune --filter until=24h",
    )
    flags.switch("-f", "--force", about="do not ask")
    flags.values(
        "--filter",
        metavar="F",
        about="until=TIME or AGE (24h), label=KEY[=VALUE], label!=KEY[=VALUE]",
    )
    flags.switch("--binary", about="sizes in KiB and MiB")
    flags.json()
    flags.area()
    arguments = flags.parse(words, most=0)
    from layerview.cli.pruning import Filter, agreed

    wanted = Filter(arguments.filter)
    if not arguments.force and not agreed("all containers that do not run"):
        return 1
    return in_own_area(arguments, lambda: _prune(arguments, wanted.of_container))


def _prune(arguments: Values, wanted: Callable[[ContainerRecord], bool]) -> int:
    from layerview.cli.pruning import prune_containers

    place = containers(arguments)
    gone, size, status = prune_containers(place, wanted)
    if arguments.json:
        from layerview.cli.output import print_json

        print_json({"containers": gone, "bytes": size})
        return status
    for id in gone:
        print(f"Deleted: {id}")
    sys.stdout.flush()
    print(f"{format_size(size, binary=arguments.binary)} freed")
    return status
