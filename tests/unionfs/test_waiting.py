"""Waiting for requests: awake where they come at once, asleep where they don't."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest

from layerview.unionfs.fuse import waiting
from layerview.unionfs.fuse.waiting import Waiting

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The kernel's end of a connection, and the server's."""
    kernel, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel, server:
        yield kernel, server


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that a request was looked for."""
    made: list[int] = []
    real = os.readv

    def readv(fd: int, buffers: list[bytearray]) -> int:
        made.append(fd)
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", readv)
    return made


def waits(server: socket.socket, buffer: bytearray) -> Waiting:
    """Wait at a connection to which nobody listens."""
    return Waiting(
        server.fileno(),
        buffer,
        listeners=None,
        poll=None,
        heed=lambda fd, event: None,
        is_watched=lambda: False,
        look=lambda: None,
    )


def test_a_request_that_is_there_is_read_without_sleeping(ends: Ends) -> None:
    kernel, server = ends
    buffer = bytearray(100)
    waiting = waits(server, buffer)
    kernel.send(b"asked")
    assert waiting.wait() == 5
    assert buffer[:5] == b"asked"


def test_one_that_comes_later_is_waited_for_asleep(ends: Ends) -> None:
    kernel, server = ends
    waiting = waits(server, bytearray(100))
    if os.fork() == 0:
        import time

        time.sleep(0.2)
        os.write(kernel.fileno(), b"asked")
        os._exit(0)
    used = os.times().user + os.times().system
    assert waiting.wait() == 0
    assert os.times().user + os.times().system - used < 0.1
    assert os.readv(server.fileno(), [bytearray(100)]) == 5
    os.wait()


def test_where_nothing_comes_soon_it_is_looked_for_less_and_less_often(
    ends: Ends, attempts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = ends
    waiting_here = waits(server, bytearray(100))
    monkeypatch.setattr(waiting_here, "_sleep", lambda: None)
    looked = []
    for number in range(4 * (waiting._MOST_SKIPPED + 1)):
        del attempts[:]
        assert waiting_here.wait() == 0
        if attempts:
            looked.append(number)
    between = [after - before for before, after in pairwise(looked)]
    assert between[:4] == [2, 4, 8, 16]
    assert between[-1] == waiting._MOST_SKIPPED + 1


def test_one_that_comes_soon_is_looked_for_again_at_once(ends: Ends, attempts: list[int]) -> None:
    kernel, server = ends
    waiting_here = waits(server, bytearray(100))
    waiting_here._skip, waiting_here._skipped = 255, 255
    kernel.send(b"one")
    assert waiting_here.wait() == 3
    del attempts[:]
    kernel.send(b"three")
    assert waiting_here.wait() == 5
    assert attempts


def test_an_error_is_left_to_who_reads_next(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    _, server = ends
    waiting_here = waits(server, bytearray(100))
    monkeypatch.setattr(waiting_here, "_sleep", lambda: None)

    def gone(fd: int, buffers: list[bytearray]) -> int:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(os, "readv", gone)
    assert waiting_here.wait() == 0
