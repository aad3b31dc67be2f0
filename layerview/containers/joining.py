"""How a forked child of the shim becomes a command in the running container."""

from __future__ import annotations

import codecs
import errno
import fcntl
import json
import os
import stat
import struct
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from layerview.containers import privileges, program, sockets, users
from layerview.containers.plan import ExecPlan, StartError
from layerview.drivers.mounts import libc

_NAMESPACES = ("user", "cgroup", "ipc", "uts", "net", "mnt")
"""In the order in which they are entered: after the last one all paths are the container's."""
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_PTMX = os.makedev(5, 2)


def join(asked: dict[str, Any], given: Sequence[int], pid: int, report: sockets.socket) -> NoReturn:
    """Enter a container's namespaces and execute a command there.

    To be called in a process of its own. It says on `report`, a packet each: `pid`, when it has
    gone over to a child; `ready`, its pid on the machine, when all that is left is to execute
    the program; there, its terminal's master comes along. It closes it when it is executed, and
    raises before.

    Args:
        asked: the request; see talk.Shim.exec.
        given: its input, output and errors, where it gets no terminal.
        pid: the container's first process, as the machine counts.
        report: where it says how far it is.

    Raises:
        StartError: when it is not executed.
        OSError: when the kernel refuses something else.
    """
    plan = _plan(asked)
    for fd in given:
        # Through an open folder a container would get out.
        if stat.S_ISDIR(os.fstat(fd).st_mode) or fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH:
            raise StartError("a folder can't be a command's input or output")
    if not os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY:
        # A program in there that is a link to /proc/self/exe, or names it as its interpreter,
        # has ours run inside, where root may open it for writing (CVE-2019-5736).
        raise StartError("the interpreter of layerview is not protected from the container")
    privileges.undumpable()
    program.reset_signals()
    doors = [door for name in _NAMESPACES if (door := _door(pid, name)) >= 0]
    _enter_pids(pid, report)
    own = int(os.readlink("/proc/self"))
    codecs.lookup("unicode_escape")
    # What is imported from here on would be the container's.
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    for door in doors:
        _set_namespace(door)
    _check_root()
    os.setsid()
    master, streams = -1, list(given)
    if plan.tty:
        master, slave = _terminal(plan.rows, plan.columns)
        streams = [slave] * 3
    # None of the three is where another one goes.
    streams = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in streams]
    if master >= 0:
        sockets.send_fds(report, [b'{"terminal":true}'], [master])
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    program.only(0, 1, 2, report.fileno())
    user = users.find(plan.user)
    program.enter_folder(plan.cwd)
    owned = [0] if plan.tty else [fd for fd in range(3) if stat.S_ISFIFO(os.fstat(fd).st_mode)]
    privileges.become(user, owned=owned)
    report.send(json.dumps({"ready": own}).encode())
    program.execute(plan.args, users.with_home(plan.env, user))


def _plan(asked: dict[str, Any]) -> ExecPlan:
    args, env = asked.get("args"), asked.get("env", [])
    cwd, user = asked.get("cwd") or "/", asked.get("user") or ""
    words = [*args, *env, cwd, user] if isinstance(args, list) and isinstance(env, list) else []
    if not args or not words or not all(isinstance(word, str) for word in words):
        raise StartError("the request names no command")
    if not args[0]:
        raise StartError('exec: "": executable file not found in $PATH', 127)
    rows, columns = asked.get("rows") or 0, asked.get("columns") or 0
    if not all(isinstance(n, int) and 0 <= n < 1 << 16 for n in (rows, columns)):
        raise StartError("the request has no size of a terminal")
    return ExecPlan(tuple(args), tuple(env), cwd, user, asked.get("tty") is True, rows, columns)


def _door(pid: int, name: str) -> int:
    """Open a namespace of the container; -1 when we are in it, or there are none of its kind."""
    try:
        if os.stat(f"/proc/{pid}/ns/{name}").st_ino == os.stat(f"/proc/self/ns/{name}").st_ino:
            return -1
        return os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if os.path.exists(f"/proc/self/ns/{name}"):
            raise StartError("the container has ended") from None
        return -1


def _set_namespace(door: int) -> None:
    import ctypes

    if libc().setns(ctypes.c_int(door), ctypes.c_int(0)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "setns")
    os.close(door)


def _check_root() -> None:
    """See to it that a container's files can be read, whoever serves them."""
    try:
        # Of all that asks for the root, this is what the kernel has no answer of its own to.
        os.statvfs("/")
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise
        raise StartError(
            "the server of the container's file system was killed:"
            " layerview restart starts the container, and it, anew"
        ) from None


def _enter_pids(pid: int, report: sockets.socket) -> None:
    """Be in the container's PID namespace, into which only a child is born."""
    door = _door(pid, "pid")
    if door < 0:
        return
    _set_namespace(door)
    child = os.fork()
    if child:
        with suppress(OSError):
            report.send(json.dumps({"pid": child}).encode())
        os._exit(0)


def _terminal(rows: int, columns: int) -> tuple[int, int]:
    """Make a terminal of the container's own, and make it this session's; return both ends."""
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if os.fstat(master).st_rdev != _PTMX:
            raise FileNotFoundError
    except OSError:
        raise StartError("the container has no /dev/pts to make a terminal in") from None
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0" * 4)
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    if rows and columns:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return master, slave
