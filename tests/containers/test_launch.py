"""Starting containers: what runs, what is left, and what is said when it does not run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn
from unittest import mock

import pytest

from layerview.containers import launch, rootfs
from layerview.containers.calls import WAIT_ALL
from layerview.containers.plan import StartError
from layerview.drivers import mounts
from layerview.drivers.namespace import is_initial
from tests.containers.starting import Lab, busybox, lab, wait_for_end
from tests.support import tars

ROOT = Path(__file__).resolve().parents[2]


def test_a_program_runs_in_the_image(area: Lab) -> None:
    ended = area.sh("echo out; echo err >&2; ls /bin/busybox; exit 7")
    assert (ended.status, ended.out, ended.err) == (7, "out\n/bin/busybox\n", "err\n")


def test_a_signal_that_ends_it_is_its_status(area: Lab) -> None:
    plan = area.plan("sleep", "100")
    started = area.start(plan)
    os.kill(started.pid, signal.SIGKILL)
    assert area.wait(plan, started).status == 128 + signal.SIGKILL


def test_what_it_writes_lies_in_its_own_layer(area: Lab) -> None:
    plan = area.plan("sh", "-c", "echo hello > /tmp/f && rm /etc/group")
    assert area.wait(plan, area.start(plan)).status == 0
    assert (area.upper(plan) / "tmp/f").read_text() == "hello\n"
    image = Path(area.driver.layer_folder(area.image))
    assert (image / "etc/group").exists()
    assert not (image / "tmp/f").exists()


def test_what_it_wrote_is_there_when_it_starts_again(area: Lab) -> None:
    plan = area.plan("sh", "-c", "cat /tmp/f; echo more >> /tmp/f")
    for before in ("", "more\n", "more\nmore\n"):
        Path(plan.log).unlink(missing_ok=True)
        assert area.wait(plan, area.start(plan)).out == before


def test_it_sees_its_own_processes_host_name_and_network_alone(area: Lab) -> None:
    ended = area.sh("ps -o pid; hostname; ls /sys/class/net", hostname="box")
    words = ended.out.split()
    assert [words[0], *words[2:]] == ["PID", words[2], "box", "lo"]
    assert words[1] == "1"


def test_without_a_network_there_is_one_with_itself(own: Lab) -> None:
    script = "(echo hello | nc -l -p 7 127.0.0.1 &); sleep 0.2; nc 127.0.0.1 7"
    assert own.sh(script).out == "hello\n"


def test_with_the_machines_network_it_sees_that(area: Lab) -> None:
    there = sorted(os.listdir("/sys/class/net"))
    ended = area.sh("ls /sys/class/net; cat /proc/net/dev", network="host")
    assert sorted(re.findall(r"^(\w+)$", ended.out, re.M)) == there
    assert all(f"{name}:" in ended.out for name in there)


def test_its_environment_is_what_was_planned(area: Lab) -> None:
    ended = area.run("env", env=("PATH=/bin", "A=1", "B=a=b c", "A=2", "EMPTY="))
    assert sorted(ended.out.splitlines()) == ["A=2", "B=a=b c", "EMPTY=", "HOME=/root", "PATH=/bin"]


def test_home_is_left_alone_where_it_is_set(area: Lab) -> None:
    assert "HOME=/x\n" in area.run("env", env=("PATH=/bin", "HOME=/x")).out


def test_a_missing_working_folder_is_made(area: Lab) -> None:
    plan = area.plan("pwd", cwd="/not/there/yet")
    assert area.wait(plan, area.start(plan)).out == "/not/there/yet\n"
    assert (area.upper(plan) / "not/there/yet").is_dir()


def test_input_is_nothing_where_it_is_not_asked_for(area: Lab) -> None:
    assert area.sh("cat; readlink /proc/self/fd/0").out == "/dev/null\n"


def test_input_reaches_it_and_ends(area: Lab) -> None:
    plan = area.plan("sh", "-c", "cat; echo end", open_stdin=True, stdin_once=True)
    with area.attached(plan) as line:
        line.send("one\n")
        line.read(until="one\n")
        line.send("two\n")
        assert line.finish() == 0
    assert line.out == "one\ntwo\nend\n"


def test_a_terminal_is_its_own_of_the_size_that_was_asked_for(area: Lab) -> None:
    script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all > /dev/tty"
    script += "; test -c /dev/console && ls -l /dev/pts"
    plan = area.plan("sh", "-c", script, tty=True, open_stdin=True, rows=33, columns=99)
    with area.attached(plan) as line:
        assert line.read() == 0
    words = line.out.split()
    assert words[:4] == ["/dev/pts/0", "33", "99", "all"]
    assert {name for name in words if name in ("0", "1", "ptmx")} >= {"0", "ptmx"}


def test_a_terminal_sends_signals_by_its_keys(area: Lab) -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    plan = area.plan("sh", "-c", script, tty=True, open_stdin=True)
    with area.attached(plan) as line:
        line.read(until="ready")
        line.send("\x03")
        assert line.read() == 9
    assert "caught" in line.out


def test_without_a_terminal_it_has_none_at_all(own: Lab) -> None:
    ended = own.sh("echo x > /dev/tty; ls /dev/console; ls /dev/pts")
    assert ended.out == "ptmx\n"
    assert "/dev/tty: No such device or address" in ended.err


def test_only_its_three_streams_are_open(area: Lab) -> None:
    # What a careless program leaves open is not the container's.
    leaks = [os.open("/", os.O_RDONLY | os.O_DIRECTORY), os.open("/etc/passwd", os.O_RDONLY)]
    try:
        for fd in leaks:
            os.set_inheritable(fd, True)
        # The shell's own redirections aside, what a program finds: ls has its folder open as 3.
        ended = area.sh("exec ls /proc/self/fd")
    finally:
        for fd in leaks:
            os.close(fd)
    assert ended.out.split() == ["0", "1", "2", "3"]


def test_signals_are_as_a_program_expects_them(area: Lab) -> None:
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    mode = os.umask(0o077)
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        ended = area.sh("exec grep -E '^Sig(Blk|Ign|Cgt)|^Umask' /proc/self/status")
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {*mask, signal.SIGUSR2}
    finally:
        os.umask(mode)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    found = dict(re.findall(r"^(\w+):\s+(\w+)$", ended.out, re.M))
    assert found == {
        "SigBlk": "0" * 16,
        "SigIgn": "0" * 16,
        "SigCgt": found["SigCgt"],
        "Umask": "0022",
    }


BAD = {
    "no such name": (("nosuch",), 127, 'exec: "nosuch": executable file not found in $PATH'),
    "no such path": (
        ("/nosuch",),
        127,
        'exec: "/nosuch": stat /nosuch: no such file or directory',
    ),
    "a folder": (("/etc",), 126, 'exec: "/etc": is a directory'),
    "no program": (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
}


@pytest.mark.parametrize("which", BAD)
def test_what_cannot_be_run_leaves_nothing(which: str, area: Lab) -> None:
    args, code, message = BAD[which]
    plan = area.plan(*args)
    with pytest.raises(StartError) as caught:
        area.start(plan)
    assert (caught.value.code, str(caught.value)) == (code, message)
    assert_nothing_is_left(area, plan.run, plan.folder)


def assert_nothing_is_left(area: Lab, run: str, folder: str) -> None:
    assert not os.path.exists(run)
    lock = Path(folder) / "layerview.lock"
    assert lock.read_bytes() == b""
    with open(lock, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert mounts.mount_points(os.path.realpath(area.root)) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF junk", "exec /f: exec format error"),
        (b"#!/not/there\n", "exec /f: no such file or directory (of its interpreter)"),
    ],
)
def test_a_program_that_the_kernel_refuses_is_said_to_be_none(
    content: bytes, message: str, own: Lab
) -> None:
    image = own.layer(busybox(tars.file("f", content, mode=0o755)))
    with pytest.raises(StartError) as caught:
        own.run("/f", image=image)
    assert (caught.value.code, str(caught.value)) == (126, message)


def test_path_is_searched_as_a_shell_does(own: Lab) -> None:
    image = own.layer(
        busybox(
            tars.folder("a/tool"),
            tars.file("b/tool", b"#!/bin/sh\necho b\n", mode=0o644),
            tars.file("c/tool", b"#!/bin/sh\necho c\n", mode=0o755),
        )
    )
    assert own.run("tool", image=image, env=("PATH=/nosuch:/a:/b:/c",)).out == "c\n"


def test_what_the_kernel_does_not_take_is_named(own: Lab) -> None:
    for more, message in (
        ({"hostname": "h" * 65}, f"host name {'h' * 65}: invalid argument"),
        ({"env": ("PATH=/bin", "=x")}, "exec /bin/true: illegal environment variable name"),
        ({"env": ("PATH=/bin", "A=\0")}, "exec /bin/true: embedded null byte"),
        ({"env": ("PATH=/bin", "A=" + "x" * (1 << 18))}, "exec /bin/true: argument list too long"),
    ):
        with pytest.raises(StartError) as caught:
            own.run("true", **more)
        assert str(caught.value) == message


def test_what_is_in_the_way_of_it_is_named(own: Lab) -> None:
    image = own.layer(busybox())
    folder = Path(own.driver.layer_folder(image))
    plan = own.plan("true", image=image)
    (own.upper(plan) / "proc").mkdir(exist_ok=True)
    (own.upper(plan) / "proc").rmdir()
    (own.upper(plan) / "proc").symlink_to(folder)
    with pytest.raises(StartError, match=r"^/proc: the container needs a folder there"):
        own.start(plan)
    assert_nothing_is_left(own, plan.run, plan.folder)


def test_the_lock_says_who_holds_it(area: Lab) -> None:
    plan = area.plan("sleep", "100")
    started = area.start(plan)
    lock = Path(plan.folder) / "layerview.lock"
    with open(lock, "rb+") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    said = json.loads(lock.read_bytes())
    assert (said["shim"], said["pid"]) == (started.shim, started.pid)
    for pid, start in ((said["shim"], said["shim_start"]), (said["pid"], said["pid_start"])):
        stat = Path(f"/proc/{pid}/stat").read_text()
        assert int(stat.rpartition(")")[2].split()[19]) == start
    assert said["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", said["started"])
    os.kill(started.pid, signal.SIGKILL)
    area.wait(plan, started)


def test_whatever_ends_the_shim_ends_the_container(area: Lab) -> None:
    plan = area.plan("sh", "-c", "sleep 100 & exec sleep 100")
    started = area.start(plan)
    with open(f"/proc/{started.pid}/mountinfo") as file:
        assert file.read()
    os.kill(started.shim, signal.SIGKILL)
    wait_for_end(started.shim)
    # It is gone by the time that the shim is, and so are its mounts.
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)
    assert mounts.mount_points(os.path.realpath(area.root)) == []
    area.driver.remove(plan.mount_id)


def test_what_is_mounted_shows_nowhere_outside(area: Lab) -> None:
    plan = area.plan("sleep", "100")
    started = area.start(plan)
    assert str(area.root) not in Path("/proc/self/mountinfo").read_text()
    os.kill(started.shim, signal.SIGKILL)
    wait_for_end(started.shim)


def test_nobody_else_uses_the_layer_meanwhile(own: Lab) -> None:
    plan = own.plan("sleep", "100")
    started = own.start(plan)
    if own.driver.name == "overlay2":
        with pytest.raises(Exception, match="in use"), own.driver.mounted(plan.mount_id):
            pass
        with pytest.raises(Exception, match="in use"):
            own.driver.remove(plan.mount_id)
    os.kill(started.shim, signal.SIGKILL)
    wait_for_end(started.shim)
    with own.driver.mounted(plan.mount_id):
        pass


def test_a_volatile_layer_can_be_mounted_again(own: Lab) -> None:
    plan = own.plan("sh", "-c", "grep ' / ' /proc/mounts; echo x >> /f; cat /f", volatile=True)
    kept = own.plan("true")
    first = own.wait(plan, own.start(plan)).out
    volatile = re.compile("[,=]volatile[, ]")
    assert bool(volatile.search(first)) == (own.driver.name == "overlay2")
    assert first.endswith("\nx\n")
    Path(plan.log).unlink()
    assert own.wait(plan, own.start(plan)).out.endswith("\nx\nx\n")
    with own.driver.mounted(plan.mount_id) as tree:
        assert (Path(tree) / "f").read_text() == "x\nx\n"
    assert not volatile.search(own.sh("grep ' / ' /proc/mounts").out)
    assert own.wait(kept, own.start(kept)).status == 0


def test_the_path_of_an_area_may_be_long(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root, if only of a user namespace")
    place = tmp_path / ("d" * 150) / ("e" * 150)
    place.mkdir(parents=True)
    with lab("overlay2", place / "root") as made:
        plan = made.plan("sh", "-c", "cat; echo ok", open_stdin=True, stdin_once=True)
        assert len(plan.run) > 300
        with made.attached(plan) as line:
            assert line.finish() == 0
        assert line.out == "ok\n"


def test_it_starts_from_a_process_without_standard_streams(own: Lab) -> None:
    plan = own.plan("sh", "-c", "cat; echo ok", open_stdin=True, stdin_once=True)
    code = (
        "import os, sys, socket, fcntl, pickle\n"
        "plan, driver = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "from layerview.containers.launch import launch\n"
        "for fd in range(3): os.close(fd)\n"
        "lock = os.open(plan.folder + '/layerview.lock', os.O_RDWR | os.O_CREAT, 0o600)\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "here, there = socket.socketpair()\n"
        "assert there.fileno() < 3\n"
        "launch(plan, driver(sys.argv[2]), lock=lock, client=there.fileno())\n"
        "there.close()\n"
        "here.shutdown(socket.SHUT_WR)\n"
        "said = b''\n"
        "while data := here.recv(1000): said += data\n"
        "os._exit(11 if b'ok' in said else 12)\n"
    )
    import pickle

    words = [pickle.dumps((plan, type(own.driver))).hex(), str(own.root)]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, check=False)
    assert done.returncode == 11


def test_interrupted_starts_leave_nothing_or_a_container(own: Lab) -> None:
    # In a process without other threads, as launch wants it: pytest-xdist has some, and whichever
    # takes a signal has it handled in the midst of anything.
    child = os.fork()
    if child == 0:
        status = 1
        try:
            interrupt_starts(own)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def interrupt_starts(own: Lab) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    stopped = 0
    try:
        for tenths in range(1, 60, 3):
            plan = own.plan("sleep", "100")
            started = None
            try:
                signal.setitimer(signal.ITIMER_REAL, tenths / 10_000)
                started = own.start(plan)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stopped += 1
            if started is not None:
                os.kill(started.shim, signal.SIGKILL)
                wait_for_end(started.shim)
            elif os.path.exists(os.path.join(plan.folder, "layerview.lock")):
                assert_nothing_is_left(own, plan.run, plan.folder)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stopped > 0


def test_threads_that_have_just_ended_hinder_no_start(own: Lab) -> None:
    def busy() -> None:
        for size in range(200):
            bytearray(1000 * size)

    for _ in range(60):
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        own.sh("true")


def test_beside_a_thread_that_goes_on_it_is_forked_by_the_c_library(own: Lab) -> None:
    stop = threading.Event()
    beside = threading.Thread(target=stop.wait)
    beside.start()
    try:
        refuse_clone = mock.patch.object(launch, "fork_into", side_effect=AssertionError)
        with refuse_clone:
            assert own.sh("exit 3").status == 3
    finally:
        stop.set()
        beside.join()


def test_a_caller_that_is_killed_takes_a_start_that_has_begun_with_it(own: Lab) -> None:
    plan = own.plan("sleep", "100")

    def die(*_: object, **more: object) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    child = os.fork()
    if child == 0:
        # The keeper and the first process are there, and wait for the tree.
        with mock.patch.object(type(own.driver), "detached", die):
            own.start(plan)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with open(os.path.join(plan.folder, "layerview.lock"), "rb") as lock:
        end = time.monotonic() + 10
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                assert time.monotonic() < end, "the keeper waits for a caller that is no more"
                time.sleep(0.01)


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_ended_keepers_are_let_go(seconds: float, own: Lab) -> None:
    # Soon they execute something, and then are children as others are.
    for _ in range(4):
        own.sh(f"sleep {seconds}")
    seen = 0
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG | WAIT_ALL)[0]:
            seen += 1
    assert seen <= 1


# What kernels before this one lack.


def refuse(code: int) -> object:
    def call(*_: object, **more: object) -> object:
        raise OSError(code, os.strerror(code))

    return call


@pytest.fixture(params=["clone3", "fsopen", "mount_setattr", "close_range", "all"])
def old_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    which = request.param
    if which in ("clone3", "all"):
        monkeypatch.setattr(launch, "fork_into", refuse(errno.ENOSYS))
    if which in ("fsopen", "all"):
        monkeypatch.setattr("layerview.drivers.overlay2.make_overlay", refuse(errno.ENOSYS))
        monkeypatch.setattr("layerview.drivers.mounts.make_overlay", refuse(errno.ENOSYS))
        monkeypatch.setattr("layerview.drivers.vfs.clone_tree", refuse(errno.ENOSYS))
    if which in ("mount_setattr", "all"):
        monkeypatch.setattr(rootfs, "restrict", lambda *_, **more: False)
    if which in ("close_range", "all"):
        monkeypatch.setattr("layerview.containers.program._SYS_CLOSE_RANGE", 1 << 20)
    return str(which)


def test_older_kernels_do(old_kernel: str, own: Lab, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").write_text("f\n")
    from layerview.containers.plan import Bind

    binds = (Bind(str(tmp_path / "outside"), "/in", read_only=True),)
    script = "ls /proc/self/fd | wc -l; cat /in/f; echo x > /in/g; chmod 0 /dev/null"
    script += "; echo z > /proc/sys/kernel/hostname"
    ended = own.sh(script, binds=binds)
    assert ended.out.split() == ["4", "f"]
    assert ended.err.count("Read-only file system") == 3, ended.err
    with pytest.raises(StartError, match="executable file not found"):
        own.run("nosuch")
    assert os.listdir(tmp_path / "outside") == ["f"]


def test_no_namespaces_are_said_to_be_none(own: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "fork_into", refuse(errno.EPERM))
    monkeypatch.setattr(launch, "unshare", refuse(errno.ENOSPC))
    plan = own.plan("true")
    with pytest.raises(StartError, match=r"no process for the container: no space left"):
        own.start(plan)
    assert_nothing_is_left(own, plan.run, plan.folder)


def test_a_bug_is_an_error_of_one_line(own: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(launch, "isolate", fail)
    plan = own.plan("true")
    with pytest.raises(StartError, match=r"ZeroDivisionError\('oops'\)$"):
        own.start(plan)
    assert_nothing_is_left(own, plan.run, plan.folder)


@pytest.mark.parametrize("where", ["keeper", "first"])
def test_a_process_that_is_killed_meanwhile_is_said_to_be(
    where: str, own: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        os._exit(9)

    monkeypatch.setattr(launch, "isolate" if where == "keeper" else "join", die)
    plan = own.plan("true")
    with pytest.raises(StartError, match="was killed while it started"):
        own.start(plan)
    assert_nothing_is_left(own, plan.run, plan.folder)


def test_of_a_process_that_fails_with_words_unread_its_reason_is_told(
    own: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        # By now it was told that its namespaces are there.
        time.sleep(0.2)
        raise StartError("no proc")

    def settle(*_: object) -> None:
        time.sleep(0.5)

    monkeypatch.setattr(rootfs.Files, "mount_proc", fail)
    monkeypatch.setattr(launch, "settle", settle)
    plan = own.plan("true")
    with pytest.raises(StartError, match=r"^no proc$"):
        own.start(plan)
    assert_nothing_is_left(own, plan.run, plan.folder)


def test_the_client_need_not_be_there(own: Lab) -> None:
    here, there = socket.socketpair()
    here.close()
    plan = own.plan("sh", "-c", "echo said")
    with there:
        started = own.start(plan, client=there.fileno())
    assert own.wait(plan, started).out == "said\n"


def test_user_namespaces_are_none_of_roots(own: Lab) -> None:
    plan = own.plan("sleep", "100")
    started = own.start(plan)
    inside = os.stat(f"/proc/{started.pid}/ns/user").st_ino
    assert (inside == os.stat("/proc/self/ns/user").st_ino) is True
    assert is_initial() == (inside == 0xEFFFFFFD)
    os.kill(started.shim, signal.SIGKILL)
    wait_for_end(started.shim)
