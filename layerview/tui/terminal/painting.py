"""Rows of a terminal as strips in the theme's colours."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from layerview.tui.palette import TERMINAL_DARK, TERMINAL_LIGHT, blend, contrast, digit_color
from layerview.tui.terminal.cells import NARROW, Row
from layerview.tui.terminal.pens import (
    BOLD,
    DEFAULT,
    DIM,
    HIDDEN,
    ITALIC,
    REVERSE,
    STRIKE,
    TRUE_COLOR,
    UNDERLINE,
    Pen,
)
from layerview.tui.themes import Paint

READABLE = 3.0
"""The contrast that text on a coloured background has at least."""

_LEVELS = (0, 95, 135, 175, 215, 255)
"""The steps of xterm's colour cube."""

_DRAWN_IN_ASCII = {
    **dict.fromkeys(range(0x2500, 0x2580), "+"),
    **dict.fromkeys(map(ord, "─━═⎺⎻⎼⎽"), "-"),
    **dict.fromkeys(map(ord, "│┃║"), "|"),
    ord("\xa0"): " ",
}


class RowPainter:
    """Paints rows in the colours of one theme."""

    def __init__(self, paint: Paint, *, ascii: bool = False, exchanged: bool = False) -> None:
        """Make one.

        Args:
            paint: the theme's colours.
            ascii: show other characters by ASCII ones.
            exchanged: exchange foreground and background.
        """
        self._front, self._back = paint.color("foreground"), paint.color("background")
        self._quiet_cursor = paint.color("cursor-row")
        if exchanged:
            self._front, self._back = self._back, self._front
        self._palette = TERMINAL_DARK if paint.dark else TERMINAL_LIGHT
        self._ascii = ascii
        self.style = lru_cache(maxsize=4096)(self._style)

    def color(self, number: int, default: str) -> str:
        """Return a pen's colour as `#rrggbb`."""
        if number == DEFAULT:
            return default
        if number & TRUE_COLOR:
            return f"#{number & 0xFFFFFF:06x}"
        if number < 16:
            return self._palette[number]
        if number < 232:
            red, rest = divmod(number - 16, 36)
            green, blue = divmod(rest, 6)
            return f"#{_LEVELS[red]:02x}{_LEVELS[green]:02x}{_LEVELS[blue]:02x}"
        return "#" + 3 * f"{8 + 10 * (number - 232):02x}"

    def _style(self, pen: Pen) -> Style:
        flags = pen.flags
        front = self.color(pen.front, self._front)
        back = self.color(pen.back, self._back)
        if flags & REVERSE:
            front, back = back, front
        if back != self._back and contrast(front, back) < READABLE:
            # Whoever chose both colours had others in mind.
            front = digit_color(back)
        if flags & DIM:
            front = blend(back, front, 0.6)
        if flags & HIDDEN:
            front = back
        return Style(
            color=front,
            bgcolor=back,
            bold=bool(flags & BOLD),
            italic=bool(flags & ITALIC),
            underline=bool(flags & UNDERLINE),
            strike=bool(flags & STRIKE),
        )

    def strip(self, row: Row, columns: int, cursor: int | None, focused: bool) -> Strip:
        """Paint a row.

        Args:
            row: its cells, more or fewer than there are columns.
            columns: cells of the strip.
            cursor: the column that the cursor stands on, if any.
            focused: whether what is typed goes here.
        """
        if cursor is None or cursor >= min(columns, len(row.chars)):
            segments = self._runs(row, 0, columns)
        else:
            width = 1
            if row.wide and cursor and not row.chars[cursor]:
                cursor -= 1
            if cursor + 1 < min(columns, len(row.chars)) and not row.chars[cursor + 1]:
                width = 2
            pen = row.pens[cursor]
            here = self.style(pen)
            if focused:
                style = here + Style(bgcolor=here.color, color=here.bgcolor)
                if here.color == here.bgcolor:
                    style = Style(color=self._back, bgcolor=self._front)
            else:
                style = here + Style(bgcolor=self._quiet_cursor)
            under = "".join(row.chars[cursor : cursor + width])
            segments = [
                *self._runs(row, 0, cursor),
                Segment(self._drawn(under), style),
                *self._runs(row, cursor + width, columns),
            ]
        length = sum(segment.cell_length for segment in segments)
        if length < columns:
            segments.append(Segment(" " * (columns - length), self.style(Pen())))
        strip = Strip(segments, max(length, columns))
        return strip if length <= columns else strip.crop(0, columns)

    def _runs(self, row: Row, start: int, end: int) -> list[Segment]:
        """Return segments for cells, one for each run of a pen."""
        chars, pens = row.chars, row.pens
        end = min(end, len(chars))
        segments: list[Segment] = []
        while start < end:
            pen = pens[start]
            stop = start + 1
            if pens.count(pen) == len(pens):
                stop = end
            while stop < end and pens[stop] == pen:
                stop += 1
            style = self.style(pen)
            if row.wide:
                segments += self._one_by_one(chars, start, stop, end, style)
            else:
                segments.append(Segment(self._drawn("".join(chars[start:stop])), style))
            start = stop
        return segments

    def _one_by_one(
        self, chars: list[str], start: int, stop: int, end: int, style: Style
    ) -> list[Segment]:
        """Keep what is not narrow in segments of its own: joined it might be measured less."""
        segments: list[Segment] = []
        text = ""
        for place in range(start, stop):
            char = chars[place]
            if NARROW.fullmatch(char):
                text += char
                continue
            if text:
                segments.append(Segment(self._drawn(text), style))
                text = ""
            whole = place + 1 < end or len(chars) == end or chars[end] != ""
            segments.append(Segment(self._drawn(char) if whole else " ", style))
        if text:
            segments.append(Segment(self._drawn(text), style))
        return segments

    def _drawn(self, text: str) -> str:
        if not self._ascii or text.isascii():
            return text
        known = text.translate(_DRAWN_IN_ASCII)
        if known.isascii():
            return known
        # As many signs as there were cells.
        cells = Segment(known).cell_length
        shown = known.encode("ascii", "replace").decode()
        return shown if len(shown) == cells else "?" * cells
