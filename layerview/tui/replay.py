"""A recording as a source of a Live view: it plays in its own time, without a container."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from layerview.watch.events import CowEvent, Record
from layerview.watch.target import Target

SLOWER = 5
"""How many times longer slow motion takes."""

LONGEST_WAIT = 3.0
"""Seconds of a recording's silence that are sat through; the rest is passed over."""


def open_replay(path: str) -> ReplaySource:
    """Read a recording; to be called in a thread.

    Raises:
        LayerviewError: when it is none.
    """
    from layerview.watch.recording import Recording

    with Recording(path) as recording:
        return ReplaySource(recording.target, list(recording.records()))


class ReplaySource:
    """Gives a recording's records at the distances in which they were recorded."""

    def __init__(self, target: Target, records: Sequence[Record]) -> None:
        """Take a recording.

        Args:
            target: the container that it is of.
            records: all of it.
        """
        self.target = target
        self.records = records
        self.offsets = _offsets(records)
        """When each is due, in seconds since the start."""
        self.position = 0
        """How many were given."""
        self.paused = False
        self.slow = False
        self._at = 0.0
        """Seconds of the recording that have been played."""
        self._wanted = 0
        """How many shall be given, whatever time it is."""
        self._changed = asyncio.Event()

    @property
    def duration(self) -> float:
        """Seconds that all of it takes."""
        return self.offsets[-1] if self.offsets else 0.0

    @property
    def at(self) -> float:
        """Seconds of it that have been played."""
        return min(self._at, self.duration)

    @property
    def ended(self) -> bool:
        """Whether all of it was given."""
        return self.position >= len(self.records)

    async def batches(self) -> AsyncIterator[list[Record]]:
        """Give records as they are due, for as long as somebody listens: one may go back."""
        loop = asyncio.get_running_loop()
        while True:
            due = self._due()
            if due:
                yield due
                continue
            self._changed.clear()
            if self.paused or self.ended:
                await self._changed.wait()
                continue
            speed = 1 / SLOWER if self.slow else 1.0
            wait = (self.offsets[self.position] - self._at) / speed
            start = loop.time()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
            # A moment more, so that a rounding leaves nothing that is due behind.
            self._at += (loop.time() - start) * speed + 1e-6

    def _due(self) -> list[Record]:
        end = self._wanted
        if not self.paused:
            end = max(end, bisect_right(self.offsets, self._at))
        due = list(self.records[self.position : end])
        self.position = max(self.position, end)
        return due

    # Controls --------------------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        """Stop, or go on."""
        self.paused = paused
        self._changed.set()

    def slow_motion(self, slow: bool) -> None:
        """Take five times as long, or as long as it took."""
        self.slow = slow
        self._changed.set()

    def step(self, by: int) -> None:
        """Stop, and go one event on (1) or back (-1); what lies between comes along."""
        self.paused = True
        if by > 0:
            numbers = range(self.position, len(self.records))
            found = next((n + 1 for n in numbers if _tells(self.records[n])), len(self.records))
            self._go_to(found)
        else:
            events = [n for n in range(self.position) if _tells(self.records[n])]
            self._go_to(events[-1] if events else 0)

    def go_to_end(self) -> None:
        """Give all that is left at once."""
        self._go_to(len(self.records))

    def go_to_start(self) -> None:
        """Begin again."""
        self._go_to(0)

    def _go_to(self, position: int) -> None:
        """Have so many been given, no more and no less."""
        self._wanted = position
        self._at = self.offsets[position - 1] if position else 0.0
        self.position = min(self.position, position)
        self._changed.set()


def _tells(record: Record) -> bool:
    return isinstance(record, CowEvent) and not record.held


def _offsets(records: Sequence[Record]) -> list[float]:
    """Return when each record is due, in seconds since the first that happened live.

    What was held already comes at once, a clock that was set back does not hold anything up, and
    long silences are cut short.
    """
    offsets: list[float] = []
    now, before = 0.0, None
    for record in records:
        if not (isinstance(record, CowEvent) and record.held):
            if before is not None and record.time > before:
                now += min((record.time - before) / 1e9, LONGEST_WAIT)
            before = record.time if before is None else max(before, record.time)
        offsets.append(now)
    return offsets
