"""What stays with a container: it keeps its terminal or pipes, its log and its exit status.

It is process 1 of a PID namespace around the container's own: whatever ends it ends all of the
container. Each running container has one, so it stays small: it begins as a fork of who started
the container and soon executes itself anew, with a few modules of the standard library and of
layerview (whose own say that they are in here), and needs no file of either from then on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import marshal
import os
import select
import signal
import struct
import sys
import termios
import time
from contextlib import suppress

from layerview.containers import sockets
from layerview.containers.exit_record import record_exit
from layerview.containers.json_log import Log, timestamp
from layerview.containers.shim_clients import (
    PATIENCE,
    Client,
    Command,
    answer,
    client_from,
    frame,
)
from layerview.containers.shim_process import (
    close_others,
    leave,
    other_side,
    protect_interpreter,
    set_signals,
    wake_up,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_SETTLED = 0.3
"""Seconds after which it is worth it to become small."""
_CHUNK = 1 << 16
_FULL = 256 << 10
"""Bytes that wait for an attached client, above which the container waits too."""
_MAX_LINE = 1 << 20
"""Bytes of a request."""
_MAX_HEARD = 4 << 20
"""Bytes of all requests that have not been heard out."""
_MAX_CLIENTS = 256
_FAREWELL = 5.0
"""Seconds that a client has to take more of what waits for it, after the container's end."""
_MAX_LEFT = 8 << 20
"""Bytes that are read after the container's end: what somebody outside still writes is not its."""
_KILLED = 137
_STREAMS = ("stdout", "stderr")
_END = 3
"""The stream of the frame that tells the exit status; 1 and 2 are as in Docker's stdcopy."""

