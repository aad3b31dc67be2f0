"""Runs one command and prints what it took; a script for `python -I -S`.

A process begins with the peak memory of the one that started it (Linux keeps the mark over exec),
so the parent has to be smaller than anything that is measured. The benchmark itself is not.
"""

from __future__ import annotations

import os
import sys
import time


def main(output: str, command: list[str]) -> None:
    """Print exit status, wall seconds, CPU seconds and peak KiB of a command."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    print(os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
