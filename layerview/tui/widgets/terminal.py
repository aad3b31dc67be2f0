"""A pane with a real terminal in it."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from layerview.tui.glyphs import UNICODE, Glyphs
from layerview.tui.terminal.emulator import Emulator
from layerview.tui.terminal.keyboard import pasted, sent_by
from layerview.tui.terminal.painting import RowPainter
from layerview.tui.terminal.wires import Wire
from layerview.tui.widgets.chrome import Painted

FRAME = 1 / 30
"""Seconds at least between two paintings."""

GATHER = 0.002
"""Seconds in which what belongs together mostly comes."""

WHEEL = 3
"""Rows that a notch of the wheel moves."""

MOST_ANSWERS = 1 << 14
"""Bytes that may wait to be written before a program's questions go unanswered."""


class TerminalPane(Painted, can_focus=True):
    """Shows a program's terminal; but for F2, every key goes to the program."""

    HELP = """
# Shell

A terminal in the container. Every key goes to the program that runs there, **Ctrl+C**, **Esc** and
**Tab** too; **F2** leaves the pane. **Shift+PgUp** and the wheel look back at what has scrolled
away.
"""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "leave", "leave", key_display="F2", id="terminal.leave"),
        Binding(
            "shift+pageup",
            "look_back(1)",
            "look back",
            key_display="Shift+PgUp",
            id="terminal.back",
        ),
        Binding("shift+pagedown", "look_back(-1)", "forward", show=False, id="terminal.forward"),
        Binding("escape", "close", "close", key_display="Esc", id="terminal.close"),
        Binding("up,k", "look_rows(1)", "up", show=False, id="terminal.up"),
        Binding("down,j", "look_rows(-1)", "down", show=False, id="terminal.down"),
        Binding("pageup,b", "look_back(1)", "page up", show=False, id="terminal.page_up"),
        Binding(
            "pagedown,space", "look_back(-1)", "page down", show=False, id="terminal.page_down"
        ),
        Binding("home,g", "look_rows(1000000)", "first", show=False, id="terminal.first"),
        Binding("end,G", "look_rows(-1000000)", "last", show=False, id="terminal.last"),
    ]

    DEFAULT_CSS = """
    TerminalPane { height: 1fr; width: 1fr; margin: 0 1; }
    """

    ALLOW_SELECT = False

    class Told(Message):
        """Something that a pane tells."""

        def __init__(self, pane: TerminalPane) -> None:
            self.pane = pane
            super().__init__()

        @property
        def control(self) -> TerminalPane:
            """The pane that sent this."""
            return self.pane

    class Left(Told):
        """F2 was pressed: the keyboard should go elsewhere."""

    class Closed(Told):
        """Escape was pressed where no program takes it."""

    class Ended(Told):
        """The program has ended, or the connection to it; what it wrote stays to be seen."""

        def __init__(self, pane: TerminalPane, status: int | None) -> None:
            self.status = status
            super().__init__(pane)

    class LookedBack(Told):
        """Another part of what was written is shown; `rows` says how far back."""

        def __init__(self, pane: TerminalPane, rows: int) -> None:
            self.rows = rows
            super().__init__(pane)

    def __init__(
        self,
        wire: Wire | None = None,
        *,
        ascii: bool = False,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,
    ) -> None:
        """Show a terminal.

        Args:
            wire: what it is connected to; the pane closes it in the end.
            ascii: show ASCII only.
            glyphs: the signs of the message that stands there before the first connection.
            id: as for every widget.
        """
        super().__init__(id=id)
        self.glyphs = glyphs
        self.emulator = Emulator(answer=self._answer)
        self.typing = True
        """Whether keys go to the program; else they look back and forth."""
        self.message: tuple[str, str] = ("", "")
        """Shown while nothing is connected: a sentence, and the key that helps."""
        self.failed = False
        self._ascii = ascii
        self._wire: Wire | None = None
        self._given = wire
        self._used = False
        self._back = 0
        self._scrolled = 0
        self._painter: RowPainter | None = None
        self._painter_exchanged = False
        self._strips: list[Strip] = []
        self._frame_due: asyncio.TimerHandle | None = None
        self._painted_at = 0.0

    # The connection --------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether a program is at the other end."""
        return self._wire is not None

    def on_mount(self) -> None:
        """Connect to what was given."""
        if self._given is not None:
            self.connect(self._given)
            self._given = None

    def connect(self, wire: Wire) -> None:
        """Show another program's terminal; the one before is let go."""
        self.disconnect()
        width, height = self.size
        rows, columns = max(1, height) if height else 24, max(1, width) if width else 80
        self.emulator = Emulator(rows, columns, answer=self._answer)
        self._back = self._scrolled = 0
        self._used = True
        self._wire = wire
        wire.open(self._take, self._wire_ended)
        if height:
            wire.resize(rows, columns)
        self.refresh_bindings()
        self._frame()

    def disconnect(self) -> None:
        """Let go of the program; the screen stays as it is."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
            self.refresh_bindings()

    def say(self, sentence: str, hint: str = "", *, failed: bool = False) -> None:
        """Show a message instead of a terminal."""
        self.disconnect()
        self._used = False
        self.message, self.failed = (sentence, hint), failed
        self.refresh()

    def on_unmount(self) -> None:
        """Let go of the program."""
        self.disconnect()
        if self._frame_due is not None:
            self._frame_due.cancel()
        if self._given is not None:
            self._given.close()

    def _take(self, data: bytes) -> None:
        self.emulator.feed(data)
        self._want_frame()

    def _wire_ended(self, status: int | None) -> None:
        self._wire = None
        self.refresh_bindings()
        self._frame()
        self.post_message(self.Ended(self, status))

    def _answer(self, data: bytes) -> None:
        if self._wire is not None and self._wire.waiting < MOST_ANSWERS:
            self._wire.write(data)

    def send(self, data: bytes) -> None:
        """Send bytes to the program, as if they were typed."""
        if self._wire is not None and data:
            self._look_at(0)
            self._wire.write(data)

    # Keys and the mouse ----------------------------------------------------------------------

    @property
    def _keys_are_the_programs(self) -> bool:
        return self.connected and self.typing

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """All keys but F2 are the program's, the app's own ones too."""
        return self._keys_are_the_programs and key != "f2"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Name only the keys that work now."""
        if action in ("close", "look_rows"):
            return not self._keys_are_the_programs
        return action != "look_back" or self._used

    def on_key(self, event: events.Key) -> None:
        """Send what a key stands for."""
        if not self._keys_are_the_programs or event.key == "f2":
            return
        event.stop()
        event.prevent_default()
        pages = {"shift+pageup": 1, "shift+pagedown": -1}.get(event.key)
        if pages is not None and not self.emulator.screen.alternate:
            self.action_look_back(pages)
            return
        self.send(
            sent_by(
                event.key,
                event.character,
                application_cursor=self.emulator.application_cursor,
            )
        )

    def on_paste(self, event: events.Paste) -> None:
        """Send what is pasted; what could act as a key is taken out."""
        if not self._keys_are_the_programs:
            return
        event.stop()
        event.prevent_default()
        if event.text:
            self.send(pasted(event.text, bracketed=self.emulator.bracketed_paste))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Look back; a full-screen program gets arrow keys."""
        self._wheel(event, WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Come back."""
        self._wheel(event, -WHEEL)

    def _wheel(self, event: events.MouseEvent, rows: int) -> None:
        event.stop()
        event.prevent_default()
        if self.emulator.screen.alternate and self.typing:
            key = "up" if rows > 0 else "down"
            application = self.emulator.application_cursor
            self.send(sent_by(key, None, application_cursor=application) * abs(rows))
        else:
            self._look_at(self._back + rows)

    def action_leave(self) -> None:
        """Give the keyboard back."""
        self.post_message(self.Left(self))

    def action_close(self) -> None:
        """Say that the pane is to be closed."""
        self.post_message(self.Closed(self))

    def action_look_rows(self, rows: int) -> None:
        """Look back or forward by rows."""
        self._look_at(self._back + rows)

    def action_look_back(self, pages: int) -> None:
        """Look at what has scrolled away, by pages."""
        self._look_at(self._back + pages * max(1, self.emulator.screen.rows - 1))

    def _look_at(self, back: int) -> None:
        screen = self.emulator.screen
        back = max(0, min(back, 0 if screen.alternate else len(screen.history)))
        if back != self._back:
            self._back = back
            self._scrolled = screen.scrolled
            self._frame()
            self.post_message(self.LookedBack(self, back))

    @property
    def looking_back(self) -> int:
        """How many rows the window is above the newest."""
        return self._back

    # Painting --------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Tell the program how large its terminal is."""
        columns, rows = event.size
        if not columns or not rows:
            return
        self.emulator.resize(rows, columns)
        if self._wire is not None:
            self._wire.resize(rows, columns)
        self._strips = []
        self._frame()

    def on_focus(self) -> None:
        """Show the cursor bright."""
        self._frame()

    def on_blur(self) -> None:
        """Show the cursor dimmed."""
        self._frame()

    def notify_style_update(self) -> None:
        """Forget the colours of the theme before."""
        super().notify_style_update()
        self._painter = None
        if self._strips:
            self._frame()

    def _want_frame(self) -> None:
        if self._frame_due is None:
            wait = max(GATHER, self._painted_at + FRAME - time.monotonic())
            # A timer of Textual's is a task each, and of this there are thirty a second.
            loop = asyncio.get_running_loop()
            self._frame_due = loop.call_later(wait, self._due)

    def _due(self) -> None:
        self._frame_due = None
        if self.emulator.updating:
            self._want_frame()
        else:
            self._frame()

    def _frame(self) -> None:
        """Paint the rows anew, and have those shown that changed."""
        self._painted_at = time.monotonic()
        if not self._used or not self.is_attached:
            self.refresh()
            return
        screen = self.emulator.screen
        if self._back:
            # The window stays on what it shows while rows come below.
            self._back = min(self._back + screen.scrolled - self._scrolled, len(screen.history))
            self._back = 0 if screen.alternate else max(0, self._back)
            self._scrolled = screen.scrolled
        painter, width = self._row_painter(), self.size.width
        cursor = screen.cursor
        shows = self.emulator.cursor_shown and self._keys_are_the_programs
        strips = []
        for number, row in enumerate(screen.shown(self._back)):
            here = shows and number == cursor.row + self._back
            strips.append(
                painter.strip(row, width, cursor.column if here else None, self.has_focus)
            )
        before, self._strips = self._strips, strips
        if len(before) != len(strips):
            self.refresh()
            return
        changed = [
            Region(0, number, width, 1)
            for number, (old, new) in enumerate(zip(before, strips, strict=True))
            if old != new
        ]
        if changed:
            self.refresh(*changed)

    def _row_painter(self) -> RowPainter:
        if self._painter is None or self._painter_exchanged != self.emulator.reversed:
            self._painter_exchanged = self.emulator.reversed
            self._painter = RowPainter(
                self.paint, ascii=self._ascii, exchanged=self._painter_exchanged
            )
        return self._painter

    def render_line(self, y: int) -> Strip:
        """Return a row as it was painted."""
        width = self.size.width
        if not self._used:
            return self.paint_message(y, self.message, self.failed).strip(width, self.paint.style())
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(width, self.paint.style())
