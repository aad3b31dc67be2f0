"""The names of a table's columns over its pane's rule."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from layerview.tui.cells import Line, fit
from layerview.tui.widgets.chrome import PaneTitle


class TableHead(PaneTitle):
    """The names of the table's columns over the pane's rule."""

    columns: Sequence[tuple[str, int, bool]] = ()

    def show_columns(self, columns: Sequence[tuple[str, int, bool]]) -> None:
        """Show these columns: a label, the cells it has, and whether it stands at the right."""
        self.columns = columns
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint the labels, or the rule."""
        if y == 1:
            return super().render_line(y)
        paint = self.paint
        line = Line().add("  ", paint.style())
        for label, cells, right in self.columns:
            line.add(fit(label, cells, right=right) + "  ", paint.style("muted", bold=True))
        return line.strip(self.size.width, paint.style())
