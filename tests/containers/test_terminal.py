"""Following containers on a real terminal, and on pipes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layerview.containers import terminal
from tests.containers.shimming import BUSYBOX, ROOT, Kept, kept, until

CLIENT = """
import json, sys
from layerview.containers import talk, terminal
from layerview.containers.plan import ExecPlan
run, what, tty = sys.argv[1], sys.argv[2], sys.argv[3] == "tty"
shim = talk.connect(run)
try:
    if what == "attach":
        found = terminal.follow(
            shim.attach(),
            resize=lambda rows, columns: talk.connect(run).resize(rows, columns),
            send_signal=lambda number: talk.connect(run).signal(number),
        )
    else:
        rows, columns = terminal.size(0)
        plan = ExecPlan(tuple(sys.argv[4:]), ("PATH=/bin",), tty=tty, rows=rows, columns=columns)
        found = terminal.run_exec(lambda stdio: shim.exec(plan, stdio), tty=tty)
except BrokenPipeError:
    found = "broken pipe"
with open(run + "/result", "w") as file:
    json.dump(found, file)
"""


LEADER = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
if not (job := os.fork()):
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
with open(sys.argv[2] + "/job", "w") as file:
    print(job, file=file)
while True:
    _, status = os.waitpid(job, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


class Screen:
    """A terminal, and a client on it."""

    def __init__(self, container: Kept, *words: str, job: bool = False) -> None:
        self.container = container
        self.master, self.slave = os.openpty()
        self.resize(24, 80, tell=False)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", *([LEADER] * job), CLIENT, str(container.run), *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            cwd=ROOT,
        )

    def resize(self, rows: int, columns: int, tell: bool = True) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def sees(self, what: bytes, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while what not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"{what!r} is not in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 65536)

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def ends(self) -> int:
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.02)[0]:
                self.seen += os.read(self.master, 65536)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        return self.process.returncode

    def result(self) -> Any:
        assert self.ends() == 0, self.seen
        return json.loads((self.container.run / "result").read_text())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def screen(container: Kept, *words: str, job: bool = False) -> Iterator[Screen]:
    made = Screen(container, *words, job=job)
    try:
        yield made
    finally:
        made.close()


def sh(script: str) -> tuple[str, ...]:
    return (BUSYBOX, "sh", "-c", script)


SHELL = (BUSYBOX, "sh")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Kept]:
    with kept(tmp_path, *SHELL, tty=True) as container:
        yield container


def test_a_shell_is_used_and_its_exit_status_returned(shell: Kept) -> None:
    with screen(shell, "attach", "tty") as seen:
        until(seen.is_raw, "become raw")
        seen.type(b"echo $((40+2))\r")
        seen.sees(b"\r\n42\r\n")
        seen.type(b"exit 3\r")
        assert seen.result() == 3


def test_keys_reach_the_container_as_they_are(shell: Kept) -> None:
    with screen(shell, "attach", "tty") as seen:
        seen.sees(b"#")
        seen.type(b"cat\r")
        time.sleep(0.2)
        seen.type(b"\x03")
        seen.sees(b"^C")
        time.sleep(0.2)  # an interrupt takes with it what was typed right behind it
        seen.type(b"echo $? again\r")
        seen.sees(b"\r\n130 again\r\n")
        seen.type(b"stty raw -echo; dd bs=1 count=4 2>/dev/null | od -An -tx1; exit\r")
        time.sleep(0.5)
        seen.type(b"\x1a\x1c\x13\x11")
        seen.sees(b"1a 1c 13 11")
        assert seen.result() == 0


def test_the_size_follows_the_terminal(shell: Kept) -> None:
    with screen(shell, "attach", "tty") as seen:
        seen.sees(b"#")
        seen.type(b"stty size\r")
        seen.sees(b"\r\n24 80\r\n")
        seen.resize(50, 132)
        seen.process.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        seen.type(b"stty size\r")
        seen.sees(b"\r\n50 132\r\n")
        seen.type(b"exit\r")
        assert seen.result() == 0


@pytest.mark.parametrize("together", [True, False])
def test_ctrl_p_ctrl_q_leaves_the_container_running(shell: Kept, together: bool) -> None:
    with screen(shell, "attach", "tty") as seen:
        until(seen.is_raw, "become raw")
        if together:
            seen.type(b"\x10\x11")
        else:
            seen.type(b"\x10")
            time.sleep(0.2)
            seen.type(b"\x11")
        assert seen.result() is None
    assert shell.lives()
    with screen(shell, "attach", "tty") as seen:
        seen.sees(b"#")  # it is drawn again
        seen.type(b"echo back\r")
        seen.sees(b"\r\nback\r\n")
        seen.type(b"exit\r")
        assert seen.result() == 0


def test_what_only_begins_like_the_keys_is_passed_on(shell: Kept) -> None:
    with screen(shell, "attach", "tty") as seen:
        seen.sees(b"#")
        seen.type(b"stty raw -echo; dd bs=1 count=5 2>/dev/null | od -An -tx1; exit\r")
        time.sleep(0.5)
        for key in (b"\x10", b"a", b"\x10", b"\x10b", b"x"):
            seen.type(key)
            time.sleep(0.05)
        seen.sees(b"10 61 10 10 62")
        assert seen.result() == 0


@pytest.mark.parametrize(
    ("typed", "passed", "left"),
    [
        (b"\x10\x11", b"", True),
        (b"ab\x10\x11cd", b"ab", True),
        (b"\x10x", b"\x10x", False),
        (b"\x10\x10\x11", b"\x10", True),
        (b"\x10\x10x", b"\x10\x10x", False),
        (b"\x11\x10", b"\x11", False),
    ],
)
def test_keys_are_found_however_they_come(typed: bytes, passed: bytes, left: bool) -> None:
    assert terminal.Keys().feed(typed) == (passed, left)
    keys, got, out = terminal.Keys(), b"", False
    for byte in typed:
        piece, out = keys.feed(bytes([byte]))
        got += piece
        if out:
            break
    assert (got, out) == (passed, left)


def test_longer_keys_that_begin_again_in_themselves_are_found() -> None:
    assert terminal.Keys(b"aab").feed(b"aaab") == (b"a", True)
    assert terminal.Keys(b"a").feed(b"xa") == (b"x", True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_the_terminal_is_restored_when_a_signal_ends_us(shell: Kept, number: int) -> None:
    with screen(shell, "attach", "tty") as seen:
        until(seen.is_raw, "become raw")
        seen.process.send_signal(number)
        assert seen.ends() == -number
    assert shell.lives()


def test_the_terminal_is_restored_when_the_container_is_killed(shell: Kept) -> None:
    with screen(shell, "attach", "tty") as seen:
        until(seen.is_raw, "become raw")
        os.kill(shell.shim, signal.SIGKILL)
        assert seen.result() == 137


def test_the_terminal_is_restored_when_something_fails(shell: Kept) -> None:
    with screen(shell, "attach", "tty") as seen:
        until(seen.is_raw, "become raw")
        seen.process.send_signal(signal.SIGINT)  # from outside: KeyboardInterrupt
        assert seen.ends() == -signal.SIGINT
        assert b"KeyboardInterrupt" in seen.seen


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_stopped_and_continued_it_is_raw_again(shell: Kept, number: int) -> None:
    with screen(shell, "attach", "tty", job=True) as seen:
        until(seen.is_raw, "become raw")
        job = int((shell.run / "job").read_text())
        os.kill(job, number)
        stat = Path(f"/proc/{job}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "stop")
        assert seen.is_raw() == (number == signal.SIGSTOP)
        # What a shell does then.
        termios.tcsetattr(seen.slave, termios.TCSANOW, seen.before)
        os.kill(job, signal.SIGCONT)
        until(seen.is_raw, "become raw again")
        seen.type(b"exit 4\r")
        assert seen.result() == 4


def test_a_terminal_that_is_closed_ends_us_and_not_the_container(shell: Kept) -> None:
    seen = Screen(shell, "attach", "tty")
    until(seen.is_raw, "become raw")
    os.close(seen.slave)
    os.close(seen.master)
    assert seen.process.wait(20) in (-signal.SIGHUP, 0)
    assert shell.lives()


# -- without a terminal --


def client(container: Kept, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(container.run), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def result(container: Kept) -> Any:
    return json.loads((container.run / "result").read_text())


def test_output_and_errors_go_where_they_belong(tmp_path: Path) -> None:
    script = "read x; echo out $x; echo err >&2; cat; exit 5"
    with kept(tmp_path, *sh(script), stdin_once=True) as container:
        process = client(container, "attach", "no", stdin=subprocess.PIPE)
        out, err = process.communicate(b"word\nmore", timeout=30)
        assert (out, err) == (b"out word\nmore", b"err\n")
        assert result(container) == 5


def test_signals_are_passed_on_to_the_container(tmp_path: Path) -> None:
    script = "trap 'echo term; exit 7' TERM; trap 'echo usr1' USR1; while :; do sleep 0.02; done"
    with kept(tmp_path, *sh(script)) as container:
        process = client(container, "attach", "no", stdin=subprocess.DEVNULL)
        until(lambda: takes_signals(process.pid), "take signals over")
        process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None
        assert process.stdout.readline() == b"usr1\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert result(container) == 7


def takes_signals(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


def test_three_interrupts_leave_a_container_that_does_not_heed_them(tmp_path: Path) -> None:
    with kept(tmp_path, BUSYBOX, "sleep", "60") as container:
        process = client(container, "attach", "no", stdin=subprocess.DEVNULL)
        until(lambda: takes_signals(process.pid), "take signals over")
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        process.communicate(timeout=30)
        assert result(container) is None
        assert container.lives()


@pytest.mark.parametrize("what", ["attach", "exec"])
def test_when_nobody_takes_our_output_the_container_goes_on(tmp_path: Path, what: str) -> None:
    script = "while :; do echo x; sleep 0.01; done"
    with kept(tmp_path, *sh(script)) as container:
        words = ["sh", "-c", script] if what == "exec" else []
        process = client(container, what, "no", *words, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.read(2)
        process.stdout.close()
        process.wait(30)
        assert result(container) == "broken pipe"
        assert container.lives()
        assert process.stderr is not None
        process.stderr.close()


def test_a_killed_container_without_a_terminal_is_137(tmp_path: Path) -> None:
    with kept(tmp_path, *sh("echo on; sleep 60")) as container:
        process = client(container, "attach", "no", stdin=subprocess.DEVNULL)
        time.sleep(0.5)
        os.kill(container.shim, signal.SIGKILL)
        process.communicate(timeout=30)
        assert result(container) == 137


@pytest.mark.parametrize(("count", "code"), [(18000, 2), (30000, 130)])
def test_who_does_not_take_the_last_output_can_be_interrupted(
    tmp_path: Path, count: int, code: int
) -> None:
    script = f"read x; seq 1 {count}; exit 2"
    with kept(tmp_path, *sh(script), stdin_once=True) as container:
        process = client(container, "attach", "no", stdin=subprocess.PIPE)
        until(lambda: takes_signals(process.pid), "take signals over")
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        container.ended()
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert result(container) == code
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


# -- commands --


def test_a_commands_input_and_output_are_ours(tmp_path: Path) -> None:
    with kept(tmp_path, BUSYBOX, "sleep", "60") as container:
        data = os.urandom(1 << 20)
        words = ("exec", "no", "sh", "-c", "cat; echo err >&2; exit 9")
        process = client(container, *words, stdin=subprocess.PIPE)
        out, err = process.communicate(data, timeout=60)
        assert out == data
        assert err == b"err\n"
        assert result(container) == 9


def test_a_commands_background_processes_are_not_waited_for(tmp_path: Path) -> None:
    with kept(tmp_path, BUSYBOX, "sleep", "60") as container:
        words = ("exec", "no", "sh", "-c", "sleep 50 & echo here")
        process = client(container, *words, stdin=subprocess.DEVNULL)
        began = time.monotonic()
        out, _ = process.communicate(timeout=30)
        assert (out, result(container)) == (b"here\n", 0)
        assert time.monotonic() - began < 20


def test_a_command_has_a_terminal_of_its_own(tmp_path: Path) -> None:
    with (
        kept(tmp_path, BUSYBOX, "sleep", "60") as container,
        screen(container, "exec", "tty", "sh") as seen,
    ):
        seen.sees(b"#")
        seen.type(b"stty size; tty\r")
        seen.sees(b"24 80\r\n/dev/pts/")
        seen.resize(40, 100)
        seen.process.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        seen.type(b"stty size\r")
        seen.sees(b"40 100\r\n")
        seen.type(b"(sleep 40 &) ; exit 6\r")
        assert seen.result() == 6


def test_a_command_ends_with_its_container(tmp_path: Path) -> None:
    with (
        kept(tmp_path, BUSYBOX, "sleep", "60") as container,
        screen(container, "exec", "tty", "sh") as seen,
    ):
        seen.sees(b"#")
        with container.connect() as shim:
            shim.signal(9)
        assert seen.result() == 137
