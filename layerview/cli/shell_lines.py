"""The built-in shell on this process's terminal or pipes: its lines, what stops them, its end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from layerview.cli.area import say
from layerview.containers.built_in import BuiltIn, open_built_in
from layerview.text import printable
from layerview.unionfs.shell.shell import LABEL, Shell
from layerview.unionfs.shell.terminal import TerminalText

if TYPE_CHECKING:
    from types import FrameType

    from layerview.containers.life import Containers

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_STOPPED = 130


class _Ended(Exception):
    """A signal ends the shell."""


class _Signals:
    """What signals do: ctrl-c stops a command, and takes a half typed line back.

    None of them breaks into the union's own work: a command looks at `stopped` between its steps.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.ending = 0
        self.typing = False
        """Whether a line is waited for."""

    @contextmanager
    def heeded(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGINT, self._interrupt),
                *((each, self._end) for each in _ENDING),
            )
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self.typing:
            raise KeyboardInterrupt

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        self.ending = number
        if self.typing:
            raise _Ended


def run_shell(containers: Containers, word: str, line: bytes | None = None) -> int:
    """Open a container in the built-in shell; return the last command's exit status.

    Args:
        containers: of the area.
        word: names the container.
        line: done instead of what standard input says.

    Raises:
        LayerviewError: when it can't be opened.
    """
    signals = _Signals()
    with signals.heeded(), open_built_in(containers, word) as opened:
        shell = Shell(
            opened.tree,
            _writer(sys.stdout.fileno()),
            _writer(sys.stderr.fileno()),
            stopped=lambda: signals.stopped,
            columns=_columns(),
            home=opened.home,
        )
        _go_to_workdir(shell, opened)
        code = 0
        try:
            if line is not None:
                signals.stopped = False
                code = shell.run(line)
            elif os.isatty(0):
                code = _on_terminal(shell, signals, opened)
            else:
                code = _from_pipe(shell, signals)
        except _Ended:
            pass
        except BrokenPipeError:
            # Who read what is printed went away.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 1
        if signals.ending:
            code = 128 + signals.ending
        opened.exit_code = code
        return code


def _go_to_workdir(shell: Shell, opened: BuiltIn) -> None:
    session = shell.session
    with suppress(OSError):
        place = session.find(opened.workdir)
        if place.is_folder:
            session.go(place, b"/" + os.path.normpath(b"/" + opened.workdir).lstrip(b"/"))


def _columns() -> int:
    if not os.isatty(1):
        return 0
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _writer(fd: int) -> Callable[[bytes], None]:
    if os.isatty(fd):
        shown = TerminalText()

        def write(data: bytes) -> None:
            _write_all(fd, shown.feed(data).encode("utf-8", "backslashreplace"))

        return write
    return lambda data: _write_all(fd, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _from_pipe(shell: Shell, signals: _Signals) -> int:
    code = 0
    with open(0, "rb", closefd=False) as lines:
        while not shell.ended:
            signals.typing, signals.stopped = True, False
            try:
                line = lines.readline(1 << 16)
            except KeyboardInterrupt:
                return _STOPPED
            finally:
                signals.typing = False
            if not line:
                break
            code = shell.run(line)
            if signals.stopped:
                break
    return code


def _on_terminal(shell: Shell, signals: _Signals, opened: BuiltIn) -> int:
    say(f"{LABEL}; help lists its commands, exit leaves it")
    _edit_lines(shell)
    code = 0
    while not shell.ended:
        prompt = f"{printable(shell.session.shown_at)} # "
        try:
            signals.typing, signals.stopped = True, False
            line = input(prompt)
        except EOFError:
            print()
            break
        except KeyboardInterrupt:
            print()
            continue
        finally:
            signals.typing = False
        shell.session.columns = _columns()
        code = shell.run(line)
        if signals.stopped:
            print()
        if signals.ending:
            break
    return code


def _edit_lines(shell: Shell) -> None:
    """Have lines edited and words completed, where Python has readline."""
    try:
        import readline
    except ImportError:
        return
    from layerview.unionfs.shell.completion import completions

    found: list[str] = []

    def complete(word: str, number: int) -> str | None:
        if number == 0:
            before = readline.get_line_buffer()[: readline.get_begidx()].rstrip()
            first = not before or before[-1] in ";&|"
            found[:] = completions(shell.session, word, first=first)
        return found[number] if number < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n;|&<>")
    readline.parse_and_bind("tab: complete")
