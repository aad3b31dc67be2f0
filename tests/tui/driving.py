"""Helpers that wait for a screen to have settled; nothing here sleeps for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from layerview.tui.app import LayerviewApp
from layerview.tui.screens.image import ImageScreen
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.widgets.tree import FileTree

PATIENCE = 30.0
"""Seconds after which a test gives up waiting."""


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Let the app run until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("the screen did not get there")
        await pilot.pause(0.01)
    await pilot.pause()


def image_screen(app: Any) -> ImageScreen:
    """Return the Image screen, wherever it is in the stack."""
    return next(screen for screen in app.screen_stack if isinstance(screen, ImageScreen))


def tree(app: Any) -> FileTree:
    """Return the Image screen's tree."""
    return image_screen(app).query_one(FileTree)


async def ready(pilot: Pilot[Any]) -> None:
    """Wait until all layers are read and everything on the screen has been worked out."""
    app = pilot.app
    assert isinstance(app, LayerviewApp)
    await until(pilot, lambda: any(isinstance(s, ImageScreen) for s in app.screen_stack))
    screen = image_screen(app)
    await until(pilot, lambda: screen.opened is not None and screen.opened.finished)
    await until(pilot, lambda: screen.opened is not None and screen.opened.waste is not None)
    await settled(pilot)


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until no work is under way and none is waiting."""
    app = pilot.app

    def quiet() -> bool:
        busy = any(not worker.is_finished for worker in app.workers)
        waiting = any(
            screen.has_waiting_work
            for screen in app.screen_stack
            if isinstance(screen, ImageScreen)
        )
        return not busy and not waiting

    for _ in range(3):
        await until(pilot, quiet)


async def listed(pilot: Pilot[Any]) -> None:
    """Wait until the Images screen has looked into everything it lists."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, ImagesScreen))
    screen = app.screen
    assert isinstance(screen, ImagesScreen)
    await until(pilot, lambda: not screen.looking)
    await settled(pilot)


async def go_to(pilot: Pilot[Any], path: bytes) -> None:
    """Put the cursor on a path of the tree."""
    assert tree(pilot.app).go_to(path), path
    await pilot.pause()
    await settled(pilot)


def screen_text(app: Any) -> str:
    """Return what stands on the screen."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)
