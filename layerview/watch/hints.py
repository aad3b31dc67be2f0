"""Hints: somewhere something happened. What it was, a look tells."""

from __future__ import annotations

from typing import NamedTuple

CREATED = 1
MOVED = 2
WRITTEN = 4
CHANGED = 8
"""Flags of a hint: the name appeared, was moved here or away, data was written, attributes set."""


class Hint(NamedTuple):
    """What an observer has heard about a path."""

    flags: int = 0
    """0: nothing but that something happened."""
    pid: int | None = None
    command: str | None = None
    copied: bool | None = None
    """Whether data was copied to make it; None: not known."""
    duration_ns: int | None = None
    """How long that took."""


NOTHING = Hint()
