"""Watching kernel overlays: what is told equals a full comparison of the layers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from layerview.watch import by_fanotify
from layerview.watch.compare import compare, open_tree
from layerview.watch.events import Copying, CowEvent, Ended
from layerview.watch.target import Target, WatchedVolume
from tests.support.overlays import Watching, differences, fill, hear_by, overlay, work

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting an overlay needs root"),
]


@pytest.fixture(params=["fanotify", "inotify", "watchfiles"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to hear of changes, all of which root may use."""
    hear_by(request.param, monkeypatch)
    return str(request.param)


def equal(watching: Watching, target: Target) -> None:
    """Assert that the ledger is what a full comparison finds."""
    watching.quiet()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        left = differences(watching.ledger.holds, compare(target))
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(left)


def events(watching: Watching, *kinds: str) -> list[CowEvent]:
    return [
        record
        for record in watching.records
        if isinstance(record, CowEvent) and (not kinds or record.kind in kinds)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_random_work_is_told_in_full(way: str, seed: int, tmp_path: Path) -> None:
    with overlay(tmp_path / "o", fill(seed), fill(seed + 100), fill(seed + 200)) as (target, top):
        with Watching(target) as watching:
            for part in range(3):
                work(top, seed * 10 + part, 60)
                equal(watching, target)
        assert watching.ledger.events > 50


@pytest.mark.parametrize("seed", range(2))
def test_who_comes_late_begins_with_what_is_there(seed: int, tmp_path: Path) -> None:
    with overlay(tmp_path / "o", fill(seed), fill(seed + 1)) as (target, top):
        work(top, seed, 100)
        with Watching(target) as watching:
            assert all(event.held for event in events(watching))
            assert not differences(watching.ledger.holds, compare(target))
            work(top, seed + 7, 100)
            equal(watching, target)


def base(folder: Path) -> None:
    """Make the lower one of two layers."""
    (folder / "etc").mkdir()
    (folder / "etc/conf").write_text("base\n")
    (folder / "low").write_text("low" * 1000)
    (folder / "many").mkdir()
    for number in range(40):
        (folder / f"many/{number}").write_text(str(number) * 100)


def upper(folder: Path) -> None:
    """Make the upper one of two layers."""
    (folder / "etc").mkdir()
    (folder / "etc/conf").write_text("changed\n")


def test_each_act_is_told_as_what_it_is(way: str, tmp_path: Path) -> None:
    with overlay(tmp_path / "o", base, upper) as (target, top):
        with Watching(target) as watching:

            def after(act: Callable[[], object]) -> list[tuple[str, bytes, int | None]]:
                begun = len(watching.records)
                act()
                equal(watching, target)
                return [
                    (record.kind, record.path, record.layer)
                    for record in watching.records[begun:]
                    if isinstance(record, CowEvent)
                ]

            def append(name: str) -> None:
                with open(top / name, "a") as file:
                    file.write("x")

            assert after(lambda: append("low")) == [("copy_up", b"low", 0), ("write", b"low", None)]
            assert after(lambda: append("low")) == [("write", b"low", None)]
            assert after(lambda: os.chmod(top / "low", 0o600)) == [("metadata", b"low", None)]
            assert after(lambda: os.rename(top / "etc/conf", top / "etc/old")) == [
                ("copy_up", b"etc", 1),
                ("copy_up", b"etc/conf", 1),
                ("rename", b"etc/old", None),
                ("whiteout", b"etc/conf", 1),
            ]
            assert after(lambda: os.unlink(top / "low")) == [("whiteout", b"low", 0)]
            assert after(lambda: os.unlink(top / "etc/old")) == [("delete", b"etc/old", None)]
            assert after(lambda: append("made")) == [("create", b"made", None)]
            assert after(lambda: shutil.rmtree(top / "many"))[-1] == ("whiteout", b"many", 0)
            assert after(lambda: os.mkdir(top / "many")) == [("opaque", b"many", 0)]
        searched = {event.path: event.searched for event in events(watching, "copy_up")}
        assert searched[b"low"] == (1, 0)
        assert searched[b"etc/conf"] == (1,)
        copied = {event.path: event.bytes for event in events(watching, "copy_up")}
        # The kernel copied it up to hide its files one by one, which may be seen or come too late.
        copied.pop(b"many", None)
        assert copied == {b"low": 3000, b"etc": 0, b"etc/conf": 8}


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf many etc low",
        "chown -R 1:1 .",
        "cp -a many copy && mv copy other && rm -r many",
        "tar c many etc | tar x -C /$PLACE",
        "for i in 1 2 3; do for f in many/*; do mv $f $f.$i; done; done",
        "sed -i s/0/9/ many/* && ln low more && mv low less",
    ],
)
def test_programs_work_is_told_in_full(way: str, command: str, tmp_path: Path) -> None:
    with overlay(tmp_path / "o", base, upper) as (target, top), Watching(target) as watching:
        os.mkdir(top / "place")
        command = command.replace("/$PLACE", "place")
        subprocess.run(["sh", "-c", command], cwd=top, check=True)
        equal(watching, target)


