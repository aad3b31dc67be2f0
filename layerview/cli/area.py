"""Words that the commands of the storage area share, and the way to it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from layerview.store.area import Area, default_root
from layerview.text import printable


def add_area_options(parser: argparse.ArgumentParser, *, driver: bool = True) -> None:
    """Add --root and --driver to a command's words."""
    parser.add_argument("--root", metavar="DIR", help="the storage area (or set LAYERVIEW_ROOT)")
    if driver:
        parser.add_argument(
            "--driver", metavar="D", help="the storage driver (or set LAYERVIEW_DRIVER)"
        )


def in_area(arguments: argparse.Namespace, work: Callable[[], int]) -> int:
    """Do work that writes the area: an ordinary user's as root of a user namespace.

    `work` opens the area with `area`; `arguments.root` is settled before, by who one is outside.
    """
    arguments.root = os.path.abspath(arguments.root) if arguments.root else default_root()
    if os.geteuid() == 0:
        return work()
    from layerview.drivers.namespace import run_in_user_namespace

    return run_in_user_namespace(work)


def area(arguments: argparse.Namespace, *, create: bool = False) -> Area:
    """Open the area that the call names."""
    return Area.open(arguments.root, driver=getattr(arguments, "driver", None), create=create)


def say(message: str) -> None:
    """Say something on stderr."""
    sys.stdout.flush()
    print(f"layerview: {printable(message)}", file=sys.stderr)
