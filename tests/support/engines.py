"""A fake Docker Engine: a socket whose answers, honest or hostile, a test lays down as bytes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Answer = bytes | Callable[[socket.socket], None]

PING = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"


def answer(body: object, status: str = "200 OK", **headers: str) -> bytes:
    """Make an honest answer of a JSON document, or of bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def chunked(*pieces: bytes) -> bytes:
    """Make an answer in chunks, without the last one."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class FakeEngine:
    """Answers each path as laid down; remembers what was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = f"unix://{path}"
        self.answers: dict[str, Answer] = {"/_ping": PING}
        self.asked: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def lay(self, path: str, body: Answer | list[Any] | dict[str, Any]) -> None:
        """Lay down the answer to a path without its version: raw bytes, or a JSON document."""
        self.answers[path] = answer(body) if isinstance(body, list | dict) else body

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                plug, _ = self._listener.accept()
                self._open.append(plug)
                threading.Thread(target=self._answer, args=(plug,), daemon=True).start()

    def _answer(self, plug: socket.socket) -> None:
        with suppress(OSError):
            asked = b""
            while b"\r\n\r\n" not in asked:
                data = plug.recv(4096)
                if not data:
                    return
                asked += data
            target = asked.split(b" ", 2)[1].decode()
            self.asked.append(target)
            path = target if target == "/_ping" else "/" + target.split("/", 2)[2]
            said = self.answers.get(path, answer({"message": f"no such {path}"}, "404 Not Found"))
            if callable(said):
                said(plug)
            else:
                plug.sendall(said)
            plug.shutdown(socket.SHUT_RDWR)
            plug.close()

    def close(self) -> None:
        """Stop listening and hang up on everybody."""
        for plug in [self._listener, *self._open]:
            with suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
            plug.close()


@contextmanager
def fake_engine(path: Path) -> Iterator[FakeEngine]:
    """Run a fake engine on a Unix socket."""
    engine = FakeEngine(path)
    try:
        yield engine
    finally:
        engine.close()
