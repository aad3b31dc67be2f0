"""What a container's first process sees as its files: the merged tree, /proc, /sys, /dev, volumes.

Whatever is mounted on was opened by its name beneath the tree's own descriptor before: images are
strangers', and what stands at /proc or /etc/hosts in one may lead anywhere.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress

from layerview.containers.calls import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_STRICTATIME,
    OPEN_PATH,
    attach,
    clone_tree,
    pivot_root,
    restrict,
    restrict_attached,
)
from layerview.containers.mountpoints import open_place, open_real
from layerview.containers.plan import Bind, StartError
from layerview.drivers.mounts import MS_REC, mount, mount_points
from layerview.text import printable

MASKED = (
    "proc/asound",
    "proc/acpi",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
)
"""What a container finds empty, as in Docker."""
READ_ONLY = ("proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger")

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
_TTY_GROUP = 5
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_PLAIN = MS_NOSUID | MS_NOEXEC | MS_NODEV
_ANYWHERE = -100


class Files:
    """What becomes a container's files, step by step, in a mount namespace of its own."""

    def __init__(self, tree: int, place: str) -> None:
        """Attach the container's tree.

        Args:
            tree: the merged tree, attached nowhere; this object's from now on.
            place: a folder that it may be attached to.

        Raises:
            StartError: what can't be mounted, as of all that follows.
        """
        self._tree = tree
        self._proc = self._sys = self._dev = self._pts = -1
        with _told("the container's files"):
            mount("none", "/", "", MS_REC | MS_PRIVATE)
            later = not restrict(tree, MS_NODEV)
            below = os.open(place, OPEN_PATH | os.O_DIRECTORY)
            attach(tree, below)
            os.close(below)
            if later:
                restrict_attached(_path(tree), MS_NODEV)

    def mount_proc(self) -> None:
        """Mount /proc, of this process's PID namespace."""
        try:
            self._proc = _mount_new("proc", self._tree, "proc", _PLAIN)
        except PermissionError:
            raise StartError(
                "/proc: not permitted: parts of this machine's own /proc are hidden, as in a"
                " container; give that an unmasked /proc, or be root"
            ) from None
        except OSError as error:
            raise StartError(f"/proc: not mounted: {(error.strerror or '').lower()}") from None

    def mount_sys(self, *, own_network: bool) -> None:
        """Mount /sys, read-only; where this can't be done it stays an empty folder.

        Args:
            own_network: whether the network namespace is of this process's user namespace.
        """
        flags = _PLAIN | MS_RDONLY
        if own_network:
            with suppress(OSError):
                self._sys = _mount_new("sysfs", self._tree, "sys", flags)
                return
        with suppress(OSError):
            # The network is the machine's, and so is what /sys says of it.
            shown = clone_tree(_ANYWHERE, "/sys", recursive=True)
            if restrict(shown, flags, recursive=True):
                place = _folder(self._tree, "sys")
                attach(shown, place)
                os.close(place)
                self._sys = shown

    def mount_dev(self) -> None:
        """Mount /dev with what every container has in it."""
        with _told("/dev"):
            # Device nodes that the container makes work nowhere, in no file system that it sees.
            flags = MS_NOSUID | MS_NODEV | MS_STRICTATIME
            dev = _mount_new("tmpfs", self._tree, "dev", flags, "mode=755,size=65536k")
            self._dev = dev
            for name in DEVICES:
                # They are the machine's own: read-only, nobody in here changes mode or owner.
                _make_file(dev, name)
                _attach(clone_tree(_ANYWHERE, f"/dev/{name}"), dev, name, MS_RDONLY | MS_NOSUID)
            for name, target in _LINKS.items():
                os.symlink(target, name, dir_fd=dev)
            for name in ("pts", "shm", "mqueue"):
                os.mkdir(name, 0o755, dir_fd=dev)
            data = "newinstance,ptmxmode=0666,mode=0620"
            flags = MS_NOSUID | MS_NOEXEC
            try:
                self._pts = _mount_new("devpts", dev, "pts", flags, f"{data},gid={_TTY_GROUP}")
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # The group has no ID in this user namespace.
                self._pts = _mount_new("devpts", dev, "pts", flags, data)
            os.close(_mount_new("tmpfs", dev, "shm", _PLAIN, "mode=1777,size=65536k"))

    def mount_queues(self) -> None:
        """Mount /dev/mqueue, of this process's IPC namespace, where there is such a thing."""
        with suppress(OSError):
            os.close(_mount_new("mqueue", self._dev, "mqueue", _PLAIN))

    def hide(self) -> None:
        """Mask and write-protect what the kernel tells all containers alike."""
        with _told("masked paths"):
            dev = self._dev
            os.mkdir("empty", 0o755, dir_fd=dev)
            for fd in self._existing(MASKED):
                folder = stat.S_ISDIR(os.fstat(fd).st_mode)
                _attach(clone_tree(dev, "empty" if folder else "null"), fd)
                os.close(fd)
            # It stays what it is, and nobody can put anything into it any more.
            os.rmdir("empty", dir_fd=dev)
            for fd in self._existing(READ_ONLY):
                _attach(clone_tree(fd), fd, flags=MS_RDONLY)
                os.close(fd)

    def _existing(self, paths: Sequence[str]) -> Iterator[int]:
        for path in paths:
            top, _, name = path.partition("/")
            folder = self._proc if top == "proc" else self._sys
            if folder >= 0:
                with suppress(OSError):
                    yield os.open(name, OPEN_PATH, dir_fd=folder)

    def open_null(self) -> int:
        """Open /dev/null."""
        return os.open("null", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._dev)

    def open_terminal(self) -> tuple[int, int]:
        """Open a terminal of the container's own; return master and slave, its /dev/console."""
        with _told("/dev/console"):
            flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
            master = os.open("ptmx", flags, dir_fd=self._pts)
            fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
            slave = fcntl.ioctl(master, _TIOCGPTPEER, flags)
            _make_file(self._dev, "console")
            _attach(clone_tree(slave), self._dev, "console")
            return master, slave

    def mount_binds(self, binds: Sequence[Bind]) -> None:
        """Mount volumes and the like, in this order."""
        outside = os.fstat(self._proc).st_dev
        for bind in binds:
            _mount_bind(self._tree, bind, outside)

    def enter(self) -> None:
        """Make them all that this process sees."""
        with _told("the container's files"):
            pivot_root(self._tree)
        for fd in (self._tree, self._proc, self._sys, self._dev, self._pts):
            if fd >= 0:
                os.close(fd)


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