def test_a_clone_of_a_repository_is_told_in_full(way: str, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    origin = tmp_path / "origin"
    quiet = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    base_folder = origin / "source"
    base_folder.mkdir(parents=True)
    for number in range(200):
        (base_folder / f"file{number}").write_text("text\n" * number)
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=origin, env=quiet, check=True)
    with overlay(tmp_path / "o", base) as (target, top), Watching(target) as watching:
        subprocess.run(
            ["git", "clone", "-q", "--no-hardlinks", str(origin), str(top / "clone")],
            env=quiet,
            check=True,
        )
        equal(watching, target)
        subprocess.run(["rm", "-rf", str(top / "clone")], check=True)
        equal(watching, target)


def test_a_burst_of_copy_ups_is_all_there(way: str, tmp_path: Path) -> None:
    def many(folder: Path) -> None:
        for number in range(2000):
            place = folder / f"d{number // 10}"
            place.mkdir(exist_ok=True)
            (place / str(number)).write_text("x")

    with overlay(tmp_path / "o", many) as (target, top):
        with Watching(target) as watching:
            for number in range(2000):
                with open(top / f"d{number // 10}/{number}", "a") as file:
                    file.write("y")
            equal(watching, target)
        told = [event.path for event in events(watching, "copy_up") if event.bytes]
        assert sorted(told) == sorted(f"d{n // 10}/{n}".encode() for n in range(2000))


