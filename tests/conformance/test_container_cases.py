"""What containers do, through the command line alone: the same cases for whoever runs them.

As root they run here, on each driver and with each runtime that works; as ordinary users, with and
without ranges of ids, the whole file runs again (test_container_cases_rootless.py). Everything is
asked of real processes, real mounts and the area's files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.starters import need_runtime
from tests.support.container_lab import (
    BUSYBOX,
    Lab,
    busybox_layer,
    changed_layers,
    eventually,
    kill,
    lines,
    words_of,
)

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]


KINDS = [
    ("overlay2", "layerview"),
    ("aufs", "layerview"),
    ("vfs", "layerview"),
    ("overlay2", "runc"),
    ("vfs", "crun"),
]
"""Drivers and runtimes: layerview's own on all, the others on one each."""


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def area(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need_runtime(request.param[1])
    if request.param[0] == "aufs" and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse is not there, or not for this user")
    made = Lab(tmp_path_factory.mktemp("lab") / "area", *request.param)
    made.load("changed-ubuntu:latest", *changed_layers())
    yield made
    made.end_worker()


@pytest.fixture
def lab(area: Lab, tmp_path: Path) -> Iterator[Lab]:
    area.scratch = tmp_path
    yield area
    area.clear()
    area.nothing_left()
    assert os.listdir(area.root / "containers") == []
    assert os.listdir(area.root / "image" / area.driver / "layerdb/mounts") == []


# The documentation's walk: "Understand images, containers, and storage drivers".


def test_five_containers_share_one_stack_and_each_writes_its_own_layer(lab: Lab) -> None:
    ids = [lab.out("run", "-dit", "changed-ubuntu", "sh") for _ in range(5)]
    assert all(re.fullmatch("[0-9a-f]{64}", id) for id in ids)
    heading, *rows = words_of(lab.out("ps"))
    assert heading == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert [row[0] for row in rows] == [id[:12] for id in reversed(ids)]
    for row in rows:
        assert row[1:3] == ["changed-ubuntu", '"sh"']
        assert re.fullmatch(r"(Less than a second|\d+ seconds?) ago", row[3])
        assert re.fullmatch(r"Up (Less than a second|\d+ seconds?)", row[4])
        assert re.fullmatch(r"[a-z]+_[a-z]+\d*", row[5])
    assert sorted(os.listdir(lab.root / "containers")) == sorted(ids)

    images = lab.json("layers", "local:changed-ubuntu")
    stacks = {json.dumps(lab.json("inspect", id)["layers"][:4]) for id in ids}
    assert len(stacks) == 1
    below = [layer["directory"] for layer in json.loads(stacks.pop())]
    assert below == [layer["directory"] for layer in images]

    lab.out("exec", ids[0], "sh", "-c", "echo changed > /tmp/newfile; echo new > /tmp/own")
    assert lab.out("exec", ids[0], "cat", "/tmp/newfile") == "changed"
    for id in ids[1:]:
        assert lab.out("exec", id, "cat", "/tmp/newfile") == "Hello world"
        assert lab.ask("exec", id, "cat", "/tmp/own").returncode == 1
    assert (Path(below[3]) / "tmp/newfile").read_text() == "Hello world\n"

    uppers = [lab.upper(id) for id in ids]
    assert (uppers[0] / "tmp/own").read_text() == "new\n"
    lab.out("rm", "-f", ids[0])
    assert not uppers[0].parent.exists() if lab.driver == "overlay2" else not uppers[0].exists()
    assert all(upper.is_dir() for upper in uppers[1:])
    assert len(list(words_of(lab.out("ps")))) == 5
    assert lab.out("exec", ids[1], "cat", "/tmp/newfile") == "Hello world"


def test_a_volume_s_data_survives_the_container_that_wrote_it(lab: Lab) -> None:
    lab.out("run", "--rm", "-v", "keep:/data", "changed-ubuntu", "sh", "-c", "echo kept > /data/f")
    assert lab.out("run", "--rm", "-v", "keep:/data", "changed-ubuntu", "cat", "/data/f") == "kept"
    assert (lab.root / "volumes/keep/_data/f").read_text() == "kept\n"


# Starting, and what a program finds.


def test_exit_codes_are_the_command_s_own_or_docker_s(lab: Lab) -> None:
    assert lab.call("run", "--rm", "changed-ubuntu", "sh", "-c", "exit 7").returncode == 7
    assert lab.call("run", "--rm", "changed-ubuntu", "false").returncode == 1
    assert lab.call("run", "--rm", "changed-ubuntu", "nowhere").returncode == 127
    assert lab.call("run", "--rm", "changed-ubuntu", "/etc/passwd").returncode == 126
    assert lab.call("run", "--rm", "changed-ubuntu", "/etc").returncode == 126
    assert lab.call("run", "--rm", "nothing-of-this-name").returncode == 125
    assert lab.call("run", "--no-such-option", "changed-ubuntu").returncode == 125
    assert os.listdir(lab.root / "containers") == []


def test_a_program_finds_docker_s_environment(lab: Lab) -> None:
    shown = lines(
        lab.out("run", "--rm", "-e", "A=1", "--hostname", "here", "changed-ubuntu", "env")
    )
    assert set(shown) == {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=here",
        "HOME=/root",
        "A=1",
    }
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "60")
    assert lab.out("exec", id, "hostname") == id[:12]


