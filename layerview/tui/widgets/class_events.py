"""What happened in all containers of one image, the newest first."""

from __future__ import annotations

from typing import ClassVar

from layerview.text import printable
from layerview.tui.cells import Line, fit, fit_start
from layerview.tui.class_model import ClassModel
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.live_words import (
    clock,
    duration_words,
    kind_words,
    layer_name,
    shown_path,
    size_words,
)
from layerview.tui.widgets.row_list import RowList


class ClassEvents(RowList):
    """A row for each event."""

    MARKS_UNFOCUSED: ClassVar[bool] = False

    def __init__(
        self,
        model: ClassModel,
        *,
        binary: bool = False,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self.model = model
        self.binary = binary
        self.hues: dict[int, int | None] = {}
        self.message = ("Nothing has happened yet.", "F2 opens a shell in the chosen container")

    def row_count(self) -> int:
        """How many events are kept."""
        return len(self.model.events)

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint an event: when, whose, what, out of which layer, where, how much, how long."""
        told = self.model.events[len(self.model.events) - 1 - row]
        event, paint, glyphs = told.event, self.paint, self.glyphs
        if not self.has_focus:
            back = "background"
        wide = width >= 90
        quiet = paint.style("muted", back)
        plain = paint.style("foreground", back, bold and self.has_focus)
        line.add(f"{clock(event.time, short=not wide)}  ", quiet)
        line.add(fit(printable(told.name), 20 if wide else 14, glyphs.ellipsis) + "  ", plain)
        line.add(fit(kind_words(event), 9), plain)
        if event.kind == "copy_up" and event.layer is not None:
            chip = f" {layer_name(event.layer)} "
            line.add(chip, paint.chip(self.hues.get(event.layer)))
            line.add(fit(f" {glyphs.arrow} W", 8 - len(chip)), quiet)
        else:
            line.add(" " * 8, quiet)
        size = size_words(event, self.binary)
        tail = 22 if wide else 11
        path = fit_start(shown_path(event.path), max(4, width - line.width - tail), glyphs.ellipsis)
        line.add(fit(path, max(4, width - line.width - tail), glyphs.ellipsis), plain)
        line.add(fit(size, 11, right=True), plain)
        if wide:
            line.add(fit(duration_words(event), 11, right=True), quiet)
