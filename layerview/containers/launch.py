"""Starting a container: processes, one in the other's care.

`launch` forks the keeper, the first process of a PID namespace A in a mount namespace of its own,
where it mounts the container's tree. Whatever ends the keeper ends all in A, and its mounts go
with their namespace. The keeper forks the container's first process, process 1 of a PID namespace
B inside of A, which puts its files together, gives up what a container has not got, and executes
the program. Then the keeper becomes the shim (see shim.py).
"""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from layerview.containers import rootfs, seccomp, sockets
from layerview.containers.calls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    OPEN_PATH,
    WAIT_ALL,
    attach,
    clone_tree,
    fork_into,
    setns,
)
from layerview.containers.plan import Plan, Started, StartError
from layerview.containers.privileges import become
from layerview.containers.program import enter_folder, execute, only, reset_signals
from layerview.containers.users import find, with_home
from layerview.drivers.mounts import MS_REC, MS_SLAVE, mount, unshare
from layerview.errors import LayerviewError
from layerview.store.liveness import boot_id
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from layerview.drivers.base import Driver

_SOCKET = "shim"
_WAITING = 64
"""Clients that may wait for the shim to look."""
_MOST = 1 << 16
_KILLED = "the container's first process was killed while it started"
_SIGNALS = (*range(1, 32), *range(34, 65))
"""All but the C library's own."""
_KINDS = {
    "net": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
}
_MOST_GIVEN = 8
_LAST_STEPS = 0.05
"""Seconds that a thread has for its end once it was joined."""
_TREE, _NO_TREE, _ISOLATED, _SETTLED = b"t", b"n", b"i", b"s"
_ENDED = (BrokenPipeError, ConnectionResetError)
"""What is said of sending to a process that has ended: the latter once, where it left words unread.

Why it ended is received all the same.
"""
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def launch(
    plan: Plan,
    driver: Driver,
    *,
    lock: int,
    keep: Sequence[int] = (),
    client: int = -1,
    meanwhile: Callable[[], None] = lambda: None,
) -> Started:
    """Start a container, whose layer is there, and leave it to a process of its own.

    Who calls this is root, if only of a user namespace, and has no other threads. It must wait
    for none of the processes: all of them are others' children when this returns.

    Args:
        plan: what to start.
        driver: of its layer.
        lock: descriptor of its `layerview.lock`, which the caller has locked; who holds it from
            now on is written there.
        keep: what else stays open for as long as the container lives.
        client: a connected socket, whose other end is attached from the start; -1 for none.
        meanwhile: called once the processes are at work, which takes them some milliseconds.

    Raises:
        StartError: when it was not started; nothing of the attempt is left.
    """
    begun = time.perf_counter_ns()
    _reap()
    keeper, ended, said = 0, -1, b""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # A signal that comes between two forks would be handled by the wrong process.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        here, there = _pair(sockets.SOCK_STREAM)
        keepers, firsts = _pair(sockets.SOCK_SEQPACKET)
        with here:
            with there, keepers, firsts:
                keeper, ended = _fork_keeper()
                if ended < 0:
                    # In nobody's hands but the caller's: its end tells both that the caller died.
                    here.close()
                    lines = (there, keepers, firsts)
                    _keep(plan, driver, lines, lock, keep, client)
                _keepers.add(keeper)
                firsts.close()
                # Both processes are about to begin meanwhile.
                _send_tree(here, keepers, plan, driver)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            notes = []
            if seccomp.program(os.uname().machine) is None:
                notes.append("no seccomp filter: this machine's kinds of calls are not known")
            meanwhile()
            while piece := _received(here)[0]:
                said += piece
        answer = json.loads(said) if said else {}
        if "pid" not in answer:
            raise _trouble(answer, "the container's keeper was killed while it started")
    except BaseException as error:
        with suppress(KeyboardInterrupt):
            # It is interrupted only once.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        _take_back(plan.run, lock, ended)
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            raise StartError(f"no process for the container: {reason}") from None
        raise
    finally:
        if ended >= 0:
            os.close(ended)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Started(answer["pid"], keeper, time.perf_counter_ns() - begun, notes)


