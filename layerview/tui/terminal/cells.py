"""One row of cells, and how many cells a character takes."""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import category

from rich.cells import get_character_cell_size

from layerview.tui.terminal.pens import PLAIN, Pen

NARROW = re.compile(r"[ -~\xa0-\xac\xae-\u02ff\u0370-\u0482\u2500-\u25fc\u2800-\u28ff]*")
"""Text of characters that take one cell each, nearly all that is ever written."""

MOST_MARKS = 4
"""Combining marks that one cell holds; more are dropped."""


@lru_cache(maxsize=4096)
def width_of(character: str) -> int:
    """Return the cells of a character: 1 or 2, 0 for a mark on the one before, -1 for none.

    What has no width and is no mark (joiners, bidirectional controls, tags) is not shown.
    """
    kind = category(character)
    if kind in ("Mn", "Me"):
        return 0
    if kind in ("Cf", "Cc", "Cs", "Zl", "Zp"):
        return -1
    return get_character_cell_size(character) or -1


class Row:
    """A row's characters and pens; behind a character of two cells stands an empty one."""

    __slots__ = ("chars", "pens", "wide")

    def __init__(self, columns: int, pen: Pen = PLAIN) -> None:
        self.chars = [" "] * columns
        self.pens = [pen] * columns
        self.wide = False
        """Whether characters of two cells may be in it."""

    def clear(self, columns: int, pen: Pen) -> None:
        """Make it a blank row."""
        self.chars = [" "] * columns
        self.pens = [pen] * columns
        self.wide = False

    def resize(self, columns: int) -> None:
        """Cut it, or add blank cells."""
        more = columns - len(self.chars)
        if more >= 0:
            self.chars += [" "] * more
            self.pens += [PLAIN] * more
            return
        self.part(columns)
        del self.chars[columns:], self.pens[columns:]

    def part(self, column: int) -> None:
        """Blank a character of two cells that stands across a column's left edge."""
        if self.wide and 0 < column < len(self.chars) and not self.chars[column]:
            self.chars[column - 1 : column + 1] = "  "

    def put(self, column: int, text: str, pen: Pen) -> None:
        """Write narrow characters over what is there."""
        end = column + len(text)
        if self.wide:
            self.part(column)
            self.part(end)
        self.chars[column:end] = text
        self.pens[column:end] = [pen] * len(text)

    def put_wide(self, column: int, character: str, pen: Pen) -> None:
        """Write a character of two cells."""
        self.part(column)
        self.part(column + 2)
        self.wide = True
        self.chars[column : column + 2] = [character, ""]
        self.pens[column : column + 2] = [pen, pen]

    def mark(self, column: int, mark: str) -> None:
        """Put a combining mark on a character."""
        if self.wide and column and not self.chars[column]:
            column -= 1
        if len(self.chars[column]) <= MOST_MARKS:
            self.chars[column] += mark
            # Not narrow any more, as far as painting goes.
            self.wide = True

    def insert(self, column: int, count: int, pen: Pen) -> None:
        """Move what stands from a column on to the right; what leaves the row is lost."""
        columns = len(self.chars)
        count = min(count, columns - column)
        self.part(column)
        self.part(columns - count)
        self.chars[column:] = [" "] * count + self.chars[column : columns - count]
        self.pens[column:] = [pen] * count + self.pens[column : columns - count]

    def delete(self, column: int, count: int, pen: Pen) -> None:
        """Take characters out; what stands right of them moves up, blanks come in."""
        count = min(count, len(self.chars) - column)
        self.part(column)
        self.part(column + count)
        del self.chars[column : column + count], self.pens[column : column + count]
        self.chars += [" "] * count
        self.pens += [pen] * count

    def text(self) -> str:
        """Return its characters."""
        return "".join(self.chars)
