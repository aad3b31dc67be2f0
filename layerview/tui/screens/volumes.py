"""The Volumes screen: folders that containers share and that outlive them."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from layerview.sizes import format_size
from layerview.tui.screens.asked_list import AskedList
from layerview.tui.volume_lines import VolumeLine, read_volumes
from layerview.tui.widgets.chrome import (
    AreaBar,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.volume_table import VolumeTable
from layerview.tui.words import count_of, time_words
from layerview.tui.working import Done

if TYPE_CHECKING:
    from layerview.tui.screens.ask import Answers


class VolumesScreen(AskedList[VolumeLine]):
    """All volumes of the local area."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["../styles/lists.tcss", "../styles/volumes.tcss"]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new", id="volumes.new"),
        Binding("delete", "remove", "remove", key_display="Del", id="volumes.remove"),
        Binding("P", "prune", "remove unused", id="volumes.prune"),
        Binding("slash", "filter", "filter", key_display="/", id="volumes.filter"),
        Binding("r", "reload", "look again", show=False, id="volumes.reload"),
        Binding("escape", "back", "show all", show=False, id="volumes.back"),
    ]

    AREA = "Volumes"
    # Each look walks through all their files.
    EVERY = 3.0
    LOOKING = "Looking for volumes"
    NONE_MATCHES = "No volume matches."
    NONE_YET = (
        "No volumes yet.",
        "n makes one; a container started with NAME:/data makes it by itself",
    )

    def compose_table(self) -> VolumeTable:
        """Make the list."""
        return VolumeTable(binary=self.app.binary_sizes, glyphs=self.app.glyphs, id="volumes")

    def compose_details(self) -> ComposeResult:
        """Lay out what is known of one volume."""
        yield SubjectRow(glyphs=self.app.glyphs, id="place")
        yield SubjectRow(glyphs=self.app.glyphs, id="users")

    @property
    def table(self) -> VolumeTable:
        """The list."""
        return self.query_one(VolumeTable)

    # Listing ---------------------------------------------------------------------------------

    def list_lines(self) -> list[VolumeLine]:
        """Ask the worker; called in a thread."""
        return read_volumes(self.app.worker.ask(["volume", "ls", "--json"]).said)

    def matches(self, line: VolumeLine) -> bool:
        """Tell whether a name is typed, of the volume or of a container."""
        return self.needle.casefold() in f"{line.name} {line.used_by}".casefold()

    def show_total(self) -> None:
        """Say what all take, and how many nobody uses."""
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

    def show_details(self) -> None:
        """Show where a volume lies, and who has it."""
        title = self.query_one("#details-title", PaneTitle)
        place, users = (self.query_one(f"#{name}", SubjectRow) for name in ("place", "users"))
        line = self.table.current
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

    # Keys ------------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Show all again."""
        self.end_filter()

    def done(self, message: Done) -> None:
        """Go to the volume that was made."""
        if message.ids and not message.failed:
            self.wanted = message.ids[0]

    def action_new(self) -> None:
        """Make a volume."""
        from layerview.tui.screens.ask import Ask, Question

        def answer(answers: Answers | None) -> None:
            if answers is None:
                return
            name = answers["name"].strip()
            named = [name] if name else []
            words = ["volume", "create", "--json", *named]
            self.command(words, "Made", name or "a volume without a name", named)

        words = "A folder of its own, which containers mount as NAME:/path."
        question = Question("name", "Name", "", "made up when left out")
        self.app.push_screen(Ask("Make a volume", words, [question], "Make"), answer)

    def action_remove(self) -> None:
        """Remove the volume, after asking; not one that a container has."""
        from layerview.tui.screens.confirm import Confirm

        line = self.table.current
        if line is None:
            return
        if line.users:
            words = f"{line.shown} is mounted by {line.used_by}; remove that first."
            self.notify(words, title="Not removed", severity="warning", markup=False)
            return

        def answer(sure: bool | None) -> None:
            if sure:
                self.command(["volume", "rm", "--json", line.name], "Removed", line.shown)

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
                self.command(words, "Removed", count_of(len(unused), "volume"))

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