def _pair(kind: int) -> tuple[sockets.socket, sockets.socket]:
    """Return two connected sockets, out of the way of 0, 1 and 2."""
    one, other = sockets.socketpair(sockets.AF_UNIX, kind)
    return _above(one), _above(other)


def _above(line: sockets.socket) -> sockets.socket:
    if line.fileno() > 2:
        return line
    with line:
        return sockets.socket(fileno=_high(line.fileno()))


def _high(fd: int) -> int:
    """Return a descriptor out of the way of 0, 1 and 2."""
    return fd if fd < 0 or fd > 2 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _send_tree(keeper: sockets.socket, first: sockets.socket, plan: Plan, driver: Driver) -> None:
    """Make the container's tree for its first process; the keeper gets what keeps it in use.

    A runtime has the tree from the keeper, which then gets both.
    """
    with driver.detached(plan.mount_id, volatile=plan.volatile) as tree, suppress(*_ENDED):
        if tree is None:
            keeper.send(_NO_TREE)
            return
        given = list(driver.descriptors(plan.mount_id))
        if plan.runtime == "layerview":
            sockets.send_fds(first, [_TREE], [tree])
        else:
            given.insert(0, tree)
        sockets.send_fds(keeper, [_TREE], given)


def _received(line: sockets.socket) -> tuple[bytes, list[int]]:
    """Receive bytes and descriptors; nothing when the other end is closed."""
    while True:
        try:
            data, given, _, _ = sockets.recv_fds(line, _MOST, _MOST_GIVEN)
        except ConnectionResetError:
            # It ended before it read all; what it said last comes with the next call.
            continue
        for fd in given:
            os.set_inheritable(fd, False)
        return data, list(given)


_keepers: set[int] = set()
"""Processes that were forked here, and may have ended."""


def _reap() -> None:
    """Let go of keepers that have ended: while this process lives, nobody else does."""
    for pid in list(_keepers):
        try:
            ended = os.waitpid(pid, os.WNOHANG | WAIT_ALL)[0] == pid
        except ChildProcessError:
            ended = True
        if ended:
            _keepers.discard(pid)


def _take_back(run: str, lock: int, keeper: int) -> None:
    """End what was begun, wait until it has ended, and leave nothing of it."""
    if keeper >= 0:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(keeper, signal.SIGKILL)
        from select import select

        select([keeper], [], [])
        _reap()
    os.ftruncate(lock, 0)
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(run, _SOCKET))
    with suppress(OSError):
        os.rmdir(run)


# -- the keeper -----------------------------------------------------------------------------------


def _fork_keeper() -> tuple[int, int]:
    """Fork the keeper, in namespaces A; return its pid and a descriptor of it.

    In the keeper itself there is no descriptor: -1.
    """
    if not _is_alone():
        return _fork_twice()
    try:
        return fork_into(CLONE_NEWPID | CLONE_NEWNS)
    except OSError:
        return _fork_twice()


def _is_alone() -> bool:
    """Whether this process has no other threads, or soon has none.

    One that was joined is at its end for a moment still, and may hold a lock of the C library's
    (malloc's). Its own fork sees to these locks; the kernel's call does not, and a child of that
    would wait for such a lock for ever.
    """
    end = time.monotonic() + _LAST_STEPS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.0002)
    return True


def _fork_twice() -> tuple[int, int]:
    """Fork it by the calls that older kernels have; a child that ends at once is its parent."""
    ready, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWPID | CLONE_NEWNS)
            keeper = os.fork()
        except OSError as error:
            keeper = -(error.errno or errno.EPERM)
        if keeper == 0:
            os.close(tell)
            return 0, -1
        os.write(tell, b"%d" % keeper)
        os._exit(0)
    os.close(tell)
    with os.fdopen(ready, "rb") as words:
        number = int(words.read() or -errno.EAGAIN)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return number, os.pidfd_open(number)


