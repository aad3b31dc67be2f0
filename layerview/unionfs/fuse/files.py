"""Requests about open files: by passthrough the kernel does most of it itself."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections import OrderedDict
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING

from layerview.unionfs.fuse.known import VALID, Known, Table
from layerview.unionfs.fuse.mount import MAX_DATA, checked, libc
from layerview.unionfs.fuse.names import Handler, Head, without_privileges
from layerview.unionfs.fuse.protocol import (
    COPY_FILE_RANGE,
    COPY_FILE_RANGE_IN,
    CREATE,
    CREATE_IN,
    ENTRY_OUT,
    FALLOCATE,
    FALLOCATE_IN,
    FSYNC,
    FSYNC_DATA_ONLY,
    FSYNC_IN,
    IN_SIZE,
    INVAL_INODE_OUT,
    KILL_SUIDGID_OPEN,
    KILL_SUIDGID_WRITE,
    LSEEK,
    LSEEK_IN,
    LSEEK_OUT,
    NOTIFY_INVAL_INODE,
    OPEN,
    OPEN_IN,
    OPEN_KEEP_CACHE,
    OPEN_NOFLUSH,
    OPEN_OUT,
    OPEN_PASSTHROUGH,
    OUT,
    OUT_SIZE,
    READ,
    READ_IN,
    RELEASE,
    WRITE,
    WRITE_IN,
    WRITE_OUT,
)
from layerview.unionfs.node import Caller

if TYPE_CHECKING:
    from layerview.unionfs.fuse.backing import Backing

_IDLE = 128
"""Files that stay open for a while when nobody has them open any more."""
_MAX_COPY = 8 << 20
"""Bytes that one request copies between files, so that others need not wait long."""
_DATA = IN_SIZE + WRITE_IN.size
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC


class Files:
    """Answers to these requests."""

    def __init__(
        self,
        connection: int,
        table: Table,
        buffer: bytearray,
        *,
        backing: Backing | None,
        volatile: bool,
    ) -> None:
        """Answer out of a table.

        Args:
            connection: to the kernel.
            table: what the kernel knows.
            buffer: where each request lies while it is answered.
            backing: where the kernel takes files to read and write itself.
            volatile: let nothing wait for the disk.
        """
        self._connection = connection
        self._table = table
        self._union = table.union
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._answer = bytearray(OUT_SIZE + MAX_DATA)
        self._answer_view = memoryview(self._answer)
        self._backing = backing
        self._volatile = volatile
        self._idle: OrderedDict[int, Known] = OrderedDict()
        self._written: dict[int, Known] = {}
        """What is open for writing, and the kernel writes it."""

    def handlers(self) -> dict[int, Handler]:
        """Return who answers what."""
        return {
            OPEN: self._open,
            CREATE: self._create,
            READ: self._read,
            WRITE: self._write,
            RELEASE: self._release,
            FSYNC: self._fsync,
            FALLOCATE: self._fallocate,
            LSEEK: self._lseek,
            COPY_FILE_RANGE: self._copy_file_range,
        }

    # --- opening ---

    def _open(self, known: Known, size: int, head: Head) -> bytes:
        flags, more = OPEN_IN.unpack_from(self._buffer, IN_SIZE)
        by = Caller(*head[4:7])
        if flags & os.O_TRUNC:
            self._union.before_set_ids()
            if more & KILL_SUIDGID_OPEN:
                self._take_privileges(known, by)
        said = self._take(known, flags, by)
        return _OPENED.pack(_OPENED.size, 0, head[2], 0, said, known.backing)

    def _create(self, known: Known, size: int, head: Head) -> bytes:
        flags, mode, mask, _ = CREATE_IN.unpack_from(self._buffer, IN_SIZE)
        name = bytes(self._buffer[IN_SIZE + CREATE_IN.size : size - 1])
        by = Caller(*head[4:7])
        wanted = os.O_RDWR | flags & (os.O_CREAT | os.O_EXCL | os.O_TRUNC)
        mode = self._table.masked(known, mode & 0o7777, mask)
        if flags & os.O_TRUNC or mode & _SET_IDS:
            self._union.before_set_ids()
        node, fd = self._union.create(known.node, name, mode, wanted, by)
        try:
            state = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        made = self._table.enter(node)
        if made.fd >= 0:
            # It was there before.
            os.close(fd)
            said = self._take(made, flags & ~os.O_TRUNC, by)
        else:
            self._have(made, fd, writable=True, mode=state.st_mode)
            made.plain = not known.gives_lists
            said = self._opened(made, flags)
        valid = 0 if made.parted else VALID
        entry = (made.id, 0, VALID, valid, 0, 0, *self._table.fields(node, state))
        return _CREATED.pack(_CREATED.size, 0, head[2], *entry, 0, said, made.backing)

    def _take(self, known: Known, flags: int, by: Caller) -> int:
        """Open a file once more; return the flags of the answer.

        Raises:
            OSError: ESTALE where the kernel is to look up the name again: under its number
                another file is open, which was copied up.
        """
        node = known.node
        writes = flags & _WRITES
        told = False
        if known.parted:
            raise _stale()
        if (
            known.fd < 0
            or known.branch != node.branch
            or (writes and not known.writable)
            or flags & os.O_TRUNC
        ):
            fd, writable = self._file(known, flags, by)
            told = not writable
            if known.fd < 0 or not known.opens:
                self._let_go(known)
                self._have(known, fd, writable=writable)
            elif not known.backing:
                # Who has it open already goes on in the file as it is now.
                os.close(known.fd)
                known.fd, known.branch, known.writable = fd, node.branch, writable
            else:
                os.close(fd)
                if known.branch != node.branch or (writes and not known.writable):
                    self._part(known)
                    raise _stale()
        if self._union.reads and not writes and not told:
            self._union.was_read(node, by)
        return self._opened(known, flags)

    def _file(self, known: Known, flags: int, by: Caller) -> tuple[int, bool]:
        """Open a node's file for all that may come; say whether it can be written."""
        node = known.node
        truncate = flags & os.O_TRUNC
        if flags & _WRITES:
            return self._union.open(node, os.O_RDWR | truncate, by), True
        if self._backing is not None and node.branch == 0:
            # Under one number the kernel takes one file: a later one may be for writing.
            with suppress(OSError):
                return self._union.open(node, os.O_RDWR, by), True
        return self._union.open(node, os.O_RDONLY, by), False

    def _have(self, known: Known, fd: int, *, writable: bool, mode: int | None = None) -> None:
        """Have a file open, the first one under a number."""
        known.fd, known.branch, known.writable = fd, known.node.branch, writable
        if self._backing is None:
            return
        if writable:
            if mode is None:
                mode = os.fstat(fd).st_mode
            if without_privileges(mode) is not None:
                # A write takes the privileges away, which the kernel remembers: we must tell it.
                return
        with suppress(OSError):
            known.backing = self._backing.open(fd)

    def _opened(self, known: Known, flags: int) -> int:
        known.opens += 1
        self._idle.pop(known.id, None)
        if known.backing:
            if flags & _WRITES and known.id not in self._written:
                self._written[known.id] = known
                if self._union.report is not None:
                    known.seen = _written(os.fstat(known.fd))
            return OPEN_PASSTHROUGH | OPEN_NOFLUSH
        if self._backing is not None:
            # What it was before, by passthrough, left nothing in the cache that is true now.
            return OPEN_NOFLUSH
        return OPEN_KEEP_CACHE | OPEN_NOFLUSH

    def _part(self, known: Known) -> None:
        self._table.part(known)
        self._forget_attributes(known)

    def _forget_attributes(self, known: Known) -> None:
        """Have the kernel ask again for a node's attributes; its data stay in the cache."""
        said = OUT.pack(OUT_SIZE + INVAL_INODE_OUT.size, NOTIFY_INVAL_INODE, 0)
        with suppress(OSError):
            os.write(self._connection, said + INVAL_INODE_OUT.pack(known.id, -1, 0))

    def _let_go(self, known: Known) -> None:
        """Close what is open under a number."""
        self._idle.pop(known.id, None)
        if known.backing and self._backing is not None:
            self._backing.close(known.backing)
            known.backing = 0
        if known.fd >= 0:
            os.close(known.fd)
            known.fd, known.branch, known.writable = -1, -1, False

    def close_idle(self) -> bool:
        """Close what nobody has open any more, and say whether there was something."""
        idle = list(self._idle.values())
        for known in idle:
            self._let_go(known)
        return bool(idle)

    def forget(self, known: Known) -> None:
        """Close what is open of a node that the kernel forgets."""
        self._written.pop(known.id, None)
        self._let_go(known)

    def _release(self, known: Known, size: int, head: Head) -> bytes:
        known.opens -= 1
        if self._union.report is not None and known.id in self._written:
            self._look(known)
        if known.opens <= 0:
            known.opens = 0
            self._written.pop(known.id, None)
            if known.parted or known.branch != known.node.branch:
                self._let_go(known)
            else:
                self._idle[known.id] = known
                if len(self._idle) > _IDLE:
                    self._let_go(next(iter(self._idle.values())))
        return OUT.pack(OUT_SIZE, 0, head[2])

    # --- data ---

    def _at(self, known: Known) -> int:
        """Return the descriptor of an open file, as it is now where that can be."""
        if known.fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if known.branch != known.node.branch and not known.backing:
            fd = self._union.open(known.node, os.O_RDWR, Caller())
            os.close(known.fd)
            known.fd, known.branch, known.writable = fd, known.node.branch, True
        return known.fd

    def _read(self, known: Known, size: int, head: Head) -> None:
        _, offset, length, *_ = READ_IN.unpack_from(self._buffer, IN_SIZE)
        end = OUT_SIZE + min(length, MAX_DATA)
        got = os.preadv(self._at(known), [self._answer_view[OUT_SIZE:end]], offset)
        OUT.pack_into(self._answer, 0, OUT_SIZE + got, 0, head[2])
        with suppress(FileNotFoundError):
            # ENOENT: who asked does not wait any more.
            os.write(self._connection, self._answer_view[: OUT_SIZE + got])

    def _write(self, known: Known, size: int, head: Head) -> bytes:
        _, offset, length, flags, *_ = WRITE_IN.unpack_from(self._buffer, IN_SIZE)
        fd = self._at(known)
        by = Caller(*head[4:7])
        if flags & KILL_SUIDGID_WRITE:
            self._take_privileges(known, by)
        done = os.pwrite(fd, self._view[_DATA : _DATA + length], offset)
        self._union.wrote(known.node, done, by)
        return _WROTE.pack(_WROTE.size, 0, head[2], done, 0)

    def _take_privileges(self, known: Known, by: Caller) -> None:
        mode = without_privileges(self._table.state(known).st_mode)
        if mode is not None:
            self._union.set_attributes(known.node, mode=mode, by=by)
            self._forget_attributes(known)

    def _fsync(self, known: Known, size: int, head: Head) -> bytes:
        if self._volatile:
            # The kernel doesn't ask again.
            return OUT.pack(OUT_SIZE, -errno.ENOSYS, head[2])
        _, flags, _ = FSYNC_IN.unpack_from(self._buffer, IN_SIZE)
        self._union.sync(known.node, self._at(known), bool(flags & FSYNC_DATA_ONLY))
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _fallocate(self, known: Known, size: int, head: Head) -> bytes:
        _, offset, length, mode, _ = FALLOCATE_IN.unpack_from(self._buffer, IN_SIZE)
        checked(
            libc().fallocate(
                ctypes.c_int(self._at(known)),
                ctypes.c_int(mode),
                ctypes.c_int64(offset),
                ctypes.c_int64(length),
            ),
            "fallocate",
        )
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _lseek(self, known: Known, size: int, head: Head) -> bytes:
        _, offset, whence, _ = LSEEK_IN.unpack_from(self._buffer, IN_SIZE)
        found = os.lseek(self._at(known), offset, whence)
        return OUT.pack(OUT_SIZE + LSEEK_OUT.size, 0, head[2]) + LSEEK_OUT.pack(found)

    def _copy_file_range(self, known: Known, size: int, head: Head) -> bytes:
        _, offset, to, _, to_offset, length, _ = COPY_FILE_RANGE_IN.unpack_from(
            self._buffer, IN_SIZE
        )
        target = self._table.by_id[to]
        source, fd = self._at(known), self._at(target)
        done = os.copy_file_range(source, fd, min(length, _MAX_COPY), offset, to_offset)
        self._union.wrote(target.node, done, Caller(*head[4:7]))
        return _WROTE.pack(_WROTE.size, 0, head[2], done, 0)

    # --- what the kernel writes itself ---

    @property
    def is_written(self) -> bool:
        """Whether something is open for writing that the kernel writes itself."""
        return bool(self._written)

    def look(self) -> None:
        """Tell what the kernel has written since the last look."""
        for known in self._written.values():
            self._look(known)

    def mark(self) -> None:
        """Tell nothing of what was written up to now: there was nobody to hear of it."""
        for known in self._written.values():
            known.seen = _written(os.fstat(known.fd))

    def _look(self, known: Known) -> None:
        now = _written(os.fstat(known.fd))
        if now != known.seen:
            known.seen = now
            self._union.wrote(known.node, None, Caller())


_OPENED = Struct(OUT.format + OPEN_OUT.format[1:])
_CREATED = Struct(OUT.format + ENTRY_OUT.format[1:] + OPEN_OUT.format[1:])
_WROTE = Struct(OUT.format + WRITE_OUT.format[1:])


def _written(state: os.stat_result) -> tuple[int, int, int]:
    """Return what a write changes; its time alone may be that of the file's making."""
    return state.st_mtime_ns, state.st_size, state.st_blocks


def _stale() -> OSError:
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE))
