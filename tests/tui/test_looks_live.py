"""What the Live view looks like; snapshots/tui/test_looks_live/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.layer.whiteouts import Whiteouts
from layerview.tui.screens.live import LiveScreen
from layerview.tui.widgets.live_stack import LiveStack
from layerview.tui.widgets.terminal import TerminalPane
from layerview.watch.events import Record
from layerview.watch.target import Target
from tests.tui.driving import until
from tests.tui.live_specimens import (
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
from tests.tui.test_looks_containers import ScriptedWire
from tests.tui.told import ToldWorker, app_on

SIZES = {"80x24": (80, 24), "100x30": (100, 30), "140x45": (140, 45)}
pytestmark = pytest.mark.usefixtures("in_utc")
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
both_themes = pytest.mark.parametrize("theme", ["dark", "light"])

SHELL = (
    b"# \x1b[1mgrep -c . /srv/app/requirements.txt\x1b[m\r\n41\r\n"
    b"# \x1b[1mecho 127.0.0.1 demo >> /etc/hosts.allow\x1b[m\r\n"
    b"# \x1b[1mrm /usr/share/doc/nginx/README\x1b[m\r\n"
    b"# \x1b[1mcd /usr/share/GeoIP\x1b[m\r\n"
    b"# \x1b[1mprintf '\\0' | dd of=GeoLite2-City.mmdb bs=1 \\\r\n  conv=notrunc seek=16\x1b[m\r\n"
)


class Scene:
    """A Live view on a script, brought to one moment."""

    def __init__(self, theme: str, watched: Target | None = None, **more: Any) -> None:
        self.app = app_on(ToldWorker(), theme=theme, **more)
        self.clock = Clock()
        self.source = Script(watched or target())
        self.screen = LiveScreen(
            self.source,
            started="2026-11-26T21:11:50Z",
            animated=True,
            monotonic=self.clock,
            wall=self.clock.wall,
        )

    async def begin(self, pilot: Pilot[Any], records: Sequence[Record], seconds: float) -> None:
        """Show what happened, and let time go by."""
        self.app.push_screen(self.screen)
        await until(pilot, lambda: self.screen.is_mounted)
        await until(pilot, lambda: self.screen.query_one(LiveStack).size.width > 0)
        await self.give(pilot, *records)
        await self.later(seconds)

    async def give(self, pilot: Pilot[Any], *records: Record) -> None:
        """Have records taken."""
        taken = self.source.taken
        self.source.give(*records)
        await until(pilot, lambda: self.source.taken > taken)

    async def later(self, seconds: float) -> None:
        """Let time go by."""
        after(self.clock, seconds * 1000, self.screen._tick)

    async def rest(self, pilot: Pilot[Any]) -> None:
        """Paint what there is."""
        self.screen.show_all()
        await pilot.pause(0.05)

    async def type(self, pilot: Pilot[Any]) -> None:
        """Show a shell."""
        pane = self.screen.query_one(TerminalPane)
        self.screen.add_class("-front")
        await pilot.pause()
        pane.connect(ScriptedWire(SHELL))
        pane.focus()
        await pilot.pause(0.05)


@every_size
@both_themes
def test_rising(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """A large file on its way up."""
    scene = Scene(theme)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning(), 40)
        await scene.give(pilot, big_copying(0))
        await scene.later(1.5)
        await scene.give(pilot, big_copying(24_900_000))
        await scene.later(0.2)
        if size[0] >= 100:
            await scene.type(pilot)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_landed(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The file has just arrived, and what was written to it is known."""
    scene = Scene(theme)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning(), 40)
        await scene.give(pilot, big_copied())
        await scene.later(1.7)
        written = event("write", big_copied().path.decode(), 44.41, written=1, size=38_700_000)
        await scene.give(pilot, written)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@both_themes
def test_shell_in_front(snap_compare: Any, theme: str) -> None:
    """In a small window the shell takes the place of the events."""
    scene = Scene(theme)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning(), 36.1)
        await scene.type(pilot)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=(80, 24), run_before=prepare)


@every_size
def test_paused(snap_compare: Any, size: tuple[int, int]) -> None:
    """Stopped in the midst of a search, with more that waits."""
    scene = Scene("dark")

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning()[:3], 10)
        await scene.give(pilot, copy_up("etc/hosts.allow", 0, 411, 6.118))
        await scene.later(0.4)
        await pilot.press("space")
        await scene.give(pilot, *morning()[4:])
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@every_size
def test_vfs(snap_compare: Any, size: tuple[int, int]) -> None:
    """Everything was copied when the container was made; writes are direct."""
    watched = target(
        driver="vfs", whiteouts=Whiteouts.NONE, copied_at_start=407_600_000, volumes=()
    )
    scene = Scene("dark", watched)

    async def prepare(pilot: Pilot[Any]) -> None:
        records = [event("write", "etc/hosts.allow", 1, size=411)]
        await scene.begin(pilot, records, 0.2)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_lanes(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """Time lanes: what happened when."""
    scene = Scene(theme)

    async def prepare(pilot: Pilot[Any]) -> None:
        more = [copy_up(f"srv/app/static/{n}.css", 4, 2000, 12 + n) for n in range(4)]
        records = sorted([*morning(), *more, big_copied()], key=lambda one: one.time)
        await scene.begin(pilot, records, 50)
        await pilot.press("t")
        await pilot.pause(0.05)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@every_size
def test_tries(snap_compare: Any, size: tuple[int, int]) -> None:
    """What to try; some of it is done."""
    scene = Scene("dark")

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning(), 40)
        await pilot.press("y")
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@every_size
def test_many_layers(snap_compare: Any, size: tuple[int, int]) -> None:
    """More layers than there are rows: the one that it comes from is in sight."""
    scene = Scene("dark", target(layers=layers(40)))

    async def prepare(pilot: Pilot[Any]) -> None:
        down = tuple(range(39, 16, -1))
        one = copy_up("etc/hosts.allow", 17, 411, 1, searched=down)
        await scene.begin(pilot, [one], 1.2)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@every_size
def test_without_colour(
    snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and ASCII: signs and words carry every meaning."""
    monkeypatch.setenv("NO_COLOR", "1")
    scene = Scene("dark", ascii=True)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning(), 40)
        await scene.give(pilot, big_copying(24_900_000))
        await scene.later(1.5)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


def test_a_deletion_and_a_volume_beside_each_other(snap_compare: Any) -> None:
    """A whiteout leads down to what it hides."""
    scene = Scene("light")

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot, morning()[:5], 40)
        await scene.give(pilot, morning()[5])
        await scene.later(1.0)
        await scene.rest(pilot)

    assert snap_compare(scene.app, terminal_size=(140, 45), run_before=prepare)
