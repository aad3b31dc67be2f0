"""Where the boxes of a Class view stand over their shared stack; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from layerview.tui.stack_rows import visible_layers

GUTTER = 2
"""Cells at the left of each box, in which files rise to it."""
BOX = 30
NARROW_BOX = 22


class Place(NamedTuple):
    """A row of the board."""

    kind: str
    """box (line `part` of the boxes of grid row `number`), more, blank, first, second, gap, single,
    layers (so many left out), plinth or volume."""
    number: int = 0
    part: int = 0


class Board(NamedTuple):
    """How the board is laid out."""

    places: Sequence[Place]
    columns: int
    box: int
    """Cells of a box."""
    indent: int
    """Cells before the first gutter."""
    first: int
    """The first grid row that is shown."""
    shown: int
    """How many grid rows are."""

    def gutter(self, column: int) -> int:
        """The cell in which files rise to the boxes of a column."""
        return self.indent + column * (self.box + GUTTER)

    def row_of_layer(self, number: int) -> int | None:
        """The row where a layer begins, or the one that stands for it."""
        stands_for = None
        for y, place in enumerate(self.places):
            if place.kind in ("first", "single") and place.number == number:
                return y
            if place.kind == "layers":
                stands_for = y
        return stands_for

    def row_of_box(self, index: int) -> int | None:
        """The last row of a box; None when it is not in sight."""
        rows = [
            y
            for y, place in enumerate(self.places)
            if place.kind == "box" and place.number == index // self.columns
        ]
        return rows[-1] if rows else None


def lay_out(width: int, height: int, boxes: int, layers: int, volumes: int, cursor: int) -> Board:
    """Return the board for a pane.

    Args:
        width: of the pane.
        height: of the same.
        boxes: how many containers there are.
        layers: how many layers they share.
        volumes: how many volumes there are.
        cursor: the box that is to be in sight.
    """
    indent = max(3, len(str(max(0, layers - 1))) + 2) + 1
    least = BOX if width >= 90 else NARROW_BOX
    columns = max(1, (width - indent) // (least + GUTTER))
    box = max(1, (width - indent) // columns - GUTTER)
    grid = max(1, -(-boxes // columns))
    volumes = min(volumes, 4)
    tall_layers = layers * 3 + grid * 3 + volumes + 2 <= height
    below = _stack(layers, tall_layers, max(3, height // 2 - volumes), volumes)
    room = height - len(below)
    tall_boxes = room >= 3 * min(grid, 2) and height >= 14
    tall = 3 if tall_boxes else 2
    shown = max(1, min(grid, room // tall))
    if shown < grid:
        shown = max(1, (room - 1) // tall)
    # The cursor's row stays in sight.
    first = min(max(0, cursor // columns - shown + 1), grid - shown)
    places = [
        Place("box", row, part) for row in range(first, first + shown) for part in range(tall)
    ]
    if shown < grid:
        places.append(Place("more", grid - shown))
    places += [Place("blank")] * max(0, min(1, height - len(places) - len(below)))
    return Board([*places, *below], columns, box, indent, first, shown)


def _stack(layers: int, tall: bool, room: int, volumes: int) -> list[Place]:
    places: list[Place] = []
    shown = visible_layers(layers, room, 3 if tall else 1, -1)
    if layers and 0 not in shown:
        # Too low for the base as well: one row stands for all that are left out.
        shown = [*shown[:-1], -(layers - len(shown) + 1)]
    for number in shown:
        if number < 0:
            places.append(Place("layers", -number))
        elif tall:
            places += [Place("first", number), Place("second", number), Place("gap", number)]
        else:
            places.append(Place("single", number))
    places.append(Place("plinth"))
    return places + [Place("volume", number) for number in range(volumes)]
