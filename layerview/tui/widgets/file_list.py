"""The list of a file dialog: folders, archives and files beside a path that is typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.cells import Line, fit
from layerview.tui.file_rows import FileKind, FileRow
from layerview.tui.widgets.row_list import RowList

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp

_NOTE = 17
"""Cells for what stands at the right: a size, or what it is."""
_NOTES = {
    FileKind.THIS: "this folder",
    FileKind.UP: "the folder above",
    FileKind.LAYOUT: "OCI layout",
}


class FileList(RowList, can_focus=False):
    """A folder's entries; the keyboard stays with the path beside it."""

    MARKS_UNFOCUSED: ClassVar[bool] = True

    rows: Sequence[FileRow] = ()

    def show_rows(self, rows: Sequence[FileRow], cursor: int) -> None:
        """Show these rows."""
        self.rows = rows
        self.cursor = 0
        self.rows_changed()
        self.cursor = cursor

    @property
    def current(self) -> FileRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint what a folder holds: a sign before folders, the size of files."""
        entry, paint, glyphs = self.rows[row], self.paint, self.glyphs
        opens = entry.kind in (FileKind.FOLDER, FileKind.UP)
        name, note = printable(entry.name), _NOTES.get(entry.kind, "")
        if entry.size is not None:
            binary = cast("LayerviewApp", self.app).binary_sizes
            note = format_size(entry.size, binary=binary)
        color = "faint" if entry.kind is FileKind.FILE else "foreground"
        line.add(f" {glyphs.closed if opens else ' '} ", paint.style("muted", back))
        room = max(8, width - line.width - _NOTE - 2)
        line.add(fit(name, room, glyphs.ellipsis), paint.style(color, back, bold))
        line.add(fit(note, _NOTE, right=True) + " ", paint.style("muted", back))
