"""The kernel's calls that Python does not have: detached mounts, pivot_root, prctl."""

from __future__ import annotations

import ctypes
import errno
import os

from layerview.drivers.mounts import MNT_DETACH, libc, mount
from layerview.drivers.mounts import attach as attach
from layerview.drivers.mounts import clone_tree as clone_tree

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_PRIVATE = 1 << 18
MS_STRICTATIME = 1 << 24

OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# The numbers of the new mount calls are the same on every architecture.
_SYS_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_FLAGS_KEPT = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME


_SYS_CLONE3 = 435
_CLONE_PIDFD = 0x1000
_CLONE_CHILD_CLEARTID = 0x200000
_CLONE_CHILD_SETTID = 0x1000000
_PR_GET_TID_ADDRESS = 40


class _CloneArguments(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid"),
            *("exit_signal", "stack", "stack_size", "tls"),
        )
    )


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _failed(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), what)


_NONE = ctypes.c_ulong(0)


def prctl(option: int, second: int = 0, third: int = 0) -> None:
    """Call prctl(2).

    Raises:
        OSError: as prctl(2) has it.
    """
    if libc().prctl(option, ctypes.c_ulong(second), ctypes.c_ulong(third), _NONE, _NONE) < 0:
        raise _failed("prctl")


def setns(fd: int, kind: int) -> None:
    """Call setns(2).

    Raises:
        OSError: as setns(2) has it.
    """
    if libc().setns(ctypes.c_int(fd), ctypes.c_int(kind)) < 0:
        raise _failed("setns")


def restrict(tree: int, flags: int, *, recursive: bool = False) -> bool:
    """Add flags (MS_RDONLY, MS_NODEV, ...) to a mount; its others stay.

    Args:
        tree: the mount.
        flags: to add.
        recursive: to all below as well.

    Returns:
        Whether it is done; if not (before Linux 5.12), `restrict_attached` does it once the mount
        is attached.

    Raises:
        OSError: as mount_setattr(2) has it.
    """
    # MOUNT_ATTR_* of these four are the same numbers as MS_*.
    attributes = _MountAttributes(flags, 0, 0, 0)
    done = libc().syscall(
        _SYS_MOUNT_SETATTR,
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    if done < 0:
        if ctypes.get_errno() == errno.ENOSYS:
            return False
        raise _failed("mount_setattr")
    return True


def restrict_attached(place: str, flags: int) -> None:
    """Add flags to the mount at a path by mount(2).

    Raises:
        OSError: as mount(2) has it.
    """
    had = os.statvfs(place).f_flag & _FLAGS_KEPT
    mount("none", place, "", MS_REMOUNT | MS_BIND | had | flags)


def pivot_root(root: int) -> None:
    """Make a mount's root this process's `/` and let go of all that is mounted outside of it.

    Raises:
        OSError: as pivot_root(2) has it.
    """
    os.fchdir(root)
    dot = ctypes.c_char_p(b".")
    if libc().pivot_root(dot, dot) < 0:
        raise _failed("pivot_root")
    # The old root lies on top of the new one now.
    if libc().umount2(dot, MNT_DETACH) < 0:
        raise _failed("umount2")
    os.chdir("/")


def fork_into(namespaces: int) -> tuple[int, int]:
    """Fork a child that is in new namespaces from its first instruction on (clone3(2)).

    It tells nobody when it ends, unless it has executed a program: `waitpid` needs `WAIT_ALL`.

    Returns:
        0 in the child; else its pid, and a descriptor of it, which is close-on-exec.

    Raises:
        OSError: as clone3(2) has it; also before Linux 5.3, and in a sandbox without the call.
    """
    # Where the C library keeps the thread's own number: it is to be the child's in the child.
    tid = ctypes.c_void_p()
    prctl(_PR_GET_TID_ADDRESS, ctypes.addressof(tid))
    pidfd = ctypes.c_int(-1)
    flags = namespaces | _CLONE_PIDFD | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
    words = _CloneArguments(flags, ctypes.addressof(pidfd), tid.value or 0, 0, 0, 0, 0, 0)
    # As PyDLL does not let go of the interpreter, nothing of it moves meanwhile.
    call, python = ctypes.PyDLL(None, use_errno=True).syscall, ctypes.pythonapi
    size = ctypes.c_size_t(ctypes.sizeof(words))
    place = ctypes.byref(words)
    python.PyOS_BeforeFork()
    pid: int = call(_SYS_CLONE3, place, size)
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0, -1
    code = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, os.strerror(code), "clone3")
    return pid, pidfd.value


WAIT_ALL = 0x40000000
"""An option of waitpid: also children that tell nobody when they end (__WALL)."""
