"""The shim with a real process in a PID namespace: output, log, clients, its end."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from layerview.containers import talk
from layerview.containers.plan import ExecPlan, StartError
from layerview.drivers.mounts import mount_points
from layerview.drivers.namespace import is_initial
from layerview.errors import LayerviewError, NotFoundError
from layerview.store.liveness import boot_id, start_time, take
from tests.containers.shimming import BUSYBOX, ROOT, Kept, kept, until
from tests.containers.starters import need_runtime
from tests.containers.starting import Lab, lab, wait_for_end
from tests.drivers.people import as_user, readable_site, user


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


def test_a_terminal_keeps_its_half_lines_and_colours_over_the_change(tmp_path: Path) -> None:
    script = "printf 'prompt> '; read x; printf '\\033[31mred\\033[0m\\n'"
    with kept(tmp_path, *sh(script), tty=True) as container:
        assert small(container) <= 16 << 20
        attached = container.connect().attach()
        attached.socket.sendall(b"y\n")
        found, _ = everything(attached)
        assert found[1] == b"y\r\n\x1b[31mred\x1b[0m\r\n"
        container.ended()
        lines = [e["log"] for e in container.entries()]
        assert lines == ["prompt> y\r\n", "\x1b[31mred\x1b[0m\r\n"]
        attached.close()


def test_memory_stays_below_16_mib_while_clients_are_attached_and_10_mb_go_through(
    tmp_path: Path,
) -> None:
    script = (
        "read x; dd if=/dev/zero bs=65536 count=160 2>/dev/null | tr '\\0' 'x'; sleep 0.5; read x"
    )
    with kept(tmp_path, *sh(script), tty=False) as container:
        container.become_small()
        clients = [container.connect().attach() for _ in range(3)]
        clients[0].socket.sendall(b"go\n")
        most = 0
        sizes = [0, 0, 0]
        frames = [talk.Frames() for _ in clients]
        while min(sizes) < 160 << 16:
            for number, client in enumerate(clients):
                # Who has all gets nothing more for now: one would wait for ever.
                if sizes[number] < 160 << 16:
                    for _, data in frames[number].feed(client.socket.recv(1 << 16)):
                        sizes[number] += len(data)
            most = max(most, container.memory())
        assert sizes == [160 << 16] * 3
        assert most <= 16 << 20, f"{most >> 10} KiB"
        assert container.memory() <= 16 << 20
        clients[0].socket.sendall(b"done\n")
        assert [everything(client)[1] for client in clients] == [0, 0, 0]
        for client in clients:
            client.close()


def test_the_container_waits_for_a_client_that_does_not_read_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    script = "seq 1 400000; echo end >&2"
    with kept(tmp_path, *sh(script)) as container:
        slow, quick = container.connect().attach(), container.connect().attach()
        time.sleep(0.7)
        container.become_small()
        seen = container.log.stat().st_size
        time.sleep(0.3)
        assert container.log.stat().st_size == seen, "it went on although a client is full"
        assert container.memory() <= 16 << 20
        with container.connect() as shim:
            assert shim.state()["pid"] == container.pid
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                everything(quick)
            os._exit(0)
        found, code = everything(slow)
        os.waitpid(pid, 0)
        numbers = container.said().split()
        assert found[1].decode().split()[-1] == numbers[-1] == "400000"
        assert len(numbers) == 400000
        assert (found[2], code) == (b"end\n", 0)
        slow.close()
        quick.close()


def test_a_client_killed_in_the_middle_of_output_does_no_harm(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("seq 1 300000; echo end")) as container:
        for _ in range(3):
            attached = container.connect().attach()
            attached.socket.recv(1000)
            attached.close()
        container.ended()
        assert container.said().endswith("300000\nend\n")
        assert len(container.entries()) == 300001


def test_a_client_that_never_reads_does_not_outlive_the_container(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("seq 1 300000")) as container:
        silent = container.connect().attach()
        time.sleep(0.5)
        with container.connect() as shim:
            shim.signal(9)
        began = time.monotonic()
        container.ended()
        assert time.monotonic() - began < 10
        assert container.state()["ExitCode"] == 137
        silent.close()


def raw(container: Kept) -> socket.socket:
    folder = os.open(container.run, os.O_PATH)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"/proc/self/fd/{folder}/shim")
    finally:
        os.close(folder)
    connection.settimeout(20)
    return connection


def said(connection: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            data += piece
    return data


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00garbage\n",
        b"{}\n",
        b"[]\n",
        b'{"do":["exec"]}\n',
        b'{"do":"signal","signal":"9"}\n',
        b'{"do":"signal","signal":100000000000000000000000}\n',
        b'{"do":"resize","rows":-1,"columns":1e999}\n',
        b'{"do":"exec"}\n',
        b'{"do":"exec","tty":true,"args":5}\n',
        b'{"do":"exec","tty":true,"args":["x"],"env":[7]}\n',
        b'{"do":"exec","tty":true,"args":["a\\u0000b"]}\n',
        b'{"do":"exec","tty":true,"args":["\\ud800"]}\n',
        b'{"do":"exec","tty":true,"args":["true"],"rows":99999999,"columns":1}\n',
        b"[" * 200000 + b"\n",
        b"9" * 10000 + b"\n",
        b"x" * (3 << 20),
    ],
    ids=range(16),
)
def test_garbage_is_refused_and_does_no_harm(tmp_path: Path, garbage: bytes) -> None:
    with kept(tmp_path, *sh("sleep 20"), pause=0) as container:
        container.become_small()
        connection = raw(container)
        with suppress(ConnectionError):
            connection.sendall(garbage)
        answer = said(connection)
        assert not answer or "error" in json.loads(answer.splitlines()[0]), answer
        connection.close()
        with container.connect() as shim:
            assert shim.state()["pid"] == container.pid
        assert container.memory() <= 20 << 20
        assert not (container.run / "shim.err").exists()


def test_descriptors_that_come_with_a_request_do_not_stay(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 20")) as container:
        container.become_small()
        time.sleep(0.1)
        before = len(os.listdir(f"/proc/{container.shim}/fd"))
        null = os.open("/dev/null", os.O_RDWR)
        for count in (1, 3, 5, 200):
            connection = raw(container)
            socket.send_fds(connection, [b'{"do":"st'], [null] * count)
            connection.close()
            connection = raw(container)
            with suppress(ConnectionError):
                socket.send_fds(connection, [b'{"do":"state"}\n'], [null] * count)
                said_once = connection.recv(1000)
                assert count > 3 or b"pid" in said_once
            connection.close()
        os.close(null)

        def same() -> bool:
            return len(os.listdir(f"/proc/{container.shim}/fd")) == before

        until(same, "close them")


def test_a_thousand_connections_at_once_do_no_harm(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 20")) as container:
        container.become_small()
        connections = []
        for _ in range(1000):
            connections.append(raw(container))
        with container.connect() as shim:
            assert shim.state()["pid"] == container.pid
        waits = [container.connect() for _ in range(200)]
        for connection in connections:
            connection.close()
        with container.connect() as shim:
            shim.signal(9)
        assert [shim.wait() for shim in waits[-1:]] == [137]
        for shim in waits:
            shim.close()


def test_when_all_places_are_taken_it_says_so(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 20")) as container:
        attached = [container.connect().attach() for _ in range(256)]
        with pytest.raises(LayerviewError, match="too many are connected"):
            container.connect().state()
        for each in attached:
            each.close()
        until(lambda: answers(container), "answer again")


def answers(container: Kept) -> bool:
    try:
        with container.connect() as shim:
            shim.state()
    except LayerviewError:
        return False
    return True


def test_who_is_connected_and_asks_nothing_is_let_go(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 30")) as container:
        connection = raw(container)
        connection.sendall(b'{"do":')
        began = time.monotonic()
        assert said(connection) == b""
        assert 5 < time.monotonic() - began < 15
        connection.close()


def test_another_user_is_not_answered(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 20")) as container:
        os.chmod(container.run / "shim", 0o777)
        for folder in [container.run, *container.run.parents]:
            if folder != Path("/") and folder != Path("/tmp"):
                folder.chmod(folder.stat().st_mode | 0o011)
        pid = os.fork()
        if pid == 0:
            try:
                connection = raw(container)
                os._exit(9)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                connection = raw(container)
                with suppress(BrokenPipeError):
                    connection.sendall(b'{"do":"state"}\n')
                status = 7 if said(connection) == b"" else 8
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_container_that_closes_its_output_runs_on(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("echo a; exec >&- 2>&-; sleep 0.8; exit 6")) as container:
        container.become_small()
        assert ticks(container) < 50, "it spins"
        assert container.connect().wait() == 6
        container.ended()
        assert container.said() == "a\n"


def test_a_terminal_that_nobody_has_open_for_a_while_is_read_on(tmp_path: Path) -> None:
    script = "t=$(tty); echo a; exec <&- >&- 2>&-; sleep 0.6; echo b > $t; sleep 0.1; exit 5"
    with kept(tmp_path, *sh(script), tty=True) as container:
        container.ended()
        assert container.said() == "a\r\nb\r\n"
        assert container.state()["ExitCode"] == 5


def test_what_is_left_in_the_background_ends_with_the_first_process(tmp_path: Path) -> None:
    script = "sleep 60 & (trap '' TERM HUP; while :; do sleep 1; done) & echo started; exit 0"
    with kept(tmp_path, *sh(script)) as container:
        began = time.monotonic()
        container.ended()
        assert time.monotonic() - began < 5
        assert container.said() == "started\n"
        assert container.state()["ExitCode"] == 0


def test_output_that_somebody_outside_holds_open_is_not_waited_for(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("echo a; sleep 1; exit 0")) as container:
        until(lambda: container.log.exists() and container.said() == "a\n", "write")
        fd = os.open(f"/proc/{container.pid}/fd/1", os.O_WRONLY)
        container.ended()
        os.close(fd)
        assert container.state()["ExitCode"] == 0


@pytest.mark.parametrize("when", ["at once", "small"])
def test_killing_the_shim_ends_the_container(tmp_path: Path, when: str) -> None:
    with kept(tmp_path, *sh("sleep 60 & sleep 60")) as container:
        attached = container.connect().attach()
        waits = container.connect()
        if when == "small":
            container.become_small()
        inside = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        until(lambda: inside.read_text().strip() != "", "have a child")
        child = int(inside.read_text().split()[0])
        os.kill(container.shim, signal.SIGKILL)
        container.ended()
        with pytest.raises(talk.GoneError):
            waits.wait()
        for pid in (child, container.pid):
            wait_for_end(pid)
        assert container.state()["Running"] is True  # the truth is the lock
        attached.close()


def test_who_has_a_killed_shims_lock_finds_none_of_its_processes(tmp_path: Path) -> None:
    """The kernel lets go of what a process 1 had open before it ends its namespace."""
    script = "for i in $(seq 200); do sleep 60 & done; wait"
    for number in range(3):
        with kept(tmp_path / str(number), *sh(script)) as container:
            inside = Path(f"/proc/{container.pid}/task/{container.pid}/children")
            until(lambda inside=inside: len(inside.read_text().split()) == 200, "fork")
            processes = [container.pid, *map(int, inside.read_text().split())]
            lock = container.folder / "layerview.lock"
            write_lock(lock, container)
            os.kill(container.shim, signal.SIGKILL)
            fd = take(str(lock), 10)
            assert fd is not None
            left = [pid for pid in processes if start_time(pid) is not None]
            os.close(fd)
            assert not left


def write_lock(lock: Path, container: Kept) -> None:
    said = {"shim": container.shim, "pid": container.pid, "boot": boot_id(), "started": ""}
    starts = {"shim_start": start_time(container.shim), "pid_start": start_time(container.pid)}
    lock.write_text(json.dumps(said | starts))


def test_other_signals_do_not_end_it(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 1.2; exit 8")) as container:
        comm = Path(f"/proc/{container.shim}/comm")
        until(lambda: comm.read_text() == "layerview-shim\n", "be ready")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(container.shim, number)
        container.become_small()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(container.shim, number)
        assert container.connect().wait() == 8


def test_commands_are_reaped_and_so_are_those_that_nobody_waits_for(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("while :; do sleep 1; done")) as container:
        container.become_small()
        null = os.open("/dev/null", os.O_RDWR)
        for n in range(6):
            plan = ExecPlan((BUSYBOX, "sh", "-c", f"exit {n}"))
            command = container.connect().exec(plan, (null, null, null))
            if n % 2:
                assert command.wait() == n
            command.close()
        os.close(null)

        def zombies() -> list[str]:
            found = []
            for stat in Path("/proc").glob("[0-9]*/stat"):
                with suppress(OSError):
                    words = stat.read_text().rpartition(")")[2].split()
                    if words[0] == "Z" and int(words[1]) == container.shim:
                        found.append(str(stat))
            return found

        time.sleep(0.2)
        until(lambda: not zombies(), "reap them")


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "lv", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.conformance
def test_a_full_disk_does_not_stop_it_and_the_log_says_what_is_missing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a disk of its own needs root")
    with small_disk(tmp_path / "disk", "1m"):
        filler = tmp_path / "disk" / "filler"
        script = "echo first; read x; seq 1 200000; read x; echo last; exit 3"
        with kept(tmp_path / "disk", *sh(script)) as container:
            attached = container.connect().attach()
            until(lambda: container.log.exists() and "first" in container.said(), "log")
            with suppress(OSError), open(filler, "wb", 0) as file:
                while file.write(b"x" * 4096):
                    pass
            attached.socket.sendall(b"go\n")
            frames, got = talk.Frames(), b""
            while not got.endswith(b"200000\n"):
                got += b"".join(data for _, data in frames.feed(attached.socket.recv(1 << 16)))
            filler.unlink()
            attached.socket.sendall(b"go\n")
            assert everything(attached)[1] == 3
            container.ended()
            entries = container.entries()  # each line is whole
            assert (entries[0]["log"], entries[-1]["log"]) == ("first\n", "last\n")
            notes = [e["log"] for e in entries if e["log"].startswith("layerview: ")]
            assert notes
            assert "bytes of output are missing here: no space left on device" in notes[-1]
            assert container.state()["ExitCode"] == 3
            attached.close()


def test_binary_output_is_logged_as_gos_json_has_it(tmp_path: Path) -> None:
    data = bytes(range(256)) + b'\n<&>\\"\xe2\x80\xa8 \xc3\xa9 \xe2\x82\n\xed\xa0\x80\n'
    (tmp_path / "data").write_bytes(data)
    with kept(tmp_path, BUSYBOX, "cat", str(tmp_path / "data")) as container:
        container.ended()
    lines = container.log.read_bytes().splitlines()
    logged = b"\n".join(line.split(b'","stream"')[0].removeprefix(b'{"log":"') for line in lines)
    low = b"".join(b"\\u%04x" % n for n in range(10)) + b"\\n"
    middle = b"\\u000b\\u000c\\r" + b"".join(b"\\u%04x" % n for n in range(14, 32))
    middle += (
        bytes(range(32, 128))
        .replace(b"\\", b"\\\\")
        .replace(b'"', b'\\"')
        .replace(b"<", b"\\u003c")
        .replace(b">", b"\\u003e")
        .replace(b"&", b"\\u0026")
    )
    middle += b"\\ufffd" * 128 + b"\\n"
    assert logged.split(b"\n")[0] == low
    assert logged.split(b"\n")[1] == middle
    more = rb"\u003c\u0026\u003e\\\"\u2028 " + "é".encode() + rb" \ufffd\ufffd\n"
    assert logged.split(b"\n")[2] == more
    assert logged.split(b"\n")[3] == rb"\ufffd\ufffd\ufffd\n"


def test_long_lines_are_split_at_16_kib_as_docker_does(tmp_path: Path) -> None:
    size = 16 << 10
    pieces = [size - 1, size, size + 1, 3 * size + 5]
    (tmp_path / "data").write_bytes(b"".join(b"x" * n + b"\n" for n in pieces) + b"y" * 20000)
    with kept(tmp_path, BUSYBOX, "cat", str(tmp_path / "data")) as container:
        container.ended()
    sizes = [len(e["log"]) for e in container.entries()]
    assert sizes == [size, size, 1, size, 2, size, size, size, 6, size, 20000 - size]
    assert container.said() == (tmp_path / "data").read_text()
    parts = container.entries()[5:9]
    assert len({e["time"] for e in parts}) == 1


def test_much_input_is_neither_lost_nor_held(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    data = os.urandom(3 << 20)
    script = "sleep 0.6; md5sum"
    with kept(tmp_path, *sh(script), client=theirs, stdin_once=True) as container:
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                ours.sendall(data)
                ours.shutdown(socket.SHUT_WR)
            os._exit(0)
        container.become_small()
        assert container.memory() <= 16 << 20
        found, code = everything(talk.Attached(ours, False))
        os.waitpid(pid, 0)
        import hashlib

        assert found[1].decode().split()[0] == hashlib.md5(data).hexdigest()
        assert code == 0
    ours.close()


def test_input_of_a_client_that_is_killed_is_given_and_then_ends(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with kept(tmp_path, *sh("sleep 0.3; cat; echo end"), client=theirs, stdin_once=True) as c:
        ours.sendall(b"the last words\n")
        ours.close()
        c.ended()
        assert c.said() == "the last words\nend\n"


def test_input_that_nobody_reads_any_more_is_dropped(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("exec <&-; sleep 1; exit 2")) as container:
        attached = container.connect().attach()
        with suppress(OSError):
            attached.socket.sendall(b"x" * (1 << 20))
        assert everything(attached)[1] == 2
        attached.close()


def test_it_goes_on_large_where_it_cannot_execute_itself(tmp_path: Path) -> None:
    more = {"package": str(tmp_path / "gone")}
    with kept(tmp_path, *sh("sleep 0.8; exit 3"), **more) as container:
        time.sleep(0.5)
        assert not container.is_small()
        assert answers(container)
        assert container.connect().wait() == 3


def test_a_removed_package_costs_commands_and_not_the_container(tmp_path: Path) -> None:
    package = tmp_path / "site"
    shutil.copytree(Path(talk.__file__).parents[1], package / "layerview")
    with kept(tmp_path, *sh("read x; exit 3"), package=str(package)) as container:
        container.become_small()
        shutil.rmtree(package)
        null = os.open("/dev/null", os.O_RDWR)
        with pytest.raises(StartError, match="removed or replaced meanwhile") as error:
            container.connect().exec(ExecPlan(("true",)), (null, null, null))
        assert error.value.code == 125
        os.close(null)
        attached = container.connect().attach()
        attached.socket.sendall(b"\n")
        assert everything(attached)[1] == 3
        attached.close()


def test_an_end_while_it_becomes_small_is_not_missed(tmp_path: Path) -> None:
    """It executes itself anew after 0.3 s, which takes some hundredths of a second."""
    with ExitStack() as stack:
        containers = []
        for number in range(12):
            script = f"printf a; sleep {0.24 + 0.02 * number}; echo b; exit {number}"
            place, tty = tmp_path / str(number), number % 2 == 0
            containers.append(stack.enter_context(kept(place, *sh(script), tty=tty)))
        for number, container in enumerate(containers):
            container.ended()
            assert container.state()["ExitCode"] == number
            assert container.said().replace("\r", "") == "ab\n"


def removal(place: Path) -> list[str]:
    code = (
        "import fcntl, os, subprocess, sys\n"
        f"lock = open({str(place / 'containers/ID/layerview.lock')!r})\n"
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        f"out = open({str(place / 'removed')!r}, 'w')\n"
        "done = subprocess.run(['/bin/busybox', 'echo', 'forks'], stdout=-1, text=True)\n"
        "out.write(done.stdout)\n"
        "out.write(str(sorted(set(os.listdir('/proc/self/fd')) - {'0', '1', '2'})))\n"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("owner", ["stays", "goes", "never was"])
def test_who_removes_a_container_that_nobody_waits_for(tmp_path: Path, owner: str) -> None:
    ours, theirs = socket.socketpair()
    client = theirs if owner != "never was" else None
    with kept(tmp_path, *sh("sleep 0.5"), client=client, remove=removal(tmp_path)) as container:
        if owner == "goes":
            ours.close()
        elif owner == "stays":
            assert everything(talk.Attached(ours, False))[1] == 0
        container.ended()
        removed = tmp_path / "removed"
        if owner == "stays":
            time.sleep(0.3)
            assert not removed.exists()
        else:
            until(lambda: removed.exists() and removed.read_text() != "", "be removed")
            time.sleep(0.05)
            assert removed.read_text().startswith("forks\n")
    ours.close()
    theirs.close()


def test_a_run_folder_of_300_bytes_does_as_well(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    with kept(deep, *sh("read x; exit $x")) as container:
        assert len(str(container.run)) > 300
        container.become_small()
        attached = container.connect().attach()
        attached.socket.sendall(b"4\n")
        assert everything(attached)[1] == 4
        attached.close()


def test_the_state_is_written_only_while_nobody_else_holds_the_folder(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 0.1; exit 3")) as container:
        folder = os.open(container.folder, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        time.sleep(0.6)
        assert container.state()["Running"] is True
        assert container.lives()
        fcntl.flock(folder, fcntl.LOCK_UN)
        os.close(folder)
        container.ended()
        assert container.state()["ExitCode"] == 3


def test_a_config_that_cannot_be_read_does_not_keep_it(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("sleep 0.2; exit 3")) as container:
        (container.folder / "config.v2.json").write_text("{")
        assert container.connect().wait() == 3
        container.ended()


def test_only_light_modules_are_in_it(tmp_path: Path) -> None:
    code = "import sys; import layerview.containers.shim; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({os.getcwd()!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("layerview")}
    names = ("shim", "shim_clients", "shim_process", "json_log", "exit_record", "sockets")
    own = {f"layerview.containers.{name}" for name in names}
    assert ours == {"layerview", "layerview.containers", *own}
    heavy = {"asyncio", "ctypes", "dataclasses", "pathlib", "socket", "subprocess", "typing"}
    assert not loaded & heavy


@pytest.mark.conformance
def test_the_exit_status_is_recorded_on_a_disk_that_is_full(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a disk of its own needs root")
    with (
        small_disk(tmp_path / "disk", "1m"),
        kept(tmp_path / "disk", *sh("read x; echo unlogged; exit 3")) as container,
    ):
        attached = container.connect().attach()
        with suppress(OSError), open(tmp_path / "disk/filler", "wb", 0) as file:
            while file.write(b"x" * 4096):
                pass
        attached.socket.sendall(b"go\n")
        assert everything(attached)[1] == 3
        container.ended()
        assert container.state()["ExitCode"] == 3
        assert container.state()["Running"] is False
        assert not (container.folder / "config.v2.json.shim").exists()
        attached.close()


def test_input_that_a_terminals_program_does_not_read_waits_without_spinning(
    tmp_path: Path,
) -> None:
    with kept(tmp_path, *sh("stty raw -echo; echo on; sleep 1.5; wc -c"), tty=True) as container:
        attached = container.connect().attach()
        assert attached.socket.recv(100).endswith(b"on\n")
        container.become_small()
        attached.socket.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):
            while sent < 4 << 20:
                sent += attached.socket.send(b"x" * 4096)
        assert sent < 1 << 20, "nothing makes who types wait"
        before = ticks(container)
        time.sleep(0.5)
        assert ticks(container) - before < 10, "it spins"
        assert container.memory() <= 16 << 20
        attached.close()


def ticks(container: Kept) -> int:
    """Return the hundredths of a second that the shim has computed."""
    words = Path(f"/proc/{container.shim}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_it_does_not_compute_while_nothing_happens(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("exec >&- 2>&-; sleep 20")) as container:
        container.become_small()
        waits, attached = container.connect(), container.connect().attach(stdin=False)
        half = raw(container)
        half.sendall(b'{"do":"wait"}\n')
        half.shutdown(socket.SHUT_WR)
        before = ticks(container)
        time.sleep(1)
        assert ticks(container) - before < 3
        waits.close()
        attached.close()
        half.close()


# -- with a real container around it --


@pytest.fixture(params=["layerview", "runc"])
def area(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with lab("overlay2", tmp_path / "root", need_runtime(request.param)) as made:
        yield made


def start(area: Lab, *words: str, client: int = -1, **more: object) -> Kept:
    plan = area.plan(*words, **more)
    folder = Path(plan.folder)
    (folder / "config.v2.json").write_text('{"State":{"Running":true}}')
    started = area.start(plan, client=client)
    return Kept(folder, Path(plan.run), started.shim, started.pid)


def log_of(container: Kept) -> str:
    lines = (container.folder / f"{container.folder.name}-json.log").read_bytes().splitlines()
    return "".join(json.loads(line)["log"] for line in lines)


@pytest.mark.parametrize("tty", [False, True])
def test_a_real_container_is_kept_in_16_mib(area: Lab, tty: bool) -> None:
    ours, theirs = socket.socketpair()
    more = {"tty": tty, "open_stdin": True, "stdin_once": True}
    container = start(area, "sh", "-c", "read x; exit $x", client=theirs.fileno(), **more)
    theirs.close()
    container.become_small()
    assert container.memory() <= 16 << 20
    with container.connect() as shim:
        said = shim.state()
        assert (said["pid"], said["tty"]) == (container.pid, tty)
    ours.sendall(b"7\n")
    assert everything(talk.Attached(ours, tty))[1] == 7
    wait_for_end(container.shim)
    assert container.state()["ExitCode"] == 7
    assert os.listdir(container.run) == []
    ours.close()


def test_a_real_container_ends_with_all_of_its_own_when_its_shim_is_killed(area: Lab) -> None:
    container = start(area, "sh", "-c", "(trap '' TERM; sleep 100) & sleep 100")
    container.become_small()
    os.kill(container.shim, signal.SIGKILL)
    wait_for_end(container.pid)
    container.ended()
    assert mount_points(str(area.root)) == []


def test_a_real_container_that_nobody_waits_for_is_removed_in_the_end(area: Lab) -> None:
    code = (
        "import fcntl, os, subprocess, sys\n"
        "from layerview.drivers.mounts import mount_points\n"
        "from layerview.drivers.overlay2 import Overlay2\n"
        "root, id = sys.argv[1:]\n"
        "lock = open(root + '/containers/' + id + '/layerview.lock')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "assert mount_points(root) == [], mount_points(root)\n"
        "subprocess.run(['/bin/busybox', 'true'], check=True)\n"
        "Overlay2(root).remove(id)\n"
        "open(root + '/removed', 'w').write('yes')\n"
    )
    id = f"{area.made + 1:064x}"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + code
    remove = (sys.executable, "-c", code, str(area.root), id)
    container = start(area, "sh", "-c", "sleep 0.5; echo end", remove=remove)
    assert container.folder.name == id
    layer = area.driver.layer_folder(id)
    assert os.path.exists(layer)
    wait_for_end(container.shim)
    assert (area.root / "removed").read_text() == "yes"
    assert not os.path.exists(layer)
    assert log_of(container) == "end\n"


AGAIN = """
import sys
import pytest
from layerview.drivers.namespace import run_in_user_namespace
words = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", sys.argv[1], sys.argv[2]]
sys.exit(run_in_user_namespace(lambda: int(pytest.main([*words, "-k", "real"]))))
"""


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_it_does_the_same_for_an_ordinary_user(name: str) -> None:
    if not is_initial():
        pytest.skip("it is the ordinary user who is here")
    entry = pwd.getpwnam(user(name))
    with tempfile.TemporaryDirectory(prefix="layerview-shim-", dir="/var/tmp") as own:
        os.chown(own, entry.pw_uid, entry.pw_gid)
        with readable_site() as site:
            done = as_user(name, site, "-c", AGAIN, f"{own}/tmp", "tests/containers/test_shim.py")
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 4
