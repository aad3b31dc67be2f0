"""What happens in a container in a sentence, its totals, and what is left to be tried."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from layerview.tui.cells import Line, fit, width_of
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.live_words import Word, wrap_words
from layerview.tui.try_this import Try
from layerview.tui.widgets.chrome import Painted


class NowLines(Painted):
    """A few sentences with chips in them."""

    DEFAULT_CSS = """
    NowLines { height: 3; width: 1fr; margin: 0 1; }
    """

    def __init__(
        self, hues: dict[int, int | None], *, glyphs: Glyphs = UNICODE, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.hues = hues
        self.sentences: Sequence[Sequence[Word]] = ()
        self.failed = False

    def show(self, sentences: Sequence[Sequence[Word]], *, failed: bool = False) -> None:
        """Show sentences; what has no room is cut."""
        if (sentences, failed) != (self.sentences, self.failed):
            self.sentences, self.failed = sentences, failed
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint a line of them."""
        paint, width, height = self.paint, self.size.width, self.size.height
        lines = wrap_words(self.sentences, width)
        if len(lines) > height:
            # Sentences on lines of their own are worth less than their end.
            lines = wrap_words([_joined(self.sentences)], width)
        line = Line()
        if y < len(lines):
            for word in lines[y]:
                if word.chip is not None:
                    line.add(f" {word.text} ", paint.chip(self.hues.get(word.chip)))
                else:
                    color = "error" if self.failed else "foreground"
                    line.add(word.text, paint.style(color, bold=word.bold or self.failed))
            if y == height - 1 and len(lines) > height:
                line.add(self.glyphs.ellipsis, paint.style())
        return line.strip(width, paint.style())


def _joined(sentences: Sequence[Sequence[Word]]) -> list[Word]:
    words: list[Word] = []
    for sentence in sentences:
        if words:
            words.append(Word(" "))
        words += sentence
    return words


class Figures(Painted):
    """Totals in two columns: a word and a number each."""

    DEFAULT_CSS = """
    Figures { height: 3; width: 1fr; margin: 0 1; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.figures: Sequence[tuple[str, str]] = ()

    def show(self, figures: Sequence[tuple[str, str]]) -> None:
        """Show words with their numbers, a column after the other."""
        if figures != self.figures:
            self.figures = figures
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint a word and a number of each column."""
        paint, width = self.paint, self.size.width
        rows = max(1, (len(self.figures) + 1) // 2)
        column = (width - 5) // 2
        line = Line()
        for place in (y, y + rows):
            if y < rows and place < len(self.figures):
                words, number = self.figures[place]
                if line.width:
                    line.add(" " * 5, paint.style())
                room = column - width_of(number) - 1
                line.add(fit(words, room, self.glyphs.ellipsis), paint.style("muted"))
                line.add(" " + number, paint.style(bold=True))
        return line.strip(width, paint.style())


class TryList(Painted):
    """What to try, each with its command; done is what the driver has told of."""

    DEFAULT_CSS = """
    TryList { height: 8; width: 1fr; margin: 0 1; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.lines: Sequence[Try] = ()

    def show(self, lines: Sequence[Try]) -> None:
        """Show these."""
        if lines != self.lines:
            self.lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint a line: done or not, what, and how."""
        paint, width, glyphs = self.paint, self.size.width, self.glyphs
        line = Line()
        if y < len(self.lines):
            one = self.lines[y]
            sign, color = (glyphs.marked, "success") if one.done else (glyphs.absent, "faint")
            line.add(f"{sign} ", paint.style(color, bold=one.done))
            words = 24 if width >= 68 else 0
            if words:
                style = paint.style("muted" if one.done else "foreground")
                line.add(fit(one.words, words, glyphs.ellipsis), style)
            # A command is worth more than the words for it: without it nothing can be tried.
            text = one.command or one.words
            style = paint.style("muted" if one.done else "foreground", bold=not one.done)
            line.add(fit(text, width - line.width, glyphs.ellipsis), style)
        return line.strip(width, paint.style())
