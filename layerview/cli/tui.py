"""The way from the command line into the terminal UI."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from layerview.errors import UsageError


@dataclass(slots=True)
class _Call:
    """What the words of a call ask for."""

    names: list[str] = field(default_factory=list)
    theme: str = "dark"
    platform: str | None = None
    ascii: bool = False
    binary: bool = False
    no_cache: bool = False
    replay: str | None = None


def run(words: Sequence[str]) -> int:
    """Open the terminal UI on the images that the call names."""
    call = _parse(words)
    if "-" in call.names and not sys.stdin.isatty():
        _give_keyboard_back()
    if not os.isatty(0) or not sys.stdout.isatty():
        raise UsageError(
            "the terminal UI needs a terminal; layerview --help lists the commands for pipes"
        )
    replay = opening = None
    if call.replay is not None:
        from layerview.tui.replay import open_replay

        replay = open_replay(call.replay)
    elif len(call.names) == 1 and _is_one_image(call.names[0]):
        # Another process opens and reads the image while this one imports the screen.
        from layerview.sources.opening import ImageOpening

        opening = ImageOpening(call.names[0], platform=call.platform, cache=not call.no_cache)
    from layerview.tui.app import run as run_app

    return run_app(
        call.names,
        ascii=call.ascii,
        binary_sizes=call.binary,
        platform=call.platform,
        cache=not call.no_cache,
        theme=call.theme,
        opening=opening,
        replay=replay,
    )


def _parse(words: Sequence[str]) -> _Call:
    """Read the few options that there are: argparse takes as long as half of our own imports."""
    call = _Call()
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        option, equals, value = word.partition("=")
        if option in ("--ascii", "--binary", "--no-cache") and not equals:
            setattr(call, option[2:].replace("-", "_"), True)
        elif option in ("--theme", "--platform", "--replay"):
            if not equals:
                if not waiting:
                    raise UsageError(f"{option} takes a value; see layerview --help")
                value = waiting.pop()
            setattr(call, option[2:], value)
        elif word == "--":
            call.names += reversed(waiting)
            break
        elif word.startswith("-") and word != "-":
            raise UsageError(f"there is no option {option}; see layerview --help")
        else:
            call.names.append(word)
    if call.theme not in ("dark", "light"):
        raise UsageError(f"--theme is dark or light, not {call.theme!r}")
    if call.replay is not None and call.names:
        raise UsageError("--replay shows a recording, and no image beside it")
    return call


def _is_one_image(name: str) -> bool:
    """Whether a name can be told to be one image at a glance: no folder of several."""
    return not os.path.isdir(name) or os.path.isfile(os.path.join(name, "index.json"))


def _give_keyboard_back() -> None:
    """Keep the image that comes on standard input, and take keys from the terminal itself."""
    with suppress(OSError):
        piped = os.dup(0)
        keyboard = os.open("/dev/tty", os.O_RDWR)
        os.dup2(keyboard, 0)
        os.close(keyboard)
        sys.stdin = os.fdopen(piped)
