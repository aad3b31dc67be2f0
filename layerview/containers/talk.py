"""Talking to the shim of a running container."""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from contextlib import suppress

from layerview.containers import sockets
from layerview.containers.plan import StartError
from layerview.errors import LayerviewError, NotFoundError
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from layerview.containers.plan import ExecPlan

_PATIENCE = 10.0
"""Seconds after which a shim that does not answer is said to hang."""
_MAX_LINE = 1 << 16
_HEADER = struct.Struct(">BxxxI")
STDOUT, STDERR, END = 1, 2, 3
"""The streams of an attached client's frames; END tells how the container ended."""


class GoneError(NotFoundError):
    """The shim ended without saying how the container did: both were killed."""


def connect(run: str) -> Shim:
    """Call a container's shim.

    Args:
        run: the container's folder beneath ROOT/layerview/run; its length does not matter.

    Raises:
        NotFoundError: when nobody answers: the container does not run.
        LayerviewError: when it can't be called.
    """
    return Shim(_connected(run), run)


def _connected(run: str) -> sockets.socket:
    connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    folder = -1
    try:
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        connection.settimeout(_PATIENCE)
        # A socket's name has at most 107 bytes (unix(7)).
        place = f"/proc/self/fd/{folder}/shim"
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                connection.connect(place)
                return connection
            except BlockingIOError:  # many call it at once
                if time.monotonic() > end:
                    raise TimeoutError(errno.ETIMEDOUT, "it does not answer") from None
                time.sleep(0.005)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        raise NotFoundError("the container does not run: nobody answers for it") from None
    except OSError as error:
        connection.close()
        reason = (error.strerror or str(error)).lower()
        raise LayerviewError(f"the container can't be talked to: {reason}") from None
    finally:
        if folder >= 0:
            os.close(folder)


class Shim:
    """A connection to a container's shim. What waits or takes part takes the connection over."""

    def __init__(self, connection: sockets.socket, run: str = "") -> None:
        """Talk on a connection.

        Args:
            connection: to the shim.
            run: where others can be made.
        """
        self._socket: sockets.socket | None = connection
        self._run = run

    def __enter__(self) -> Shim:
        """Close it afterwards."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _take(self) -> sockets.socket:
        connection = self._socket or _connected(self._run)
        self._socket = None
        return connection

    def _ask(self, **words: object) -> dict[str, object]:
        connection = self._take()
        try:
            said = _asked(connection, words)
        except BaseException:
            connection.close()
            raise
        self._socket = connection
        return said

    def state(self) -> dict[str, object]:
        """Return `pid` (as the machine counts), `init` (as the shim does), `tty`, `started`.

        Raises:
            NotFoundError: when it ended meanwhile.
        """
        return self._ask(do="state")

    def signal(self, number: int) -> None:
        """Send the container's first process a signal.

        Raises:
            NotFoundError: when it ended meanwhile.
            LayerviewError: when it can't be sent.
        """
        self._ask(do="signal", signal=int(number))

    def resize(self, rows: int, columns: int) -> None:
        """Tell the container's terminal its size.

        Raises:
            NotFoundError: when it ended meanwhile.
            LayerviewError: when it has no terminal.
        """
        self._ask(do="resize", rows=rows, columns=columns)

    def wait(self) -> int:
        """Wait until the container has ended; return its exit status.

        Raises:
            GoneError: when it and the shim were killed.
        """
        with self._take() as connection:
            connection.settimeout(None)
            return _exit(_asked(connection, {"do": "wait"}))

    def attach(self, stdin: bool = True) -> Attached:
        """Take part in the container's input and output, from now on.

        Args:
            stdin: whether input will be given.

        Raises:
            NotFoundError: when it ended meanwhile.
        """
        connection = self._take()
        try:
            said = _asked(connection, {"do": "attach", "stdin": stdin})
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return Attached(connection, said.get("tty") is True, said.get("stdin") is True)

    def exec(self, plan: ExecPlan, stdio: tuple[int, int, int] | None = None) -> Exec:
        """Run a command in the container.

        Args:
            plan: what.
            stdio: descriptors of its input, output and errors where it has no terminal.

        Raises:
            StartError: when it was not started; its code is Docker's exit status for that.
            NotFoundError: when the container ended meanwhile.
        """
        words = {
            "do": "exec",
            "args": plan.args,
            "env": plan.env,
            "cwd": plan.cwd,
            "user": plan.user,
            "tty": plan.tty,
            "rows": plan.rows,
            "columns": plan.columns,
        }
        connection = self._take()
        rights: list[int] = []
        try:
            # How long it takes is up to the container's disk and to how busy the machine is.
            connection.settimeout(60)
            given = () if plan.tty or stdio is None else stdio
            said = _asked(connection, words, given, rights)
            connection.settimeout(None)
        except BaseException as error:
            connection.close()
            for fd in rights:
                os.close(fd)
            if isinstance(error, UnicodeEncodeError):
                raise StartError("a word of the command is no text") from None
            raise
        pid = said.get("pid")
        return Exec(connection, rights[0] if rights else None, pid if isinstance(pid, int) else 0)


class Attached:
    """A connection on which a container's output comes in frames, and its input goes as it is."""

    def __init__(self, connection: sockets.socket, tty: bool, stdin: bool = True) -> None:
        """Take part through a connection.

        Args:
            connection: of an `attach`, or the other end of what `launch` was given.
            tty: whether the container has a terminal.
            stdin: whether it takes input.
        """
        self.socket = connection
        self.tty = tty
        self.stdin = stdin

    def close(self) -> None:
        """Take part no longer; the container goes on."""
        self.socket.close()


