"""Lines about entries, bounded in number."""

from __future__ import annotations

from layerview.text import printable

MAX_LINES = 1000
"""Lines that are kept; further ones are counted."""

_MAX_LINES_A_REASON = 20


class Lines:
    """Collects what is to be said about entries, a line each."""

    def __init__(self, lines: list[str]) -> None:
        """Collect.

        Args:
            lines: where they go.
        """
        self._lines = lines
        self._counts: dict[str, int] = {}
        self._more = 0

    def say(self, path: bytes, why: str) -> None:
        """Take in a line about a path."""
        count = self._counts.get(why, 0)
        if count < _MAX_LINES_A_REASON and len(self._lines) < MAX_LINES:
            self._lines.append(f"/{printable(path)}: {why}")
        else:
            self._more += 1
        if count or len(self._counts) < MAX_LINES:
            self._counts[why] = count + 1

    def finish(self) -> None:
        """Say how many lines there would be more."""
        for why, count in self._counts.items():
            if count > _MAX_LINES_A_REASON:
                more = count - _MAX_LINES_A_REASON
                self._lines.append(f"and {more:,} more: {why}")
                self._more -= more
        if self._more > 0:
            self._lines.append(f"and {self._more:,} more")
