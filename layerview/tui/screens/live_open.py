"""Ways to a Live view: of a container by its name, or of one of all that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from layerview.text import printable
from layerview.tui.working import in_background

if TYPE_CHECKING:
    from textual.screen import Screen

    from layerview.tui.app import LayerviewApp
    from layerview.tui.live_model import Source
    from layerview.watch.target import Target


class LiveFound(Message):
    """A container that is to be shown live; the app's to handle."""

    def __init__(
        self,
        source: Source,
        started: str | None = None,
        tries: bool = False,
        instead: Screen[None] | None = None,
    ) -> None:
        self.source = source
        self.started = started
        self.tries = tries
        self.instead = instead
        super().__init__()


class LiveMissing(Message):
    """Why a container can't be shown live."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__()


class LiveChoice(Message):
    """All containers that run and can be watched."""

    def __init__(self, targets: list[Target]) -> None:
        self.targets = targets
        super().__init__()


def open_container(
    app: LayerviewApp,
    word: str,
    *,
    started: str | None = None,
    tries: bool = False,
    instead: Screen[None] | None = None,
) -> None:
    """Find a container in a thread, and show it live.

    Args:
        app: the app.
        word: the container's name or ID.
        started: when it was started, as records have it.
        tries: show what to try.
        instead: a screen that goes.
    """
    from layerview.tui.live_sources import watched

    in_background(app, lambda: LiveFound(watched(word), started, tries, instead), LiveMissing)


def choose_container(app: LayerviewApp) -> None:
    """Find all containers that run, Docker's and Podman's too, and ask for one."""
    from layerview.watch.targets import targets

    in_background(app, lambda: LiveChoice(targets()), LiveMissing)


def show_found(app: LayerviewApp, message: LiveFound) -> None:
    """Show a container that was found."""
    from layerview.tui.screens.live import LiveScreen

    screen = LiveScreen(message.source, started=message.started, tries=message.tries)
    if message.instead is not None and app.screen is message.instead:
        app.switch_screen(screen)
    else:
        app.push_screen(screen)


def ask_which(app: LayerviewApp, found: list[Target]) -> None:
    """Ask which of the containers that run is to be shown."""
    from layerview.tui.screens.choose import ChooseImage

    if not found:
        app.notify("No container runs that can be watched.", severity="warning", markup=False)
        return
    known = {target.id: target for target in found}
    names = [
        (target.id, f"{target.engine:<10} {printable(target.name):<24} {printable(target.image)}")
        for target in found
    ]

    def chosen(id: str | None) -> None:
        if id is not None:
            from layerview.tui.live_sources import WatchedSource

            show_found(app, LiveFound(WatchedSource(known[id])))

    words = "Those of layerview, Docker and Podman that run and can be read."
    app.push_screen(ChooseImage("Watch which container?", words, names), chosen)
