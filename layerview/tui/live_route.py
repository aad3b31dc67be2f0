"""Where the ways of a Live view run: the search down, the file up, the arrow to a volume; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """What one row of the stack shows."""

    kind: str
    """top, top2, top_gap, blank, chip, first, second, gap, single, more, plinth or volume."""
    number: int = 0
    """A layer's, a volume's, or how many layers are left out."""


def stack_rows(
    layers: Sequence[int], volumes: int, *, tall: bool, chip_row: bool, plinth: bool
) -> list[Row]:
    """Return all rows, the container layer's first.

    Args:
        layers: the numbers of those that are shown, top first; a negative one stands for that many
            left out.
        volumes: how many there are.
        tall: three rows a layer, else one.
        chip_row: the file on its way has a row of its own below the container layer.
        plinth: whether the image's name stands below.
    """
    rows = [Row("top")]
    if tall:
        rows += [Row("top2"), Row("top_gap"), Row("blank")]
    elif chip_row:
        rows.append(Row("chip"))
    else:
        rows.append(Row("top2"))
    for number in layers:
        if number < 0:
            rows.append(Row("more", -number))
        elif tall:
            rows += [Row("first", number), Row("second", number), Row("gap", number)]
        else:
            rows.append(Row("single", number))
    if plinth:
        rows.append(Row("plinth"))
    if volumes and tall:
        rows.append(Row("blank"))
    return [*rows, *(Row("volume", number) for number in range(volumes))]


def row_of(rows: Sequence[Row], layer: int) -> int | None:
    """Return the row where a layer begins, or the one that stands for it; None without any."""
    # Those that are left out stand between the ones that are shown around them, top first.
    more = None
    for y, row in enumerate(rows):
        if row.kind in ("first", "single"):
            if row.number == layer:
                return y
            if row.number < layer:
                return more
        if row.kind == "more":
            more = y
    return more


class Route(NamedTuple):
    """The way of a file from its layer to the container layer."""

    source: int
    """The row where it begins."""
    end: int
    """The row of the container layer where it arrives."""
    chip: int
    """The first row of the file's chip."""
    tall: int
    """Rows of the chip."""

    def below(self, y: int) -> bool:
        """Whether a row lies on the part of the way that the file has behind it."""
        return self.chip + self.tall <= y < self.source

    def above(self, y: int) -> bool:
        """Whether a row lies on the part that is still before it."""
        return self.end < y < self.chip


def route(source: int, end: int, share: float, tall: int) -> Route:
    """Return how far a file is.

    Args:
        source: the row of its layer.
        end: the row where it arrives.
        share: how far it is, 0 to 1.
        tall: rows of its chip.
    """
    start = max(end, source - tall)
    chip = start - round(share * (start - end))
    return Route(source, end, chip, tall)


def marked_rows(rows: Sequence[Row], searched: Sequence[int], seen: int) -> dict[int, int]:
    """Return the rows of the layers that the search has seen: row, and the layer's number.

    Layers that are left out share a row, which the last of them has.
    """
    marked: dict[int, int] = {}
    for number in searched[:seen]:
        y = row_of(rows, number)
        if y is not None:
            marked[y] = number
    return marked
