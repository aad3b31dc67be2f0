"""The dialog that starts containers from an image."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Label, Static

from layerview.errors import LayerviewError, UsageError
from layerview.text import printable
from layerview.tui.errands import Errand, started_ids
from layerview.tui.working import in_background

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp

MOST = 100
"""Containers that are started at once."""


class Switch(Static, can_focus=True):
    """A yes or no, changed with Space."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "change", "yes or no", key_display="Space", id="switch.change"),
    ]

    def __init__(self, words: str, *, on: bool, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._words = words
        self.on = on

    def on_mount(self) -> None:
        """Show it."""
        self._show()

    def _show(self) -> None:
        self.update(f"[{'x' if self.on else ' '}] {self._words}")

    def action_change(self) -> None:
        """Change it."""
        self.on = not self.on
        self._show()

    def on_click(self) -> None:
        """Change it."""
        self.action_change()


class RunContainer(ModalScreen[list[str] | None]):
    """Asks what is to run, starts it, and stays until it is started; returns the IDs."""

    CSS_PATH = "../styles/dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "back", key_display="Esc", id="run.cancel"),
        Binding("down", "app.focus_next", "down", show=False, id="run.down"),
        Binding("up", "app.focus_previous", "up", show=False, id="run.up"),
    ]

    app: LayerviewApp

    class Started(Message):
        """They are started, or why they are not."""

        def __init__(self, ids: list[str], reason: str = "") -> None:
            self.ids = ids
            self.reason = reason
            super().__init__()

    class ImagesKnown(Message):
        """The names of the area's images."""

        def __init__(self, names: list[str]) -> None:
            self.names = names
            super().__init__()

    class Doing(Message):
        """How far it is."""

        def __init__(self, words: str) -> None:
            self.words = words
            super().__init__()

    class NoneStart(Message):
        """Why no container can be started here at all."""

        def __init__(self, why: str) -> None:
            self.why = why
            super().__init__()

    def __init__(self, image: str = "") -> None:
        """Ask.

        Args:
            image: what is proposed; anything that `layerview run` takes.
        """
        super().__init__()
        self._image = image
        self._starting = False
        self._errand: Errand | None = None
        self._names: frozenset[str] = frozenset()
        self.images_asked = False
        """Whether the area's images are known, so far as they can be."""

    def compose(self) -> ComposeResult:
        """Lay out the dialog."""
        shown = self._image.removeprefix("local:")
        fields = [
            ("Image", Input(shown, placeholder="name:tag, or a file", id="image")),
            ("Command", Input(placeholder="the image's own", id="command")),
            ("Name", Input(placeholder="made up", id="name")),
            ("How many", Input("1", id="count", type="integer", max_length=3)),
            ("Terminal", Switch("keys go to the program", on=True, id="tty")),
            ("Volumes", Input(placeholder="data:/data  /srv:/srv:ro", id="volumes")),
            ("Driver", Input(placeholder="the one that has the image", id="driver")),
        ]
        with Vertical(classes="dialog"):
            yield Label("Start containers", classes="heading", markup=False)
            with Vertical(classes="fields"):
                for label, entry in fields:
                    with Horizontal(classes="field"):
                        yield Label(label, classes="label", markup=False)
                        yield entry
            yield Label("", classes="failed", id="failed", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Back", id="cancel", compact=True)
                yield Button("Start", id="start", compact=True)

    def on_mount(self) -> None:
        """Begin where something is missing."""
        for entry in self.query(Input):
            entry.cursor_blink = False
        self.query_one("#command" if self._image else "#image", Input).focus()
        in_background(
            self, lambda: self.ImagesKnown(_local_images()), lambda reason: self.ImagesKnown([])
        )

    @on(ImagesKnown)
    def _images_known(self, message: ImagesKnown) -> None:
        self._names = frozenset(message.names)
        self.images_asked = True
        self.query_one("#image", Input).suggester = SuggestFromList(message.names)

    def _text(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _say(self, words: str, failed: bool) -> None:
        label = self.query_one("#failed", Label)
        label.set_class(failed, "failed")
        label.set_class(not failed, "words")
        label.update(f"{self.app.glyphs.waste} {words}" if failed and words else words)

    def _words(self) -> list[str]:
        """Return the command line that does it.

        Raises:
            UsageError: when something is missing or makes no sense.
        """
        image = self._text("image")
        if not image:
            raise UsageError("an image is needed")
        number = self._text("count") or "1"
        if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= MOST:
            raise UsageError(f"how many: 1 to {MOST}")
        try:
            command = shlex.split(self._text("command"))
            volumes = shlex.split(self._text("volumes"))
        except ValueError as error:
            raise UsageError(f"a quotation is not closed ({error})") from None
        words = ["run", "--detach", "--json"]
        if self.query_one("#tty", Switch).on:
            words += ["--interactive", "--tty"]
        if int(number) > 1:
            words += ["--count", number]
        if self._text("name"):
            words += ["--name", self._text("name")]
        for volume in volumes:
            words += ["--volume", volume]
        if self._text("driver"):
            words += ["--driver", self._text("driver")]
        if self._image == f"local:{image}":
            # Another place may have one of that name.
            image = self._image
        if image.startswith("-"):
            raise UsageError(f"{printable(image)} is no image's name")
        return [*words, image, *command]

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def _start(self) -> None:
        if self._starting:
            return
        try:
            words = self._words()
        except UsageError as error:
            self._say(str(error), True)
            return
        self._starting = True
        self._say("starting", False)
        image = self._text("image")
        local = image in self._names or f"{image}:latest" in self._names
        # Else its layers may have to be made first, which takes long and tells how far it is.
        work = self._by_worker if local and not self._text("driver") else self._by_errand
        in_background(
            self, lambda: self._or_instead(work, words), lambda reason: self.Started([], reason)
        )

    def _or_instead(self, work: Callable[[list[str]], Message], words: list[str]) -> Message:
        """Start them, or offer what can be had where that is nothing."""
        try:
            return work(words)
        except LayerviewError:
            from layerview.tui.live_instead import why_none_start

            why = why_none_start()
            if why is None:
                raise
            return self.NoneStart(why)

    @on(NoneStart)
    def _none_start(self, message: NoneStart) -> None:
        from layerview.tui.live_instead import InsteadOffered

        volumes = shlex.split(self._text("volumes"))
        self.dismiss(None)
        self.app.post_message(InsteadOffered(self._text("image"), volumes, message.why))

    def _by_worker(self, words: list[str]) -> Message:
        return self.Started(started_ids(self.app.worker.ask(words)))

    def _by_errand(self, words: list[str]) -> Message:
        self._errand = errand = Errand(words)

        def progress(what: str, done: int, total: int | None) -> None:
            share = f", {100 * done // total} %" if total else ""
            self.post_message(self.Doing(f"{what or 'making its layers'}{share}; Esc stops"))

        return self.Started(started_ids(errand.finish(progress)))

    @on(Doing)
    def _still_doing(self, message: Doing) -> None:
        if self._starting:
            self._say(printable(message.words), False)

    @on(Started)
    def _started(self, message: Started) -> None:
        self._starting, self._errand = False, None
        if message.ids:
            self.dismiss(message.ids)
        else:
            self._say(message.reason or "nothing was started", True)

    @on(Button.Pressed, "#cancel")
    def _back(self) -> None:
        self.action_cancel()

    def action_cancel(self) -> None:
        """Stop, or start nothing."""
        if self._errand is not None:
            self._errand.stop()
        elif not self._starting:
            self.dismiss(None)


def _local_images() -> list[str]:
    """Return the names of the area's images."""
    from layerview.store.area import default_root
    from layerview.store.data_root import DataRoot

    root = DataRoot(default_root())
    names: Iterable[str] = (
        name
        for driver in root.drivers()
        for image in root.images(driver, [])
        for name in image.references
    )
    return sorted({printable(name) for name in names})
