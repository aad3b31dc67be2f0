"""`layerview watch`: what it prints, how it ends, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.events import INIT, Copying, CowEvent, Ended, Notice
from layerview.watch.recording import Recorder
from layerview.watch.target import Target, WatchedLayer
from tests.support.commands import Command
from tests.support.container_lab import BUSYBOX, COMMAND, Lab, changed_layers

ID = "ab" * 32
TARGET = Target(
    "layerview",
    ID,
    "try",
    "bb:1",
    "overlay2",
    Whiteouts.TRUSTED,
    "/area/overlay2/x/diff",
    (WatchedLayer(1, "/area/1"), WatchedLayer(0, "/area/0")),
)
NOON = 1_700_000_000 * 10**9
EVENTS = [
    CowEvent(NOON, "copy_up", b"etc", layer=INIT, searched=(INIT,), bytes=0, held=True, size=0),
    CowEvent(
        NOON + 5 * 10**6,
        "copy_up",
        b"f\xff\x1b[2J",
        layer=0,
        searched=(1, 0),
        bytes=38_700_000,
        duration_ns=12_300_000,
        pid=7,
        command="sh",
        cause="open",
        disk_path="/area/overlay2/x/diff/f",
        size=38_700_001,
    ),
    CowEvent(NOON + 6 * 10**6, "write", b"f\xff\x1b[2J", written=1, size=38_700_001),
    CowEvent(NOON + 7 * 10**6, "whiteout", b"gone", layer=1),
    CowEvent(NOON + 8 * 10**6, "create", b"data/v", volume=True, size=2),
    CowEvent(NOON + 9 * 10**6, "rename", b"new\nname", from_path=b"old", size=3),
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording"
    with Recorder(str(path), TARGET) as recorder:
        recorder.write([*EVENTS[:1], Copying(NOON, b"f", 0, 1, 2), *EVENTS[1:]])
        recorder.write([Notice(NOON, "a limit\x1b[2J"), Ended(NOON, "the container ended")])
    return path


def test_each_event_is_a_line_for_people(run: Command, recording: Path) -> None:
    done = run("watch", "--replay", recording)
    assert done.status == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["TIME", "KIND", "LAYER", "PATH", "SIZE", "TOOK", "NOTE"]
    assert [line[1] for line in lines[1:]] == [event.kind for event in EVENTS]
    assert [" ".join(line[2:5]) for line in lines[1:3]] == ["init → W", "0 → W"]
    assert " ".join(lines[2][5:]) == (
        "/f\\xff\\x1b[2J 38.7 MB 12.3 ms searched 1 0, found in 0, opened for writing, by sh (7)"
    )
    assert "there already" in done.out.splitlines()[1]
    assert "hides layer 1's" in done.out
    assert "passes the layers by" in done.out
    assert "/new\\nname" in done.out
    assert "\x1b" not in done.out + done.errors
    assert done.errors.splitlines() == [
        "layerview: a limit\\x1b[2J",
        "layerview: try: the container ended",
    ]


def test_json_has_a_line_an_event_with_stable_names(run: Command, recording: Path) -> None:
    found = run("watch", "--replay", recording, "--json").lines
    assert [line["kind"] for line in found] == [event.kind for event in EVENTS]
    assert {line["container"] for line in found} == {ID}
    assert found[1] == {
        "time": "2023-11-14T22:13:20.005000000Z",
        "container": ID,
        "kind": "copy_up",
        "path": "/f\udcff\x1b[2J",
        "path_bytes": "L2b/G1sySg==",
        "from": None,
        "layer": 0,
        "searched": [1, 0],
        "bytes": 38_700_000,
        "written": None,
        "duration_ns": 12_300_000,
        "pid": 7,
        "command": "sh",
        "cause": "open",
        "disk_path": "/area/overlay2/x/diff/f",
        "volume": False,
        "held": False,
        "size": 38_700_001,
    }
    assert (found[4]["volume"], found[5]["from"]) == (True, "/old")


def test_a_summary_stands_in_the_place_of_the_events(run: Command, recording: Path) -> None:
    document = run("watch", "--replay", recording, "--summary", "--json").json
    assert document["copy_ups"] == 2
    assert document["bytes_copied"] == 38_700_000
    assert document["bytes_written"] == 1
    assert document["container"] == ID
    assert document["by_path"][0]["path_bytes"] == "L2b/G1sySg=="
    assert [one["layer"] for one in document["by_layer"]] == [INIT, 0]
    text = run("watch", "--replay", recording, "--summary").out
    assert "copy-ups      2, 38.7 MB copied" in text
    assert "/f\\xff\\x1b[2J" in text
    assert "TIME" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["watch"], "it takes CONTAINER, or --replay FILE"),
        (["watch", "try", "--replay", "f"], "--replay needs no CONTAINER"),
        (["watch", "try", "--for", "-1"], "--for '-1': a number of seconds"),
        (["watch", "try", "--for", "nan"], "--for 'nan': a number of seconds"),
        (["watch", "try", "again"], "it takes CONTAINER"),
    ],
    ids=str,
)
def test_words_that_make_no_sense_are_refused(run: Command, words: list[str], said: str) -> None:
    done = run(*words)
    assert (done.status, done.out) == (2, "")
    assert said in done.errors


def test_a_file_that_is_no_recording_is_refused(run: Command, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("{}\n")
    done = run("watch", "--replay", tmp_path / "f")
    assert (done.status, done.out) == (1, "")
    assert len(done.errors.splitlines()) == 1


# --- a container of ours ---

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(BUSYBOX),
    reason="the overlay driver needs root, and an image busybox-static",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab") / "area")
    made.load("bb:1", *changed_layers())
    made.out("run", "-d", "--name", "try", "-v", "data:/data", "bb:1", "sleep", "1000")
    made.out("exec", "try", "touch", "/tmp/ready")
    yield made
    made.clear()
    made.end_worker()
    made.nothing_left()


def begun(lab: Lab, *words: str) -> subprocess.Popen[bytes]:
    """Begin to watch; what is there already has been told when this comes back."""
    watching = lab.popen("watch", "try", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None
    while b"/tmp/ready" not in watching.stdout.readline():
        assert watching.poll() is None
    return watching


@needs_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_and_nothing_is_left(lab: Lab, number: signal.Signals) -> None:
    before = set(lab.processes())
    with begun(lab, "--json") as watching:
        lab.out("exec", "try", "touch", f"/tmp/at-{number}")
        watching.send_signal(number)
        assert watching.stdout is not None
        assert watching.stderr is not None
        rest = [json.loads(line) for line in watching.stdout]
        assert watching.stderr.read() == b""
        assert watching.wait(20) == 0
    # What came just before the signal is told.
    assert f"/tmp/at-{number}" in [line["path"] for line in rest]
    assert set(lab.processes()) == before


@needs_root
def test_a_reader_that_goes_away_ends_it(lab: Lab) -> None:
    with begun(lab) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.close()
        assert watching.wait(20) == 1
        assert watching.stderr.read() == b""


@needs_root
def test_it_ends_after_the_time_that_is_given(lab: Lab) -> None:
    began = time.monotonic()
    done = lab.call("watch", "try", "--for", "0.3", "--summary", "--json")
    assert done.returncode == 0
    assert 0.3 <= time.monotonic() - began < 10
    document = json.loads(done.stdout)
    assert (document["name"], document["driver"]) == ("try", "overlay2")
    assert document["bytes_written"] is None
    assert document["bytes_changed"] is not None
    assert document["container_layer_size"] == sum(
        path.stat().st_size for path in lab.upper("try").rglob("*") if path.is_file()
    )


@needs_root
def test_a_recording_replays_what_was_told(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    with begun(lab, "--json", "--record", str(path)) as watching:
        lab.out("exec", "try", "sh", "-c", "echo x >> /etc/apt/sources.list; echo v > /data/v")
        time.sleep(0.3)
        watching.send_signal(signal.SIGINT)
        assert watching.stdout is not None
        lines = watching.stdout.read().splitlines()
        assert watching.wait(20) == 0
    again = lab.call("watch", "--replay", path, "--json")
    assert again.returncode == 0
    assert lines
    assert again.stdout.splitlines()[-len(lines) :] == lines
    assert lab.call("watch", "try", "--record", path, "--for", "0").returncode == 1


@needs_root
def test_the_table_of_a_running_container_has_its_layers(lab: Lab) -> None:
    done = lab.call("watch", "try", "--for", "0")
    assert done.returncode == 0
    assert done.stderr == b""
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert ["3", "→", "W", "/tmp"] in [row[2:6] for row in rows]


@needs_root
def test_an_unknown_container_is_said(lab: Lab) -> None:
    done = subprocess.run(
        [*COMMAND, "watch", "nothere", "--root", str(lab.root)], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"layerview: {lab.root} has no container nothere\n"
