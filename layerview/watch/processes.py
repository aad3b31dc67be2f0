"""Who a process is, while it is there to be asked."""

from __future__ import annotations

import os
import time

from layerview.text import printable

_KEPT = 256
_TRUSTED_FOR = 1.0
"""Seconds after which a number may be another process's, or the process may run another program."""


class Commands:
    """The names of processes' programs."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, str | None]] = {}
        self.asked = 0
        """How often a process was asked."""

    def of(self, pid: int | None) -> str | None:
        """Return the name of a process's program; None where it has ended unseen."""
        if pid is None or pid <= 0:
            return None
        now = time.monotonic()
        known = self._known.get(pid)
        if known is not None and now - known[0] < _TRUSTED_FOR:
            return known[1]
        self.asked += 1
        try:
            with open(f"/proc/{pid}/comm", "rb") as file:
                command: str | None = printable(file.read(64).rstrip(b"\n"))
        except OSError:
            command = known[1] if known is not None else None
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[pid] = (now, command)
        return command


class Life:
    """Whether a process goes on."""

    def __init__(self, pid: int) -> None:
        """Watch a process.

        Raises:
            ProcessLookupError: when there is none.
            OSError: where the kernel can't (before Linux 5.3).
        """
        self.fd = os.pidfd_open(pid)

    def close(self) -> None:
        """Watch it no longer."""
        os.close(self.fd)
