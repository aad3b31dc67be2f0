"""Dialogs that choose an image: one of several in a file, or another one to compare with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList

from layerview.text import printable
from layerview.tui.screens.open_file import PathSuggester, complete_path

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


class ChooseImage(ModalScreen[str | None]):
    """Asks which image is meant."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "back", key_display="Esc", id="choose.cancel"),
    ]

    app: LayerviewApp

    def __init__(
        self, heading: str, words: str, names: Sequence[tuple[str, str]], *, typed: str = ""
    ) -> None:
        """Ask.

        Args:
            heading: what is asked.
            words: one line more.
            names: for each choice what opens it, and what is shown for it.
            typed: what else may be typed; nothing when it is left out.
        """
        super().__init__()
        self._heading = heading
        self._words = words
        self._names = names
        self._typed = typed

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with Vertical(classes="dialog"):
            yield Label(self._heading, classes="heading", markup=False)
            yield Label(self._words, classes="words", markup=False)
            if self._typed:
                path = PathSuggester()
                yield Input(placeholder=self._typed, suggester=path, select_on_focus=False)
            yield OptionList(*(Content(printable(shown)) for _, shown in self._names))
            yield Label("", classes="failed", id="failed", markup=False)

    def on_mount(self) -> None:
        """Begin where there is something to choose."""
        for entry in self.query(Input):
            entry.cursor_blink = False
        if self._names:
            self.query_one(OptionList).focus()
        else:
            self.query_one(OptionList).display = False
            self.query(Input).first().focus()

    def on_key(self, event: events.Key) -> None:
        """Take what is typed over the list for the beginning of what may be typed."""
        entry = next(iter(self.query(Input)), None)
        if entry is None or entry.has_focus or not event.is_printable or not event.character:
            return
        event.stop()
        event.prevent_default()
        entry.focus()
        entry.insert_text_at_cursor(event.character)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index][0])

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        name = os.path.expanduser(event.value.strip())
        if not name:
            return
        if ":" not in name and not os.path.exists(name):
            longer = complete_path(event.value)
            hint = f"; {longer}?" if longer else ""
            self.query_one("#failed", Label).update(f"{printable(name)}: no such file{hint}")
            return
        self.dismiss(name)

    def action_cancel(self) -> None:
        """Choose nothing."""
        self.dismiss(None)
