"""Starting a container: three processes, one in the other's care.

`launch` forks, and the child forks the keeper, the first process of a PID namespace A in a mount
namespace of its own, where it mounts the container's tree. Whatever ends the keeper ends all in A,
and its mounts go with their namespace. The keeper forks the container's first process, process 1
of a PID namespace B inside of A, which puts its files together, gives up what a container has not
got, and executes the program. Then the keeper becomes the shim (see shim.py).
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from layerview.containers import rootfs, seccomp, shim
from layerview.containers.calls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
)
from layerview.containers.plan import Plan, Started, StartError
from layerview.containers.privileges import become
from layerview.containers.program import enter_folder, execute, only, reset_signals
from layerview.containers.users import find, with_home
from layerview.drivers.mounts import MS_REC, MS_SLAVE, mount, unshare
from layerview.errors import LayerviewError
from layerview.store.liveness import boot_id

if TYPE_CHECKING:
    from layerview.drivers.base import Driver

_SOCKET = "shim"
_WAITING = 64
"""Clients that may wait for the shim to look."""
_MOST = 1 << 16
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def launch(
    plan: Plan, driver: Driver, *, lock: int, keep: Sequence[int] = (), client: int = -1
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

    Raises:
        StartError: when it was not started; nothing of the attempt is left.
    """
    begun = time.perf_counter_ns()
    made = _make_folder(plan.run)
    heard, tell = os.pipe2(os.O_CLOEXEC)
    keeper = 0
    # A signal that comes between two forks would be handled by the wrong process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with os.fdopen(heard, "rb", 0) as words:
            try:
                child = os.fork()
                if child == 0:
                    _leave_behind(plan, driver, lock, keep, client, tell)
            finally:
                os.close(tell)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
            keeper, said = _first_line(words.read(_MOST))
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            while piece := words.read(_MOST):
                said += piece
        answer = json.loads(said) if said else {}
        if "pid" not in answer:
            raise StartError(
                answer.get("error") or "the container's keeper was killed while it started",
                answer.get("code", 125),
            )
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _take_back(plan.run, made, lock, keeper)
        raise
    notes = []
    if seccomp.program(os.uname().machine) is None:
        notes.append("no seccomp filter: this machine's kinds of calls are not known")
    return Started(answer["pid"], keeper, time.perf_counter_ns() - begun, notes)


def _first_line(said: bytes) -> tuple[int, bytes]:
    number, _, rest = said.partition(b"\n")
    return int(number or 0), rest


def _make_folder(path: str) -> bool:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    except FileNotFoundError:
        os.makedirs(path, 0o700)
    return True


def _take_back(run: str, made: bool, lock: int, keeper: int) -> None:
    """End what was begun, wait until it has ended, and leave nothing of it."""
    if keeper:
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(keeper)
            try:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(ended, signal.SIGKILL)
                select.select([ended], [], [])
            finally:
                os.close(ended)
    os.ftruncate(lock, 0)
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(run, _SOCKET))
    if made:
        with suppress(OSError):
            os.rmdir(run)


# -- the keeper -----------------------------------------------------------------------------------


def _leave_behind(
    plan: Plan, driver: Driver, lock: int, keep: Sequence[int], client: int, tell: int
) -> NoReturn:
    """Fork the keeper and end, so that it is nobody's child."""
    try:
        gc.disable()
        os.setsid()
        unshare(CLONE_NEWPID | CLONE_NEWNS)
        if os.fork():
            os._exit(0)
        _keep(plan, driver, lock, keep, client, tell)
    except BaseException as error:
        _say_error(tell, error)
    finally:
        os._exit(1)


def _say_error(tell: int, error: BaseException) -> None:
    with suppress(OSError):
        os.write(tell, _error(error, b"0\n"))


def _error(error: BaseException, before: bytes = b"") -> bytes:
    code = error.code if isinstance(error, StartError) else 125
    if isinstance(error, LayerviewError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"the container was not started: {error.strerror or error}"
        if error.filename:
            text += f" ({os.fsdecode(error.filename)})"
    else:
        text = f"the container was not started: {error!r}"
    return before + json.dumps({"error": text, "code": code}).encode()


def _keep(
    plan: Plan, driver: Driver, lock: int, keep: Sequence[int], client: int, tell: int
) -> NoReturn:
    try:
        own = int(os.readlink("/proc/self"))
        os.write(tell, b"%d\n" % own)
        state = _start(plan, driver, lock, keep, client, tell, own)
    except BaseException as error:
        with suppress(OSError):
            os.write(tell, _error(error))
        os._exit(1)
    shim.keep(state)


def _high(fd: int) -> int:
    """Return a descriptor out of the way of 0, 1 and 2."""
    return fd if fd < 0 or fd > 2 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _start(
    plan: Plan,
    driver: Driver,
    lock: int,
    keep: Sequence[int],
    client: int,
    tell: int,
    own: int,
) -> dict[str, object]:
    """Start the first process; return what the shim has to know."""
    lock, client, tell = _high(lock), _high(client), _high(tell)
    kept = [lock, *map(_high, keep)]
    only(*kept, client, tell)
    os.open("/dev/null", os.O_RDWR)
    for fd in (1, 2):
        os.dup2(0, fd)
    os.chdir("/")
    reset_signals()
    mount("none", "/", "", MS_REC | MS_SLAVE)
    # Never left: the mount ends with this process's namespace.
    tree = driver.mounted(plan.mount_id, volatile=plan.volatile)
    root = tree.__enter__()
    kept += driver.descriptors(plan.mount_id)
    inside, outside = _streams(plan)
    if plan.runtime != "layerview":
        init, pid, master = _by_runtime(plan, root, inside)
    else:
        init, pid, master = _own(plan, root, inside, outside)
    for fd in inside:
        if fd > 2:
            os.close(fd)
    listener = _listen(plan.run)
    _write_lock(lock, own, pid)
    os.write(tell, json.dumps({"pid": pid}).encode())
    os.close(tell)
    _held.append(tree)
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
    }


