"""The Class view: all running containers of one image, as boxes over the stack that they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from layerview.errors import LayerviewError
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.class_model import ClassModel
from layerview.tui.class_work import (
    Finder,
    loss_of,
    running_here,
    sharing,
    start_words,
    volumes_of,
)
from layerview.tui.errands import started_ids
from layerview.tui.live_view import hues_of
from layerview.tui.ways_in import NoWayIn, WayIn, find_way_in
from layerview.tui.widgets.chrome import (
    AreaBar,
    Bare,
    Pane,
    PaneTitle,
    Piece,
    SubjectRow,
    fit_window,
    muted,
    plain,
    strong,
)
from layerview.tui.widgets.class_board import ClassBoard
from layerview.tui.widgets.class_events import ClassEvents
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.terminal import TerminalPane
from layerview.tui.words import count_of
from layerview.tui.working import Done, TellsFailures, in_background, tell_done
from layerview.watch.target import Target

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp
    from layerview.tui.live_model import Source
    from layerview.tui.screens.ask import Answers

EVERY = 1.0
"""Seconds between two looks at which containers run."""
FRAME = 0.1
"""Seconds between two frames while something rises."""
MOST = 100
"""Containers that are started at once."""


class ClassScreen(TellsFailures, Screen[None], Bare):
    """Everybody's container, over the one stack."""

    CSS_PATH = "../styles/class.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "start more", id="class.new"),
        Binding("f2", "shell", "shell", key_display="F2", id="class.shell"),
        Binding("delete", "remove", "remove", key_display="Del", id="class.remove"),
        Binding("tab", "app.focus_next", "pane", key_display="Tab", show=False, id="class.pane"),
        Binding("escape", "back", "back", key_display="Esc", id="class.back"),
    ]

    app: LayerviewApp

    class Found(Message):
        """The containers that run now."""

        def __init__(self, targets: Sequence[Target]) -> None:
            self.targets = targets
            super().__init__()

    class NotFound(Message):
        """Why they can't be listed."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    class LossKnown(Message):
        """What removing a container would lose."""

        def __init__(self, id: str, words: str) -> None:
            self.id = id
            self.words = words
            super().__init__()

    def __init__(
        self,
        image: str,
        *,
        stack: Sequence[str] = (),
        chosen: str = "",
        find: Finder = running_here,
        open_source: Callable[[Target], Source] | None = None,
    ) -> None:
        """Show the containers of an image.

        Args:
            image: as `run` takes it.
            stack: the ChainIDs of its layers, base first, where they are known.
            chosen: the ID of the container that the cursor stands on first.
            find: returns the containers that run, in a thread.
            open_source: gives what a container's records come from; it is watched by default.
        """
        super().__init__()
        self.image_name = image
        self.stack = tuple(stack)
        self.model: ClassModel | None = None
        self._chosen = chosen
        self._find = find
        self._open_source = open_source
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._looking = False
        self.looked = False
        """Whether it is known which containers run."""
        self._painted = 0.0
        self._shell_of = ""
        """The ID of the container that the shell pane is of."""
        self._events_shown = -1

    # Layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay out the board, and below it what happened, or a shell."""
        glyphs, binary = self.app.glyphs, self.app.binary_sizes
        animated = self.app.animation_level != "none"
        self.model = model = ClassModel(animated=animated)
        yield AreaBar("Containers", glyphs=glyphs, id="areas")
        yield SubjectRow(glyphs=glyphs, id="subject")
        with Pane(id="board-pane"):
            yield PaneTitle("Class", glyphs=glyphs, id="board-title")
            yield ClassBoard(model, self._hue, self._now, binary=binary, glyphs=glyphs, id="board")
        with Pane(id="events-pane"):
            yield PaneTitle("Events", glyphs=glyphs, id="events-title")
            yield ClassEvents(model, binary=binary, glyphs=glyphs, id="events")
        with Pane(id="shell-pane"):
            yield PaneTitle("Shell", glyphs=glyphs, id="shell-title")
            yield TerminalPane(ascii=self.app.ascii, glyphs=glyphs, id="shell")
        yield Keys()

    def on_mount(self) -> None:
        """Look for containers, and keep looking."""
        self.query_one(ClassBoard).message = ("Looking for containers", "")
        self.query_one(ClassBoard).focus()
        self._look()
        self.set_interval(EVERY, self._look)
        self._frames = self.set_interval(FRAME, self._frame, pause=True)
        self._show_words()

    def on_resize(self, event: events.Resize) -> None:
        """Leave out blank rows in a small window."""
        fit_window(self, event.size.width, event.size.height)
        self.query_one(AreaBar).compact = self.has_class("-compact")

    def on_unmount(self) -> None:
        """Watch no more."""
        for task in self._watching.values():
            task.cancel()
        self.workers.cancel_node(self)

    def _now(self) -> float:
        return time.monotonic()

    def _hue(self, number: int) -> int | None:
        return self.query_one(ClassEvents).hues.get(number)

    # Which containers there are --------------------------------------------------------------

    def _look(self) -> None:
        if self._looking or self.app.screen is not self:
            return
        self._looking = True
        stack, image, find = self.stack, self.image_name, self._find

        def work() -> Message:
            return self.Found(sharing(find(), stack, image.removeprefix("local:")))

        in_background(self, work, self.NotFound)

    @on(Found)
    def _found(self, message: Found) -> None:
        assert self.model is not None
        self._looking, self.looked = False, True
        board = self.query_one(ClassBoard)
        board.failed = False
        board.message = ("No container of it runs.", "n starts some")
        at = board.current.target.id if board.current is not None else self._chosen
        came, gone = self.model.show(message.targets)
        for id in gone:
            task = self._watching.pop(id, None)
            if task is not None:
                task.cancel()
            if id == self._shell_of:
                self._close_shell()
        if came and not self.query_one(ClassEvents).hues:
            self._take_hues()
        for target in came:
            self._watching[target.id] = asyncio.create_task(self._watch(target))
        if came or gone:
            board.go_to(at)
            board.boxes_changed()
        self._show_words()

    @on(NotFound)
    def _not_found(self, message: NotFound) -> None:
        self._looking = False
        board = self.query_one(ClassBoard)
        board.failed = True
        board.message = (f"{self.app.glyphs.waste} {message.reason}", "it is tried again")
        board.refresh()

    def _take_hues(self) -> None:
        """Give the layers the hues that they have on every screen."""
        assert self.model is not None
        first = next(iter(self.model.boxes.values())).target
        self.query_one(ClassEvents).hues = hues_of(first, self.app.hues)
        board = self.query_one(ClassBoard)
        board.plinth = printable(self.image_name.removeprefix("local:"))

    # What happens in them --------------------------------------------------------------------

    async def _watch(self, target: Target) -> None:
        """Take what happens in a container, until it goes."""
        assert self.model is not None
        open_source = self._open_source or _watched
        reason = ""
        try:
            async with aclosing(cast(Any, open_source(target).batches())) as batches:
                async for batch in batches:
                    self.model.take(target.id, batch, self._now())
                    self._moved()
        except LayerviewError as error:
            reason = printable(str(error))
        except OSError as error:
            reason = printable(error.strerror or str(error))
        box = self.model.boxes.get(target.id)
        if box is not None and reason:
            box.ended = reason
            self.notify(reason, title=target.name, severity="error", markup=False)
            self._moved()

    def _moved(self) -> None:
        """Show what is new: at once after a rest, else with the next frame."""
        if self._now() - self._painted >= FRAME:
            self._frame()
        self._frames.resume()

    def _frame(self) -> None:
        assert self.model is not None
        if not self.is_attached:
            return
        now = self._painted = self._now()
        if not self.model.advance(now):
            self._frames.pause()
        self.query_one(ClassBoard).refresh()
        if self.model.count != self._events_shown:
            self._show_events()
            self._show_words()

    def _show_events(self) -> None:
        assert self.model is not None
        rows = self.query_one(ClassEvents)
        # Who looks at an older one keeps it under the eyes.
        grown = self.model.count - max(0, self._events_shown)
        self._events_shown = self.model.count
        rows.rows_changed()
        if rows.cursor and rows.has_focus:
            rows.cursor += grown

    # Words -----------------------------------------------------------------------------------

    def _show_words(self) -> None:
        model = self.model
        assert model is not None
        binary = self.app.binary_sizes
        name = strong(printable(self.image_name.removeprefix("local:")))
        count = len(model.boxes)
        stack = sum(layer.size or 0 for layer in model.layers)
        own = sum(box.size for box in model.boxes.values())
        groups: list[list[Piece]] = [[name]]
        drivers = list(dict.fromkeys(box.target.driver for box in model.boxes.values()))
        if count:
            groups.append([strong(f"{count:,}"), muted(" running")])
            shares = "vfs" not in drivers
            words = " shared once" if shares else " in each of them: vfs shares nothing"
            groups.append([plain(format_size(stack, binary=binary)), muted(words)])
            groups.append([plain(format_size(own, binary=binary)), muted(" in their own layers")])
        self.query_one("#subject", SubjectRow).show(groups)
        self.query_one(AreaBar).show(("local", *drivers), [name, muted(f"  {count} running")])
        title = self.query_one("#events-title", PaneTitle)
        counts: list[Piece] = []
        if model.count:
            counts = [
                strong(f"{model.copy_ups:,}"),
                muted(" copy-up, " if model.copy_ups == 1 else " copy-ups, "),
                strong(format_size(model.copied, binary=binary)),
                muted(f" copied, {count_of(model.count, 'event')}"),
            ]
        title.show(right=counts)
        self.query_one("#board-title", PaneTitle).show(
            right=[muted("one writable layer each, over one stack")]
        )
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Dim what needs a container where there is none."""
        if action in ("shell", "remove") and not (self.model is not None and self.model.boxes):
            return None
        return True

    # Keys ------------------------------------------------------------------------------------

    @on(ClassBoard.Chosen)
    def _open_live(self, message: ClassBoard.Chosen) -> None:
        message.stop()
        assert self.model is not None
        box = self.model.boxes.get(message.id)
        if box is not None:
            from layerview.tui.live_start import show_live

            show_live(self.app, box.target)

    def action_new(self) -> None:
        """Start more containers of the image."""
        from layerview.tui.screens.ask import Ask, Question

        def answer(answers: Answers | None) -> None:
            number = (answers or {}).get("count", "").strip()
            if answers is None:
                return
            if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= MOST:
                self.notify(f"How many: 1 to {MOST}.", severity="warning", markup=False)
                return
            self._start(int(number))

        words = "Each gets a thin layer of its own; the stack below is there already."
        self.app.push_screen(
            Ask("Start more", words, [Question("count", "How many", "1")], "Start"), answer
        )

    def _start(self, count: int) -> None:
        from layerview.tui.live_start import demo_volumes

        assert self.model is not None
        box = next(iter(self.model.boxes.values()), None)
        volumes = demo_volumes(self.image_name) if box is None else volumes_of(box.target)
        words = start_words(self.image_name, count, volumes)

        def work() -> Message:
            ids = started_ids(self.app.worker.ask(words))
            return Done("Started", count_of(len(ids), "container"), ids)

        in_background(self, work, lambda reason: Done("Started", reason, failed=True))

    @on(Done)
    def _done(self, message: Done) -> None:
        if message.failed:
            tell_done(self, message)
        self._look()

    def action_remove(self) -> None:
        """Remove the container, after saying what goes with it."""
        box = self.query_one(ClassBoard).current
        if box is None:
            return
        target, binary = box.target, self.app.binary_sizes
        if target.engine != "layerview":
            words = f"{target.name} is {target.engine}'s: it is removed there."
            self.notify(words, severity="warning", markup=False)
            return

        def work() -> Message:
            return self.LossKnown(target.id, loss_of(self.app.worker.ask, target.id, binary))

        in_background(self, work, lambda reason: Done("Removed", reason, failed=True))

    @on(LossKnown)
    def _loss_known(self, message: LossKnown) -> None:
        from layerview.tui.screens.confirm import Confirm

        assert self.model is not None
        box = self.model.boxes.get(message.id)
        if box is None:
            return
        name = printable(box.target.name)

        def answer(sure: bool | None) -> None:
            if sure:
                self._remove(message.id, name)

        self.app.push_screen(Confirm(f"Remove {name}?", message.words, "Remove"), answer)

    def _remove(self, id: str, name: str) -> None:
        def work() -> Message:
            self.app.worker.ask(["rm", "--json", "--force", id])
            return Done("Removed", name)

        in_background(self, work, lambda reason: Done("Removed", reason, failed=True))

    def action_back(self) -> None:
        """Close the shell, or leave."""
        if self._shell_of:
            self._close_shell()
        else:
            self.app.pop_screen()

    # A shell ---------------------------------------------------------------------------------

    def action_shell(self) -> None:
        """Open a shell in the container under the cursor; from there go back to the boxes."""
        box = self.query_one(ClassBoard).current
        if box is None:
            return
        target = box.target
        pane = self.query_one(TerminalPane)
        if self._shell_of == target.id and pane.connected:
            pane.focus()
            return
        if target.engine != "layerview":
            words = f"{target.name} is {target.engine}'s: `{target.engine} exec -it` opens a shell."
            self.notify(words, severity="warning", markup=False)
            return
        self._shell_of = target.id
        self.add_class("-shell")
        pane.say(f"Opening a shell of {printable(target.name)}")
        self.query_one("#shell-title", PaneTitle).show(
            "Shell", [muted("F2 leaves it")], name=printable(target.name)
        )
        pane.focus()
        self.call_after_refresh(find_way_in, pane, target.id, "shell")

    @on(WayIn)
    def _way_in(self, message: WayIn) -> None:
        if message.id != self._shell_of:
            message.dispose()
            return
        pane = self.query_one(TerminalPane)
        pane.typing = True
        pane.connect(message.wire)

    @on(NoWayIn)
    def _no_way_in(self, message: NoWayIn) -> None:
        if message.id == self._shell_of:
            words = f"{self.app.glyphs.waste} {message.reason}"
            self.query_one(TerminalPane).say(words, "Esc closes it", failed=True)

    @on(TerminalPane.Left)
    def _pane_left(self, message: TerminalPane.Left) -> None:
        message.stop()
        self.query_one(ClassBoard).focus()

    @on(TerminalPane.Closed)
    @on(TerminalPane.Ended)
    def _pane_closed(self, message: TerminalPane.Told) -> None:
        message.stop()
        self._close_shell()

    def _close_shell(self) -> None:
        self._shell_of = ""
        self.query_one(TerminalPane).disconnect()
        self.remove_class("-shell")
        self.query_one(ClassBoard).focus()


def _watched(target: Target) -> Source:
    """Return the source of a container that runs."""
    from layerview.tui.live_sources import WatchedSource

    return WatchedSource(target)
