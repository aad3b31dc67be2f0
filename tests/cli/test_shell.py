"""`layerview shell`, and the built-in shell where a machine can start no containers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.drivers.namespace import is_initial
from layerview.unionfs.steps import Step, decode
from tests.containers.test_machine import OFF
from tests.drivers.people import PYTHON, readable_site, user
from tests.support import archives, tars
from tests.support.container_lab import COMMAND, GROUP, PASSWD, Lab

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not is_initial(), reason="needs the machine's root"
)
BASE = tars.layer(
    tars.folder("bin"),
    tars.file("bin/sh", b"no program", mode=0o755),
    tars.folder("etc"),
    tars.file("etc/passwd", PASSWD),
    tars.file("etc/group", GROUP),
    tars.folder("data"),
    tars.file("data/big", b"x" * 100_000),
)
TOP = tars.layer(tars.folder("data"), tars.file("data/note", b"from the top\n"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "area", driver="aufs")
    image = tmp_path / "image.tar"
    archives.docker_archive(
        image, archives.image(BASE, TOP, tags=["lab:1"], config={"Cmd": ["sh"]})
    )
    yield made
    made.end_worker()


@pytest.fixture
def box(lab: Lab) -> Lab:
    """An area with a container, which needs no mount to be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = lab.scratch / "image.tar"
    lab.out("load", "-q", "--driver", "aufs", "-i", path)
    lab.out("create", "-it", "--driver", "aufs", "--name", "one", "-v", "vol:/vol", "lab:1")
    return lab


def running(lab: Lab, name: str) -> dict[str, object]:
    end = time.monotonic() + 20
    while lab.state(name)["status"] != "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    return lab.state(name)


def test_what_it_writes_is_the_containers(box: Lab) -> None:
    lines = b"echo more >> /data/note\nrm /data/big\nmkdir /new\ncat /data/note\necho v > /vol/f\n"
    done = box.call("shell", "one", stdin=lines + b"exit 7\n")
    assert done.stdout == b"from the top\nmore\n"
    assert done.stderr == b""
    assert done.returncode == 7
    found = {(change["path"], change["kind"]) for change in box.json("changes", "one")}
    assert {("/data/note", "C"), ("/data/big", "D"), ("/new", "A")} <= found
    assert not any(path.startswith("/vol/") for path, _ in found)
    assert (box.root / "volumes/vol/_data/f").read_bytes() == b"v\n"
    assert sorted(os.listdir(box.root / "volumes/vol/_data")) == ["f"]
    state = box.state("one")
    assert (state["status"], state["exit_code"]) == ("exited", 7)
    box.out("commit", "one", "lab:2")
    assert "data/big" not in box.out("files", "local:lab:2")
    box.out("rm", "-v", "one")
    assert not list((box.root / "layerview/union").iterdir())
    assert box.call("doctor").returncode == 0


def test_its_exit_status_is_the_last_commands(box: Lab) -> None:
    done = box.call("shell", "-c", "cat /nope || cat /data/note", "one")
    assert (done.returncode, done.stdout) == (0, b"from the top\n")
    assert done.stderr == b"cat: can't open '/nope': No such file or directory\n"
    assert box.call("shell", "-c", "sh -c true", "one").returncode == 126


