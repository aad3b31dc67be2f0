"""A container's or a command's input and output on this process's own terminal or pipes."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import termios
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType

from layerview.containers import sockets
from layerview.containers.talk import Attached, Exec, Frames, GoneError
from layerview.errors import LayerviewError

DETACH = b"\x10\x11"
"""ctrl-p and ctrl-q, one after the other."""
_CHUNK = 1 << 16
_PIECE = 4096
"""Bytes that a pipe which is ready takes without making us wait (PIPE_BUF)."""
_KILLED = 137
_ENDING = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
)
_ENOUGH = 3
"""Interrupts after which nobody follows a container any longer that does not heed them."""

_IN = select.POLLIN
_OUT = select.POLLOUT
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


def size(fd: int) -> tuple[int, int]:
    """Return a terminal's rows and columns; 0, 0 for what is none."""
    try:
        found = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return 0, 0
    rows, columns, _, _ = struct.unpack("HHHH", found)
    return rows, columns


def follow(
    attached: Attached,
    *,
    stdin: int | None = 0,
    stdout: int = 1,
    stderr: int = 2,
    resize: Callable[[int, int], None] | None = None,
    send_signal: Callable[[int], None] | None = None,
    detach: bytes = DETACH,
) -> int | None:
    """Show a container's output and give it our input until it ends.

    Args:
        attached: the connection; it is closed afterwards.
        stdin: our input; None to give none.
        stdout: where its output goes.
        stderr: where its errors go, when it has no terminal.
        resize: told the rows and columns of our terminal, now and when they change.
        send_signal: told the signals that we get, when the container has no terminal or we have
            none; without it they do here what they always do.
        detach: what to type to leave a container with a terminal alone.

    Returns:
        Its exit status; None when it goes on without us.

    Raises:
        BrokenPipeError: when nobody takes our output any more; it goes on.
    """
    peer = _AttachedPeer(attached)
    pump = _Pump(peer, stdin if attached.stdin else None, stdout, stderr, attached.tty)
    pump.keys = Keys(detach) if pump.raw and detach else None
    try:
        return pump.run(resize if attached.tty else None, send_signal, redraw=True)
    finally:
        attached.close()


def run_exec(
    start: Callable[[tuple[int, int, int] | None], Exec],
    *,
    tty: bool,
    stdin: int | None = 0,
    stdout: int = 1,
    stderr: int = 2,
) -> int:
    """Run a command in a container, its input and output on ours.

    A container never gets descriptors of ours, through which it would reach more than the bytes:
    only the ends of pipes.

    Args:
        start: starts it, given its descriptors where it has no terminal.
        tty: whether it has one.
        stdin: our input; None to give none.
        stdout: where its output goes.
        stderr: where its errors go, when it has no terminal.

    Returns:
        Its exit status.

    Raises:
        StartError: when it was not started.
        BrokenPipeError: when nobody takes our output any more; it goes on.
    """
    with ExitStack() as stack:
        if tty:
            command = start(None)
            stack.callback(command.close)
            ends: list[int] = []
        else:
            ends, theirs = _pipes(stdin is not None)
            try:
                command = start((theirs[0], theirs[1], theirs[2]))
            except BaseException:
                for fd in ends:
                    _close(fd)
                raise
            finally:
                for fd in theirs:
                    os.close(fd)
            stack.callback(command.close)
        peer = _ExecPeer(command, ends)
        stack.callback(peer.close)
        pump = _Pump(peer, stdin, stdout, stderr, tty)
        code = pump.run(command.resize if tty else None, None)
        return _KILLED if code is None else code


def _pipes(stdin: bool) -> tuple[list[int], list[int]]:
    """Make pipes for a command: our ends (-1 for no input), and its."""
    ours, theirs = [], []
    for number in range(3):
        if number == 0 and not stdin:
            ours.append(-1)
            theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            continue
        reads, writes = os.pipe2(os.O_CLOEXEC)
        ours.append(reads if number else writes)
        theirs.append(writes if number else reads)
    return ours, theirs


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


