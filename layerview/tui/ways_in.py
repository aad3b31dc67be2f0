"""Opening a container in a pane: its terminal, a shell in it, or its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from layerview.tui.working import in_background

if TYPE_CHECKING:
    from layerview.tui.terminal.wires import Wire
    from layerview.tui.widgets.terminal import TerminalPane


class WayIn(Message):
    """A terminal of a container, or its log."""

    def __init__(self, id: str, kind: str, wire: Wire) -> None:
        self.id = id
        self.kind = kind
        self.wire = wire
        super().__init__()

    def dispose(self) -> None:
        """Let go of it when nobody takes it."""
        self.wire.close()


class NoWayIn(Message):
    """Why there is no terminal."""

    def __init__(self, id: str, reason: str) -> None:
        self.id = id
        self.reason = reason
        super().__init__()


def find_way_in(pane: TerminalPane, id: str, kind: str) -> None:
    """Open a terminal in a container: its own, or a shell's; or follow its log.

    What is found comes to the pane's screen. The pane has its size only once it is laid out.

    Args:
        pane: what the terminal is for.
        id: the container's.
        kind: "shell", "built-in" for the built-in one, or "log".
    """
    from layerview.tui import shells

    rows, columns = pane.size.height or 24, pane.size.width or 80

    def work() -> Message:
        if kind == "log":
            return WayIn(id, kind, shells.log(id))
        if kind == "built-in":
            return WayIn(id, kind, shells.built_in(id, rows, columns))
        if shells.area_containers().find(id).tty:
            return WayIn(id, "terminal", shells.attach(id))
        return WayIn(id, kind, shells.shell(id, rows, columns))

    in_background(pane.screen, work, lambda reason: NoWayIn(id, reason))
