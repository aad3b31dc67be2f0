"""A list that the worker is asked for again and again, and the commands that change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual import on
from textual.message import Message

from layerview.tui.errands import Returned
from layerview.tui.screens.list_screen import ListScreen
from layerview.tui.widgets.list_table import ListTable
from layerview.tui.working import Done, in_background, tell_done

Line = TypeVar("Line")
"""What is listed."""


class AskedList(ListScreen, Generic[Line]):
    """Base of the screens of what lies in the local area."""

    EVERY: ClassVar[float]
    """Seconds between two looks."""
    LOOKING: ClassVar[str]
    """What stands in the list before the first look."""
    NONE_MATCHES: ClassVar[str]
    NONE_YET: ClassVar[tuple[str, str]]
    """What is said where there are none, and how that can be helped."""

    class Looked(Message):
        """All that there is now."""

        def __init__(self, lines: list[Any]) -> None:
            self.lines = lines
            super().__init__()

    class LookFailed(Message):
        """Why it can't be listed."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        """All that there is, in order."""
        self.known = False
        """Whether it was listed once."""
        self.looking = False
        """Whether it is being listed."""
        self.wanted = ""
        """The key of what the cursor shall go to once it is listed."""
        self._again = False
        self._reason = ""
        """Why it can't be listed."""

    @property
    def table(self) -> ListTable[Line]:
        """The list."""
        raise NotImplementedError

    def heads(self) -> list[tuple[str, int, bool]]:
        """Return the list's own."""
        return self.table.heads()

    def list_lines(self) -> list[Line]:
        """Ask for all that there is; called in a thread.

        Raises:
            LayerviewError: why it can't be listed.
        """
        raise NotImplementedError

    def matches(self, line: Line) -> bool:
        """Tell whether a line is one of those that are looked for."""
        raise NotImplementedError

    def arrived(self) -> None:
        """Go on, now that the cursor is on what was wanted."""

    # Listing ---------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """List what there is, and keep looking."""
        self.table.message = (self.LOOKING, "")
        self.table.focus()
        self.look()
        self.set_interval(self.EVERY, self._tick)

    def _tick(self) -> None:
        if self.app.screen is self and not self.looking:
            self.look()

    def action_reload(self) -> None:
        """Look again."""
        self.look()

    def look(self) -> None:
        """List what there is, unless that is under way: then again afterwards."""
        if self.looking:
            self._again = True
            return
        self.looking = True
        in_background(self, lambda: self.Looked(self.list_lines()), self.LookFailed)

    @on(Looked)
    def _they_are(self, message: Looked) -> None:
        self._looked(message.lines, "")
        if self.wanted and self.table.go_to(self.wanted):
            self.wanted = ""
            self.arrived()

    @on(LookFailed)
    def _not_listed(self, message: LookFailed) -> None:
        self._looked([], f"{self.app.glyphs.waste} {message.reason}")

    def _looked(self, lines: list[Line], reason: str) -> None:
        self.looking, self.known = False, True
        self.lines, self._reason = lines, reason
        if self._again:
            self._again = False
            self.look()
        self.fill()

    def show_rows(self) -> None:
        """List what matches, or say why there is nothing."""
        table = self.table
        table.failed = bool(self._reason)
        if self._reason:
            table.message = (self._reason, "r tries again")
        elif self.lines:
            table.message = (self.NONE_MATCHES, "Esc shows all")
        elif self.known:
            table.message = self.NONE_YET
        table.show_rows([line for line in self.lines if self.matches(line)])

    # Commands --------------------------------------------------------------------------------

    def command(
        self,
        words: Sequence[str],
        title: str,
        what: str,
        ids: Sequence[str] = (),
        tell: Callable[[Returned], str] | None = None,
    ) -> None:
        """Have the worker carry out a command, and tell how it went.

        Args:
            words: the command line.
            title: what is said when it is done; `Not` before it where it failed.
            what: about what.
            ids: the keys of what it is about.
            tell: makes words of what came back; `what` when left out.
        """

        def work() -> Message:
            back = self.app.worker.ask(words)
            said = tell(back) if tell is not None else what
            return Done(title, "; ".join([said, *back.notes]), ids)

        in_background(self, work, lambda reason: Done(title, reason, ids, failed=True))

    @on(Done)
    def _done(self, message: Done) -> None:
        tell_done(self, message)
        self.done(message)
        self.look()

    def done(self, message: Done) -> None:
        """Go on after a command, whether it was carried out or not."""