def _error(error: BaseException) -> bytes:
    code = error.code if isinstance(error, StartError) else 125
    if isinstance(error, LayerviewError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"the container was not started: {error.strerror or error}"
        if error.filename:
            text += f" ({os.fsdecode(error.filename)})"
    else:
        text = f"the container was not started: {error!r}"
    return json.dumps({"error": text, "code": code}).encode()


def _keep(
    plan: Plan,
    driver: Driver,
    lines: tuple[sockets.socket, sockets.socket, sockets.socket],
    lock: int,
    keep: Sequence[int],
    client: int,
) -> NoReturn:
    """Be the keeper.

    Args:
        plan: as for launch, and so are the others but for this.
        driver: as there.
        lines: to who calls launch; both ends of what leads to the first process.
        lock: as there.
        keep: as there.
        client: as there.
    """
    caller, keepers, firsts = lines
    try:
        gc.disable()
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            # Then nobody would learn how the container ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        inside, outside = _streams(plan)
        first = None
        if plan.runtime == "layerview":
            # As soon as can be: it takes the longest.
            place = driver.layer_folder(plan.mount_id)
            first = _First(plan, place, inside, keepers, firsts)
            first.isolate(plan)
        os.setsid()
        os.chdir("/")
        lock, client = _high(lock), _high(client)
        kept = [lock, *map(_high, keep)]
        only(*kept, client, *inside, *outside, caller.fileno(), keepers.fileno())
        os.open("/dev/null", os.O_RDWR)
        os.dup2(0, 1)
        os.dup2(0, 2)
        mount("none", "/", "", MS_REC | MS_SLAVE)
        # Not before: who waits for the start would wait for this as well.
        from layerview.containers import shim

        if first is not None:
            started = _own(plan, driver, kept, caller, first)
        else:
            started = _by_runtime(plan, driver, kept, caller, inside)
        for fd in inside:
            if fd >= 0:
                os.close(fd)
        listener, init, pid, master = started
        state = _state(plan, listener, init, pid, master, outside, kept, client)
        caller.send(json.dumps({"pid": pid}).encode())
    except BaseException as error:
        with suppress(OSError):
            caller.send(_error(error))
        os._exit(1)
    try:
        caller.close()
        shim.keep(state)
    finally:
        os._exit(1)


def _own(
    plan: Plan, driver: Driver, kept: list[int], caller: sockets.socket, first: _First
) -> tuple[int, int, int, int]:
    """See to it that the first process becomes the program.

    Returns:
        The shim's socket; the process's pid here and on the machine; its terminal, or -1.
    """
    said, given = _received(caller)
    kept += given
    if said == _NO_TREE:
        first.give(_mount(plan, driver, kept))
    elif not said:
        os._exit(1)
    listener = _listen(plan.run)
    pid, master = first.hear()
    _write_lock(kept[0], pid)
    first.wait()
    return listener, first.init, pid, master


def _by_runtime(
    plan: Plan,
    driver: Driver,
    kept: list[int],
    caller: sockets.socket,
    inside: tuple[int, int, int],
) -> tuple[int, int, int, int]:
    """Have a runtime start the first process; return the same."""
    from layerview.containers.by_runtime import start_by_runtime

    stdin, stdout, stderr = inside
    said, given = _received(caller)
    if said == _NO_TREE:
        root = _mount(plan, driver, kept)
    elif not said:
        os._exit(1)
    else:
        # What lies below it is nothing to see in here.
        root = driver.layer_folder(plan.mount_id)
        tree, *held = given
        kept += held
        place = os.open(root, OPEN_PATH)
        attach(tree, place)
        os.close(place)
        os.close(tree)
    listener = _listen(plan.run)
    reset_signals()
    if stdin < 0 and not plan.tty:
        stdin = 0
    started = start_by_runtime(plan, root, stdin=stdin, stdout=stdout, stderr=stderr)
    _write_lock(kept[0], started.pid)
    return listener, started.init, started.pid, started.master


def _state(
    plan: Plan,
    listener: int,
    init: int,
    pid: int,
    master: int,
    outside: tuple[int, int, int],
    kept: list[int],
    client: int,
) -> dict[str, object]:
    """Return what the shim has to know; see there."""
    return {
        "id": plan.id,
        "folder": plan.folder,
        "run": plan.run,
        "listen": listener,
        "init": init,
        "pid": pid,
        "tty": plan.tty,
        "master": master,
        "stdin": outside[0],
        "stdout": outside[1],
        "stderr": outside[2],
        "open_stdin": plan.open_stdin,
        "stdin_once": plan.stdin_once,
        "log": plan.log,
        "keep": kept,
        "client": client,
        "package": _PACKAGE,
        "python": sys.executable,
        "remove": list(plan.remove) or None,
        "volatile": plan.volatile,
    }


def _mount(plan: Plan, driver: Driver, kept: list[int]) -> str:
    """Mount the container's tree here; return its path."""
    mounted = driver.mounted(plan.mount_id, volatile=plan.volatile)
    root = mounted.__enter__()
    # Never left: the mount ends with this process's namespace.
    _held.append(mounted)
    kept += driver.descriptors(plan.mount_id)
    return root


_held: list[object] = []
"""What must not be collected, since that would end its context."""


def _streams(plan: Plan) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Make the pipes of a container without a terminal: its own ends, and the shim's."""
    if plan.tty:
        return (-1, -1, -1), (-1, -1, -1)
    stdin, feed = map(_high, os.pipe2(os.O_CLOEXEC)) if plan.open_stdin else (-1, -1)
    out, stdout = map(_high, os.pipe2(os.O_CLOEXEC))
    err, stderr = map(_high, os.pipe2(os.O_CLOEXEC))
    return (stdin, stdout, stderr), (feed, out, err)


class _First:
    """The container's first process as its keeper sees it, until the program is executed."""

    def __init__(
        self,
        plan: Plan,
        place: str,
        inside: tuple[int, int, int],
        line: sockets.socket,
        firsts: sockets.socket,
    ) -> None:
        """Fork it.

        Args:
            plan: what it is to become.
            place: a folder that the tree may be attached to.
            inside: its standard streams.
            line: leads to it.
            firsts: its end of that.
        """
        self._line = line
        unshare(CLONE_NEWPID)
        keeper = os.readlink("/proc/self")
        self.init = os.fork()
        if self.init == 0:
            line.close()
            _be_first(plan, place, inside, firsts, keeper)
        firsts.close()

    def isolate(self, plan: Plan) -> None:
        """Make its other namespaces here, while it puts its files together, and let it in."""
        isolate(plan)
        with suppress(*_ENDED):
            self._line.send(_ISOLATED)
            # It may take the kernel a while: ended containers' networks are cleared away first.
            settle(plan)
            self._line.send(_SETTLED)

    def give(self, root: str) -> None:
        """Give it its tree."""
        tree = clone_tree(-1, root)
        with suppress(*_ENDED):
            sockets.send_fds(self._line, [_TREE], [tree])
        os.close(tree)

    def hear(self) -> tuple[int, int]:
        """Wait until it is in its own tree; return its pid on the machine, and its terminal.

        Raises:
            StartError: when it did not come there.
        """
        data, descriptors = _received(self._line)
        said = json.loads(data) if data else {}
        if "pid" not in said:
            raise _trouble(said, _KILLED)
        return said["pid"], descriptors[0] if descriptors else -1

    def wait(self) -> None:
        """Wait until it has become the program.

        Raises:
            StartError: when it did not.
        """
        # The other end is closed by execve(2), or it says what went wrong.
        if data := _received(self._line)[0]:
            raise _trouble(json.loads(data), _KILLED)
        self._line.close()


def _trouble(said: dict[str, Any], otherwise: str) -> StartError:
    return StartError(said.get("error") or otherwise, said.get("code", 125))


def _listen(run: str) -> int:
    """Bind the shim's socket by a descriptor of its folder: its path may be of any length."""
    before = os.umask(0o077)
    os.makedirs(run, exist_ok=True)
    folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with suppress(FileNotFoundError):
        os.unlink(_SOCKET, dir_fd=folder)
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(f"/proc/self/fd/{folder}/{_SOCKET}")
    listener.listen(_WAITING)
    os.close(folder)
    os.umask(before)
    return listener.detach()


def _write_lock(lock: int, pid: int) -> None:
    """Say who holds the lock (see store.liveness)."""
    from layerview.containers.json_log import timestamp

    own = int(os.readlink("/proc/self"))
    text = {
        "shim": own,
        "shim_start": _started(own),
        "pid": pid,
        "pid_start": _started(pid),
        "boot": boot_id(),
        "started": timestamp(),
    }
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(text).encode() + b"\n", 0)


