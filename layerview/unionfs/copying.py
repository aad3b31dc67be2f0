"""Copying one file's data and attributes to another branch."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from layerview.unionfs.names import failure

FICLONE = 0x40049409
"""Share a whole file's blocks (ioctl_ficlone(2))."""
_CANNOT = (
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.EACCES,
    errno.EBADF,
)
_PIECE = 8 << 20
_BUFFER = 1 << 20
_NOBODY = 65534
"""What owners are shown as that this user namespace has no number for."""


class DataCopier:
    """Copies data, and remembers what the file systems can't do."""

    def __init__(self) -> None:
        self._clones = True
        self._ranges = hasattr(os, "copy_file_range")

    def copy(
        self,
        source: int,
        target: int,
        size: int,
        moved: Callable[[int], None] | None = None,
        *,
        is_dense: bool = False,
    ) -> int:
        """Copy a file's first bytes into an empty file; holes stay holes.

        Args:
            source: its descriptor.
            target: the other's.
            size: how many.
            moved: told how many are done, now and then.
            is_dense: there are no holes to look for.

        Returns:
            How many bytes of data were copied, holes left out; blocks that both share count.

        Raises:
            OSError: as read and write; ENOSPC.
        """
        if self._clones and size:
            done = self._clone(source, target, size)
            if done is not None:
                return done
        at = done = 0
        while at < size:
            start, end = (at, size) if is_dense else _data(source, at, size)
            if start >= size:
                break
            at = start
            while at < end:
                count = self._piece(source, target, at, min(end - at, _PIECE))
                if not count:
                    size = end = at
                    break
                at += count
                done += count
                if moved is not None:
                    moved(done)
        if at != size:
            os.ftruncate(target, size)
        return done

    def _clone(self, source: int, target: int, size: int) -> int | None:
        import fcntl

        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            # Here and for the other files: what the file systems cannot do they never can.
            self._clones = False
            return None
        if os.fstat(target).st_size > size:
            os.ftruncate(target, size)
        return min(size, os.fstat(target).st_blocks * 512)

    def _piece(self, source: int, target: int, at: int, count: int) -> int:
        if self._ranges:
            try:
                return os.copy_file_range(source, target, count, at, at)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._ranges = False
        data = os.pread(source, min(count, _BUFFER), at)
        written = 0
        while written < len(data):
            written += os.pwrite(target, data[written:], at + written)
        return written


def _data(fd: int, at: int, size: int) -> tuple[int, int]:
    """Return where a file's next data begin and end."""
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
        return start, min(os.lseek(fd, start, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        if error.errno != errno.EINVAL:
            raise
        # A file system that does not tell where holes are.
        return at, size


def copy_attributes(
    source: bytes,
    state: os.stat_result,
    name: bytes,
    folder: int,
    *,
    root: bool,
) -> None:
    """Give a copy owner, extended attributes, mode and times, in this order.

    Args:
        source: a path of the original that needs no link to be followed.
        state: the original's.
        name: the copy's, in a folder that nobody else writes to.
        folder: that one's descriptor.
        root: whether this process may give files away.

    Raises:
        OSError: EOVERFLOW where there is no number here for the owner; as setxattr and others.
    """
    if root:
        _give(source, state, name, folder)
    copy_xattrs(source, b"/proc/self/fd/%d/%s" % (folder, name))
    if not stat.S_ISLNK(state.st_mode):
        # After the owner, which takes setuid away.
        os.chmod(name, stat.S_IMODE(state.st_mode), dir_fd=folder)
    times = (state.st_atime_ns, state.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)


def copy_file_attributes(
    source: bytes,
    read: int,
    state: os.stat_result,
    name: bytes,
    folder: int,
    target: int,
    *,
    root: bool,
) -> os.stat_result:
    """Do for a regular file what `copy_attributes` does, with fewer calls.

    Args:
        source: a path of the original that needs no link to be followed.
        read: the original, open; -1: it is not.
        state: the original's.
        name: the copy's, in a folder that nobody else writes to.
        folder: that one's descriptor.
        target: the copy, open.
        root: whether this process may give files away.

    Returns:
        What fstat(2) says of the copy, but for mode and times.

    Raises:
        OSError: as copy_attributes.
    """
    if root:
        _give(source, state, name, folder)
    copy_xattrs(source if read < 0 else read, target)
    made = os.fstat(target)
    mode = stat.S_IMODE(state.st_mode)
    if stat.S_IMODE(made.st_mode) != mode:
        # After the owner, which takes setuid away.
        os.fchmod(target, mode)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
    return made


def _give(source: bytes, state: os.stat_result, name: bytes, folder: int) -> None:
    if _NOBODY in (state.st_uid, state.st_gid) and _is_unmapped(source, state):
        raise failure(errno.EOVERFLOW, name)
    if state.st_uid == os.geteuid() and state.st_gid == os.getegid():
        return
    try:
        os.chown(name, state.st_uid, state.st_gid, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise failure(errno.EOVERFLOW, name) from None
        raise


def _is_unmapped(source: bytes, state: os.stat_result) -> bool:
    """Whether an owner only looks like nobody: root here has no rights over such a file."""
    try:
        with open("/proc/self/uid_map", "rb") as table:
            if table.read().split() == [b"0", b"0", b"4294967295"]:
                return False
    except OSError:
        return False
    if stat.S_ISLNK(state.st_mode) or state.st_mode & 0o222 == 0o222:
        return False
    return not os.access(source, os.W_OK, effective_ids=True)


def copy_xattrs(source: bytes | int, target: bytes | int) -> None:
    """Copy extended attributes, capabilities and access lists among them; follow no link.

    Args:
        source: a path, or what is open.
        target: the same.

    Raises:
        OSError: where one can't be set that decides who may do what.
    """
    if not hasattr(os, "listxattr"):
        return
    is_open, to_open = isinstance(source, int), isinstance(target, int)
    names: list[str] = []
    with suppress(OSError):
        names = os.listxattr(source, follow_symlinks=is_open)
    for name in names:
        value = os.getxattr(source, name, follow_symlinks=is_open)
        try:
            os.setxattr(target, name, value, follow_symlinks=to_open)
        except OSError as error:
            if error.errno != errno.ENOTSUP or name.startswith(("security.", "system.")):
                raise
