"""The Diff screen: how another image differs from this one, in layers, config and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from layerview.errors import Cancelled, LayerviewError
from layerview.progress import Progress
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.cells import Line, fit, fit_start
from layerview.tui.comparison import config_differences, layer_key, match_layers
from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.opened import OpenedImage
from layerview.tui.widgets.chrome import (
    AreaBar,
    Pane,
    Panes,
    PaneTitle,
    SubjectRow,
    fit_window,
    muted,
    strong,
)
from layerview.tui.widgets.details import BLANK, Fact, LayerDetails
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.row_list import RowList
from layerview.tui.words import count_of, numbers
from layerview.tui.working import TellsFailures

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp
    from layerview.view.diff import FileDiff, Side


class ReadingProgress(Progress):
    """Tells a screen, at most ten times a second, how far the work is."""

    def __init__(self, screen: DiffScreen) -> None:
        super().__init__()
        self._screen = screen
        self._last = 0.0

    def step(self, what: str, done: int, total: int | None) -> None:
        """Take note of progress."""
        import time

        super().step(what, done, total)
        now = time.monotonic()
        if now - self._last >= 0.1:
            self._last = now
            share = f", {100 * done // total} %" if total else ""
            self._screen.post_message(DiffScreen.Step(f"{what}{share}, Esc stops"))


class FileDiffs(RowList):
    """The files that differ."""

    HELP = """
# Files that differ

