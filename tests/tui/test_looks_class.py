"""What the Class view looks like; snapshots/tui/test_looks_class/."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.watch.events import Copying, Record
from tests.tui.classroom import NOW, Classroom, copied, made, to_volume
from tests.tui.driving import until
from tests.tui.told import ToldWorker, app_on

SIZES = {"80x24": (80, 24), "100x30": (100, 30), "140x45": (140, 45)}
pytestmark = pytest.mark.usefixtures("in_utc")
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
both_themes = pytest.mark.parametrize("theme", ["dark", "light"])


class Scene:
    """A Class view of a room, brought to one moment: its clock stands until it is moved."""

    def __init__(self, theme: str, count: int) -> None:
        self.app = app_on(ToldWorker(), theme=theme)
        self.room = Classroom(count)
        self.screen = self.room.screen()
        self.moment = 1000.0
        self.screen._now = lambda: self.moment  # type: ignore[method-assign]

    async def begin(self, pilot: Pilot[Any]) -> None:
        """Show it, with all its containers watched."""
        await self.app.push_screen(self.screen)
        room = self.room
        await until(pilot, lambda: len(room.sources) == len(room.targets) and self.screen.looked)

    async def happens(self, pilot: Pilot[Any], number: int, *records: Record) -> None:
        """Let something happen in a container, and be taken."""
        model = self.screen.model
        assert model is not None
        before = len(model.events)
        self.room.happens(number, *records)
        events = sum(not isinstance(record, Copying) for record in records)
        box = model.boxes[self.room.targets[number].id]
        await until(
            pilot,
            lambda: len(model.events) == before + events and (events or box.copying is not None),
        )

    async def rest(self, pilot: Pilot[Any], seconds: float) -> None:
        """Paint what there is some seconds later."""
        self.moment += seconds
        self.screen._frame()
        await pilot.pause(0.05)


@every_size
@both_themes
def test_a_copy_up_in_one_box(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """A small file has come up in one container, a large one is on its way in another."""
    scene = Scene(theme, 5)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot)
        await scene.happens(pilot, 0, made("srv/new"), to_volume("data/orders.db"))
        await scene.rest(pilot, 20)
        await scene.happens(pilot, 3, Copying(NOW, b"usr/lib/big.so", 1, 24_900_000, 61_400_000))
        await scene.happens(pilot, 1, copied("etc/hosts.allow", 0))
        await scene.rest(pilot, 0.7)

    assert snap_compare(scene.app, terminal_size=size, run_before=prepare)


@both_themes
def test_many_containers(snap_compare: Any, theme: str) -> None:
    """More than the board has room for."""
    scene = Scene(theme, 40)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot)
        await scene.rest(pilot, 20)

    assert snap_compare(scene.app, terminal_size=(100, 30), run_before=prepare)


@both_themes
def test_the_last_one_is_gone(snap_compare: Any, theme: str) -> None:
    """The volume stays."""
    scene = Scene(theme, 1)

    async def prepare(pilot: Pilot[Any]) -> None:
        await scene.begin(pilot)
        await scene.happens(pilot, 0, to_volume("data/orders.db"))
        scene.room.targets.clear()
        scene.screen._look()
        model = scene.screen.model
        assert model is not None
        await until(pilot, lambda: not model.boxes)
        await scene.rest(pilot, 20)

    assert snap_compare(scene.app, terminal_size=(100, 30), run_before=prepare)
