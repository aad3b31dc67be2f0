"""From the demo image to a live container with a shell by one key, and to all of its containers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.sources.demo import tools
from layerview.tui.app import LayerviewApp
from layerview.tui.screens.class_view import ClassScreen
from layerview.tui.screens.image import ImageScreen
from layerview.tui.screens.live import LiveScreen
from layerview.tui.widgets.class_board import ClassBoard
from layerview.tui.widgets.terminal import TerminalPane
from layerview.tui.widgets.tree import FileTree
from tests.support.container_lab import Lab
from tests.tui.driving import ready, screen_text, until

pytestmark = pytest.mark.conformance

SLOW = 10.0
"""Seconds that a start may take on a busy machine; usually it is half a second."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Give an area without images."""
    if os.geteuid() != 0:
        pytest.skip("overlay mounts need root")
    if tools.gather([]).programs != ["sh"]:
        pytest.skip("this machine's sh cannot be taken into the demo image")
    lab = Lab(tmp_path / "area")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(lab.root))
    yield lab
    lab.clear()
    lab.end_worker()


async def test_one_key_goes_from_the_demo_image_to_a_shell_that_is_watched(lab: Lab) -> None:
    app = LayerviewApp(["demo:"])
    async with app.run_test(size=(140, 45)) as pilot:
        await ready(pilot)
        assert "t try it live" in screen_text(app)
        begun = time.monotonic()
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        live = app.screen
        assert isinstance(live, LiveScreen)
        pane = live.query_one(TerminalPane)
        await until(pilot, lambda: "/#" in pane.emulator.screen.text())
        assert time.monotonic() - begun < SLOW
        assert [volume.name for volume in live.target.volumes] == ["demo-data"]
        assert "echo hello >> /etc/hosts.allow" in screen_text(app)
        for key in "echo x >> /etc/hosts.allow":
            await pilot.press({" ": "space", ">": "greater_than_sign", "/": "slash"}.get(key, key))
        await pilot.press("enter")
        await until(pilot, lambda: live.model.tries.finished == 1)
        await pilot.press("f2", "escape")
        await until(pilot, lambda: isinstance(app.screen, ImageScreen))
        app.screen.query_one(FileTree).focus()
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, ClassScreen))
        board = app.screen.query_one(ClassBoard)
        await until(pilot, lambda: len(board.boxes) == 1 and board.boxes[0].size > 0)
        assert board.boxes[0].target.id == live.target.id
