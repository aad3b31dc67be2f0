"""One small object through which long work says how far it is and learns that it should stop."""

from __future__ import annotations

from layerview.errors import Cancelled


class Progress:
    """Receives the progress of long work; subclasses override `step` to show it."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self.cancelled = True

    def check(self) -> None:
        """Raise Cancelled when the work should stop."""
        if self.cancelled:
            raise Cancelled("cancelled")

    def step(self, what: str, done: int, total: int | None) -> None:
        """Take note that `done` of `total` bytes (None: unknown) of `what` are done."""
        self.check()


QUIET = Progress()
"""Shows nothing and is never cancelled."""
