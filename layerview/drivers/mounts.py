"""Mounting and unmounting through the kernel's own calls: overlayfs, however many layers."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache

MAX_LOWERS = 500
"""Layers below the top one that kernel overlayfs takes (OVL_MAX_STACK)."""

MS_REC = 0x4000
MS_SLAVE = 1 << 19

_INITIAL = 0xEFFFFFFD
"""The inode of the first user namespace (PROC_USER_INIT_INO, include/linux/proc_ns.h)."""
MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_CLONE_FS = 0x200

# The numbers of the new mount calls are the same on every architecture (Linux 5.2 and later).
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_SET_FLAG = 0
_SET_STRING = 1
_SET_FD = 5
_CREATE = 6
_OPEN_TREE_CLONE = 1
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40

_OPEN_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@cache
def libc() -> ctypes.CDLL:
    """The C library, whose errors are found with ctypes.get_errno()."""
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Call mount(2).

    Raises:
        OSError: as mount(2) has it, with the target.
    """
    _checked(
        libc().mount(
            os.fsencode(source),
            os.fsencode(target),
            os.fsencode(kind),
            ctypes.c_ulong(flags),
            ctypes.c_char_p(os.fsencode(data)),
        ),
        target,
    )


def detach(target: str) -> bool:
    """Take the topmost mount off a path, now or once nobody uses it; say whether there was one.

    Raises:
        OSError: as umount2(2) has it, but for what is no mount point.
    """
    try:
        _checked(libc().umount2(os.fsencode(target), MNT_DETACH | _UMOUNT_NOFOLLOW), target)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    return True


def unshare(flags: int) -> None:
    """Call unshare(2), which Python has from 3.12 on only.

    Raises:
        OSError: as unshare(2) has it.
    """
    _checked(libc().unshare(ctypes.c_int(flags)), "")


def is_initial() -> bool:
    """Whether this process is in the machine's first user namespace."""
    try:
        return os.stat("/proc/self/ns/user").st_ino == _INITIAL
    except OSError:
        return True


def mount_points(folder: str) -> list[str]:
    """Return what is mounted on a folder (a real path) or below it in this mount namespace."""
    base = os.fsencode(folder)
    try:
        with open("/proc/self/mountinfo", "rb", 0) as file:
            data = file.read()
    except OSError:
        return []
    if b" " + base not in data and not any(char in base for char in b" \t\n\\"):
        return []  # nearly always: then no line need be taken apart
    found = []
    for line in filter(None, data.split(b"\n")):
        place = unescaped(line.split(b" ", 5)[4])
        if place == base or place.startswith(base.rstrip(b"/") + b"/"):
            found.append(os.fsdecode(place))
    return found


def unescaped(word: bytes) -> bytes:
    """Undo the kernel's octal escapes of blanks and backslashes (proc_pid_mountinfo(5))."""
    if b"\\" not in word:
        return word
    first, *parts = word.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts)


def overlay_parameter(name: str) -> str | None:
    """Return a parameter of the overlay module (`Y`, `N`), None where there is no such one."""
    try:
        with open(f"/sys/module/overlay/parameters/{name}") as file:
            return file.read(16).strip()
    except OSError:
        return None


def mount_overlay(
    home: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    target: str,
    *,
    user: bool = False,
    volatile: bool = False,
) -> None:
    """Mount an overlay of folders; all names are relative to `home`.

    The plain mount(2) takes a page of text, in which colons and commas part the names: where that
    does not do, the new mount calls take each folder by its descriptor; where the kernel has not
    got these, short names relative to `home` do, as Docker has it.

    Args:
        home: an absolute path.
        lowers: nearest first; at least two without `upper`.
        upper: the folder that is written to; None for a view that is only read.
        work: overlayfs's own folder beside `upper`.
        target: the folder to mount on.
        user: keep the marks in `user.overlay.*` attributes, as in a user namespace.
        volatile: let nothing wait for the disk (where the kernel can: since Linux 5.10).

    Raises:
        OSError: as mount(2) has it.
    """
    options = overlay_options(user)
    if volatile:
        try:
            _mount_overlay(home, lowers, upper, work, target, [*options, "volatile"])
            return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    _mount_overlay(home, lowers, upper, work, target, options)


def overlay_options(user: bool) -> list[str]:
    """Return the options of every overlay; see mount_overlay."""
    options = []
    if overlay_parameter("index") is not None:
        # An index ties a layer to file handles, which do not survive a copy of the area.
        options.append("index=off")
    if user:
        options.append("userxattr")
    return options


def _mount_overlay(
    home: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    target: str,
    options: Sequence[str],
) -> None:
    place = (home, lowers, upper, work, target, options)
    if not any(mark in home for mark in ":,\\"):
        base = home.rstrip("/") + "/"
        data = overlay_data(base, lowers, upper, work, options)
        if fits(data):
            mount("overlay", base + target, "overlay", 0, data)
            return
    try:
        mount_by_descriptors(*place)
    except OSError:
        if not fits(overlay_data("", lowers, upper, work, options)):
            raise
        mount_by_short_names(*place)


