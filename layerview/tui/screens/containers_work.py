"""The work behind the Containers screen: what is asked about containers, in threads."""

from __future__ import annotations

import time

from textual.message import Message

from layerview.errors import LayerviewError
from layerview.tui.container_lines import (
    ChangeLine,
    ContainerLine,
    read_changes,
    read_lines,
    with_sizes,
    without_size,
)
from layerview.tui.listing import ListedLayer
from layerview.tui.screens.asked_list import AskedList
from layerview.tui.widgets.container_table import ContainerTable
from layerview.tui.working import Done, in_background

MEASURED_SHARE = 0.1
"""The share of time that measuring containers may take; slow drivers are measured less often."""


class ContainersWork(AskedList[ContainerLine]):
    """Threads that fill a Containers screen, and the messages through which they do."""

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

    def __init__(self) -> None:
        super().__init__()
        self._measure_at = 0.0
        self._stacks: dict[tuple[str, str], list[ListedLayer]] = {}

    @property
    def table(self) -> ContainerTable:
        """The list."""
        return self.query_one(ContainerTable)

    def list_lines(self) -> list[ContainerLine]:
        """Ask the worker; called in a thread."""
        ask, before = self.app.worker.ask, self.lines
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

    def find_changes(self, line: ContainerLine) -> None:
        """Find out what a container changed."""

        def work() -> Message:
            back = self.app.worker.ask(["changes", "--json", line.id])
            return self.ChangesKnown(line, read_changes(back.said))

        in_background(self, work, lambda reason: Done("Compared", reason, [line.id], failed=True))

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
