"""The Volumes screen: made-up volumes for its ways, real ones for what it does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.errors import LayerviewError
from layerview.tui.app import LayerviewApp
from layerview.tui.screens.ask import Ask
from layerview.tui.screens.confirm import Confirm
from layerview.tui.screens.volumes import VolumesScreen
from layerview.tui.volume_lines import read_volumes
from layerview.tui.widgets.volume_table import VolumeTable
from tests.tui.driving import screen_text, until
from tests.tui.told import ToldWorker, app_on, before

SIZE = (140, 45)


async def open_volumes(pilot: Pilot[Any]) -> VolumesScreen:
    """Go to the volumes, and wait until they are listed."""
    await pilot.press("4")
    await until(pilot, lambda: isinstance(pilot.app.screen, VolumesScreen))
    screen = pilot.app.screen
    assert isinstance(screen, VolumesScreen)
    await until(pilot, lambda: screen.known)
    return screen


def volume(name: str, *users: str, **more: object) -> dict[str, object]:
    """Return a volume as `volume ls --json` tells of it."""
    item: dict[str, object] = {
        "name": name,
        "mountpoint": f"/area/volumes/{name}/_data",
        "created": before(7200),
        "size": 1234,
        "containers": [{"id": "1" * 64, "name": user} for user in users],
        "anonymous": len(name) == 64,
        "options": {},
    }
    return {**item, **more}


def said(app: LayerviewApp) -> str:
    """Return what was notified."""
    return "\n".join(f"{note.title}: {note.message}" for note in app._notifications)


def test_what_is_told_of_volumes_is_read_whatever_it_is() -> None:
    odd = {"name": "a\x1b", "size": True, "containers": [7], "options": ["x"]}
    [line] = read_volumes([[odd, {}, 7], "x"])
    assert (line.name, line.size, line.users, line.options) == ("a\\x1b", None, (), ())


async def test_a_volume_that_a_container_has_is_not_removed_and_its_user_is_named() -> None:
    worker = ToldWorker(volume_ls=[volume("data", "one", "two")])
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_volumes(pilot)
        await until(pilot, lambda: "one, two" in screen_text(app))
        await pilot.press("delete")
        await until(pilot, lambda: "data is mounted by one, two" in said(app))
        assert isinstance(app.screen, VolumesScreen)
        assert not worker.done("volume", "rm")


async def test_a_volume_is_removed_only_after_a_yes() -> None:
    worker = ToldWorker(volume_ls=[volume("data")])
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_volumes(pilot)
        await pilot.press("delete")
        await until(pilot, lambda: "1.2 kB in it are lost" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, VolumesScreen))
        assert not worker.done("volume", "rm")
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: bool(worker.done("volume", "rm")))
        assert worker.done("volume", "rm") == [["volume", "rm", "--json", "data"]]


async def test_what_is_unused_is_removed_together_after_it_was_named() -> None:
    listed = [volume("data", "one"), volume("old"), volume("b" * 64)]
    worker = ToldWorker(volume_ls=listed)
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_volumes(pilot)
        await pilot.press("P")
        await until(pilot, lambda: "With a name: old" in screen_text(app))
        assert "Without a" in screen_text(app)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: bool(worker.done("volume", "rm")))
        assert worker.done("volume", "rm")[0][3:] == ["old", "b" * 64]
        worker.answers["volume_ls"] = listed[:1]
        await pilot.press("r")
        await until(pilot, lambda: "old" not in screen_text(app))
        await pilot.press("P")
        await until(pilot, lambda: "Every volume is mounted" in said(app))


async def test_what_can_not_be_listed_says_why_and_r_tries_again() -> None:
    worker = ToldWorker(volume_ls=LayerviewError("the disk is gone"))
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_volumes(pilot)
        await until(pilot, lambda: "the disk is gone" in screen_text(app))
        worker.answers["volume_ls"] = [volume("data")]
        await pilot.press("r")
        await until(pilot, lambda: "the disk is gone" not in screen_text(app))


async def test_typing_filters_by_the_volume_and_by_who_has_it() -> None:
    app = app_on(ToldWorker(volume_ls=[volume("data", "one"), volume("old", "two")]))
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_volumes(pilot)
        await pilot.press("slash", *"two", "enter")
        table = screen.query_one(VolumeTable)
        await until(pilot, lambda: [line.name for line in table.rows] == ["old"])
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="a volume of root's is made")
async def test_a_volume_is_really_made_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "new-area"))
    folder = tmp_path / "new-area/volumes/data/_data"
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        await open_volumes(pilot)
        await until(pilot, lambda: "No volumes yet." in screen_text(app))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press(*"-bad", "enter")
        await until(pilot, lambda: "Not made" in said(app))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press(*"data", "enter")
        await until(pilot, folder.is_dir)
        (folder / "file").write_bytes(b"x" * 5000)
        await pilot.press("r")
        await until(pilot, lambda: "5.0 kB" in screen_text(app))
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: not folder.exists())
        await until(pilot, lambda: "No volumes yet." in screen_text(app))
