"""A program that starts layerview's commands stopped at their first step, for who would kill them.

It reads a line of JSON for each command: its words, and a file whose coming lets it go on. It
prints the process id, and how the process ended. Everything is imported beforehand, so that the
system calls of a command are its own.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import time

import layerview


def _import_all() -> None:
    for module in pkgutil.walk_packages(layerview.__path__, "layerview."):
        if not module.name.startswith(("layerview.tui", "layerview.__main__")):
            importlib.import_module(module.name)


def _run(words: list[str], go: str) -> None:
    from layerview.cli.main import main

    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    while not os.access(go, os.F_OK):
        time.sleep(0.002)
    try:
        status = main(words)
    finally:
        os._exit(status)


def serve() -> None:
    """Answer lines until there are no more."""
    _import_all()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _run(request["words"], request["go"])
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
