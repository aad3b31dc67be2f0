"""What the areas' screens share: a list with a filter above, and what is known of one row below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget

from layerview.tui.widgets.chrome import AreaBar, Bare, Pane, PaneTitle, SubjectRow, fit_window
from layerview.tui.widgets.filter import FilterInput
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.list_table import ListTable
from layerview.tui.widgets.row_list import RowList
from layerview.tui.widgets.table_head import TableHead
from layerview.tui.working import TellsFailures

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


class ListScreen(TellsFailures, Screen[None], Bare):
    """Base of the areas' screens; each says what its list and the parts around it show."""

    AREA: ClassVar[str]
    """As the bar of areas has it."""

    app: LayerviewApp

    def __init__(self) -> None:
        super().__init__()
        self.needle = ""
        """What the filter lets through."""

    # What each says of its own ---------------------------------------------------------------

    def compose_table(self) -> Widget:
        """Make the list."""
        raise NotImplementedError

    def compose_details(self) -> ComposeResult:
        """Lay out what is known of one row, below its title."""
        raise NotImplementedError

    @property
    def table(self) -> Widget:
        """The list."""
        raise NotImplementedError

    def heads(self) -> Sequence[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        raise NotImplementedError

    def show_rows(self) -> None:
        """Put the rows that the filter lets through into the list."""
        raise NotImplementedError

    def show_total(self) -> None:
        """Sum up what is listed."""
        raise NotImplementedError

    def show_details(self) -> None:
        """Show what is known of the row under the cursor."""
        raise NotImplementedError

    def compose_more(self) -> ComposeResult:
        """Lay out what else stands on the screen."""
        yield from ()

    # What is the same ------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay out the list, and below it what is known of one row."""
        glyphs = self.app.glyphs
        yield AreaBar(self.AREA, glyphs=glyphs, id="areas")
        with Horizontal(id="filter-row"):
            yield FilterInput()
            yield SubjectRow(glyphs=glyphs, id="total")
        with Pane(id="list-pane"):
            yield TableHead(glyphs=glyphs, id="head")
            yield self.compose_table()
        with Pane(id="details-pane"):
            yield PaneTitle("", glyphs=glyphs, id="details-title")
            yield from self.compose_details()
        yield from self.compose_more()
        yield Keys()

    def on_resize(self, event: events.Resize) -> None:
        """Choose what there is room for."""
        fit_window(self, event.size.width, event.size.height)
        self.fill_resized()

    def fill_resized(self) -> None:
        """Fill the screen anew for a window of another size."""
        self.call_after_refresh(self.fill)

    def fill(self) -> None:
        """Show what is known now."""
        if self.is_attached:
            self.show_rows()
            self.show_heads()
            self.show_total()
            self.show_details()

    @on(ListTable.Resized)
    def show_heads(self) -> None:
        """Name the columns that there is room for."""
        self.query_one(TableHead).show_columns(self.heads())

    @on(RowList.Highlighted)
    def _moved(self, message: RowList.Highlighted) -> None:
        message.stop()
        self.show_details()

    # The filter ------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a part of what the rows say."""
        self.query_one(FilterInput).focus()

    @on(FilterInput.Changed)
    def _filter_changed(self, event: FilterInput.Changed) -> None:
        self.needle = event.value
        self.fill()

    @on(FilterInput.Ended)
    def _filter_ended(self, event: FilterInput.Ended) -> None:
        if not event.keep:
            self.end_filter()
        self.table.focus()

    def end_filter(self) -> None:
        """Let every row through again."""
        self.needle = ""
        with self.prevent(FilterInput.Changed):
            self.query_one(FilterInput).value = ""
        self.fill()