_OWN = (
    *(Log.__module__, Client.__module__, record_exit.__module__, leave.__module__),
    *(sockets.__name__, "layerview.containers.shim"),
)
"""The modules that it is made of."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR


class Shim:
    """The process that stays with a container."""

    def __init__(self, state: dict[str, Any], kept: dict[str, Any] | None = None) -> None:
        """Take a container over.

        Args:
            state: see `keep`.
            kept: what it was when it executed itself anew; None at first.
        """
        self.state = state
        self.small = kept is not None
        self.init: int = state["init"]
        self.exit: int | None = None
        self.master: int = state["master"]
        self.retry = 0.0
        """When to look again at a terminal that nobody had open."""
        self.feed = bytearray()
        """Input that the container has not taken."""
        self.feed_ends = False
        self.clients: dict[int, Client] = {}
        self.commands: dict[int, Command] = {}
        self.strays: dict[int, int] = {}
        """Exit statuses of processes that may turn out to be commands."""
        self.settled = time.monotonic() + _SETTLED
        if kept is None:
            self.log = Log(state["log"])
            self.folder = os.open(state["folder"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.began = state.get("started") or timestamp()
            self.stdin: int = self.master if self.master >= 0 else state["stdin"]
            self.outputs: dict[int, int] = {self.master: 1}
            if self.master < 0:
                self.outputs = {state["stdout"]: 1, state["stderr"]: 2}
            self.outputs.pop(-1, None)
            if state["client"] >= 0:
                client = Client(sockets.socket(fileno=state["client"]), "attached")
                client.owner, client.stdin = True, self._takes_input()
                self.clients[client.fd] = client
        else:
            self.log = Log(state["log"], kept["log"])
            self.folder, self.stdin = kept["folder"], kept["stdin"]
            self.began, self.outputs = kept["began"], kept["outputs"]
            self.feed, self.feed_ends = bytearray(kept["feed"]), kept["feed_ends"]
            if self.master not in self.outputs:
                self.master = -1
            for each in kept["clients"]:
                self.clients[each["fd"]] = client_from(each)
        self.peer = other_side(self.master)
        self.listener = sockets.socket(fileno=state["listen"])
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int, int], None]] = {}
        self.watched: dict[int, int] = {}
        self.troubles = 0
        self._prepare()

    def _takes_input(self) -> bool:
        return self.stdin >= 0 and bool(self.state.get("open_stdin", True))

    def _prepare(self) -> None:
        # Whatever tells a machine's processes to end is for the container, not for who records
        # how it ended.
        set_signals(signal.SIG_IGN)
        self.woken = wake_up()
        with suppress(OSError), open("/proc/self/comm", "w") as name:
            name.write("layerview-shim")
        for fd in self.descriptors():
            os.set_inheritable(fd, False)
        for fd in {*self.outputs, self.stdin} - {-1}:
            os.set_blocking(fd, False)
        self.listener.setblocking(False)
        self._watch(self.woken, _IN, self._on_child)
        self._watch(self.listener.fileno(), _IN, self._on_connection)

    def descriptors(self) -> set[int]:
        """Return all that must stay open."""
        found = {self.listener.fileno(), self.stdin, self.folder, self.log.fd, *self.outputs}
        found.update(self.state["keep"])
        for client in self.clients.values():
            found.update((client.fd, *client.descriptors))
        return found - {-1}

    def run(self) -> NoReturn:
        """Stay until the container has ended."""
        self._reap()
        for client in list(self.clients.values()):
            if client.asked is not None:
                asked, client.asked = client.asked, None
                self._answer(client, asked)
        while self.exit is None:
            self._turn(self._pause())
            self._tick()
        self._finish()

    def _turn(self, pause: float | None) -> None:
        """Wait for something to happen, and see to it."""
        self._arrange()
        for fd, mask in self.epoll.poll(pause):
            handler = self.handlers.get(fd)
            if handler is not None:
                try:
                    handler(fd, mask)
                except Exception as error:  # a bug must cost a client, not the container
                    self._trouble(fd, error)

    def _trouble(self, fd: int, error: Exception) -> None:
        self.troubles += 1
        if fd in self.clients:
            self._drop(self.clients[fd])
        if self.troubles > 100:
            time.sleep(0.01)
            return
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{timestamp()} {type(error).__name__}: {error} ({place and place.tb_lineno})\n"
        with suppress(OSError), open(self.state["run"] + "/shim.err", "a") as file:
            file.write(line)

    def _watch(self, fd: int, mask: int, handler: Callable[[int, int], None]) -> None:
        """Have a handler called; a mask of 0 is for the other side's end alone."""
        if fd not in self.watched:
            self.epoll.register(fd, mask)
        elif self.watched[fd] != mask:
            self.epoll.modify(fd, mask)
        self.watched[fd] = mask
        self.handlers[fd] = handler

    def _forget(self, fd: int) -> None:
        if self.watched.pop(fd, None) is not None:
            del self.handlers[fd]
            self.epoll.unregister(fd)

    def _arrange(self) -> None:
        """Watch what there is to wait for now."""
        full, blocked = len(self.feed) >= _CHUNK, False
        for client in list(self.clients.values()):
            if client.gone or (client.ends and not client.pending):
                self._drop(client)
                continue
            blocked = blocked or client.pending > _FULL
            listens = client.stage == "asks" or (client.stdin and not full)
            mask = (_IN if listens and not client.ends else 0) | (_OUT if client.pending else 0)
            if self.watched.get(client.fd) != mask:
                self._watch(client.fd, mask, self._on_client)
        for fd in {*self.outputs, self.stdin} - {-1}:
            reads = fd in self.outputs and not blocked and not (fd == self.master and self.retry)
            mask = (_IN if reads else 0) | (_OUT if fd == self.stdin and self.feed else 0)
            if mask or fd not in self.outputs:
                self._watch(fd, mask, self._on_container)
            else:
                self._forget(fd)

    def _pause(self) -> float | None:
        """Return the seconds until something is due."""
        due = [client.deadline for client in self.clients.values() if client.stage == "asks"]
        if not self.small:
            due.append(self.settled)
        if self.retry:
            due.append(self.retry)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _tick(self) -> None:
        now = time.monotonic()
        for client in list(self.clients.values()):
            if client.stage == "asks" and client.deadline <= now:
                self._drop(client)
        if self.retry and self.retry <= now:
            self.retry = 0.0
        if not self.small and now >= self.settled and self.exit is None:
            self._become_small()

    # -- the container --

    def _on_container(self, fd: int, mask: int) -> None:
        if fd == self.stdin and (mask & _OUT or (mask & _GONE and fd != self.master)):
            self._feed(mask)
        if fd in self.outputs and self.watched.get(fd, 0) & _IN and mask & (_IN | _GONE):
            self._read(fd)

    def _read(self, fd: int) -> bool:
        """Take some of the container's output; whether there may be more."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EIO and fd == self.master:
                # Nobody has the terminal open; who opens it again is heard then.
                self.retry = time.monotonic() + 1
            else:
                self._close_output(fd)
            return False
        if not data:
            self._close_output(fd)
            return False
        stream = self.outputs[fd]
        self.log.add(_STREAMS[stream - 1], data)
        said = None
        for client in self.clients.values():
            if client.stage == "attached" and not client.gone:
                said = said or frame(stream, data)
                client.push(said)
        return True

    def _close_output(self, fd: int) -> None:
        self._forget(fd)
        del self.outputs[fd]
        if fd == self.master:
            self.master = self.stdin = -1
        os.close(fd)

    def _feed(self, mask: int = 0) -> None:
        """Give the container its input."""
        try:
            while self.feed and self.stdin >= 0:
                with memoryview(self.feed) as view:
                    done = os.write(self.stdin, view[:_CHUNK])
                del self.feed[:done]
        except BlockingIOError:
            return
        except OSError:
            mask |= _GONE
        if self.stdin == self.master or self.stdin < 0:
            self.feed.clear()
        elif self.feed_ends or mask & _GONE:
            self._close_stdin()

    def _close_stdin(self) -> None:
        self._forget(self.stdin)
        os.close(self.stdin)
        self.stdin = -1
        self.feed.clear()

    def _on_child(self, fd: int, mask: int) -> None:
        with suppress(BlockingIOError):
            os.read(fd, 4096)
        self._reap()

    def _reap(self) -> None:
        """Take the exit statuses of whoever ended: process 1 is everybody's parent at last."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                if self.exit is None:
                    self.exit = _KILLED  # nobody knows: it is none of our children
                break
            if not pid:
                break
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
            if pid == self.init:
                self.exit = code
            elif pid in self.commands:
                self._command_ended(pid, code)
            elif self._are_beginning():
                self.strays[pid] = code
        if not self._are_beginning():
            self.strays.clear()

    # -- clients --

    def _on_connection(self, fd: int, mask: int) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors, most likely.
                if self._make_room():
                    continue
                time.sleep(0.01)
                return
            asked = connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12)
            if struct.unpack("iII", asked)[1] not in (0, os.geteuid()):
                connection.close()
                continue
            client = Client(connection)
            if len(self.clients) >= _MAX_CLIENTS and not self._make_room():
                client.push(answer(error="too many are connected to this container", code=125))
                connection.close()
                continue
            self.clients[client.fd] = client

    def _make_room(self) -> bool:
        """Drop who has been silent for longest; whether there was such a one."""
        asking = [client for client in self.clients.values() if client.stage == "asks"]
        if asking:
            self._drop(min(asking, key=_deadline))
        return bool(asking)

    def _drop(self, client: Client) -> None:
        self._forget(client.fd)
        del self.clients[client.fd]
        for fd in client.descriptors:
            os.close(fd)
        if client.stdin:
            self._input_ended(client)
        client.socket.close()

    def _on_client(self, fd: int, mask: int) -> None:
        client = self.clients[fd]
        if mask & _OUT:
            client.flush()
        if client.stage == "asks" and mask & (_IN | _GONE):
            self._hear(client)
        while client.stdin and mask & (_IN | _GONE):
            self._take_input(client)
            if not mask & _GONE:
                break
        if mask & _GONE:
            client.lose()

    def _take_input(self, client: Client) -> None:
        try:
            data = client.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.feed += data
            self._feed()
        else:
            self._input_ended(client)

    def _input_ended(self, client: Client) -> None:
        client.stdin = False
        if self.state["stdin_once"] and self.stdin >= 0 and self.stdin != self.master:
            self.feed_ends = True
            self._feed()

    def _hear(self, client: Client) -> None:
        """Take what a client asks for."""
        try:
            data, ancillary, _, _ = client.socket.recvmsg(
                _CHUNK, sockets.CMSG_SPACE(12), sockets.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            client.lose()
            return
        for level, kind, packed in ancillary:
            if (level, kind) == (sockets.SOL_SOCKET, sockets.SCM_RIGHTS):
                client.descriptors += struct.unpack(
                    f"{len(packed) // 4}i", packed[: len(packed) & ~3]
                )
        client.heard += data
        if len(client.descriptors) > 3 or client.pending > _CHUNK:
            client.lose()
        while not client.gone and client.stage == "asks" and not client.ends:
            line, found, rest = client.heard.partition(b"\n")
            if not found:
                break
            client.heard = rest
            client.deadline = time.monotonic() + PATIENCE
            self._request(client, line)
        heard = sum(len(each.heard) for each in self.clients.values())
        if len(client.heard) > _MAX_LINE or heard > _MAX_HEARD:
            self._refuse(client, "the request is too long")
        if not data:
            client.ends = client.stage == "asks"

    def _refuse(self, client: Client, why: str, code: int = 125) -> None:
        client.heard = b""
        client.push(answer(error=why, code=code))
        client.ends = True

    def _request(self, client: Client, line: bytes) -> None:
        try:
            asked = json.loads(line)
            if not isinstance(asked, dict):
                raise ValueError
        except (ValueError, RecursionError):
            self._refuse(client, "the request is no JSON object")
            return
        self._answer(client, asked)

    def _answer(self, client: Client, asked: dict[str, Any]) -> None:
        match asked.get("do"):
            case "state":
                client.push(
                    answer(
                        pid=self.state["pid"],
                        init=self.init,
                        tty=self.state["tty"],
                        started=self.began,
                    )
                )
            case "wait":
                client.stage = "waits"
                if self.exit is not None:
                    client.push(answer(exit=self.exit))
                    client.ends = True
            case _ if self.exit is not None:
                self._refuse(client, "the container has ended")
            case "signal":
                self._signal(client, asked.get("signal"))
            case "resize":
                self._resize(client, asked.get("rows"), asked.get("columns"))
            case "attach":
                client.stdin = bool(asked.get("stdin")) and self._takes_input()
                client.push(answer(ok=True, tty=self.state["tty"], stdin=client.stdin))
                client.stage = "attached"
                if client.stdin and client.heard:
                    self.feed += client.heard
                    self._feed()
                client.heard = b""
            case "exec":
                self._exec(client, asked)
            case _:
                self._refuse(client, "no such request")

    def _signal(self, client: Client, number: object) -> None:
        if not isinstance(number, int) or not 0 < number < signal.NSIG:
            self._refuse(client, "no such signal")
            return
        try:
            os.kill(self.init, number)
        except OSError as error:
            self._refuse(client, (error.strerror or "").lower())
        else:
            client.push(answer(ok=True))

    def _resize(self, client: Client, rows: object, columns: object) -> None:
        if not (isinstance(rows, int) and isinstance(columns, int)):
            self._refuse(client, "no size")
        elif self.master < 0:
            self._refuse(client, "the container has no terminal")
        elif not (0 < rows < 1 << 16 and 0 < columns < 1 << 16):
            self._refuse(client, "no size of a terminal")
        else:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
            client.push(answer(ok=True))

    # -- commands --

    def _are_beginning(self) -> bool:
        return any(command.report is not None for command in self.commands.values())

    def _exec(self, client: Client, asked: dict[str, Any]) -> None:
        if not self.small:
            client.asked = asked
            self._become_small()  # returns only where that is not possible
            client.asked = None
        given, client.descriptors = client.descriptors, []
        client.stage = "execs"
        try:
            if len(given) != (0 if asked.get("tty") else 3):
                self._refuse(client, "the descriptors are missing")
                return
            ours, theirs = sockets.socketpair(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
            try:
                pid = os.fork()
                if pid == 0:
                    self._be_command(asked, given, theirs)
            except OSError as error:
                ours.close()
                self._refuse(client, f"no new process: {(error.strerror or '').lower()}")
                return
            finally:
                theirs.close()
        finally:
            for fd in given:
                os.close(fd)
        ours.setblocking(False)
        self.commands[pid] = Command(client, ours, pid)
        self._watch(ours.fileno(), _IN, self._on_report)

    def _be_command(self, asked: dict[str, Any], given: list[int], report: sockets.socket) -> None:
        code, why = 125, ""
        try:
            signal.set_wakeup_fd(-1)
            sys.path.append(self.state["package"])
            from layerview.containers.joining import join

            join(asked, given, self.state["pid"], report)
        except ImportError as error:
            why = f"layerview or its Python was removed or replaced meanwhile ({error})"
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            why = f"the command was not started: {(error.strerror or '').lower()}{where}"
        except BaseException as error:
            code, why = getattr(error, "code", 125), str(error) or type(error).__name__
        finally:
            with suppress(OSError):
                report.send(answer(error=why, code=code if isinstance(code, int) else 125))
            os._exit(125)

    def _on_report(self, fd: int, mask: int) -> None:
        for command in list(self.commands.values()):
            if command.report is not None and command.report.fileno() == fd:
                self._hear_report(command)

    def _hear_report(self, command: Command) -> None:
        """Take what a process says that becomes a command."""
        report = command.report
        while report is not None:
            try:
                data, ancillary, _, _ = report.recvmsg(
                    _CHUNK, sockets.CMSG_SPACE(4), sockets.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            for _, kind, packed in ancillary:
                if kind == sockets.SCM_RIGHTS and len(packed) == 4 and command.master < 0:
                    (command.master,) = struct.unpack("i", packed)
            if not data:
                self._forget(report.fileno())
                report.close()
                command.report = None
                self._began(command)
                return
            said = json.loads(data)
            if "pid" in said:
                del self.commands[command.pid]
                command.pid = said["pid"]
                self.commands[command.pid] = command
                command.status = self.strays.pop(command.pid, None)
            elif "ready" in said:
                command.ready = said["ready"]
            elif "error" in said:
                command.error = said

    def _began(self, command: Command) -> None:
        """Tell that a command was executed, or why not."""
        client = command.client
        master, command.master = command.master, -1
        if command.error is None and not command.ready:
            command.error = {"error": "it was ended before it began", "code": 125}
        if not client.gone and client.fd in self.clients:
            if command.error is not None:
                self._refuse(client, str(command.error["error"]), command.error["code"])
            elif master >= 0:
                packed = struct.pack("i", master)
                line = answer(started=True, pid=command.ready)
                try:
                    rights = (sockets.SOL_SOCKET, sockets.SCM_RIGHTS, packed)
                    client.socket.sendmsg([line], [rights])
                except OSError:
                    client.lose()
            else:
                client.push(answer(started=True, pid=command.ready))
        if master >= 0:
            os.close(master)
        if command.status is not None:
            self._command_ended(command.pid, command.status)

    def _command_ended(self, pid: int, code: int) -> None:
        command = self.commands[pid]
        if command.report is not None:
            # It may have gone over to a child of its own, and says so in what is not read yet.
            self._hear_report(command)
            if command.report is not None or command.pid != pid:
                if command.pid == pid:
                    command.status = code
                return
            if pid not in self.commands:
                return
        del self.commands[pid]
        if command.error is None and not command.client.gone:
            command.client.push(answer(exit=code))
            command.client.ends = True

    # -- becoming small --

    def _become_small(self) -> None:
        """Execute anew, without what was there to start the container; go on here if not."""
        self.small = True
        python, package = self.state["python"], self.state["package"]
        if not os.access(python, os.X_OK) or not all(
            os.access(os.path.join(package, *name.split(".")) + ".py", os.R_OK) for name in _OWN
        ):
            return
        with suppress(Exception):
            protect_interpreter()
        descriptors = self.descriptors()
        kept = {
            "log": self.log.hand_over(),
            "folder": self.folder,
            "began": self.began,
            "stdin": self.stdin,
            "outputs": self.outputs,
            "feed": bytes(self.feed),
            "feed_ends": self.feed_ends,
            "clients": [client.hand_over() for client in self.clients.values()],
        }
        words = [python, "-I", "-S", *(["-B"] if sys.dont_write_bytecode else []), "-c", _PROGRAM]
        handed = -1
        try:
            handed = os.memfd_create("shim", 0)
            with open(handed, "wb", closefd=False) as file:
                file.write(marshal.dumps((self.state, kept)))
            os.lseek(handed, 0, os.SEEK_SET)
            for fd in descriptors:
                os.set_inheritable(fd, True)
            os.execv(python, [*words, str(handed), package, self.state["id"]])
        except OSError:
            for fd in descriptors:
                os.set_inheritable(fd, False)
            if handed >= 0:
                os.close(handed)

    # -- the end --

    def _finish(self) -> NoReturn:
        assert self.exit is not None
        for fd in list(self.outputs):
            left = _MAX_LEFT // _CHUNK
            while left and self._read(fd):
                left -= 1
        self.log.finish()
        record_exit(self.folder, self.exit, volatile=bool(self.state.get("volatile")))
        self._on_connection(self.listener.fileno(), _IN)
        for client in list(self.clients.values()):
            if client.stage == "asks":
                self._hear(client)
        self._forget(self.listener.fileno())
        with suppress(OSError):
            os.unlink(self.state["run"] + "/shim")
        self.listener.close()
        for fd in list(self.outputs):
            self._close_output(fd)
        if self.stdin >= 0:
            self._close_stdin()
        owner = None
        for client in list(self.clients.values()):
            client.stdin = False
            if client.owner:
                owner = client
            if client.stage == "attached":
                client.push(frame(_END, answer(exit=self.exit)[:-1]))
            elif client.stage == "waits":
                client.push(answer(exit=self.exit))
            elif client.stage == "execs" and not client.ends:
                client.push(answer(error="the container has ended", code=125))
            client.ends = True
        self._say_farewell()
        if self.state["remove"] and (owner is None or owner.gone or owner.pending):
            self._remove(self.state["remove"])
        os._exit(0)

    def _say_farewell(self) -> None:
        until = time.monotonic() + _FAREWELL
        waits = -1
        while self.clients and time.monotonic() < until:
            self._turn(0 if waits < 0 else until - time.monotonic())
            now = sum(client.pending for client in self.clients.values())
            if now < waits:
                until = time.monotonic() + _FAREWELL
            waits = now

    def _remove(self, words: list[str]) -> None:
        """Become who removes the container."""
        with suppress(Exception):
            leave(os.path.dirname(os.path.dirname(self.state["folder"])))
        set_signals(signal.SIG_DFL)
        with suppress(OSError):
            os.execv(words[0], list(words))


def _deadline(client: Client) -> float:
    return client.deadline


def keep(state: dict[str, Any]) -> NoReturn:
    """Stay with a container that was just started, as process 1 of the namespace around it.

    Args:
        state: what it is about:
            id, folder (containers/ID), run (where the socket is), log: paths;
            listen: the socket, which listens; init: the first process as seen from here; pid: as
            the machine counts; tty; master: its terminal's, or -1; stdin, stdout, stderr: our
            ends of its pipes, or -1; open_stdin: whether clients may write to it; stdin_once:
            whether the end of a client's input is the end of its; keep: descriptors to keep open;
            client: a socket that is attached from the start, or -1; package: the folder that
            layerview lies in; python: the interpreter; remove: what is executed in the end when
            whoever has `client` is gone, or None; volatile: whether nothing need reach the disk.
    """
    status = 1
    try:
        shim = Shim(state)
        close_others(shim.descriptors() | {shim.epoll.fileno(), shim.peer, *shim.watched})
        shim.run()
    finally:
        os._exit(status)


_PROGRAM = (
    "import sys; sys.path.append(sys.argv[2])\nfrom layerview.containers.shim import main\nmain()"
)


def main() -> NoReturn:
    """Go on after `_become_small`; the descriptor of what is known is the first argument."""
    try:
        with open(int(sys.argv[1]), "rb") as file:
            state, kept = marshal.load(file)
        sys.path.remove(sys.argv[2])
        Shim(state, kept).run()
    finally:
        os._exit(1)
