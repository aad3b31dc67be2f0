"""Requests about names and attributes: all but what reads and writes open files."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable

from layerview.unionfs.fuse.known import VALID, Known, Table
from layerview.unionfs.fuse.protocol import (
    BATCH_FORGET,
    BATCH_FORGET_IN,
    DIRENT,
    ENTRY_AND_DIRENT,
    FORGET,
    FORGET_IN,
    FORGET_ONE,
    FSYNC_DATA_ONLY,
    FSYNC_IN,
    FSYNCDIR,
    GETATTR,
    GETXATTR,
    GETXATTR_IN,
    GETXATTR_OUT,
    HEAD_AND_ENTRY,
    IN_SIZE,
    KILL_SUIDGID_SETATTR,
    LINK,
    LINK_IN,
    LISTXATTR,
    LOOKUP,
    MKDIR,
    MKDIR_IN,
    MKNOD,
    MKNOD_IN,
    OPEN_CACHE_DIR,
    OPEN_KEEP_CACHE,
    OPEN_OUT,
    OPENDIR,
    OUT,
    OUT_SIZE,
    READ_IN,
    READDIR,
    READDIRPLUS,
    READLINK,
    RELEASE_IN,
    RELEASEDIR,
    REMOVEXATTR,
    RENAME,
    RENAME2,
    RENAME2_IN,
    RENAME_IN,
    RMDIR,
    SET_ATIME,
    SET_ATIME_NOW,
    SET_GID,
    SET_MODE,
    SET_MTIME,
    SET_MTIME_NOW,
    SET_SIZE,
    SET_UID,
    SETATTR,
    SETATTR_IN,
    SETXATTR,
    SETXATTR_IN,
    STATFS,
    STATFS_OUT,
    SYMLINK,
    UNLINK,
    decode_device,
)
from layerview.unionfs.names import LONGEST
from layerview.unionfs.node import Caller, Entry, Node

Head = tuple[int, int, int, int, int, int, int, int, int]
"""A request's head; see protocol.IN."""
Handler = Callable[[Known, int, Head], bytes | None]
"""Answers a request of a length; None: there is no answer, or it was given."""

_SET_IDS = stat.S_ISUID | stat.S_ISGID
_MAY_KEEP_IDS = SET_UID | SET_GID | SET_SIZE
_NO_ENTRY: tuple[int, ...] = (0,) * 22
_NONE = HEAD_AND_ENTRY.pack(0, 0, 0, 0, 0, VALID, 0, 0, 0, *(0,) * 16)[OUT_SIZE:]
_DOTS = 2
"""The first entries of each listing."""
_PADDING = [bytes(count) for count in range(8)]
_ASKED_OFTEN = (b"security.capability", b"system.posix_acl_access")


