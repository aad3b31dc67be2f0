"""The Live view of a container: copy-ups as they happen, retold so that they can be seen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer

from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.container_lines import ContainerLine, short_time
from layerview.tui.live_lanes import lanes
from layerview.tui.live_model import LiveModel
from layerview.tui.live_view import (
    figures,
    hues_of,
    now_shown,
    slabs_of,
    stopped_words,
    top_of,
    volumes_of,
)
from layerview.tui.live_words import burst_words, clock
from layerview.tui.screens.live_work import LiveWork
from layerview.tui.widgets.chrome import (
    AreaBar,
    Column,
    Pane,
    Panes,
    PaneTitle,
    Piece,
    SubjectRow,
    muted,
    strong,
)
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.live_events import EventList
from layerview.tui.widgets.live_lanes import LiveLanes
from layerview.tui.widgets.live_now import Figures, NowLines, TryList
from layerview.tui.widgets.live_stack import LiveStack
from layerview.tui.widgets.terminal import TerminalPane

if TYPE_CHECKING:
    from layerview.tui.live_model import Source
    from layerview.tui.live_record import LiveRecorder
    from layerview.tui.screens.ask import Answers
    from layerview.watch.events import Record

FRAME = 0.1
"""Seconds between two frames at least."""

FACTS = 0.03
"""Seconds between two paintings of what has happened: all of it is there before its story is."""

SLOWER = 5
"""How many times longer all takes in slow motion."""

_PATIENCE = 0.7
"""Seconds that the shell waits for the watching to begin."""


class LiveScreen(LiveWork):
    """One container, live or out of a recording."""

    CSS_PATH = "../styles/live.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "pane", "shell or events", key_display="F2", id="live.pane"),
        Binding("space", "pause", "pause", key_display="Space", id="live.pause"),
        Binding("right", "step(1)", "step", key_display="← →", id="live.step"),
        Binding("left", "step(-1)", "frame back", show=False, id="live.back_step"),
        Binding("m", "slow", "slow motion", id="live.slow"),
        Binding("e", "events", "events only", id="live.events"),
        Binding("t", "lanes", "time lanes", id="live.lanes"),
        Binding("y", "tries", "try this", id="live.tries"),
        Binding("w", "record", "record", show=False, id="live.record"),
        Binding("n", "new", "new container", id="live.new"),
        Binding("c", "changes", "changes", id="live.changes"),
        Binding("K", "stop", "stop", id="live.stop"),
        Binding("escape", "back", "back", key_display="Esc", show=False, id="live.back"),
    ]

    def __init__(
        self,
        source: Source,
        *,
        started: str | None = None,
        tries: bool = False,
        shell: bool = True,
        animated: bool | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Show a container.

        Args:
            source: where its records come from.
            started: when it was started, as records have it.
            tries: show what to try from the start.
            shell: open a shell in it where that is possible.
            animated: whether copy-ups are retold frame by frame; as the app's setting when None.
            monotonic: the clock that the story goes by.
            wall: seconds since 1970.
        """
        super().__init__(source)
        self.started = started
        self.recorder: LiveRecorder | None = None
        """Writes what happens to a file."""
        self.slow = False
        self._wants_tries = tries
        self._wants_shell = shell
        self._animated = animated
        self._monotonic, self._wall = monotonic, wall
        self._begun = int(wall() * 1000)
        self._told_at = monotonic()
        self._painted_at = 0.0
        self._dirty = False
        self._failure = ""
        self._shell_opened = False
        self._shell_waits = False
        self._steps_when_taken = False
        self._ticker: Timer | None = None
        self._painting: Timer | None = None
        self.model = LiveModel(self.target)
        self.hues: dict[int, int | None] = {}

    # Layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay out the stack, a shell beside it, the totals, and the events below."""
        glyphs, binary = self.app.glyphs, self.app.binary_sizes
        self.hues.update(hues_of(self.target, self.app.hues))
        yield AreaBar("Containers", glyphs=glyphs, id="areas")
        yield SubjectRow(glyphs=glyphs, id="subject")
        with Panes(id="panes"):
            with Container(id="top"):
                with Pane(id="stack-pane"):
                    yield PaneTitle("Stack", glyphs=glyphs, id="stack-title")
                    yield LiveStack(glyphs=glyphs, binary=binary, id="stack")
                    yield LiveLanes(glyphs=glyphs, id="lanes")
                with Column(id="side"):
                    with Pane(id="shell-pane"):
                        yield PaneTitle("Shell", glyphs=glyphs, id="shell-title")
                        yield TerminalPane(ascii=self.app.ascii, glyphs=glyphs, id="shell")
                    with Pane(id="try-pane"):
                        yield PaneTitle("Try this", glyphs=glyphs, id="try-title")
                        yield TryList(glyphs=glyphs)
                    with Pane(id="far-pane"):
                        yield PaneTitle("So far", glyphs=glyphs, id="far-title")
                        yield Figures(glyphs=glyphs, id="figures")
                    with Pane(id="now-pane"):
                        yield PaneTitle("Now", glyphs=glyphs)
                        yield NowLines(self.hues, glyphs=glyphs)
            with Pane(id="low-now"):
                yield PaneTitle("Now", glyphs=glyphs, id="low-title")
                yield NowLines(self.hues, glyphs=glyphs)
            with Pane(id="low-try"):
                yield PaneTitle("Try this", glyphs=glyphs, id="low-try-title")
                yield TryList(glyphs=glyphs)
            with Pane(id="events-pane"):
                yield PaneTitle("Events", glyphs=glyphs, id="events-title")
                yield EventList(
                    self.model.store.__getitem__,
                    self.model.layers,
                    self.hues,
                    binary=binary,
                    glyphs=glyphs,
                    id="events",
                )
        yield Keys()

    def on_mount(self) -> None:
        """Begin to follow the container, and open a shell in it."""
        animated = self._animated
        if animated is None:
            animated = self.app.animation_level != "none"
        self.model.teller.animated = animated
        self._ticker = self.set_interval(FRAME, self._tick, pause=True)
        self.set_interval(1.0, self._each_second)
        self.set_class(self._wants_tries, "-try")
        self.query_one(EventList).message = ("Nothing has happened yet.", "")
        self._begin_shell()
        self.show_all()
        self.run_worker(self.follow(), name="watching", exit_on_error=False)

    @on(Panes.Resized)
    def _resized(self, message: Panes.Resized) -> None:
        self._lay_out(message.width, message.height)

    def on_resize(self, event: events.Resize) -> None:
        """Choose what there is room for."""
        self._lay_out(event.size.width, event.size.height)

    def _lay_out(self, width: int, height: int) -> None:
        narrow = width < 100
        wide = width >= 130 and height >= 40
        compact = narrow or height < 36
        self.set_class(narrow, "-narrow")
        self.set_class(wide, "-wide")
        self.set_class(not wide, "-flat")
        self.set_class(compact, "-compact")
        self.query_one(AreaBar).compact = narrow
        for title in self.query(PaneTitle):
            title.compact = compact
        stack = self.query_one(LiveStack)
        head = 1 if compact else 2
        fixed = (2 if compact else 5) - narrow + (1 if compact else 2)
        if narrow:
            room = max(4, height - fixed - head - 2 - 7)
        elif wide:
            room = height - fixed - 2 * head - 1 - 5
        else:
            room = max(5, height - fixed - 2 * head - (head + 2) - 4 - (0 if compact else 2))
        stack.fit(narrow=narrow, room=room, low=not wide and not narrow and height < 45)
        rows = len(stack.rows())
        if wide:
            rows = max(rows, min(room, 24))
        elif not narrow:
            rows = max(rows, min(room, 13))
        self.query_one(LiveLanes).fit_room(rows)
        top = self.query_one("#top")
        top.styles.height = "auto" if narrow else rows + head
        if narrow:
            stack.styles.height = rows
        self._dirty = True
        self.call_after_refresh(self.show_all)

    # What happens ----------------------------------------------------------------------------

    def take(self, records: Sequence[Record]) -> None:
        """Take what happened, and show it at once unless that was done just now."""
        self._let_time_pass()
        known = len(self.model.notices)
        self.model.take(records)
        self.model.sample(self._monotonic())
        if self.recorder is not None:
            self.recorder.write(records)
        for notice in self.model.notices[known:]:
            self.notify(printable(notice), markup=False, timeout=10)
        if self._steps_when_taken and self.model.held_back:
            self._steps_when_taken = False
            self.model.step(1)
        self.model.advance(0)
        self._dirty = True
        if self._shell_waits:
            # The pane has its size only once it is laid out.
            self.call_after_refresh(self._open_first_shell)
        self._paint_soon()
        self._keep_ticking()

    def _paint_soon(self) -> None:
        """Paint what is new, at once or as soon as the painting before is long enough ago."""
        wait = FACTS - (time.monotonic() - self._painted_at)
        if wait <= 0:
            self.show_all()
        elif self._painting is None:
            self._painting = self.set_timer(wait, self.show_all)

    def tell_failure(self, reason: str) -> None:
        """Say why nothing more will be told."""
        self._failure = reason
        self._dirty = True
        self.show_all()

    def _let_time_pass(self) -> None:
        now = self._monotonic()
        passed, self._told_at = now - self._told_at, now
        self.model.advance(passed * 1000 / (SLOWER if self.slow else 1))

    def _tick(self) -> None:
        before = self.model.frame
        self._let_time_pass()
        if self._dirty:
            self.show_all()
        elif self.model.frame != before:
            self.show_story()
        self._keep_ticking()

    def _keep_ticking(self) -> None:
        if self._ticker is None:
            return
        due = self.model.teller.due is not None and not self.model.paused
        if due or self._dirty:
            self._ticker.resume()
        else:
            self._ticker.pause()

    def _each_second(self) -> None:
        if self.app.screen is not self:
            return
        tries = self.model.tries
        if tries.waits and tries.settle(int(self._wall() * 1e9)):
            self._show_tries()
        self._show_subject()
        self._show_stack()
        if self.has_class("-lanes"):
            self._show_lanes()

    # Showing it ------------------------------------------------------------------------------

    def show_all(self) -> None:
        """Paint all that has changed."""
        if not self.is_attached:
            return
        self._dirty = False
        self._painted_at = time.monotonic()
        if self._painting is not None:
            self._painting.stop()
            self._painting = None
        self._show_subject()
        self._show_stack()
        self._show_totals()
        self._show_tries()
        if self.has_class("-lanes"):
            self._show_lanes()
        self.show_story()

    def show_story(self) -> None:
        """Paint the frame that the story has come to."""
        model = self.model
        frame = model.frame
        done: tuple[int, int | None] | None = None
        if frame is not None and frame.number < 0:
            copying = model.copying.get(frame.event.path)
            done = (copying.done, copying.total) if copying is not None else None
        self.query_one(LiveStack).show_frame(frame, done)
        told = frame.number if frame is not None and frame.number >= 0 else None
        event_list = self.query_one(EventList)
        event_list.show(model.shown, list(model.copying.values()), told)
        if model.told is not None and model.told == told:
            event_list.go_to(model.told)
        sentences = now_shown(model, frame, done, self.app.binary_sizes)
        stopped = stopped_words(model, self._failure)
        for lines in self.query(NowLines):
            lines.show(sentences if not stopped else [stopped], failed=bool(self._failure))
        words = burst_words(model.teller.untold)
        hint = "search goes down, the file comes up"
        if self.target.driver == "vfs":
            hint = "a whole tree of its own: nothing comes up"
        self._title("stack", [strong(words) if words else muted(hint)])

    def _title(self, name: str, right: list[Piece]) -> None:
        """Show what stands at the right of a title; painted again only when it is something new."""
        title = self.query_one(f"#{name}-title", PaneTitle)
        if title.right != right:
            title.show(right=right)

    def _show_subject(self) -> None:
        target, model = self.target, self.model
        name, image = printable(target.name), printable(target.image)
        image = image[7:19] if image.startswith("sha256:") else image
        groups: list[list[Piece]] = [
            [strong(name)],
            [muted(target.id[:12])],
            [muted("from "), (image, "foreground", False)],
        ]
        up = short_time(self.started, self._wall())
        if up:
            groups.append([muted(f"up {up}")])
        state = self._state_pieces()
        self.query_one("#subject", SubjectRow).show(groups, state)
        driver = (
            target.driver if target.engine == "layerview" else f"{target.engine}   {target.driver}"
        )
        place = ("local" if self.recording is None else "recording", driver)
        size = format_size(model.ledger.container_layer_size, binary=self.app.binary_sizes)
        short = [strong(name), muted("  W "), strong(size)]
        if self.model.paused or self.recorder is not None or self.slow:
            short += [muted("  "), *state]
        self.query_one(AreaBar).show(place, short)
        hints = [muted("newest first"), muted("   e events only   m slow motion")]
        self._title("events", hints)

    def _state_pieces(self) -> list[Piece]:
        glyphs, model = self.app.glyphs, self.model
        pieces: list[Piece] = []
        if self.recorder is not None:
            pieces.append(strong(f"{glyphs.winner} recording   ", "error"))
        if self.recording is not None:
            pieces.append(muted("a recording plays   "))
        if self.slow:
            pieces.append(strong(f"{glyphs.times}{SLOWER} slower   "))
        if model.ended:
            pieces.append(muted(f"ended: {printable(model.ended)}"))
        elif model.paused:
            waiting = f"   {model.held_back:,} more wait" if model.held_back else ""
            pieces += [strong("paused"), muted(f"{waiting}   Space goes on")]
        else:
            pieces.append(muted("Space pauses"))
        return pieces

    def _show_stack(self) -> None:
        model, binary = self.model, self.app.binary_sizes
        stack = self.query_one(LiveStack)
        rows = len(stack.rows())
        stack.show(
            top_of(model, self._monotonic(), binary),
            slabs_of(model, self.hues, binary),
            volumes_of(model, binary),
            printable(self.target.image),
        )
        if len(stack.rows()) != rows:
            self._lay_out(self.size.width, self.size.height)

    def _show_totals(self) -> None:
        binary = self.app.binary_sizes
        shown = figures(self.model, binary)
        self.query_one(Figures).show(shown)
        since = clock(self._begun * 1_000_000, short=True)
        before = " and before" if self.model.held else ""
        self._title("far", [muted(f"since {since}{before}")])
        pieces: list[Piece] = []
        for words, number in shown[: 3 if self.has_class("-narrow") else 6]:
            pieces += [muted(f"{'   ' if pieces else ''}{words} "), strong(number)]
        self._title("low", pieces)

    def _show_tries(self) -> None:
        tries = self.model.tries
        for one in self.query(TryList):
            one.show(tries.lines)
        done = f"{tries.finished} of {len(tries.lines)} done"
        for name in ("try", "low-try"):
            self._title(name, [muted(f"{done}   y closes it")])

    def _show_lanes(self) -> None:
        widget = self.query_one(LiveLanes)
        model = self.model
        slabs = slabs_of(model, self.hues, self.app.binary_sizes)
        shown = lanes(
            model.shown,
            model.store.__getitem__,
            widget.columns,
            int(self._wall() * 1000),
            self._begun,
        )
        widget.show(slabs, bool(self.target.volumes), shown)

    # Keys ------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Dim the keys that do nothing here."""
        if action in ("stop", "changes") and not self.is_ours:
            return None
        return None if action == "stop" and self.model.ended else True

    def action_pause(self) -> None:
        """Stop the story, or let it go on; the container goes on all the same."""
        self._let_time_pass()
        paused = not self.model.paused
        self.model.pause(paused)
        if self.recording is not None:
            self.recording.pause(paused)
        self.show_all()
        self._keep_ticking()

    def action_step(self, by: int) -> None:
        """Go a frame on or back."""
        self._let_time_pass()
        model = self.model
        before = (model.frame, model.shown)
        model.step(by)
        if self.recording is not None:
            self.recording.pause(True)
            if by > 0 and (model.frame, model.shown) == before:
                # All that was played is seen: the recording goes on by one event.
                self._steps_when_taken = True
                self.recording.step(1)
        self.show_all()

    def action_slow(self) -> None:
        """Take five times as long, or as long as it takes."""
        self._let_time_pass()
        self.slow = not self.slow
        if self.recording is not None:
            self.recording.slow_motion(self.slow)
        self.show_all()

    def action_events(self) -> None:
        """Show events only, or all again."""
        self.toggle_class("-only-events")
        self.remove_class("-try")
        self.query_one(EventList).focus()

    def action_lanes(self) -> None:
        """Show what happened when, instead of the stack, or the stack again."""
        self.toggle_class("-lanes")
        title = "Time lanes" if self.has_class("-lanes") else "Stack"
        self.query_one("#stack-title", PaneTitle).show(title)
        self.call_after_refresh(self.show_all)

    def action_tries(self) -> None:
        """Show what to try, or not."""
        self.toggle_class("-try")
        self.remove_class("-only-events")

    def action_pane(self) -> None:
        """Go between the shell and the events."""
        pane = self.query_one(TerminalPane)
        self.remove_class("-only-events")
        if pane.has_focus:
            self.remove_class("-front")
            self.query_one(EventList).focus()
        else:
            self.add_class("-front")
            self.call_after_refresh(self._enter_shell)

    def _enter_shell(self) -> None:
        pane = self.query_one(TerminalPane)
        pane.focus()
        if not pane.connected and self.is_ours and not self.model.ended:
            self._open_shell()

    def action_back(self) -> None:
        """Leave events only, or the Live view."""
        if self.has_class("-only-events"):
            self.remove_class("-only-events")
        else:
            self.dismiss()

    def action_record(self) -> None:
        """Write what happens to a file, all that was told so far first; or end that."""
        from layerview.tui.screens.ask import Ask, Question

        if self.recorder is not None:
            self._end_recording()
            return

        def answer(answers: Answers | None) -> None:
            path = os.path.expanduser((answers or {}).get("file", "").strip())
            if path:
                self._begin_recording(path)

        words = "All that was told so far goes first. layerview watch --replay FILE plays it."
        name = "".join(sign if sign.isalnum() else "-" for sign in self.target.name)
        question = Question("file", "File", f"{name}.jsonl")
        self.app.push_screen(Ask("Record to a file", words, [question], "Record"), answer)

    def _begin_recording(self, path: str) -> None:
        from layerview.tui.live_record import LiveRecorder

        def failed(reason: str) -> None:
            with suppress(RuntimeError):
                self.post_message(self.NotRecorded(reason))

        self.recorder = LiveRecorder(path, self.target, failed)
        store = self.model.store
        for start in range(0, len(store), 4096):
            self.recorder.write(store[start : start + 4096])
        self.show_all()

    def _end_recording(self) -> None:
        if self.recorder is not None:
            recorder, self.recorder = self.recorder, None
            recorder.close()
            self.notify(printable(recorder.path), title="Recorded", markup=False)
            self.show_all()

    @on(LiveWork.NotRecorded)
    def _not_recorded(self, message: LiveWork.NotRecorded) -> None:
        self.recorder = None
        self.notify(message.reason, title="Not recorded", severity="error", markup=False)
        self.show_all()

    def on_unmount(self) -> None:
        """End what is open."""
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None

    def action_stop(self) -> None:
        """Stop the container."""
        if self.is_ours:
            self.notify(f"Stopping {printable(self.target.name)}", markup=False)
            self.stop()

    def action_changes(self) -> None:
        """Show what the container changed of its image."""
        if self.is_ours:
            self.find_changes()

    def action_new(self) -> None:
        """Start another container, and show that one."""
        from layerview.tui.screens.live_open import open_container
        from layerview.tui.screens.run_container import RunContainer

        def started(ids: list[str] | None) -> None:
            if ids:
                open_container(self.app, ids[0], instead=self)

        self.app.push_screen(RunContainer(self.target.image), started)

    @on(EventList.Chosen)
    def _show_event(self, message: EventList.Chosen) -> None:
        from layerview.tui.screens.live_event import LiveEvent

        message.stop()
        number = self.query_one(EventList).number_at(message.row)
        if number is not None:
            event = self.model.store[number]
            self.app.push_screen(LiveEvent(event, self.model.layers, binary=self.app.binary_sizes))

    @on(LiveWork.Changes)
    def _changes_known(self, message: LiveWork.Changes) -> None:
        from layerview.tui.screens.changes import ChangesScreen

        target = self.target
        line = ContainerLine(
            target.id, printable(target.name), printable(target.image), "", "running", target.driver
        )
        self.app.push_screen(ChangesScreen(line, message.changes))

    @on(LiveWork.Done)
    def _done(self, message: LiveWork.Done) -> None:
        if message.failed:
            self.notify(message.words, severity="error", markup=False)
        else:
            self.notify(message.words, markup=False)

    # The shell -------------------------------------------------------------------------------

    def _begin_shell(self) -> None:
        pane = self.query_one(TerminalPane)
        if self.is_ours and self.target.pid is not None and self._wants_shell:
            self.add_class("-front")
            self._title_shell([muted("F2 leaves it")])
            pane.focus()
            # What is typed in it is to be seen: it opens when the watching has begun.
            pane.say("Opening a shell")
            self._shell_waits = True
            self.set_timer(_PATIENCE, self._open_first_shell)
            return
        name = printable(self.target.name)
        if self.recording is not None:
            pane.say("A recording plays: nothing runs here.", "Space stops it, ← → step")
        elif self.is_ours:
            pane.say(f"{name} does not run.", "what it holds is shown below")
        else:
            engine = printable(self.target.engine)
            pane.say(f"{engine} exec -it {name} sh", "in another terminal, and watch here")
        self.query_one(EventList).focus()

    def _open_first_shell(self) -> None:
        if self._shell_waits:
            self._shell_waits = False
            self._open_shell()

    def _open_shell(self) -> None:
        self._shell_waits = False
        if self._shell_opened:
            return
        self._shell_opened = True
        pane = self.query_one(TerminalPane)
        pane.say("Opening a shell")
        self.find_way_in(pane.size.height or 24, pane.size.width or 80)

    def _title_shell(self, right: list[Piece]) -> None:
        self._title("shell", right)

    @on(LiveWork.WayIn)
    def _way_in(self, message: LiveWork.WayIn) -> None:
        self.query_one(TerminalPane).connect(message.wire)
        self._title_shell([muted("F2 leaves it")])

    @on(LiveWork.NoWayIn)
    def _no_way_in(self, message: LiveWork.NoWayIn) -> None:
        self._shell_opened = False
        sign = self.app.glyphs.waste
        self.query_one(TerminalPane).say(f"{sign} {message.reason}", "F2 tries again", failed=True)
        self.query_one(EventList).focus()

    @on(TerminalPane.Left)
    def _shell_left(self, message: TerminalPane.Left) -> None:
        message.stop()
        self.remove_class("-front")
        self.query_one(EventList).focus()

    @on(TerminalPane.Closed)
    def _shell_closed(self, message: TerminalPane.Closed) -> None:
        message.stop()
        self.action_back()

    @on(TerminalPane.Ended)
    def _shell_ended(self, message: TerminalPane.Ended) -> None:
        message.stop()
        self._shell_opened = False
        self._title_shell([muted("ended   F2 opens another")])
        self.remove_class("-front")
        self.query_one(EventList).focus()

    @on(TerminalPane.LookedBack)
    def _looked_back(self, message: TerminalPane.LookedBack) -> None:
        message.stop()
        rows = f"{message.rows:,} rows back   " if message.rows else ""
        self._title_shell([muted(f"{rows}F2 leaves it")])