def test_the_image_s_config_is_honoured_and_options_go_above_it(lab: Lab) -> None:
    lab.load(
        "set:1",
        busybox_layer(),
        Entrypoint=["echo", "entry"],
        Cmd=["command"],
        Env=["A=image", "B=image"],
        WorkingDir="/work/there",
    )
    assert lab.out("run", "--rm", "set:1") == "entry command"
    assert lab.out("run", "--rm", "set:1", "other") == "entry other"
    assert lab.out("run", "--rm", "--entrypoint", "pwd", "set:1") == "/work/there"
    shown = lines(lab.out("run", "--rm", "--entrypoint", "env", "-e", "B=call", "set:1"))
    assert {"A=image", "B=call"} <= set(shown)
    assert lab.out("run", "--rm", "-w", "/tmp", "--entrypoint", "pwd", "set:1") == "/tmp"


def _has_ids() -> bool:
    """Whether the ids above 0 are there in the namespace that containers run in."""
    if os.geteuid() == 0:
        return True
    import pwd

    name = pwd.getpwuid(os.geteuid()).pw_name
    return any(line.startswith(f"{name}:") for line in Path("/etc/subuid").read_text().split())


def test_the_user_is_looked_up_in_the_image(lab: Lab) -> None:
    if not _has_ids():
        done = lab.ask("run", "--rm", "-u", "demo", "changed-ubuntu", "id")
        assert done.returncode == 125
        assert b"/etc/subuid" in done.stderr
        return
    shown = lab.out("run", "--rm", "-u", "demo", "changed-ubuntu", "id")
    assert shown.startswith("uid=1000(demo) gid=1000(demo) groups=")
    assert {*shown.partition("groups=")[2].split(",")} == {"1000(demo)", "44(extra)"}
    assert lab.out("run", "--rm", "-u", "1000:44", "changed-ubuntu", "id", "-g") == "44"
    assert lab.out("run", "--rm", "-u", "demo", "changed-ubuntu", "sh", "-c", "echo $HOME") == (
        "/home/demo"
    )
    assert lab.ask("run", "--rm", "-u", "nobody-here", "changed-ubuntu").returncode == 125


def test_input_reaches_a_program_and_its_end_too(lab: Lab) -> None:
    data = os.urandom(300_000)
    done = lab.call("run", "-i", "--rm", "changed-ubuntu", "cat", stdin=data)
    assert done.stdout == data
    assert lab.call("run", "--rm", "changed-ubuntu", "cat", stdin=b"unseen").stdout == b""


