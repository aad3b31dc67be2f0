"""One connection to the kernel's FUSE: requests are read, and answered one after the other."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from layerview.unionfs.fuse import protocol
from layerview.unionfs.fuse.backing import Backing
from layerview.unionfs.fuse.files import Files
from layerview.unionfs.fuse.known import Known, Table
from layerview.unionfs.fuse.mount import MAX_DATA
from layerview.unionfs.fuse.names import Handler, Head, Names
from layerview.unionfs.fuse.protocol import IN, OUT, OUT_SIZE
from layerview.unionfs.fuse.waiting import Waiting

if TYPE_CHECKING:
    import select

    from layerview.unionfs.fuse.listeners import Listeners
    from layerview.unionfs.union import Union

_ROOM = 4096
"""Bytes of a request beside its data at most."""
_BACKGROUND = 64
_HEED_AFTER = 64
"""Requests after which listeners are heeded though more requests wait."""
_WANTED = (
    protocol.CAN_ASYNC_READ
    | protocol.CAN_ATOMIC_O_TRUNC
    | protocol.CAN_BIG_WRITES
    | protocol.CAN_DONT_MASK
    | protocol.CAN_READDIRPLUS
    | protocol.CAN_PARALLEL_DIROPS
    | protocol.CAN_POSIX_ACL
    | protocol.CAN_MAX_PAGES
    | protocol.CAN_CACHE_SYMLINKS
    | protocol.CAN_HANDLE_KILLPRIV_V2
    | protocol.CAN_INIT_EXT
    | protocol.CAN_PASSTHROUGH
)

_MAY_KEEP_IDS = (
    protocol.MKNOD,
    protocol.MKDIR,
    protocol.LINK,
    protocol.RENAME,
    protocol.RENAME2,
    protocol.SETXATTR,
    protocol.REMOVEXATTR,
    protocol.WRITE,
    protocol.FALLOCATE,
    protocol.COPY_FILE_RANGE,
)
"""Requests after which setuid and setgid bits may be there; those with a mode see to it."""


class Server:
    """Serves a union until it is unmounted everywhere."""

    def __init__(
        self,
        connection: int,
        union: Union,
        top: int,
        *,
        volatile: bool = False,
        passthrough: bool = True,
        on_fault: Callable[[], None] = lambda: None,
    ) -> None:
        """Greet the kernel.

        Args:
            connection: whose mount was made.
            union: what to serve.
            top: a descriptor of its top branch.
            volatile: let nothing wait for the disk.
            passthrough: have the kernel read and write the files itself, where it does that.
            on_fault: called where a request is answered with an error that is ours.

        Raises:
            OSError: ENODEV when it was unmounted already; EPROTO when the kernel speaks otherwise.
        """
        self._connection = connection
        self._union = union
        self._buffer = bytearray(MAX_DATA + _ROOM)
        self._on_fault = on_fault
        backing = self._greet(top, passthrough)
        self.passthrough = backing is not None
        table = Table(union)
        self._known = table.by_id
        self._files = Files(connection, table, self._buffer, backing=backing, volatile=volatile)
        table.on_forget = self._files.forget
        names = Names(table, self._buffer, volatile=volatile)
        self._handlers: dict[int, Handler] = {**names.handlers(), **self._files.handlers()}
        if backing is not None:
            union.before_set_ids = backing.regain
            for opcode in _MAY_KEEP_IDS:
                self._handlers[opcode] = _regaining(backing, self._handlers[opcode])

    def _greet(self, top: int, passthrough: bool) -> Backing | None:
        """Answer INIT, which is the first request."""
        _, opcode, unique, *_ = self._receive()
        major, minor, readahead, flags, more = protocol.INIT_IN.unpack_from(
            self._buffer, protocol.IN_SIZE
        )
        if opcode != protocol.INIT or (major, minor) < protocol.OLDEST:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO), "INIT")
        flags |= more << 32 if flags & protocol.CAN_INIT_EXT else 0
        flags &= _WANTED if passthrough else _WANTED & ~protocol.CAN_PASSTHROUGH
        backing = Backing(self._connection) if flags & protocol.CAN_PASSTHROUGH else None
        self._answer(
            unique,
            protocol.INIT_OUT.pack(
                *(protocol.MAJOR, min(minor, protocol.SPOKEN), readahead),
                *(flags & 0xFFFFFFFF, _BACKGROUND, _BACKGROUND * 3 // 4, MAX_DATA, 1),
                *(MAX_DATA // os.sysconf("SC_PAGE_SIZE"), 0, flags >> 32),
                *(1 if backing is not None else 0, 0, 0, *(0,) * 5),
            ),
        )
        if backing is not None and not backing.works(top):
            return None
        return backing

    def _receive(self) -> Head:
        while True:
            try:
                os.readv(self._connection, [self._buffer])
            except OSError as error:
                # ENOENT: the request was interrupted before it was read.
                if error.errno not in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    raise
            else:
                return IN.unpack_from(self._buffer)

    def _answer(self, unique: int, payload: bytes) -> None:
        os.write(self._connection, OUT.pack(OUT_SIZE + len(payload), 0, unique) + payload)

    def serve(self, listeners: Listeners | None = None, poll: select.poll | None = None) -> None:
        """Answer until there is nothing mounted any more.

        Args:
            listeners: who hears of steps.
            poll: what these are looked at with.

        Raises:
            OSError: as the connection has it, but for its end.
        """
        connection, buffer, known = self._connection, self._buffer, self._known
        handlers, unpack, pack = self._handlers, IN.unpack_from, OUT.pack
        readv, write, buffers = os.readv, os.write, [buffer]
        waiting = self._waiting(listeners, poll)
        wait = waiting.wait
        answered = 0
        while True:
            try:
                size = readv(connection, buffers)
            except BlockingIOError:
                size = wait()
                if not size:
                    continue
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            head = unpack(buffer)
            handler = handlers.get(head[1])
            try:
                if handler is None:
                    reply: bytes | None = self._other(head[1], head[2])
                else:
                    reply = handler(known[head[3]], size, head)
            except OSError as error:
                reply = pack(OUT_SIZE, -(error.errno or errno.EIO), head[2])
                if error.errno == errno.EMFILE and handler and self._files.close_idle():
                    reply = self._again(handler, size, head)
            except Exception:
                # Whatever it is, others' requests are to be answered.
                self._on_fault()
                reply = pack(OUT_SIZE, -errno.EIO, head[2])
            if reply is not None:
                try:
                    write(connection, reply)
                except FileNotFoundError:
                    # Who asked does not wait any more.
                    pass
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return
                    raise
            answered += 1
            if answered == _HEED_AFTER:
                answered = 0
                waiting.heed()

    def _waiting(self, listeners: Listeners | None, poll: select.poll | None) -> Waiting:
        union, files = self._union, self._files

        def heed(fd: int, event: int) -> None:
            assert listeners is not None
            listeners.heed(fd, event)
            union.reads = listeners.reads
            if not listeners.any:
                union.report = None
            elif union.report is None:
                files.mark()
                union.report = listeners.tell

        def is_watched() -> bool:
            return union.report is not None and (files.is_written or union.has_writes)

        def look() -> None:
            files.look()
            union.tell_writes()

        return Waiting(
            self._connection,
            self._buffer,
            listeners=listeners,
            poll=poll,
            heed=heed,
            is_watched=is_watched,
            look=look,
        )

    def _again(self, handler: Handler, size: int, head: Head) -> bytes | None:
        """Answer a request for which there were not enough descriptors before."""
        try:
            return handler(self._known[head[3]], size, head)
        except OSError as error:
            return OUT.pack(OUT_SIZE, -(error.errno or errno.EIO), head[2])

    def _other(self, opcode: int, unique: int) -> bytes | None:
        """Answer what nothing here answers."""
        if opcode == protocol.INTERRUPT:
            # Requests are answered in their order: what it is about was answered.
            return None
        if opcode == protocol.IOCTL:
            return OUT.pack(OUT_SIZE, -errno.ENOTTY, unique)
        if opcode == protocol.DESTROY:
            return OUT.pack(OUT_SIZE, 0, unique)
        return OUT.pack(OUT_SIZE, -errno.ENOSYS, unique)

    def close(self) -> None:
        """Let go of the union; what is mounted still gives errors from then on."""
        with suppress(OSError):
            os.close(self._connection)
        self._union.close()


def _regaining(backing: Backing, handler: Handler) -> Handler:
    """Have all capabilities before a request is answered."""

    def answer(known: Known, size: int, head: Head) -> bytes | None:
        backing.regain()
        return handler(known, size, head)

    return answer
