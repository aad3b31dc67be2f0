"""The pane of the Containers screen: a shell in a container, its terminal, or its log."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult

from layerview.tui.container_lines import ContainerLine
from layerview.tui.screens.containers_work import ContainersWork
from layerview.tui.ways_in import NoWayIn, WayIn, find_way_in
from layerview.tui.widgets.chrome import Pane, PaneTitle, Piece, muted, strong
from layerview.tui.widgets.container_table import ContainerTable
from layerview.tui.widgets.terminal import TerminalPane
from layerview.tui.words import count_of

_TITLES = {
    "shell": "Shell",
    "built-in": "Built-in shell",
    "terminal": "Terminal",
    "log": "Log",
}
_BUILT_IN = "aufs"
"""The driver whose containers can be opened without being started."""


class ContainersPane(ContainersWork):
    """What is opened beside the list, and closed again."""

    def __init__(self) -> None:
        super().__init__()
        self._opening: tuple[ContainerLine, str] | None = None
        """The container and the kind of the pane that is being opened."""
        self._opened: tuple[ContainerLine, str] | None = None
        """What the pane shows."""

    def compose_more(self) -> ComposeResult:
        """Lay out the pane, which does not show before something is opened."""
        glyphs = self.app.glyphs
        with Pane(id="shell-pane"):
            yield PaneTitle("", glyphs=glyphs, id="shell-title")
            yield TerminalPane(ascii=self.app.ascii, glyphs=glyphs, id="shell")

    @property
    def shell_is_open(self) -> bool:
        """Whether the pane is there."""
        return self.has_class("-shell")

    @on(ContainerTable.Chosen)
    def _open_shell(self, message: ContainerTable.Chosen) -> None:
        message.stop()
        line = self.table.current
        if line is None:
            return
        if not line.runs and line.driver == _BUILT_IN:
            # The union can be opened without a process of the container's.
            self.open_pane(line, "built-in")
            return
        if not line.runs:
            words = f"{line.name} does not run: S starts it, l shows what it wrote."
            self.notify(words, severity="warning", markup=False)
            return
        self.open_pane(line, "shell")

    def action_log(self) -> None:
        """Follow what the container wrote."""
        line = self.table.current
        if line is not None:
            self.open_pane(line, "log")

    def open_pane(self, line: ContainerLine, kind: str) -> None:
        """Open a container's shell or log, unless that is what the pane shows."""
        pane = self.query_one(TerminalPane)
        if self._opened is not None and pane.connected and self.shell_is_open:
            opened, what = self._opened
            if opened.id == line.id and (what == "log") == (kind == "log"):
                self.action_pane()
                return
        self._opening, self._opened = (line, kind), None
        pane.say(f"Opening {'the log' if kind == 'log' else 'a shell'} of {line.name}")
        self._show_pane(line, kind, [muted("Esc closes it")])
        self.add_class("-front")
        pane.focus()
        self.call_after_refresh(find_way_in, pane, line.id, kind)

    def _show_pane(self, line: ContainerLine, kind: str, right: list[Piece]) -> None:
        self.set_class(True, "-shell")
        self.query_one("#shell-title", PaneTitle).show(_TITLES[kind], right, name=line.name)

    @on(WayIn)
    def _way_in(self, message: WayIn) -> None:
        line = self._opening[0] if self._opening is not None else None
        if line is None or line.id != message.id:
            # Another one was asked for meanwhile, or none any more.
            message.dispose()
            return
        self._opening, self._opened = None, (line, message.kind)
        pane = self.query_one(TerminalPane)
        pane.typing = message.kind != "log"
        pane.connect(message.wire)
        self._title_pane()

    def _title_pane(self) -> None:
        if self._opened is None:
            return
        line, kind = self._opened
        pane = self.query_one(TerminalPane)
        right: list[Piece] = []
        if pane.looking_back:
            right.append(strong(f"{count_of(pane.looking_back, 'row')} back   "))
        if kind == "log":
            right.append(muted("Esc closes it"))
        elif not pane.connected:
            right.append(muted("ended   Esc closes it"))
        else:
            right.append(muted("F2 leaves it"))
        self._show_pane(line, kind, right)

    @on(NoWayIn)
    def _no_way_in(self, message: NoWayIn) -> None:
        if self._opening is None or self._opening[0].id != message.id:
            return
        self._opening = None
        sign = self.app.glyphs.waste
        hint = "l shows what it wrote"
        self.query_one(TerminalPane).say(f"{sign} {message.reason}", hint, failed=True)
        self.look()

    @on(TerminalPane.LookedBack)
    def _looked_back(self, message: TerminalPane.LookedBack) -> None:
        message.stop()
        self._title_pane()

    @on(TerminalPane.Left)
    def _pane_left(self, message: TerminalPane.Left) -> None:
        message.stop()
        self.remove_class("-front")
        self.table.focus()

    @on(TerminalPane.Closed)
    def _pane_closed(self, message: TerminalPane.Closed) -> None:
        message.stop()
        self.close_pane()

    @on(TerminalPane.Ended)
    def _pane_ended(self, message: TerminalPane.Ended) -> None:
        message.stop()
        kind = self._opened[1] if self._opened is not None else ""
        self._title_pane()
        if kind in ("shell", "terminal", "built-in") and message.status == 0:
            # Left by `exit` or Ctrl+D: nothing more is to be read there.
            self.close_pane()
        elif kind != "log":
            self.table.focus()
        self.look()

    def action_pane(self) -> None:
        """Go between the list and the pane."""
        if self.shell_is_open:
            self.add_class("-front")
            self.query_one(TerminalPane).focus()

    def close_pane(self) -> None:
        """Close the pane, and go back to the list."""
        self._opening = self._opened = None
        self.query_one(TerminalPane).disconnect()
        self.remove_class("-shell", "-front")
        self.table.focus()
