"""What a container's process may do: its user, Docker's default capabilities, a seccomp filter."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import suppress

from layerview.containers.calls import prctl
from layerview.containers.plan import StartError
from layerview.containers.seccomp import install
from layerview.containers.users import User
from layerview.drivers.mounts import libc

KEPT = (
    0,  # chown
    1,  # dac_override
    3,  # fowner
    4,  # fsetid
    5,  # kill
    6,  # setgid
    7,  # setuid
    8,  # setpcap
    10,  # net_bind_service
    13,  # net_raw
    18,  # sys_chroot
    27,  # mknod
    29,  # audit_write
    31,  # setfcap
)
"""The capabilities that root has in a container, as in Docker (capabilities(7))."""

_LAST = 63
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION = 0x20080522
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
_JOIN_SESSION_KEYRING = 1


def undumpable() -> None:
    """Keep this process's memory, files and executable from all others that are not over it.

    Raises:
        OSError: as prctl(2) has it.
    """
    prctl(_PR_SET_DUMPABLE, 0)


def become(user: User, *, owned: Sequence[int] = ()) -> bool:
    """Give up everything that a container's process has not got. Then only execve is to come.

    Args:
        user: whom to become, by IDs of this user namespace.
        owned: descriptors of pipes and terminals that are given to the user, who may open them
            anew as /dev/stdout.

    Returns:
        Whether there is a seccomp filter for this machine.

    Raises:
        StartError: when the user has no ID here.
        OSError: when the kernel refuses something else.
    """
    leave_keyring()
    filtered = install()
    for fd in owned:
        with suppress(OSError):
            os.fchown(fd, user.uid, -1)
    _bound()
    _set_ids(user)
    kept = sum(1 << number for number in KEPT) if user.uid == 0 else 0
    _set_capabilities(kept)
    undumpable()
    return filtered


def leave_keyring() -> None:
    """Join a new session keyring, where there is room for one."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        libc().syscall(number, ctypes.c_int(_JOIN_SESSION_KEYRING), ctypes.c_char_p(None))


def _bound() -> None:
    for number in range(_LAST + 1):
        if number not in KEPT:
            try:
                prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    # The kernel's last one is behind us.
                    break
                raise
    with suppress(OSError):
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def _set_ids(user: User) -> None:
    try:
        try:
            os.setgroups(user.groups)
        except PermissionError:
            # Without ranges of group IDs a user namespace may not: they stay without effect.
            if user.uid or user.gid:
                raise
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise no_ids(user) from None


def no_ids(user: User) -> StartError:
    """Return the error of a user whom no ID outside stands for, with what helps."""
    return StartError(
        f"user {user.uid} and group {user.gid} of the container have no IDs here: give your"
        " user ranges in /etc/subuid and /etc/subgid (and newuidmap), or run it with -u 0"
    )


def _set_capabilities(kept: int) -> None:
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    # effective, permitted and inheritable, the low halves first.
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if libc().capset(ctypes.byref(header), ctypes.byref(data)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "capset")
