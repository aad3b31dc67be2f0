"""`layerview drivers`: which storage drivers and runtimes work here, and what the others lack."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from layerview.cli.options import parser
from layerview.cli.output import print_json, table
from layerview.drivers.probe import probe
from layerview.store.area import default_root
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Print what was found out about every driver, the best first, and every runtime.

    The JSON is of the drivers alone, as it always was; `doctor --json` has the runtimes.
    """
    made = parser(
        "drivers",
        "Try every storage driver on the storage area, and every runtime; nothing is left there.",
        example="layerview drivers --root /srv/layerview",
        reads=False,
    )
    made.add_argument("--root", metavar="DIR", help="the storage area (or set LAYERVIEW_ROOT)")
    arguments = made.parse_args(words)
    found = probe(_root(arguments))
    if arguments.json:
        print_json([finding._asdict() for finding in found])
        return 0
    rows = [["DRIVER", "WORKS", "ROOTLESS", "COPIES", "WHY"]]
    for finding in found:
        why = f"{finding.reason}; {finding.remedy}" if finding.remedy else finding.reason
        rows.append(
            [
                finding.name + (" (default)" if finding.default else ""),
                "yes" if finding.works else "no",
                "yes" if finding.rootless else "no",
                finding.copy_on_write,
                printable(why),
            ]
        )
    table(rows)
    print()
    _print_runtimes(_root(arguments))
    return 0


def _print_runtimes(root: str) -> None:
    from layerview.containers.runtimes import probe_runtimes

    rows = [["RUNTIME", "WORKS", "WHY"]]
    for found in probe_runtimes(os.path.join(root, "layerview")):
        rows.append(
            [
                found.name + (" (default)" if found.default else ""),
                "yes" if found.works else "no",
                printable(f"{found.reason}; {found.remedy}" if found.remedy else found.reason),
            ]
        )
    table(rows)


def _root(arguments: argparse.Namespace) -> str:
    return str(arguments.root) if arguments.root else default_root()