class _told:
    """Turns the kernel's errors into one that says what was to be mounted."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            if error.errno == errno.ENOSYS:
                reason = "this kernel is too old: Linux 5.3 or later is needed"
            raise StartError(f"{self._what}: not mounted: {reason}") from None


def _folder(tree: int, name: str) -> int:
    try:
        return open_real(tree, name)
    except OSError as error:
        reason = (error.strerror or "").lower()
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            reason = "something else stands there"
        raise StartError(f"/{name}: the container needs a folder there: {reason}") from None


def _mount_new(kind: str, tree: int, name: str, flags: int, data: str = "") -> int:
    """Mount a file system on a real folder of the tree; return its own root's descriptor."""
    place = _folder(tree, name)
    try:
        mount(kind, _path(place), kind, flags, data)
    finally:
        os.close(place)
    return open_real(tree, name)


def _attach(tree: int, place: int, name: str = "", flags: int = 0) -> None:
    """Attach a mount with flags added, and let go of its descriptor."""
    later = flags and not restrict(tree, flags)
    attach(tree, place, name)
    if later:
        restrict_attached(_path(tree), flags)
    os.close(tree)


def _make_file(folder: int, name: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o666, dir_fd=folder))


def _mount_bind(tree: int, bind: Bind, proc: int) -> None:
    what = printable(bind.target)
    with _told(what):
        flags = MS_NODEV | (MS_RDONLY if bind.read_only else 0)
        folder = bind.kind == "tmpfs"
        if not folder:
            try:
                source = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise StartError(
                    f"{printable(bind.source)}, for {what} in the container: {reason}"
                ) from None
            folder = stat.S_ISDIR(os.fstat(source).st_mode)
            cover = clone_tree(source, recursive=True)
            os.close(source)
            later = not restrict(cover, flags, recursive=True)
        place, made = open_place(tree, os.fsencode(bind.target), folder=folder)
        try:
            state = os.fstat(place)
            if state.st_dev == proc:
                raise StartError(f"{what}: nothing is mounted inside of /proc")
            if state.st_ino == os.fstat(tree).st_ino and state.st_dev == os.fstat(tree).st_dev:
                raise StartError(f"{what}: nothing is mounted on the container's root")
            if bind.kind == "tmpfs":
                mode = 0o1777 if made else stat.S_IMODE(state.st_mode)
                flags |= MS_NOSUID | MS_NOEXEC
                mount("tmpfs", _path(place), "tmpfs", flags, f"mode={mode:o}")
                return
            if folder != stat.S_ISDIR(state.st_mode):
                kinds = ("a folder", "a file") if folder else ("a file", "a folder")
                raise StartError(
                    f"{printable(bind.source)} is {kinds[0]}, and {what} in the container"
                    f" {kinds[1]}"
                )
            attach(cover, place)
            if later:
                _restrict_each(cover, flags)
            os.close(cover)
        finally:
            os.close(place)


def _restrict_each(tree: int, flags: int) -> None:
    for below in mount_points(os.path.realpath(_path(tree))):
        restrict_attached(below, flags)
