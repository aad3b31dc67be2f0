"""A container is there whole or not at all, and what is said of it is true, whatever was killed."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from layerview.errors import LayerviewError, NotFoundError, UsageError
from layerview.store.area import Area
from layerview.store.container_files import ETC_FILES, volume_point
from layerview.store.containers import (
    ContainerRuns,
    NameInUse,
    change_container,
    complete,
    container_lock,
    folder_of,
    lives,
    note_failure,
    note_start,
    read_lock,
)
from layerview.store.liveness import boot_id, start_time
from tests.support import archives, areas, containers
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture
def area(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Area:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    spec = archives.image(BASE, TOP, tags=["a:1"])
    assert Command(capsys)("load", archives.docker_archive(tmp_path / "a.tar", spec)).status == 0
    return Area.open(str(root))


def config(area: Area, id: str) -> Any:
    return json.loads(Path(folder_of(area, id), "config.v2.json").read_bytes())


@contextmanager
def kept(area: Area, id: str, *, started: str, boot: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Let a process hold a container's lock, as a shim does."""
    fd = container_lock(area, id)
    assert fd is not None
    with subprocess.Popen(["sleep", "600"], pass_fds=[fd]) as shim:
        try:
            said = {
                "shim": shim.pid,
                "shim_start": start_time(shim.pid),
                "pid": 4_000_000,
                "pid_start": 1,
                "boot": boot or boot_id(),
                "started": started,
            }
            os.pwrite(fd, json.dumps(said).encode(), 0)
            os.close(fd)
            yield shim
        finally:
            shim.kill()


def end(shim: subprocess.Popen[bytes]) -> None:
    shim.send_signal(signal.SIGKILL)
    shim.wait()


# --- making ---


