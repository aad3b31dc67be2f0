"""A terminal that goes away without a word: no signal comes to who has no controlling terminal."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

_PATIENCE = 5.0
"""Seconds in which the program has to end by itself."""
_STATUS = 129
"""As for SIGHUP."""


def end_with_terminal(leave: Callable[[int], object]) -> None:
    """Have the program leave when its terminal is gone; without one, do nothing.

    Args:
        leave: called in a thread, with the exit status.
    """
    terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]
    if 0 in terminals:
        threading.Thread(target=_wait, args=(terminals, leave), daemon=True).start()


def _wait(terminals: list[int], leave: Callable[[int], object]) -> None:
    poll = select.poll()
    # Only of the end is told then.
    poll.register(0, 0)
    poll.poll()
    # Who writes to a terminal that is gone fails, and who reads finds it ready forever.
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in terminals:
        os.dup2(null, fd)
    leave(_STATUS)
    time.sleep(_PATIENCE)
    os._exit(_STATUS)
