"""A layer stack lying down: the base at the left, each layer as wide as it is large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.strip import Strip

from layerview.tui.cells import Line, fit, width_of
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.chrome import Painted


@dataclass(frozen=True, slots=True)
class LyingSlab:
    """One layer: its number, hue, bytes, and three lines of words."""

    number: int
    hue: int | None
    bytes: int
    instruction: str
    size: str
    users: str
    writable: bool = False
    """Whether it is a container's own layer, which has a letter and no hue."""


class LyingStack(Painted):
    """The layers of one image in a row."""

    DEFAULT_CSS = """
    LyingStack { height: 3; width: 1fr; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.slabs: Sequence[LyingSlab] = ()

    def show(self, slabs: Sequence[LyingSlab]) -> None:
        """Show these layers, base first."""
        self.slabs = slabs
        self.refresh()

    def widths(self, width: int) -> list[int]:
        """Share the cells among the layers: a chip for each, the rest by size."""
        count = len(self.slabs)
        least = 3 if count * 4 > width else 4
        if count * least >= width:
            return [least] * count
        total = sum(slab.bytes for slab in self.slabs) or 1
        spare = width - count * least
        exact = [spare * slab.bytes / total for slab in self.slabs]
        widths = [least + int(value) for value in exact]
        left = width - sum(widths)
        for place in sorted(range(count), key=lambda at: int(exact[at]) - exact[at])[:left]:
            widths[place] += 1
        return widths

    @staticmethod
    def _words(slab: LyingSlab, y: int, room: int) -> str:
        """Return a line's words; sizes and counts are written shorter rather than cut."""
        if y == 0:
            return slab.instruction
        if y == 1:
            number, _, unit = slab.size.rpartition(" ")
            shorter = f"{number.partition('.')[0]} {unit}"
        else:
            shorter = slab.users.rpartition(" ")[0]
        whole = (slab.size, slab.users)[y - 1]
        return next((words for words in (whole, shorter) if width_of(words) <= room), "")

    def render_line(self, y: int) -> Strip:
        """Paint one of the three lines."""
        paint, width = self.paint, self.size.width
        line = Line()
        for slab, cells in zip(self.slabs, self.widths(width), strict=True):
            if line.width + cells > width:
                break
            sign = "W" if slab.writable else str(slab.number)
            text = f" {sign} " if y == 0 else "   "
            chip = paint.writable_chip() if slab.writable else paint.chip(slab.hue)
            line.add(fit(text, 3), chip)
            fill = paint.writable_slab() if slab.writable else paint.slab(slab.hue)
            room = cells - 3
            words = self._words(slab, y, room - 2)
            style = (
                paint.style("foreground", fill),
                paint.style("foreground", fill, True),
                paint.style(paint.slab_text(fill), fill),
            )[y]
            if room < 8:
                words = ""
            if room >= 2:
                line.add(" " + fit(words, room - 2, self.glyphs.ellipsis) + " ", style)
            else:
                line.add(" " * room, style)
        return line.strip(width, paint.style())
