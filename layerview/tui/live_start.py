"""From an image to a live container with a shell: one key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.message import Message

from layerview.errors import LayerviewError
from layerview.tui.class_work import start_words
from layerview.tui.errands import Errand, started_ids
from layerview.tui.listing import DEMO, is_demo
from layerview.tui.live_sources import WatchedSource, watched
from layerview.tui.screens.live_open import LiveFound, LiveMissing
from layerview.tui.working import in_background
from layerview.watch.lines import time_text
from layerview.watch.target import Target

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp

DEMO_VOLUME = "demo-data:/data"
"""What lies beside the demo image's layers: it stays when the containers go."""


def demo_volumes(image: str) -> list[str]:
    """Return the volumes that containers of an image get when no others are asked for."""
    return [DEMO_VOLUME] if is_demo(image) else []


def start_live(app: LayerviewApp, image: str, *, here: bool) -> None:
    """Start a container of an image, and show it live with its shell.

    Args:
        app: whose worker starts it, and whose screen shows it.
        image: as `run` takes it.
        here: whether the image is in the storage area; others are loaded first, which can take
            long.
    """
    volumes = demo_volumes(image)
    words = start_words(image, 1, volumes)
    quick = here or image == DEMO
    if not quick:
        app.notify("It starts when it is loaded into the local area.", markup=False)

    def work() -> Message:
        try:
            back = app.worker.ask(words) if quick else Errand(words).finish(lambda *done: None)
        except LayerviewError:
            from layerview.tui.live_instead import InsteadOffered, why_none_start

            why = why_none_start()
            if why is None:
                raise
            return InsteadOffered(image, volumes, why)
        source = watched(started_ids(back)[0])
        return LiveFound(source, time_text(time.time_ns()), is_demo(image))

    in_background(app, work, LiveMissing)


def warm_up(app: LayerviewApp) -> None:
    """Have what a start needs ready: to be called when one is likely, and nothing else is to do."""
    import threading

    def work() -> None:
        import contextlib
        import importlib

        with contextlib.suppress(LayerviewError):
            app.worker.ask(["--version"])
        # In the screen's own process, for the moment after the start.
        for name in _AFTERWARDS:
            importlib.import_module(name)

    threading.Thread(target=work, daemon=True).start()


_AFTERWARDS: Sequence[str] = (
    "layerview.watch.targets",
    "layerview.watch.stream",
    "layerview.tui.shells",
)


def show_live(app: LayerviewApp, target: Target) -> None:
    """Show a container that runs live."""
    app.post_message(LiveFound(WatchedSource(target)))
