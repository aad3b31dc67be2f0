"""A list of any number of rows, of which only those in sight are painted."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from layerview.tui.cells import Line
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.chrome import Painted
from layerview.tui.widgets.scrolling import fit_rows


class RowList(Painted, ScrollView, can_focus=True):
    """Base of long lists; a subclass says how many rows there are and paints one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "up", show=False, id="list.up"),
        Binding("down,j", "cursor(1)", "down", show=False, id="list.down"),
        Binding("pageup,ctrl+b", "page(-1)", "page up", show=False, id="list.page_up"),
        Binding("pagedown,ctrl+f,space", "page(1)", "page down", show=False, id="list.page_down"),
        Binding("home,g", "first", "first row", show=False, id="list.first"),
        Binding("end,G", "last", "last row", show=False, id="list.last"),
    ]

    DEFAULT_CSS = """
    RowList {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        height: 1fr;
    }
    """

    MARKS_UNFOCUSED: ClassVar[bool] = False
    """Whether the cursor's sign shows while the keyboard is elsewhere."""

    cursor: reactive[int] = reactive(0, repaint=False)
    """The row under the cursor."""

    class Highlighted(Message):
        """The cursor stands on another row."""

        def __init__(self, rows: RowList, row: int) -> None:
            self.rows = rows
            self.row = row
            super().__init__()

        @property
        def control(self) -> RowList:
            """The list that sent this."""
            return self.rows

    class Chosen(Highlighted):
        """A row was chosen with Enter or a second click."""

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.message: tuple[str, str] = ("", "")
        """Shown when there are no rows: a sentence, and the key that helps."""
        self.failed = False
        """Whether the sentence tells of an error."""

    def row_count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint a row behind the cursor's sign, on the background colour `back`."""
        raise NotImplementedError

    def rows_changed(self) -> None:
        """Fit the list to rows that came or went."""
        fit_rows(self, self.row_count())
        self.set_reactive(RowList.cursor, self.validate_cursor(self.cursor))
        self.refresh()

    def on_resize(self) -> None:
        """Fit the rows to the new size."""
        self.rows_changed()
        self._show_cursor()

    def on_focus(self) -> None:
        """Show the cursor's sign."""
        self.refresh()

    def on_blur(self) -> None:
        """Take the cursor's sign away."""
        self.refresh()

    def validate_cursor(self, row: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(row, self.row_count() - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint the two rows that changed."""
        if old == new:
            return
        width = self.size.width
        for row in (old, new):
            self.refresh(Region(0, row - round(self.scroll_y), width, 1))
        self._show_cursor()
        self.post_message(self.Highlighted(self, new))

    def _show_cursor(self) -> None:
        height, top = self.size.height, round(self.scroll_y)
        if not height:
            return
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        width, paint = self.scrollable_content_region.width, self.paint
        count = self.row_count()
        if not count:
            return self.paint_message(y, self.message, self.failed).strip(width, paint.style())
        row = y + round(self.scroll_y)
        if row >= count:
            return Strip.blank(width, paint.style())
        here = row == self.cursor
        back = "cursor-row" if here else "background"
        marked = here and (self.has_focus or self.MARKS_UNFOCUSED)
        sign = self.glyphs.cursor if marked else " "
        line = Line().add(sign, paint.style("foreground", back, True))
        self.paint_row(line, row, width, back, here)
        return line.strip(width, paint.style(back=back))

    def action_cursor(self, by: int) -> None:
        """Move the cursor by rows."""
        self.cursor += by

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self.cursor += by * max(1, self.size.height - 1)

    def action_first(self) -> None:
        """Go to the first row."""
        self.cursor = 0

    def action_last(self) -> None:
        """Go to the last row."""
        self.cursor = self.row_count() - 1

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if self.row_count():
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the clicked row; a click where it stands chooses it."""
        row = round(self.scroll_y) + int(event.y)
        if row >= self.row_count():
            return
        if row == self.cursor:
            self.action_choose()
        self.cursor = row
