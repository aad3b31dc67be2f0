"""The shim with a real process in a PID namespace: output, log, clients, its end."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from layerview.containers import talk
from layerview.errors import LayerviewError, NotFoundError
from tests.containers.shimming import BUSYBOX, Kept, kept, until


def sh(script: str) -> tuple[str, ...]:
    return (BUSYBOX, "sh", "-c", script)


def everything(attached: talk.Attached, patience: float = 20) -> tuple[dict[int, bytes], int]:
    """Read an attached client's output until the container's end."""
    frames, found = talk.Frames(), {1: b"", 2: b""}
    attached.socket.settimeout(patience)
    while frames.exit is None:
        data = attached.socket.recv(1 << 16)
        assert data, "the connection ended without an exit status"
        for stream, piece in frames.feed(data):
            found[stream] += piece
    return found, frames.exit


def test_output_is_logged_as_docker_does_and_the_exit_status_recorded(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("echo one; echo two >&2; printf three; exit 7")) as container:
        container.ended()
        out = [e for e in container.entries() if e["stream"] == "stdout"]
        assert [e["log"] for e in out] == ["one\n", "three"]
        assert container.said("stderr") == "two\n"
        assert list(out[0]) == ["log", "stream", "time"]
        state = container.state()
        assert (state["ExitCode"], state["Running"], state["Pid"]) == (7, False, 0)
        assert state["StartedAt"] == "2026-01-02"
        assert state["FinishedAt"].startswith("20")
        assert state["FinishedAt"].endswith("Z")


def test_who_waits_is_told_the_exit_status(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 0.6; exit 3")) as container:
        assert container.connect().wait() == 3
        container.ended()
        assert container.state()["ExitCode"] == 3


@pytest.mark.parametrize("small", [False, True])
def test_a_signal_is_passed_on_and_becomes_128_more(tmp_path: Path, small: bool) -> None:
    script = "trap 'exit 9' TERM; while :; do sleep 0.01; done"
    with kept(tmp_path, *sh(script), pause=0 if small else 60) as container:
        if small:
            container.become_small()
        with container.connect() as shim:
            waiting = container.connect()
            until(lambda: "S" in Path(f"/proc/{container.pid}/stat").read_text(), "sleep")
            time.sleep(0.05)
            shim.signal(15)
            assert waiting.wait() == 9
    with kept(tmp_path / "2", *sh("while :; do sleep 1; done")) as container:
        with container.connect() as shim:
            shim.signal(9)
        container.ended()
        assert container.state()["ExitCode"] == 137


def test_a_client_attached_from_the_start_misses_nothing(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with kept(tmp_path, *sh("echo a; echo b >&2; sleep 0.5; echo c"), client=theirs):
        found, code = everything(talk.Attached(ours, False))
    assert (found, code) == ({1: b"a\nc\n", 2: b"b\n"}, 0)
    ours.close()


def test_input_reaches_the_container_and_ends_with_the_client_where_asked(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with kept(tmp_path, BUSYBOX, "cat", client=theirs, stdin_once=True) as container:
        ours.sendall(b"hello\n")
        ours.shutdown(socket.SHUT_WR)
        found, code = everything(talk.Attached(ours, False))
        assert (found[1], code) == (b"hello\n", 0)
        container.ended()
    ours.close()


def test_a_terminal_can_be_resized_and_written_to(tmp_path: Path) -> None:
    script = "read x; stty size; echo got $x"
    with kept(tmp_path, *sh(script), tty=True) as container:
        with container.connect() as shim:
            shim.resize(33, 99)
        attached = container.connect().attach()
        assert attached.tty
        attached.socket.sendall(b"word\n")
        found, code = everything(attached)
        assert code == 0
        assert b"33 99\r\ngot word\r\n" in found[1]
        attached.close()


def test_nobody_answers_for_a_container_that_has_ended(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("exit 0")) as container:
        container.ended()
        with pytest.raises(NotFoundError, match="does not run"):
            container.connect()


def test_the_state_is_told(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 5")) as container, container.connect() as shim:
        said = shim.state()
        assert said["pid"] == container.pid
        assert said["tty"] is False
        with pytest.raises(LayerviewError, match="no terminal"):
            shim.resize(2, 2)


def small(container: Kept) -> int:
    container.become_small()
    return container.memory()


def test_it_becomes_small_and_keeps_clients_and_waiters(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    script = "echo a; printf par; sleep 1; echo tial; read x; echo $x; exit 4"
    with kept(tmp_path, *sh(script), client=theirs) as container:
        waits, second = container.connect(), container.connect().attach()
        assert small(container) <= 16 << 20
        ours.sendall(b"in\n")
        assert waits.wait() == 4
        assert everything(talk.Attached(ours, False)) == ({1: b"a\npartial\nin\n", 2: b""}, 4)
        assert everything(second)[1] == 4
        container.ended()
        assert [e["log"] for e in container.entries()] == ["a\n", "partial\n", "in\n"]
        second.close()
    ours.close()
