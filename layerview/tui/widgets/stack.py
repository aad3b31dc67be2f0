"""The layer stack: a slab for each layer, beside it the search for the file under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from layerview.tui.bars import solid_bar
from layerview.tui.cells import Line, fit
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.stack_rows import visible_layers
from layerview.tui.widgets.chrome import Painted


class Slab(NamedTuple):
    """What one layer's slab says."""

    number: int
    instruction: str
    size: str = "…"
    """The layer's size for people; `…` while unknown, `?` when it can't be read."""
    identity: str = ""
    files: str = ""
    share: float | None = None
    """The layer's part of the image, 0 to 1."""
    hue: int | None = None
    read: float | None = None
    """How much of the layer has been read, 0 to 1; None when it is not being read."""
    missing: bool = False
    """The layer is not here or can't be read."""


class Mark(NamedTuple):
    """What the search for a file says beside one slab."""

    state: str
    """absent, unknown, whiteout, opaque, hidden or winner."""
    size: str = ""
    mode: str = ""
    mode_differs: bool = False
    reason: str = ""


class LayerStack(Painted, can_focus=True):
    """The layers of an image, the top one first, drawn as slabs."""

    HELP = """
# Layers

The image's layers, the top one first. Each has one colour, everywhere. Beside the slabs stands
the search for the file under the cursor: the first layer from the top that has it wins.

- **●** this version shows, **○** a layer above hides this one, **✕** deleted here
- **·** not in this layer, **▒** the layer is not here
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(1)", "layer above", show=False, id="stack.up"),
        Binding("down,j", "move(-1)", "layer below", show=False, id="stack.down"),
        Binding("home,g", "top", "top layer", show=False, id="stack.top"),
        Binding("end,G", "base", "base layer", show=False, id="stack.base"),
        Binding("enter", "choose", "this layer only", show=False, id="stack.choose"),
    ]

    DEFAULT_CSS = """
    LayerStack {
        height: 1;
        width: 1fr;
    }
    """

    selected: reactive[int] = reactive(-1)
    """The number of the selected layer; -1 while there is none."""

    class Selected(Message):
        """The selected layer changed because a person moved to it."""

        def __init__(self, stack: LayerStack, number: int) -> None:
            self.stack = stack
            self.number = number
            super().__init__()

        @property
        def control(self) -> LayerStack:
            """The stack that sent this."""
            return self.stack

    class Chosen(Selected):
        """A layer was chosen, with Enter or by a second click."""

    def __init__(
        self,
        *,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self.slabs: Sequence[Slab] = ()
        self.marks: dict[int, Mark] = {}
        self.plinth = ""
        self.compact = False
        self.room = 0
        """Rows of the pane that the stack may take at most; 0 means as many as it needs."""
        self._rows: list[tuple[str, int]] = []
        self._laid_out_for: tuple[object, ...] = ()

    # What it shows ---------------------------------------------------------------------------

    def show(self, slabs: Sequence[Slab], plinth: str) -> None:
        """Show these layers (base first) over a plinth that carries the image's name."""
        if slabs != self.slabs or plinth != self.plinth:
            self.slabs = slabs
            self.plinth = plinth
            self._fit_height()

    def show_marks(self, marks: dict[int, Mark]) -> None:
        """Show the search for a file: a mark for each layer number."""
        if marks != self.marks:
            self.marks = marks
            self.refresh()

    def watch_selected(self) -> None:
        """Repaint when the selection moves."""
        self.refresh()

    # Layout ----------------------------------------------------------------------------------

    def one_row(self) -> bool:
        """Whether a layer gets one row: in a narrow window, or when slabs would take the pane."""
        return self.compact or bool(self.room and len(self.slabs) * 3 + 1 > self.room)

    def _has_plinth(self) -> bool:
        return not self.compact and bool(self.plinth)

    def fit(self, *, compact: bool, room: int) -> None:
        """Fit the stack to its pane: a narrow one or not, with so many rows to spare."""
        self.compact = compact
        self.room = room
        self._fit_height()

    def _fit_height(self) -> None:
        rows = len(self.slabs) * (1 if self.one_row() else 3) + self._has_plinth()
        # An explicit height: Textual may keep an automatic one that was asked for too early.
        self.styles.height = max(1, min(rows, self.room) if self.room else rows)
        self.refresh()

    def _layout_rows(self) -> list[tuple[str, int]]:
        """Return what each row shows: a kind, and a layer number or a count."""
        height = self.size.height
        key = (height, len(self.slabs), self.one_row(), self.selected, self._has_plinth())
        if key == self._laid_out_for:
            return self._rows
        self._laid_out_for = key
        rows: list[tuple[str, int]] = []
        for number in self._visible_layers(height):
            if number < 0:
                rows.append(("more", -number))
            elif self.one_row():
                rows.append(("row", number))
            else:
                rows += [("first", number), ("second", number), ("gap", number)]
        if self._has_plinth():
            rows.append(("plinth", 0))
        self._rows = rows
        return rows

    def _visible_layers(self, height: int) -> list[int]:
        """The layers to show, top first; a negative number stands for that many left out."""
        tall = 1 if self.one_row() else 3
        return visible_layers(len(self.slabs), height - self._has_plinth(), tall, self.selected)

    # Painting --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        paint = self.paint
        width = self.size.width
        blank = paint.style()
        rows = self._layout_rows()
        if y >= len(rows) or not self.slabs:
            return Strip.blank(width, blank)
        kind, number = rows[y]
        line = Line()
        search = self._search_width(width)
        slab_width = width - search - 2 if search else width
        if kind == "row":
            self._paint_single(line, self.slabs[number], slab_width)
            if search:
                line.to(slab_width + 2, blank)
                self._paint_mark(line, number, search, single=True)
        elif kind == "first":
            self._paint_first(line, self.slabs[number], slab_width)
            line.to(slab_width + 2, blank)
            self._paint_mark(line, number, search)
        elif kind == "second":
            self._paint_second(line, self.slabs[number], slab_width)
            line.to(slab_width + 2, blank)
            mark = self.marks.get(number)
            if mark is not None and mark.reason:
                style = blank if mark.state != "winner" else paint.style(bold=True)
                if mark.state != "winner":
                    style = paint.style("faint")
                indent = "  " if search >= 17 else " "
                room = search - len(indent)
                line.add(indent + fit(mark.reason, room, self.glyphs.ellipsis), style)
        elif kind == "gap":
            slab = self.slabs[number]
            band = self._band_width()
            if self.glyphs.half_row.strip():
                fill = self._fill(slab)[0]
                hue = paint.layer(slab.hue) if slab.hue is not None else paint.color("panel")
                line.add(self.glyphs.half_row * band, paint.style(hue))
                line.add(self.glyphs.half_row * (slab_width - band), paint.style(fill))
        elif kind == "more":
            line.to(self._band_width() + 1, blank)
            line.add(f"{self.glyphs.ellipsis} {number} more", paint.style("muted"))
        elif kind == "plinth":
            self._paint_plinth(line, slab_width)
            if self.slabs:
                line.to(slab_width + 2, blank).add("read-only"[:search], paint.style("faint"))
        return line.strip(width, blank)

    def _search_width(self, width: int) -> int:
        if self.one_row() and self.compact:
            return 18 if width >= 74 else 2
        return 17 if width >= 64 else 12

    def _band_width(self) -> int:
        digits = len(str(max(0, len(self.slabs) - 1)))
        return max(3 if self.one_row() else 4, digits + 2)

    def _paint_band(self, line: Line, slab: Slab, number: bool = True) -> None:
        paint = self.paint
        width = self._band_width()
        style = paint.chip(slab.hue)
        if slab.missing:
            hatch = paint.style(paint.layer(slab.hue), "background")
            if number:
                arrow = self.glyphs.selected if slab.number == self.selected else " "
                text = f" {slab.number}{arrow}"
                line.add(text, style).add(self.glyphs.hatch * (width - len(text)), hatch)
            else:
                line.add(self.glyphs.hatch * width, hatch)
            return
        if not number:
            line.add(" " * width, style)
            return
        arrow = self.glyphs.selected if slab.number == self.selected else " "
        lead = " " if len(str(slab.number)) + 2 <= width else ""
        line.add(fit(f"{lead}{slab.number}{arrow}", width), style)

    def _fill(self, slab: Slab) -> tuple[str, str]:
        """The colours of a slab's fill and of the empty part of its bar."""
        selected = slab.number == self.selected
        if slab.missing:
            fill = self.paint.color("panel" if selected else "surface")
            return fill, fill
        return self.paint.slab(slab.hue, selected), self.paint.groove(slab.hue, selected)

    def _paint_first(self, line: Line, slab: Slab, width: int) -> None:
        self._paint_band(line, slab)
        paint = self.paint
        fill, _ = self._fill(slab)
        selected = slab.number == self.selected
        text_width = width - self._band_width() - 2 - 11
        line.add(" ", paint.style(back=fill))
        line.add(
            fit(slab.instruction, text_width, self.glyphs.ellipsis),
            paint.style("muted" if slab.missing else "foreground", fill, selected),
        )
        line.add(fit(slab.size, 11, right=True), paint.style("foreground", fill, True))
        line.add(" ", paint.style(back=fill))

    def _paint_second(self, line: Line, slab: Slab, width: int) -> None:
        self._paint_band(line, slab, number=False)
        paint = self.paint
        fill, _ = self._fill(slab)
        quiet = paint.style(paint.slab_text(fill), fill)
        inner = width - self._band_width() - 2
        line.add(" ", quiet)
        line.add(fit(slab.identity, min(12, inner)), quiet)
        rest = inner - 12
        if rest >= 15:
            files = fit(slab.files, rest - 15, right=True) if rest - 15 >= 12 else ""
            line.add(files or " " * (rest - 15), quiet)
            line.add(" ", quiet)
            self._paint_bar(line, slab, 8)
            rest = 6
        share = "" if slab.share is None else f"{slab.share * 100:.0f} %"
        line.add(fit(share, rest, right=True), quiet)
        line.add(" ", quiet)

    def _paint_single(self, line: Line, slab: Slab, width: int) -> None:
        self._paint_band(line, slab)
        paint = self.paint
        fill, _ = self._fill(slab)
        selected = slab.number == self.selected
        quiet = paint.style(paint.slab_text(fill), fill)
        if self._search_width(self.size.width) < 12:
            self._paint_narrow(line, slab, width)
            return
        wide = width >= 44
        bar = 14 if wide else 1
        text_width = width - self._band_width() - 1 - 11 - bar
        line.add(" ", quiet)
        line.add(
            fit(slab.instruction, text_width, self.glyphs.ellipsis),
            paint.style("muted" if slab.missing else "foreground", fill, selected),
        )
        line.add(fit(slab.size, 11, right=True), paint.style("foreground", fill, True))
        if wide:
            line.add("  ", quiet)
            self._paint_bar(line, slab, 6)
            share = "" if slab.share is None else f"{slab.share * 100:.0f} %"
            line.add(fit(share, 5, right=True) + " ", quiet)
        elif bar:
            line.add(" ", quiet)

    def _paint_narrow(self, line: Line, slab: Slab, width: int) -> None:
        """Paint number, size and instruction, for which there is room in any window."""
        paint = self.paint
        fill = self._fill(slab)[0]
        selected = slab.number == self.selected
        line.add(fit(slab.size, 11, right=True), paint.style("foreground", fill, True))
        line.add("  ", paint.style(back=fill))
        room = width - line.width - 1
        color = "muted" if slab.missing else "foreground"
        line.add(
            fit(slab.instruction, room, self.glyphs.ellipsis), paint.style(color, fill, selected)
        )
        line.add(" ", paint.style(back=fill))

    def _paint_bar(self, line: Line, slab: Slab, width: int) -> None:
        groove = self._fill(slab)[1]
        paint = self.paint
        share = slab.read if slab.read is not None else slab.share
        if slab.missing or share is None:
            line.add(" " * width, paint.style(back=groove))
            return
        filled, empty = solid_bar(width, share, self.glyphs)
        color = paint.layer(slab.hue) if slab.read is None else paint.color("foreground")
        style = Style(color=color, bgcolor=groove)
        line.add(filled + empty, style)

    def _paint_mark(self, line: Line, number: int, width: int, single: bool = False) -> None:
        mark = self.marks.get(number)
        if mark is None:
            return
        paint, glyphs = self.paint, self.glyphs
        sign = {
            "winner": glyphs.winner,
            "hidden": glyphs.hidden,
            "whiteout": glyphs.whiteout,
            "opaque": glyphs.whiteout,
            "unknown": glyphs.unknown,
        }.get(mark.state, glyphs.absent)
        strong = mark.state == "winner"
        if width < 12:
            line.add(sign, paint.style(bold=strong))
            return
        if mark.state in ("winner", "hidden"):
            style = paint.style("foreground" if strong else "muted", bold=strong)
            line.add(sign, style)
            line.add(fit(mark.size, 10, right=True), style)
            if width >= 17:
                differs = paint.style("warning", bold=True) if mark.mode_differs else style
                line.add(fit(mark.mode, width - 11, right=True), differs)
            return
        words = {
            "whiteout": "deletes it",
            "opaque": "hides below",
            "unknown": "unknown",
        }.get(mark.state, "not here")
        color = "error" if mark.state in ("whiteout", "opaque") else "faint"
        line.add(f"{sign} {fit(words, width - 2)}", paint.style(color))

    def _paint_plinth(self, line: Line, width: int) -> None:
        paint, glyphs = self.paint, self.glyphs
        name = fit(self.plinth, min(len(self.plinth), width - 8), glyphs.ellipsis)
        rule = paint.style("line")
        left = (width - 4 - len(name)) // 2
        line.add(glyphs.plinth_left + glyphs.rule * (left - 0), rule)
        line.add(f" {name} ", paint.style(bold=True))
        line.add(glyphs.rule * (width - line.width - 1) + glyphs.plinth_right, rule)

    # Keys and mouse --------------------------------------------------------------------------

    def _select(self, number: int) -> None:
        if self.slabs and number != self.selected:
            self.selected = min(len(self.slabs) - 1, max(0, number))
            self.post_message(self.Selected(self, self.selected))

    def action_move(self, by: int) -> None:
        """Select the layer above or below."""
        self._select(min(len(self.slabs) - 1, max(0, self.selected + by)))

    def action_top(self) -> None:
        """Select the top layer."""
        self._select(len(self.slabs) - 1)

    def action_base(self) -> None:
        """Select the base layer."""
        self._select(0)

    def action_choose(self) -> None:
        """Choose the selected layer."""
        if self.slabs:
            self.post_message(self.Chosen(self, self.selected))

    def on_click(self, event: events.Click) -> None:
        """Select the layer under the mouse; a second click chooses it."""
        rows = self._layout_rows()
        row = int(event.y)
        if row < len(rows) and rows[row][0] in ("row", "first", "second", "gap"):
            number = rows[row][1]
            if number == self.selected and event.chain == 2:
                self.action_choose()
            self._select(number)
