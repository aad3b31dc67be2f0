"""The Containers screen: what runs and what ran, started, stopped, looked into, removed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

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
from layerview.tui.screens.containers_work import ContainersWork
from layerview.tui.widgets.chrome import (
    AreaBar,
    Pane,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.container_table import ContainerTable
from layerview.tui.widgets.filter import FilterInput
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.lying_stack import LyingSlab, LyingStack
from layerview.tui.widgets.table_head import TableHead
from layerview.tui.widgets.terminal import TerminalPane
from layerview.tui.words import count_of

if TYPE_CHECKING:
    from layerview.tui.screens.ask import Answers

EVERY = 1.0
"""Seconds between two looks at the containers."""

_FOR_CHOSEN = frozenset(
    ("start", "stop", "kill", "log", "live", "changes", "commit", "remove", "rename")
)
"""What is done to containers, and to nothing where there are none."""

_TITLES = {
    "shell": "Shell",
    "built-in": "Built-in shell",
    "terminal": "Terminal",
    "log": "Log",
}
_BUILT_IN = "aufs"
"""The driver whose containers can be opened without being started."""


class ContainersScreen(ContainersWork):
    """All containers of the local area."""

    CSS_PATH = "../styles/containers.tcss"

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

    def __init__(self) -> None:
        super().__init__()
        self.needle = ""
        self.running_only = False
        self.shown: list[ContainerLine] = []
        self._reason = ""
        """Why they can't be listed."""
        self._doing: dict[str, str] = {}
        self._wanted = ""
        """The ID of a container that the cursor shall go to once it is listed."""
        self._enter = False
        """Whether that one is opened in the built-in shell then."""
        self._opening: tuple[str, str] | None = None
        """The container and the kind of the pane that is being opened."""
        self._opened: tuple[ContainerLine, str] | None = None
        """What the pane shows."""

    # Layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay out the list, and below it what is known of one container, or its terminal."""
        glyphs = self.app.glyphs
        yield AreaBar("Containers", glyphs=glyphs, id="areas")
        with Horizontal(id="filter-row"):
            yield FilterInput()
            yield SubjectRow(glyphs=glyphs, id="total")
        with Pane(id="list-pane"):
            yield TableHead(glyphs=glyphs, id="head")
            yield ContainerTable(binary=self.app.binary_sizes, glyphs=glyphs, id="containers")
        with Pane(id="details-pane"):
            yield PaneTitle("", glyphs=glyphs, id="details-title")
            yield LyingStack(glyphs=glyphs, id="lying")
            yield SubjectRow(glyphs=glyphs, id="facts")
            yield SubjectRow(glyphs=glyphs, id="mounts")
        with Pane(id="shell-pane"):
            yield PaneTitle("", glyphs=glyphs, id="shell-title")
            yield TerminalPane(ascii=self.app.ascii, glyphs=glyphs, id="shell")
        yield Keys()

    def on_mount(self) -> None:
        """List them, and keep looking."""
        self.query_one(ContainerTable).message = ("Looking for containers", "")
        self.query_one(ContainerTable).focus()
        self.look()
        self.set_interval(EVERY, self._tick)

    def _tick(self) -> None:
        if self.app.screen is self and not self.looking:
            self.look()

    def on_resize(self, event: events.Resize) -> None:
        """Choose what there is room for."""
        narrow, low = event.size.width < 100, event.size.height < 30
        self.set_class(narrow, "-narrow")
        self.set_class(low, "-low")
        self.set_class(narrow or low, "-compact")
        self.query_one(AreaBar).compact = narrow
        for title in self.query(PaneTitle):
            title.compact = narrow or low
        self.call_after_refresh(self._fill)

    # The list --------------------------------------------------------------------------------

    @on(ContainersWork.Looked)
    def _they_are(self, message: ContainersWork.Looked) -> None:
        self.lines = message.lines
        self.looked()
        table = self.query_one(ContainerTable)
        table.failed, self._reason = False, ""
        self._fill()
        if self._wanted and table.go_to(self._wanted):
            self._wanted = ""
            if self._enter and table.current is not None:
                self._open(table.current, "built-in")
            self._enter = False

    @on(ContainersWork.LookFailed)
    def _not_listed(self, message: ContainersWork.LookFailed) -> None:
        self.looked()
        self.lines = []
        table = self.query_one(ContainerTable)
        table.failed, self._reason = True, f"{self.app.glyphs.waste} {message.reason}"
        self._fill()

    def _fill(self) -> None:
        if not self.is_attached:
            return
        table = self.query_one(ContainerTable)
        self.shown = [line for line in self.lines if self._matches(line)]
        if self._reason:
            table.message = (self._reason, "r tries again")
        elif self.lines:
            table.message = ("No container matches.", "Esc shows all")
        elif self.known:
            table.message = ("No containers yet.", "n starts one from an image; 1 lists the images")
        table.show(self.shown, self._doing)
        self._show_heads()
        self._show_total()
        self._show_details()

    @on(ContainerTable.Resized)
    def _show_heads(self) -> None:
        heads = self.query_one(ContainerTable).columns.heads()
        self.query_one(TableHead).show_columns(heads)

    def _matches(self, line: ContainerLine) -> bool:
        if self.running_only and not line.runs:
            return False
        text = f"{line.name} {line.id[:12]} {line.image} {line.status}".casefold()
        return self.needle.casefold() in text

    def _show_total(self) -> None:
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
        marked = len(self.query_one(ContainerTable).marked)
        left = [[strong(f"{marked} marked")]] if marked else []
        if self.running_only:
            left.append([muted("only those that run")])
        self.query_one("#total", SubjectRow).show(left, right)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Dim the keys that do nothing to what is chosen."""
        if action not in (
            "start",
            "stop",
            "kill",
            "log",
            "live",
            "changes",
            "commit",
            "remove",
            "rename",
        ):
            return True
        if not self.is_mounted or not self.query(ContainerTable):
            return None
        running = [line.runs for line in self._chosen]
        if action == "start":
            return True if not all(running) else None
        if action in ("stop", "kill"):
            return True if any(running) else None
        return True if running else None

    def _show_details(self) -> None:
        self.refresh_bindings()
        title = self.query_one("#details-title", PaneTitle)
        lying = self.query_one(LyingStack)
        facts, mounts = (self.query_one(f"#{name}", SubjectRow) for name in ("facts", "mounts"))
        line = self.query_one(ContainerTable).current
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
        self._show_details()

    @on(ContainerTable.Highlighted)
    def _moved(self, message: ContainerTable.Highlighted) -> None:
        message.stop()
        self._show_total()
        self._show_details()

    def choose(self, id: str, *, enter: bool = False) -> None:
        """Put the cursor on a container, as soon as it is listed; open it in the built-in shell."""
        self._wanted, self._enter = id, enter
        self.needle = ""
        self.running_only = False
        self.look()

    @property
    def _chosen(self) -> list[ContainerLine]:
        return self.query_one(ContainerTable).chosen

    @on(FilterInput.Changed)
    def _filter_changed(self, event: FilterInput.Changed) -> None:
        self.needle = event.value
        self._fill()

    @on(FilterInput.Ended)
    def _filter_ended(self, event: FilterInput.Ended) -> None:
        if not event.keep:
            event.entry.value = ""
        self.query_one(ContainerTable).focus()

    def action_filter(self) -> None:
        """Type a part of a name, an ID, an image or a state."""
        self.query_one(FilterInput).focus()

    def action_all(self) -> None:
        """Show only those that run, or all again."""
        self.running_only = not self.running_only
        self._fill()

    def action_reload(self) -> None:
        """Look again."""
        self.look()

    # A shell in a pane -----------------------------------------------------------------------

    @property
    def shell_is_open(self) -> bool:
        """Whether the pane is there."""
        return self.has_class("-shell")

    @on(ContainerTable.Chosen)
    def _open_shell(self, message: ContainerTable.Chosen) -> None:
        message.stop()
        line = self.query_one(ContainerTable).current
        if line is None:
            return
        if not line.runs and line.driver == _BUILT_IN:
            # The union can be opened without a process of the container's.
            self._open(line, "built-in")
            return
        if not line.runs:
            words = f"{line.name} does not run: S starts it, l shows what it wrote."
            self.notify(words, severity="warning", markup=False)
            return
        self._open(line, "shell")

    def action_log(self) -> None:
        """Follow what the container wrote."""
        line = self.query_one(ContainerTable).current
        if line is not None:
            self._open(line, "log")

    def _open(self, line: ContainerLine, kind: str) -> None:
        pane = self.query_one(TerminalPane)
        if self._opened is not None and pane.connected and self.shell_is_open:
            opened, what = self._opened
            if opened.id == line.id and (what == "log") == (kind == "log"):
                self.action_pane()
                return
        self._opening, self._opened = (line.id, kind), None
        pane.say(f"Opening {'the log' if kind == 'log' else 'a shell'} of {line.name}")
        self._show_pane(line, kind, [muted("Esc closes it")])
        self.add_class("-front")
        pane.focus()
        # The pane has its size only once it is laid out.
        self.call_after_refresh(self._find_way_in, line, kind)

    def _find_way_in(self, line: ContainerLine, kind: str) -> None:
        size = self.query_one(TerminalPane).size
        self.find_way_in(line, kind, size.height or 24, size.width or 80)

    def _show_pane(self, line: ContainerLine, kind: str, right: list[Piece]) -> None:
        self.set_class(True, "-shell")
        self.query_one("#shell-title", PaneTitle).show(_TITLES[kind], right, name=line.name)

    @on(ContainersWork.WayIn)
    def _way_in(self, message: ContainersWork.WayIn) -> None:
        line, kind = message.line, message.kind
        if self._opening is None or self._opening[0] != line.id:
            # Another one was asked for meanwhile, or none any more.
            message.dispose()
            return
        self._opening, self._opened = None, (line, kind)
        pane = self.query_one(TerminalPane)
        pane.typing = kind != "log"
        pane.connect(message.wire)
        self._title_pane()

    def _title_pane(self) -> None:
        if self._opened is None:
            return
        line, kind = self._opened
        pane = self.query_one(TerminalPane)
        right: list[Piece] = []
        if pane.looking_back:
            right.append(strong(f"{count_of(pane.looking_back, 'row')} back   "))
        if kind == "log":
            right.append(muted("Esc closes it"))
        elif not pane.connected:
            right.append(muted("ended   Esc closes it"))
        else:
            right.append(muted("F2 leaves it"))
        self._show_pane(line, kind, right)

    @on(ContainersWork.NoWayIn)
    def _no_way_in(self, message: ContainersWork.NoWayIn) -> None:
        if self._opening is None or self._opening[0] != message.line.id:
            return
        self._opening = None
        sign = self.app.glyphs.waste
        hint = "l shows what it wrote"
        self.query_one(TerminalPane).say(f"{sign} {message.reason}", hint, failed=True)
        self.look()

    @on(TerminalPane.LookedBack)
    def _looked_back(self, message: TerminalPane.LookedBack) -> None:
        message.stop()
        self._title_pane()

    @on(TerminalPane.Left)
    def _pane_left(self, message: TerminalPane.Left) -> None:
        message.stop()
        self.remove_class("-front")
        self.query_one(ContainerTable).focus()

    @on(TerminalPane.Closed)
    def _pane_closed(self, message: TerminalPane.Closed) -> None:
        message.stop()
        self._close_pane()

    @on(TerminalPane.Ended)
    def _pane_ended(self, message: TerminalPane.Ended) -> None:
        message.stop()
        kind = self._opened[1] if self._opened is not None else ""
        self._title_pane()
        if kind in ("shell", "terminal", "built-in") and message.status == 0:
            # Left by `exit` or Ctrl+D: nothing more is to be read there.
            self._close_pane()
        elif kind != "log":
            self.query_one(ContainerTable).focus()
        self.look()

    def action_pane(self) -> None:
        """Go between the list and the pane."""
        if self.shell_is_open:
            self.add_class("-front")
            self.query_one(TerminalPane).focus()

    def _close_pane(self) -> None:
        self._opening = self._opened = None
        self.query_one(TerminalPane).disconnect()
        self.remove_class("-shell", "-front")
        self.query_one(ContainerTable).focus()

    def action_back(self) -> None:
        """Close the pane, take marks away, or show all again."""
        table = self.query_one(ContainerTable)
        if self.shell_is_open:
            self._close_pane()
        elif table.marked:
            table.marked.clear()
            self._fill()
        else:
            self.needle, self.running_only = "", False
            self.query_one(FilterInput).value = ""
            self._fill()

    # Changing them ---------------------------------------------------------------------------

    def _do(self, words: list[str], lines: list[ContainerLine], title: str, doing: str) -> None:
        ids = [line.id for line in lines]
        self._doing.update(dict.fromkeys(ids, doing))
        self._fill()
        what = ", ".join(line.name for line in lines[:4])
        if len(lines) > 4:
            what += f" and {len(lines) - 4} more"
        self.command([*words, *ids], title, what, ids)

    @on(ContainersWork.Done)
    def _done(self, message: ContainersWork.Done) -> None:
        for id in message.ids:
            self._doing.pop(id, None)
        if message.failed:
            title = f"Not {message.title.lower()}"
            self.notify(message.words, title=title, severity="error", markup=False)
        else:
            self.notify(message.words, title=message.title, markup=False)
            self.query_one(ContainerTable).marked.clear()
        self._fill()
        self.look()

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
            self._fill()
            self.find_loss(lines)

    @on(ContainersWork.LossKnown)
    def _loss_known(self, message: ContainersWork.LossKnown) -> None:
        from layerview.tui.screens.confirm import Confirm

        lines = message.lines
        for line in lines:
            self._doing.pop(line.id, None)
        self._fill()
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

        line = self.query_one(ContainerTable).current
        if line is not None:
            open_container(self.app, line.id, started=line.started if line.runs else None)

    def action_class(self) -> None:
        """Show all containers of the same image over its layers."""
        from layerview.tui.screens.class_view import ClassScreen

        line = self.query_one(ContainerTable).current
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
        line = self.query_one(ContainerTable).current
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

        line = self.query_one(ContainerTable).current
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

        line = self.query_one(ContainerTable).current
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
            self._fill()
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

        line = self.query_one(ContainerTable).current
        self.app.push_screen(RunContainer(line.image if line is not None else ""), self._ran)

    def _ran(self, ids: list[str] | None) -> None:
        if ids:
            self.choose(ids[0])

    def action_image(self) -> None:
        """Open the container's image."""
        line = self.query_one(ContainerTable).current
        if line is not None and line.image_id:
            self.app.open_image(f"local:{line.image or line.image_id}")

    def on_unmount(self) -> None:
        """Let go of what is open."""
        self.workers.cancel_node(self)


def _committed(back: Returned) -> str:
    return ", ".join(names_loaded(back)) or "an image without a name"
