"""What frames every screen: the area bar, the subject row, a pane and its title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import events
from textual.containers import Container, Vertical
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from layerview.tui.cells import Line, fit, width_of, wrap
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.themes import Paint

Piece = tuple[str, str, bool]
"""A text, the theme variable of its colour, and whether it is bold."""

Chip = tuple[str, int | None]
"""A layer's number and its hue."""


def plain(text: str) -> Piece:
    """A piece in the ordinary colour."""
    return text, "foreground", False


def strong(text: str, color: str = "foreground") -> Piece:
    """A bold piece."""
    return text, color, True


def muted(text: str) -> Piece:
    """A quiet piece."""
    return text, "muted", False


def pieces_width(pieces: Sequence[Piece]) -> int:
    """The cells that pieces take together."""
    return sum(width_of(text) for text, _, _ in pieces)


class Painted(Widget):
    """A widget that paints its own lines in the theme's colours."""

    _paint: Paint | None = None

    @property
    def paint(self) -> Paint:
        """The colours of the theme in use."""
        if self._paint is None:
            self._paint = Paint(self.app.theme_variables, self.app.current_theme.dark)
        return self._paint

    def notify_style_update(self) -> None:
        """Forget the colours of the theme before."""
        super().notify_style_update()
        self._paint = None

    def paint_message(self, y: int, message: tuple[str, str], failed: bool) -> Line:
        """Paint a line of what stands where there are no rows: a sentence, and a hint below."""
        paint, width = self.paint, self.scrollable_content_region.width
        sentence, hint = message
        lines = wrap(sentence, max(8, width - 2))
        line = Line().add(" ", paint.style())
        if y < len(lines):
            line.add(lines[y], paint.style("error" if failed else "foreground", bold=True))
        elif y == len(lines):
            line.add(hint, paint.style("muted"))
        return line


