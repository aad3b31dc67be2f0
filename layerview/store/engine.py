"""The engine that holds a data root: which process it is, and since when."""

from __future__ import annotations

import fcntl
import os
import time
from typing import NamedTuple

from layerview.store.liveness import start_time
from layerview.store.locks import engine_databases, flock, holding_process, process_name
from layerview.store.moments import birth


class Engine(NamedTuple):
    """A process that holds a data root, or may hold it."""

    name: str
    """For people."""
    start: float | None
    """When it began, in seconds since 1970; None where that can't be known."""


def find_engine(root: str) -> Engine | None:
    """Find the engine that holds a data root; None when there is surely none."""
    unread = False
    for path in engine_databases(root):
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            unread = True
            continue
        try:
            if not flock(fd, fcntl.LOCK_SH):
                pid = holding_process(fd)
                if not pid:
                    return Engine("another process", None)
                return Engine(process_name(pid), _start(root, pid))
        finally:
            os.close(fd)
    return Engine("an engine, perhaps", None) if unread else None


def _start(root: str, pid: int) -> float | None:
    ticks = start_time(pid)
    if ticks is None:
        return None
    lived = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    # An engine makes this folder when it starts. Where the clock was set meanwhile, the folder
    # has the time that files of then have.
    made = birth(os.path.join(root, "tmp"))
    start = time.time() - lived
    return start if made is None else min(start, made)
