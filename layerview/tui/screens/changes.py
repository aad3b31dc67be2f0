"""What a container changed of its image, path by path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from layerview.tui.cells import Line, fit
from layerview.tui.container_lines import ChangeLine, ContainerLine, changes_words
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.chrome import (
    AreaBar,
    Bare,
    Pane,
    PaneTitle,
    SubjectRow,
    fit_window,
    muted,
    strong,
)
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.row_list import RowList

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


class ChangeList(RowList):
    """One row for each path."""

    HELP = """
# Changes

What the container changed of its image, as `docker diff` tells it: new, changed and deleted paths.
A folder counts as changed when something in it did. Volumes do not count.
"""

    def __init__(
        self, changes: Sequence[ChangeLine], *, glyphs: Glyphs = UNICODE, id: str | None = None
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self.changes = changes
        self.message = ("Nothing changed.", "what is written in the container shows here")

    def row_count(self) -> int:
        """How many paths there are."""
        return len(self.changes)

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint a path."""
        change, paint, glyphs = self.changes[row], self.paint, self.glyphs
        sign, color, word = {
            "A": (glyphs.added, "success", "new"),
            "D": (glyphs.deleted, "error", "deleted"),
        }.get(change.kind, (glyphs.modified, "warning", "changed"))
        line.add(f"{sign} {word:<9}", paint.style(color, back))
        room = max(0, width - line.width - 1)
        line.add(fit(change.path, room, glyphs.ellipsis), paint.style("foreground", back, bold))


class ChangesScreen(Screen[None], Bare):
    """The paths that a container changed."""

    CSS_PATH = "../styles/panes.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "back", key_display="Esc", id="changes.back"),
    ]

    app: LayerviewApp

    def __init__(self, line: ContainerLine, changes: Sequence[ChangeLine]) -> None:
        super().__init__()
        self._line = line
        self._changes = changes

    def compose(self) -> ComposeResult:
        """Lay out the list."""
        glyphs = self.app.glyphs
        yield AreaBar("Containers", glyphs=glyphs)
        yield SubjectRow(glyphs=glyphs, id="subject")
        with Pane(id="changes-pane"):
            yield PaneTitle("Changes", glyphs=glyphs)
            yield ChangeList(self._changes, glyphs=glyphs, id="changes")
        yield Keys()

    def on_mount(self) -> None:
        """Say whose they are."""
        line = self._line
        name = strong(line.name)
        self.query_one(SubjectRow).show(
            [[name], [muted(line.short_id)], [muted("from "), strong(line.image)]]
        )
        self.query_one(AreaBar).show(("local", line.driver), [name])
        self.query_one(PaneTitle).show(right=[muted(changes_words(self._changes))])
        self.query_one(ChangeList).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Leave out blank rows in a small window."""
        fit_window(self, event.size.width, event.size.height)
