"""The work behind a Live view: following the records, a shell, and what is done in threads."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from textual.message import Message
from textual.screen import Screen

from layerview.errors import LayerviewError
from layerview.text import printable
from layerview.tui.container_lines import ChangeLine, read_changes
from layerview.tui.live_model import Recorded
from layerview.tui.widgets.chrome import Bare
from layerview.tui.working import TellsFailures, in_background

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from layerview.tui.app import LayerviewApp
    from layerview.tui.live_model import Source
    from layerview.tui.terminal.wires import Wire
    from layerview.watch.events import Record
    from layerview.watch.target import Target

OURS = "layerview"
"""The engine of our own containers, which alone can be stopped and typed into from here."""


class LiveWork(TellsFailures, Screen[None], Bare):
    """What a Live view does beside showing: all of it comes back as messages."""

    app: LayerviewApp

    class WayIn(Message):
        """A terminal in the container."""

        def __init__(self, wire: Wire) -> None:
            self.wire = wire
            super().__init__()

        def dispose(self) -> None:
            """Let go of it when nobody takes it."""
            self.wire.close()

    class NoWayIn(Message):
        """Why there is no terminal."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    class Changes(Message):
        """What the container changed."""

        def __init__(self, changes: list[ChangeLine]) -> None:
            self.changes = changes
            super().__init__()

    class NotRecorded(Message):
        """Why what happens is not written to a file."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    class Done(Message):
        """A command is carried out, or why it is not."""

        def __init__(self, words: str, failed: bool) -> None:
            self.words = words
            self.failed = failed
            super().__init__()

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.target: Target = source.target
        self.recording = source if isinstance(source, Recorded) else None

    # The records -----------------------------------------------------------------------------

    def take(self, records: Sequence[Record]) -> None:
        """Take what happened."""
        raise NotImplementedError

    def tell_failure(self, reason: str) -> None:
        """Say why nothing more will be told."""
        raise NotImplementedError

    async def follow(self) -> None:
        """Take all records until there are no more, or the screen is left."""
        try:
            told = cast("AsyncGenerator[list[Record]]", self.source.batches())
            async with aclosing(told) as batches:
                async for batch in batches:
                    self.take(batch)
        except (LayerviewError, OSError) as error:
            self.tell_failure(printable(str(error)))

    # The container ---------------------------------------------------------------------------

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our own containers that runs now."""
        return self.target.engine == OURS and self.recording is None

    def find_way_in(self, rows: int, columns: int) -> None:
        """Open a terminal in the container: its own, or that of a shell beside its program."""
        from layerview.tui import shells

        id = self.target.id

        def work() -> Message:
            if shells.area_containers().find(id).tty:
                return self.WayIn(shells.attach(id))
            return self.WayIn(shells.shell(id, rows, columns))

        in_background(self, work, self.NoWayIn)

    def find_changes(self) -> None:
        """Find out what the container changed."""

        def work() -> Message:
            back = self.app.worker.ask(["changes", "--json", self.target.id])
            return self.Changes(read_changes(back.said))

        in_background(self, work, lambda reason: self.Done(reason, failed=True))

    def stop(self) -> None:
        """Stop the container."""

        def work() -> Message:
            self.app.worker.ask(["stop", "--json", self.target.id])
            return self.Done(f"{self.target.name} has ended", failed=False)

        in_background(self, work, lambda reason: self.Done(reason, failed=True))
