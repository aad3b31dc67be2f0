"""The way from the command line into the terminal UI."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from layerview.errors import UsageError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see layerview --help")


def run(words: Sequence[str]) -> int:
    """Open the terminal UI on the images that the call names."""
    parser = _Parser(prog="layerview", add_help=False, allow_abbrev=False)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--ascii", action="store_true")
    parser.add_argument("--binary", action="store_true")
    parser.add_argument("--platform")
    parser.add_argument("--no-cache", action="store_true")
    arguments = parser.parse_args(words)
    if "-" in arguments.names and not sys.stdin.isatty():
        _give_keyboard_back()
    if not os.isatty(0) or not sys.stdout.isatty():
        raise UsageError(
            "the terminal UI needs a terminal; layerview --help lists the commands for pipes"
        )
    opening = None
    if len(arguments.names) == 1 and _is_one_image(arguments.names[0]):
        # Another process opens and reads the image while this one imports the screen.
        from layerview.sources.opening import ImageOpening

        opening = ImageOpening(
            arguments.names[0], platform=arguments.platform, cache=not arguments.no_cache
        )
    from layerview.tui.app import run as run_app

    return run_app(
        arguments.names,
        ascii=arguments.ascii,
        binary_sizes=arguments.binary,
        platform=arguments.platform,
        cache=not arguments.no_cache,
        theme=arguments.theme,
        opening=opening,
    )


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
