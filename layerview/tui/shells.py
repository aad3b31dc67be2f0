"""Ways into a running container: its own terminal, a shell beside its program, its log.

All of it is to be called in threads; what comes out lives on the event loop (see `terminal.wires`).
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError
from layerview.text import printable
from layerview.tui.terminal.wires import DescriptorWire, FramedWire, Wire

if TYPE_CHECKING:
    from layerview.containers.life import Containers
    from layerview.containers.talk import Exec

SHELL = "sh"
REPLAYED = 1 << 16
"""Bytes of a terminal's past that are shown when one attaches to it."""
LOG_LINES = 2000
"""Lines of a log that are shown."""
_LAST_STEPS = 0.2
"""Seconds that a program has for its end once it has closed its terminal."""
LAST_WORD = 2.0
"""Seconds that the exit status may come after the terminal's end."""


def area_containers() -> Containers:
    """Return the containers of the local area.

    Raises:
        LayerviewError: when there is no area.
    """
    from layerview.containers.life import Containers
    from layerview.store.area import Area

    return Containers(Area.open())


def attach(id: str) -> Wire:
    """Take part in the terminal of a container that has one; what it showed lately comes first.

    Raises:
        LayerviewError: when it does not run.
    """
    containers = area_containers()
    past = b"".join(line.data for line in containers.logs(id, tail=LOG_LINES))[-REPLAYED:]
    attached = containers.attach(id)
    sizes = Latest(lambda size: containers.resize(id, *size))
    return AttachedWire(attached.socket, sizes, past)


def shell(id: str, rows: int, columns: int) -> Wire:
    """Run a shell beside a container's program, with a terminal of its own.

    Raises:
        LayerviewError: when there is none, or the container does not run.
    """
    started = area_containers().exec(id, [SHELL], tty=True, rows=rows, columns=columns)
    if started.master is None:
        started.close()
        raise LayerviewError("the container's keeper gave no terminal")
    return ExecWire(started)


def built_in(id: str, rows: int, columns: int) -> Wire:
    """Open a container that does not run in the built-in shell, in a process of its own.

    Raises:
        LayerviewError: when there is no area.
    """
    root = area_containers().area.root
    words = [sys.executable, "-P", "-m", "layerview", "shell", "--root", root, id]
    return ProgramWire(words, rows, columns)


def log(id: str) -> Wire:
    """Follow what a container writes, from the last lines of its log on.

    Raises:
        LayerviewError: when there is no such container.
    """
    return LogWire(area_containers(), id)


class Latest:
    """Passes a value on in a thread of its own; while one is on its way, only the last waits."""

    def __init__(self, tell: Callable[[tuple[int, int]], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._waiting: tuple[int, int] | None = None
        self._busy = False

    def __call__(self, rows: int, columns: int) -> None:
        """Pass these on."""
        with self._lock:
            self._waiting = (rows, columns)
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self) -> None:
        while True:
            with self._lock:
                value, self._waiting = self._waiting, None
                if value is None:
                    self._busy = False
                    return
            # It may have ended meanwhile, which shows elsewhere.
            with suppress(LayerviewError, OSError):
                self._tell(value)


class AttachedWire(FramedWire):
    """A container's own terminal, with some of what it showed before."""

    def __init__(
        self, connection: socket.socket, resize: Callable[[int, int], object], past: bytes
    ) -> None:
        super().__init__(connection, resize)
        self._past = past
        self._showing_past = False

    def open(self, take: Callable[[bytes], None], ended: Callable[[int | None], None]) -> None:
        """Begin with what was shown before."""
        if self._past:
            self._showing_past = True
            take(self._past)
            self._showing_past = False
        super().open(take, ended)

    def write(self, data: bytes) -> None:
        """Send what was typed; what the past asked was answered then."""
        if not self._showing_past:
            super().write(data)


class ExecWire(DescriptorWire):
    """The terminal of a command beside a container's program."""

    def __init__(self, started: Exec) -> None:
        assert started.master is not None
        # The wire closes the descriptor; nobody else may then.
        super().__init__(os.dup(started.master))
        self._started = started
        os.close(started.master)
        started.master = None

    def _end(self) -> None:
        """Wait a moment for the exit status, which comes on another way."""
        if self._closed:
            return
        loop, connection = self._loop, self._started.socket
        assert loop is not None
        loop.remove_reader(self._descriptor)
        connection.setblocking(False)
        late = loop.call_later(LAST_WORD, self._really_end)

        def told() -> None:
            late.cancel()
            with suppress(LayerviewError, OSError):
                self.status = self._started.wait()
            self._really_end()

        loop.add_reader(connection, told)

    def _really_end(self) -> None:
        super()._end()

    def _let_go(self) -> None:
        super()._let_go()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._started.socket)
        self._started.close()


class ProgramWire(DescriptorWire):
    """The terminal of a program of this machine."""

    def __init__(self, words: Sequence[str], rows: int, columns: int) -> None:
        master, slave = os.openpty()
        try:
            termios.tcsetwinsize(slave, (rows, columns))
            self._process = subprocess.Popen(
                words,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                env={**os.environ, "TERM": "xterm"},
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        super().__init__(master)

    def _end(self) -> None:
        # It closes its terminal by ending.
        with suppress(subprocess.TimeoutExpired):
            self.status = self._process.wait(_LAST_STEPS)
        super()._end()

    def _let_go(self) -> None:
        super()._let_go()
        threading.Thread(target=self._process.wait, daemon=True).start()


class LogWire:
    """A log as output of a program that takes no input."""

    waiting = 0

    def __init__(self, containers: Containers, id: str) -> None:
        from layerview.store.containers import folder_of

        record = containers.find(id)
        self._area, self._id, self._tty = containers.area, record.id, record.tty
        self._path = os.path.join(folder_of(self._area, record.id), f"{record.id}-json.log")
        self._closed = False

    def open(self, take: Callable[[bytes], None], ended: Callable[[int | None], None]) -> None:
        """Read it in a thread."""
        from layerview.containers.log import read as read_log
        from layerview.store.containers import lives

        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        # No more is read than the screen has taken.
        taken = threading.Semaphore(64)

        def give(data: bytes) -> None:
            taken.release()
            if not self._closed:
                take(data)

        def end() -> None:
            if not self._closed:
                self._closed = True
                ended(None)

        def read() -> None:
            try:
                goes_on = lambda: not self._closed and lives(self._area, self._id)  # noqa: E731
                for line in read_log(self._path, tail=LOG_LINES, lives=goes_on):
                    if self._closed:
                        return
                    data = line.data if self._tty else line.data.replace(b"\n", b"\r\n")
                    while not taken.acquire(timeout=1):
                        if self._closed:
                            return
                    loop.call_soon_threadsafe(give, data, context=context)
            except (LayerviewError, OSError) as error:
                words = f"\r\n{printable(str(error))}\r\n".encode("utf-8", "replace")
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(give, words, context=context)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end, context=context)

        threading.Thread(target=read, daemon=True).start()

    def write(self, data: bytes) -> None:
        """Take no input."""

    def resize(self, rows: int, columns: int) -> None:
        """Mind no size."""

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
