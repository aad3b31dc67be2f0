"""What is known of one layer: changes, waste in words, identities, largest copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.scroll_view import ScrollView
from textual.strip import Strip

from layerview.tui.cells import Line, fit, fit_start, width_of, wrap
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.chrome import Painted
from layerview.tui.widgets.scrolling import fit_rows


class Fact(NamedTuple):
    """A labelled line; long values are wrapped, and `right` stands at the right edge."""

    label: str
    value: str
    note: str = ""
    right: str = ""
    color: str = "foreground"
    indent: int = 12
    cut_start: bool = False
    wraps: bool = True


BLANK = Fact("", "")


class LayerDetails(Painted, ScrollView, can_focus=True):
    """Facts about the selected layer."""

    HELP = """
# Layer

What the selected layer changed, which bytes below it became useless and why, and its names:
*digest* (the blob as distributed), *DiffID* (the plain tar), *ChainID* (the layer on top of
those below it).
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "scroll_up", "up", show=False, id="details.up"),
        Binding("j", "scroll_down", "down", show=False, id="details.down"),
    ]

    DEFAULT_CSS = """
    LayerDetails {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 0;
        padding: 0 1;
        height: 1fr;
    }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self._facts: Sequence[Fact] = ()
        self._rows: list[tuple[Fact, str, bool]] = []

    def show(self, facts: Sequence[Fact]) -> None:
        """Show these facts."""
        self._facts = facts
        self._lay_out()

    def on_resize(self) -> None:
        """Wrap the facts to the new width."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        rows: list[tuple[Fact, str, bool]] = []
        for fact in self._facts:
            room = max(8, width - fact.indent - (width_of(fact.note) + 3 if fact.note else 0))
            if fact.right:
                room = max(8, width - fact.indent - width_of(fact.right) - 2)
            if fact.cut_start:
                lines = [fit_start(fact.value, room, self.glyphs.ellipsis)]
            elif fact.wraps and not fact.right and width_of(fact.value) > room:
                lines = wrap(fact.value, room)
            else:
                lines = [fit(fact.value, min(room, width_of(fact.value)), self.glyphs.ellipsis)]
            rows += [(fact, line, number == 0) for number, line in enumerate(lines)]
        self._rows = rows
        fit_rows(self, len(rows))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        paint, width = self.paint, self.scrollable_content_region.width
        blank = paint.style()
        row = y + round(self.scroll_y)
        if row >= len(self._rows):
            return Strip.blank(width, blank)
        fact, text, first = self._rows[row]
        line = Line()
        if first and fact.label:
            line.add(fit(fact.label, fact.indent), paint.style("muted"))
        line.to(fact.indent, blank).add(text, paint.style(fact.color))
        if first and fact.note:
            line.add("   " + fact.note, paint.style("foreground"))
        if first and fact.right:
            line.to(width - width_of(fact.right), blank).add(fact.right, blank)
        return line.strip(width, blank)