class AreaBar(Painted):
    """The first row: the program, its areas, and where the image lies."""

    DEFAULT_CSS = """
    AreaBar { dock: top; height: 1; width: 1fr; }
    """

    AREAS: ClassVar[tuple[str, ...]] = ("Images", "Containers", "Disk", "Volumes")

    compact: reactive[bool] = reactive(False)
    """A small window: the image's name and sizes stand in this row too."""

    class Chosen(Message):
        """An area was clicked."""

        def __init__(self, area: str) -> None:
            self.area = area
            super().__init__()

    def __init__(
        self, area: str = "Images", *, glyphs: Glyphs = UNICODE, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.area = area
        self.place: tuple[str, ...] = ()
        self.subject: Sequence[Piece] = ()
        """In a small window the image's name and sizes stand here."""

    def show(self, place: Sequence[str], subject: Sequence[Piece] = ()) -> None:
        """Show where the image lies, and (when compact) what it is."""
        if (tuple(place), subject) != (self.place, self.subject):
            self.place = tuple(place)
            self.subject = subject
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint the bar."""
        paint, width = self.paint, self.size.width
        fill = paint.style(back="panel")
        quiet = paint.style("muted", "panel")
        line = Line()
        if self.compact:
            line.add(" ", fill).add("layerview", paint.style(back="panel", bold=True))
            line.add("  " + self.area, quiet)
            place = " ".join(self.place)
            room = width - 1 - line.width
            if self.subject:
                line.add(f" {self.glyphs.closed} ", quiet)
                room = width - 1 - line.width
                for text, color, bold in self.subject:
                    if width_of(text) > room:
                        if room > 8:
                            cut = fit(text, room, self.glyphs.ellipsis)
                            line.add(cut, paint.style(color, "panel", bold))
                            room -= width_of(cut)
                        break
                    line.add(text, paint.style(color, "panel", bold))
                    room -= width_of(text)
            if width_of(place) + 2 <= room:
                line.to(width - 1 - width_of(place), fill).add(place, quiet)
            return line.strip(width, fill)
        line.add("  ", fill).add("layerview", paint.style(back="panel", bold=True)).add("   ", fill)
        for area in self.AREAS:
            style = paint.style("background", "foreground", True) if area == self.area else quiet
            line.add(f" {area} ", style).add(" ", fill)
        place = "   ".join(self.place)
        line.to(max(line.width + 2, width - 2 - width_of(place)), fill).add(place, quiet)
        return line.strip(width, fill)

    def on_click(self, event: events.Click) -> None:
        """Go to the area under the pointer."""
        at = event.get_content_offset(self)
        if at is None or self.compact:
            return
        start = len("  layerview   ")
        for area in self.AREAS:
            end = start + len(area) + 2
            if start <= at.x < end:
                self.post_message(self.Chosen(area))
            start = end + 1


class SubjectRow(Painted):
    """The row that says what the screen is about."""

    DEFAULT_CSS = """
    SubjectRow { height: 1; margin: 1 0; padding: 0 2; width: 1fr; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.groups: Sequence[Sequence[Piece]] = ()
        self.right: Sequence[Piece] = ()

    def show(self, groups: Sequence[Sequence[Piece]], right: Sequence[Piece] = ()) -> None:
        """Show groups of pieces from the left, the least important last, and some at the right."""
        if (groups, right) != (self.groups, self.right):
            self.groups = groups
            self.right = right
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint the row; groups that find no room are left out."""
        paint, width = self.paint, self.size.width
        fill = paint.style()
        line = Line()
        right = self.right
        right_width = pieces_width(right)
        left_width = sum(pieces_width(group) for group in self.groups)
        if left_width + 4 * len(self.groups) + right_width > width:
            right = ()
            right_width = 0
        for number, group in enumerate(self.groups):
            gap = 0 if number == 0 else (3 if number == 1 else 4)
            if line.width + gap + pieces_width(group) > width:
                if number:
                    break
                text, color, bold = group[0]
                line.add(fit(text, width, self.glyphs.ellipsis), paint.style(color, bold=bold))
                break
            line.to(line.width + gap, fill)
            for text, color, bold in group:
                line.add(text, paint.style(color, bold=bold))
        if right:
            line.to(width - right_width, fill)
            for text, color, bold in right:
                line.add(text, paint.style(color, bold=bold))
        return line.strip(width, fill)


class PaneTitle(Painted):
    """A pane's title with the rule under it (beside it in a small window)."""

    DEFAULT_CSS = """
    PaneTitle { height: 2; width: 1fr; margin: 0 1; }
    """

    compact: reactive[bool] = reactive(False)
    """A small window: the rule stands beside the title, not under it."""

    def __init__(self, title: str = "", *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id, classes="title")
        self.glyphs = glyphs
        self.title = title
        self.chip: Chip | None = None
        self.name_after = ""
        self.right: Sequence[Piece] = ()
        self.active = False

    def show(
        self,
        title: str | None = None,
        right: Sequence[Piece] | None = None,
        *,
        chip: Chip | None = None,
        name: str = "",
    ) -> None:
        """Set the title, an optional chip with a name, and what stands at the right."""
        if title is not None:
            self.title = title
        if right is not None:
            self.right = right
        self.chip = chip
        self.name_after = name
        self.refresh()

    def set_active(self, active: bool) -> None:
        """Say whether the focus is in the pane."""
        if active != self.active:
            self.active = active
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint the title, or the rule."""
        paint, width, glyphs = self.paint, self.size.width, self.glyphs
        fill = paint.style()
        rule_style = paint.style("foreground" if self.active else "line", bold=False)
        rule = glyphs.heavy_rule if self.active else glyphs.rule
        if y == 1:
            return Line().add(rule * width, rule_style).strip(width, fill)
        line = Line()
        right = list(self.right)
        taken = width_of(self.title) + (8 if self.chip else 2) + (4 if self.name_after else 0)
        while len(right) > 1 and pieces_width(right) > width - taken:
            right.pop()
        if right and pieces_width(right) > width - taken:
            text, color, bold = right[0]
            right[0] = (fit(text, max(0, width - taken), glyphs.ellipsis), color, bold)
        right_width = pieces_width(right)
        title_style = paint.style("foreground" if self.active else "muted", bold=True)
        if self.title:
            line.add(self.title, title_style)
        if self.chip is not None:
            if self.title:
                line.add("  ", fill)
            line.add(f" {self.chip[0]} ", paint.chip(self.chip[1])).add(" ", fill)
        if self.title and self.name_after and self.chip is None:
            line.add("  ", fill)
        if self.name_after:
            room = width - line.width - right_width - 2
            name = fit(self.name_after, min(room, width_of(self.name_after)), glyphs.ellipsis)
            bold = not self.title
            line.add(name, paint.style("foreground" if self.active or bold else "muted", bold=bold))
        if self.compact and width - right_width - line.width > 3:
            line.add(" ", fill)
            line.add(rule * (width - right_width - line.width - (1 if right else 0)), rule_style)
        line.to(width - right_width, fill)
        for text, color, bold in right:
            line.add(text, paint.style(color, bold=bold))
        return line.strip(width, fill)


class Bare(Widget):
    """A container that paints nothing of its own: all its lines are the same blank one.

    A screen names it last among its bases: styles follow the first, and they would not be a
    screen's, which lets nothing below it show through.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Paint one line and repeat it; Textual would style each anew."""
        line = Region(crop.x, crop.y, crop.width, min(1, crop.height))
        return super().render_lines(line) * crop.height


class Column(Bare, Vertical):
    """Widgets one above the other."""


class Pane(Bare, Vertical):
    """A title with a rule, and what stands below; the rule is heavy while the focus is inside."""

    DEFAULT_CSS = """
    Pane { height: 1fr; width: 1fr; }
    """

    def _title(self) -> PaneTitle | None:
        return next((child for child in self.children if isinstance(child, PaneTitle)), None)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Make the rule heavy."""
        title = self._title()
        if title is not None:
            title.set_active(True)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """Make the rule thin."""
        title = self._title()
        if title is not None:
            title.set_active(False)


class Panes(Bare, Container):
    """Holds a screen's panes and tells the screen when the room for them changes."""

    class Resized(Message):
        """There is another width or height for the panes."""

        def __init__(self, width: int, height: int) -> None:
            self.width = width
            self.height = height
            super().__init__()

    def on_resize(self) -> None:
        """Tell the screen: the help panel takes room from the panes, not from the window."""
        outer = self.outer_size
        self.post_message(self.Resized(outer.width, self.screen.size.height))


class Insight(Painted):
    """One line of what is worth knowing about the file under the cursor."""

    DEFAULT_CSS = """
    Insight { height: 1; width: 1fr; padding: 0 1; }
    """

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.text = ""
        self.color = "muted"

    def show(self, text: str, color: str = "muted") -> None:
        """Show a line in the colour of a theme variable."""
        if (text, color) != (self.text, self.color):
            self.text, self.color = text, color
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint the line."""
        width = self.size.width
        text = fit(self.text, min(width, width_of(self.text)), self.glyphs.ellipsis)
        return Line().add(text, self.paint.style(self.color)).strip(width, self.paint.style())


def fit_window(screen: Screen[Any], width: int, height: int) -> None:
    """Tell a screen's style sheet, bar and titles what kind of window this is.

    Args:
        screen: the screen.
        width: cells that its panes have.
        height: rows of the window.
    """
    narrow, low = width < 100, height < 30
    screen.set_class(narrow, "-narrow")
    screen.set_class(narrow or low, "-compact")
    screen.query_one(AreaBar).compact = narrow
    for title in screen.query(PaneTitle):
        title.compact = narrow or low