**+** only in the second image, **−** only in the first, **~** different content or metadata.
The sizes are the first image's and the second's.
"""

    def __init__(
        self,
        binary: bool,
        *,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        super().__init__(glyphs=glyphs, id=id)
        self._binary = binary
        self.files: list[FileDiff] = []
        self.message = ("Comparing", "")

    def row_count(self) -> int:
        """How many files differ."""
        return len(self.files)

    def paint_row(self, line: Line, row: int, width: int, back: str, bold: bool) -> None:
        """Paint sign, path, what changed, and both sizes."""
        paint, glyphs = self.paint, self.glyphs
        item = self.files[row]
        sign, color = {
            "added": (glyphs.added, "success"),
            "removed": (glyphs.deleted, "error"),
        }.get(item.change, (glyphs.modified, "warning"))
        line.add(sign + " ", paint.style(color, back, True))
        text = paint.style("foreground", back, bold)
        quiet = paint.style("muted", back)
        words = 10 if width >= 60 else 0
        room = width - 3 - 22 - words - 1
        name = printable(item.path)
        node = item.b or item.a
        if node is not None and node.is_dir:
            name += "/"
        line.add(fit(fit_start(name, room, glyphs.ellipsis), room), text)
        line.add(fit(" metadata" if item.change == "metadata" else "", words), quiet)
        for side in (item.a, item.b):
            shown = (
                "" if side is None or side.is_dir else format_size(side.size, binary=self._binary)
            )
            line.add(fit(shown, 11, right=True), text if side is item.b else quiet)


class DiffScreen(TellsFailures, Screen[None]):
    """Two images side by side."""

    CSS_PATH = "../styles/panes.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "pane", key_display="Tab", id="diff.pane"),
        Binding("r", "retry", "try again", show=False, id="diff.retry"),
        Binding("escape,d", "back", "back", key_display="Esc", id="diff.back"),
    ]

    app: LayerviewApp

    class Step(Message):
        """How far the comparing is."""

        def __init__(self, words: str) -> None:
            self.words = words
            super().__init__()

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, DiffScreen.Step)

    class Opened(Message):
        """The other image is open."""

        def __init__(self, other: OpenedImage) -> None:
            self.other = other
            super().__init__()

    class Compared(Message):
        """The files were compared."""

        def __init__(self, files: list[FileDiff]) -> None:
            self.files = files
            super().__init__()

    class Failed(Message):
        """The other image can't be opened or compared."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    def __init__(self, opened: OpenedImage, other_name: str) -> None:
        super().__init__()
        self.opened = opened
        self.other_name = other_name
        self.other: OpenedImage | None = None
        self._progress: Progress | None = None
        self._state = "opening"

    def compose(self) -> ComposeResult:
        """Lay out the panes."""
        glyphs = self.app.glyphs
        yield AreaBar(glyphs=glyphs, id="areas")
        yield SubjectRow(glyphs=glyphs, id="subject")
        with Panes(id="panes"):
            with Pane(id="facts-pane"):
                yield PaneTitle("Layers and config", glyphs=glyphs, id="facts-title")
                yield LayerDetails(glyphs=glyphs, id="facts")
            with Pane(id="files-pane"):
                yield PaneTitle("Files that differ", glyphs=glyphs, id="files-title")
                yield FileDiffs(self.app.binary_sizes, glyphs=glyphs, id="files")
        yield Keys()

    def on_mount(self) -> None:
        """Begin to compare."""
        self.query_one(FileDiffs).focus()
        self._show_subject()
        self.compare()

    @on(Panes.Resized)
    def _panes_resized(self, message: Panes.Resized) -> None:
        fit_window(self, message.width, message.height)

    @work(thread=True, exclusive=True, exit_on_error=False, group="diff", description="Comparing")
    def compare(self) -> None:
        """Open and read the other image, then compare all files."""
        from layerview.sources.loading import load_layer
        from layerview.sources.resolve import open_image
        from layerview.view.diff import compare

        worker = get_current_worker()
        progress = self._progress = ReadingProgress(self)
        image = None
        try:
            image = open_image(self.other_name, platform=self.app.platform, progress=progress)
            other = OpenedImage(image, self.app.hues)
            for source in image.layers:
                other.take_layer(load_layer(source, cache=self.app.cache, progress=progress))
            other.view = other.make_view()
            self.post_message(self.Opened(other))
            files = compare(_side(self.opened), _side(other), progress)
        except Cancelled:
            if image is not None:
                image.close()
            return
        except (LayerviewError, OSError) as error:
            if image is not None:
                image.close()
            if not worker.is_cancelled:
                self.post_message(self.Failed(str(error)))
            return
        if worker.is_cancelled:
            image.close()
        else:
            self.post_message(self.Compared(list(files)))

    @on(Step)
    def _step(self, message: Step) -> None:
        self._state = message.words
        self._show_subject()

    @on(Opened)
    def _other_opened(self, message: Opened) -> None:
        self.other = message.other
        self._state = "comparing files"
        self._show_facts()
        self._show_subject()

    @on(Compared)
    def _files_compared(self, message: Compared) -> None:
        files = self.query_one(FileDiffs)
        files.files = message.files
        files.message = ("No file differs.", "Esc goes back")
        files.rows_changed()
        kinds = [item.change for item in message.files]
        glyphs = self.app.glyphs
        words = [
            muted(f"   {sign} {kinds.count(kind):,} {kind}")
            for sign, kind in (
                (glyphs.added, "added"),
                (glyphs.deleted, "removed"),
                (glyphs.modified, "modified"),
                (glyphs.modified, "metadata"),
            )
        ]
        self.query_one("#files-title", PaneTitle).show("Files that differ", words)
        self._state = ""
        self._show_subject()

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        files = self.query_one(FileDiffs)
        glyphs = self.app.glyphs
        files.message = (f"{glyphs.waste} {printable(message.reason)}", "r tries again")
        files.failed = True
        files.rows_changed()
        self._state = "failed"
        self._show_subject()

    def _show_subject(self) -> None:
        name = printable(self.opened.name)
        other = printable(self.other.name if self.other else self.other_name)
        arrow = self.app.glyphs.arrow
        groups = [[strong(name), muted(f"  {arrow}  "), strong(other)]]
        if self._state:
            groups.append([muted(self._state)])
        self.query_one(SubjectRow).show(groups)
        compact = [strong(name), muted(f" {arrow} "), strong(other)]
        if self._state:
            compact.append(muted("   " + self._state))
        self.query_one(AreaBar).show(("diff",), compact)

    def _show_facts(self) -> None:
        assert self.other is not None
        a, b = self.opened, self.other
        match = match_layers(a.image, b.image)
        facts = []
        shared = numbers(place for place, _ in match.shared) if match.shared else "none"
        facts.append(Fact("shared", f"{count_of(len(match.shared), 'layer')}: {shared}"))
        glyphs = self.app.glyphs
        for label, side, only, sign, color in (
            ("only in 1st", a, match.only_a, glyphs.deleted, "error"),
            ("only in 2nd", b, match.only_b, glyphs.added, "success"),
        ):
            for place, number in enumerate(only):
                size = side.layers[number].size
                facts.append(
                    Fact(
                        label if place == 0 else "",
                        f"{sign} {number} {side.instruction(number)}",
                        right="?"
                        if size is None
                        else format_size(size, binary=self.app.binary_sizes),
                        color=color,
                    )
                )
        differences = config_differences(a.image, b.image)
        if differences:
            facts.append(BLANK)
        for field, first, second in differences:
            facts.append(Fact(field[:11], f"{glyphs.deleted} {first}", color="error"))
            facts.append(Fact("", f"{glyphs.added} {second}", color="success"))
        if not differences:
            facts.append(Fact("config", "the same"))
        self.query_one(LayerDetails).show(facts)

    def action_retry(self) -> None:
        """Compare again."""
        self._state = "opening"
        files = self.query_one(FileDiffs)
        files.message, files.failed = ("Comparing", ""), False
        files.refresh()
        self._show_subject()
        self.compare()

    def action_back(self) -> None:
        """Go back to the image."""
        self.dismiss(None)

    def on_unmount(self) -> None:
        """Leaving stops the work and closes the other image."""
        if self._progress is not None:
            self._progress.cancel()
        self.workers.cancel_node(self)
        if self.other is not None:
            self.other.image.close()


def _side(opened: OpenedImage) -> Side:
    from layerview.view.diff import Side

    keys = [layer_key(opened.image, number) for number in range(len(opened.layers))]
    return Side(opened.view, opened.contents, keys)
