"""What the Disk screen looks like; snapshots/tui/test_looks_disk/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.tui.screens.disk import DiskScreen
from layerview.tui.widgets.disk_table import DiskTable
from tests.tui.disk_specimens import PARTS, ROOT, ToldReader, app_on, done, stock, told
from tests.tui.driving import until

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "140x45": (140, 45)}
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
both_themes = pytest.mark.parametrize("theme", ["dark", "light"])


async def disk(pilot: Pilot[Any]) -> DiskScreen:
    """Go to the disk, and wait until the root is read."""
    await pilot.press("3")
    await until(pilot, lambda: isinstance(pilot.app.screen, DiskScreen))
    screen = pilot.app.screen
    assert isinstance(screen, DiskScreen)
    await until(pilot, lambda: not screen.busy)
    await pilot.pause(0.05)
    return screen


def go_to(pilot: Pilot[Any], name: str) -> None:
    """Put the cursor on the row of a name."""
    table = pilot.app.screen.query_one(DiskTable)
    table.cursor = next(at for at, row in enumerate(table.rows) if row.name == name)


@every_size
@both_themes
def test_disk(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """Who has the bytes of a root; the cursor on an image that shares layers."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await disk(pilot)
        go_to(pilot, "shop/worker:7.2")

    app = app_on(ToldReader(), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_layers(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """Inside an image: its own layers, and those that others have as well."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await disk(pilot)
        go_to(pilot, "shop/web:7.2")
        await pilot.press("enter", "down")

    app = app_on(ToldReader(), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@pytest.mark.parametrize(
    ("size", "theme"),
    [((80, 24), "light"), ((120, 40), "dark")],
    ids=["light-80x24", "dark-120x40"],
)
def test_files(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """A layer's files, in its hue; one folder can't be read."""

    async def prepare(pilot: Pilot[Any]) -> None:
        screen = await disk(pilot)
        go_to(pilot, "shop/web:7.2")
        await pilot.press("enter", "down", "enter")
        await until(pilot, lambda: not screen.busy)
        await pilot.press("enter")
        await until(pilot, lambda: not screen.busy)
        await pilot.pause(0.05)

    app = app_on(ToldReader(), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=["80x24", "140x45"])
def test_reading(snap_compare: Any, size: tuple[int, int]) -> None:
    """While it is read: how far it is, and what is known."""
    parts = [told(part) for part in PARTS[:9]]
    reader = ToldReader(account=[stock(), {"parts": parts, "step": [41, 213]}])

    async def prepare(pilot: Pilot[Any]) -> None:
        await pilot.press("3")
        await until(pilot, lambda: isinstance(pilot.app.screen, DiskScreen))
        screen = pilot.app.screen
        assert isinstance(screen, DiskScreen)
        await until(pilot, lambda: len(screen.disk.parts) == 9)
        await pilot.pause(0.05)

    assert snap_compare(app_on(reader), terminal_size=size, run_before=prepare)


@pytest.mark.parametrize(
    ("size", "theme"),
    [((80, 24), "dark"), ((140, 45), "light")],
    ids=["dark-80x24", "light-140x45"],
)
def test_growing(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """A log and a volume grew while one looked; something could not be read."""
    rounds: list[object] = []

    def measured(words: Mapping[str, Any]) -> list[dict[str, object]]:
        known = {part.path: part.bytes for part in PARTS}
        if rounds:
            known[PARTS[9].path] += 3_200_000
            known[PARTS[11].path] += 40_960
        sizes = {path: known[path] for path in words["paths"]}
        rounds.append(words)
        return [{"done": True, "sizes": sizes}]

    problem = f"{ROOT}/overlay2/1f0e may only be read by its owner"
    reader = ToldReader(sizes=measured, account=[stock(), done(problems=[problem])])

    async def prepare(pilot: Pilot[Any]) -> None:
        screen = await disk(pilot)
        for number in (1, 2):
            screen._look_again = 0
            screen.look_at_growth()
            await until(pilot, lambda number=number: len(rounds) >= number)  # type: ignore[misc]
        await until(pilot, lambda: bool(screen.disk.grown))
        go_to(pilot, "hopeful_turing")
        await pilot.pause(0.05)

    assert snap_compare(app_on(reader, theme=theme), terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("kind", ["local", "docker"])
def test_orphan(snap_compare: Any, size: tuple[int, int], kind: str) -> None:
    """Del on an orphan: the question in the own area, the safe way on an engine's root."""
    reader = ToldReader(account=[stock(own=kind == "local"), done()])

    async def prepare(pilot: Pilot[Any]) -> None:
        await disk(pilot)
        go_to(pilot, "orphans")
        await pilot.press("enter", "delete")
        await pilot.pause(0.05)

    app = app_on(reader, kind=kind, theme="light" if size[0] > 100 else "dark")
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_not_read(snap_compare: Any, size: tuple[int, int]) -> None:
    """The root can't be read: why, and what helps."""
    reader = ToldReader(account=[{"error": f"{ROOT}: its folder may only be read by its owner"}])

    async def prepare(pilot: Pilot[Any]) -> None:
        await disk(pilot)

    assert snap_compare(app_on(reader), terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=["80x24", "140x45"])
def test_disk_without_colour(
    snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and ASCII: signs and words carry every meaning."""
    monkeypatch.setenv("NO_COLOR", "1")

    async def prepare(pilot: Pilot[Any]) -> None:
        await disk(pilot)
        if size[0] < 100:
            go_to(pilot, "shop/web:7.2")
            await pilot.press("enter")

    app = app_on(ToldReader(), ascii=True)
    assert snap_compare(app, terminal_size=size, run_before=prepare)
