"""What control characters and sequences mean: those of a VT220 and of xterm that programs use.

ECMA-48, the VT220's manual, and xterm's `ctlseqs`. What is not known is ignored; nothing that a
program writes reaches the clipboard, the window, a file or a printer. The only answers are the
reports of device attributes, status and the cursor's place.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from layerview.tui.terminal.parser import Parser
from layerview.tui.terminal.pens import PLAIN, dipped, numbers
from layerview.tui.terminal.screen import HISTORY, Screen

MOST_UPDATE = 0.2
"""Seconds that a program may hold back what is painted (mode 2026)."""

_GRAPHICS = dict(
    zip(
        range(0x5F, 0x7F),
        "\xa0◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·",
        strict=True,
    )
)
"""DEC special graphics, 0x5f to 0x7e."""

_Action = Callable[[tuple[int, ...]], None]


def _count(given: tuple[int, ...]) -> int:
    return given[0] or 1


class Emulator:
    """A terminal without a window: takes bytes, keeps a screen."""

    def __init__(
        self,
        rows: int = 24,
        columns: int = 80,
        *,
        answer: Callable[[bytes], object] | None = None,
        history: int = HISTORY,
    ) -> None:
        """Make a terminal.

        Args:
            rows: its height.
            columns: its width.
            answer: takes what it reports to the program.
            history: how many rows are kept that left at the top.
        """
        self.screen = Screen(rows, columns, history)
        self._answer = answer
        self._parser = Parser(self)
        self._last = " "
        self._update_ends = 0.0
        self._sequences = self._known_sequences()
        self._reset_modes()

    def _reset_modes(self) -> None:
        self.cursor_shown = True
        self.application_cursor = False
        """Whether the cursor keys send what full-screen programs ask for (DECCKM)."""
        self.bracketed_paste = False
        self.reversed = False
        """Whether foreground and background are exchanged everywhere (DECSCNM)."""
        self.newline = False
        self._update_ends = 0.0

    def feed(self, data: bytes) -> None:
        """Take what the program wrote."""
        self._parser.feed(data)

    def resize(self, rows: int, columns: int) -> None:
        """Take another size."""
        self.screen.resize(rows, columns)

    @property
    def updating(self) -> bool:
        """Whether the program asked not to be painted before it is done."""
        return self._update_ends > 0 and time.monotonic() < self._update_ends

    # Parts, as the parser tells them ---------------------------------------------------------

    def text(self, text: str) -> None:
        """Write text."""
        cursor = self.screen.cursor
        if cursor.graphics[cursor.shifted]:
            text = text.translate(_GRAPHICS)
        self._last = text[-1]
        self.screen.write(text)

    def control(self, character: str) -> None:
        """Obey a control character."""
        screen = self.screen
        if character == "\n" or character == "\x0b" or character == "\x0c":
            screen.index()
            if self.newline:
                screen.cursor.column = 0
            screen.cursor.wraps = False
        elif character == "\r":
            screen.cursor.column = 0
            screen.cursor.wraps = False
        elif character == "\b":
            screen.move_columns(-1)
        elif character == "\t":
            screen.tab(1)
        elif character == "\x0e":
            screen.cursor.shifted = True
        elif character == "\x0f":
            screen.cursor.shifted = False

    def escape(self, between: str, final: str) -> None:
        """Obey an escape sequence."""
        screen, cursor = self.screen, self.screen.cursor
        match between + final:
            case "7":
                screen.save_cursor()
            case "8":
                screen.restore_cursor()
            case "D":
                screen.index()
                cursor.wraps = False
            case "E":
                screen.index()
                screen.move_to(column=0)
            case "H":
                screen.stops.add(cursor.column)
            case "M":
                screen.reverse_index()
                cursor.wraps = False
            case "c":
                screen.reset()
                self._reset_modes()
            case "#8":
                screen.fill("E")
            case _ if between in ("(", ")"):
                graphics = list(cursor.graphics)
                graphics[between == ")"] = final == "0"
                cursor.graphics = (graphics[0], graphics[1])

    def sequence(self, function: str, parameters: str) -> None:
        """Obey a control sequence."""
        if function == "m":
            cursor = self.screen.cursor
            cursor.pen = dipped(cursor.pen, parameters) if parameters else PLAIN
            return
        action = self._sequences.get(function)
        if action is not None:
            action(numbers(parameters))

    # Control sequences -----------------------------------------------------------------------

    def _known_sequences(self) -> dict[str, _Action]:
        screen = self.screen

        def to_column(given: tuple[int, ...]) -> None:
            screen.move_to(column=_count(given) - 1)

        def to_row(given: tuple[int, ...]) -> None:
            screen.move_to(row=_count(given) - 1)

        def columns_right(given: tuple[int, ...]) -> None:
            screen.move_columns(_count(given))

        def rows_down(given: tuple[int, ...]) -> None:
            screen.move_rows(_count(given))

        def erase_screen(given: tuple[int, ...]) -> None:
            screen.erase_in_screen(given[0])

        def erase_row(given: tuple[int, ...]) -> None:
            screen.erase_in_row(given[0])

        return {
            "@": lambda given: screen.insert_cells(_count(given)),
            "A": lambda given: screen.move_rows(-_count(given)),
            "B": rows_down,
            "C": columns_right,
            "D": lambda given: screen.move_columns(-_count(given)),
            "E": lambda given: self._row_start(_count(given)),
            "F": lambda given: self._row_start(-_count(given)),
            "G": to_column,
            "H": self._place,
            "I": lambda given: screen.tab(_count(given)),
            "J": erase_screen,
            "?J": erase_screen,
            "K": erase_row,
            "?K": erase_row,
            "L": lambda given: screen.insert_rows(_count(given)),
            "M": lambda given: screen.delete_rows(_count(given)),
            "P": lambda given: screen.delete_cells(_count(given)),
            "S": lambda given: screen.scroll_up(_count(given)),
            "T": lambda given: screen.scroll_down(_count(given)),
            "X": lambda given: screen.erase_cells(_count(given)),
            "Z": lambda given: screen.tab(-_count(given)),
            "`": to_column,
            "a": columns_right,
            "b": self._repeat,
            "c": lambda given: self._report("\x1b[?62;22c") if not given[0] else None,
            ">c": lambda given: self._report("\x1b[>1;0;0c") if not given[0] else None,
            "d": to_row,
            "e": rows_down,
            "f": self._place,
            "g": self._clear_stops,
            "h": lambda given: self._set_modes(given, True),
            "l": lambda given: self._set_modes(given, False),
            "?h": lambda given: self._set_private_modes(given, True),
            "?l": lambda given: self._set_private_modes(given, False),
            "n": self._report_status,
            "?n": self._report_status,
            "r": self._set_margins,
            "s": lambda given: screen.save_cursor(),
            "u": lambda given: screen.restore_cursor(),
            "!p": self._soft_reset,
        }

    def _row_start(self, by: int) -> None:
        self.screen.move_rows(by)
        self.screen.move_to(column=0)

    def _place(self, given: tuple[int, ...]) -> None:
        column = given[1] if len(given) > 1 else 1
        self.screen.move_to(_count(given) - 1, (column or 1) - 1)

    def _repeat(self, given: tuple[int, ...]) -> None:
        # A screen full is all that can be seen of it.
        most = self.screen.rows * self.screen.columns
        self.screen.write(self._last * min(_count(given), most))

    def _clear_stops(self, given: tuple[int, ...]) -> None:
        if given[0] == 0:
            self.screen.stops.discard(self.screen.cursor.column)
        elif given[0] == 3:
            self.screen.stops.clear()

    def _set_margins(self, given: tuple[int, ...]) -> None:
        bottom = given[1] if len(given) > 1 else 0
        self.screen.set_margins(_count(given) - 1, (bottom or self.screen.rows) - 1)

    def _soft_reset(self, given: tuple[int, ...]) -> None:
        screen = self.screen
        self._reset_modes()
        screen.inserting, screen.wrapping = False, True
        screen.top, screen.bottom = 0, screen.rows - 1
        cursor = screen.cursor
        cursor.pen, cursor.origin = PLAIN, False
        cursor.graphics, cursor.shifted = (False, False), False

    def _set_modes(self, given: tuple[int, ...], on: bool) -> None:
        for mode in given:
            if mode == 4:
                self.screen.inserting = on
            elif mode == 20:
                self.newline = on

    def _set_private_modes(self, given: tuple[int, ...], on: bool) -> None:
        screen = self.screen
        for mode in given:
            match mode:
                case 1:
                    self.application_cursor = on
                case 5:
                    self.reversed = on
                case 6:
                    screen.set_origin(on)
                case 7:
                    screen.wrapping = on
                    screen.cursor.wraps &= on
                case 25:
                    self.cursor_shown = on
                case 47 | 1047:
                    if not on and mode == 1047 and screen.alternate:
                        screen.clear_alternate()
                    screen.use_alternate(on)
                case 1048 if on:
                    screen.save_cursor()
                case 1048:
                    screen.restore_cursor()
                case 1049 if on and not screen.alternate:
                    screen.save_cursor()
                    screen.use_alternate(True)
                    screen.clear_alternate()
                case 1049 if not on and screen.alternate:
                    screen.use_alternate(False)
                    screen.restore_cursor()
                case 2004:
                    self.bracketed_paste = on
                case 2026:
                    self._update_ends = time.monotonic() + MOST_UPDATE if on else 0.0

    # Reports ---------------------------------------------------------------------------------

    def _report(self, text: str) -> None:
        if self._answer is not None:
            self._answer(text.encode())

    def _report_status(self, given: tuple[int, ...]) -> None:
        if given[0] == 5:
            self._report("\x1b[0n")
        elif given[0] == 6:
            cursor = self.screen.cursor
            row = cursor.row - (self.screen.top if cursor.origin else 0)
            self._report(f"\x1b[{row + 1};{cursor.column + 1}R")
