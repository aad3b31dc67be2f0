"""A line whose pieces may be put anywhere, the later ones over the earlier."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from layerview.tui.cells import width_of


class CanvasLine:
    """One line of cells."""

    __slots__ = ("_cells", "_fill", "width")

    def __init__(self, width: int, fill: Style) -> None:
        self.width = width
        self._fill = fill
        self._cells: list[tuple[str, Style]] = [(" ", fill)] * width

    def put(self, column: int, text: str, style: Style) -> int:
        """Put a text at a column; what has no room is cut. Return the column after it."""
        cells = self._cells
        for sign in text:
            wide = width_of(sign)
            if not wide:
                continue
            if column + wide > self.width:
                break
            if column >= 0:
                self._free(column)
                cells[column] = (sign, style)
                if wide == 2:
                    self._free(column + 1)
                    cells[column + 1] = ("", style)
            column += wide
        return column

    def _free(self, column: int) -> None:
        """Take a wide sign away of which one half is covered."""
        cells = self._cells
        if cells[column][0] == "" and column:
            cells[column - 1] = (" ", cells[column - 1][1])
        if column + 1 < self.width and cells[column + 1][0] == "" and cells[column][0] != "":
            cells[column + 1] = (" ", cells[column + 1][1])

    def strip(self) -> Strip:
        """Return the line."""
        segments: list[Segment] = []
        text, style = "", self._fill
        for sign, own in self._cells:
            if own is not style and own != style:
                if text:
                    segments.append(Segment(text, style))
                text, style = "", own
            text += sign
        if text:
            segments.append(Segment(text, style))
        return Strip(segments, self.width)