class Names:
    """Answers to these requests."""

    def __init__(self, table: Table, buffer: bytearray, *, volatile: bool) -> None:
        """Answer out of a table.

        Args:
            table: what the kernel knows.
            buffer: where each request lies while it is answered.
            volatile: let nothing wait for the disk.
        """
        self._table = table
        self._union = table.union
        self._buffer = buffer
        self._folders: dict[int, list[Entry] | None] = {}
        """What each open folder held when it was read from its start."""
        self._last = 0
        self._volatile = volatile

    def handlers(self) -> dict[int, Handler]:
        """Return who answers what."""
        return {
            LOOKUP: self._lookup,
            FORGET: self._forget,
            BATCH_FORGET: self._batch_forget,
            GETATTR: self._getattr,
            SETATTR: self._setattr,
            READLINK: self._readlink,
            SYMLINK: self._symlink,
            MKNOD: self._mknod,
            MKDIR: self._mkdir,
            UNLINK: self._unlink,
            RMDIR: self._rmdir,
            RENAME: self._rename,
            RENAME2: self._rename2,
            LINK: self._link,
            STATFS: self._statfs,
            SETXATTR: self._setxattr,
            GETXATTR: self._getxattr,
            LISTXATTR: self._listxattr,
            REMOVEXATTR: self._removexattr,
            OPENDIR: self._opendir,
            READDIR: self._readdir,
            READDIRPLUS: self._readdirplus,
            RELEASEDIR: self._releasedir,
            FSYNCDIR: self._fsyncdir,
        }

    # --- entries ---

    def _lookup(self, known: Known, size: int, head: Head) -> bytes:
        try:
            node, state = self._union.look(known.node, bytes(self._buffer[IN_SIZE : size - 1]))
        except FileNotFoundError:
            if size - 1 - IN_SIZE > LONGEST:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from None
            # That there is none is good to know as well.
            return OUT.pack(HEAD_AND_ENTRY.size, 0, head[2]) + _NONE
        return self._table.entered(head[2], node, state)

    def _forget(self, known: Known, size: int, head: Head) -> None:
        self._table.forget(head[3], FORGET_IN.unpack_from(self._buffer, IN_SIZE)[0])

    def _batch_forget(self, known: Known, size: int, head: Head) -> None:
        count = BATCH_FORGET_IN.unpack_from(self._buffer, IN_SIZE)[0]
        start = IN_SIZE + BATCH_FORGET_IN.size
        for at in range(start, start + count * FORGET_ONE.size, FORGET_ONE.size):
            self._table.forget(*FORGET_ONE.unpack_from(self._buffer, at))

    def _mkdir(self, known: Known, size: int, head: Head) -> bytes:
        mode, mask = MKDIR_IN.unpack_from(self._buffer, IN_SIZE)
        name = bytes(self._buffer[IN_SIZE + MKDIR_IN.size : size - 1])
        mode = self._table.masked(known, stat.S_IMODE(mode), mask)
        node = self._union.mkdir(known.node, name, mode, Caller(*head[4:7]))
        return self._table.entry(head[2], node)

    def _mknod(self, known: Known, size: int, head: Head) -> bytes:
        mode, device, mask, _ = MKNOD_IN.unpack_from(self._buffer, IN_SIZE)
        name = bytes(self._buffer[IN_SIZE + MKNOD_IN.size : size - 1])
        rdev = decode_device(device)
        mode = self._table.masked(known, mode, mask)
        node = self._union.mknod(known.node, name, mode, rdev, Caller(*head[4:7]))
        return self._table.entry(head[2], node)

    def _symlink(self, known: Known, size: int, head: Head) -> bytes:
        name, target = bytes(self._buffer[IN_SIZE : size - 1]).split(b"\0", 1)
        node = self._union.symlink(known.node, name, target, Caller(*head[4:7]))
        return self._table.entry(head[2], node)

    def _link(self, known: Known, size: int, head: Head) -> bytes:
        old = self._node(LINK_IN.unpack_from(self._buffer, IN_SIZE)[0])
        name = bytes(self._buffer[IN_SIZE + LINK_IN.size : size - 1])
        node = self._union.link(old, known.node, name, Caller(*head[4:7]))
        return self._table.entry(head[2], node)

    def _unlink(self, known: Known, size: int, head: Head) -> bytes:
        name = bytes(self._buffer[IN_SIZE : size - 1])
        self._union.unlink(known.node, name, Caller(*head[4:7]))
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _rmdir(self, known: Known, size: int, head: Head) -> bytes:
        name = bytes(self._buffer[IN_SIZE : size - 1])
        self._union.rmdir(known.node, name, Caller(*head[4:7]))
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _rename(self, known: Known, size: int, head: Head) -> bytes:
        folder = RENAME_IN.unpack_from(self._buffer, IN_SIZE)[0]
        return self._renamed(known, folder, 0, IN_SIZE + RENAME_IN.size, size, head)

    def _rename2(self, known: Known, size: int, head: Head) -> bytes:
        folder, flags, _ = RENAME2_IN.unpack_from(self._buffer, IN_SIZE)
        return self._renamed(known, folder, flags, IN_SIZE + RENAME2_IN.size, size, head)

    def _renamed(
        self, known: Known, folder: int, flags: int, start: int, size: int, head: Head
    ) -> bytes:
        name, to_name = bytes(self._buffer[start : size - 1]).split(b"\0", 1)
        by = Caller(*head[4:7])
        self._union.rename(known.node, name, self._node(folder), to_name, flags, by)
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _node(self, id: int) -> Node:
        known = self._table.by_id.get(id)
        if known is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return known.node

    def _readlink(self, known: Known, size: int, head: Head) -> bytes:
        return _with(head[2], self._union.read_link(known.node))

    # --- attributes ---

    def _getattr(self, known: Known, size: int, head: Head) -> bytes:
        return self._table.said(head[2], known, self._table.state(known))

    def _setattr(self, known: Known, size: int, head: Head) -> bytes:
        (valid, _, _, length, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _) = (
            SETATTR_IN.unpack_from(self._buffer, IN_SIZE)
        )
        now = (
            time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
            if valid & (SET_ATIME_NOW | SET_MTIME_NOW)
            else 0
        )
        set_mode = stat.S_IMODE(mode) if valid & SET_MODE else None
        if valid & _MAY_KEEP_IDS or (set_mode is not None and set_mode & _SET_IDS):
            self._union.before_set_ids()
        if valid & KILL_SUIDGID_SETATTR and set_mode is None:
            set_mode = without_privileges(self._table.state(known).st_mode)
        state = self._union.set_attributes(
            known.node,
            mode=set_mode,
            uid=uid if valid & SET_UID else None,
            gid=gid if valid & SET_GID else None,
            size=length if valid & SET_SIZE else None,
            atime_ns=_moment(valid & SET_ATIME, valid & SET_ATIME_NOW, atime, atime_ns, now),
            mtime_ns=_moment(valid & SET_MTIME, valid & SET_MTIME_NOW, mtime, mtime_ns, now),
            fd=known.fd if known.branch == 0 and known.node.branch == 0 else -1,
            by=Caller(*head[4:7]),
        )
        return self._table.said(head[2], known, state)

    def _statfs(self, known: Known, size: int, head: Head) -> bytes:
        had = self._union.statfs()
        return _with(
            head[2],
            STATFS_OUT.pack(
                *(had.f_blocks, had.f_bfree, had.f_bavail, had.f_files, had.f_ffree),
                *(had.f_bsize, had.f_namemax, had.f_frsize, 0),
            ),
        )

    def _setxattr(self, known: Known, size: int, head: Head) -> bytes:
        length, flags = SETXATTR_IN.unpack_from(self._buffer, IN_SIZE)
        start = IN_SIZE + SETXATTR_IN.size
        end = self._buffer.index(b"\0", start, size)
        name = bytes(self._buffer[start:end])
        value = bytes(self._buffer[end + 1 : end + 1 + length])
        known.plain, known.gives_lists = False, None
        self._union.set_xattr(known.node, name, value, flags, Caller(*head[4:7]))
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _getxattr(self, known: Known, size: int, head: Head) -> bytes:
        room, _ = GETXATTR_IN.unpack_from(self._buffer, IN_SIZE)
        name = bytes(self._buffer[IN_SIZE + GETXATTR_IN.size : size - 1])
        if known.plain and name in _ASKED_OFTEN:
            # The kernel asks at each new file's first write, and change of mode.
            return OUT.pack(OUT_SIZE, -errno.ENODATA, head[2])
        return _fitting(head[2], room, self._union.get_xattr(known.node, name))

    def _listxattr(self, known: Known, size: int, head: Head) -> bytes:
        room, _ = GETXATTR_IN.unpack_from(self._buffer, IN_SIZE)
        names = self._union.list_xattrs(known.node)
        return _fitting(head[2], room, b"".join(name + b"\0" for name in names))

    def _removexattr(self, known: Known, size: int, head: Head) -> bytes:
        name = bytes(self._buffer[IN_SIZE : size - 1])
        known.gives_lists = None
        self._union.remove_xattr(known.node, name, Caller(*head[4:7]))
        return OUT.pack(OUT_SIZE, 0, head[2])

    # --- folders ---

    def _opendir(self, known: Known, size: int, head: Head) -> bytes:
        self._last += 1
        self._folders[self._last] = None
        flags = OPEN_CACHE_DIR | OPEN_KEEP_CACHE
        return _with(head[2], OPEN_OUT.pack(self._last, flags, 0))

    def _listing(self, known: Known, handle: int, offset: int) -> list[Entry]:
        listing = self._folders.get(handle)
        if offset == 0 or listing is None:
            ino = known.node.ino
            listing = [Entry(b".", ino, stat.S_IFDIR), Entry(b"..", ino, stat.S_IFDIR)]
            listing += self._union.entries(known.node)
            self._folders[handle] = listing
        return listing

    def _readdir(self, known: Known, size: int, head: Head) -> bytes:
        handle, offset, room, *_ = READ_IN.unpack_from(self._buffer, IN_SIZE)
        listing = self._listing(known, handle, offset)
        pieces: list[bytes] = []
        for at in range(offset, len(listing)):
            name, ino, kind = listing[at]
            length = len(name)
            padding = -length % 8
            room -= DIRENT.size + length + padding
            if room < 0:
                break
            pieces += (DIRENT.pack(ino, at + 1, length, kind >> 12), name, _PADDING[padding])
        return _with(head[2], b"".join(pieces))

    def _readdirplus(self, known: Known, size: int, head: Head) -> bytes:
        handle, offset, room, *_ = READ_IN.unpack_from(self._buffer, IN_SIZE)
        listing = self._listing(known, handle, offset)
        folder = known.node
        look, enter, fields = self._union.look, self._table.enter, self._table.fields
        pack, before_name = ENTRY_AND_DIRENT.pack, ENTRY_AND_DIRENT.size
        pieces: list[bytes] = []
        for at in range(offset, len(listing)):
            name, ino, kind = listing[at]
            length = len(name)
            padding = -length % 8
            room -= before_name + length + padding
            if room < 0:
                break
            next_at, kind = at + 1, kind >> 12
            try:
                if at < _DOTS:
                    raise FileNotFoundError
                node, state = look(folder, name)
            except OSError:
                # It is gone: it stands in this listing, and a look at it will find nothing.
                said = pack(*_NO_ENTRY, ino, next_at, length, kind)
            else:
                child = enter(node)
                valid = 0 if child.parted else VALID
                said = pack(
                    *(child.id, 0, VALID, valid, 0, 0),
                    *fields(node, state),
                    *(ino, next_at, length, kind),
                )
            pieces += (said, name, _PADDING[padding])
        return _with(head[2], b"".join(pieces))

    def _releasedir(self, known: Known, size: int, head: Head) -> bytes:
        self._folders.pop(RELEASE_IN.unpack_from(self._buffer, IN_SIZE)[0], None)
        return OUT.pack(OUT_SIZE, 0, head[2])

    def _fsyncdir(self, known: Known, size: int, head: Head) -> bytes:
        if self._volatile:
            # The kernel doesn't ask again.
            return OUT.pack(OUT_SIZE, -errno.ENOSYS, head[2])
        _, flags, _ = FSYNC_IN.unpack_from(self._buffer, IN_SIZE)
        self._union.sync(known.node, -1, bool(flags & FSYNC_DATA_ONLY))
        return OUT.pack(OUT_SIZE, 0, head[2])


CLOCK_REALTIME_COARSE = 5
"""The clock that file systems take times from (clock_gettime(2))."""


def without_privileges(mode: int) -> int | None:
    """Return a file's permissions without what a write takes away; None: there is nothing."""
    taken = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
    if not stat.S_ISREG(mode) or not mode & taken:
        return None
    return stat.S_IMODE(mode) & ~taken


def _moment(given: int, is_now: int, seconds: int, nanoseconds: int, now: int) -> int | None:
    if is_now:
        return now
    if not given:
        return None
    return seconds * 1_000_000_000 + nanoseconds


def _with(unique: int, payload: bytes) -> bytes:
    return OUT.pack(OUT_SIZE + len(payload), 0, unique) + payload


def _fitting(unique: int, room: int, value: bytes) -> bytes:
    """Answer with an attribute's value, or with its length where nobody wants more."""
    if room == 0:
        return _with(unique, GETXATTR_OUT.pack(len(value), 0))
    if len(value) > room:
        return OUT.pack(OUT_SIZE, -errno.ERANGE, unique)
    return _with(unique, value)
