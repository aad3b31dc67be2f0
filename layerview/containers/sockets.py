"""What a start needs of the module socket, on the interpreter's own part of that.

The module itself makes enums of all the constants that it has when it is imported, which takes as
long as a third of what layerview's own modules do. Names and meanings are its own, so to a type
checker they are it.
"""

from __future__ import annotations

import struct
from _socket import (
    AF_INET,
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_PEEK,
    SCM_RIGHTS,
    SHUT_WR,
    SO_PEERCRED,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    sethostname,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import recv_fds, send_fds, socket, socketpair
else:
    import _socket

    class socket(_socket.socket):
        """One end of a connection; closed where its `with` ends."""

        __slots__ = ()

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.close()

        def accept(self):
            """Take a connection; return it, and who is at its other end."""
            fd, address = self._accept()
            return socket(fileno=fd), address

    def socketpair(family=AF_UNIX, type=SOCK_STREAM):  # noqa: A002
        """Return two sockets that are connected with each other."""
        one, other = _socket.socketpair(family, type)
        return tuple(socket(family, type, 0, end.detach()) for end in (one, other))

    def send_fds(line, buffers, fds):
        """Send bytes, and descriptors with them."""
        packed = struct.pack(f"{len(fds)}i", *fds)
        return line.sendmsg(buffers, [(SOL_SOCKET, SCM_RIGHTS, packed)])

    def recv_fds(line, size, most):
        """Receive bytes and descriptors; return them, the flags and the address."""
        room = _socket.CMSG_LEN(most * struct.calcsize("i"))
        data, ancillary, flags, address = line.recvmsg(size, room)
        found = []
        for level, kind, packed in ancillary:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                count = len(packed) // struct.calcsize("i")
                found += struct.unpack(f"{count}i", packed[: count * struct.calcsize("i")])
        return data, found, flags, address


__all__ = [
    "AF_INET",
    "AF_UNIX",
    "CMSG_SPACE",
    "MSG_CMSG_CLOEXEC",
    "MSG_PEEK",
    "SCM_RIGHTS",
    "SHUT_WR",
    "SOCK_DGRAM",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_PEERCRED",
    "recv_fds",
    "send_fds",
    "sethostname",
    "socket",
    "socketpair",
]
