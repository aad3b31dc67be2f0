"""The list of what happened in a container, the newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView

from layerview.tui.cells import Line, fit, fit_start, width_of
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.live_words import (
    clock,
    duration_words,
    kind_words,
    layer_name,
    note_words,
    shown_path,
    size_words,
)
from layerview.tui.widgets.live_stack import of_words
from layerview.tui.widgets.row_list import RowList
from layerview.watch.events import Copying, CowEvent

FROM = ("copy_up", "whiteout", "read")
"""Kinds of events that have to do with a layer below."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """The columns that a list has room for; 0 cells where one has none."""

    time: int
    size: int
    duration: int
    note: int
    path: int

    @classmethod
    def for_width(cls, width: int) -> EventColumns:
        """Choose them for a list's width."""
        time = 12 if width >= 90 else 8
        size = 17 if width >= 110 else 9
        duration = 8 if width >= 90 else 0
        note = 30 if width >= 128 else 24 if width >= 110 else 0
        fixed = 1 + time + 2 + 9 + 2 + 8 + 2 + size
        fixed += (duration + 2 if duration else 0) + (note + 3 if note else 0)
        return cls(time, size, duration, note, max(8, width - fixed - 1))


class EventList(RowList, inherit_bindings=False):
    """All events; those under way stand above them."""

    HELP = """
# Events

What the storage driver did, the newest first: **copy-up**, the file was copied to the container
layer before it was changed; **write**, it lay there already; **new**, no layer has it;
**whiteout**, it is deleted by hiding it; **volume**, it passed the driver by. **Enter** shows where
it lies on disk. **Space** pauses while the container goes on, **← →** go frame by frame, **m** is
slow motion, **t** shows what happened when, **y** what to try, **w** records to a file.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "up", show=False, id="list.up"),
        Binding("down,j", "cursor(1)", "down", show=False, id="list.down"),
        Binding("pageup,ctrl+b", "page(-1)", "page up", show=False, id="list.page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "page down", show=False, id="list.page_down"),
        Binding("home,g", "first", "first row", show=False, id="list.first"),
        Binding("end,G", "last", "last row", show=False, id="list.last"),
        Binding("enter", "choose", "on disk", key_display="Enter", id="events.choose"),
    ]

    def __init__(
        self,
        event: Callable[[int], CowEvent],
        layers: Sequence[int],
        hues: dict[int, int | None],
        *,
        binary: bool = False,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        """Show nothing yet.

        Args:
            event: gives an event by its number.
            layers: the image's, top first.
            hues: of each layer.
            binary: sizes in KiB and MiB.
            glyphs: the signs.
            id: as for every widget.
        """
        super().__init__(glyphs=glyphs, id=id)
        self.event = event
        self.numbers = layers
        self.hues = hues
        self.binary = binary
        self.count = 0
        """How many events there are."""
        self.copying: Sequence[Copying] = ()
        self.told: int | None = None
        """The number of the event that the stack tells of."""
        self.columns = EventColumns.for_width(100)

    def show(self, count: int, copying: Sequence[Copying], told: int | None) -> None:
        """Show so many events; the cursor stays on its own, or on the newest."""
        if (count, copying, told) == (self.count, self.copying, self.told):
            return
        before, under_way = self.row_count(), len(self.copying)
        number = self.number_at(self.cursor)
        self.count, self.copying, self.told = count, list(copying), told
        if not self.cursor or number is None or not before:
            self.rows_changed()
            return
        row = len(self.copying) + count - 1 - number
        moved = row - self.cursor
        self.set_reactive(RowList.cursor, row)
        self.rows_changed()
        if moved or under_way != len(self.copying):
            # What is in sight stays where it is.
            self.scroll_to(y=round(self.scroll_y) + moved, animate=False, force=True)
        self._show_cursor()

    def rows_changed(self) -> None:
        """Fit the list to rows that came; where it scrolls already, only its scrollbar changes.

        Textual would lay the whole screen out anew, thirty times a second in a burst.
        """
        room, rows = self.scrollable_content_region, self.row_count()
        if min(self.virtual_size.height, rows) > room.height > 0:
            self.set_reactive(ScrollView.virtual_size, Size(room.width, rows))
            self.vertical_scrollbar.window_virtual_size = rows
            self.set_reactive(RowList.cursor, self.validate_cursor(self.cursor))
            self.refresh()
        else:
            super().rows_changed()

    def number_at(self, row: int) -> int | None:
        """Return the number of the event in a row; None for one under way, or none at all."""
        number = self.count - 1 - (row - len(self.copying))
        return number if 0 <= number < self.count else None

    def go_to(self, number: int) -> None:
        """Put the cursor on an event."""
        self.cursor = len(self.copying) + self.count - 1 - number

    def row_count(self) -> int:
        """How many rows there are."""
        return self.count + len(self.copying)

    def on_resize(self) -> None:
        """Choose the columns."""
        self.columns = EventColumns.for_width(self.scrollable_content_region.width)
        super().on_resize()

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint an event."""
        number = self.number_at(row)
        if number is None:
            copying = self.copying[row]
            event = CowEvent(copying.time, "copy_up", copying.path, layer=copying.layer)
            total = copying.total if self.columns.size >= 17 else None
            size = of_words(copying.done, total, self.binary)
            duration = ""
            if copying.total:
                duration = f"{100 * copying.done // copying.total} %"
            self._paint_event(line, event, back, True, size, duration)
            return
        event = self.event(number)
        told = number == self.told
        size = size_words(event, self.binary)
        self._paint_event(line, event, back, bold or told, size, duration_words(event))

    def _paint_event(
        self, line: Line, event: CowEvent, back: str, bold: bool, size: str, duration: str
    ) -> None:
        paint, columns, glyphs = self.paint, self.columns, self.glyphs
        dots = glyphs.ellipsis
        plain, quiet = paint.style("foreground", back), paint.style("muted", back)
        strong = paint.style("foreground", back, bold)
        line.add(clock(event.time, short=columns.time < 12), quiet).add("  ", plain)
        line.add(fit(kind_words(event), 9), strong).add("  ", plain)
        start = line.width
        if event.kind in FROM and not event.volume and event.layer is not None:
            hue = self.hues.get(event.layer)
            name = layer_name(event.layer)
            line.add(f" {name} " if len(name) < 3 else name, paint.chip(hue))
            if event.kind != "read":
                line.add(" " if len(name) < 4 else "", plain).add(glyphs.arrow, quiet)
        line.add(" " * max(0, start + 6 - line.width), plain)
        if event.volume:
            line.add("vol", quiet)
        elif event.kind != "read":
            line.add("W", strong)
        line.to(start + 10, plain)
        path = shown_path(event.path) if event.path or event.kind != "copy_up" else dots
        if width_of(path) > columns.path:
            path = fit_start(path, columns.path, dots)
        line.add(fit(path, columns.path), strong)
        if columns.size:
            line.add(fit(size, columns.size, dots, right=True), strong)
        if columns.duration:
            line.add("  ", plain).add(fit(duration, columns.duration, right=True), quiet)
        if columns.note:
            note = note_words(event, self.numbers)
            line.add("   ", plain).add(fit(note, columns.note, dots), quiet)
