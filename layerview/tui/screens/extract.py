"""The dialog that copies a file or folder out of the image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label
from textual.worker import get_current_worker

from layerview.errors import Cancelled, LayerviewError
from layerview.progress import Progress
from layerview.sizes import format_size
from layerview.text import decode, printable
from layerview.tui.screens.open_file import PathSuggester
from layerview.tui.words import count_of
from layerview.tui.working import TellsFailures

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp
    from layerview.tui.opened import OpenedImage
    from layerview.view.nodes import Node


class ExtractDialog(TellsFailures, ModalScreen[None]):
    """Asks where to, and extracts."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "back", key_display="Esc", id="extract.cancel"),
    ]

    app: LayerviewApp

    class Done(Message):
        """The extraction ended."""

        def __init__(self, words: str, failed: bool) -> None:
            self.words = words
            self.failed = failed
            super().__init__()

    def __init__(self, opened: OpenedImage, node: Node, layer: int | None) -> None:
        super().__init__()
        self.opened = opened
        self.node = node
        self.only = layer
        self._progress: Progress | None = None

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        node = self.node
        name = "/" + printable(node.path)
        what = "folder" if node.is_dir else format_size(node.size, binary=self.app.binary_sizes)
        whence = "as the unified view shows it" if self.only is None else f"of layer {self.only}"
        with Vertical(classes="dialog"):
            yield Label(f"Extract {name}", classes="heading", markup=False)
            yield Label(
                f"{what}, {whence}. Nothing outside the target is written.",
                classes="words",
                markup=False,
            )
            yield Input(self._proposal(), suggester=PathSuggester(), select_on_focus=False)
            yield Label("", classes="failed", id="failed", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Extract", id="extract", compact=True)
                yield Button("Back", id="cancel", compact=True)

    def _proposal(self) -> str:
        name = decode(self.node.name) if self.node.name else "rootfs"
        return "./" + (name if name.isprintable() and name not in (".", "..") else "extracted")

    def on_mount(self) -> None:
        """Begin in the entry."""
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()

    @on(Input.Submitted)
    @on(Button.Pressed, "#extract")
    def _start(self) -> None:
        target = os.path.expanduser(self.query_one(Input).value.strip())
        if not target:
            return
        if os.path.lexists(target) and not os.path.isdir(target):
            self._say(f"{printable(target)} is there already; choose another name", True)
            return
        self._say("extracting; Esc stops", False)
        self.extract(target)

    @on(Button.Pressed, "#cancel")
    def _cancel_pressed(self) -> None:
        self.action_cancel()

    def _say(self, words: str, failed: bool) -> None:
        label = self.query_one("#failed", Label)
        label.set_class(failed, "failed")
        label.set_class(not failed, "words")
        sign = f"{self.app.glyphs.waste} " if failed else ""
        label.update(sign + words)

    @work(thread=True, exclusive=True, exit_on_error=False, group="extract", description="Extract")
    def extract(self, target: str) -> None:
        """Extract beneath the target."""
        from layerview.view.extract import extract

        worker = get_current_worker()
        progress = self._progress = Progress()
        try:
            done = extract(
                self.opened.view,
                self.opened.contents,
                self.node.path,
                target,
                layer=self.only,
                progress=progress,
            )
        except Cancelled:
            return
        except (LayerviewError, OSError) as error:
            if not worker.is_cancelled:
                self.post_message(self.Done(printable(str(error)), True))
            return
        if worker.is_cancelled:
            return
        size = format_size(done.bytes, binary=self.app.binary_sizes)
        words = f"{count_of(done.files, 'file')}, {size}, in {printable(done.target)}"
        wrong = [*done.damage, *done.skipped]
        if wrong:
            words += f"; {len(wrong):,} left out: {printable(wrong[0])}"
        self.post_message(self.Done(words, bool(done.damage)))

    @on(Done)
    def _done(self, message: Done) -> None:
        if message.failed:
            self._say(message.words, True)
        else:
            self.app.notify(message.words, title="Extracted", markup=False)
            self.dismiss(None)

    def action_cancel(self) -> None:
        """Stop, or go back."""
        if self._progress is not None:
            self._progress.cancel()
        self.dismiss(None)
