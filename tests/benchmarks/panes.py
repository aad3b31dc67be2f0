"""Reading the Image screen: where its panes are, what they show, where the cursor stands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.benchmarks.terminal import Screen

CURSOR = "▌"
_SIZE = re.compile(r"\s+(?:\d[\d.,]* [kMGT]?B|…)\s")
"""A size, or the sign for one that is not known yet; a cut name has no blank before its sign."""


@dataclass(frozen=True, slots=True)
class Panes:
    """Where the tree's rows are."""

    title: int
    """The row of the panes' titles."""
    column: int
    """The column of the tree's cursor."""
    top: int
    bottom: int
    """One below the tree's last row."""

    @staticmethod
    def find(screen: Screen) -> Panes | None:
        """Find the panes; None while they are not there."""
        for row in range(2, 8):
            line = screen.line(row)
            column = line.find("Files ")
            if column > 0 and "Layers" in line:
                break
        else:
            return None
        top = row + 2
        bottom = top
        while bottom < len(screen.cells) and screen.cells[bottom][column] not in "━─":
            bottom += 1
        if bottom < len(screen.cells):
            bottom -= 2
        if screen.cells[top][column - 1] != CURSOR and _has_entry(screen, top, column):
            top += 1
        return Panes(row, column - 1, top, bottom)

    @property
    def height(self) -> int:
        """How many rows the tree shows at once."""
        return self.bottom - self.top

    def name(self, screen: Screen, row: int) -> str:
        """Return the marker and the name of a row of the screen; "" for none."""
        line = screen.line(row)[self.column + 3 :]
        size = _SIZE.search(line + " ")
        return line[: size.start()].strip() if size is not None else ""

    def names(self, screen: Screen) -> list[str]:
        """Return what stands in the tree's rows, from the top."""
        return [self.name(screen, row) for row in range(self.top, self.bottom)]

    def cursor(self, screen: Screen) -> int | None:
        """Return the row of the screen with the cursor; None when there is none, or two."""
        rows = [
            row for row in range(self.top, self.bottom) if screen.cells[row][self.column] == CURSOR
        ]
        return rows[0] if len(rows) == 1 else None

    def place(self, screen: Screen) -> tuple[int, str] | None:
        """Return the cursor's row and what stands there."""
        row = self.cursor(screen)
        return None if row is None else (row, self.name(screen, row))

    def words(self, screen: Screen) -> str:
        """Return what the tree's title says."""
        return screen.line(self.title)[self.column :]

    def entry(self, screen: Screen) -> str | None:
        """Return what is typed as a filter; None when there is no entry."""
        row = self.title + 2
        if not _has_entry(screen, row, self.column + 1):
            return None
        return screen.line(row)[self.column :].strip()


def _has_entry(screen: Screen, row: int, column: int) -> bool:
    """Whether a row is the filter's: text without a size."""
    line = screen.line(row)[column - 1 :]
    return bool(line.strip()) and _SIZE.search(line + " ") is None


def focus(screen: Screen) -> tuple[tuple[int, int], ...]:
    """Return where heavy rules stand: under the title of the pane with the keys."""
    found = []
    for number, cells in enumerate(screen.cells):
        if "━" in cells:
            found.append((number, cells.index("━")))
    return tuple(found)


def is_reading(screen: Screen) -> bool:
    """Whether the subject's row says that layers are being opened or read."""
    head = " ".join(map(screen.line, range(4)))
    return "reading" in head or "opening" in head


def is_measuring(screen: Screen) -> bool:
    """Whether the waste is not known yet."""
    return " wasted" not in " ".join(map(screen.line, range(4)))
