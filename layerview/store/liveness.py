"""Whether a container lives: its keeper holds a lock on a file for as long as it does.

With the keeper (the shim, first of a PID namespace) every process of the container ends, so that
whoever can take the lock knows that nothing of it is left, whatever config.v2.json says.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from layerview.records import Record
from layerview.store.locks import flock, live_engine
from layerview.times import rfc3339

LOCK = "layerview.lock"
"""The file in containers/ID."""
NEVER = "0001-01-01T00:00:00Z"
"""Go's word for no time at all."""
KILLED, REBOOTED = 137, 255
"""Exit codes of what was killed, and of what ended with the machine."""
_MOST = 4096
_LAST_MOMENT = 10.0
"""Seconds that the kernel has to end a killed keeper's container."""
_TRIES = 20
"""Attempts to take a lock at least, however slow the machine is."""


class Holder(Record):
    """What a lock's file says of who holds it, or held it last."""

    shim: int
    shim_start: int
    """Field 22 of /proc/PID/stat: of two processes with the same number only one has it."""
    pid: int
    """The container's first process, as the machine counts."""
    pid_start: int
    boot: str
    """/proc/sys/kernel/random/boot_id of then."""
    started: str
    """RFC 3339."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder | None:
        """Read a lock's text; None where it says nothing."""
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict):
            return None
        numbers = [said.get(key) for key in ("shim", "shim_start", "pid", "pid_start")]
        texts = [said.get(key) for key in ("boot", "started")]
        if not all(type(number) is int for number in numbers):
            return None
        if not all(isinstance(text, str) for text in texts):
            return None
        return cls(*numbers, *texts)  # type: ignore[arg-type]

    @property
    def shim_lives(self) -> bool:
        """Whether the keeper that is named is a process still."""
        return self.boot == boot_id() and start_time(self.shim) == self.shim_start


def boot_id() -> str:
    """Return what tells this run of the machine from all others."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's start; None: there is none.

    A process that has ended and waits for its parent is none.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read(_MOST).rpartition(b")")[2].split()
    except OSError:
        return None
    return None if words[0] in (b"Z", b"X") else int(words[19])


def is_ending(pid: int) -> bool:
    """Whether a process was killed or has ended, and the kernel is not done with it yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read(_MOST).rpartition(b")")[2].split()
    except OSError:
        return False
    return bool(int(words[6]) & 4)  # PF_EXITING (linux/sched.h)


def kill(pid: int, start: int, number: int = 9) -> None:
    """Kill a process, or send it another signal, if it began then; see `start_time`."""
    import signal

    with suppress(ProcessLookupError, PermissionError):
        pidfd = os.pidfd_open(pid)
        try:
            if start_time(pid) == start:
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def look(fd: int) -> tuple[bool, Holder | None, float]:
    """Say of an open lock's file whether it is held, by whom, and when it was last written.

    The look takes the lock, shared, for an instant: see `take`.
    """
    held = not flock(fd, fcntl.LOCK_SH)
    if not held:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return held, Holder.from_bytes(os.pread(fd, _MOST, 0)), os.fstat(fd).st_mtime


def take(path: str, patience: float) -> int | None:
    """Take a container's lock; None when it lives.

    Args:
        path: of the file; made where it is not there.
        patience: seconds of waiting where it is held and yet nobody seems to live: by a look, by
            who is about to start or remove the container, by a keeper on its way out.

    Returns:
        The descriptor, which is the caller's.

    Raises:
        OSError: when the file can't be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        end, pause, tries = time.monotonic() + patience, 0.0005, 0
        while not flock(fd, fcntl.LOCK_EX):
            tries += 1
            # On a busy machine the time may be over before much was tried.
            if time.monotonic() > end and tries > _TRIES:
                os.close(fd)
                return None
            time.sleep(pause)
            pause = min(pause * 2, 0.01)
        if not _has_vanished(Holder.from_bytes(os.pread(fd, _MOST, 0))):
            os.close(fd)
            return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _has_vanished(holder: Holder | None) -> bool:
    """Wait until the processes of a killed keeper's container have ended; whether they have.

    The kernel closes what the first process of a PID namespace had open, its locks with it, a
    moment before it ends the others there.
    """
    if holder is None or holder.boot != boot_id():
        return True
    end, pause = time.monotonic() + _LAST_MOMENT, 0.0005
    while start_time(holder.pid) == holder.pid_start:
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.01)
    return True


def true_state(
    state: Mapping[str, object],
    *,
    held: bool,
    holder: Holder | None,
    written: float,
    lost: Callable[[int], bool],
) -> dict[str, object]:
    """Put right what a container's State says by what its lock says.

    Args:
        state: as config.v2.json has it.
        held: whether the lock is held.
        holder: what is written in it.
        written: seconds since 1970 when something was last heard of the container.
        lost: whether a first process that is not ours is gone, and its engine too.
    """
    found = dict(state)
    running = found.get("Running") is True
    if holder is None or (running and found.get("Pid") != holder.pid):
        # Never started by us, or about to be; or an engine has it, or had it.
        pid = found.get("Pid")
        if running and not held and isinstance(pid, int) and pid > 0 and lost(pid):
            return found | stopped(REBOOTED, _time(int(written * 1e9)))
        return found
    ended = not running and moment(found.get("FinishedAt")) >= moment(holder.started)
    if ended:
        # The keeper has said how; who started it may not have come to say when.
        if moment(found.get("StartedAt")) < moment(holder.started):
            found["StartedAt"] = holder.started
        return found
    if not running:
        found |= {"StartedAt": holder.started, "OOMKilled": False, "Dead": False, "Error": ""}
    if held:
        return found | {"Running": True, "Pid": holder.pid, "ExitCode": 0}
    code = KILLED if holder.boot == boot_id() else REBOOTED
    return found | stopped(code, _time(int(written * 1e9)))


def is_lost(root: str, id: str, pid: int) -> bool:
    """Whether an engine that had a container is gone, and the container's first process too.

    Args:
        root: the data root.
        id: the container's ID.
        pid: of the process, as the engine counted.
    """
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            if id.encode() in file.read(1 << 16):
                return False
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return live_engine(root) is None


def stopped(code: int, when: str) -> dict[str, object]:
    """Return what a State says of a container that has ended."""
    return {
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "Pid": 0,
        "ExitCode": code,
        "FinishedAt": when,
    }


def now() -> str:
    """Return the time, as Docker writes it."""
    return _time(time.time_ns())


def _time(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    return rfc3339(seconds, fraction << 4 | 9) or NEVER


def moment(text: object) -> str:
    """Return a time of Docker's, always in UTC, in a form whose order is that of time."""
    if not isinstance(text, str):
        return ""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}"


def last_heard(folder: str, id: str, started: float) -> float:
    """Return when a container last wrote something, in seconds since 1970.

    Args:
        folder: the container's.
        id: its ID.
        started: when its lock was written; 0 where it has none.
    """
    found = started
    for name in (f"{id}-json.log",) if started else (f"{id}-json.log", "config.v2.json"):
        with suppress(OSError):
            found = max(found, os.lstat(os.path.join(folder, name)).st_mtime)
    return found


def read(path: str) -> tuple[bool, Holder | None, float] | None:
    """Look at a container's lock by its path; None where there is none, or it may not be read."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return look(fd)
        finally:
            os.close(fd)
    return None