class Keys:
    """Finds the keys that were agreed on in what is typed, also when they come one by one."""

    def __init__(self, keys: bytes = DETACH) -> None:
        """Look for keys.

        Args:
            keys: at least one.
        """
        self._keys = keys
        self._seen = 0

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Take what was typed; return what of it to pass on, and whether the keys came."""
        passed = bytearray()
        for byte in typed:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    self._seen = 0
                    return bytes(passed), True
                continue
            # What was held back is no beginning of the keys, but its end and this byte may be.
            held = self._keys[: self._seen] + bytes([byte])
            start = 1
            while start < len(held) and not self._keys.startswith(held[start:]):
                start += 1
            passed += held[:start]
            self._seen = len(held) - start
        return bytes(passed), False


class Raw:
    """A terminal whose keys come as they are typed; as it was before, afterwards."""

    def __init__(self, fd: int) -> None:
        """Look after a terminal.

        Args:
            fd: the terminal.
        """
        self._fd = fd
        self._before = termios.tcgetattr(fd)

    def enter(self) -> None:
        """Have every key come at once and unchanged (cfmakeraw(3))."""
        mode = termios.tcgetattr(self._fd)
        mode[0] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
        mode[0] &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6] = [*mode[6]]
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)

    def leave(self) -> None:
        """Have it as it was."""
        with suppress(termios.error, OSError):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def __enter__(self) -> Raw:
        """Enter."""
        try:
            self.enter()
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave, whatever happened."""
        self.leave()