def _started(pid: int) -> int:
    """Return when a process began (proc_pid_stat(5), field 22); it may have ended meanwhile."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


# -- the first process ----------------------------------------------------------------------------


def _be_first(
    plan: Plan, place: str, inside: tuple[int, int, int], line: sockets.socket, keeper: str
) -> NoReturn:
    try:
        pid = int(os.readlink("/proc/self"))
        os.setsid()
        os.umask(0o022)
        unshare(CLONE_NEWNS)
        heard: dict[bytes, list[int]] = {}
        files = rootfs.Files(_await(_TREE, line, heard)[0], place)
        files.mount_proc()
        files.mount_dev()
        _await(_ISOLATED, line, heard)
        join(plan, keeper)
        files.mount_sys(own_network=plan.network != "host")
        files.mount_queues()
        files.hide()
        if plan.tty:
            # Later it would be looked for among the container's files.
            import termios
        terminal = files.open_terminal() if plan.tty else None
        streams = inside
        if terminal is None and not plan.open_stdin:
            streams = (_high(files.open_null()), *inside[1:])
        files.mount_binds(plan.binds)
        files.enter()
        message = json.dumps({"pid": pid}).encode()
        if terminal is not None:
            master, slave = terminal
            sockets.send_fds(line, [message], [master])
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            if plan.rows or plan.columns:
                size = struct.pack("HHHH", plan.rows, plan.columns, 0, 0)
                fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
            streams = (_high(slave),) * 3
        else:
            line.send(message)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        only(0, 1, 2, line.fileno())
        reset_signals()
        user = find(plan.user)
        enter_folder(plan.cwd)
        _await(_SETTLED, line, heard)
        become(user, owned=(0, 1, 2) if plan.tty or plan.open_stdin else (1, 2))
        execute(plan.args, with_home(plan.env, user))
    except BaseException as error:
        with suppress(OSError):
            line.send(_error(error))
    finally:
        os._exit(1)


def _await(wanted: bytes, line: sockets.socket, heard: dict[bytes, list[int]]) -> list[int]:
    """Wait for a message; those that come before it are kept. Return the descriptors with it."""
    while wanted not in heard:
        said, given = _received(line)
        if said not in (_TREE, _ISOLATED, _SETTLED):
            os._exit(1)
        heard[said] = given
    return heard[wanted]


def isolate(plan: Plan) -> None:
    """Enter new namespaces for all but mounts and processes."""
    unshare(sum(_kinds(plan).values()))


def settle(plan: Plan) -> None:
    """Give these namespaces the host name, and a loopback that is up."""
    if plan.hostname:
        try:
            sockets.sethostname(plan.hostname)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise StartError(f"host name {printable(plan.hostname)}: {reason}") from None
    if plan.network != "host":
        with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _kinds(plan: Plan) -> dict[str, int]:
    """Return the kinds of namespaces, but for mounts and processes, that are the container's."""
    return {
        name: flag
        for name, flag in _KINDS.items()
        if (name != "net" or plan.network != "host") and os.path.exists(f"/proc/self/ns/{name}")
    }


def join(plan: Plan, keeper: str) -> None:
    """Enter the keeper's namespaces for all but mounts and processes."""
    for name, flag in _kinds(plan).items():
        fd = os.open(f"/proc/{keeper}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        setns(fd, flag)
        os.close(fd)
