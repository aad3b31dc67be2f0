"""Containers on driver aufs whose processes are killed: nothing hangs, and nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.store.check_aufs import server_at
from tests.support.container_lab import BUSYBOX, Lab, changed_layers, eventually, kill

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="processes of others are killed by root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse"),
]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "area", "aufs")
    made.load("changed-ubuntu:latest", *changed_layers())
    yield made
    try:
        made.clear()
        made.nothing_left()
        assert wanting(made) == []
    finally:
        made.end_worker()


def wanting(lab: Lab) -> list[str]:
    """Return what doctor has to say that asks for something."""
    done = lab.call("doctor", "--json")
    found = [one["found"] for one in json.loads(done.stdout)["checks"] if one.get("remedy")]
    return [each for each in found if not each.startswith("not bundled yet")]


def server_of(lab: Lab, id: str) -> int:
    found = server_at(str(folder_of(lab, id)))
    assert found is not None
    return found


def folder_of(lab: Lab, id: str) -> Path:
    return lab.root / "layerview/union" / lab.upper(id).name


def is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_the_server_ends_with_its_container(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "60")
    pid = server_of(lab, id)
    assert Path(f"/proc/{pid}/comm").read_text() == "layerview-union\n"
    lab.out("exec", id, "sh", "-c", "echo changed > /tmp/newfile")
    lab.out("stop", "-t", "0", id)
    eventually(lambda: not is_alive(pid), "the server is left")
    lab.out("start", id)
    assert lab.out("exec", id, "cat", "/tmp/newfile") == "changed"
    assert server_of(lab, id) != pid


def test_a_server_that_is_killed_hangs_nothing_and_doctor_says_so(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "60")
    lab.out("exec", id, "sh", "-c", "echo kept > /kept")
    assert wanting(lab) == []
    kill(server_of(lab, id))
    begun = time.monotonic()
    done = lab.call("exec", id, "cat", "/kept", timeout=20)
    assert done.returncode == 125
    assert b"the server of the container's file system was killed: layerview restart" in done.stderr
    [said] = wanting(lab)
    assert f"the server of the union of container {id[:12]} was killed" in said
    lab.out("restart", "-t", "0", id)
    assert time.monotonic() - begun < 20
    assert lab.out("exec", id, "cat", "/kept") == "kept"
    assert wanting(lab) == []


def test_a_container_whose_server_was_killed_can_be_removed(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "60")
    kill(server_of(lab, id))
    lab.out("rm", "-f", id)
    assert not list((lab.root / "layerview/union").iterdir())


def test_a_shim_that_is_killed_takes_the_server_along(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "60")
    pid = server_of(lab, id)
    lock = json.loads((lab.root / "containers" / id / "layerview.lock").read_text())
    kill(lock["shim"])
    eventually(lambda: not is_alive(pid), "the server is left")
    assert lab.state(id)["exit_code"] == 137
    lab.out("start", id)
    assert lab.out("exec", id, "cat", "/tmp/newfile") == "Hello world"


def test_a_start_that_is_killed_leaves_no_server(lab: Lab) -> None:
    id = lab.out("create", "changed-ubuntu", "sleep", "60")
    for wait in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        with lab.popen(
            "start", id, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.wait()
        lab.ask("kill", id)
        eventually(lambda: server_at(str(folder_of(lab, id))) is None, "a server is left")
    lab.out("start", id)
    assert lab.out("exec", id, "cat", "/tmp/newfile") == "Hello world"


def test_after_the_machine_went_down_it_starts_anew(lab: Lab) -> None:
    """What a reboot leaves: the files, a socket nobody listens at, and a lock of another boot."""
    id = lab.out("run", "-d", "changed-ubuntu", "sh", "-c", "echo kept > /kept; sleep 60")
    eventually(lambda: (lab.upper(id) / "kept").exists(), "nothing was written")
    lock = lab.root / "containers" / id / "layerview.lock"
    said = json.loads(lock.read_text())
    kill(server_of(lab, id))
    kill(said["shim"])
    eventually(lambda: not is_alive(said["shim"]), "the shim is left")
    lock.write_text(json.dumps({**said, "boot": "another"}))
    assert (folder_of(lab, id) / "steps").exists()
    assert any("left of a union that is served no more" in found for found in wanting(lab))
    assert lab.call("doctor", "--repair").returncode == 0
    assert wanting(lab) == []
    lab.out("start", id)
    assert lab.out("exec", id, "cat", "/kept") == "kept"
