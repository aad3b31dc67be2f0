"""Programs on a terminal: a real pty, what it shows, and when what was written arrived."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from resource import struct_rusage
from unicodedata import east_asian_width

COLUMNS, ROWS = 120, 40

_TOKEN = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands
    r"|\x1b[P_^X][^\x1b]*\x1b\\"  # strings
    r"|\x1b[ #%()*+][\s\S]"
    r"|\x1b[^\[\]P_^X #%()*+]"
    r"|[\x00-\x1a\x1c-\x1f\x7f]"
    r"|[^\x00-\x1f\x7f]+"
)
_CONTROL = re.compile(r"\x1b\[([<=>?]?)([0-9;:]*)([ -/]*)([@-~])")


class Screen:
    """What a terminal shows: the characters of each cell, without colours."""

    def __init__(self, columns: int = COLUMNS, rows: int = ROWS) -> None:
        self.columns = columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.in_frame = False
        """Whether a synchronized update has begun and not ended (mode 2026)."""
        self.answers = b""
        """What the terminal has to answer to questions of the program."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Take in what the program wrote; a sequence may be cut anywhere."""
        text = self._rest + self._decoder.decode(data)
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                break
            at = token.end()
            self._take(token.group())
        self._rest = text[at:]

    def line(self, row: int) -> str:
        """Return the text of a row."""
        return "".join(self.cells[row])

    def text(self) -> str:
        """Return the text of all rows."""
        return "\n".join(map("".join, self.cells))

    def _take(self, token: str) -> None:
        first = token[0]
        if first >= " " and first != "\x7f":
            self._put(token)
        elif first == "\r":
            self.column = 0
        elif first == "\n":
            if self.row == len(self.cells) - 1:
                self.cells.append([" "] * self.columns)
                del self.cells[0]
            self.row = min(self.row + 1, len(self.cells) - 1)
        elif first == "\b":
            self.column = max(0, self.column - 1)
        elif token.startswith("\x1b["):
            self._control(token)

    def _put(self, text: str) -> None:
        cells = self.cells[self.row]
        if text.isascii():
            wide = text[: self.columns - self.column]
            cells[self.column : self.column + len(wide)] = wide
            self.column = min(self.column + len(wide), self.columns)
            return
        for sign in text:
            if self.column >= self.columns:
                return
            cells[self.column] = sign
            self.column += 1
            if sign > "\u1100" and east_asian_width(sign) in "WF" and self.column < self.columns:
                cells[self.column] = ""
                self.column += 1

    def _control(self, token: str) -> None:
        match = _CONTROL.fullmatch(token)
        if match is None:
            return
        private, given, between, final = match.groups()
        if final == "m":
            return
        numbers = [int(part) if part.isdigit() else 0 for part in given.split(";")]
        if private:
            if private == "?" and numbers == [2026]:
                if between == "$" and final == "p":
                    self.answers += b"\x1b[?2026;2$y"
                elif final in "hl":
                    self.in_frame = final == "h"
            return
        count = max(1, numbers[0])
        if final in "Hf":
            self.row = min(count, len(self.cells)) - 1
            self.column = min(max(1, numbers[1]) if len(numbers) > 1 else 1, self.columns) - 1
        elif final == "A":
            self.row = max(0, self.row - count)
        elif final == "B":
            self.row = min(len(self.cells) - 1, self.row + count)
        elif final == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif final == "D":
            self.column = max(0, self.column - count)
        elif final == "G":
            self.column = min(count, self.columns) - 1
        elif final == "J" and numbers[0] == 2:
            for cells in self.cells:
                cells[:] = " " * self.columns
        elif final == "K" and numbers[0] == 0:
            self.cells[self.row][self.column :] = " " * (self.columns - self.column)


class TimedOut(Exception):
    """The program did not show what it should."""


class Terminal:
    """A program on a pty of its own; `start` is the moment before it was executed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        self.screen = Screen()
        self.arrived = 0.0
        """When the last output arrived."""
        self.usage: struct_rusage | None = None
        """What the program took, once it is closed."""
        self.start = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
                os.chdir(folder)
                os.execve(command[0], list(command), dict(environment))
            finally:
                os._exit(127)

    def write(self, keys: bytes) -> float:
        """Press keys; return the moment before."""
        now = time.perf_counter()
        os.write(self._fd, keys)
        return now

    def pump(self, seconds: float) -> bool:
        """Take in one piece of output, if one comes in time; False when the program has ended."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, seconds))
        if not ready:
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            return False
        self.arrived = time.perf_counter()
        self.screen.feed(data)
        if self.screen.answers:
            answers, self.screen.answers = self.screen.answers, b""
            os.write(self._fd, answers)
        return bool(data)

    def wait(self, shown: Callable[[Screen], bool], seconds: float = 30.0) -> float:
        """Wait until the screen shows something; return the moment in which that arrived.

        Raises:
            TimedOut: when it does not come, or the program ends.
        """
        if not self.screen.in_frame and shown(self.screen):
            return self.arrived
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            before = self.arrived
            if not self.pump(left):
                break
            if self.arrived != before and not self.screen.in_frame and shown(self.screen):
                return self.arrived
        raise TimedOut(f"not shown within {seconds:g} s; the screen is\n{self.screen.text()}")

    def idle(self, seconds: float) -> None:
        """Take in all output of some time."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if not self.pump(left):
                return

    def cpu(self) -> float:
        """Return the CPU seconds that the program has taken until now, without its children."""
        # What clock_getcpuclockid(3) returns for a process.
        return time.clock_gettime((~self.pid << 3) | 2)

    def children(self) -> list[int]:
        """Return the processes that the program has started and that run."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.pid and fields[0] != b"Z":
                found.append(int(name))
        return found

    def close(self) -> None:
        """End the program."""
        if self.usage is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                break
            end = time.perf_counter() + 3.0
            while time.perf_counter() < end:
                self.pump(0.02)
                pid, _, usage = os.wait4(self.pid, os.WNOHANG)
                if pid:
                    self.usage = usage
                    os.close(self._fd)
                    return
        _, _, self.usage = os.wait4(self.pid, 0)
        os.close(self._fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
