"""What commands that look at a whole data root share: which root, and what it holds."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from layerview.store.data_root import DataRoot
from layerview.store.inventory import Inventory
from layerview.text import printable


def add_root_options(parser: argparse.ArgumentParser) -> None:
    """Add --root and --driver to a command's words."""
    parser.add_argument(
        "--root",
        metavar="PATH",
        help="a Docker data root; else the storage area (or set LAYERVIEW_ROOT)",
    )
    parser.add_argument("--driver", metavar="D", help="what one storage driver has")
    parser.set_defaults(place="data-root")


def inventory(arguments: argparse.Namespace) -> Inventory | None:
    """Read the data root that the call names; None where the storage area is not made yet.

    Raises:
        LayerviewError: when what the call names is no data root, or can't be read.
    """
    if arguments.root:
        return Inventory(DataRoot(arguments.root), arguments.driver)
    from layerview.store.area import default_root

    arguments.place = "local"
    root = default_root()
    # An area is made by the first load.
    if not os.path.lexists(os.path.join(root, "image")):
        return None
    return Inventory(DataRoot(root), arguments.driver)


def say_problems(found: Inventory | None) -> int:
    """Say on stderr what could not be read; return the exit status."""
    return say_lines(found.problems if found is not None else [])


def say_lines(problems: Sequence[str]) -> int:
    """Say on stderr what could not be read, a line each; return the exit status."""
    sys.stdout.flush()
    for problem in problems[:5]:
        print(f"layerview: {printable(problem)}", file=sys.stderr)
    if len(problems) > 5:
        print(f"layerview: and {len(problems) - 5} more like these", file=sys.stderr)
    return 1 if problems else 0