def test_output_and_errors_stay_apart(lab: Lab) -> None:
    done = lab.ask("run", "--rm", "changed-ubuntu", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_there_is_no_network_unless_it_is_asked_for(lab: Lab) -> None:
    own = lines(lab.out("run", "--rm", "changed-ubuntu", "cat", "/proc/net/dev"))
    names = {line.split(":")[0].strip() for line in own[2:]}
    assert "lo" in names
    assert not any(name.startswith(("eth", "en", "wl")) for name in names)
    up = lab.out("run", "--rm", "changed-ubuntu", "ip", "link", "show", "lo")
    assert "LOOPBACK,UP" in up


def test_the_first_process_sees_its_own_alone(lab: Lab) -> None:
    shown = lines(lab.out("run", "--rm", "changed-ubuntu", "ps", "-o", "pid,comm"))
    assert [line.split() for line in shown] == [["PID", "COMMAND"], ["1", "ps"]]


def test_a_terminal_is_a_terminal(lab: Lab) -> None:
    import pty

    master, slave = pty.openpty()
    run = lab.popen("run", "-it", "--rm", "changed-ubuntu", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""

    def until(wanted: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 20
        while wanted not in seen:
            assert time.monotonic() < end, seen
            try:
                seen += os.read(master, 65536)
            except OSError:
                break
        assert wanted in seen, seen

    until(b"#")
    os.write(master, b"tty; stty size; echo TERM=$TERM\r")
    until(b"/dev/pts/0")
    until(b"TERM=xterm")
    os.write(master, b"sleep 100\r")
    time.sleep(0.3)
    os.write(master, b"\x03")
    os.write(master, b"echo after-$?; exit 3\r")
    until(b"after-130")
    assert run.wait(20) == 3
    os.close(master)


# Looking at them.


def test_states_are_told_in_docker_s_words(lab: Lab) -> None:
    lab.out("create", "--name", "made", "changed-ubuntu")
    lab.out("run", "-d", "--name", "up", "changed-ubuntu", "sleep", "60")
    lab.ask("run", "--name", "over", "changed-ubuntu", "sh", "-c", "exit 4")
    shown = {row[-1]: row[4] for row in words_of(lab.out("ps", "-a"))}
    assert shown["made"] == "Created"
    assert shown["up"].startswith("Up ")
    assert shown["over"].startswith("Exited (4) ")
    assert lab.out("ps", "-q") == lab.state("up")["id"][:12]
    assert lab.out("ps", "-aq", "--filter", "status=created") == lab.state("made")["id"][:12]
    assert lab.out("ps", "-aq", "--filter", "exited=4") == lab.state("over")["id"][:12]
    assert lab.out("wait", "over") == "4"


SPOKEN = "echo one; sleep 0.2; echo two >&2"
"""Two pipes: which of them has something first is known only where time lies between."""


def test_logs_are_kept_and_can_be_followed(lab: Lab) -> None:
    lab.ask("run", "--name", "over", "changed-ubuntu", "sh", "-c", SPOKEN)
    done = lab.ask("logs", "over")
    assert (done.stdout, done.stderr) == (b"one\n", b"two\n")
    assert lab.ask("logs", "--tail", "1", "over").stdout == b""
    script = "for i in 1 2 3; do echo $i; sleep 0.2; done"
    lab.out("run", "-d", "--name", "slow", "changed-ubuntu", "sh", "-c", script)
    assert lab.out("logs", "-f", "slow") == "1\n2\n3"
    log = lab.root / "containers" / lab.state("over")["id"]
    entries = [json.loads(line) for line in (log / f"{log.name}-json.log").read_text().splitlines()]
    assert [(one["stream"], one["log"]) for one in entries] == [
        ("stdout", "one\n"),
        ("stderr", "two\n"),
    ]


def test_changes_are_those_against_the_image(lab: Lab) -> None:
    script = "rm /tmp/newfile; echo x >> /etc/apt/sources.list; mkdir /new; echo y > /new/f"
    lab.ask("run", "--name", "ctr", "changed-ubuntu", "sh", "-c", script)
    assert lines(lab.out("changes", "ctr")) == [
        *("C /etc", "C /etc/apt", "C /etc/apt/sources.list"),
        *("A /new", "A /new/f", "C /tmp", "D /tmp/newfile"),
    ]


def test_a_container_s_size_is_what_it_wrote(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "-v", "vol:/data", "changed-ubuntu", "sleep", "60")
    before = lab.json("ps", "-s")[0]
    assert before["size_rw"] == 0
    lab.out("exec", "ctr", "sh", "-c", "yes | head -c 5000 > /f; yes | head -c 90000 > /data/f")
    after = lab.json("ps", "-s")[0]
    assert after["size_rw"] == 5000
    assert after["size_root"] - before["size_root"] == 5000
    assert after["start_ns"] > 0
    whole = sum(layer["size"] for layer in lab.json("layers", "local:changed-ubuntu"))
    if lab.driver == "vfs":
        assert after["allocated"] > whole
    else:
        assert after["allocated"] < 200_000


def test_exec_runs_beside_the_first_process(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "-e", "A=1", "changed-ubuntu", "sleep", "60")
    assert lab.ask("exec", "ctr", "sh", "-c", "exit 9").returncode == 9
    assert lab.ask("exec", "ctr", "nowhere").returncode == 127
    assert lab.ask("exec", "ctr", "/etc/passwd").returncode == 126
    shown = lines(lab.out("exec", "-e", "B=2", "ctr", "env"))
    assert {"A=1", "B=2", "HOME=/root"} <= set(shown)
    assert lab.out("exec", "-w", "/tmp", "ctr", "pwd") == "/tmp"
    done = lab.call("exec", "-i", "ctr", "cat", stdin=b"through")
    assert done.stdout == b"through"
    seen = lines(lab.out("exec", "ctr", "ps", "-o", "pid,comm"))
    assert ["1", "sleep"] in [line.split() for line in seen]
    lab.out("stop", "-t", "0", "ctr")
    done = lab.ask("exec", "ctr", "true")
    assert done.returncode != 0
    assert b"does not run" in done.stderr


# Ending.


def test_stop_asks_by_the_image_s_signal_and_kills_after_a_while(lab: Lab) -> None:
    script = "trap 'echo asked; exit 5' USR1; while :; do sleep 0.05; done"
    lab.load("polite:1", busybox_layer(), StopSignal="SIGUSR1", Cmd=["sh", "-c", script])
    lab.out("run", "-d", "--name", "polite", "polite:1")
    lab.out("run", "-d", "--name", "deaf", "changed-ubuntu", "sleep", "60")
    time.sleep(0.3)
    assert lab.out("stop", "polite") == "polite"
    assert lab.state("polite")["exit_code"] == 5
    assert lab.out("logs", "polite") == "asked"
    begun = time.monotonic()
    lab.out("stop", "-t", "1", "deaf")
    assert 1 <= time.monotonic() - begun < 8
    assert lab.state("deaf")["exit_code"] == 137


def test_kill_sends_the_signal_that_is_named(lab: Lab) -> None:
    script = "trap 'exit 6' HUP; while :; do sleep 0.05; done"
    lab.out("run", "-d", "--name", "ctr", "changed-ubuntu", "sh", "-c", script)
    time.sleep(0.3)
    lab.out("kill", "-s", "HUP", "ctr")
    assert lab.out("wait", "ctr") == "6"
    assert lab.ask("kill", "ctr").returncode == 1


def test_a_stopped_container_starts_again_with_what_it_wrote(lab: Lab) -> None:
    script = "cat /f; echo more >> /f"
    lab.ask("run", "--name", "ctr", "changed-ubuntu", "sh", "-c", script)
    assert lab.out("start", "-a", "ctr") == "more"
    assert lab.out("start", "-a", "ctr") == "more\nmore"
    assert lab.out("start", "ctr") == "ctr"
    lab.out("wait", "ctr")


def test_names_are_one_container_s_each(lab: Lab) -> None:
    lab.out("create", "--name", "one", "changed-ubuntu")
    done = lab.ask("create", "--name", "one", "changed-ubuntu")
    assert done.returncode != 0
    assert b"one" in done.stderr
    lab.out("create", "--name", "two", "changed-ubuntu")
    assert lab.ask("rename", "two", "one").returncode == 1
    lab.out("rename", "two", "three")
    assert {one["name"] for one in lab.json("ps", "-a")} == {"one", "three"}


def test_a_running_container_is_removed_by_force_alone(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "changed-ubuntu", "sleep", "60")
    assert lab.ask("rm", "ctr").returncode == 1
    assert lab.out("rm", "-f", "ctr") == "ctr"
    assert lab.json("ps", "-a") == []


def test_rm_leaves_nothing_also_when_nobody_waits(lab: Lab) -> None:
    lab.out(
        "run", "-d", "--rm", "--name", "ctr", "-v", "/anonymous", "changed-ubuntu", "sleep", "0.5"
    )
    assert len(os.listdir(lab.root / "containers")) == 1
    eventually(lambda: not os.listdir(lab.root / "containers"), "the container stays")
    eventually(lambda: lab.json("volume", "ls") == [], "its anonymous volume stays")


def test_a_commit_is_an_image_of_what_was_changed(lab: Lab) -> None:
    script = "echo new > /new; rm /tmp/newfile; echo d > /data/in-volume"
    lab.ask("run", "--name", "ctr", "-v", "vol:/data", "changed-ubuntu", "sh", "-c", script)
    id = lab.out("commit", "-m", "why", "-a", "who", "-c", 'CMD ["cat", "/new"]', "ctr", "mine:1")
    assert id == lab.json("inspect", "local:mine:1")["image_id"]
    assert lab.out("run", "--rm", "mine:1") == "new"
    assert lab.ask("run", "--rm", "mine:1", "cat", "/tmp/newfile").returncode == 1
    assert lab.out("run", "--rm", "mine:1", "ls", "/data") == "seed\nsub"
    top = lab.json("history", "local:mine:1")[0]
    assert (top["comment"], top["layer"]) == ("why", 4)
    own = {line["path"]: line["change"] for line in _files(lab, "local:mine:1", 4)}
    assert own["/new"] == "added"
    assert own["/tmp/newfile"] == "deleted"
    assert not any(path.startswith(("/data/in", "/etc/host")) for path in own)


def _files(lab: Lab, image: str, layer: int) -> list[dict[str, str]]:
    found = lab.out("files", image, "--layer", layer, "--json").splitlines()
    return [json.loads(line) for line in found]


# Volumes.


def test_a_new_volume_is_filled_from_the_image_once(lab: Lab) -> None:
    lab.out(
        "run", "--rm", "-v", "vol:/data", "changed-ubuntu", "sh", "-c", "echo more > /data/more"
    )
    place = lab.root / "volumes/vol/_data"
    assert sorted(os.listdir(place)) == ["more", "seed", "sub"]
    assert (place / "seed").read_bytes() == b"from the image\n"
    assert oct((place / "seed").stat().st_mode & 0o7777) == "0o640"
    lab.out("run", "--rm", "-v", "vol:/data", "changed-ubuntu", "rm", "/data/seed")
    assert lab.ask(
        "run", "--rm", "-v", "vol:/data", "changed-ubuntu", "ls", "/data/seed"
    ).returncode
    lab.out("run", "--rm", "-v", "bare:/data:nocopy", "changed-ubuntu", "true")
    assert os.listdir(lab.root / "volumes/bare/_data") == []


def test_containers_share_a_volume_and_some_may_only_read_it(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "writer", "-v", "vol:/data", "changed-ubuntu", "sleep", "60")
    lab.out("run", "-d", "--name", "reader", "-v", "vol:/there:ro", "changed-ubuntu", "sleep", "60")
    lab.out("exec", "writer", "sh", "-c", "echo seen > /data/f")
    assert lab.out("exec", "reader", "cat", "/there/f") == "seen"
    done = lab.ask("exec", "reader", "sh", "-c", "echo no > /there/f")
    assert done.returncode != 0
    assert b"ead-only" in done.stderr
    volume = next(one for one in lab.json("volume", "ls") if one["name"] == "vol")
    assert sorted(one["id"] for one in volume["containers"]) == sorted(
        lab.state(name)["id"] for name in ("writer", "reader")
    )
    assert lab.ask("volume", "rm", "v").returncode == 1


def test_volumes_go_when_they_are_told_to(lab: Lab) -> None:
    lab.load("declared:1", busybox_layer(), Volumes={"/declared": {}})
    lab.ask("run", "--name", "first", "-v", "named:/n", "declared:1", "true")
    lab.ask("run", "--name", "second", "declared:1", "true")
    assert len(lab.json("volume", "ls")) == 3
    lab.out("rm", "-v", "first")
    assert len(lab.json("volume", "ls")) == 2
    lab.out("rm", "second")
    left = lab.json("volume", "ls")
    assert sorted(one["anonymous"] for one in left) == [False, True]
    lab.out("volume", "prune", "-f")
    assert all(not one["anonymous"] for one in lab.json("volume", "ls")) or not lab.json(
        "volume", "ls"
    )
    lab.ask("volume", "rm", "named")
    assert lab.json("volume", "ls") == []


def test_a_folder_of_the_machine_shows_where_it_is_mounted(lab: Lab) -> None:
    outside = lab.scratch / "outside"
    outside.mkdir()
    (outside / "f").write_text("from outside\n")
    shown = lab.out("run", "--rm", "-v", f"{outside}:/mnt/in", "changed-ubuntu", "cat", "/mnt/in/f")
    assert shown == "from outside"
    mount = f"type=bind,source={outside},target=/in,readonly"
    done = lab.ask("run", "--rm", "--mount", mount, "changed-ubuntu", "touch", "/in/g")
    assert done.returncode == 1
    assert os.listdir(outside) == ["f"]


# When something is killed.


def _ended(lab: Lab, name: str) -> None:
    eventually(lambda: lab.state(name)["status"] == "exited", f"{lab.state(name)}")
    assert lab.state(name)["exit_code"] == 137
    lab.nothing_left()
    assert lab.out("start", name) == name
    assert lab.state(name)["status"] == "running"
    lab.out("rm", "-f", name)
    assert lab.json("ps", "-a") == []


def test_a_killed_first_process_is_told_of(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "changed-ubuntu", "sleep", "600")
    kill_as_outside(lab.state("ctr")["pid"])
    _ended(lab, "ctr")


def kill_as_outside(pid: int) -> None:
    kill(pid)


def test_a_killed_shim_takes_all_of_its_container_with_it(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "changed-ubuntu", "sleep", "600")
    lab.out("exec", "-d", "ctr", "sleep", "601")
    id = lab.state("ctr")["id"]
    lock = json.loads((lab.root / "containers" / id / "layerview.lock").read_text())
    first = lock["pid"]
    kill(lock["shim"])
    eventually(lambda: not os.path.exists(f"/proc/{first}"), "the first process lives on")
    _ended(lab, "ctr")


def test_a_killed_layerview_leaves_its_container_to_the_shim(lab: Lab) -> None:
    run = lab.popen("run", "--name", "ctr", "changed-ubuntu", "sleep", "600")
    eventually(lambda: _is_up(lab, "ctr"), "it does not start")
    run.kill()
    run.wait()
    assert lab.state("ctr")["status"] == "running"
    assert lab.out("exec", "ctr", "echo", "alive") == "alive"
    lab.out("rm", "-f", "ctr")


def _is_up(lab: Lab, name: str) -> bool:
    return any(one["name"] == name for one in lab.json("ps"))


def test_a_cleared_runtime_folder_changes_nothing_of_the_truth(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "changed-ubuntu", "sleep", "600")
    shutil.rmtree(lab.root / "layerview/run")
    assert lab.state("ctr")["status"] == "running"
    lab.out("rm", "-f", "ctr")
    assert lab.json("ps", "-a") == []


def test_after_a_reboot_nothing_runs_and_everything_can_be_started(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "ctr", "changed-ubuntu", "sleep", "600")
    id = lab.state("ctr")["id"]
    path = lab.root / "containers" / id / "layerview.lock"
    lock = json.loads(path.read_text())
    kill(lock["shim"])
    lab.nothing_left()
    path.write_text(json.dumps({**lock, "boot": "00000000-0000-0000-0000-000000000000"}))
    shutil.rmtree(lab.root / "layerview/run")
    assert lab.state("ctr")["status"] == "exited"
    assert lab.state("ctr")["exit_code"] == 255
    lab.out("start", "ctr")
    assert lab.state("ctr")["status"] == "running"
    lab.out("rm", "-f", "ctr")


# Many.


def test_many_are_started_by_one_call(lab: Lab) -> None:
    ids = lab.out("run", "-d", "--count", "12", "changed-ubuntu", "sleep", "600").split()
    assert len(set(ids)) == 12
    assert len(lab.json("ps")) == 12
    assert len({one["name"] for one in lab.json("ps")}) == 12
    lab.out("stop", "-t", "0", *ids)
    assert lab.json("ps") == []


def test_calls_at_the_same_time_do_not_disturb_each_other(lab: Lab) -> None:
    done: list[subprocess.CompletedProcess[bytes]] = []

    def one(number: int) -> None:
        script = f"echo {number} > /own; cat /own"
        done.append(lab.call("run", "--rm", "changed-ubuntu", "sh", "-c", script))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(each.stdout) for each in done) == list(range(8)), done
    assert os.listdir(lab.root / "containers") == []


def test_the_area_is_sound_after_all_that(lab: Lab) -> None:
    assert lab.json("doctor")["ok"]


def test_an_area_may_lie_as_deep_as_it_likes(tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 300:
        deep = deep / ("d" * 40)
    deep.mkdir(parents=True)
    lab = Lab(deep / "area")
    lab.load("changed-ubuntu:latest", *changed_layers())
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "60")
    assert lab.out("exec", id, "echo", "deep") == "deep"
    lab.out("kill", "-s", str(int(signal.SIGKILL)), id)
    lab.out("rm", "-f", id)
    lab.nothing_left()
    lab.end_worker()


def test_an_image_under_another_driver_is_brought_over_first(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "area", "overlay2")
    lab.load("changed-ubuntu:latest", *changed_layers())
    shown = lab.out("run", "--rm", "--driver", "vfs", "changed-ubuntu", "cat", "/tmp/newfile")
    assert shown == "Hello world"
    assert lab.json("images")
    assert os.listdir(lab.root / "vfs/dir")
    assert os.listdir(lab.root / "containers") == []
    lab.end_worker()
