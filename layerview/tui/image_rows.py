"""The rows of the list of images: which columns there is room for, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import set_cell_size
from rich.style import Style
from rich.text import Text

from layerview.sizes import format_size
from layerview.tui.bars import share_of
from layerview.tui.cells import fit
from layerview.tui.glyphs import Glyphs
from layerview.tui.listing import DEMO, Listed
from layerview.tui.themes import Paint

_BAR = 13
_KIND = 7
"""Cells of the word that says what kind of place it is."""

_LEAST_PLACE = 15
"""Cells in which a storage driver's name is not cut."""


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """The columns that a window has room for."""

    name: int
    """Cells of the image's name."""
    place: int
    """Cells of where it lies."""
    full: bool
    """Whether ID, layers and shared size are shown."""
    bar: bool

    @classmethod
    def for_width(cls, width: int) -> ImageColumns:
        """Choose them for a window's width."""
        full, wide = width >= 100, width >= 110
        taken = 12 + 11 + 11 + (14 + 8 + 11 if full else 0) + (_BAR + 2 if wide else 0)
        spare = max(24, width - 2 - 3 - taken - 1)
        name = max(14, min(40, spare // 2, spare - 2 - _LEAST_PLACE))
        return cls(name, max(10, spare - name - 2), full, wide)

    def heads(self, sorted_by: str, down: str) -> list[tuple[str, int, bool]]:
        """Return each column's label, its cells, and whether it stands at the right."""
        heads = [
            ("Image" + (f" {down}" if sorted_by == "name" else ""), self.name, False),
            ("Tag", 10, False),
        ]
        if self.full:
            heads += [("Image ID", 12, False), ("Layers", 6, True)]
        heads += [
            ("Size" + (f" {down}" if sorted_by == "size" else ""), 9, True),
            ("Unique", 9, True),
        ]
        if self.full:
            heads.append(("Shared", 9, True))
        if self.bar:
            heads.append(("", _BAR, False))
        return [*heads, ("Place", self.place, False)]


@dataclass(frozen=True, slots=True)
class RowPainter:
    """Paints the cells of a row; without background, so that the table's cursor shows through."""

    columns: ImageColumns
    paint: Paint
    glyphs: Glyphs
    binary: bool
    largest: int
    """The size that fills the bar."""

    def cells(self, line: Listed) -> list[Text]:
        """Return a row's cells, the cursor's first."""
        columns, ellipsis = self.columns, self.glyphs.ellipsis
        if line.error:
            return self._failed(line)
        name_color = "muted" if line.asking else "foreground"
        cells = [
            Text(" "),
            self._cell(fit(line.title, columns.name, ellipsis), name_color, bold=True),
            self._cell(fit(line.tag, 10, ellipsis)),
        ]
        if columns.full:
            layers = "" if line.layers is None else str(len(line.layers))
            cells += [self._cell(line.image_id, "muted"), self._right(layers, 6)]
        cells += [self._size(line, line.size, bold=True), self._size(line, line.unique)]
        if columns.full:
            known = line.size is not None and line.unique is not None
            shared = (line.size or 0) - (line.unique or 0) if known else None
            cells.append(self._size(line, shared))
        if columns.bar:
            cells.append(self._bar(line))
        cells.append(self._place(line))
        return cells

    def _failed(self, line: Listed) -> list[Text]:
        """Why a place or file can't be listed, across the columns that would be empty."""
        widths = [cells + 2 for _, cells, _ in self.columns.heads("", "")[1:-1]]
        sign, ellipsis = self.glyphs.waste, self.glyphs.ellipsis
        words = fit(f"{sign} {_without_address(line)}", sum(widths) - 2, ellipsis) + "  "
        cells = [
            Text(" "),
            self._cell(fit(line.title, self.columns.name, ellipsis), bold=True),
        ]
        for width in widths:
            piece = set_cell_size(words, width)
            cells.append(self._cell(piece, "error"))
            words = words[len(piece) :]
        return [*cells, self._place(line)]

    def _cell(self, text: str, color: str = "foreground", bold: bool = False) -> Text:
        return Text(text, style=Style(color=self.paint.color(color), bold=bold))

    def _right(self, text: str, width: int, color: str = "foreground", bold: bool = False) -> Text:
        return self._cell(fit(text, width, self.glyphs.ellipsis, right=True), color, bold)

    def _size(self, line: Listed, size: int | None, bold: bool = False) -> Text:
        if size is None:
            text = "" if line.name == DEMO else self.glyphs.ellipsis
            return self._right(text, 9, "faint")
        text = format_size(size, binary=self.binary)
        return self._right(text, 9, "faint" if size == 0 else "foreground", bold)

    def _bar(self, line: Listed) -> Text:
        glyphs, paint = self.glyphs, self.paint
        if line.size is None or line.unique is None:
            return Text("")
        halves = 2 * _BAR
        whole = round(share_of(line.size, self.largest) * halves)
        unique = round(share_of(line.unique, self.largest) * halves)
        bar = Text()
        full = unique // 2
        bar.append(glyphs.bar * full, style=paint.color("foreground"))
        rest = (whole + 1) // 2 - full
        if rest:
            signs = glyphs.bar * rest
            if whole % 2:
                signs = signs[:-1] + glyphs.bar_half
            color = "faint" if unique < whole else "foreground"
            bar.append(signs, style=paint.color(color))
        bar.append(glyphs.track * (_BAR - (whole + 1) // 2), style=paint.color("track"))
        return bar

    def _place(self, line: Listed) -> Text:
        width, ellipsis = self.columns.place, self.glyphs.ellipsis
        where = "asking" if line.asking else line.location
        return Text.assemble(
            self._cell(f"{line.place:<{_KIND}}" if line.place else ""),
            self._cell(fit(where, width - _KIND, ellipsis), "muted"),
        )


def _without_address(line: Listed) -> str:
    """Return why a line has failed without its address, which stands in another column."""
    after = line.error.partition(line.location)[2] if line.location else ""
    return after.partition(": ")[2] or line.error
