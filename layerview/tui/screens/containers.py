"""The Containers screen: what runs and what ran, started, stopped, looked into, removed."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from layerview.sizes import format_size
from layerview.tui.cells import fit, width_of
from layerview.tui.container_lines import (
    ContainerLine,
    MountLine,
    loss_words,
    nanoseconds_words,
    since_words,
)
from layerview.tui.errands import Returned, names_loaded
from layerview.tui.screens.containers_pane import ContainersPane
from layerview.tui.screens.containers_work import ContainersWork
from layerview.tui.widgets.chrome import (
    AreaBar,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.container_table import ContainerTable
from layerview.tui.widgets.lying_stack import LyingSlab, LyingStack
from layerview.tui.words import count_of
from layerview.tui.working import Done

if TYPE_CHECKING:
    from layerview.tui.screens.ask import Answers

_FOR_CHOSEN = frozenset(
    ("start", "stop", "kill", "log", "live", "changes", "commit", "remove", "rename")
)
"""What is done to containers, and to nothing where there are none."""


class ContainersScreen(ContainersPane):
    """All containers of the local area."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["../styles/lists.tcss", "../styles/containers.tcss"]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new", id="containers.new"),
        Binding("S", "start", "start", id="containers.start"),
        Binding("K", "stop", "stop", id="containers.stop"),
        Binding("l", "log", "log", id="containers.log"),
        Binding("L", "live", "live", id="containers.live"),
        Binding("W", "watch", "watch any container", show=False, id="containers.watch"),
        Binding("c", "changes", "changes", id="containers.changes"),
        Binding("C", "commit", "commit", id="containers.commit"),
        Binding("delete", "remove", "remove", key_display="Del", id="containers.remove"),
        Binding("R", "rename", "rename", show=False, id="containers.rename"),
        Binding("X", "kill", "kill", show=False, id="containers.kill"),
        Binding("A", "class", "all of its image", show=False, id="containers.class"),
        Binding("i", "image", "image", show=False, id="containers.image"),
        Binding("slash", "filter", "filter", key_display="/", show=False, id="containers.filter"),
        Binding("a", "all", "all, or those that run", show=False, id="containers.all"),
        Binding("f2", "pane", "shell or list", key_display="F2", show=False, id="containers.pane"),
        Binding("r", "reload", "look again", show=False, id="containers.reload"),
        Binding("escape", "back", "close, show all", show=False, id="containers.back"),
    ]

    AREA = "Containers"
    EVERY = 1.0
    LOOKING = "Looking for containers"
    NONE_MATCHES = "No container matches."
    NONE_YET = ("No containers yet.", "n starts one from an image; 1 lists the images")

    def __init__(self) -> None:
        super().__init__()
        self.running_only = False
        self._doing: dict[str, str] = {}
        self._enter = False
        """Whether what is wanted is opened in the built-in shell once it is listed."""

    def compose_table(self) -> ContainerTable:
        """Make the list."""
        return ContainerTable(binary=self.app.binary_sizes, glyphs=self.app.glyphs, id="containers")

    def compose_details(self) -> ComposeResult:
        """Lay out what is known of one container."""
        yield LyingStack(glyphs=self.app.glyphs, id="lying")
        yield SubjectRow(glyphs=self.app.glyphs, id="facts")
        yield SubjectRow(glyphs=self.app.glyphs, id="mounts")

    # The list --------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Open what was wanted, where it is to be opened."""
        line = self.table.current
        if self._enter and line is not None:
            self.open_pane(line, "built-in")
        self._enter = False

    def show_rows(self) -> None:
        """List what matches, and what is being done to it."""
        self.table.doing = self._doing
        super().show_rows()

    def matches(self, line: ContainerLine) -> bool:
        """Tell whether what is typed is in a container's name, ID, image or state."""
        if self.running_only and not line.runs:
            return False
        text = f"{line.name} {line.id[:12]} {line.image} {line.status}".casefold()
        return self.needle.casefold() in text

    def show_total(self) -> None:
        """Say how many run, what their layers take, and which are chosen."""
        running = sum(line.runs for line in self.lines)
        drivers = list(dict.fromkeys(line.driver for line in self.lines))
        self.query_one(AreaBar).show(("local", *drivers))
        sizes = sum(line.size or 0 for line in self.lines)
        right: list[Piece] = []
        if self.lines:
            right = [
                strong(f"{running:,}"),
                muted(f" of {count_of(len(self.lines), 'container')} running   "),
                strong(format_size(sizes, binary=self.app.binary_sizes)),
                muted(" in their layers"),
            ]
        marked = len(self.table.marked)
        left = [[strong(f"{marked} marked")]] if marked else []
        if self.running_only:
            left.append([muted("only those that run")])
        self.query_one("#total", SubjectRow).show(left, right)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Dim the keys that do nothing to what is chosen."""
        if action not in _FOR_CHOSEN:
            return True
        if not self.is_mounted or not self.query(ContainerTable):
            return None
        running = [line.runs for line in self._chosen]
        if action == "start":
            return True if not all(running) else None
        if action in ("stop", "kill"):
            return True if any(running) else None
        return True if running else None

    def show_details(self) -> None:
        """Show a container's layers, and what is known of it."""
        self.refresh_bindings()
        title = self.query_one("#details-title", PaneTitle)
        lying = self.query_one(LyingStack)
        facts, mounts = (self.query_one(f"#{name}", SubjectRow) for name in ("facts", "mounts"))
        line = self.table.current
        self.set_class(line is None, "-nothing")
        if line is None:
            return
        hint = "Enter opens a shell" if line.runs else "S starts it"
        title.show(line.name, [muted(line.short_id), muted(f"   {hint}")])
        lying.show(self._slabs(line))
        groups: list[list[Piece]] = []
        if line.command:
            command = line.command
            cut = fit(command, min(40, width_of(command)), self.app.glyphs.ellipsis)
            groups.append([plain(cut)])
        groups.append([muted(since_words(line, time.time()))])
        if line.start_ns is not None:
            groups.append([muted("start took "), plain(nanoseconds_words(line.start_ns))])
        if line.allocated is not None:
            allocated = format_size(line.allocated, binary=self.app.binary_sizes)
            groups.append([plain(allocated), muted(" allocated for it")])
        if line.pid:
            groups.append([muted(f"pid {line.pid}")])
        facts.show([group for group in groups if any(text for text, _, _ in group)])
        mounts.show([self._mount_pieces(mount) for mount in line.mounts])

    def _slabs(self, line: ContainerLine) -> list[LyingSlab]:
        """Return the stack lying down: the image's layers, and the container's own at the right."""
        layers = self.find_stack(line) or []
        binary = self.app.binary_sizes
        hues = self.app.hues.assign([(layer.key, layer.size) for layer in layers])
        same = sum(
            (other.image_id, other.driver) == (line.image_id, line.driver) for other in self.lines
        )
        users = "read-only" if same < 2 else f"read-only for {same} containers"
        slabs = [
            LyingSlab(
                number,
                hues[number],
                layer.size,
                layer.instruction,
                format_size(layer.size, binary=binary),
                users,
            )
            for number, layer in enumerate(layers)
        ]
        size = self.app.glyphs.ellipsis
        if line.size is not None:
            size = format_size(line.size, binary=binary)
        # Thin as it is, its words need room.
        whole = sum(layer.size for layer in layers)
        room = max(line.size or 0, whole // 4, 1)
        words = "container layer"
        return [*slabs, LyingSlab(-1, None, room, words, size, "read-write", writable=True)]

    def _mount_pieces(self, mount: MountLine) -> list[Piece]:
        kind = "vol" if mount.is_volume else mount.kind
        arrow = self.app.glyphs.arrow
        access = "  read-only" if mount.read_only else ""
        return [
            muted(f"{kind} "),
            strong(mount.shown),
            muted(f" {arrow} {mount.target}{access}"),
        ]

    @on(ContainersWork.StackKnown)
    def _stack_known(self, message: ContainersWork.StackKnown) -> None:
        self._stacks[message.key] = message.layers
        self.show_details()

    @on(ContainerTable.Highlighted)
    def _marked(self) -> None:
        self.show_total()

    def choose(self, id: str, *, enter: bool = False) -> None:
        """Put the cursor on a container, as soon as it is listed; open it in the built-in shell."""
        self.wanted, self._enter = id, enter
        self.needle = ""
        self.running_only = False
        self.look()

    @property
    def _chosen(self) -> list[ContainerLine]:
        return self.table.chosen

    def action_all(self) -> None:
        """Show only those that run, or all again."""
        self.running_only = not self.running_only
        self.fill()

    def action_back(self) -> None:
        """Close the pane, take marks away, or show all again."""
        table = self.table
        if self.shell_is_open:
            self.close_pane()
        elif table.marked:
            table.marked.clear()
            self.fill()
        else:
            self.running_only = False
            self.end_filter()

    # Changing them ---------------------------------------------------------------------------

    def _do(self, words: list[str], lines: list[ContainerLine], title: str, doing: str) -> None:
        ids = [line.id for line in lines]
        self._doing.update(dict.fromkeys(ids, doing))
        self.fill()
        what = ", ".join(line.name for line in lines[:4])
        if len(lines) > 4:
            what += f" and {len(lines) - 4} more"
        self.command([*words, *ids], title, what, ids)

    def done(self, message: Done) -> None:
        """Say no more that it is being done."""
        for id in message.ids:
            self._doing.pop(id, None)
        if not message.failed:
            self.table.marked.clear()
        self.fill()

    def action_start(self) -> None:
        """Start what does not run."""
        lines = [line for line in self._chosen if not line.runs]
        if lines:
            self._do(["start", "--json"], lines, "Started", "starting")
        elif self._chosen:
            self.notify("It runs already.", severity="warning", markup=False)

    def action_stop(self) -> None:
        """Stop what runs: it is asked to end, and killed after ten seconds."""
        self._end(["stop", "--json"], "Stopped", "stopping")

    def action_kill(self) -> None:
        """Kill what runs."""
        self._end(["kill", "--json"], "Killed", "killing")

    def _end(self, words: list[str], title: str, doing: str) -> None:
        lines = [line for line in self._chosen if line.runs]
        if lines:
            self._do(words, lines, title, doing)
        elif self._chosen:
            self.notify("It does not run.", severity="warning", markup=False)

    def action_remove(self) -> None:
        """Remove containers, after saying what goes with them."""
        lines = self._chosen
        if lines:
            self._doing.update({line.id: "counting" for line in lines})
            self.fill()
            self.find_loss(lines)

    @on(ContainersWork.LossKnown)
    def _loss_known(self, message: ContainersWork.LossKnown) -> None:
        from layerview.tui.screens.confirm import Confirm

        lines = message.lines
        for line in lines:
            self._doing.pop(line.id, None)
        self.fill()
        latest = {line.id: line for line in self.lines}
        lines = [latest.get(line.id, line) for line in lines]
        words = loss_words(lines, message.changes, self.app.binary_sizes)
        name = lines[0].name if len(lines) == 1 else count_of(len(lines), "container")

        def answer(sure: bool | None) -> None:
            if sure:
                force = ["--force"] if any(line.runs for line in lines) else []
                self._do(["rm", "--json", *force], lines, "Removed", "removing")

        self.app.push_screen(Confirm(f"Remove {name}?", words, "Remove"), answer)

    def action_live(self) -> None:
        """Watch what the container copies up."""
        from layerview.tui.screens.live_open import open_container

        line = self.table.current
        if line is not None:
            open_container(self.app, line.id, started=line.started if line.runs else None)

    def action_class(self) -> None:
        """Show all containers of the same image over its layers."""
        from layerview.tui.screens.class_view import ClassScreen

        line = self.table.current
        if line is not None:
            stack = [str(layer.key) for layer in self.find_stack(line) or ()]
            image = line.image or line.image_id
            self.app.push_screen(ClassScreen(f"local:{image}", stack=stack, chosen=line.id))

    def action_watch(self) -> None:
        """Choose among all containers that run, Docker's and Podman's too."""
        from layerview.tui.screens.live_open import choose_container

        choose_container(self.app)

    def action_changes(self) -> None:
        """Show what the container changed of its image."""
        line = self.table.current
        if line is not None:
            self.find_changes(line)

    @on(ContainersWork.ChangesKnown)
    def _changes_known(self, message: ContainersWork.ChangesKnown) -> None:
        from layerview.tui.screens.changes import ChangesScreen

        if self.app.screen is self:
            self.app.push_screen(ChangesScreen(message.line, message.changes))

    def action_rename(self) -> None:
        """Give the container another name."""
        from layerview.tui.screens.ask import Ask, Question

        line = self.table.current
        if line is None:
            return

        def answer(answers: Answers | None) -> None:
            name = (answers or {}).get("name", "").strip()
            if name and name != line.name:
                what = f"{line.name} is {name} now"
                self.command(["rename", line.id, name], "Renamed", what, [line.id])

        words = "Letters, digits and _.- make a name, a letter or digit first."
        question = Question("name", "Name", line.name)
        self.app.push_screen(Ask(f"Rename {line.name}", words, [question], "Rename"), answer)

    def action_commit(self) -> None:
        """Make an image of what the container changed."""
        from layerview.tui.screens.ask import Ask, Question

        line = self.table.current
        if line is None:
            return

        def answer(answers: Answers | None) -> None:
            if answers is None:
                return
            words = ["commit", "--json"]
            if answers["message"].strip():
                words += ["--message", answers["message"].strip()]
            words.append(line.id)
            if answers["image"].strip():
                words.append(answers["image"].strip())
            self._doing[line.id] = "committing"
            self.fill()
            self.command(words, "Committed", line.name, [line.id], _committed)

        words = (
            "What it changed becomes one more layer on top of its image's. Volumes do not count."
        )
        questions = [
            Question("image", "Image", "", "name:tag; may be left out"),
            Question("message", "Message", "", "for its history; may be left out"),
        ]
        self.app.push_screen(Ask(f"Commit {line.name}", words, questions, "Commit"), answer)

    def action_new(self) -> None:
        """Start containers from an image."""
        from layerview.tui.screens.run_container import RunContainer

        line = self.table.current
        self.app.push_screen(RunContainer(line.image if line is not None else ""), self._ran)

    def _ran(self, ids: list[str] | None) -> None:
        if ids:
            self.choose(ids[0])

    def action_image(self) -> None:
        """Open the container's image."""
        line = self.table.current
        if line is not None and line.image_id:
            self.app.open_image(f"local:{line.image or line.image_id}")

    def on_unmount(self) -> None:
        """Let go of what is open."""
        self.workers.cancel_node(self)


def _committed(back: Returned) -> str:
    return ", ".join(names_loaded(back)) or "an image without a name"
