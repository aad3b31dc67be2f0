"""The dialog that asks for an image's file or folder: a path, and the folder it leads through."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Label

from layerview.text import printable
from layerview.tui.file_rows import (
    MOST_NAMES,
    FileRow,
    begin_at,
    folder_of,
    joined,
    list_folder,
    matching,
)
from layerview.tui.widgets.file_list import FileList

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp


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
    """Asks for an image's file or folder: typed, or chosen from the folders on the way."""

    CSS_PATH = "../styles/dialogs.tcss"
    VERTICAL_BREAKPOINTS = [(0, "-lowest"), (20, "-low"), (32, "-high")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "back", key_display="Esc", id="open.cancel"),
        Binding(
            "tab", "complete", "complete", key_display="Tab", priority=True, id="open.complete"
        ),
        Binding("up", "move(-1)", "up", show=False, id="open.up"),
        Binding("down", "move(1)", "down", show=False, id="open.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="open.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="open.page_down"),
    ]

    app: LayerviewApp

    class FolderRead(Message):
        """A folder's entries are known, or why they are not."""

        def __init__(self, folder: str, rows: list[FileRow], error: str) -> None:
            self.folder = folder
            self.rows = rows
            self.error = error
            super().__init__()

    def __init__(self, heading: str = "Open an image", name: str = "") -> None:
        """Ask.

        Args:
            heading: what is asked for.
            name: what stands there to begin with.
        """
        super().__init__()
        self._heading = heading
        self._begin = name
        self._folder: str | None = None
        self._rows: list[FileRow] = []

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        with Vertical(classes="dialog"):
            yield Label(self._heading, classes="heading", markup=False)
            yield Label(
                "A docker save archive, an OCI archive or layout, a root file system."
                " Type, or choose below; Tab completes.",
                classes="words",
                markup=False,
            )
            yield Input(self._begin, placeholder="path or transport:path")
            yield FileList(glyphs=self.app.glyphs, id="files")
            yield Label("", classes="failed", id="failed", markup=False)

    def on_mount(self) -> None:
        """Begin in the entry."""
        entry = self.query_one(Input)
        entry.cursor_blink = False
        entry.select_on_focus = False
        entry.focus()
        self._show(entry.value)

    def _show(self, value: str) -> None:
        """List what the path leads to; only another folder is read."""
        folder = folder_of(value)
        if folder != self._folder:
            self._folder, self._rows = folder, []
            self.read_folder(folder)
        self._show_rows(value)

    def _show_rows(self, value: str) -> None:
        rows = matching(self._rows, value)
        self.query_one(FileList).show_rows(rows, begin_at(rows))

    @work(thread=True, exclusive=True, exit_on_error=False, description="Reading a folder")
    def read_folder(self, folder: str) -> None:
        """Read a folder; it may lie on a disk that is slow."""
        rows: list[FileRow] = []
        error = ""
        try:
            rows = list_folder(folder)
        except FileNotFoundError:
            error = "there is no such folder"
        except OSError as problem:
            error = problem.strerror or str(problem)
        self.post_message(self.FolderRead(folder, rows, error))

    @on(FolderRead)
    def _folder_read(self, message: FolderRead) -> None:
        if message.folder == self._folder:
            self._rows = message.rows
            self._show_rows(self.query_one(Input).value)
            self._fail(f"{printable(message.folder)}: {message.error}" if message.error else "")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._fail("")
        self._show(event.value)

    def _fail(self, words: str) -> None:
        self.query_one("#failed", Label).update(words)

    def _put(self, value: str) -> None:
        entry = self.query_one(Input)
        entry.value = value
        entry.cursor_position = len(value)

    # Keys ------------------------------------------------------------------------------------

    def action_complete(self) -> None:
        """Write the row under the cursor into the path."""
        row = self.query_one(FileList).current
        if row is not None:
            self._put(joined(self.query_one(Input).value, row))

    def action_move(self, by: int) -> None:
        """Move the list's cursor."""
        self.query_one(FileList).action_cursor(by)

    def action_page(self, by: int) -> None:
        """Move the list's cursor by a page."""
        self.query_one(FileList).action_page(by)

    @on(FileList.Chosen)
    def _clicked(self) -> None:
        self._take_row(self.query_one(Input).value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        value = event.value.strip()
        name = os.path.expanduser(value)
        if value and (":" in value or os.path.isfile(name)) and self._is_there(name):
            self.dismiss(name)
        elif not self._take_row(value) and value:
            self._fail(f"{printable(value)}: no such file or folder")

    def _take_row(self, value: str) -> bool:
        row = self.query_one(FileList).current
        if row is None:
            return False
        path = joined(value, row)
        if row.is_image:
            self.dismiss(os.path.expanduser(path))
        else:
            self._put(path)
        return True

    @staticmethod
    def _is_there(name: str) -> bool:
        if os.path.exists(name) or name.startswith(("demo:", "docker-daemon:", "local:")):
            return True
        return os.path.exists(name.partition(":")[2].split(":")[0])

    def action_cancel(self) -> None:
        """Choose nothing."""
        self.dismiss(None)
