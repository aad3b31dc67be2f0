"""The kernel's calls that Python does not have: detached mounts, pivot_root, prctl."""

from __future__ import annotations

import ctypes
import errno
import os

from layerview.drivers.mounts import MNT_DETACH, libc, mount

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
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_FLAGS_KEPT = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME


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


def prctl(option: int, second: int = 0, third: int = 0) -> None:
    """Call prctl(2).

    Raises:
        OSError: as prctl(2) has it.
    """
    words = map(ctypes.c_ulong, (second, third, 0, 0))
    if libc().prctl(ctypes.c_int(option), *words) < 0:
        raise _failed("prctl")


def clone_tree(folder: int, name: str = "", *, recursive: bool = False) -> int:
    """Return a mount of its own of what is at a place, not attached to anything yet.

    Args:
        folder: a descriptor; not looked at where `name` is absolute.
        name: what in it, not following a link; "" for itself.
        recursive: with all that is mounted below.

    Raises:
        OSError: as open_tree(2) has it; ENOSYS before Linux 5.2.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_SYMLINK_NOFOLLOW
    flags |= (0 if name else _AT_EMPTY_PATH) | (_AT_RECURSIVE if recursive else 0)
    path = ctypes.c_char_p(os.fsencode(name))
    fd: int = libc().syscall(_SYS_OPEN_TREE, ctypes.c_int(folder), path, ctypes.c_uint(flags))
    if fd < 0:
        raise _failed(name)
    return fd


def attach(tree: int, place: int, name: str = "") -> None:
    """Attach a mount that clone_tree gave; its descriptor leads to it from then on.

    Args:
        tree: the mount.
        place: a descriptor of what to mount on, or of its folder.
        name: what in that folder.

    Raises:
        OSError: as move_mount(2) has it.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if name else _MOVE_MOUNT_T_EMPTY_PATH)
    done = libc().syscall(
        _SYS_MOVE_MOUNT,
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_int(place),
        ctypes.c_char_p(os.fsencode(name)),
        ctypes.c_uint(flags),
    )
    if done < 0:
        raise _failed(name)


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
