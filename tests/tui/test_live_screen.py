"""The Live view, driven: facts at once, the story after them, a pause that loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from layerview.errors import LayerviewError
from layerview.tui.app import LayerviewApp
from layerview.tui.replay import open_replay
from layerview.tui.screens.ask import Ask
from layerview.tui.screens.changes import ChangesScreen
from layerview.tui.screens.choose import ChooseImage
from layerview.tui.screens.containers import ContainersScreen
from layerview.tui.screens.live import LiveScreen
from layerview.tui.screens.live_event import LiveEvent
from layerview.tui.screens.run_container import RunContainer
from layerview.tui.widgets.live_events import EventList
from layerview.tui.widgets.live_lanes import LiveLanes
from layerview.tui.widgets.live_now import NowLines
from layerview.tui.widgets.live_stack import LiveStack
from layerview.watch.events import CowEvent, Ended, Notice, Record
from tests.tui.driving import screen_text, until
from tests.tui.live_specimens import (
    BIG,
    Clock,
    Script,
    after,
    big_copied,
    big_copying,
    copy_up,
    event,
    layers,
    morning,
    target,
)
from tests.tui.told import ToldWorker, app_on

SIZE = (140, 45)


class Shown:
    """A Live view on a script, with a clock that stands."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.source = Script(more.pop("watched", None) or target(), more.pop("records", ()))
        self.worker = ToldWorker(changes=[{"path": "/etc", "kind": "C"}])
        self.app: LayerviewApp = app_on(self.worker)
        self.screen = LiveScreen(
            self.source,
            animated=more.pop("animated", True),
            monotonic=self.clock,
            wall=self.clock.wall,
            **more,
        )

    async def begin(self, pilot: Pilot[Any]) -> None:
        """Show it."""
        self.app.push_screen(self.screen)
        await until(pilot, lambda: self.screen.is_mounted and self.stack.size.width > 0)
        await pilot.pause()

    async def give(self, pilot: Pilot[Any], *records: Any) -> None:
        """Have records taken."""
        taken = self.source.taken
        self.source.give(*records)
        # What comes shortly after a painting waits for the next one.
        await until(pilot, lambda: self.source.taken > taken and not self.screen._dirty)

    async def later(self, pilot: Pilot[Any], milliseconds: float) -> None:
        """Let time go by."""
        after(self.clock, milliseconds, self.screen._tick)
        await pilot.pause()

    @property
    def stack(self) -> LiveStack:
        return self.screen.query_one(LiveStack)

    @property
    def events(self) -> EventList:
        return self.screen.query_one(EventList)

    @property
    def now(self) -> str:
        """What is said of what happens now, not broken into lines."""
        lines = self.screen.query(NowLines).first().sentences
        return " ".join("".join(word.text for word in line) for line in lines)

    @property
    def text(self) -> str:
        return screen_text(self.app)


async def test_facts_stand_there_at_once_and_the_story_comes_after_them() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        assert "Nothing has changed yet" in shown.text
        await shown.give(pilot, copy_up("etc/hosts.allow", 0, 411))
        text = shown.text
        assert "searched 5 4 3 2 1, found in 0" in text
        assert "All 411 B are copied first" in shown.now
        assert "● found" not in text
        assert text.count("not here") == 1
        await shown.later(pilot, 300)
        assert shown.text.count("not here") == 4
        await shown.later(pilot, 300)
        assert "● found" in shown.text
        await shown.later(pilot, 200)
        # The dotted way to the container layer, and the file at its beginning.
        assert "┄┄┄┐" in shown.text
        assert "━━┛" in shown.text
        await shown.later(pilot, 800)
        assert "┄┄┄┐" not in shown.text
        assert shown.stack.frame is not None
        assert shown.stack.frame.landed
        await shown.later(pilot, 6000)
        assert "not here" not in shown.text


async def test_a_file_that_takes_long_is_its_own_progress_bar() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await shown.give(pilot, big_copying(0))
        await shown.later(pilot, 900)
        await shown.give(pilot, big_copying(24_900_000))
        await shown.later(pilot, 100)
        text = shown.text
        assert text.count("24.9 of 38.7 MB") == 2
        assert text.count("64 %") == 2
        await shown.give(pilot, big_copied(), event("write", BIG, 44.41, written=1))
        await shown.later(pilot, 400)
        assert "All 38.7 MB are copied first, for a write of 1 B." in shown.now
        assert shown.events.row_count() == 2


async def test_a_pause_keeps_all_and_shows_it_frame_by_frame() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await pilot.press("space")
        assert "paused" in shown.text
        await shown.give(pilot, *morning())
        assert shown.events.row_count() == 0
        assert "7 more wait" in shown.text
        await shown.later(pilot, 3000)
        assert shown.stack.frame is None
        await pilot.press("right")
        assert shown.events.row_count() == 1
        await pilot.press("right")
        await pilot.press("right")
        assert shown.events.row_count() == 2
        frame = shown.stack.frame
        assert frame is not None
        assert (frame.number, frame.seen) == (1, 1)
        await pilot.press("left")
        assert shown.stack.frame is not None
        assert (shown.stack.frame.number, shown.stack.frame.seen) == (1, 0)
        await pilot.press("left")
        assert shown.stack.frame.number == 0
        assert shown.events.cursor == shown.events.row_count() - 1
        await pilot.press("space")
        assert shown.events.row_count() == 7
        assert "Space pauses" in shown.text


