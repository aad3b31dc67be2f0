"""The list of an area: a row for each thing in it, below a head of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from textual.message import Message

from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.row_list import RowList

Shown = TypeVar("Shown")
"""What a row shows."""


class ListTable(RowList, Generic[Shown]):
    """Base of the areas' lists: where rows come and go, the cursor stays on its own."""

    class Resized(Message):
        """There is room for other columns."""

    def __init__(
        self, *, binary: bool = False, glyphs: Glyphs = UNICODE, id: str | None = None
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self.binary = binary
        self.rows: Sequence[Shown] = ()

    def key(self, row: Shown) -> str:
        """Return what tells a row from all others."""
        raise NotImplementedError

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        raise NotImplementedError

    @property
    def current(self) -> Shown | None:
        """What is under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def row_count(self) -> int:
        """How many there are."""
        return len(self.rows)

    def show_rows(self, rows: Sequence[Shown], *, stay: bool = True) -> None:
        """Show these.

        Args:
            rows: in order.
            stay: whether the cursor stays on what it is on, wherever that goes.
        """
        before = self.current
        self.rows = rows
        at = self.find(self.key(before)) if before is not None and stay else None
        if at is not None:
            self.set_reactive(RowList.cursor, at)
        self.rows_changed()
        self._show_cursor()

    def find(self, key: str) -> int | None:
        """Return where a row is; None where it is not listed."""
        return next((at for at, row in enumerate(self.rows) if self.key(row) == key), None)

    def go_to(self, key: str) -> bool:
        """Put the cursor on a row; return whether it is listed."""
        at = self.find(key)
        if at is not None:
            self.cursor = at
        return at is not None

    def on_resize(self) -> None:
        """Let the head follow the columns."""
        self.post_message(self.Resized())