def overlay_data(
    base: str, lowers: Sequence[str], upper: str | None, work: str | None, options: Sequence[str]
) -> str:
    """Write the options of an overlay mount, each folder with `base` in front."""
    words = [*options, "lowerdir=" + ":".join(base + lower for lower in lowers)]
    if upper is not None and work is not None:
        words += [f"upperdir={base}{upper}", f"workdir={base}{work}"]
    return ",".join(words)


def fits(data: str) -> bool:
    """Whether options fit into the one page that mount(2) takes."""
    return len(os.fsencode(data)) < os.sysconf("SC_PAGE_SIZE")


def mount_by_descriptors(
    home: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    target: str,
    options: Sequence[str],
) -> None:
    """Mount with fsopen(2), fsconfig(2) and move_mount(2): no length and no character matters.

    Raises:
        OSError: also where the kernel has not got these calls, or not for overlayfs (before 6.7).
    """
    made = make_overlay(home, lowers, upper, work, options)
    try:
        place = os.open(os.path.join(home, target), _OPEN_PATH)
        try:
            attach(made, place)
        finally:
            os.close(place)
    finally:
        os.close(made)


def make_overlay(
    home: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    options: Sequence[str],
) -> int:
    """Make an overlay that is mounted nowhere yet; see mount_overlay and overlay_options.

    Returns:
        A descriptor for `attach`, the caller's to close.

    Raises:
        OSError: also where the kernel has not got these calls, or not for overlayfs (before 6.7).
    """
    call = libc().syscall
    with ExitStack() as held:
        made = _checked(
            call(_SYS_FSOPEN, ctypes.c_char_p(b"overlay"), ctypes.c_uint(_FSOPEN_CLOEXEC)),
            "fsopen",
        )
        held.callback(os.close, made)

        def tell(command: int, key: str | None, value: str | None = None, fd: int = 0) -> None:
            _checked(
                call(
                    _SYS_FSCONFIG,
                    made,
                    ctypes.c_uint(command),
                    ctypes.c_char_p(key.encode() if key is not None else None),
                    ctypes.c_char_p(value.encode() if value is not None else None),
                    ctypes.c_int(fd),
                ),
                home,
            )

        def tell_folder(key: str, name: str) -> None:
            fd = os.open(os.path.join(home, name), _OPEN_PATH)
            held.callback(os.close, fd)
            try:
                tell(_SET_FD, key, None, fd)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # Before Linux 6.13 a folder is given by name only, and by 255 bytes at most.
                tell(_SET_STRING, key, f"/proc/self/fd/{fd}")

        tell(_SET_STRING, "source", "overlay")
        for option in options:
            key, _, value = option.partition("=")
            if value:
                tell(_SET_STRING, key, value)
            else:
                tell(_SET_FLAG, key)
        for lower in lowers:
            tell_folder("lowerdir+", lower)
        if upper is not None and work is not None:
            tell_folder("upperdir", upper)
            tell_folder("workdir", work)
        tell(_CREATE, None)
        return _checked(
            call(_SYS_FSMOUNT, made, ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(0)), "fsmount"
        )


def clone_tree(folder: int, name: str = "", *, recursive: bool = False) -> int:
    """Return a mount of its own of what is at a place, not attached to anything yet.

    Args:
        folder: a descriptor; not looked at where `name` is absolute.
        name: what in it, not following a link; "" for itself.
        recursive: with all that is mounted below.

    Raises:
        OSError: as open_tree(2) has it; ENOSYS before Linux 5.2.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_SYMLINK_NOFOLLOW
    flags |= (0 if name else _AT_EMPTY_PATH) | (_AT_RECURSIVE if recursive else 0)
    path = ctypes.c_char_p(os.fsencode(name))
    return _checked(
        libc().syscall(_SYS_OPEN_TREE, ctypes.c_int(folder), path, ctypes.c_uint(flags)), name
    )


def attach(tree: int, place: int, name: str = "") -> None:
    """Attach a mount that is attached nowhere; its descriptor leads to it from then on.

    Args:
        tree: what clone_tree or make_overlay gave.
        place: a descriptor of what to mount on, or of its folder.
        name: what in that folder.

    Raises:
        OSError: as move_mount(2) has it.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if name else _MOVE_MOUNT_T_EMPTY_PATH)
    _checked(
        libc().syscall(
            _SYS_MOVE_MOUNT,
            ctypes.c_int(tree),
            ctypes.c_char_p(b""),
            ctypes.c_int(place),
            ctypes.c_char_p(os.fsencode(name)),
            ctypes.c_uint(flags),
        ),
        name,
    )


def mount_by_short_names(
    home: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    target: str,
    options: Sequence[str],
) -> None:
    """Mount with mount(2) out of the folder that all names are relative to.

    A thread that shares its current folder with no other does it: this process's stays as it is.

    Raises:
        OSError: as mount(2) has it.
    """
    from threading import Thread

    failed: list[OSError] = []

    def run() -> None:
        try:
            unshare(_CLONE_FS)
            os.chdir(home)
            mount("overlay", target, "overlay", 0, overlay_data("", lowers, upper, work, options))
        except OSError as error:
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
