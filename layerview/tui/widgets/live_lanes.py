"""Time lanes: the history that a stack can't show."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual.strip import Strip

from layerview.tui.cells import Line, fit
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.live_lanes import Column, Lanes
from layerview.tui.live_words import clock
from layerview.tui.widgets.chrome import Painted
from layerview.tui.widgets.live_stack import LiveSlab

HEAD = 22
"""Cells of a lane's name."""


class LiveLanes(Painted):
    """A row a layer, time to the right, a copy-up as a riser between rows."""

    DEFAULT_CSS = """
    LiveLanes { height: 1; width: 1fr; margin: 0 1; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.slabs: Sequence[LiveSlab] = ()
        """Top first."""
        self.has_volumes = False
        self.lanes: Lanes | None = None
        self.tall = 2
        self._room = 0

    @property
    def head(self) -> int:
        """Cells of the lanes' names."""
        return HEAD if self.size.width >= 70 else 12

    @property
    def columns(self) -> int:
        """How many columns of time there is room for."""
        return max(1, self.size.width - self.head - 1)

    def fit_room(self, room: int) -> None:
        """Take up to so many rows."""
        self._room = room
        count = 1 + len(self.slabs) + self.has_volumes
        self.tall = 2 if count * 2 + 1 <= room else 1
        self.styles.height = max(1, min(room, count * self.tall + 1))
        self.refresh()

    def show(self, slabs: Sequence[LiveSlab], has_volumes: bool, lanes: Lanes) -> None:
        """Show what happened when."""
        if (tuple(slabs), has_volumes, lanes) != (self.slabs, self.has_volumes, self.lanes):
            self.slabs, self.has_volumes, self.lanes = tuple(slabs), has_volumes, lanes
            self.fit_room(self._room)

    def _shown(self) -> list[LiveSlab | None]:
        """The layers that have a lane; None stands for the container layer."""
        room = (self.size.height - 1) // self.tall - 1 - self.has_volumes
        slabs: list[LiveSlab | None] = list(self.slabs)
        if len(slabs) > room > 1:
            slabs = [*slabs[: room - 1], slabs[-1]]
        return [None, *slabs]

    def render_line(self, y: int) -> Strip:
        """Paint a row."""
        paint, width = self.paint, self.size.width
        shown, lanes = self._shown(), self.lanes
        line = Line()
        if lanes is None:
            return Strip.blank(width, paint.style())
        row, part = divmod(y, self.tall)
        if row < len(shown):
            self._paint_head(line, shown[row], part)
            line.to(self.head + 1, paint.style())
            for column in lanes.columns[: width - self.head - 1]:
                self._paint_cell(line, column, shown, row, part)
        elif row == len(shown) and self.has_volumes:
            if part == 0:
                line.add(fit(" vol", 5), paint.style("background", "muted", True))
                line.add(" volumes", paint.style("muted"))
                line.to(self.head + 1, paint.style())
                for column in lanes.columns[: width - self.head - 1]:
                    sign = self.glyphs.down if column.volume else self.glyphs.rule
                    line.add(sign, paint.style(bold=True) if column.volume else paint.style("line"))
        elif y == self.size.height - 1:
            line.to(self.head + 1, paint.style("muted"))
            start = clock(lanes.start * 1_000_000, short=True)
            end = clock(lanes.end * 1_000_000, short=True)
            if lanes.before:
                start += f"  after {lanes.before:,} more"
            gap = width - line.width - len(start) - len(end)
            line.add(start + " " * gap + end, paint.style("muted"))
        return line.strip(width, paint.style())

    def _paint_head(self, line: Line, slab: LiveSlab | None, part: int) -> None:
        paint, dots = self.paint, self.glyphs.ellipsis
        if slab is None:
            line.add(" W  " if part == 0 else "    ", paint.writable_chip())
            if part == 0:
                line.add(fit(" container layer", self.head - 4, dots), paint.style(bold=True))
            return
        line.add(fit(f" {slab.number}" if part == 0 else "", 4), paint.chip(slab.hue))
        if part == 0:
            line.add(fit(" " + slab.instruction, self.head - 4, dots), paint.style("muted"))

    def _paint_cell(
        self, line: Line, column: Column, shown: Sequence[LiveSlab | None], row: int, part: int
    ) -> None:
        paint, glyphs = self.paint, self.glyphs
        numbers = [slab.number if slab is not None else None for slab in shown]
        rising = [numbers.index(layer) for layer in column.copied if layer in numbers]
        deepest = max(rising, default=-1)
        slab = shown[row]
        if slab is None:
            if part == 0:
                sign, style = self._top_sign(column)
                line.add(sign, style)
            elif deepest > 0:
                line.add(glyphs.riser, self._hue(shown[min(rising)]))
            else:
                line.add(" ", paint.style())
            return
        below = [place for place in rising if place > row]
        if row in rising:
            # Its own file begins here; one from further below passes behind it.
            if part == 0:
                line.add(glyphs.winner, self._hue(slab))
            else:
                self._through(line, below, shown)
        elif below:
            self._through(line, below, shown)
        elif part == 0 and slab.number in column.hidden:
            line.add(glyphs.hidden, paint.style("error"))
        elif part == 0 and slab.number in column.read:
            line.add(glyphs.absent, self._hue(slab))
        else:
            line.add(glyphs.rule if part == 0 else " ", paint.style("line"))

    def _through(self, line: Line, below: Sequence[int], shown: Sequence[LiveSlab | None]) -> None:
        if below:
            line.add(self.glyphs.riser, self._hue(shown[min(below)]))
        else:
            line.add(" ", self.paint.style())

    def _hue(self, slab: LiveSlab | None) -> Style:
        return self.paint.style(self.paint.layer(slab.hue if slab is not None else None))

    def _top_sign(self, column: Column) -> tuple[str, Style]:
        paint, glyphs = self.paint, self.glyphs
        if column.top == "whiteout":
            return glyphs.whiteout, paint.style("error", bold=True)
        if column.top == "delete":
            return glyphs.deleted, paint.style("error", bold=True)
        if column.top == "create":
            return glyphs.added, paint.style("success", bold=True)
        if column.copied:
            return glyphs.winner, paint.style(bold=True)
        if column.top:
            return glyphs.absent, paint.style(bold=True)
        return glyphs.rule, paint.style("line")
