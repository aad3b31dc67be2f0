"""What the shim asks of the kernel for itself: descriptors, signals, mounts, namespaces.

The shim holds this module for as long as a container runs: it imports nothing heavy.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import signal
from contextlib import suppress

_TIOCGPTPEER = 0x5441
_CLONE_NEWPID = 0x20000000
_MNT_DETACH = 2
_MS_BIND = 0x1000
_MS_REMOUNT = 0x20


def set_signals(action: signal.Handlers) -> None:
    """Ignore all signals that can be ignored, or have them do what they do by themselves.

    Not that of children's ends: ignored for an instant, it takes an exit status with it.
    """
    for number in {*range(1, signal.NSIG)} - {signal.SIGCHLD}:
        with suppress(OSError, ValueError):
            signal.signal(number, action)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def wake_up() -> int:
    """Return a descriptor that can be read whenever a child has ended."""
    signal.signal(signal.SIGCHLD, lambda number, stack: None)
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def close_others(kept: set[int]) -> None:
    """Close all descriptors but 0, 1, 2 and these, and what `wake_up` needs."""
    wake = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    start = 3
    for fd in sorted({*kept, wake} - {-1, 0, 1, 2}):
        os.closerange(start, fd)
        start = fd + 1
    highest = max(map(int, os.listdir("/proc/self/fd")), default=1 << 16)
    os.closerange(start, highest + 1)


def other_side(master: int) -> int:
    """Open a terminal's other side: as long as somebody has it, the master does not fail."""
    try:
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        return fcntl.ioctl(master, _TIOCGPTPEER, flags) if master >= 0 else -1
    except OSError:
        return -1  # before Linux 4.13


def protect_interpreter() -> None:
    """Have the interpreter on a mount in this namespace that nobody can write on.

    What the shim forks has it as /proc/self/exe inside of the container for a moment. That it is
    executed keeps others from writing to it (ETXTBSY), but not on Linux 6.11 and 6.12.

    Raises:
        OSError: as mount(2) has it.
    """
    from layerview.drivers.mounts import mount

    place = os.readlink("/proc/self/exe")
    mount(place, place, "", _MS_BIND)
    had = os.statvfs(place).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    mount("none", place, "", _MS_BIND | _MS_REMOUNT | os.ST_RDONLY | had)


def leave(root: str) -> None:
    """Take off the mounts in an area, and have new processes in this process's PID namespace.

    Raises:
        OSError: when /proc can't be read.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    libc.setns(own, _CLONE_NEWPID)
    base = os.fsencode(root).rstrip(b"/") + b"/"
    with open("/proc/self/mountinfo", "rb") as file:
        places = [codecs.escape_decode(line.split(b" ", 5)[4])[0] for line in file]
    for place in reversed(places):
        if place.startswith(base):
            libc.umount2(ctypes.c_char_p(place), _MNT_DETACH)
