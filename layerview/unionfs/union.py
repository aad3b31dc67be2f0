"""The bundled union file system, without a mount: names go in, file descriptors come out."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from layerview.unionfs import records
from layerview.unionfs.changes import RENAME_EXCHANGE, RENAME_NOREPLACE, Changes
from layerview.unionfs.names import WHITEOUT_PREFIX, WORK, failure
from layerview.unionfs.node import ROOT_CALLER, Attributes, Caller, Entry, Node
from layerview.unionfs.steps import Step

__all__ = [
    "RENAME_EXCHANGE",
    "RENAME_NOREPLACE",
    "Attributes",
    "Caller",
    "Entry",
    "Node",
    "Union",
]

_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_PASSED = (
    _ACCESS
    | os.O_APPEND
    | os.O_TRUNC
    | os.O_NONBLOCK
    | getattr(os, "O_DIRECT", 0)
    | os.O_SYNC
    | getattr(os, "O_DSYNC", 0)
)
_TELL_EACH = 20_000_000
"""Nanoseconds for which writes to one file are told in one step."""
_MOST_WRITTEN = 256


class Union(Changes):
    """Branches in AUFS's form as one tree, of which the top branch is written.

    Nothing else may write to the branches meanwhile. Who uses it sees to permissions.
    """

    def __init__(
        self,
        branches: Sequence[int],
        *,
        report: Callable[[Step], None] | None = None,
        writable: bool = True,
    ) -> None:
        super().__init__(branches, report=report, writable=writable)
        self._written: dict[Node, list[int | None]] = {}
        """Writes that were not told yet: how many bytes, by whom, when they are to be told."""

    # --- files ---

    def open(self, node: Node, flags: int, by: Caller = ROOT_CALLER) -> int:
        """Open a regular file; for writing, it is copied up first.

        Descriptors that were opened for reading before a copy-up go on reading what they had.

        Args:
            node: which.
            flags: as for open(2).
            by: who asks.

        Raises:
            OSError: as open(2); EINVAL for what is no regular file.
        """
        if node.kind != stat.S_IFREG:
            codes = {stat.S_IFDIR: errno.EISDIR, stat.S_IFLNK: errno.ELOOP}
            raise failure(codes.get(node.kind, errno.EINVAL), node.name)
        truncate = flags & os.O_TRUNC
        writes = flags & _ACCESS != os.O_RDONLY or truncate
        shortened = False
        if writes:
            if node.branch and truncate:
                # The copy is opened below for its times, which this sets.
                self.copy_up(node, by, "truncate", 0)
            else:
                fd = self.copy_up(node, by, "open", keep=flags == os.O_RDWR)
                if fd >= 0:
                    return fd
                shortened = bool(truncate) and self.report is not None
        name, at = self._place(node)
        nofollow = os.O_NOFOLLOW if at is not None else 0
        fd = os.open(name, flags & _PASSED | nofollow | os.O_CLOEXEC, dir_fd=at)
        if shortened:
            self._told_write(node, 0, by, "truncate")
        elif self.reads and not writes:
            self.was_read(node, by)
        return fd

    def was_read(self, node: Node, by: Caller = ROOT_CALLER) -> None:
        """Hear that a file was opened for reading by a descriptor that was there already."""
        if self.report is not None:
            self._tell("read", self.path(node), found=node.branch, pid=by.pid)

    def wrote(self, node: Node, count: int | None, by: Caller = ROOT_CALLER) -> None:
        """Hear of a write to a file that was opened here.

        Args:
            node: which.
            count: bytes; None: it is not known how many.
            by: who wrote.
        """
        if self.report is None:
            return
        now = time.monotonic_ns()
        had = self._written.get(node)
        if had is not None:
            total, pid, due = had
            assert due is not None
            if pid == by.pid and now < due:
                had[0] = None if total is None or count is None else total + count
                return
            self._tell_writes_of(node)
        self._told_write(node, count, by)
        if len(self._written) >= _MOST_WRITTEN:
            self.tell_writes()
        self._written[node] = [0, by.pid, now + _TELL_EACH]

    def tell_writes(self) -> None:
        """Report the writes that wait to be told together; to be called when it is quiet."""
        for node in list(self._written):
            self._tell_writes_of(node)

    @property
    def has_writes(self) -> bool:
        """Whether writes wait to be told."""
        return bool(self._written)

    def _tell_writes_of(self, node: Node) -> None:
        had = self._written.pop(node, None)
        if had is not None and had[0] != 0:
            self._told_write(node, had[0], Caller(pid=had[1] or 0))

    def _told_write(
        self, node: Node, count: int | None, by: Caller, cause: str | None = None
    ) -> None:
        self._tell("write", self.path(node), found=0, written=count, pid=by.pid, cause=cause)

    def sync(self, node: Node, fd: int = -1, data_only: bool = False) -> None:
        """Have a file, or a folder's names, written to disk.

        Raises:
            OSError: as fsync(2).
        """
        if fd >= 0:
            (os.fdatasync if data_only and hasattr(os, "fdatasync") else os.fsync)(fd)
            return
        if node.branch or node.kind not in (stat.S_IFDIR, stat.S_IFREG):
            return
        name, at = self._place(node)
        own = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
        try:
            os.fsync(own)
        finally:
            os.close(own)

    # --- attributes ---

    def set_attributes(
        self,
        node: Node,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        fd: int = -1,
        by: Caller = ROOT_CALLER,
    ) -> os.stat_result:
        """Set what is given; what lies below is copied up first.

        Args:
            node: whose.
            mode: permission bits, setuid, setgid and sticky.
            uid: owner.
            gid: group.
            size: bytes; a file is cut off or filled up with a hole.
            atime_ns: nanoseconds since 1970.
            mtime_ns: the same.
            fd: the file, open on the top branch; -1: none.
            by: who asks.

        Returns:
            What stat(2) says afterwards on the node's branch.

        Raises:
            OSError: as chmod(2), chown(2), truncate(2), utime(2).
        """
        owns = uid is not None or gid is not None
        dates = atime_ns is not None or mtime_ns is not None
        if size is not None:
            self._set_size(node, size, fd, by)
        if not (owns or dates) and mode is None:
            return self.state(node, fd)
        if node.branch or not self.writable:
            self.copy_up(node, by, "metadata")
        name: bytes | int = fd
        at = None
        follow = True
        if fd < 0:
            name, at = self._place(node)
            follow = at is None
        if owns:
            owner, group = -1 if uid is None else uid, -1 if gid is None else gid
            os.chown(name, owner, group, dir_fd=at, follow_symlinks=follow)
        if mode is not None:
            if node.kind == stat.S_IFLNK:
                raise failure(errno.EOPNOTSUPP, node.name)
            os.chmod(name, stat.S_IMODE(mode), dir_fd=at)
        if dates:
            if atime_ns is None or mtime_ns is None:
                state = self.state(node, fd)
                atime_ns = state.st_atime_ns if atime_ns is None else atime_ns
                mtime_ns = state.st_mtime_ns if mtime_ns is None else mtime_ns
            os.utime(name, ns=(atime_ns, mtime_ns), dir_fd=at, follow_symlinks=follow)
        node.set_group = None
        # A size comes with times that are no change of their own.
        if self.report is not None and (size is None or owns or mode is not None):
            self._tell("metadata", self.path(node), found=0, pid=by.pid)
        return self.state(node, fd)

    def _set_size(self, node: Node, size: int, fd: int, by: Caller) -> None:
        if node.kind != stat.S_IFREG:
            raise failure(errno.EISDIR if node.is_folder else errno.EINVAL, node.name)
        was_below = node.branch != 0
        self.copy_up(node, by, "truncate", size)
        if fd < 0:
            self._truncate(node, size)
        else:
            try:
                os.ftruncate(fd, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EBADF):
                    raise
                # It is open for reading only.
                self._truncate(node, size)
        if not was_below and self.report is not None:
            self._told_write(node, 0, by, "truncate")

    def _truncate(self, node: Node, size: int) -> None:
        name, at = self._place(node)
        nofollow = os.O_NOFOLLOW if at is not None else 0
        own = os.open(name, os.O_WRONLY | nofollow | os.O_CLOEXEC, dir_fd=at)
        try:
            os.ftruncate(own, size)
        finally:
            os.close(own)

    def set_xattr(
        self,
        node: Node,
        name: bytes,
        value: bytes,
        flags: int = 0,
        by: Caller = ROOT_CALLER,
    ) -> None:
        """Set an extended attribute; `flags` as for setxattr(2).

        Raises:
            OSError: as setxattr(2).
        """
        if not hasattr(os, "setxattr"):
            raise failure(errno.ENOTSUP)
        if flags and node.branch:
            self._check_xattr(node, name, flags)
        self.copy_up(node, by, "metadata")
        place, follow = self._xattr_place(node)
        os.setxattr(place, name, value, flags, follow_symlinks=follow)
        if self.report is not None:
            self._tell("metadata", self.path(node), found=0, pid=by.pid)

    def _check_xattr(self, node: Node, name: bytes, flags: int) -> None:
        """Fail before anything is copied where setxattr would afterwards."""
        try:
            self.get_xattr(node, name)
        except OSError as error:
            if error.errno == errno.ENODATA and flags & os.XATTR_REPLACE:
                raise
        else:
            if flags & os.XATTR_CREATE:
                raise failure(errno.EEXIST, name)

    def remove_xattr(self, node: Node, name: bytes, by: Caller = ROOT_CALLER) -> None:
        """Remove an extended attribute.

        Raises:
            OSError: ENODATA when there is none.
        """
        self.get_xattr(node, name)
        self.copy_up(node, by, "metadata")
        place, follow = self._xattr_place(node)
        os.removexattr(place, name, follow_symlinks=follow)
        if self.report is not None:
            self._tell("metadata", self.path(node), found=0, pid=by.pid)

    # --- the whole ---

    def statfs(self) -> os.statvfs_result:
        """Return what statvfs(3) says of the top branch; names are shorter by a whiteout's mark."""
        found = list(os.fstatvfs(self._branches[0]))
        found[9] -= len(WHITEOUT_PREFIX)
        return os.statvfs_result(found)

    def close(self) -> None:
        """Tell what waits, and let go of all that is open; the branches' descriptors stay open."""
        self.tell_writes()
        self._folders.close()
        for node in list(self._pinned):
            self._unpin(node)
        if self._work_fd >= 0:
            os.close(self._work_fd)
            self._work_fd = -1
            before = os.fstat(self._branches[0])
            with suppress(OSError):
                os.rmdir(WORK, dir_fd=self._branches[0])
                self._set_times(self._branches[0], before)
        if self.writable:
            with suppress(OSError):
                found = records.Records(self._kept, self._gone_links)
                records.save(self._branches, self._devices, found)