def test_a_made_container_is_read_back(root: Path, area: Area) -> None:
    made = containers.created(root, "a:1", "steady", args=("-x",), auto_remove=False)
    record = area.data.container("steady")
    assert (record.id, record.name, record.status) == (made.id, "steady", "created")
    assert record.running is False
    assert record.command == ("true", "-x")
    assert (record.mount_id, record.init_id) == (made.mount_id, f"{made.mount_id}-init")
    assert record.image_id == made.image_id
    assert record.parent == made.parent
    assert areas.wrong(root) == []
    folder = Path(folder_of(area, made.id))
    assert (folder / "hostname").read_text() == f"{made.id[:12]}\n"
    assert "127.0.0.1\tlocalhost" in (folder / "hosts").read_text()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {
        "config.v2.json": 0o600,
        "hostconfig.json": 0o644,
        "hostname": 0o644,
        "hosts": 0o644,
        "resolv.conf": 0o644,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o710
    assert list((root / "layerview/intents").iterdir()) == []


def test_a_container_is_found_by_name_id_and_first_digits(root: Path, area: Area) -> None:
    one = containers.created(root, "a:1", "one", id="abc" + "1" * 61)
    containers.created(root, "a:1", "two", id="abd" + "1" * 61)
    containers.created(root, "a:1", "abd11")
    data = area.data
    for word in ("one", "/one", one.id, "abc"):
        assert data.container(word).id == one.id
    assert data.container("abd1").name == "two"
    assert data.container("abd11").name == "abd11"
    with pytest.raises(UsageError, match=r"abc111111111 \(one\), abd111111111 \(two\)"):
        data.container("ab")
    with pytest.raises(NotFoundError, match="has no container three"):
        data.container("three")


def test_a_name_that_stands_elsewhere_in_a_config_is_no_containers_name(
    root: Path, area: Area
) -> None:
    containers.created(root, "a:1", "one", args=("/two", '"Name":"/two"'))
    assert containers.created(root, "a:1", "two").id == area.data.container("two").id


def test_two_containers_cannot_have_one_name(root: Path, area: Area) -> None:
    made = containers.created(root, "a:1", "steady")
    before = containers.of(root)
    with pytest.raises(NameInUse, match=f"steady is taken by container {made.id[:12]}"):
        containers.created(root, "a:1", "steady")
    assert containers.of(root) == before
    assert list((root / "layerview/intents").iterdir()) == []


def test_a_name_is_taken_while_its_container_is_being_made(root: Path, area: Area) -> None:
    with area.writing() as writing, area.writing() as other:
        wanted = containers.new(area, "a:1", "steady")
        with writing.new_container(wanted) as making:
            with pytest.raises(NameInUse):
                containers.make(other, containers.new(area, "a:1", "steady"))
            containers.layers(writing, wanted, making)
    assert [record.id for record in area.data.containers()] == [wanted.id]


def test_of_several_processes_at_once_one_gets_a_name(root: Path, area: Area) -> None:
    command = [sys.executable, "-m", "layerview", "create", "--root", str(root)]
    names = ["same"] * 4 + [f"own-{number}" for number in range(4)]
    tried = [
        subprocess.Popen(
            [*command, "--name", name, "-v", "data:/d", "a:1", "true"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    said = [process.communicate(timeout=60)[1] for process in tried]
    assert sorted(process.returncode for process in tried[:4]) == [0, 1, 1, 1], said
    assert [process.returncode for process in tried[4:]] == [0, 0, 0, 0], said
    assert sum("the name same is taken by container" in each for each in said) == 3
    found = sorted(record.name for record in area.data.containers())
    assert found == ["own-0", "own-1", "own-2", "own-3", "same"]
    assert areas.wrong(root) == []


def test_when_the_body_fails_nothing_stays(root: Path, area: Area) -> None:
    before = areas.folders(root)

    def fail(making: object) -> None:
        raise RuntimeError("enough")

    point = volume_point(str(root), "fresh", "/v", asked=True)
    with area.writing() as writing, pytest.raises(RuntimeError, match="enough"):
        containers.make(writing, containers.new(area, "a:1", "x", mount_points={"/v": point}), fail)
    assert areas.folders(root) == before
    assert containers.of(root) == set()
    assert list((root / "volumes").iterdir()) == []
    assert list((root / "layerview/intents").iterdir()) == []
    assert areas.wrong(root) == []


def test_an_image_whose_container_is_being_made_keeps_its_layers(
    root: Path, area: Area, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = areas.layers(root)
    with area.writing() as writing:
        wanted = containers.new(area, "a:1", "steady")
        with writing.new_container(wanted) as making:
            assert Command(capsys)("rmi", "--force", "a:1").status == 0
            assert areas.layers(root) == layers
            containers.layers(writing, wanted, making)
    assert areas.layers(root) == layers


# --- living ---


def test_a_container_whose_lock_is_held_runs_whatever_its_config_says(
    root: Path, area: Area
) -> None:
    id = containers.created(root, "a:1", "steady").id
    assert not lives(area, id)
    with kept(area, id, started="2026-01-02T03:04:05.5Z"):
        assert lives(area, id)
        record = area.data.container(id)
        assert (record.status, record.running, record.pid) == ("running", True, 4_000_000)
        assert record.started == "2026-01-02T03:04:05.5Z"
        began = time.monotonic()
        assert container_lock(area, id) is None
        assert time.monotonic() - began < 0.2
        with area.writing() as writing, pytest.raises(ContainerRuns, match="stop it first"):
            writing.remove_container(id)
    assert area.data.container(id).id == id


@pytest.mark.parametrize("noted", [False, True], ids=["its start was not noted", "noted"])
def test_a_container_whose_keeper_was_killed_has_ended(root: Path, area: Area, noted: bool) -> None:
    id = containers.created(root, "a:1", "steady").id
    with kept(area, id, started="2026-01-02T03:04:05Z") as shim:
        if noted:
            note_start(area, id, 4_000_000, 5_000)
            assert config(area, id)["State"]["Running"] is True
        end(shim)
        record = area.data.container(id)
        assert (record.status, record.exit_code, record.pid) == ("exited", 137, 0)
        assert record.started == "2026-01-02T03:04:05Z"
        assert config(area, id)["State"]["Running"] is noted
        fd = container_lock(area, id)
        assert fd is not None
        os.close(fd)
        state = config(area, id)["State"]
        assert (state["Running"], state["ExitCode"]) == (False, 137)
        assert read_lock(area, id) is None
        assert area.data.container(id).exit_code == 137


def test_after_a_reboot_a_container_has_ended_as_docker_says(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    with kept(area, id, started="2026-01-02T03:04:05Z", boot="another") as shim:
        note_start(area, id, 4_000_000, 5_000)
        end(shim)
        record = area.data.container(id)
        assert (record.status, record.exit_code) == ("exited", 255)


def test_what_the_keeper_wrote_last_stands(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    with kept(area, id, started="2026-01-02T03:04:05Z") as shim:

        def ended(document: dict[str, Any]) -> None:
            document["State"] |= {"Running": False, "ExitCode": 3}
            document["State"]["FinishedAt"] = "2026-01-02T03:04:05.000000001Z"

        change_container(area, id, ended)
        # Who started it comes too late with the news.
        note_start(area, id, 4_000_000, 5_000)
        for _ in range(2):
            record = area.data.container(id)
            assert (record.status, record.exit_code) == ("exited", 3)
            end(shim)
        fd = container_lock(area, id)
        assert fd is not None
        os.close(fd)
        assert area.data.container(id).exit_code == 3
    assert area.data.container_notes(id).integer("start_ns") == 5_000


def test_a_container_that_ended_after_who_started_it_was_killed_has_run(
    root: Path, area: Area
) -> None:
    id = containers.created(root, "a:1", "steady").id
    with kept(area, id, started="2026-01-02T03:04:05Z") as shim:

        def ended(document: dict[str, Any]) -> None:
            document["State"] |= {"ExitCode": 3, "FinishedAt": "2026-01-02T03:04:06Z"}

        change_container(area, id, ended)
        end(shim)
        for _ in range(2):
            record = area.data.container(id)
            assert (record.status, record.exit_code) == ("exited", 3)
            assert record.started == "2026-01-02T03:04:05Z"
            fd = container_lock(area, id)
            assert fd is not None
            os.close(fd)


def test_a_keeper_on_its_way_out_is_waited_for(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    with kept(area, id, started=LONG_AGO) as shim:
        note_start(area, id, 4_000_000, 5_000)

        def ended(document: dict[str, Any]) -> None:
            document["State"] |= {"Running": False, "FinishedAt": "2026-01-02T03:04:05Z"}

        change_container(area, id, ended)
        late = threading.Timer(0.8, end, [shim])
        late.start()
        fd = container_lock(area, id)
        assert fd is not None
        os.close(fd)
        late.join()


def test_a_look_at_a_container_keeps_nobody_from_starting_it(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    path = Path(folder_of(area, id), "layerview.lock")
    path.touch()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_SH)
            time.sleep(random.uniform(0.0001, 0.002))
            os.close(fd)
            time.sleep(random.uniform(0.0001, 0.004))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            fd = container_lock(area, id)
            assert fd is not None
            os.close(fd)
    finally:
        stop.set()
        looking.join()


def run_by_an_engine(document: dict[str, Any]) -> None:
    state = {"Running": True, "Pid": 2**22 - 3, "StartedAt": "2026-01-02T03:04:05Z"}
    document["State"] |= state


@pytest.mark.parametrize("ours", [False, True], ids=["never ours", "ours once"])
def test_a_live_engines_containers_are_as_it_says(root: Path, area: Area, ours: bool) -> None:
    id = containers.created(root, "a:1", "steady").id
    if ours:
        with kept(area, id, started=LONG_AGO) as shim:
            end(shim)
    change_container(area, id, run_by_an_engine)
    (root / "volumes").mkdir()
    with open(root / "volumes/metadata.db", "wb") as database:
        fcntl.flock(database, fcntl.LOCK_EX)
        assert area.data.container(id).status == "running"
        assert container_lock(area, id) is None
        assert config(area, id)["State"]["Running"] is True


@pytest.mark.parametrize("ours", [False, True], ids=["never ours", "ours once"])
def test_the_containers_of_an_engine_that_was_killed_have_ended(
    root: Path, area: Area, ours: bool
) -> None:
    id = containers.created(root, "a:1", "steady").id
    if ours:
        with kept(area, id, started=LONG_AGO) as shim:
            end(shim)
    change_container(area, id, run_by_an_engine)
    record = area.data.container(id)
    assert (record.status, record.exit_code) == ("exited", 255)
    with area.writing() as writing:
        writing.remove_container(id)
    assert containers.of(root) == set()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"shim":1}', b"\xff" * 9000, b"[" * 4000])
def test_a_lock_that_says_nothing_changes_nothing(root: Path, area: Area, text: bytes) -> None:
    id = containers.created(root, "a:1", "steady").id
    Path(folder_of(area, id), "layerview.lock").write_bytes(text)
    assert area.data.container(id).status == "created"
    fd = container_lock(area, id)
    assert fd is not None
    os.close(fd)


def test_a_lock_that_is_a_link_or_a_pipe_is_not_followed(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    lock = Path(folder_of(area, id), "layerview.lock")
    lock.symlink_to("/etc/passwd")
    assert area.data.container(id).status == "created"
    with pytest.raises(LayerviewError, match=r"layerview\.lock"):
        container_lock(area, id)
    lock.unlink()
    os.mkfifo(lock)
    assert area.data.container(id).status == "created"


# --- changing ---


def test_changes_at_once_are_all_made(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id

    def count(document: dict[str, Any]) -> None:
        document["RestartCount"] += 1

    def often() -> None:
        for _ in range(20):
            change_container(area, id, count, sync=False)

    threads = [threading.Thread(target=often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert config(area, id)["RestartCount"] == 80


def test_a_failed_start_is_written_down(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    note_failure(area, id, 127, "no such program")
    record = area.data.container(id)
    assert (record.status, record.exit_code, record.error) == ("created", 127, "no such program")


def test_a_container_is_renamed(root: Path, area: Area) -> None:
    one = containers.created(root, "a:1", "one")
    two = containers.created(root, "a:1", "two")
    with area.writing() as writing:
        writing.rename_container(one.id, "three")
        writing.rename_container(one.id, "three")
        with pytest.raises(NameInUse, match=two.id[:12]):
            writing.rename_container(one.id, "two")
        with pytest.raises(NotFoundError):
            writing.rename_container("e" * 64, "four")
    assert area.data.container("three").id == one.id
    assert containers.created(root, "a:1", "one").id == area.data.container("one").id


def test_the_files_of_etc_that_are_missing_or_lost_are_written(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    folder = Path(folder_of(area, id))
    before = {name: (folder / name).read_bytes() for name in ETC_FILES}
    (folder / "hosts").unlink()
    (folder / "resolv.conf").write_bytes(b"")
    (folder / "hostname").write_bytes(b"changed\n")
    complete(area, id, area.data.container_document(id), "none")
    after = {name: (folder / name).read_bytes() for name in ETC_FILES}
    assert after == before | {"hostname": b"changed\n"}


# --- removing ---


def test_a_removed_container_leaves_nothing(root: Path, area: Area) -> None:
    before = areas.folders(root)
    kept_one = containers.created(root, "a:1", "kept")
    id = containers.created(root, "a:1", "gone").id
    run = root / "layerview/run" / id
    run.mkdir(parents=True)
    (run / "shim").touch()
    with area.writing() as writing:
        writing.remove_container(id)
    assert containers.of(root) == {kept_one.id}
    assert areas.folders(root) - before == {kept_one.mount_id, f"{kept_one.mount_id}-init"}
    assert not run.exists()
    assert areas.wrong(root) == []
    with area.writing() as writing, pytest.raises(NotFoundError):
        writing.remove_container(id)


def test_a_container_with_a_damaged_config_can_be_removed(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "gone").id
    Path(folder_of(area, id), "config.v2.json").write_text('{"ID":')
    with area.writing() as writing:
        writing.remove_container(id)
    assert containers.of(root) == set()


def test_what_is_left_of_a_container_without_a_folder_can_be_removed(
    root: Path, area: Area
) -> None:
    made = containers.created(root, "a:1", "gone")
    os.system(f"rm -r '{folder_of(area, made.id)}'")
    with area.writing() as writing:
        writing.remove_container(made.id)
    assert containers.of(root) == set()
    assert made.mount_id not in areas.folders(root)
    assert areas.wrong(root) == []


def test_volumes_without_a_name_go_with_their_last_container(root: Path, area: Area) -> None:
    anonymous, shared = "a" * 64, "b" * 64
    points = {
        "/a": volume_point(str(root), anonymous, "/a", asked=False),
        "/b": volume_point(str(root), shared, "/b", asked=False),
        "/n": volume_point(str(root), "data", "/n", asked=True),
    }
    one = containers.created(root, "a:1", "one", mount_points=points)
    two = containers.created(root, "a:1", "two", mount_points={"/b": points["/b"]})
    with area.writing() as writing:
        assert writing.remove_container(one.id, volumes=True) == [anonymous]
        assert {path.name for path in (root / "volumes").iterdir()} == {shared, "data"}
        assert writing.remove_container(two.id) == []
    assert {path.name for path in (root / "volumes").iterdir()} == {shared, "data"}


# --- cost ---


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of functions, by name, of all threads."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            calls[argument.__name__] += 1
        elif event == "call":
            calls[frame.f_code.co_name] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def test_a_hundred_others_make_a_container_cost_next_to_nothing(root: Path, area: Area) -> None:
    containers.created(root, "a:1", "warm", auto_remove=True)

    def cost(name: str) -> Counter[str]:
        wanted = containers.new(area, "a:1", name, auto_remove=True)
        with area.writing() as writing, counted() as calls:
            containers.make(writing, wanted)
        return calls

    first = cost("first")
    with area.writing() as writing:
        for number in range(100):
            containers.make(writing, containers.new(area, "a:1", f"c{number}", auto_remove=True))
    last = cost("last")
    # Each one's record is opened, read and closed, and two lengths are looked at; no more.
    grown = {name: last[name] - first[name] for name in last if last[name] - first[name] > 5}
    read = {"open", "read", "close", "len", "isinstance"}
    assert set(grown) <= read | {
        "_quickly_read",
        "is_container_id",
        "is_hex",
        "consists_of",
        "strip",
    }
    assert max(grown.values()) <= 204


def test_what_goes_when_it_ends_is_never_waited_for(root: Path, area: Area) -> None:
    containers.created(root, "a:1", "warm")
    with area.writing() as writing:
        calls = []
        for name, auto_remove in (("gone", True), ("kept", False)):
            wanted = containers.new(area, "a:1", name, auto_remove=auto_remove)
            with counted() as found:
                containers.make(writing, wanted)
            calls.append(found["fsync"])
            with counted() as found:
                writing.remove_container(wanted.id)
            calls.append(found["fsync"])
    assert calls[:2] == [0, 0]
    assert 0 < calls[2] <= 12
    assert calls[3] == 1
