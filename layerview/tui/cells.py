"""Text cut and padded to a number of terminal cells."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip


def width_of(text: str) -> int:
    """The number of cells that a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, ellipsis: str = "…", right: bool = False) -> str:
    """Cut (with an ellipsis at the end) or pad a text to exactly `width` cells."""
    if width <= 0:
        return ""
    length = width_of(text)
    if length > width:
        if width <= len(ellipsis):
            return set_cell_size(text, width)
        return set_cell_size(text, width - len(ellipsis)) + ellipsis
    pad = " " * (width - length)
    return pad + text if right else text + pad


def fit_start(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a text at its start, so that its end (a file's name) stays to be seen."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - len(ellipsis):
        text = text[1:]
    return ellipsis + text


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` cells at spaces, long words anywhere."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and width_of(line) + 1 + width_of(word) <= width:
            line += " " + word
            continue
        if line:
            lines.append(line)
        while width_of(word) > width:
            head = set_cell_size(word, width).rstrip() or word[0]
            lines.append(head)
            word = word[len(head) :]
        line = word
    if line:
        lines.append(line)
    return lines or [""]


class Line:
    """Builds one line out of styled pieces and knows how wide it is."""

    __slots__ = ("segments", "width")

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.width = 0

    def add(self, text: str, style: Style) -> Line:
        """Put a piece at the end."""
        if text:
            self.segments.append(Segment(text, style))
            self.width += width_of(text)
        return self

    def to(self, column: int, style: Style) -> Line:
        """Fill with blanks up to a column."""
        return self.add(" " * (column - self.width), style)

    def strip(self, width: int, fill: Style) -> Strip:
        """Return the line as a strip of exactly `width` cells."""
        return Strip(self.segments, self.width).adjust_cell_length(width, fill)
