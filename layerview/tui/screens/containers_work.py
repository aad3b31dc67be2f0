"""The work behind the Containers screen: asking the worker, ways into containers, in threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.message import Message
from textual.screen import Screen

from layerview.errors import LayerviewError
from layerview.tui.container_lines import (
    ChangeLine,
    ContainerLine,
    read_changes,
    read_lines,
    with_sizes,
    without_size,
)
from layerview.tui.errands import Returned
from layerview.tui.listing import ListedLayer
from layerview.tui.widgets.chrome import Bare
from layerview.tui.working import TellsFailures, in_background

if TYPE_CHECKING:
    from layerview.tui.app import LayerviewApp
    from layerview.tui.terminal.wires import Wire

MEASURED_SHARE = 0.1
"""The share of time that measuring containers may take; slow drivers are measured less often."""


class ContainersWork(TellsFailures, Screen[None], Bare):
    """Threads that fill a Containers screen, and the messages through which they do."""

    app: LayerviewApp

    class Looked(Message):
        """All containers, as they are now."""

        def __init__(self, lines: list[ContainerLine]) -> None:
            self.lines = lines
            super().__init__()

    class LookFailed(Message):
        """Why they can't be listed."""

        def __init__(self, reason: str) -> None:
            self.reason = reason
            super().__init__()

    class Done(Message):
        """A command is carried out, or why it is not."""

        def __init__(self, title: str, words: str, ids: Sequence[str], failed: bool) -> None:
            self.title = title
            self.words = words
            self.ids = ids
            self.failed = failed
            super().__init__()

    class StackKnown(Message):
        """The layers of a container's image."""

        def __init__(self, key: tuple[str, str], layers: list[ListedLayer]) -> None:
            self.key = key
            self.layers = layers
            super().__init__()

    class LossKnown(Message):
        """What removing containers would lose."""

        def __init__(self, lines: list[ContainerLine], changes: list[ChangeLine] | None) -> None:
            self.lines = lines
            self.changes = changes
            super().__init__()

    class ChangesKnown(Message):
        """What a container changed."""

        def __init__(self, line: ContainerLine, changes: list[ChangeLine]) -> None:
            self.line = line
            self.changes = changes
            super().__init__()

    class WayIn(Message):
        """A terminal of a container, or its log."""

        def __init__(self, line: ContainerLine, kind: str, wire: Wire) -> None:
            self.line = line
            self.kind = kind
            self.wire = wire
            super().__init__()

        def dispose(self) -> None:
            """Let go of it when nobody takes it."""
            self.wire.close()

    class NoWayIn(Message):
        """Why there is no terminal."""

        def __init__(self, line: ContainerLine, kind: str, reason: str) -> None:
            self.line = line
            self.kind = kind
            self.reason = reason
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[ContainerLine] = []
        """All containers, the newest first."""
        self.known = False
        """Whether they were listed once."""
        self._looking = False
        self._again = False
        self._measure_at = 0.0
        self._stacks: dict[tuple[str, str], list[ListedLayer]] = {}

    # Listing ---------------------------------------------------------------------------------

    @property
    def looking(self) -> bool:
        """Whether they are being listed."""
        return self._looking

    def look(self) -> None:
        """List them, unless that is under way: then again afterwards."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        before = self.lines
        in_background(self, lambda: self.Looked(self._listed(before)), self.LookFailed)

    def looked(self) -> None:
        """Note that the listing came back."""
        self._looking = False
        self.known = True
        if self._again:
            self._again = False
            self.look()

    def _listed(self, before: list[ContainerLine]) -> list[ContainerLine]:
        """Ask the worker; called in a thread."""
        ask = self.app.worker.ask
        lines = read_lines(ask(["ps", "--json", "-a"]).said)
        measured: list[ContainerLine] = []
        start = time.monotonic()
        if start >= self._measure_at:
            if any(line.runs for line in lines):
                measured = read_lines(ask(["ps", "--json", "-s"]).said)
            sized = with_sizes(lines, measured, before)
            if without_size(sized):
                measured = read_lines(ask(["ps", "--json", "-a", "-s"]).said)
            took = time.monotonic() - start
            self._measure_at = time.monotonic() + took / MEASURED_SHARE - took
        return with_sizes(lines, measured, before)

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
            ids: of the containers that it is about.
            tell: makes words of what came back; `what` when left out.
        """

        def work() -> Message:
            back = self.app.worker.ask(words)
            said = tell(back) if tell is not None else what
            return self.Done(title, "; ".join([said, *back.notes]), ids, False)

        in_background(self, work, lambda reason: self.Done(title, reason, ids, True))

    def find_changes(self, line: ContainerLine) -> None:
        """Find out what a container changed."""

        def work() -> Message:
            back = self.app.worker.ask(["changes", "--json", line.id])
            return self.ChangesKnown(line, read_changes(back.said))

        in_background(
            self, work, lambda reason: self.Done("Compared", reason, [line.id], failed=True)
        )

    def find_loss(self, lines: list[ContainerLine]) -> None:
        """Find out what would be lost with containers."""

        def work() -> Message:
            changes: list[ChangeLine] | None = []
            for line in lines:
                try:
                    said = self.app.worker.ask(["changes", "--json", line.id]).said
                except LayerviewError:
                    # It goes all the same; how many files that are is not known.
                    return self.LossKnown(lines, None)
                changes = [*(changes or ()), *read_changes(said)]
            return self.LossKnown(lines, changes)

        in_background(self, work, lambda reason: self.LossKnown(lines, None))

    # Ways in ---------------------------------------------------------------------------------

    def find_way_in(self, line: ContainerLine, kind: str, rows: int, columns: int) -> None:
        """Open a terminal in a container: its own, or a shell's; or follow its log.

        Args:
            line: the container.
            kind: "shell", "built-in" for the built-in one, or "log".
            rows: of the terminal.
            columns: of the same.
        """
        from layerview.tui import shells

        def work() -> Message:
            if kind == "log":
                return self.WayIn(line, kind, shells.log(line.id))
            if kind == "built-in":
                return self.WayIn(line, kind, shells.built_in(line.id, rows, columns))
            if shells.area_containers().find(line.id).tty:
                return self.WayIn(line, "terminal", shells.attach(line.id))
            return self.WayIn(line, kind, shells.shell(line.id, rows, columns))

        in_background(self, work, lambda reason: self.NoWayIn(line, kind, reason))

    def find_stack(self, line: ContainerLine) -> list[ListedLayer] | None:
        """Return the layers of a container's image; None while they are being looked for."""
        key = (line.image_id, line.driver)
        if not line.image_id:
            return []
        if key not in self._stacks:
            self._stacks[key] = []
            in_background(
                self,
                lambda: self.StackKnown(key, _layers_of(*key)),
                lambda reason: self.StackKnown(key, []),
            )
            return None
        return self._stacks[key]


def _layers_of(image_id: str, driver: str) -> list[ListedLayer]:
    """Read an image's layers from the area."""
    from layerview.oci.config import pair_history
    from layerview.oci.instruction import instruction
    from layerview.store.area import default_root
    from layerview.store.data_root import DataRoot

    root = DataRoot(default_root())
    image = root.image(image_id, driver)
    rows = pair_history(image.config.history, len(image.chain_ids))
    made = {row.layer: row.history for row in rows if row.layer is not None}
    return [
        ListedLayer(chain_id, root.layer(driver, chain_id).size, instruction(made.get(number)))
        for number, chain_id in enumerate(image.chain_ids)
    ]
