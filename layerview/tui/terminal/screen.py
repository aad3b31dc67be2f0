"""The cells of a terminal, the cursor, and what moves them; of sequences it knows nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from layerview.tui.terminal.cells import NARROW, Row, width_of
from layerview.tui.terminal.pens import PLAIN, Pen

MOST_CELLS = 1000
"""Rows and columns that a screen has at most."""

HISTORY = 2000
"""Rows that are kept when they leave the screen at the top."""


@dataclass(slots=True)
class Cursor:
    """Where the next character goes, and how it looks; what "save cursor" saves."""

    row: int = 0
    column: int = 0
    wraps: bool = False
    """The last column is written; the next character goes to the next row."""
    pen: Pen = PLAIN
    origin: bool = False
    """Rows are counted from the top margin."""
    graphics: tuple[bool, bool] = (False, False)
    """Whether the character sets G0 and G1 are DEC's line drawing."""
    shifted: bool = False
    """Whether G1 is in use."""

    def copy(self) -> Cursor:
        """Return one like it."""
        return Cursor(
            self.row,
            self.column,
            self.wraps,
            self.pen,
            self.origin,
            self.graphics,
            self.shifted,
        )


class Screen:
    """Cells, in two buffers: the one with history, and the alternate one of full-screen programs.

    Rows and columns are counted from 0. All movements stay inside.
    """

    def __init__(self, rows: int = 24, columns: int = 80, history: int = HISTORY) -> None:
        self.rows = _within(rows, 1, MOST_CELLS)
        self.columns = _within(columns, 1, MOST_CELLS)
        self.history: deque[Row] = deque(maxlen=history)
        self.scrolled = 0
        """How many rows have gone into the history since the start."""
        self.alternate = False
        self.reset()

    def reset(self) -> None:
        """Begin anew; the history stays."""
        self.lines = self._blank(self.rows)
        self._other = self._blank(self.rows)
        if self.alternate:
            self.alternate = False
        self.cursor = Cursor()
        self._saved = [Cursor(), Cursor()]
        self.top, self.bottom = 0, self.rows - 1
        self.stops = set(range(8, MOST_CELLS, 8))
        self.wrapping = True
        self.inserting = False

    def _blank(self, count: int) -> list[Row]:
        return [Row(self.columns) for _ in range(count)]

    # Writing ---------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Put text at the cursor; it holds no control characters."""
        if NARROW.fullmatch(text):
            self._write_narrow(text)
            return
        for character in text:
            width = width_of(character)
            if width == 1:
                self._write_narrow(character)
            elif width == 2:
                self._write_wide(character)
            elif width == 0:
                self._write_mark(character)

    def _write_narrow(self, text: str) -> None:
        cursor, columns = self.cursor, self.columns
        at, left = 0, len(text)
        while left:
            if cursor.wraps:
                self._wrap()
            room = columns - cursor.column
            count = room if room < left else left
            row = self.lines[cursor.row]
            if self.inserting:
                row.insert(cursor.column, count, cursor.pen)
            row.put(cursor.column, text[at : at + count], cursor.pen)
            at += count
            left -= count
            if count < room:
                cursor.column += count
                return
            cursor.column = columns - 1
            if self.wrapping:
                cursor.wraps = True
            elif left:
                # Without wrapping all that follows is written over the last column.
                at += left - 1
                left = 1

    def _write_wide(self, character: str) -> None:
        cursor = self.cursor
        if self.columns < 2:
            return
        if cursor.wraps or (self.wrapping and cursor.column > self.columns - 2):
            self._wrap()
        cursor.column = min(cursor.column, self.columns - 2)
        row = self.lines[cursor.row]
        if self.inserting:
            row.insert(cursor.column, 2, cursor.pen)
        row.put_wide(cursor.column, character, cursor.pen)
        cursor.column += 2
        if cursor.column >= self.columns:
            cursor.column = self.columns - 1
            cursor.wraps = self.wrapping

    def _write_mark(self, mark: str) -> None:
        cursor = self.cursor
        column = cursor.column if cursor.wraps else cursor.column - 1
        if column >= 0:
            self.lines[cursor.row].mark(column, mark)

    def _wrap(self) -> None:
        self.cursor.column = 0
        self.cursor.wraps = False
        self.index()

    # The cursor ------------------------------------------------------------------------------

    def move_to(self, row: int | None = None, column: int | None = None) -> None:
        """Put the cursor on a row (counted from the margin where origin mode says so)."""
        cursor = self.cursor
        if row is not None:
            if cursor.origin:
                cursor.row = _within(row + self.top, self.top, self.bottom)
            else:
                cursor.row = _within(row, 0, self.rows - 1)
        if column is not None:
            cursor.column = _within(column, 0, self.columns - 1)
        cursor.wraps = False

    def move_rows(self, by: int) -> None:
        """Move up or down; a margin that is not yet crossed stops."""
        cursor = self.cursor
        if by < 0:
            stop = self.top if cursor.row >= self.top else 0
            cursor.row = max(stop, cursor.row + by)
        else:
            stop = self.bottom if cursor.row <= self.bottom else self.rows - 1
            cursor.row = min(stop, cursor.row + by)
        cursor.wraps = False

    def move_columns(self, by: int) -> None:
        """Move left or right."""
        self.cursor.column = _within(self.cursor.column + by, 0, self.columns - 1)
        self.cursor.wraps = False

    def tab(self, by: int) -> None:
        """Move by tab stops, forward or back."""
        cursor = self.cursor
        for _ in range(min(abs(by), self.columns)):
            if by > 0:
                ahead = range(cursor.column + 1, self.columns)
                cursor.column = next((x for x in ahead if x in self.stops), self.columns - 1)
            else:
                behind = range(cursor.column - 1, 0, -1)
                cursor.column = next((x for x in behind if x in self.stops), 0)
        if by < 0:
            cursor.wraps = False

    def index(self) -> None:
        """Go down a row; at the bottom margin what is inside the margins moves up."""
        cursor = self.cursor
        if cursor.row == self.bottom:
            self.scroll_up(1)
        elif cursor.row < self.rows - 1:
            cursor.row += 1

    def reverse_index(self) -> None:
        """Go up a row; at the top margin what is inside the margins moves down."""
        cursor = self.cursor
        if cursor.row == self.top:
            self.scroll_down(1)
        elif cursor.row > 0:
            cursor.row -= 1

    def save_cursor(self) -> None:
        """Keep the cursor; each buffer has a place for one."""
        self._saved[self.alternate] = self.cursor.copy()

    def restore_cursor(self) -> None:
        """Bring back the cursor that was kept."""
        self.cursor = self._saved[self.alternate].copy()
        self._keep_inside()

    def set_margins(self, top: int, bottom: int) -> None:
        """Scroll only between two rows from now on; fewer than two are ignored."""
        bottom = min(bottom, self.rows - 1)
        if 0 <= top < bottom:
            self.top, self.bottom = top, bottom
            self.move_to(0, 0)

    def set_origin(self, origin: bool) -> None:
        """Count rows from the top margin, or from the top."""
        self.cursor.origin = origin
        self.move_to(0, 0)

    # Moving and erasing ----------------------------------------------------------------------

    def scroll_up(self, count: int) -> None:
        """Move what is inside the margins up; what leaves the whole screen goes to the history."""
        self._take_out(self.top, count, keep=self.top == 0 and not self.alternate)

    def scroll_down(self, count: int) -> None:
        """Move what is inside the margins down."""
        self._put_in(self.top, count)

    def insert_rows(self, count: int) -> None:
        """Put blank rows in at the cursor."""
        cursor = self.cursor
        if self.top <= cursor.row <= self.bottom:
            self._put_in(cursor.row, count)
            cursor.column, cursor.wraps = 0, False

    def delete_rows(self, count: int) -> None:
        """Take rows out at the cursor."""
        cursor = self.cursor
        if self.top <= cursor.row <= self.bottom:
            self._take_out(cursor.row, count, keep=False)
            cursor.column, cursor.wraps = 0, False

    def _take_out(self, first: int, count: int, *, keep: bool) -> None:
        lines, bottom = self.lines, self.bottom
        pen = self.cursor.pen.erasing()
        for _ in range(min(count, bottom - first + 1)):
            row = lines.pop(first)
            if keep:
                row = self._remember(row)
            row.clear(self.columns, pen)
            lines.insert(bottom, row)

    def _put_in(self, first: int, count: int) -> None:
        lines, bottom = self.lines, self.bottom
        pen = self.cursor.pen.erasing()
        for _ in range(min(count, bottom - first + 1)):
            row = lines.pop(bottom)
            row.clear(self.columns, pen)
            lines.insert(first, row)

    def _remember(self, row: Row) -> Row:
        """Put a row into the history; return one that may be used again."""
        history = self.history
        self.scrolled += 1
        if not history.maxlen:
            return row
        again = history.popleft() if len(history) == history.maxlen else Row(0)
        history.append(row)
        return again

    def insert_cells(self, count: int) -> None:
        """Put blank cells in at the cursor."""
        self._row().insert(self.cursor.column, count, self.cursor.pen.erasing())
        self.cursor.wraps = False

    def delete_cells(self, count: int) -> None:
        """Take cells out at the cursor."""
        self._row().delete(self.cursor.column, count, self.cursor.pen.erasing())
        self.cursor.wraps = False

    def erase_cells(self, count: int) -> None:
        """Blank cells from the cursor on."""
        self._erase(self.cursor.row, self.cursor.column, self.cursor.column + count)
        self.cursor.wraps = False

    def erase_in_row(self, which: int) -> None:
        """Blank the cursor's row: 0 from the cursor on, 1 up to it, 2 all."""
        cursor = self.cursor
        if which == 0:
            self._erase(cursor.row, cursor.column, self.columns)
        elif which == 1:
            self._erase(cursor.row, 0, cursor.column + 1)
        elif which == 2:
            self._erase(cursor.row, 0, self.columns)
        cursor.wraps = False

    def erase_in_screen(self, which: int) -> None:
        """Blank rows: 0 from the cursor on, 1 up to it, 2 all, 3 the history."""
        if which == 3:
            self.history.clear()
            return
        pen = self.cursor.pen.erasing()
        here = self.cursor.row
        whole: Sequence[Row] = ()
        if which in (0, 1):
            self.erase_in_row(which)
            whole = self.lines[here + 1 :] if which == 0 else self.lines[:here]
        elif which == 2:
            whole = self.lines
        for row in whole:
            row.clear(self.columns, pen)
        self.cursor.wraps = False

    def fill(self, character: str) -> None:
        """Write a character into every cell, as the alignment test does."""
        for row in self.lines:
            row.clear(self.columns, PLAIN)
            row.put(0, character * self.columns, PLAIN)
        self.top, self.bottom = 0, self.rows - 1
        self.move_to(0, 0)

    def _row(self) -> Row:
        return self.lines[self.cursor.row]

    def _erase(self, row: int, start: int, end: int) -> None:
        end = min(end, self.columns)
        if start < end:
            self.lines[row].put(start, " " * (end - start), self.cursor.pen.erasing())

    # Buffers and size ------------------------------------------------------------------------

    def use_alternate(self, alternate: bool) -> None:
        """Change between the buffers; the cursor stays where it is."""
        if alternate != self.alternate:
            self.alternate = alternate
            self.lines, self._other = self._other, self.lines

    def clear_alternate(self) -> None:
        """Blank the alternate buffer, in use or not."""
        for row in self.lines if self.alternate else self._other:
            row.clear(self.columns, self.cursor.pen.erasing())

    def resize(self, rows: int, columns: int) -> None:
        """Take another size; nothing is wrapped anew.

        A lower screen pushes its top rows into the history, a higher one gets them back.
        """
        rows, columns = _within(rows, 1, MOST_CELLS), _within(columns, 1, MOST_CELLS)
        if columns != self.columns:
            self.columns = columns
            for row in (*self.lines, *self._other):
                row.resize(columns)
        if rows != self.rows:
            primary, second = (
                (self._other, self.lines) if self.alternate else (self.lines, self._other)
            )
            here = self.cursor.row
            at, at_second = (self._saved[0].row, here) if self.alternate else (here, 0)
            moved = self._fit(primary, rows, at, history=True)
            moved_second = self._fit(second, rows, at_second, history=False)
            self._saved[0].row += moved
            self._saved[1].row += moved_second
            self.cursor.row += moved_second if self.alternate else moved
            self.rows = rows
        self.top, self.bottom = 0, self.rows - 1
        for kept in self._saved:
            kept.row = _within(kept.row, 0, self.rows - 1)
            kept.column = _within(kept.column, 0, self.columns - 1)
        self._keep_inside()

    def _fit(self, lines: list[Row], rows: int, cursor: int, *, history: bool) -> int:
        """Make a buffer lower or higher; return by how many rows its content moved down."""
        moved = 0
        while len(lines) > rows:
            if len(lines) - 1 > cursor + moved:
                lines.pop()
            else:
                row = lines.pop(0)
                moved -= 1
                if history:
                    self._remember(row)
        while len(lines) < rows:
            if history and self.history:
                row = self.history.pop()
                self.scrolled -= 1
                moved += 1
                lines.insert(0, row)
            else:
                lines.append(Row(self.columns))
                continue
            row.resize(self.columns)
        return moved

    def _keep_inside(self) -> None:
        cursor = self.cursor
        cursor.row = _within(cursor.row, 0, self.rows - 1)
        cursor.column = _within(cursor.column, 0, self.columns - 1)
        cursor.wraps = cursor.wraps and cursor.column == self.columns - 1

    # What is to be seen ----------------------------------------------------------------------

    def shown(self, back: int = 0) -> list[Row]:
        """Return the rows of a window that is scrolled back by some rows."""
        back = _within(back, 0, len(self.history))
        if not back:
            return self.lines
        count = len(self.history)
        kept: Iterable[int] = range(count - back, min(count, count - back + self.rows))
        rows = [self.history[place] for place in kept]
        return [*rows, *self.lines[: self.rows - len(rows)]]

    def text(self) -> str:
        """Return what stands on the screen, rows without their trailing blanks."""
        return "\n".join(row.text().rstrip() for row in self.lines)


def _within(value: int, low: int, high: int) -> int:
    return low if value < low else high if value > high else value
