"""The list of the Disk screen: who has the bytes, and the files they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.bars import share_of
from layerview.tui.cells import Line, fit, fit_start
from layerview.tui.disk_rows import Row
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.list_table import ListTable
from layerview.tui.widgets.row_list import RowList

_MARK, _CHIP, _TYPE, _SIZE, _SHARE, _ENTRIES = 2, 4, 10, 9, 5, 9


@dataclass(frozen=True, slots=True)
class DiskColumns:
    """The columns that a list has room for; 0 cells: not shown."""

    name: int
    type: int
    grown: int
    bar: int
    frees: int
    entries: int
    note: int

    @classmethod
    def for_list(
        cls, width: int, *, files: bool, owners: bool, chips: bool, grown: bool
    ) -> DiskColumns:
        """Choose them.

        Args:
            width: cells of the list.
            files: whether its rows are files.
            owners: whether they are those who have the bytes, which can be deleted.
            chips: whether they are layers, with a number each.
            grown: whether one of them grew.
        """
        wide = width >= 90
        kind = 0 if files else _TYPE
        entries = _ENTRIES if files and width >= 60 else 0
        growth = _SIZE if grown else 0
        bar = 16 if width >= 130 else 13 if wide else 8 if not grown else 0
        frees = _SIZE if owners and wide else 0
        taken = 1 + _MARK + (_CHIP if chips else 0) + _SIZE + _SHARE + 4
        taken += sum(cells + 2 for cells in (kind, growth, bar, frees, entries) if cells)
        spare = width - taken - 1
        if files or not wide or spare < 40:
            return cls(max(8, spare), kind, growth, bar, frees, entries, 0)
        name = max(18, min(44, spare // 2))
        return cls(name, kind, growth, bar, frees, entries, spare - name - 2)


class DiskTable(ListTable[Row]):
    """Owners of bytes, their parts, or files: the largest first."""

    HELP = """
# Disk

