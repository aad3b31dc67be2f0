"""The way from the command line into the terminal UI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise UsageError(
            "the terminal UI needs a terminal; layerview --help lists the commands for pipes"
        )
    from layerview.tui.app import run as run_app

    return run_app(
        arguments.names,
        ascii=arguments.ascii,
        binary_sizes=arguments.binary,
        platform=arguments.platform,
        cache=not arguments.no_cache,
        theme=arguments.theme,
    )
