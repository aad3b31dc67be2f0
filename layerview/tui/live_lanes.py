"""Time lanes: a row a layer, time to the right; which event falls on which column. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from layerview.watch.events import CowEvent

MOST = 4000
"""Events that the lanes look at: the last ones."""

SHORTEST = 10_000
"""Milliseconds that the lanes show at least."""


class Column(NamedTuple):
    """What happened in the time of one column."""

    copied: tuple[int, ...] = ()
    """The layers that files were copied up from."""
    hidden: tuple[int, ...] = ()
    """The layers of which something was hidden."""
    read: tuple[int, ...] = ()
    top: str = ""
    """The kind of what happened on top that weighs the most: whiteout, create, write."""
    volume: bool = False
    events: int = 0


_WEIGHT = {"write": 1, "metadata": 1, "rename": 1, "link": 1, "block": 1, "create": 2, "delete": 3}


class Lanes(NamedTuple):
    """All columns, and the time that they show."""

    start: int
    """Milliseconds since 1970."""
    end: int
    columns: tuple[Column, ...]
    before: int
    """Events that are older than what is shown."""


def lanes(count: int, event: Callable[[int], CowEvent], width: int, now: int, begun: int) -> Lanes:
    """Put the last events into columns.

    Args:
        count: how many events there are.
        event: gives one by its number.
        width: columns.
        now: milliseconds since 1970.
        begun: when watching began.
    """
    first = max(0, count - MOST)
    events = [one for one in map(event, range(first, count)) if not one.held]
    start = begun if not first else (events[0].time // 1_000_000 if events else begun)
    end = max(now, start + SHORTEST)
    width = max(1, width)
    cells: list[list[CowEvent]] = [[] for _ in range(width)]
    for one in events:
        place = (one.time // 1_000_000 - start) * width // (end - start)
        cells[min(width - 1, max(0, place))].append(one)
    return Lanes(start, end, tuple(_column(cell) for cell in cells), first)


def _column(events: Sequence[CowEvent]) -> Column:
    if not events:
        return Column()
    layers: dict[str, list[int]] = {"copy_up": [], "whiteout": [], "read": []}
    top, volume = "", False
    for one in events:
        if one.volume:
            volume = True
            continue
        if one.kind in layers and one.layer is not None and one.layer not in layers[one.kind]:
            layers[one.kind].append(one.layer)
        weight = _WEIGHT.get(one.kind, 4 if one.kind in ("whiteout", "opaque") else 0)
        if weight > _WEIGHT.get(top, 4 if top else 0):
            top = "whiteout" if one.kind in ("whiteout", "opaque") else one.kind
    return Column(
        tuple(layers["copy_up"]),
        tuple(layers["whiteout"]),
        tuple(layers["read"]),
        top,
        volume,
        len(events),
    )
