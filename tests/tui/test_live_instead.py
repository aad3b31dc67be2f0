"""Where no container can be started, the screen offers the built-in shell in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input

from layerview.errors import LayerviewError
from layerview.sources.demo import tools
from layerview.tui import live_instead
from layerview.tui.app import LayerviewApp
from layerview.tui.screens.choose import ChooseImage
from layerview.tui.screens.containers import ContainersScreen
from layerview.tui.screens.run_container import RunContainer
from layerview.tui.widgets.terminal import TerminalPane
from tests.support.container_lab import Lab
from tests.tui.driving import ready, screen_text, until

WHY = "user namespaces are forbidden; sysctl user.max_user_namespaces=10000 helps"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("the area is made by root")
    if tools.gather([]).programs != ["sh"]:
        pytest.skip("this machine's sh cannot be taken into the demo image")
    lab = Lab(tmp_path / "area")
    monkeypatch.setenv("LAYERVIEW_ROOT", str(lab.root))
    yield lab
    lab.clear()
    lab.end_worker()


async def test_t_opens_the_built_in_shell_where_nothing_can_be_started(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(words: object) -> None:
        raise LayerviewError("no container was started")

    monkeypatch.setattr(live_instead, "why_none_start", lambda: WHY)
    app = LayerviewApp(["demo:"])
    async with app.run_test(size=(140, 45)) as pilot:
        await ready(pilot)
        monkeypatch.setattr(app.worker, "ask", refuse)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ChooseImage))
        await until(pilot, lambda: "user namespaces are forbidden" in screen_text(app))
        assert "Open demo: in the built-in shell" in screen_text(app)
        monkeypatch.undo()
        monkeypatch.setenv("LAYERVIEW_ROOT", str(lab.root))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
        pane = app.screen.query_one(TerminalPane)
        await until(pilot, lambda: "built-in shell: no program runs" in pane.emulator.screen.text())
        await until(pilot, lambda: "/ #" in pane.emulator.screen.text())
        for key in "exit":
            await pilot.press(key)
        await pilot.press("enter")
        await until(pilot, lambda: not pane.connected)


async def test_so_does_the_dialog_that_starts_containers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_instead, "why_none_start", lambda: WHY)
    app = LayerviewApp(["demo:"])
    async with app.run_test(size=(140, 45)) as pilot:
        await ready(pilot)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, RunContainer))
        dialog = app.screen
        assert isinstance(dialog, RunContainer)
        dialog.query_one("#driver", Input).value = "none"
        await pilot.click("#start")
        await until(pilot, lambda: isinstance(app.screen, ChooseImage))
        await until(pilot, lambda: "user namespaces are forbidden" in screen_text(app))
        assert "in the built-in shell" in screen_text(app)


async def test_another_reason_is_only_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(words: object) -> None:
        raise LayerviewError("the disk is full")

    monkeypatch.setattr(live_instead, "why_none_start", lambda: None)
    app = LayerviewApp(["demo:"])
    async with app.run_test(size=(140, 45)) as pilot:
        await ready(pilot)
        monkeypatch.setattr(app.worker, "ask", refuse)
        await pilot.press("t")
        await until(
            pilot, lambda: [note.message for note in app._notifications] == ["the disk is full"]
        )


def test_what_doctor_says_decides() -> None:
    users = {"name": "machine: user namespaces", "ok": False, "found": "none", "remedy": "be root"}
    own = {"name": "machine: runtime layerview", "ok": True, "found": "it works", "remedy": None}
    said = {"ok": False, "checks": [own, users]}
    assert live_instead.problem_in(said, is_root=False) == "none; be root"
    assert live_instead.problem_in(said, is_root=True) is None
    said["checks"] = [own | {"ok": False, "found": "it fails"}]
    assert live_instead.problem_in(said, is_root=True) == "it fails"
    odd: list[object] = [None, [], {"checks": 3}, {"checks": [1, {"name": 2}]}]
    for each in odd:
        assert live_instead.problem_in(each, is_root=False) is None


def test_this_machine_starts_containers() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert live_instead.why_none_start() is None
