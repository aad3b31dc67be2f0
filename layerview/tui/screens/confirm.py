"""The dialog before something is lost: what is freed, what is lost, and the way out in focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Label

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


class Confirm(ModalScreen[bool]):
    """Asks before something that can't be taken back."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "cancel", "keep it", key_display="Esc", id="confirm.cancel"),
        Binding("left,right", "app.focus_next", "other button", show=False, id="confirm.other"),
    ]

    app: LayerviewApp

    def __init__(self, heading: str, words: str, verb: str) -> None:
        """Ask.

        Args:
            heading: the question.
            words: what is freed and what is lost.
            verb: what the button that does it says.
        """
        super().__init__()
        self._heading = heading
        self._words = words
        self._verb = verb

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with Vertical(classes="dialog"):
            yield Label(self._heading, classes="heading", markup=False)
            yield Label(self._words, classes="words", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Keep it", id="keep", compact=True)
                yield Button(self._verb, id="do", compact=True)

    def on_mount(self) -> None:
        """Begin on the harmless button."""
        self.query_one("#keep", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "do")

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(False)
