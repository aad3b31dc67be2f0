"""Making FUSE mounts by the kernel's own calls, attached nowhere yet."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from functools import cache

# The numbers of the new mount calls are the same on every architecture (Linux 5.2 and later).
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_CLOEXEC = 1
_SET_FLAG = 0
_SET_STRING = 1
_CREATE = 6

DEVICE = "/dev/fuse"
NAME = "layerview"
"""What stands in front of the mount point in /proc/mounts."""
MAX_DATA = 1 << 20
"""Bytes of a file that one request carries at most."""


@cache
def libc() -> ctypes.CDLL:
    """The C library, whose errors are found with ctypes.get_errno()."""
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """Return what a call returned.

    Raises:
        OSError: when that says that it failed.
    """
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def open_device() -> int:
    """Open a new connection to the kernel's FUSE.

    Raises:
        OSError: as open(2) has it.
    """
    return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)


def make_tree(connection: int) -> int:
    """Make a FUSE mount that is mounted nowhere; its root is a folder.

    Args:
        connection: what open_device gave, from this user namespace.

    Returns:
        A descriptor of the mount, the caller's to close; without it, and attached nowhere, the
        mount ends.

    Raises:
        OSError: as fsopen(2), fsconfig(2) and fsmount(2) have it.
    """
    call = libc().syscall
    made = checked(
        call(_SYS_FSOPEN, ctypes.c_char_p(b"fuse"), ctypes.c_uint(_CLOEXEC)),
        "fsopen",
    )
    try:

        def tell(command: int, key: bytes | None, value: bytes | None = None) -> None:
            checked(
                call(
                    _SYS_FSCONFIG,
                    ctypes.c_int(made),
                    ctypes.c_uint(command),
                    ctypes.c_char_p(key),
                    ctypes.c_char_p(value),
                    ctypes.c_int(0),
                ),
                "fsconfig",
            )

        tell(_SET_STRING, b"source", NAME.encode())
        with suppress(OSError):
            tell(_SET_STRING, b"subtype", b"layerview")
        tell(_SET_STRING, b"fd", b"%d" % connection)
        tell(_SET_STRING, b"rootmode", b"40000")
        tell(_SET_STRING, b"user_id", b"%d" % os.geteuid())
        tell(_SET_STRING, b"group_id", b"%d" % os.getegid())
        tell(_SET_STRING, b"max_read", b"%d" % MAX_DATA)
        tell(_SET_FLAG, b"default_permissions")
        tell(_SET_FLAG, b"allow_other")
        tell(_CREATE, None)
        return checked(
            call(_SYS_FSMOUNT, ctypes.c_int(made), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(0)),
            "fsmount",
        )
    finally:
        os.close(made)


def can_mount() -> str | None:
    """Try to make a FUSE mount here.

    Returns:
        None where that works; else the reason, with what helps, for people.
    """
    try:
        connection = open_device()
    except FileNotFoundError:
        return f"there is no {DEVICE}; load the kernel's module (modprobe fuse), or give the device"
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"{DEVICE} is not for this user; chmod 666 {DEVICE}, as udev has it, or be root"
        if error.errno in (errno.ENODEV, errno.ENXIO):
            return "this kernel has no FUSE; load its module (modprobe fuse)"
        return f"{DEVICE} can't be opened: {(error.strerror or str(error)).lower()}"
    try:
        os.close(make_tree(connection))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return "this kernel or sandbox has no fsopen(2); it came with Linux 5.2"
        if error.errno == errno.ENODEV:
            return "this kernel has no FUSE; load its module (modprobe fuse)"
        if error.errno == errno.EPERM:
            return "FUSE mounts are not permitted here; be root, if only of a user namespace"
        return f"a FUSE mount failed: {(error.strerror or str(error)).lower()}"
    finally:
        os.close(connection)
    return None
