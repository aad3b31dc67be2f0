"""How long more is awaited of what is under way, before what was heard is looked at."""

from __future__ import annotations

_LEAST, _MOST = 0.004, 0.02
"""Seconds: what one call does comes as several events; of a long burst nobody sees each one."""
_LOOK = 0.0001
"""Seconds that it takes to look at one name, about."""


class Pace:
    """Grows while there is news whenever it is asked for: to wake up seldom costs others less."""

    def __init__(self) -> None:
        self._seconds = _LEAST

    def pause(self, heard: int, *, at_once: bool) -> float:
        """Return for how long to wait, in seconds.

        Args:
            heard: names that were heard of just now.
            at_once: they had come before they were waited for, and can be waited for longer.
        """
        self._seconds = min(2 * self._seconds, _MOST) if at_once else _LEAST
        return max(self._seconds - _LOOK * heard, 0)
