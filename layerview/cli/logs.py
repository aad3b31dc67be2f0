"""`layerview logs`: what a container wrote."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from layerview.cli.area import containers, settle_root
from layerview.cli.flags import Flags
from layerview.errors import UsageError

if TYPE_CHECKING:
    from layerview.containers.log import Line


def run(words: Sequence[str]) -> int:
    """Print a container's output."""
    flags = Flags(
        "logs",
        "CONTAINER",
        "Print what a container wrote: its output to standard output, its errors to standard\n"
        "error.",
        example="layerview logs -f --tail 20 try",
    )
    flags.switch("-f", "--follow", about="wait for what it will write")
    flags.value("-n", "--tail", metavar="N", about="the last N lines", default="all", read=_tail)
    flags.switch("-t", "--timestamps", about="when each line was written")
    flags.value("--since", metavar="TIME", about="what is younger: an age (10m) or a time")
    flags.value("--until", metavar="TIME", about="what is older")
    flags.json()
    flags.area()
    arguments = flags.parse(words, least=1, most=1)
    since, until = (_seconds(getattr(arguments, name), f"--{name}") for name in ("since", "until"))
    # What reads files of one's own needs no user namespace.
    settle_root(arguments)
    found = containers(arguments).logs(
        arguments.rest[0],
        follow=arguments.follow,
        tail=None if arguments.tail == "all" else arguments.tail,
        since=since,
        until=until,
    )
    try:
        if arguments.json:
            _print_json(found)
        else:
            _print(found, times=arguments.timestamps, at_once=arguments.follow)
    except KeyboardInterrupt:
        # That is how one stops following it.
        return 130
    return 0


def _tail(text: str) -> object:
    # Docker shows all where it does not understand; so much is not needed.
    if text == "all" or (text.startswith("-") and text[1:].isdecimal()):
        return "all"
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text)
    raise UsageError(f"--tail {text[:40]!r}: a number of lines, or all")


def _seconds(text: str | None, what: str) -> float | None:
    if not text:
        return None
    from layerview.cli.moments import moment

    return moment(text, what).timestamp()


def _print(found: Iterable[Line], *, times: bool, at_once: bool) -> None:
    out, err = sys.stdout.buffer, sys.stderr.buffer
    begun = {"stdout": True, "stderr": True}
    for line in found:
        to = err if line.stream == "stderr" else out
        data = line.data
        if times and begun[line.stream]:
            data = f"{_nine_digits(line.time)} ".encode() + data
        # A long line comes in pieces; Docker says the time of each, in the middle of the line.
        begun[line.stream] = line.data.endswith(b"\n")
        if to is err:
            out.flush()
        to.write(data)
        if at_once or to is err:
            to.flush()
    out.flush()


def _nine_digits(text: str) -> str:
    """Return a recorded time as Docker prints it: always with all digits."""
    whole, _, digits = text.removesuffix("Z").partition(".")
    return f"{whole}.{digits:0<9}Z"


def _print_json(found: Iterable[Line]) -> None:
    from json import dumps

    for line in found:
        text = line.data.decode("utf-8", "replace")
        print(dumps({"time": line.time or None, "stream": line.stream, "log": text}), flush=True)