def test_while_it_is_open_the_container_runs_and_nobody_else_has_it(box: Lab) -> None:
    shell = box.popen("shell", "one", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert shell.stdin is not None
    try:
        state = running(box, "one")
        assert state["pid"] == shell.pid
        for word in ("shell", "rm"):
            done = box.call(word, "one")
            assert done.returncode == 1
            assert b"runs" in done.stderr
    finally:
        shell.stdin.close()
        assert shell.wait(20) == 0
    assert box.state("one")["status"] == "exited"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_when_a_signal_ends_it_the_container_has_ended(box: Lab, number: signal.Signals) -> None:
    shell = box.popen("shell", "one", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    running(box, "one")
    shell.send_signal(number)
    assert shell.wait(20) in (128 + number, -number)
    assert shell.stdin is not None
    shell.stdin.close()
    assert box.state("one")["status"] == "exited"
    assert box.state("one")["exit_code"] == 128 + number
    box.out("rm", "one")
    assert box.call("doctor").returncode == 0


def test_stop_ends_it(box: Lab) -> None:
    shell = box.popen("shell", "one", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    running(box, "one")
    box.out("stop", "one")
    assert shell.wait(20) == 128 + signal.SIGTERM
    assert shell.stdin is not None
    shell.stdin.close()
    assert box.state("one")["status"] == "exited"


def test_its_steps_are_told_to_who_watches(box: Lab) -> None:
    shell = box.popen("shell", "one", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert shell.stdin is not None
    steps: list[Step | int] = []
    try:
        running(box, "one")
        (place,) = (box.root / "layerview/union").iterdir()
        folder = os.open(place, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            line.connect(f"/proc/self/fd/{folder}/steps")
            os.close(folder)
            with line.makefile("rb") as told:
                assert decode(told.readline()) == 0
                shell.stdin.write(b"chmod 600 /data/big\nrm /data/note\n")
                shell.stdin.flush()
                while len(steps) < 4 and not any(
                    isinstance(step, Step) and step.kind == "whiteout" for step in steps
                ):
                    steps.append(decode(told.readline()))
    finally:
        shell.stdin.close()
        shell.wait(20)
    (first,) = (
        step
        for step in steps
        if isinstance(step, Step) and (step.kind, step.path) == ("copy_up", "data/big")
    )
    # The container's own layer, its first one, the image's two.
    assert (first.found, first.searched, first.bytes) == (3, (0, 1, 2, 3), 100_000)
    assert first.cause == "metadata"
    assert isinstance(steps[-1], Step)
    assert (steps[-1].kind, steps[-1].path) == ("whiteout", "data/note")


def test_a_container_of_another_driver_is_refused_with_what_helps(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    lab = Lab(tmp_path / "area", driver="vfs")
    try:
        lab.load("lab:1", BASE)
        lab.out("create", "--name", "two", "lab:1")
        done = lab.call("shell", "two")
        assert done.returncode == 1
        assert b"of driver vfs" in done.stderr
        assert b"--driver aufs" in done.stderr
    finally:
        lab.end_worker()


# -- machines that can start none: seen by making them so -----------------------------------------


@needs_root
def test_root_who_may_not_mount_gets_the_built_in_shell(lab: Lab) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    image = lab.scratch / "image.tar"
    kept = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps=-all")

    def call(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*kept, *COMMAND, *map(str, words)],
            env=lab.environment,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )

    done = call("run", "-i", "--name", "try", image, "sh", stdin=b"cat /data/note\n> /f\nexit 4\n")
    assert b"containers can't be started here" in done.stderr, done.stderr
    assert b"built-in shell" in done.stderr
    assert (done.returncode, done.stdout) == (4, b"from the top\n")
    (found,) = json.loads(call("ps", "-a", "--json").stdout)
    assert (found["name"], found["driver"], found["status"]) == ("try", "aufs", "exited")
    assert "A /f\n" in call("changes", "try").stdout.decode()
    done = call("start", "-ai", "try", stdin=b"ls /f\n")
    assert (done.returncode, done.stdout) == (0, b"/f\n"), done.stderr
    # What no shell of ours can do is not tried.
    done = call("run", "--rm", image, "/bin/program")
    assert done.returncode == 125
    assert b"built-in shell" not in done.stderr
    assert call("rm", "try").returncode == 0


@needs_root
def test_without_user_namespaces_an_ordinary_user_gets_it_too(tmp_path: Path) -> None:
    with readable_site() as site:
        home = Path(site) / "home"
        home.mkdir()
        image = home / "image.tar"
        archives.docker_archive(
            image, archives.image(BASE, TOP, tags=["lab:1"], config={"Cmd": ["sh"]})
        )
        for path in (home, image):
            os.chown(path, 1001, 1001)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LAYERVIEW_ROOT": str(home / "area"),
            "HOME": str(home),
        }

        def call(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [PYTHON, "-c", OFF, PYTHON, "-m", "layerview", *map(str, words)],
                env=environment,
                input=stdin,
                capture_output=True,
                timeout=60,
                check=False,
            )

        lines = b"echo more >> /data/note; cat /data/note\nmv /data /moved\n"
        done = call("run", "-i", "--name", "try", image, stdin=lines)
        assert b"user.max_user_namespaces is 0" in done.stderr, done.stderr
        assert (done.returncode, done.stdout) == (0, b"from the top\nmore\n"), done.stderr
        changed = call("changes", "try")
        assert b"D /data\n" in changed.stdout, changed.stderr
        assert b"A /moved/note\n" in changed.stdout
        done = call("shell", "-c", "ls /moved", "try")
        assert done.stdout == b"big\nnote\n", done.stderr
        assert call("commit", "try", "lab:2").returncode == 0
        # What only looks, or only takes away, goes on as well; so does the screen's worker.
        for words in ("ps -as", "volume ls --json", "inspect try", "volume create more"):
            done = call(*words.split())
            assert done.returncode == 0, done.stderr
        assert call("volume", "rm", "more").stdout == b"more\n"
        done = call("worker", stdin=b'{"n": 1, "words": ["ps", "-a", "-s", "-q"]}\n')
        assert json.loads(done.stdout)["status"] == 0, done
        # A volume is filled with what the image has there, which needs no mount either.
        done = call("run", "-i", "--rm", "-v", "filled:/data", image, stdin=b"ls /data\n")
        assert (done.returncode, done.stdout) == (0, b"big\nnote\n"), done.stderr
        assert b"lab" in call("images").stdout
        assert call("rm", "try").returncode == 0


@needs_root
@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_where_fuse_is_not_for_a_user_driver_aufs_opens_in_it(name: str) -> None:
    account = user(name)
    if os.stat("/dev/fuse").st_mode & 0o6:
        pytest.skip("/dev/fuse is for everybody here")
    with readable_site() as site:
        home = Path(site) / "home"
        home.mkdir()
        image = home / "image.tar"
        archives.docker_archive(
            image, archives.image(BASE, TOP, tags=["lab:1"], config={"Cmd": ["sh"]})
        )
        for path in (home, image):
            shutil.chown(path, account, account)

        def call(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [
                    *("setpriv", "--reuid", account, "--regid", account, "--init-groups"),
                    *(PYTHON, "-m", "layerview", *map(str, words)),
                ],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(site),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "LAYERVIEW_ROOT": str(home / "area"),
                    "HOME": str(home),
                },
                input=stdin,
                capture_output=True,
                timeout=60,
                check=False,
            )

        lines = b"echo more >> /data/note; cat /data/note\n"
        done = call("run", "-i", "--driver", "aufs", "--name", "try", image, stdin=lines)
        assert b"/dev/fuse is not for this user" in done.stderr, done.stderr
        assert (done.returncode, done.stdout) == (0, b"from the top\nmore\n"), done.stderr
        assert call("create", "--driver", "aufs", "--name", "two", image).returncode == 0
        done = call("shell", "two", stdin=b"chown 7:8 /data/note; stat -c %u:%g /data/note\n")
        if name == "lvuser":
            # An ID of the user's own range.
            assert done.stdout == b"7:8\n", done.stderr
        else:
            assert b"chown: /data/note: Invalid argument\n" in done.stderr
        assert b"/data/note" in call("changes", "two").stdout or name == "lvplain"
        assert call("rm", "try", "two").returncode == 0
