"""The list of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from layerview.tui.image_rows import ImageColumns, RowPainter
from layerview.tui.listing import Listed
from layerview.tui.themes import Paint

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


class ImageTable(DataTable[Text]):
    """The list of images."""

    HELP = """
# Images

Images in the local storage area, in the engines that run here, and in files and folders: those
named on the command line and those opened lately; and a demo image that layerview makes from this
machine's own programs. **Enter** opens one, **o** opens a file by its name, **/** filters the list.
**r** runs containers of one, **t** starts one and shows it live, **A** shows all of its containers.
**L** loads the image of a file into the local area, **Del** removes one from there. **R** looks
again.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "open", key_display="Enter", id="images.open"),
        Binding("k", "cursor_up", "up", show=False, id="images.up"),
        Binding("j", "cursor_down", "down", show=False, id="images.down"),
        Binding("home,g", "scroll_top", "first", show=False, id="images.first"),
        Binding("end,G", "scroll_bottom", "last", show=False, id="images.last"),
    ]

    app: LayerviewApp

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            cursor_type="row",
            show_header=False,
            cell_padding=0,
            # The row under the cursor keeps its colours: its bar has two.
            cursor_foreground_priority="renderable",
        )
        self.shown: Sequence[Listed] = ()
        self.moved = False
        """Whether a person chose a line: until then the cursor stays on the first."""
        self._marked = -1
        """The row that the cursor's sign stands before."""

    @property
    def current(self) -> Listed | None:
        """The line under the cursor."""
        row = self.cursor_row
        return self.shown[row] if 0 <= row < len(self.shown) else None

    def show_lines(self, lines: Sequence[Listed], columns: ImageColumns) -> None:
        """Show these; the cursor stays on its line once a person has moved it."""
        before, row = self.current, self.cursor_row
        self.shown = lines
        painter = RowPainter(
            columns,
            Paint(self.app.theme_variables, self.app.current_theme.dark),
            self.app.glyphs,
            self.app.binary_sizes,
            max((line.size or 0 for line in lines), default=0),
        )
        self.clear(columns=True)
        self.add_column(" ", width=3)
        for label, cells, _ in columns.heads("", ""):
            self.add_column(label, width=cells + 2)
        for line in lines:
            self.add_row(*painter.cells(line))
        self._marked = -1
        if self.moved and before is not None:
            self.move_cursor(row=_same(lines, before, row), animate=False)
        self._mark_cursor(self.cursor_row)

    @on(DataTable.RowHighlighted)
    def _row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self.moved |= event.cursor_row > 0
        self._mark_cursor(event.cursor_row)

    def _mark_cursor(self, row: int) -> None:
        """Put the cursor's sign before its row, so that it shows without colour."""
        for place, sign in ((self._marked, " "), (row, self.app.glyphs.cursor)):
            if 0 <= place < self.row_count:
                self.update_cell_at(Coordinate(place, 0), Text(sign))
        self._marked = row


def _same(lines: Sequence[Listed], before: Listed, row: int) -> int:
    """Return the row of a line that was looked into anew; where it is gone, the row it had."""
    for key in (
        lambda line: (line.name, line.title, line.tag, line.place, line.location),
        lambda line: (line.name, line.title, line.place),
    ):
        wanted = key(before)
        for number, line in enumerate(lines):
            if key(line) == wanted:
                return number
    return min(row, max(0, len(lines) - 1))