class Signals:
    """Signals that are read from a descriptor instead of doing what they do."""

    def __init__(self, numbers: tuple[signal.Signals, ...]) -> None:
        """Take signals over, but for those that are ignored.

        Args:
            numbers: which; none where this is no main thread, which gets none.
        """
        self._numbers = numbers
        self._before: dict[signal.Signals, object] = {}
        self.fd = -1

    def __enter__(self) -> Signals:
        """Take them."""
        self.fd, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._numbers:
            try:
                self._woken = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
            except ValueError:
                self._numbers = ()  # not the main thread
        for number in self._numbers:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, lambda number, stack: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give them back."""
        if self._numbers:
            signal.set_wakeup_fd(self._woken)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self.fd)
        os.close(self._wake)

    def got(self) -> list[int]:
        """Return those that came."""
        try:
            return list(os.read(self.fd, 256))
        except BlockingIOError:
            return []


class _Peer:
    """What is on the other side: where its output comes from and our input goes to."""

    exit: int | None = None
    """How it ended."""
    gone = False
    """Whether nobody will say how it ended."""

    def sources(self) -> list[int]:
        """Return the descriptors to read from."""
        raise NotImplementedError

    def read(self, fd: int) -> list[tuple[int, bytes]]:
        """Read from one of them, which is ready: streams and their output."""
        raise NotImplementedError

    def input(self) -> int:
        """Return the descriptor that input goes to; -1 when it takes none."""
        raise NotImplementedError

    def write(self, data: bytes) -> int:
        """Give it input; return how many bytes it took."""
        return os.write(self.input(), data)

    def end_input(self) -> None:
        """Tell it that no more input comes."""
        raise NotImplementedError

    def rest(self) -> list[tuple[int, bytes]]:
        """Return the output that is there after its end."""
        return []


class _AttachedPeer(_Peer):
    def __init__(self, attached: Attached) -> None:
        self._socket = attached.socket
        self._socket.setblocking(False)
        self._frames = Frames()
        self._takes = attached.stdin

    def sources(self) -> list[int]:
        return [self._socket.fileno()]

    def read(self, fd: int) -> list[tuple[int, bytes]]:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.gone = True
            return []
        found = self._frames.feed(data)
        self.exit = self._frames.exit
        return found

    def input(self) -> int:
        return self._socket.fileno() if self._takes else -1

    def end_input(self) -> None:
        self._takes = False
        with suppress(OSError):
            self._socket.shutdown(sockets.SHUT_WR)


class _ExecPeer(_Peer):
    def __init__(self, command: Exec, ends: list[int]) -> None:
        self._command = command
        self._in = -1
        self._streams: dict[int, int] = {}
        if command.master is not None:
            # Of its own, so that closing is the same in both cases.
            self._in = os.dup(command.master)
            self._streams[self._in] = 1
        elif ends:
            self._in, out, err = ends
            self._streams = {out: 1, err: 2}
        self._open = {self._in, *self._streams} - {-1}
        for fd in self._open:
            os.set_blocking(fd, False)

    def sources(self) -> list[int]:
        return [self._command.socket.fileno(), *self._streams]

    def read(self, fd: int) -> list[tuple[int, bytes]]:
        if fd == self._command.socket.fileno():
            try:
                self.exit = self._command.wait()
            except (GoneError, LayerviewError):
                self.gone = True
            return []
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        stream = self._streams[fd]
        if not data:
            # A terminal still takes input that somebody may read who opens it again.
            del self._streams[fd]
            return []
        return [(stream, data)]

    def input(self) -> int:
        return self._in

    def end_input(self) -> None:
        if self._in >= 0 and self._command.master is None:
            self._open.discard(self._in)
            os.close(self._in)
        self._in = -1

    def rest(self) -> list[tuple[int, bytes]]:
        found = []
        for fd in list(self._streams):
            # Whoever it left behind may go on writing; nobody waits for that.
            for _ in range(64):
                got = self.read(fd)
                found += got
                if not got:
                    break
        return found

    def close(self) -> None:
        for fd in self._open:
            os.close(fd)


class _Pump:
    """Carries bytes both ways, and signals and sizes of the terminal one way."""

    def __init__(self, peer: _Peer, stdin: int | None, stdout: int, stderr: int, tty: bool) -> None:
        self._peer = peer
        self._stdin = stdin
        self._terminal = stdout if os.isatty(stdout) else stdin
        self._targets = {1: stdout, 2: stderr}
        self._out: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self._in = bytearray()
        self._ends = False
        self.raw = tty and stdin is not None and os.isatty(stdin)
        self.keys: Keys | None = None

    def run(
        self,
        resize: Callable[[int, int], None] | None,
        send_signal: Callable[[int], None] | None,
        redraw: bool = False,
    ) -> int | None:
        """Carry until the end; see `follow`."""
        taken: tuple[signal.Signals, ...] = ()
        if self.raw:
            taken = (*_ENDING, signal.SIGTSTP, signal.SIGCONT)
        elif send_signal is not None:
            taken = _ENDING
        if resize is not None:
            taken += (signal.SIGWINCH,)
        with Signals(taken) as signals:
            mode = Raw(self._stdin) if self.raw and self._stdin is not None else None
            with mode if mode is not None else ExitStack():
                self._resize(resize, redraw)
                code, fatal = self._until_the_end(signals, mode, resize, send_signal, redraw)
        if fatal:
            # Now that the terminal is as it was, it does here what it always does.
            signal.raise_signal(fatal)
        return code

    def _until_the_end(
        self,
        signals: Signals,
        mode: Raw | None,
        resize: Callable[[int, int], None] | None,
        send_signal: Callable[[int], None] | None,
        redraw: bool,
    ) -> tuple[int | None, int]:
        """Carry until the end; return the exit status, and the signal that is to end us."""
        interrupts = 0
        while self._peer.exit is None and not self._peer.gone:
            ready = self._wait(signals.fd)
            for number in signals.got() if signals.fd in ready else ():
                if number == signal.SIGWINCH:
                    self._resize(resize)
                elif mode is not None:
                    if number not in (signal.SIGTSTP, signal.SIGCONT):
                        return None, number
                    _pause(mode, number)
                    self._resize(resize, redraw)
                elif send_signal is not None:
                    interrupts += number in (signal.SIGINT, signal.SIGTERM)
                    if interrupts >= _ENOUGH:
                        return None, 0
                    try:
                        send_signal(number)
                    except LayerviewError:
                        # It has ended, and we have not taken all that it said.
                        return 128 + number, 0
            if self._carry(ready):
                return None, 0
        self._finish(signals)
        return (_KILLED if self._peer.exit is None else self._peer.exit), 0

    def _wait(self, woken: int) -> dict[int, int]:
        """Wait until something can be carried; return what is ready for what."""
        asked: dict[int, int] = {woken: _IN}
        for stream, held in self._out.items():
            if held:
                asked[self._targets[stream]] = _OUT
        if all(len(held) < _CHUNK for held in self._out.values()):
            for fd in self._peer.sources():
                asked[fd] = asked.get(fd, 0) | _IN
        sink = self._peer.input()
        if self._in and sink >= 0:
            asked[sink] = asked.get(sink, 0) | _OUT
        if self._stdin is not None and not self._ends and len(self._in) < _CHUNK:
            asked[self._stdin] = asked.get(self._stdin, 0) | _IN
        poll = select.poll()
        for fd, mask in asked.items():
            poll.register(fd, mask)
        return dict(poll.poll())

    def _carry(self, ready: dict[int, int]) -> bool:
        """Carry what can be carried; whether the person left."""
        for stream, held in self._out.items():
            if held and ready.get(self._targets[stream], 0) & (_OUT | select.POLLERR):
                self._write(stream)
        sink = self._peer.input()
        if self._in and ready.get(sink, 0) & (_OUT | select.POLLERR | select.POLLHUP):
            self._give()
        if self._stdin is not None and not self._ends:
            typed = ready.get(self._stdin, 0) & _READABLE
            if typed and self._type():
                return True
        for fd in self._peer.sources():
            if ready.get(fd, 0) & _READABLE:
                for stream, data in self._peer.read(fd):
                    self._out[stream if stream in self._out else 1] += data
        return False

    def _type(self) -> bool:
        """Take our input; whether the keys were typed that mean to leave."""
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # a terminal that is gone, or not ours
        left = False
        if not data:
            self._ends = True
        elif self.keys is not None:
            data, left = self.keys.feed(data)
        self._in += data
        self._give()
        return left

    def _give(self) -> None:
        while self._in and self._peer.input() >= 0:
            try:
                done = self._peer.write(bytes(self._in[:_CHUNK]))
            except BlockingIOError:
                return
            except OSError:
                self._ends = True
                self._in.clear()
                break
            del self._in[:done]
        if self._peer.input() < 0:
            self._in.clear()
        if self._ends and self._peer.input() >= 0:
            self._peer.end_input()

    def _write(self, stream: int) -> None:
        held = self._out[stream]
        try:
            done = os.write(self._targets[stream], held[:_PIECE])
        except BlockingIOError:
            return
        except OSError as error:
            if stream == 2:
                held.clear()
                return
            if error.errno in (errno.EPIPE, errno.EIO):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise
        del held[:done]

    def _finish(self, signals: Signals) -> None:
        """Write what is left after the other side's end, unless a signal ends us."""
        for stream, data in self._peer.rest():
            self._out[stream] += data
        for stream, held in self._out.items():
            while held:
                poll = select.poll()
                poll.register(self._targets[stream], _OUT)
                poll.register(signals.fd, _IN)
                ready = dict(poll.poll())
                if signals.fd in ready and {*signals.got()} & {*_ENDING}:
                    return
                if self._targets[stream] in ready:
                    self._write(stream)

    def _resize(self, resize: Callable[[int, int], None] | None, redraw: bool = False) -> None:
        """Tell our terminal's size; to have all drawn again, another one first."""
        if resize is None or self._terminal is None:
            return
        rows, columns = size(self._terminal)
        if rows and columns:
            with suppress(LayerviewError):
                if redraw:
                    resize(rows + 1, columns)
                resize(rows, columns)


def _pause(mode: Raw, number: int) -> None:
    """Stop as we are told to, with the terminal as it was; go on with it raw."""
    if number == signal.SIGTSTP:
        mode.leave()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
    with suppress(termios.error):
        mode.enter()
