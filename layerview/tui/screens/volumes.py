"""The Volumes screen: folders that containers share and that outlive them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen

from layerview.sizes import format_size
from layerview.tui.errands import Returned
from layerview.tui.volume_lines import VolumeLine, read_volumes
from layerview.tui.widgets.chrome import (
    AreaBar,
    Bare,
    Pane,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.filter import FilterInput
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.table_head import TableHead
from layerview.tui.widgets.volume_table import VolumeTable
from layerview.tui.words import count_of, time_words
from layerview.tui.working import TellsFailures, in_background

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp
    from layerview.tui.screens.ask import Answers

EVERY = 3.0
"""Seconds between two looks at the volumes: each walks through all their files."""

MOST_TIME = 0.1
"""The share of time that looking may take."""


class VolumesScreen(TellsFailures, Screen[None], Bare):
    """All volumes of the local area."""

    CSS_PATH = "../styles/containers.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new", id="volumes.new"),
        Binding("delete", "remove", "remove", key_display="Del", id="volumes.remove"),
        Binding("P", "prune", "remove unused", id="volumes.prune"),
        Binding("slash", "filter", "filter", key_display="/", id="volumes.filter"),
        Binding("r", "reload", "look again", show=False, id="volumes.reload"),
        Binding("escape", "back", "show all", show=False, id="volumes.back"),
    ]

    app: LayerviewApp

    class Looked(Message):
        """All volumes, as they are now, and how long it took to find out."""

        def __init__(self, lines: list[VolumeLine]) -> None:
            self.lines = lines
            super().__init__()

    class LookFailed(Message):
        """Why they can't be listed."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    class Done(Message):
        """A command is carried out, or why it is not."""

        def __init__(self, title: str, words: str, failed: bool, name: str = "") -> None:
            self.title = title
            self.words = words
            self.failed = failed
            self.name = name
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[VolumeLine] = []
        self.known = False
        self.needle = ""
        self._reason = ""
        """Why they can't be listed."""
        self._looking = False
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Lay out the list and what is known of one volume."""
        glyphs = self.app.glyphs
        yield AreaBar("Volumes", glyphs=glyphs, id="areas")
        with Horizontal(id="filter-row"):
            yield FilterInput()
            yield SubjectRow(glyphs=glyphs, id="total")
        with Pane(id="list-pane"):
            yield TableHead(glyphs=glyphs, id="head")
            yield VolumeTable(binary=self.app.binary_sizes, glyphs=glyphs, id="volumes")
        with Pane(id="details-pane"):
            yield PaneTitle("", glyphs=glyphs, id="details-title")
            yield SubjectRow(glyphs=glyphs, id="place")
            yield SubjectRow(glyphs=glyphs, id="users")
        yield Keys()

    def on_mount(self) -> None:
        """List them, and keep looking."""
        self.query_one(VolumeTable).message = ("Looking for volumes", "")
        self.query_one(VolumeTable).focus()
        self.look()
        self.set_interval(EVERY, self._tick)

    def _tick(self) -> None:
        if self.app.screen is self:
            self.look()

    def on_resize(self, event: events.Resize) -> None:
        """Choose what there is room for."""
        narrow, low = event.size.width < 100, event.size.height < 30
        self.set_class(narrow, "-narrow")
        self.set_class(narrow or low, "-compact")
        self.query_one(AreaBar).compact = narrow
        for title in self.query(PaneTitle):
            title.compact = narrow or low
        self.call_after_refresh(self._fill)

    # Listing ---------------------------------------------------------------------------------

    def look(self) -> None:
        """List them."""
        if self._looking:
            return
        self._looking = True
        ask = self.app.worker.ask
        in_background(
            self,
            lambda: self.Looked(read_volumes(ask(["volume", "ls", "--json"]).said)),
            self.LookFailed,
        )

    @on(Looked)
    def _they_are(self, message: Looked) -> None:
        self._looking, self.known = False, True
        self.lines = message.lines
        self.query_one(VolumeTable).failed, self._reason = False, ""
        self._fill()
        if self._wanted:
            self.query_one(VolumeTable).go_to(self._wanted)
            self._wanted = ""

    @on(LookFailed)
    def _not_listed(self, message: LookFailed) -> None:
        self._looking, self.known = False, True
        self.lines = []
        self.query_one(VolumeTable).failed = True
        self._reason = f"{self.app.glyphs.waste} {message.reason}"
        self._fill()

    def _fill(self) -> None:
        if not self.is_attached:
            return
        table = self.query_one(VolumeTable)
        needle = self.needle.casefold()
        shown = [line for line in self.lines if needle in f"{line.name} {line.used_by}".casefold()]
        if self._reason:
            table.message = (self._reason, "r tries again")
        elif self.lines:
            table.message = ("No volume matches.", "Esc shows all")
        elif self.known:
            hint = "n makes one; a container started with NAME:/data makes it by itself"
            table.message = ("No volumes yet.", hint)
        table.show(shown)
        self._show_heads()
        self.query_one(AreaBar).show(("local",))
        total = format_size(
            sum(line.size or 0 for line in self.lines), binary=self.app.binary_sizes
        )
        unused = sum(not line.users for line in self.lines)
        right: list[Piece] = []
        if self.lines:
            right = [
                strong(total),
                muted(f" in {count_of(len(self.lines), 'volume')}, {unused:,} of them unused"),
            ]
        self.query_one("#total", SubjectRow).show([], right)
        self._show_details()

    @on(VolumeTable.Resized)
    def _show_heads(self) -> None:
        self.query_one(TableHead).show_columns(self.query_one(VolumeTable).heads())

    def _show_details(self) -> None:
        title = self.query_one("#details-title", PaneTitle)
        place, users = (self.query_one(f"#{name}", SubjectRow) for name in ("place", "users"))
        line = self.query_one(VolumeTable).current
        self.set_class(line is None, "-nothing")
        if line is None:
            return
        kind = "nobody gave it a name" if line.anonymous else "bypasses the storage driver"
        title.show(line.name, [muted(kind)])
        groups: list[list[Piece]] = [[plain(line.place)]]
        if line.created:
            groups.append([muted(f"created {time_words(line.created)}")])
        for key, value in line.options:
            groups.append([muted(f"{key} "), plain(value)])
        place.show(groups)
        if line.users:
            users.show([[muted("mounted by "), strong(line.used_by)]])
        else:
            users.show([[muted("no container has it; Del removes it")]])

    @on(VolumeTable.Highlighted)
    def _moved(self, message: VolumeTable.Highlighted) -> None:
        message.stop()
        self._show_details()

    @on(FilterInput.Changed)
    def _filter_changed(self, event: FilterInput.Changed) -> None:
        self.needle = event.value
        self._fill()

    @on(FilterInput.Ended)
    def _filter_ended(self, event: FilterInput.Ended) -> None:
        if not event.keep:
            event.entry.value = ""
        self.query_one(VolumeTable).focus()

    # Keys ------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a part of a name, of the volume or of a container."""
        self.query_one(FilterInput).focus()

    def action_back(self) -> None:
        """Show all again."""
        self.query_one(FilterInput).value = ""

    def action_reload(self) -> None:
        """Look again."""
        self.look()

    def _command(
        self, words: Sequence[str], title: str, tell: Callable[[Returned], str], name: str = ""
    ) -> None:
        def work() -> Message:
            back = self.app.worker.ask(words)
            return self.Done(title, "; ".join([tell(back), *back.notes]), False, name)

        in_background(self, work, lambda reason: self.Done(title, reason, True))

    @on(Done)
    def _done(self, message: Done) -> None:
        if message.failed:
            title = f"Not {message.title.lower()}"
            self.notify(message.words, title=title, severity="error", markup=False)
        else:
            self._wanted = message.name
            self.notify(message.words, title=message.title, markup=False)
        self.look()

    def action_new(self) -> None:
        """Make a volume."""
        from layerview.tui.screens.ask import Ask, Question

        def answer(answers: Answers | None) -> None:
            if answers is None:
                return
            name = answers["name"].strip()
            words = ["volume", "create", "--json", *([name] if name else [])]
            self._command(words, "Made", lambda back: name or "a volume without a name", name)

        words = "A folder of its own, which containers mount as NAME:/path."
        question = Question("name", "Name", "", "made up when left out")
        self.app.push_screen(Ask("Make a volume", words, [question], "Make"), answer)

    def action_remove(self) -> None:
        """Remove the volume, after asking; not one that a container has."""
        from layerview.tui.screens.confirm import Confirm

        line = self.query_one(VolumeTable).current
        if line is None:
            return
        if line.users:
            words = f"{line.shown} is mounted by {line.used_by}; remove that first."
            self.notify(words, title="Not removed", severity="warning", markup=False)
            return

        def answer(sure: bool | None) -> None:
            if sure:
                words = ["volume", "rm", "--json", line.name]
                self._command(words, "Removed", lambda back: line.shown)

        words = f"{self._bytes(line.size)} in it are lost for good. No container mentions it."
        self.app.push_screen(Confirm(f"Remove {line.shown}?", words, "Remove"), answer)

    def action_prune(self) -> None:
        """Remove all that no container has, after saying which."""
        from layerview.tui.screens.confirm import Confirm

        unused = [line for line in self.lines if not line.users]
        if not unused:
            self.notify("Every volume is mounted by a container.", markup=False)
            return

        def answer(sure: bool | None) -> None:
            if sure:
                words = ["volume", "rm", "--json", *(line.name for line in unused)]
                self._command(words, "Removed", lambda back: count_of(len(unused), "volume"))

        named = [line.shown for line in unused if not line.anonymous]
        total = self._bytes(sum(line.size or 0 for line in unused))
        where = "it" if len(unused) == 1 else "them"
        words = f"{total} in {where} are lost for good."
        if named:
            words += f" With a name: {', '.join(named[:8])}"
            words += f" and {len(named) - 8} more." if len(named) > 8 else "."
        nameless = len(unused) - len(named)
        if nameless:
            words += f" Without a name: {nameless}."
        heading = f"Remove {count_of(len(unused), 'volume')} that no container has?"
        self.app.push_screen(Confirm(heading, words, "Remove"), answer)

    def _bytes(self, size: int | None) -> str:
        if size is None:
            return "All bytes"
        return format_size(size, binary=self.app.binary_sizes)