async def test_slow_motion_takes_five_times_as_long() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await pilot.press("m")
        assert "×5 slower" in shown.text
        await shown.give(pilot, copy_up("etc/hosts.allow", 0, 411))
        await shown.later(pilot, 1000)
        assert shown.stack.frame is not None
        assert shown.stack.frame.seen == 2


async def test_without_animations_only_the_landing_is_painted() -> None:
    shown = Shown(animated=None)
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await shown.give(pilot, copy_up("etc/hosts.allow", 0, 411))
        assert shown.stack.frame is not None
        assert shown.stack.frame.landed


async def test_a_volume_is_passed_and_the_stack_stays_still() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await shown.give(pilot, morning()[-1])
        assert "▾" in shown.text
        assert "not here" not in shown.text
        assert "past the storage driver" in shown.text
        await shown.later(pilot, 300)
        assert "3.4 MB" in shown.text


async def test_ten_thousand_events_are_all_in_the_list_and_the_screen_stays_quick() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        burst = [copy_up(f"data/part{n:05}", 0, n, n / 1000) for n in range(10_000)]
        start = time.monotonic()
        for at in range(0, 10_000, 500):
            shown.source.give(*burst[at : at + 500])
        await until(pilot, lambda: shown.source.taken == 20)
        taken = time.monotonic() - start
        await shown.later(pilot, 100)
        assert shown.events.row_count() == 10_000
        assert "more events, all in the list" in shown.text
        await pilot.press("end")
        assert shown.events.cursor == 9_999
        assert "part00000" in shown.text
        await pilot.press("home")
        assert "part09999" in shown.text
        assert taken < 15


async def test_the_cursor_stays_on_its_event_while_others_come() -> None:
    shown = Shown(records=morning())
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await until(pilot, lambda: shown.events.row_count() == 7)
        await pilot.press("down", "down")
        number = shown.events.number_at(shown.events.cursor)
        await shown.give(pilot, copy_up("a", 0, 1, 50), copy_up("b", 0, 1, 51))
        await shown.later(pilot, 100)
        assert shown.events.number_at(shown.events.cursor) == number
        await pilot.press("home")
        await shown.give(pilot, copy_up("c", 0, 1, 52))
        await shown.later(pilot, 100)
        # At the top it stays at the top: the newest is what one waits for.
        assert shown.events.cursor == 0


async def test_enter_shows_where_it_lies_on_disk() -> None:
    shown = Shown(records=morning())
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await until(pilot, lambda: shown.events.row_count() == 7)
        await pilot.press("end", "up", "enter")
        await until(pilot, lambda: isinstance(shown.app.screen, LiveEvent))
        assert "/lv/overlay2/upper/diff/etc/nginx/nginx.conf" in shown.text
        assert "nginx (pid 4121)" in shown.text
        await pilot.press("escape")
        assert shown.app.screen is shown.screen


async def test_events_only_time_lanes_and_what_to_try_are_a_key_away() -> None:
    shown = Shown(records=morning())
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await until(pilot, lambda: shown.events.row_count() == 7)
        await pilot.press("e")
        await pilot.pause()
        assert not shown.stack.is_on_screen
        assert shown.events.size.height > 30
        await pilot.press("escape")
        await pilot.pause()
        assert shown.stack.is_on_screen
        await shown.later(pilot, 40_000)
        await pilot.press("t")
        await until(pilot, lambda: "Time lanes" in shown.text and "21:13:57" in shown.text)
        assert shown.screen.query_one(LiveLanes).lanes is not None
        await pilot.press("t", "y")
        await pilot.pause()
        assert "Try this" in shown.text
        assert "of 8 done" in shown.text
        assert "Stack" in shown.text


async def test_what_was_done_is_ticked_off() -> None:
    shown = Shown(tries=True)
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        assert "0 of 8 done" in shown.text
        await shown.give(pilot, copy_up("etc/hosts.allow", 0, 411))
        await shown.later(pilot, 100)
        assert "1 of 8 done" in shown.text
        assert "✓" in shown.text
        await shown.give(pilot, event("whiteout", "etc/shells", 1.0, layer=0))
        shown.clock.now += 5
        shown.screen._each_second()
        await pilot.pause()
        assert "2 of 8 done" in shown.text


async def test_the_end_and_a_failure_are_said() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await shown.give(pilot, Notice(1, "the limit is reached"), Ended(2, "hopeful was removed"))
        await shown.later(pilot, 100)
        assert "Nothing more will come: hopeful was removed." in shown.text
        assert [note.message for note in shown.app._notifications] == ["the limit is reached"]
        shown.source.fail(LayerviewError("its layer can't be read: be root"))
        await until(pilot, lambda: "be root" in shown.text)


