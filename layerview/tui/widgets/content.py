"""A file's content: text or hex, scrolled like less."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.scroll_view import ScrollView
from textual.strip import Strip

from layerview.text import decode, printable
from layerview.tui.cells import Line, fit, width_of, wrap
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.widgets.chrome import Painted
from layerview.tui.widgets.scrolling import fit_rows

WIDE_HEX = 78
"""Columns from which on a row of bytes has sixteen, not eight."""


def looks_binary(data: bytes) -> bool:
    """Whether content is better shown as hex: it has NUL bytes, or many control characters."""
    sample = data[:8192]
    if b"\0" in sample:
        return True
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b\b" for byte in sample)
    return control * 20 > len(sample)


def split_lines(data: bytes) -> list[bytes]:
    """Split text at newlines; the newline at the end makes no line of its own."""
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines


def safe_text(line: bytes) -> str:
    """Return a line of text with tabs as blanks and control characters escaped."""
    text = decode(line.rstrip(b"\r"))
    if "\t" in text:
        text = text.expandtabs(8)
    return printable(text)


class ContentView(Painted, ScrollView, can_focus=True):
    """The content of one file, or a few lines about something that has none."""

    HELP = """
# Content

The file as its layer has it. Control characters are shown escaped. Arrow keys, Page Up and
Page Down, Home and End scroll; **b** changes between text and bytes; **x** extracts the file.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "scroll_up", "up", show=False, id="content.up"),
        Binding("j", "scroll_down", "down", show=False, id="content.down"),
        Binding("g", "scroll_home", "start", show=False, id="content.start"),
        Binding("G", "scroll_end", "end", show=False, id="content.end"),
        Binding("left,h", "sideways(-8)", "left", show=False, id="content.left"),
        Binding("right", "sideways(8)", "right", show=False, id="content.right"),
        Binding("space", "page_down", "page down", show=False, id="content.page_down"),
    ]

    DEFAULT_CSS = """
    ContentView {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.data = b""
        self.total = 0
        self.hex = False
        self._lines: list[bytes] = []
        self._notes: list[tuple[str, str]] = []
        self._left = 0

    # What it shows ---------------------------------------------------------------------------

    def show(
        self, data: bytes, lines: list[bytes], total: int, *, as_hex: bool, keep: bool = False
    ) -> None:
        """Show content.

        Args:
            data: the bytes that were read, from the file's start.
            lines: the same split into lines.
            total: how many bytes the file has.
            as_hex: show bytes, not text.
            keep: stay where the view is scrolled to.
        """
        self.data, self.total, self.hex = data, total, as_hex
        self._lines = lines
        self._notes = []
        self._relayout(keep)

    def show_notes(self, *notes: tuple[str, str]) -> None:
        """Show lines of words instead of content: each a text and a theme variable."""
        self.data, self._lines, self.total = b"", [], 0
        self._notes = list(notes)
        self._relayout(False)

    def set_hex(self, as_hex: bool) -> None:
        """Change between bytes and text."""
        if as_hex != self.hex and not self._notes:
            self.hex = as_hex
            self._relayout(False)

    def _relayout(self, keep: bool) -> None:
        if not keep:
            self._left = 0
            self.scroll_to(y=0, animate=False)
        fit_rows(self, self._row_count())
        self.refresh()

    def _row_count(self) -> int:
        if self._notes:
            return len(self._note_rows())
        rows = -(-len(self.data) // self._hex_bytes) if self.hex else len(self._lines)
        return rows + (self.total > len(self.data))

    @property
    def _hex_bytes(self) -> int:
        return 16 if self.scrollable_content_region.width >= WIDE_HEX else 8

    def _note_rows(self) -> list[tuple[str, str]]:
        width = max(10, self.scrollable_content_region.width - 1)
        return [
            (line, color)
            for text, color in self._notes
            for line in (wrap(text, width) if "   " not in text else [text])
        ]

    def on_resize(self) -> None:
        """Fit the rows to the new size."""
        fit_rows(self, self._row_count())

    # Painting --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Paint one row."""
        width = self.scrollable_content_region.width
        paint = self.paint
        blank = paint.style()
        row = y + round(self.scroll_y)
        line = Line().add(" ", blank)
        if self._notes:
            rows = self._note_rows()
            if row < len(rows):
                text, color = rows[row]
                line.add(
                    fit(text, min(width, width_of(text)), self.glyphs.ellipsis), paint.style(color)
                )
            return line.strip(width, blank)
        if row >= self._row_count():
            return Strip.blank(width, blank)
        if row == self._row_count() - 1 and self.total > len(self.data):
            left = self.total - len(self.data)
            line.add(
                f"{self.glyphs.ellipsis} {left:,} bytes more; x extracts the file",
                paint.style("muted"),
            )
            return line.strip(width, blank)
        if self.hex:
            self._paint_hex(line, row)
        else:
            gutter = max(3, len(str(len(self._lines))))
            line.add(f"{row + 1:>{gutter}}  ", paint.style("faint"))
            raw = self._lines[row]
            # A line may be a megabyte long; only what can be seen is decoded.
            text = safe_text(raw[: (self._left + width) * 4])
            room = width - line.width
            if self._left:
                text = text[self._left :]
            line.add(fit(text, min(room, width_of(text)), self.glyphs.ellipsis), blank)
        return line.strip(width, blank)

    def _paint_hex(self, line: Line, row: int) -> None:
        paint = self.paint
        count = self._hex_bytes
        chunk = self.data[row * count : (row + 1) * count]
        line.add(f"{row * count:08x}  ", paint.style("faint"))
        digits = " ".join(f"{byte:02x}" for byte in chunk)
        line.add(f"{digits:<{count * 3 - 1}}  ", paint.style())
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in chunk)
        line.add(text, paint.style("muted"))

    # Keys ------------------------------------------------------------------------------------

    def action_sideways(self, by: int) -> None:
        """Move long lines to the left or right."""
        if not self.hex:
            self._left = max(0, self._left + by)
            self.refresh()
