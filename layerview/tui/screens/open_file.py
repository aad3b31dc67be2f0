"""The dialog that opens a file or folder by its name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Label

from layerview.text import printable

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp

MOST_NAMES = 5000
"""How many entries of a folder are looked at for a completion."""


def complete_path(value: str) -> str | None:
    """Return the first file or folder that a path could go on as; None when there is none."""
    folder, typed = os.path.split(os.path.expanduser(value))
    if not value:
        return None
    try:
        with os.scandir(folder or ".") as entries:
            names = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry, _ in zip(entries, range(MOST_NAMES), strict=False)
                if entry.name.startswith(typed) and (typed or not entry.name.startswith("."))
            )
    except OSError:
        return None
    name = next((name for name in names if name != typed and name.isprintable()), None)
    return None if name is None else value[: len(value) - len(typed)] + name


class PathSuggester(Suggester):
    """Suggests how a path could go on."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """Return a longer path, or None."""
        return complete_path(value)


class OpenFile(ModalScreen[str | None]):
    """Asks for the name of an image's file or folder."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "back", key_display="Esc", id="open.cancel"),
        Binding(
            "tab", "complete", "complete", key_display="Tab", priority=True, id="open.complete"
        ),
    ]

    app: LayerviewApp

    def __init__(self, heading: str = "Open an image", name: str = "") -> None:
        """Ask.

        Args:
            heading: what is asked for.
            name: what stands there to begin with.
        """
        super().__init__()
        self._heading = heading
        self._begin = name

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with Vertical(classes="dialog"):
            yield Label(self._heading, classes="heading", markup=False)
            yield Label(
                "A docker save archive, an OCI archive or layout folder, a root file system."
                " Tab completes.",
                classes="words",
                markup=False,
            )
            yield Input(
                self._begin, placeholder="path or transport:path", suggester=PathSuggester()
            )
            yield Label("", classes="failed", id="failed", markup=False)

    def on_mount(self) -> None:
        """Begin in the entry."""
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()

    def action_complete(self) -> None:
        """Take the suggestion."""
        entry = self.query_one(Input)
        longer = complete_path(entry.value)
        if longer is not None:
            entry.value = longer
            entry.cursor_position = len(longer)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        name = os.path.expanduser(event.value.strip())
        if not name:
            return
        path = name.partition(":")[2] if ":" in name and not os.path.exists(name) else name
        if name != "demo:" and not os.path.exists(path.split(":")[0] or path):
            self.query_one("#failed", Label).update(f"{printable(name)}: no such file or folder")
            return
        self.dismiss(name)

    def action_cancel(self) -> None:
        """Open nothing."""
        self.dismiss(None)
