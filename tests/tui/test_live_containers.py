"""The Live view of real containers: what is done in them is what is shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.tui.app import LayerviewApp
from layerview.tui.screens.containers import ContainersScreen
from layerview.tui.screens.live import LiveScreen
from layerview.tui.widgets.terminal import TerminalPane
from layerview.watch.events import CowEvent
from tests.support.container_lab import BUSYBOX, Lab, changed_layers
from tests.tui.driving import screen_text, until

pytestmark = pytest.mark.conformance

SIZE = (140, 45)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give an area with a copy of the documentation's image."""
    if os.geteuid() != 0:
        pytest.skip("overlay mounts need root")
    if not Path(BUSYBOX).exists():
        pytest.skip(f"{BUSYBOX} is not installed")
    lab = Lab(tmp_path_factory.mktemp("area") / "root")
    lab.load("changed-ubuntu:latest", *changed_layers())
    yield lab
    lab.clear()
    lab.end_worker()
    shutil.rmtree(lab.root)


@pytest.fixture
def lab(made: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Give that area as the one that the screens are about, without containers."""
    monkeypatch.setenv("LAYERVIEW_ROOT", str(made.root))
    yield made
    made.clear()
    made.nothing_left()


async def open_live(pilot: Pilot[Any]) -> LiveScreen:
    """Go from the list of containers to the first one's Live view, and wait for its shell."""
    app = pilot.app
    await pilot.press("2")
    await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
    containers = app.screen
    assert isinstance(containers, ContainersScreen)
    await until(pilot, lambda: bool(containers.table.rows))
    await pilot.press("L")
    await until(pilot, lambda: isinstance(app.screen, LiveScreen))
    live = app.screen
    assert isinstance(live, LiveScreen)
    pane = live.query_one(TerminalPane)
    await until(pilot, lambda: "/ #" in pane.emulator.screen.text())
    return live


def news(live: LiveScreen) -> list[CowEvent]:
    """Return what happened since the view was opened, without what was only read."""
    store = live.model.store
    events = (store[number] for number in range(live.model.shown))
    return [one for one in events if not one.held and one.kind != "read"]


async def happens(pilot: Pilot[Any], live: LiveScreen, kind: str, path: bytes) -> CowEvent:
    """Wait for an event."""

    def found() -> list[CowEvent]:
        return [one for one in news(live) if (one.kind, one.path) == (kind, path)]

    try:
        await until(pilot, lambda: bool(found()))
    except AssertionError:
        raise AssertionError(f"{kind} {os.fsdecode(path)} is not in {news(live)}") from None
    return found()[-1]


async def ticks(pilot: Pilot[Any], live: LiveScreen, *keys: str) -> None:
    """Wait until lines are ticked off."""
    try:
        await until(pilot, lambda: done(live) >= set(keys))
    except AssertionError:
        raise AssertionError(f"{done(live)} after {news(live)}") from None


def done(live: LiveScreen) -> set[str]:
    """Return which lines of the list of what to try are ticked off."""
    return {line.key for line in live.model.tries.lines if line.done}


@pytest.mark.parametrize("driver", ["overlay2", "aufs"])
async def test_what_is_typed_is_copied_up_before_everybodys_eyes(lab: Lab, driver: str) -> None:
    start = ("run", "-d", "-it", "--name", "hopeful", "--driver", driver, "-v", "data:/data")
    made = lab.call(*start, "changed-ubuntu", "sh")
    if made.returncode:
        pytest.skip(f"driver {driver} does not work here: {made.stderr}")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        live = await open_live(pilot)
        pane = live.query_one(TerminalPane)
        pane.send(b"echo hello >> /etc/apt/sources.list\r")
        copied = await happens(pilot, live, "copy_up", b"etc/apt/sources.list")
        assert (copied.layer, copied.bytes) == (2, 1700)
        assert copied.searched == (3, 2)
        assert os.path.exists(copied.disk_path)
        await until(pilot, lambda: "found in 2" in screen_text(app))
        assert "append" in done(live)
        pane.send(b"sleep 0.5; echo again >> /etc/apt/sources.list; echo x > /data/note\r")
        await happens(pilot, live, "write", b"etc/apt/sources.list")
        await ticks(pilot, live, "again", "volume")
        pane.send(b"rm /tmp/newfile; chmod 700 /usr/sbin/policy-rc.d\r")
        hidden = await happens(pilot, live, "whiteout", b"tmp/newfile")
        assert hidden.layer == 3
        await ticks(pilot, live, "mode", "remove")
        # The view names each change that the driver's own comparison finds.
        changed = {item["path"] for item in lab.json("changes", "hopeful")}
        told = {"/" + os.fsdecode(one.path) for one in news(live) if not one.volume}
        for path in ("/etc/apt/sources.list", "/tmp/newfile", "/usr/sbin/policy-rc.d"):
            assert path in changed
            assert path in told
        assert "/data/note" not in changed
        lab.out("kill", "hopeful")
        await until(pilot, lambda: bool(live.model.ended))
        assert "Nothing more will come" in screen_text(app)


async def test_what_a_container_holds_already_is_shown_when_one_comes_late(lab: Lab) -> None:
    lab.out("run", "-d", "-it", "--name", "late", "changed-ubuntu", "sh")
    lab.out("exec", "late", "sh", "-c", "echo x >> /etc/passwd; rm /tmp/newfile; echo y > /new")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        live = await open_live(pilot)
        await until(pilot, lambda: live.model.shown >= 3)
        kinds = {(one.kind, one.path) for one in live.model.store[:] if one.held}
        assert {
            ("copy_up", b"etc/passwd"),
            ("whiteout", b"tmp/newfile"),
            ("create", b"new"),
        } <= kinds
        assert done(live) == set()
        assert "was there before" in screen_text(app)


async def test_a_container_that_is_removed_under_the_view_ends_it(lab: Lab) -> None:
    lab.out("run", "-d", "-it", "--name", "gone", "changed-ubuntu", "sh")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        live = await open_live(pilot)
        lab.out("rm", "--force", "gone")
        await until(pilot, lambda: bool(live.model.ended))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
