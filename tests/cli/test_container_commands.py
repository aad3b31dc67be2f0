"""The container commands, each a process of its own: what they print, their JSON, how they end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives, tars
from tests.support.container_lab import (
    BUSYBOX,
    COMMAND,
    Lab,
    busybox_layer,
    changed_layers,
    words_of,
)

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="the overlay driver needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]
ID = re.compile("[0-9a-f]{64}")


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def area(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab") / "area", request.param)
    made.load("changed-ubuntu:latest", *changed_layers(), Labels={"of": "image"})
    yield made
    made.end_worker()


@pytest.fixture
def lab(area: Lab, tmp_path: Path) -> Iterator[Lab]:
    area.scratch = tmp_path
    yield area
    area.clear()
    area.nothing_left()


def said(done: Any) -> str:
    """Return the one line that a call which failed said."""
    text: str = done.stderr.decode()
    assert text.startswith("layerview: ")
    assert text.count("\n") == 1, text
    return text


# Exit statuses.


def test_what_fails_of_layerview_itself_is_125_for_run_and_exec(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "1000")
    stopped = lab.out("create", "changed-ubuntu")
    for words in (
        ["run"],
        ["run", "--colour", "changed-ubuntu"],
        ["run", "nothing-of-this-name"],
        ["run", "-v", "a/b:/c", "changed-ubuntu"],
        ["run", "--mount", "colour=red", "changed-ubuntu"],
        ["run", "-w", "here", "changed-ubuntu"],
        ["run", "-u", "nobody-of-this-name", "changed-ubuntu"],
        ["run", "-e", "=x", "changed-ubuntu"],
        ["run", "-l", "=x", "changed-ubuntu"],
        ["run", "--name", "a/b", "changed-ubuntu"],
        ["run", "--network", "bridge", "changed-ubuntu"],
        ["run", "--stop-signal", "HURRY", "changed-ubuntu"],
        ["run", "--runtime", "colour", "changed-ubuntu"],
        ["run", "--driver", "colour", "changed-ubuntu"],
        ["run", "--env-file", "/nowhere", "changed-ubuntu"],
        ["run", "--mount", "type=bind,source=/nowhere,target=/x", "changed-ubuntu"],
        ["run", "--rm", "-it", "changed-ubuntu"],
        ["run", "--count", "2", "changed-ubuntu"],
        ["run", "-d", "--count", "0", "changed-ubuntu"],
        ["run", "-d", "--count", "2", "--name", "one", "changed-ubuntu"],
        ["run", "--json", "changed-ubuntu"],
        ["exec", id],
        ["exec", "--colour", id, "true"],
        ["exec", "-it", id, "true"],
        ["exec", "-w", "here", id, "true"],
        ["exec", "-u", "nobody-of-this-name", id, "true"],
        ["exec", "nothing-of-this-name", "true"],
        ["exec", stopped, "true"],
    ):
        done = lab.call(*words)
        assert (done.returncode, done.stdout) == (125, b""), words
        said(done)


def test_what_can_t_be_run_is_126_and_what_is_not_there_127(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "1000")
    for command in (["run", "--rm", "changed-ubuntu"], ["exec", id]):
        for program, code in (("/etc/passwd", 126), ("/etc", 126), ("nowhere", 127), ("/no", 127)):
            done = lab.call(*command, program)
            assert (done.returncode, done.stdout) == (code, b""), (command, program)
            assert program in said(done)


def test_one_that_was_not_started_stays_but_not_with_rm(lab: Lab) -> None:
    done = lab.call("run", "-d", "changed-ubuntu", "nowhere")
    assert done.returncode == 127
    assert ID.fullmatch(done.stdout.decode().strip())
    state = lab.state(done.stdout.decode().strip())
    assert (state["status"], state["exit_code"]) == ("created", None)
    assert "nowhere" in lab.json("inspect", state["id"])["error"]
    lab.out("rm", state["id"])
    assert lab.call("run", "-d", "--rm", "changed-ubuntu", "nowhere").returncode == 127
    assert lab.call("run", "--rm", "changed-ubuntu", "nowhere").returncode == 127
    assert lab.out("ps", "-aq") == ""


def test_start_shows_the_output_and_ends_as_the_command_when_asked_to(lab: Lab) -> None:
    id = lab.out("create", "-i", "changed-ubuntu", "sh", "-c", "cat; echo to err >&2; exit 3")
    done = lab.call("start", "-ai", id, stdin=b"typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"typed\n", b"to err\n")
    assert lab.out("wait", id) == "3"
    plain = lab.out("create", "changed-ubuntu", "sh", "-c", "cat; exit 4")
    done = lab.call("start", "-ai", plain, stdin=b"typed\n")
    assert (done.returncode, done.stdout) == (4, b"")
    assert lab.call("start", "-a", plain).returncode == 4
    assert lab.out("start", plain) == plain
    assert lab.out("wait", plain) == "4"
    missing = lab.out("create", "changed-ubuntu", "nowhere")
    assert lab.call("start", "-a", missing).returncode == 127
    assert lab.call("start", missing).returncode == 1
    assert lab.call("start", "-a", id, missing).returncode == 2


def test_a_signal_for_run_is_the_container_s(lab: Lab) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    with lab.popen("run", "--rm", "changed-ubuntu", "sh", "-c", script, stdout=-1) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        run.terminate()
        assert run.wait(20) == 9


def test_a_container_has_its_terminal_though_nobody_is_there_to_see_it(lab: Lab) -> None:
    # Not by the worker, which has imported what a terminal needs.
    done = lab.call("run", "-dt", "--name", "tty", "changed-ubuntu", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    asked = lab.call("exec", "tty", "sh", "-c", "test -t 0 </proc/1/fd/0 && echo yes")
    assert asked.stdout == b"yes\n", asked.stderr
    assert lab.call("rm", "-f", "tty").returncode == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed_are_as_if_nothing_was_there(lab: Lab, closed: str) -> None:
    script = "cat; echo out; echo err >&2; exit 5"
    words = [*COMMAND, "run", "--rm", "-i", "changed-ubuntu", "sh", "-c", script]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words],
        env=lab.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5
    assert done.stdout == (b"" if ">&- " in closed + " " and closed != "2>&-" else b"out\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"err\n")


def test_who_takes_no_more_of_the_output_ends_the_call_alone(lab: Lab) -> None:
    with lab.popen("run", "--name", "yes", "changed-ubuntu", "yes", stdout=-1, stderr=-1) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == b"y\n"
        run.stdout.close()
        assert run.wait(20) == 1
        assert run.stderr.read() == b""
    assert lab.state("yes")["status"] == "running"
    assert lab.out("rm", "-f", "yes") == "yes"


def test_output_that_can_t_be_written_is_said(lab: Lab) -> None:
    for words in (["run", "--rm", "changed-ubuntu", "echo", "x"], ["ps", "-a"]):
        with open("/dev/full", "wb") as full, lab.popen(*words, stdout=full, stderr=-1) as call:
            assert call.stderr is not None
            assert call.wait(20) == (125 if words[0] == "run" else 1)
            assert call.stderr.read() == b"layerview: no space left on device\n"


# What is done to several.


def test_what_is_not_there_keeps_nobody_from_the_others(lab: Lab) -> None:
    for name in ("cx", "cy"):
        lab.out("create", "--name", name, "changed-ubuntu", "sleep", "99")
    for words, verb in (
        (["start"], "start"),
        (["restart", "-t", "0"], "restart"),
        (["stop", "-t", "0"], "stop"),
        (["rm"], "rm"),
    ):
        done = lab.call(*words, "cx", "nobody", "cy")
        assert (done.returncode, done.stdout) == (1, b"cx\ncy\n"), verb
        assert "nobody" in said(done)
    assert lab.out("ps", "-aq") == ""


def test_with_force_what_is_not_there_is_as_it_should_be(lab: Lab) -> None:
    done = lab.call("rm", "-f", "nobody")
    assert (done.returncode, done.stdout) == (0, b"")
    assert "nobody" in said(done)


def test_several_are_stopped_at_the_same_time(lab: Lab) -> None:
    ids = lab.out("run", "-d", "--count", "4", "changed-ubuntu", "sleep", "1000").split()
    begun = time.monotonic()
    assert lab.out("stop", "-t", "2", *ids).split() == ids
    assert time.monotonic() - begun < 6
    assert {lab.state(id)["exit_code"] for id in ids} == {137}


def test_json_of_what_is_done_to_several(lab: Lab) -> None:
    words = ["create", "--json", "--name", "it", "changed-ubuntu", "sleep", "1000"]
    id = json.loads(lab.out(*words))["id"]
    assert lab.json("start", "it") == [{"id": id, "name": "it"}]
    assert lab.json("kill", "-s", "USR1", "it") == [{"id": id, "name": "it"}]
    assert lab.json("restart", "-t", "0", "it") == [{"id": id, "name": "it"}]
    assert lab.json("stop", "-t", "0", id) == [{"id": id, "name": "it"}]
    assert lab.json("wait", "it") == [{"id": id, "name": "it", "exit_code": 137}]
    assert lab.json("rm", "it") == {"deleted": [id], "volumes": []}


# Words of run.


def test_run_says_what_a_start_took(lab: Lab) -> None:
    done = lab.call("run", "-d", "changed-ubuntu", "sleep", "1000")
    assert ID.fullmatch(done.stdout.decode().strip())
    line = rf"started in \d+\.\d ms, \d[\d.]* [kM]?B allocated \({lab.driver}\)\n"
    assert re.fullmatch(line, done.stderr.decode())
    done = lab.call("run", "-d", "--count", "3", "--json", "changed-ubuntu", "sleep", "1000")
    assert done.stderr == b""
    begun = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(begun) == 3
    for one in begun:
        state = lab.state(one["id"])
        for key in ("name", "driver", "pid", "start_ns", "allocated"):
            assert one[key] == state[key]
    # A whole copy on vfs; on overlay2 a few folders.
    sizes = {one["allocated"] for one in begun}
    assert all((size > os.path.getsize(BUSYBOX)) is (lab.driver == "vfs") for size in sizes)
    done = lab.call("run", "--rm", "changed-ubuntu", "echo", "hi")
    assert (done.stdout, done.stderr) == (b"hi\n", b"")


def test_what_stands_behind_the_image_is_the_command_s(lab: Lab) -> None:
    done = lab.call("run", "--rm", "-e", "A=1", "changed-ubuntu", "echo", "-e", "--rm", "--", "-it")
    assert done.stdout == b"--rm -- -it\n"


def test_variables_come_from_files_and_from_the_caller(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("\ufeff# none\n\nA=from file\n  B=x=y \nPATH\nNOWHERE\nC=\n")
    words = ["--env-file", tmp_path / "env", "-e", "A=from call", "-e", "HOME", "-e", "NOWHERE2"]
    shown = lab.call("run", "--rm", *words, "changed-ubuntu", "env").stdout.decode().splitlines()
    assert {"A=from call", "B=x=y ", "C=", f"PATH={os.environ['PATH']}"} <= set(shown)
    assert f"HOME={os.environ['HOME']}" in shown
    assert not any(line.startswith(("NOWHERE", "#")) for line in shown)
    id = lab.out("run", "-d", "changed-ubuntu", "sleep", "1000")
    shown = lab.call("exec", *words, id, "env").stdout.decode().splitlines()
    assert {"A=from call", "B=x=y ", "C="} <= set(shown)
    (tmp_path / "env").write_text("A B=1\n")
    done = lab.call("run", "--env-file", tmp_path / "env", "changed-ubuntu")
    assert (done.returncode, "line 1" in said(done)) == (125, True)


def test_an_entry_point_is_one_word_and_may_be_none(lab: Lab) -> None:
    lab.load("entry:1", busybox_layer(), Entrypoint=["echo", "entry"], Cmd=["cmd"])
    assert lab.call("run", "--rm", "entry:1").stdout == b"entry cmd\n"
    assert lab.call("run", "--rm", "entry:1", "x").stdout == b"entry x\n"
    assert lab.call("run", "--rm", "--entrypoint", "cat", "entry:1", "/etc/group").stdout
    assert lab.call("run", "--rm", "--entrypoint", "", "entry:1", "echo", "x").stdout == b"x\n"
    done = lab.call("run", "--rm", "--entrypoint", "", "entry:1")
    assert (done.returncode, "names no program" in said(done)) == (125, True)


def test_names_and_labels_are_kept(lab: Lab) -> None:
    id = lab.out("create", "--name", "named", "-l", "a=b=c", "-l", "bare", "changed-ubuntu")
    assert lab.state("named")["labels"] == {"a": "b=c", "bare": "", "of": "image"}
    assert lab.out("ps", "-aq", "--no-trunc", "-f", "label=a=b=c") == id
    done = lab.call("create", "--name", "named", "changed-ubuntu")
    assert (done.returncode, id[:12] in said(done)) == (1, True)


# The image of run.


def test_an_image_that_is_a_file_is_loaded_first(lab: Lab, tmp_path: Path) -> None:
    spec = archives.image(busybox_layer(), tags=["fresh:latest"], config={"Cmd": ["echo", "fresh"]})
    path = archives.docker_archive(tmp_path / "fresh.tar", spec)
    done = lab.call("run", "--name", "first", "--driver", lab.driver, path)
    assert (done.returncode, done.stdout) == (0, b"fresh\n")
    assert "loading" in said(done)
    assert lab.state("first")["image"] == "fresh"
    again = lab.call("run", "--rm", "--driver", lab.driver, path)
    assert (again.stdout, again.stderr) == (b"fresh\n", b"")
    assert lab.call("run", "--rm", "fresh").stdout == b"fresh\n"
    lab.out("rm", "first")
    lab.out("rmi", "fresh")


def test_a_folder_of_files_can_be_run(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "tree/bin").mkdir(parents=True)
    (tmp_path / "tree/bin/busybox").write_bytes(Path(BUSYBOX).read_bytes())
    (tmp_path / "tree/bin/busybox").chmod(0o755)
    words = ["run", "--name", "tree", "--driver", lab.driver, tmp_path / "tree"]
    done = lab.call(*words, "/bin/busybox", "echo", "from a folder")
    assert (done.returncode, done.stdout) == (0, b"from a folder\n")
    image = lab.state("tree")["image_id"]
    lab.out("rm", "tree")
    lab.out("rmi", image)


def test_a_file_with_several_images_is_refused_and_names_them(lab: Lab, tmp_path: Path) -> None:
    specs = [
        archives.image(tars.layer(tars.file("f", name)), tags=[f"{name}:1"]) for name in ("a", "b")
    ]
    path = archives.docker_archive(tmp_path / "two.tar", *specs)
    before = lab.out("images", "-q")
    done = lab.call("run", path, "true")
    assert done.returncode == 125
    assert all(name in said(done) for name in ("a:1", "b:1"))
    assert lab.out("images", "-q") == before


def test_what_is_damaged_is_not_run(lab: Lab, tmp_path: Path) -> None:
    path = archives.docker_archive(tmp_path / "x.tar", archives.image(busybox_layer()))
    path.write_bytes(path.read_bytes()[: 1 << 19])
    done = lab.call("run", path, "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert lab.out("ps", "-aq") == ""


def test_an_image_that_is_nowhere_says_how_it_comes_here(lab: Lab) -> None:
    done = lab.call("run", "nowhere:1")
    assert "layerview load" in said(done)
    assert lab.call("create", "nowhere:1").returncode == 1


def test_without_an_area_one_is_made(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "area")
    done = lab.call("run", "nowhere:1")
    assert (done.returncode, "layerview load" in said(done)) == (125, True)
    assert not lab.root.exists()
    spec = archives.image(busybox_layer(), config={"Cmd": ["echo", "made"]})
    path = archives.docker_archive(tmp_path / "image.tar", spec)
    assert lab.call("run", "--rm", path).stdout == b"made\n"
    lab.nothing_left()


# Looking.


def test_logs_show_each_stream_where_it_belongs(lab: Lab) -> None:
    script = "echo out; sleep 0.05; echo err >&2; sleep 0.05; printf end"
    id = lab.out("run", "-d", "changed-ubuntu", "sh", "-c", script)
    lab.out("wait", id)
    done = lab.call("logs", id)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\nend", b"err\n")
    assert lab.call("logs", "--tail", "1", id).stdout == b"end"
    assert lab.call("logs", "-n0", id).stdout == b""
    stamp = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "
    assert re.fullmatch(stamp + b"out\n" + stamp + b"end", lab.call("logs", "-t", id).stdout)
    lines = [json.loads(line) for line in lab.out("logs", "--json", id).splitlines()]
    assert [(one["stream"], one["log"]) for one in lines] == [
        *(("stdout", "out\n"), ("stderr", "err\n"), ("stdout", "end")),
    ]
    assert lab.call("logs", "--since", lines[1]["time"], id).stdout == b"end"
    assert lab.call("logs", "--until", lines[1]["time"], id).stdout == b"out\n"
    assert lab.call("logs", "--since", "1h", id).stdout == b"out\nend"
    assert lab.call("logs", "--until", "1h", id).stdout == b""
    for words in (["--since", "soon"], ["--tail", "x"]):
        assert lab.call("logs", *words, id).returncode == 2
    assert lab.call("logs", "-f", id).stdout == b"out\nend"


def test_changes_are_printed_as_docker_prints_them(lab: Lab) -> None:
    script = "echo x > /tmp/newfile; rm -r /data; mkdir /own; echo y > '/own/a\nb'"
    id = lab.out("run", "-d", "changed-ubuntu", "sh", "-c", script)
    lab.out("wait", id)
    shown = lab.out("changes", id).splitlines()
    assert set(shown) == {
        *("C /tmp", "C /tmp/newfile", "D /data", "A /own", "A /own/a\\nb"),
    }
    assert {(one["kind"], one["path"]) for one in lab.json("changes", id)} == {
        *(("C", "/tmp"), ("C", "/tmp/newfile"), ("D", "/data"), ("A", "/own"), ("A", "/own/a\nb")),
    }


def test_a_container_is_inspected_before_an_image_of_its_name(lab: Lab) -> None:
    id = lab.out("run", "-d", "--name", "changed-ubuntu", "changed-ubuntu", "sleep", "1000")
    found = lab.json("inspect", "changed-ubuntu")
    state = lab.state(id)
    assert {key: found[key] for key in state if key not in ("size_rw", "size_root")} == {
        key: value for key, value in state.items() if key not in ("size_rw", "size_root")
    }
    assert [layer["kind"] for layer in found["layers"]] == [*["image"] * 4, "init", "container"]
    assert found["upper"] == found["layers"][-1]["directory"] == str(lab.upper(id))
    assert (Path(found["merged"]) / "tmp/newfile").read_text() == "Hello world\n"
    assert found["config"]["Cmd"] == ["sleep", "1000"]
    shown = lab.out("inspect", "changed-ubuntu")
    assert shown.startswith("container   changed-ubuntu\n")
    assert "status      Up " in shown
    assert lab.json("inspect", "--type", "image", "local:changed-ubuntu")["config"]["config"]
    assert lab.call("inspect", "--type", "container", "nobody").returncode == 1
    lab.out("rename", id, "other")
    assert lab.json("inspect", id[:10])["id"] == id


def test_a_commit_prints_the_image_it_made(lab: Lab) -> None:
    id = lab.out("run", "-d", "changed-ubuntu", "sh", "-c", "echo made > /made")
    lab.out("wait", id)
    document = lab.json("commit", "-m", "why", "-c", "CMD cat /made", id, "made:2")
    assert document["references"] == ["made:2"]
    assert document["image_id"].startswith("sha256:")
    assert lab.call("run", "--rm", "made:2").stdout == b"made\n"
    assert lab.out("commit", id) != document["image_id"]
    assert lab.call("commit", id, "Made:2").returncode == 1
    assert lab.call("commit", "-c", "RUN x", id).returncode == 2
    lab.out("prune", "-f")
    lab.out("rmi", "made:2")


# Clearing up.


def test_prune_leaves_what_runs(lab: Lab) -> None:
    runs = lab.out("run", "-d", "changed-ubuntu", "sleep", "1000")
    created = lab.out("create", "-l", "keep", "changed-ubuntu")
    ended = lab.out("run", "-d", "changed-ubuntu", "sh", "-c", "head -c 1000 /bin/sh > /f")
    lab.out("wait", ended)
    assert lab.call("container", "prune").returncode == 2  # nobody is there to be asked
    document = lab.json("container", "prune", "-f", "--filter", "label!=keep")
    assert (document["containers"], document["bytes"]) == ([ended], 1000)
    document = lab.json("container", "prune", "-f", "--filter", "until=1h")
    assert document["containers"] == []
    assert lab.json("prune", "-f")["containers"] == [created]
    assert lab.out("ps", "-aq", "--no-trunc") == runs


def test_words_of_docker_container_are_commands_of_their_own(lab: Lab) -> None:
    id = lab.out("container", "create", "changed-ubuntu")
    assert lab.out("container", "ls", "-aq", "--no-trunc") == id
    assert lab.out("container", "diff", id) == ""
    assert lab.out("container", "rm", id) == id
    assert lab.call("container").returncode == 2
    assert lab.call("container", "paint").returncode == 2


# Volumes.


def test_volumes_are_listed_with_their_users(lab: Lab) -> None:
    assert lab.out("volume", "ls") == "DRIVER    VOLUME NAME"
    anonymous = lab.out("volume", "create")
    assert ID.fullmatch(anonymous)
    assert [lab.out("volume", "create", "data"), lab.out("volume", "create", "data")] == [
        *("data", "data"),
    ]
    id = lab.out("run", "-d", "--name", "user", "-v", "data:/d", "changed-ubuntu", "sleep", "99")
    lab.out("exec", id, "sh", "-c", "echo 12345 > /d/f")
    heading, *rows = words_of(lab.out("volume", "ls", "-s"))
    assert heading == ["DRIVER", "VOLUME NAME", "SIZE", "CONTAINERS"]
    assert ["local", "data", "6 B", "user"] in rows
    assert lab.out("volume", "ls", "-q", "-f", "dangling=true") == anonymous
    assert lab.out("volume", "ls", "-q", "-f", "name=at") == "data"
    [found] = lab.json("volume", "inspect", "data")
    assert found["mountpoint"] == str(lab.root / "volumes/data/_data")
    assert found["containers"] == [{"id": id, "name": "user"}]
    assert (found["size"], found["anonymous"], found["driver"]) == (6, False, "local")
    done = lab.call("volume", "inspect", "data", "nothing")
    assert (done.returncode, len(json.loads(done.stdout))) == (1, 1)
    done = lab.call("volume", "rm", "data", anonymous, "nothing")
    assert (done.returncode, done.stdout.decode()) == (1, f"{anonymous}\n")
    assert "user" in done.stderr.decode()
    assert lab.call("volume", "rm", "-f", "nothing").returncode == 0


@pytest.mark.parametrize("name", ["a", "a/b", "..", ".a", "a b", "a" * 256])
def test_a_volume_s_name_is_docker_s(lab: Lab, name: str) -> None:
    done = lab.call("volume", "create", name)
    assert (done.returncode, done.stdout) == (2, b"")
    said(done)
    done = lab.call("run", "--rm", "-v", f"{name}:/d", "changed-ubuntu", "true")
    assert (done.returncode, done.stdout) == (125, b"")


@pytest.mark.parametrize("words", [[], ["paint"], ["ls", "x"], ["ls", "-f", "x=1"], ["rm"]])
def test_volume_words_that_are_off(lab: Lab, words: list[str]) -> None:
    done = lab.call("volume", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    said(done)


# Every command.


@pytest.mark.parametrize(
    "command",
    [
        *("run", "create", "start", "stop", "restart", "kill", "rm", "ps", "exec", "attach"),
        *("logs", "wait", "rename", "commit", "changes", "inspect", "prune", "container prune"),
        *("container", "volume", "volume ls", "volume create", "volume inspect", "volume rm"),
        "volume prune",
    ],
)
def test_help_says_how_it_is_called(lab: Lab, command: str) -> None:
    done = lab.call(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode()
    assert shown.startswith(f"usage: layerview {command} ")
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize(
    "command", ["start", "stop", "restart", "kill", "rm", "wait", "attach", "logs", "changes"]
)
def test_what_needs_a_container_says_so(lab: Lab, command: str) -> None:
    done = lab.call(command)
    assert (done.returncode, "CONTAINER" in said(done)) == (2, True)
    done = lab.call(command, "nobody")
    assert (done.returncode, "nobody" in said(done)) == (1, True)
