"""What the Disk screen looks like; snapshots/tui/test_looks_disk/."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.tui.screens.disk import DiskScreen
from tests.tui.disk_specimens import ToldReader, app_on
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


@every_size
@both_themes
def test_disk(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """Who has the bytes of a root."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await disk(pilot)
        await pilot.press("down")

    assert snap_compare(app_on(ToldReader(), theme=theme), terminal_size=size, run_before=prepare)