def test_root_hears_who_did_it_and_how_far_a_large_copy_is(tmp_path: Path) -> None:
    def large(folder: Path) -> None:
        with open(folder / "large", "wb") as file:
            file.write(os.urandom(1 << 20) * 200)
        (folder / "other").write_bytes(os.urandom(1 << 20) * 2)

    with overlay(tmp_path / "o", large) as (target, top):
        with Watching(target) as watching:
            done = subprocess.Popen(
                ["dd", "of=large", "conv=notrunc", "bs=1", "count=1"],
                cwd=top,
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            done.communicate(b"x")
            watching.quiet()
        copying = [record for record in watching.records if isinstance(record, Copying)]
        assert {record.path for record in copying} == {b"large"}
        assert {record.total for record in copying} == {200 << 20}
        assert [record.done for record in copying] == sorted({record.done for record in copying})
        up, write = events(watching)
        assert (up.kind, up.bytes, up.pid, up.command) == ("copy_up", 200 << 20, done.pid, "dd")
        assert (write.kind, write.pid) == ("write", done.pid)
        assert up.duration_ns is not None
        assert up.duration_ns > 10**7


def test_of_copies_that_have_landed_nobody_asks_how_far_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    opened = by_fanotify.open_handle

    def open_handle(mount: int, handle: bytes) -> int:
        asked.append(handle)
        return opened(mount, handle)

    monkeypatch.setattr(by_fanotify, "open_handle", open_handle)
    with overlay(tmp_path / "o", base) as (target, top), ExitStack() as held:
        tree = open_tree(target, held)
        tree.first()
        listener = held.enter_context(closing(by_fanotify.ByFanotify([tree], target.work)))
        for number in range(40):
            with open(top / f"many/{number}", "a") as file:
                file.write("x")
        heard = {}
        for _ in range(20):
            # The folder is not known before it is looked at: names in it say nothing yet.
            heard.update(listener.wait(0.03).names)
    assert len(heard) >= 40
    assert not asked


def test_of_each_of_many_short_processes_the_name_is_told(tmp_path: Path) -> None:
    with overlay(tmp_path / "o", base) as (target, top), Watching(target) as watching:
        # Each is gone 5 ms after its write, and the next one has begun.
        each = 'sh -c "echo x >>many/$n; sleep 0.005"'
        script = f"for n in $(seq 0 39); do {each}; done"
        subprocess.run(["sh", "-c", script], cwd=top, check=True)
        watching.quiet()
        files = [each for each in events(watching, "copy_up") if each.path.startswith(b"many/")]
    assert len(files) == 40
    assert len([event for event in files if event.command == "sh"]) >= 25


def test_a_lost_queue_is_answered_by_a_look_at_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(listener: object, batch: by_fanotify.Batch) -> None:
        """Hear nothing but that something was lost, as the kernel says it."""
        for _ in listener._fan.read():  # type: ignore[attr-defined]
            batch.rescan = True

    monkeypatch.setattr(by_fanotify.ByFanotify, "_take", lossy)
    with overlay(tmp_path / "o", fill(1), fill(2)) as (target, top), Watching(target) as watching:
        work(top, 5, 100)
        equal(watching, target)


def test_volumes_pass_the_driver_by(way: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "there").write_text("1")
    volume = WatchedVolume("data", str(data), b"var/data")
    with overlay(tmp_path / "o", base, volumes=[volume]) as (target, _):
        with Watching(target) as watching:
            (data / "new").write_text("12345")
            (data / "there").write_text("1234")
            watching.quiet()
            (data / "new").unlink()
            watching.quiet()
        told = [(event.kind, event.path, event.volume) for event in events(watching)]
        assert sorted(told[:2]) == [
            ("create", b"var/data/new", True),
            ("write", b"var/data/there", True),
        ]
        assert told[2:] == [("delete", b"var/data/new", True)]
        assert watching.ledger.holds == {}
        assert watching.ledger.volume_bytes == 9


def test_the_end_of_the_container_and_of_its_layer_is_said(way: str, tmp_path: Path) -> None:
    with (
        subprocess.Popen(["sleep", "60"]) as process,
        overlay(tmp_path / "o", base, pid=process.pid) as (target, top),
    ):
        with Watching(target) as watching:
            (top / "new").write_text("x")
            watching.quiet()
            process.kill()
            process.wait()
            watching.quiet()
        assert isinstance(watching.records[-1], Ended)
        assert watching.records[-1].reason == "the container ended"
    with overlay(tmp_path / "p", base) as (target, top):
        (top / "new").write_text("x")
        with Watching(target) as watching:
            shutil.rmtree(target.upper)
            watching.quiet()
        assert isinstance(watching.records[-1], Ended)
        assert "removed" in watching.records[-1].reason


def test_inotifys_limit_is_said_and_everything_is_looked_at(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import tests.support.overlays as overlays
from layerview.drivers.namespace import call_in_user_namespace
from layerview.watch import by_fanotify
from layerview.watch.compare import compare
from layerview.watch.events import Notice

def refuse(*_):
    raise PermissionError
by_fanotify.Fanotify = refuse

def go():
    Path("/proc/sys/user/max_inotify_watches").write_text("20")
    fills = overlays.fill(1), overlays.fill(2)
    with overlays.overlay(Path(sys.argv[1]), *fills, user=True) as (t, top):
        for n in range(40):
            (top / f"folder{n}").mkdir()
        with overlays.Watching(t) as watching:
            overlays.work(top, 3, 50)
            watching.quiet(3)
            left = overlays.differences(watching.ledger.holds, compare(t))
        print([r.text for r in watching.records if isinstance(r, Notice)])
        print(left)
    return 0
sys.exit(call_in_user_namespace(go))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "o")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    notices, left = done.stdout.splitlines()
    assert "fs.inotify.max_user_watches" in notices
    assert left == "{}"