_held: list[object] = []
"""What must not be collected, since that would end its context."""


def _streams(plan: Plan) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Make the pipes of a container without a terminal: its own ends, and the shim's."""
    if plan.tty:
        return (-1, -1, -1), (-1, -1, -1)
    stdin, feed = os.pipe2(os.O_CLOEXEC) if plan.open_stdin else (0, -1)
    out, stdout = os.pipe2(os.O_CLOEXEC)
    err, stderr = os.pipe2(os.O_CLOEXEC)
    return (stdin, stdout, stderr), (feed, out, err)


def _by_runtime(plan: Plan, root: str, inside: tuple[int, int, int]) -> tuple[int, int, int]:
    from layerview.containers.by_runtime import start_by_runtime

    stdin, stdout, stderr = inside
    started = start_by_runtime(plan, root, stdin=stdin, stdout=stdout, stderr=stderr)
    return started.init, started.pid, started.master


def _own(
    plan: Plan, root: str, inside: tuple[int, int, int], outside: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Fork the first process; return its pid here and on the machine, and its terminal."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    unshare(CLONE_NEWPID)
    init = os.fork()
    if init == 0:
        _be_first(plan, root, inside, there)
    there.close()
    master = -1
    with here:
        data, descriptors, _, _ = socket.recv_fds(here, _MOST, 1)
        if descriptors:
            master = descriptors[0]
            os.set_inheritable(master, False)
        said = json.loads(data) if data else {}
        # The other end is closed by execve(2), or it says what went wrong.
        if "pid" in said and (data := here.recv(_MOST)):
            said = json.loads(data)
    if "pid" not in said:
        raise StartError(
            said.get("error") or "the container's first process was killed while it started",
            said.get("code", 125),
        )
    return init, said["pid"], master


def _listen(run: str) -> int:
    """Bind the shim's socket by a descriptor of its folder: its path may be of any length."""
    folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            os.unlink(_SOCKET, dir_fd=folder)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o077)
        listener.bind(f"/proc/self/fd/{folder}/{_SOCKET}")
        os.umask(before)
        listener.listen(_WAITING)
        return listener.detach()
    finally:
        os.close(folder)


def _write_lock(lock: int, own: int, pid: int) -> None:
    """Say who holds the lock (see store.liveness)."""
    text = {
        "shim": own,
        "shim_start": _started(own),
        "pid": pid,
        "pid_start": _started(pid),
        "boot": boot_id(),
        "started": shim.timestamp(),
    }
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(text).encode() + b"\n", 0)


def _started(pid: int) -> int:
    """Return when a process began (proc_pid_stat(5), field 22); it may have ended meanwhile."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


# -- the first process ----------------------------------------------------------------------------


def _be_first(
    plan: Plan, root: str, inside: tuple[int, int, int], report: socket.socket
) -> NoReturn:
    try:
        pid = int(os.readlink("/proc/self"))
        _isolate(plan)
        terminal = rootfs.enter(
            root, plan.binds, own_network=plan.network != "host", terminal=plan.tty
        )
        streams = inside
        message = json.dumps({"pid": pid}).encode()
        if terminal is not None:
            master, slave = terminal
            socket.send_fds(report, [message], [master])
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            if plan.rows or plan.columns:
                size = struct.pack("HHHH", plan.rows, plan.columns, 0, 0)
                fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
            streams = (slave, slave, slave)
        else:
            report.send(message)
        for number, fd in enumerate(streams):
            if fd != number:
                os.dup2(fd, number)
        os.set_inheritable(0, True)
        only(0, 1, 2, report.fileno())
        user = find(plan.user)
        enter_folder(plan.cwd)
        owned = (0, 1, 2) if plan.tty or plan.open_stdin else (1, 2)
        become(user, owned=owned)
        execute(plan.args, with_home(plan.env, user))
    except BaseException as error:
        with suppress(OSError):
            report.send(_error(error))
    finally:
        os._exit(1)


def _isolate(plan: Plan) -> None:
    """Leave the machine's namespaces for new ones."""
    os.setsid()
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC
    if plan.network != "host":
        flags |= CLONE_NEWNET
    if os.path.exists("/proc/self/ns/cgroup"):
        flags |= CLONE_NEWCGROUP
    unshare(flags)
    if plan.hostname:
        socket.sethostname(plan.hostname)
    if plan.network != "host":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
