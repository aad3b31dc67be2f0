"""Talking to what answers on a container's socket, also when it is no shim, or hangs."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerview.containers import talk
from layerview.containers.plan import ExecPlan, StartError
from layerview.containers.shim_clients import frame
from layerview.errors import LayerviewError, NotFoundError


@contextmanager
def answering(run: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Answer one call."""
    listener = socket.socket(socket.AF_UNIX)
    folder = os.open(run, os.O_PATH)
    listener.bind(f"/proc/self/fd/{folder}/shim")
    os.close(folder)
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        listener.close()


def test_nobody_answers_without_a_folder_a_socket_or_a_listener(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(NotFoundError, match="does not run"):
            talk.connect(str(place))
    (tmp_path / "shim").write_bytes(b"")
    with pytest.raises(NotFoundError):
        talk.connect(str(tmp_path))
    (tmp_path / "shim").unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "shim"))
    with pytest.raises(NotFoundError):
        talk.connect(str(tmp_path))


def test_a_path_that_is_longer_than_a_sockets_name_does_as_well(tmp_path: Path) -> None:
    run = tmp_path / ("x" * 200) / ("y" * 200)
    run.mkdir(parents=True)
    with (
        answering(run, lambda peer: peer.sendall(peer.recv(100) and b'{"pid":5}\n')),
        talk.connect(str(run)) as shim,
    ):
        assert shim.state() == {"pid": 5}


@pytest.mark.parametrize("said", [b"", b'{"exit":', b"x" * 100])
def test_an_answer_that_is_cut_off_means_that_it_is_gone(tmp_path: Path, said: bytes) -> None:
    def answer(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(said)

    with answering(tmp_path, answer), pytest.raises(talk.GoneError):
        talk.connect(str(tmp_path)).wait()


@pytest.mark.parametrize("said", [b"\n", b"[]\n", b"\xff\n", b"[" * 60000 + b"\n"])
def test_other_answers_are_errors_of_a_line(tmp_path: Path, said: bytes) -> None:
    def answer(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(said)

    with answering(tmp_path, answer), pytest.raises(LayerviewError, match="no shim"):
        talk.connect(str(tmp_path)).state()


def test_an_endless_answer_is_not_held(tmp_path: Path) -> None:
    def answer(peer: socket.socket) -> None:
        peer.recv(100)
        try:
            for _ in range(1000):
                peer.sendall(b"x" * 65536)
        except OSError:
            pass

    with answering(tmp_path, answer), pytest.raises(LayerviewError):
        talk.connect(str(tmp_path)).state()


def test_one_that_hangs_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "_PATIENCE", 0.2)
    done = threading.Event()
    with answering(tmp_path, lambda peer: bool(done.wait(10)) and None):
        try:
            with pytest.raises(LayerviewError, match="hangs"):
                talk.connect(str(tmp_path)).state()
        finally:
            done.set()


def test_what_goes_wrong_with_a_command_has_dockers_exit_status(tmp_path: Path) -> None:
    def answer(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(b'{"error":"no \\u001b[31m such","code":127}\n')

    with answering(tmp_path, answer), pytest.raises(StartError, match=r"no \\x1b\[31m such") as e:
        talk.connect(str(tmp_path)).exec(ExecPlan(("x",), tty=True))
    assert e.value.code == 127


def test_what_comes_behind_an_answer_is_left_for_who_is_attached(tmp_path: Path) -> None:
    def answer(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(b'{"ok":true,"tty":true,"stdin":true}\n' + frame(1, b"early"))

    with answering(tmp_path, answer):
        attached = talk.connect(str(tmp_path)).attach()
        assert attached.tty
        assert talk.Frames().feed(attached.socket.recv(100)) == [(1, b"early")]
        attached.close()


def test_frames_are_found_however_the_bytes_come() -> None:
    pieces = [(1, b"a"), (2, b""), (1, b"\x01\x00\x00\x00"), (2, os.urandom(70_000))]
    data = b"".join(frame(stream, piece) for stream, piece in pieces)
    data += frame(talk.END, b'{"exit":7}')
    chance = random.Random(5)
    for _ in range(20):
        frames, found, place = talk.Frames(), [], 0
        while place < len(data):
            size = chance.choice([1, 3, 8, 1000, 100_000])
            assert frames.exit is None
            found += frames.feed(data[place : place + size])
            place += size
        assert (found, frames.exit) == (pieces, 7)


def test_the_frames_are_those_of_dockers_stdcopy() -> None:
    assert frame(2, b"abc") == b"\x02\x00\x00\x00\x00\x00\x00\x03abc"
    assert struct.unpack(">BxxxI", frame(1, b"")) == (1, 0)
