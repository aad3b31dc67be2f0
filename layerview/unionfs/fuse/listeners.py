"""Those who hear of each step: see unionfs.steps for what is said."""

from __future__ import annotations

import json
import os
import select
import socket
from contextlib import suppress

from layerview.unionfs.steps import Step, encode

_MOST = 16
_BACKLOG = 16
_WAITING = 4 << 20
"""Bytes that wait for one listener at most."""
_LINE = 4096
"""Bytes of what a listener says at most."""
_TOLD_AT_ONCE = 64
"""Steps after which those before are sent, at the latest."""


def listen(path: str) -> tuple[socket.socket, int]:
    """Listen at a path, in place of whatever an ended server left there.

    Returns:
        The socket, and a descriptor of its folder, both the caller's to close.

    Raises:
        OSError: as bind(2) has it.
    """
    place, name = os.path.split(path)
    folder = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        mask = os.umask(0o177)
        try:
            # A socket's name in full may be longer than the kernel takes.
            made.bind(f"/proc/self/fd/{folder}/{name}")
        finally:
            os.umask(mask)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        os.close(folder)
        raise
    return made, folder


class _Listener:
    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.said = b""
        self.reads = False
        self.waiting = bytearray()
        self.lost = 0


class Listeners:
    """The listeners of one server. Nothing here waits for any of them."""

    def __init__(self, listening: socket.socket, poll: select.poll) -> None:
        """Take what is connected, and have a poll look at it."""
        self._listening = listening
        self._poll = poll
        self._all: dict[int, _Listener] = {}
        self._steps: list[Step] = []
        poll.register(listening, select.POLLIN)

    @property
    def any(self) -> bool:
        """Whether there is somebody."""
        return bool(self._all)

    @property
    def reads(self) -> bool:
        """Whether somebody wants to hear of reads."""
        return any(one.reads for one in self._all.values())

    @property
    def waits(self) -> bool:
        """Whether something was noted and not sent yet."""
        return bool(self._steps)

    def tell(self, step: Step) -> None:
        """Take note of a step."""
        if self._all:
            self._steps.append(step)
            if step.kind == "copying" or len(self._steps) >= _TOLD_AT_ONCE:
                self.send()

    def send(self) -> None:
        """Send what was noted, as far as there is room."""
        if not self._steps:
            return
        steps, self._steps = self._steps, []
        lines = [encode(step) for step in steps]
        for one in list(self._all.values()):
            for step, line in zip(steps, lines, strict=True):
                if step.kind == "read" and not one.reads:
                    continue
                if one.lost or len(one.waiting) + len(line) > _WAITING:
                    one.lost += 1
                else:
                    one.waiting += line
            self._push(one)

    def heed(self, fd: int, event: int) -> None:
        """Take what a poll found."""
        if fd == self._listening.fileno():
            self._accept()
            return
        one = self._all.get(fd)
        if one is None:
            return
        if event & select.POLLOUT:
            self._push(one)
        if event & ~select.POLLOUT:
            self._hear(one)

    def _accept(self) -> None:
        try:
            line, _ = self._listening.accept()
        except OSError:
            return
        if len(self._all) >= _MOST:
            line.close()
            return
        line.setblocking(False)
        one = self._all[line.fileno()] = _Listener(line)
        self._poll.register(line, select.POLLIN)
        # From now on it is told all.
        one.waiting += _lost(0)
        self._push(one)

    def _hear(self, one: _Listener) -> None:
        try:
            piece = one.line.recv(_LINE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._end(one)
            return
        one.said = (one.said + piece)[:_LINE]
        if b"\n" in one.said:
            first, one.said = one.said.split(b"\n", 1)
            with suppress(ValueError, RecursionError):
                said = json.loads(first)
                one.reads = isinstance(said, dict) and said.get("reads") is True

    def _push(self, one: _Listener) -> None:
        if one.line.fileno() < 0:
            return
        try:
            while one.waiting:
                del one.waiting[: one.line.send(one.waiting)]
                if not one.waiting and one.lost:
                    one.waiting += _lost(one.lost)
                    one.lost = 0
        except BlockingIOError:
            pass
        except OSError:
            self._end(one)
            return
        more = select.POLLOUT if one.waiting else 0
        self._poll.modify(one.line, select.POLLIN | more)

    def _end(self, one: _Listener) -> None:
        fd = one.line.fileno()
        if self._all.pop(fd, None) is not None:
            self._poll.unregister(fd)
            one.line.close()

    def close(self) -> None:
        """Let go of all."""
        self.send()
        for one in list(self._all.values()):
            self._end(one)
        self._listening.close()


def _lost(count: int) -> bytes:
    return json.dumps({"lost": count}).encode() + b"\n"