class Exec:
    """A command that runs in a container."""

    def __init__(self, connection: sockets.socket, master: int | None, pid: int) -> None:
        """Look after a command.

        Args:
            connection: where its end is told.
            master: its terminal's, which the holder closes; None without one.
            pid: as the machine counts.
        """
        self.socket = connection
        self.master = master
        self.pid = pid

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal its size."""
        if self.master is not None:
            import fcntl
            import termios

            with suppress(OSError):
                size = struct.pack("HHHH", rows, columns, 0, 0)
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def wait(self) -> int:
        """Wait for its end; return its exit status.

        Raises:
            GoneError: when it went down with the container.
        """
        self.socket.settimeout(None)
        return _exit(_line(self.socket, []))

    def close(self) -> None:
        """Look after it no longer."""
        self.socket.close()
        if self.master is not None:
            os.close(self.master)
            self.master = None


class Frames:
    """An attached client's frames out of the bytes as they come."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.exit: int | None = None
        """The container's exit status, once it is told."""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes; return the pieces of output in them, as stream (1, 2) and data."""
        self._held += data
        found = []
        place = 0
        while len(self._held) - place >= _HEADER.size:
            stream, size = _HEADER.unpack_from(self._held, place)
            end = place + _HEADER.size + size
            if len(self._held) < end:
                break
            piece = bytes(self._held[place + _HEADER.size : end])
            if stream == END:
                self.exit = _exit(json.loads(piece))
            else:
                found.append((stream, piece))
            place = end
        del self._held[:place]
        return found


def _asked(
    connection: sockets.socket,
    words: dict[str, object],
    given: tuple[int, ...] = (),
    rights: list[int] | None = None,
) -> dict[str, object]:
    data = json.dumps(words, separators=(",", ":")).encode() + b"\n"
    try:
        sent = sockets.send_fds(connection, [data], given) if given else connection.send(data)
        connection.sendall(data[sent:])
    except TimeoutError:
        raise LayerviewError("the container's shim does not answer; it hangs") from None
    except OSError:
        pass  # it may have said why before it hung up
    said = _line(connection, rights if rights is not None else [])
    if "error" in said:
        code, why = said.get("code"), printable(str(said["error"]))
        if words["do"] == "exec":
            raise StartError(why, code if isinstance(code, int) else 125)
        raise LayerviewError(why)
    return said


def _line(connection: sockets.socket, rights: list[int]) -> dict[str, object]:
    """Take one line, byte for byte: what follows is not ours."""
    held = b""
    try:
        while not held.endswith(b"\n") and len(held) < _MAX_LINE:
            ahead = connection.recv(4096, sockets.MSG_PEEK)
            wanted = ahead.find(b"\n") + 1 or len(ahead)
            if not wanted:
                break
            data, ancillary, _, _ = connection.recvmsg(
                wanted, sockets.CMSG_SPACE(4), sockets.MSG_CMSG_CLOEXEC
            )
            for _, kind, packed in ancillary:
                if kind == sockets.SCM_RIGHTS:
                    rights += struct.unpack(f"{len(packed) // 4}i", packed[: len(packed) & ~3])
            held += data
    except TimeoutError:
        raise LayerviewError("the container's shim does not answer; it hangs") from None
    except OSError:
        held = b""
    if not held.endswith(b"\n"):
        raise GoneError("the container ended, and nobody said how")
    try:
        said = json.loads(held)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise LayerviewError("what answers for the container is no shim of layerview")
    return said


def _exit(said: dict[str, object]) -> int:
    code = said.get("exit")
    if not isinstance(code, int):
        raise GoneError("the container ended, and nobody said how")
    return code