Who has the bytes of a storage area or of a Docker data root: all that lies there is in exactly
one row. An image has what no other has; what several have stands together as *shared layers*.
**Enter** goes in, to layers and files, **Backspace** goes out. The bright part of a bar is what
deleting frees. **▲** marks folders that nothing refers to, **~** what grew while you looked.
**p** shows another root, **R** reads again, **Esc** stops the reading.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,l", "choose", "go in", key_display="Enter", id="disk.in"),
        Binding("backspace,h", "screen.out", "out", key_display="Bksp", id="disk.out"),
        # In place of scrolling sideways.
        Binding("right", "choose", "go in", show=False, id="disk.right"),
        Binding("left", "screen.out", "out", show=False, id="disk.left"),
    ]

    def __init__(
        self, *, binary: bool = False, glyphs: Glyphs = UNICODE, id: str | None = None
    ) -> None:
        super().__init__(binary=binary, glyphs=glyphs, id=id)
        self.sort = ""
        """By what the rows are sorted."""
        self.whole = 0
        """Bytes of all rows together."""
        self.hues: Mapping[str, int | None] = {}
        """By ChainID."""
        self._files = self._owners = False
        self._moved = False

    def show(
        self,
        rows: Sequence[Row],
        sort: str,
        whole: int,
        hues: Mapping[str, int | None],
        *,
        files: bool,
        owners: bool,
    ) -> None:
        """Show these; the cursor stays on its row once a person has moved it.

        Args:
            rows: in order.
            sort: which order that is.
            whole: bytes of which the rows have their shares.
            hues: of layers, by ChainID.
            files: whether the rows are files.
            owners: whether they are those who have the bytes.
        """
        self.sort, self.whole, self.hues = sort, whole, hues
        self._files, self._owners = files, owners
        self.show_rows(rows, stay=self._moved)

    def begin(self, key: str = "") -> None:
        """Begin another list: with the cursor on a row, or on the first."""
        at = self.find(key) or 0
        self._moved = bool(key)
        self.set_reactive(RowList.cursor, at)
        self.rows_changed()
        self.scroll_to(y=max(0, at - self.size.height // 2), animate=False, force=True)

    def watch_cursor(self, old: int, new: int) -> None:
        """Stay with a row that a person chose."""
        self._moved = self._moved or old != new
        super().watch_cursor(old, new)

    def key(self, row: Row) -> str:
        """Return the key of a row."""
        return row.key

    @property
    def columns(self) -> DiskColumns:
        """The columns that there is room for."""
        return DiskColumns.for_list(
            self.scrollable_content_region.width,
            files=self._files,
            owners=self._owners,
            chips=self._chips,
            grown=any(row.grown for row in self.rows),
        )

    @property
    def _chips(self) -> bool:
        return not self._files and any(row.layer or row.writable for row in self.rows)

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        columns, sort, down = self.columns, self.sort, f" {self.glyphs.down}"
        cells = columns.name + (_CHIP if self._chips else 0)
        first = "File" if self._files else "Owner" if self._owners else "Part"
        heads = [(first + (down if sort == "name" else ""), cells, False)]
        if columns.type:
            heads.append(("Type" + (down if sort == "type" else ""), columns.type, False))
        heads.append(("Size" + (down if sort == "size" else ""), _SIZE, True))
        if columns.grown:
            heads.append(("Grown", columns.grown, True))
        if columns.bar:
            heads.append(("", columns.bar, False))
        heads.append(("Share", _SHARE, True))
        if columns.frees:
            heads.append(("Frees", columns.frees, True))
        if columns.entries:
            heads.append(("Entries", columns.entries, True))
        if columns.note:
            heads.append(("Whose" if not self._owners else "", columns.note, False))
        return heads

    # Painting --------------------------------------------------------------------------------

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint a row."""
        paint, shown, dots = self.paint, self.rows[row], self.glyphs.ellipsis
        columns = self.columns
        plain, quiet = paint.style("foreground", back), paint.style("muted", back)
        mark, color = self._mark(shown)
        line.add(fit(mark, _MARK), paint.style(color, back, True))
        if shown.problem:
            room = width - line.width - 1
            line.add(fit(printable(shown.name), room, dots), paint.style("error", back))
            return
        if self._chips:
            self._paint_chip(line, shown, back)
        front = "warning" if shown.warning else "foreground"
        name = printable(shown.name) + ("/" if self._files and shown.opens else "")
        strong = self._owners or bold
        cut = fit(fit_start(name, columns.name, dots) if self._files else name, columns.name, dots)
        line.add(cut, paint.style("muted" if shown.apart else front, back, strong))
        line.add("  ", plain)
        if columns.type:
            line.add(fit(shown.type, columns.type, dots), quiet).add("  ", plain)
        if shown.bytes is None:
            line.add(fit(dots, _SIZE, right=True), paint.style("faint", back))
        else:
            front = "faint" if not shown.bytes else "muted" if shown.apart else "foreground"
            line.add(self._in_cells(shown.bytes), paint.style(front, back, not shown.apart))
        if columns.grown:
            text = f"+{format_size(shown.grown, binary=self.binary)}" if shown.grown > 0 else ""
            if shown.grown < 0:
                text = f"{self.glyphs.deleted}{format_size(-shown.grown, binary=self.binary)}"
            words = fit(text, columns.grown, dots, right=True)
            line.add("  ", plain).add(words, paint.style("warning", back))
        if columns.bar:
            line.add("  ", plain)
            self._paint_bar(line, shown, columns.bar, back)
        line.add("  ", plain).add(self._share(shown), quiet)
        if columns.frees:
            known = "" if shown.frees is None else self._in_cells(shown.frees)
            front = "faint" if shown.frees == 0 else "foreground"
            line.add("  ", plain).add(fit(known, columns.frees), paint.style(front, back))
        if columns.entries:
            count = f"{shown.entries:,}" if shown.opens or shown.key == "rest" else ""
            line.add("  ", plain).add(fit(count, columns.entries, dots, right=True), quiet)
        if columns.note:
            line.add("  ", plain).add(fit(printable(shown.note), columns.note, dots), quiet)

    def _mark(self, row: Row) -> tuple[str, str]:
        """Return the sign before a row, and its colour."""
        if row.problem:
            return self.glyphs.waste, "error"
        if row.warning:
            return self.glyphs.waste, "warning"
        if row.grown:
            return self.glyphs.modified, "warning"
        return ("", "muted") if row.whole else (self.glyphs.unknown, "muted")

    def _paint_chip(self, line: Line, row: Row, back: str) -> None:
        paint = self.paint
        if row.layer is not None:
            number, chain_id = row.layer
            line.add(fit(f" {number}", 3), paint.chip(self.hues.get(chain_id)))
        elif row.writable:
            line.add(" W ", paint.writable_chip())
        else:
            line.add("   ", paint.style(back=back))
        line.add(" ", paint.style(back=back))

    def _paint_bar(self, line: Line, row: Row, width: int, back: str) -> None:
        """Paint a row's share of its list: a layer's in its hue, else what is freed bright."""
        paint, glyphs = self.paint, self.glyphs
        size = 0 if row.apart else row.bytes or 0
        share = share_of(size, self.whole)
        halves = max(1, round(share * width * 2)) if size else 0
        cells = (halves + 1) // 2
        bright = cells
        if row.frees is not None and row.frees < size:
            bright = min(cells, round(share_of(row.frees, self.whole) * width))
        signs = glyphs.bar * cells
        if halves % 2:
            signs = signs[:-1] + glyphs.bar_half
        color = "foreground"
        if row.layer is not None:
            color = paint.layer(self.hues.get(row.layer[1]))
        line.add(signs[:bright], paint.style(color, back))
        line.add(signs[bright:], paint.style("faint", back))
        line.add(glyphs.track * (width - cells), paint.style("track", back))

    def _share(self, row: Row) -> str:
        if row.apart or row.bytes is None:
            return " " * _SHARE
        share = 100 * share_of(row.bytes, self.whole)
        words = "0 %" if not row.bytes else "<1 %" if share < 0.95 else f"{share:.0f} %"
        return fit(words, _SHARE, right=True)

    def _in_cells(self, size: int) -> str:
        return fit(format_size(size, binary=self.binary), _SIZE, self.glyphs.ellipsis, right=True)
