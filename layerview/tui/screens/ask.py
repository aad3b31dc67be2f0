"""A dialog of a few lines to fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp

Answers = dict[str, str]
"""What was typed, by the questions' names."""


@dataclass(frozen=True, slots=True)
class Question:
    """One line to fill in."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    """Stands there while it is empty."""


class Ask(ModalScreen[Answers | None]):
    """Asks for words."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "back", key_display="Esc", id="ask.cancel"),
    ]

    app: LayerviewApp

    def __init__(self, heading: str, words: str, questions: Sequence[Question], verb: str) -> None:
        """Ask.

        Args:
            heading: what it is about.
            words: what will happen.
            questions: the lines, in order.
            verb: what the button that does it says.
        """
        super().__init__()
        self._heading = heading
        self._words = words
        self._questions = questions
        self._verb = verb

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with Vertical(classes="dialog"):
            yield Label(self._heading, classes="heading", markup=False)
            yield Label(self._words, classes="words", markup=False)
            with Vertical(classes="fields"):
                for question in self._questions:
                    with Horizontal(classes="field"):
                        yield Label(question.label, classes="label", markup=False)
                        yield Input(question.value, placeholder=question.hint, id=question.name)
            with Horizontal(classes="buttons"):
                yield Button("Back", id="cancel", compact=True)
                yield Button(self._verb, id="do", compact=True)

    def on_mount(self) -> None:
        """Begin in the first line."""
        for entry in self.query(Input):
            entry.cursor_blink = False
        self.query(Input).first().focus()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._answer()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "do":
            self._answer()
        else:
            self.dismiss(None)

    def _answer(self) -> None:
        self.dismiss({entry.id or "": entry.value for entry in self.query(Input)})

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)
