"""Starts containers one by one, in a process as small as the one that starts them for layerview.

    python -m tests.benchmarks.starts DRIVER FOLDER IMAGE

For each line that it reads it starts a container of a lab's image, which the driver's ID names, and
says how many milliseconds it took.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.containers.starting import DRIVERS, Lab, wait_for_end

_FIRST = 1 << 20
"""IDs of containers count from here: others are the lab's own."""


def start(made: Lab, image: str = "") -> float:
    """Start a new container, wait for its end, and remove it; return the ms that the start took."""
    plan = made.plan("true", image=image)
    started = made.start(plan)
    wait_for_end(started.shim)
    made.driver.remove(plan.mount_id)
    made.driver.remove(f"{plan.mount_id}-init")
    shutil.rmtree(plan.folder)
    return started.nanoseconds / 1e6


def main(kind: str, folder: str, image: str) -> None:
    """Start a container whenever asked to."""
    made = Lab(Path(folder), DRIVERS[kind](folder), image, made=_FIRST)
    for _ in sys.stdin:
        print(start(made), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
