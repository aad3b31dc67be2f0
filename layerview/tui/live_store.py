"""The events that a Live view keeps: all of them, packed, of which only those in sight are open."""

from __future__ import annotations

import marshal
import zlib
from collections import OrderedDict
from typing import overload

from layerview.watch.events import CowEvent

PACK = 512
"""Events that are packed together."""

OPEN = 12
"""Packs that stay unpacked for who scrolls."""


class EventStore:
    """A list of events that only grows; a million of them take some tens of megabytes."""

    def __init__(self) -> None:
        self._packs: list[bytes] = []
        self._newest: list[CowEvent] = []
        self._open: OrderedDict[int, list[CowEvent]] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._packs) * PACK + len(self._newest)

    def append(self, event: CowEvent) -> int:
        """Put an event at the end and return its number."""
        self._newest.append(event)
        number = len(self) - 1
        if len(self._newest) == PACK:
            data = marshal.dumps([tuple(event) for event in self._newest])
            self._packs.append(zlib.compress(data, 1))
            self._newest = []
        return number

    @overload
    def __getitem__(self, number: int) -> CowEvent: ...

    @overload
    def __getitem__(self, number: slice) -> list[CowEvent]: ...

    def __getitem__(self, number: int | slice) -> CowEvent | list[CowEvent]:
        """Return an event by its number, the oldest is 0."""
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        pack, place = divmod(number, PACK)
        return self._newest[place] if pack == len(self._packs) else self._unpacked(pack)[place]

    def _unpacked(self, pack: int) -> list[CowEvent]:
        events = self._open.get(pack)
        if events is None:
            data = zlib.decompress(self._packs[pack])
            events = [CowEvent(*fields) for fields in marshal.loads(data)]
            self._open[pack] = events
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(pack)
        return events
