"""Who is connected to a shim, and the commands that it runs for them.

The shim holds this module for as long as a container runs: it imports nothing heavy.
"""

from __future__ import annotations

import json
import struct
import time
from collections import deque

from layerview.containers import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 10.0
"""Seconds that a client has for its request."""


class Client:
    """A connection, and what it waits for."""

    __slots__ = (
        "asked",
        "deadline",
        "descriptors",
        "ends",
        "gone",
        "heard",
        "offset",
        "out",
        "owner",
        "pending",
        "socket",
        "stage",
        "stdin",
    )

    def __init__(self, connection: sockets.socket, stage: str = "asks") -> None:
        """Look after a connection.

        Args:
            connection: from now on not blocking.
            stage: "asks"; "attached"; "waits" for the container's end, "execs" for a command's.
        """
        connection.setblocking(False)
        self.socket = connection
        self.stage = stage
        self.heard = b""
        self.descriptors: list[int] = []
        self.asked: dict[str, Any] | None = None
        """A request that is answered by the process that this one becomes."""
        self.out: deque[bytes] = deque()
        self.offset = 0
        """Bytes of the first of `out` that are sent."""
        self.pending = 0
        self.stdin = False
        """Whether the container's input is read from it."""
        self.owner = False
        """Whether it is who started the container and removes it afterwards."""
        self.ends = False
        """Whether nothing comes after what is pending."""
        self.gone = False
        self.deadline = time.monotonic() + PATIENCE

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self.socket.fileno()

    def push(self, data: bytes) -> None:
        """Send, now or once it takes it."""
        self.out.append(data)
        self.pending += len(data)
        if len(self.out) == 1:
            self.flush()

    def flush(self) -> None:
        """Send what it takes."""
        try:
            while self.out:
                first = self.out[0]
                sent = self.socket.send(memoryview(first)[self.offset :] if self.offset else first)
                self.pending -= sent
                self.offset += sent
                if self.offset == len(first):
                    self.out.popleft()
                    self.offset = 0
        except BlockingIOError:
            return
        except OSError:
            self.lose()

    def lose(self) -> None:
        """Take note that nobody is there."""
        self.gone = True
        self.out.clear()
        self.offset = self.pending = 0

    def hand_over(self) -> dict[str, Any]:
        """Return what another process needs to go on."""
        out = b"".join(self.out)[self.offset :]
        return {
            "fd": self.fd,
            "stage": self.stage,
            "heard": self.heard,
            "descriptors": self.descriptors,
            "asked": self.asked,
            "out": out,
            "stdin": self.stdin,
            "owner": self.owner,
            "ends": self.ends,
        }


def client_from(kept: dict[str, Any]) -> Client:
    """Make a client of what `hand_over` gave."""
    client = Client(sockets.socket(fileno=kept["fd"]), kept["stage"])
    client.heard = kept["heard"]
    client.descriptors = kept["descriptors"]
    client.asked = kept["asked"]
    client.stdin, client.owner, client.ends = kept["stdin"], kept["owner"], kept["ends"]
    if kept["out"]:
        client.out.append(kept["out"])
        client.pending = len(kept["out"])
    return client


def answer(**words: object) -> bytes:
    """Write a line of an answer."""
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


def frame(stream: int, data: bytes) -> bytes:
    """Write a frame as Docker's stdcopy."""
    return struct.pack(">BxxxI", stream, len(data)) + data


class Command:
    """A command that was started, or is being started, in the container."""

    __slots__ = ("client", "error", "master", "pid", "ready", "report", "status")

    def __init__(self, client: Client, report: sockets.socket | None, pid: int) -> None:
        """Look after a command.

        Args:
            client: who asked for it.
            report: where the process says how far it is.
            pid: as seen from here.
        """
        self.client = client
        self.report = report
        self.pid = pid
        self.master = -1
        self.ready = 0
        """Its pid on the machine, once it is about to be executed."""
        self.error: dict[str, Any] | None = None
        self.status: int | None = None