async def test_leaving_ends_the_watching() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await shown.give(pilot, *morning())
        await pilot.press("escape")
        await until(pilot, lambda: shown.source.closed)
        assert shown.app.screen is not shown.screen


async def test_changes_stop_and_new_containers_are_a_key_away() -> None:
    shown = Shown()
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(shown.app.screen, ChangesScreen))
        await pilot.press("escape", "n")
        await until(pilot, lambda: isinstance(shown.app.screen, RunContainer))
        await pilot.press("escape", "K")
        await until(pilot, lambda: bool(shown.worker.done("stop")))
        assert shown.worker.done("stop")[0][-1] == shown.source.target.id


async def test_others_containers_are_only_looked_at() -> None:
    shown = Shown(watched=target(engine="docker", pid=1))
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        assert "docker exec -it hopeful_turing sh" in shown.text
        await pilot.press("K", "c")
        await pilot.pause(0.05)
        assert shown.worker.asked == []
        assert shown.app.screen is shown.screen


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize("count", [1, 40])
async def test_any_size_and_any_stack_is_drawn(size: tuple[int, int], count: int) -> None:
    watched = target(layers=layers(count))
    shown = Shown(watched=watched, records=morning())
    async with shown.app.run_test(size=size) as pilot:
        await shown.begin(pilot)
        await until(pilot, lambda: shown.events.row_count() == 7)
        await shown.later(pilot, 20_000)
        base = tuple(range(count - 1, -1, -1))
        await shown.give(pilot, copy_up("etc/hosts.allow", 0, 411, 60, searched=base))
        for _ in range(20):
            if shown.stack.frame is not None and (shown.stack.frame.share or 0) > 0.5:
                break
            await shown.later(pilot, 100)
        assert shown.stack.frame is not None
        assert shown.stack.frame.share is not None
        text = shown.text
        assert "container l" in text or size[0] < 70
        assert "hosts.allow" in text
        # The base, where it comes from, is always in sight.
        assert " 0 " in text
        for key in ("t", "t", "y", "y", "e", "e", "f2", "f2", "f2"):
            await pilot.press(key)
            await pilot.pause()


async def test_names_of_any_kind_are_shown_safely() -> None:
    shown = Shown(watched=target(name="a\x1bb", image="im\nage"))
    odd = CowEvent(1, "copy_up", b"etc/\xff\x1b[31m\n\xe4\xb8\xad\xe6\x96\x87", layer=0, bytes=5)
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await shown.give(pilot, odd)
        for _ in range(16):
            await shown.later(pilot, 100)
            assert "\x1b" not in shown.text
        assert "中文" in shown.text


async def test_a_recording_has_all_that_was_told_and_plays_again(tmp_path: Path) -> None:
    shown = Shown(records=morning()[:3])
    path = tmp_path / "hopeful-turing.jsonl"
    async with shown.app.run_test(size=SIZE) as pilot:
        await shown.begin(pilot)
        await until(pilot, lambda: shown.events.row_count() == 3)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(shown.app.screen, Ask))
        shown.app.screen.query_one(Input).value = str(path)
        await pilot.press("enter")
        await until(pilot, lambda: shown.app.screen is shown.screen)
        assert "● recording" in shown.text
        await shown.give(pilot, big_copying(5), *morning()[3:])
        await pilot.press("w")
        await until(pilot, lambda: shown.screen.recorder is None)
        assert "● recording" not in shown.text
        # What is there already is not written over.
        shown.screen._begin_recording(str(path))
        await until(pilot, lambda: shown.screen.recorder is None)
        assert "there already" in "".join(note.message for note in shown.app._notifications)
    replay = open_replay(str(path))
    assert replay.target == shown.source.target
    assert list(replay.records) == [*morning()[:3], big_copying(5), *morning()[3:]]
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        live = LiveScreen(replay, animated=True)
        app.push_screen(live)
        replay.go_to_start()
        await pilot.press("space")
        await pilot.press("right")
        await until(pilot, lambda: live.model.shown >= 1)
        assert "a recording plays" in screen_text(app)
        replay.go_to_end()
        await pilot.press("space")
        await until(pilot, lambda: live.model.shown == 7)


async def test_any_container_that_runs_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [target(engine="docker", name="theirs", id="d" * 64), target()]
    monkeypatch.setattr("layerview.watch.targets.targets", lambda: found)
    monkeypatch.setattr("layerview.watch.stream.stream", nothing)
    app = app_on(ToldWorker(ps=[]))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, ChooseImage))
        assert "docker     theirs" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await until(pilot, lambda: "docker exec -it theirs sh" in screen_text(app))


async def nothing(target: object, *, reads: bool = False) -> AsyncIterator[list[Record]]:
    """Tell nothing."""
    await asyncio.Event().wait()
    yield []
