"""A dialog that says something at length, and changes nothing."""

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


class Tell(ModalScreen[None]):
    """Says something, and goes away."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", key_display="Esc", id="tell.back"),
    ]

    app: LayerviewApp

    def __init__(self, heading: str, words: str) -> None:
        super().__init__()
        self._heading = heading
        self._words = words

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with Vertical(classes="dialog"):
            yield Label(self._heading, classes="heading", markup=False)
            yield Label(self._words, classes="words", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Back", id="back", compact=True)

    @on(Button.Pressed)
    def _pressed(self) -> None:
        self.dismiss(None)

    def action_back(self) -> None:
        """Go away."""
        self.dismiss(None)
