"""What is wrong with containers and volumes is told with a remedy, and the remedy helps."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from layerview.store.area import Area
from layerview.store.check import AreaCheck, Check, repair
from layerview.store.container_files import volume_point
from layerview.store.containers import change_container, container_lock, folder_of, note_start
from layerview.store.liveness import boot_id, start_time
from layerview.store.volumes import Volumes
from layerview.unionfs.serve import can_serve
from tests.support import archives, areas, containers
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

STARTED = "2026-01-02T03:04:05Z"
NOBODY = 2**22 - 3
"""A process that is not there."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture(params=["vfs", "overlay2", "aufs"])
def driver(request: pytest.FixtureRequest) -> str:
    if request.param != "vfs" and os.geteuid() != 0:
        pytest.skip("mounts need root")
    why = can_serve() if request.param == "aufs" else None
    if why:
        pytest.skip(why)
    return str(request.param)


@pytest.fixture
def run(
    root: Path,
    driver: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", driver)
    command = Command(capsys)
    spec = archives.image(BASE, TOP, tags=["a:1"])
    assert command("load", archives.docker_archive(tmp_path / "a.tar", spec)).status == 0
    return command


@pytest.fixture
def area(run: Command, root: Path) -> Area:
    return Area.open(str(root))


def said(area: Area, about: str) -> list[Check]:
    """Return what a check has to say that asks for something."""
    found = [each for each in AreaCheck(area).run() if each.remedy]
    assert {each.name for each in found} == ({about} if found else set())
    return found


def one(area: Area, about: str, words: str, *, wrong: bool = True) -> Check:
    [check] = said(area, about)
    assert re.search(words, check.found), check
    assert check.ok is not wrong
    return check


def put_right(area: Area) -> None:
    """Let doctor --repair do what it offers, and see that it helped."""
    checks = AreaCheck(area).run()
    assert repair(area, checks, print)
    assert [each for each in AreaCheck(area).run() if each.remedy or not each.ok] == []


def do(run: Command, check: Check) -> None:
    """Carry out the command that a remedy names."""
    match = re.search("`layerview ([^`]*)`", check.remedy)
    assert match, check
    assert run(*match[1].split()).status == 0


def damage(area: Area, id: str, name: str) -> Path:
    path = Path(folder_of(area, id), name)
    path.write_text('{"ID":')
    return path


def test_sound_containers_and_volumes_are_counted(root: Path, area: Area) -> None:
    point = {"/v": volume_point(str(root), "data", "/v", asked=True)}
    for name in ("one", "two"):
        containers.created(root, "a:1", name, mount_points=point)
    checks = AreaCheck(area).run()
    assert [each for each in checks if not each.ok or each.remedy] == []
    assert {(each.name, each.found) for each in checks} >= {("containers", "2"), ("volumes", "1")}


@pytest.mark.parametrize(
    ("name", "missing"),
    [("config.v2.json", False), ("config.v2.json", True), ("hostconfig.json", False)],
)
def test_a_container_with_a_damaged_record_can_be_removed(
    run: Command, root: Path, area: Area, name: str, missing: bool
) -> None:
    before = areas.folders(root, area.data.drivers()[0])
    id = containers.created(root, "a:1", "steady").id
    path = damage(area, id, name)
    if missing:
        path.unlink()
    check = one(area, "containers", id[:12] if missing else re.escape(name))
    do(run, check)
    assert containers.of(root) == set()
    assert areas.folders(root, area.data.drivers()[0]) == before
    assert said(area, "") == []


def test_the_layers_of_a_container_with_a_damaged_record_are_nobodys_to_delete(
    run: Command, root: Path, area: Area
) -> None:
    made = containers.created(root, "a:1", "steady")
    damage(area, made.id, "config.v2.json")
    repair(area, AreaCheck(area).run(), print)
    folders = areas.folders(root, made.driver)
    assert {made.mount_id, f"{made.mount_id}-init"} <= folders


def test_a_container_that_is_named_as_another_is_told(run: Command, root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    change_container(area, id, lambda document: document.update(ID="e" * 64))
    do(run, one(area, "containers", "is another container's"))
    assert containers.of(root) == set()


def test_a_container_without_a_layer_can_be_removed(run: Command, root: Path, area: Area) -> None:
    made = containers.created(root, "a:1", "steady")
    shutil.rmtree(area.data.layout(made.driver).mount(made.id))
    for id in (made.mount_id, f"{made.mount_id}-init"):
        with area.writing() as writing:
            writing.driver(made.driver).remove(id)
    do(run, one(area, "containers", r"\(steady\) has no layer"))
    assert containers.of(root) == set()
    assert said(area, "") == []


def test_a_container_without_its_folder_can_be_removed(
    run: Command, root: Path, area: Area
) -> None:
    made = containers.created(root, "a:1", "steady")
    with area.writing() as writing:
        writing.driver(made.driver).remove(made.mount_id)
    do(run, one(area, "containers", f"has no folder: .*{made.mount_id}"))
    assert said(area, "") == []


def test_layers_of_a_container_that_is_gone_are_removed(root: Path, area: Area) -> None:
    made = containers.created(root, "a:1", "steady")
    shutil.rmtree(folder_of(area, made.id))
    one(area, "containers", f"container {made.id[:12]} is gone, and its layers are there")
    put_right(area)
    assert made.mount_id not in areas.folders(root, made.driver)
    assert containers.of(root) == set()


def test_layers_that_no_record_names_are_removed(root: Path, area: Area) -> None:
    made = containers.created(root, "a:1", "steady")
    shutil.rmtree(folder_of(area, made.id))
    shutil.rmtree(area.data.layout(made.driver).mount(made.id))
    found = said(area, f"{made.driver}: folders")
    assert len(found) == 2
    assert all("of a container that is gone" in each.found for each in found)
    put_right(area)
    assert made.mount_id not in areas.folders(root, made.driver)


def test_a_missing_volume_is_made_anew(run: Command, root: Path, area: Area) -> None:
    point = {"/v": volume_point(str(root), "data", "/v", asked=True)}
    containers.created(root, "a:1", "steady", mount_points=point)
    shutil.rmtree(root / "volumes/data")
    do(run, one(area, "containers", r"\(steady\) mounts volume data, which is not there"))
    assert said(area, "") == []


def test_a_half_made_volume_is_completed(run: Command, root: Path, area: Area) -> None:
    (root / "volumes/data").mkdir(parents=True)
    do(run, one(area, "volumes", "has no folder _data"))
    assert said(area, "") == []


@contextmanager
def shim(area: Area, id: str, pid: int = NOBODY) -> Iterator[subprocess.Popen[bytes]]:
    """Let a process hold a container's lock, as a shim does; it is killed at the end."""
    fd = container_lock(area, id)
    assert fd is not None
    with subprocess.Popen(["sleep", "600"], pass_fds=[fd]) as process:
        numbers = {"shim": process.pid, "shim_start": start_time(process.pid)}
        numbers |= {"pid": pid, "pid_start": start_time(pid) or 1}
        text = json.dumps({**numbers, "boot": boot_id(), "started": STARTED})
        os.pwrite(fd, text.encode(), 0)
        os.close(fd)
        note_start(area, id, pid, 1)
        try:
            yield process
        finally:
            process.kill()


def test_a_running_container_is_left_alone(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    (root / "layerview/run" / id).mkdir(parents=True)
    with shim(area, id):
        assert said(area, "") == []


def test_a_killed_containers_state_is_written_down(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    with shim(area, id):
        pass
    one(area, "containers", r"\(steady\) was killed from outside", wrong=False)
    put_right(area)
    state = json.loads(Path(folder_of(area, id), "config.v2.json").read_bytes())["State"]
    assert (state["Running"], state["ExitCode"]) == (False, 137)


def test_a_run_folder_is_cleared(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    for name in (id, "f" * 64):
        (root / "layerview/run" / name).mkdir(parents=True)
        (root / "layerview/run" / name / "shim").touch()
    found = said(area, "leftovers of containers")
    assert len(found) == 2
    assert all(each.ok and "runs no more" in each.found for each in found)
    put_right(area)
    assert list((root / "layerview/run").iterdir()) == []


def test_a_container_that_should_have_gone_is_removed(root: Path, area: Area) -> None:
    point = {"/v": volume_point(str(root), "a" * 64, "/v", asked=False)}
    more: dict[str, Any] = {"auto_remove": True, "mount_points": point}
    containers.created(root, "a:1", "waiting", auto_remove=True)
    id = containers.created(root, "a:1", "steady", **more).id
    with shim(area, id):
        pass
    found = said(area, "containers")
    assert [bool(re.search(r"--rm", each.found)) for each in found] == [False, True]
    put_right(area)
    assert [record.name for record in area.data.containers()] == ["waiting"]
    assert list((root / "volumes").iterdir()) == []


def test_a_process_that_was_left_is_killed(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    with subprocess.Popen(["sleep", "600"]) as left:
        with shim(area, id, left.pid):
            pass
        found = said_all(area)
        assert any(f"process {left.pid} of container {id[:12]} lives" in one for one in found)
        repair(area, AreaCheck(area).run(), print)
        assert left.wait(10) == -9
    assert said_all(area) == []


def said_all(area: Area) -> list[str]:
    return [each.found for each in AreaCheck(area).run() if each.remedy or not each.ok]


def test_who_holds_a_dead_shims_lock_is_told(root: Path, area: Area) -> None:
    id = containers.created(root, "a:1", "steady").id
    with shim(area, id) as process:
        path = Path(folder_of(area, id), "layerview.lock")
        text = json.loads(path.read_bytes())
        path.write_text(json.dumps(text | {"shim": NOBODY}))
        check = one(area, "leftovers of containers", f"holds the lock of container {id[:12]}")
        assert f"process {process.pid} (sleep)" in check.found


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_is_mounted_for_nobody_is_unmounted(root: Path, area: Area, tmp_path: Path) -> None:
    made = containers.created(root, "a:1", "steady")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/f").write_text("kept")
    places = [Path(folder_of(area, made.id), "mounts/shm"), root / "layerview/run" / made.id / "m"]
    if made.driver == "overlay2":
        places.append(root / "overlay2" / made.mount_id / "merged")
    if made.driver == "aufs":
        places.append(root / "aufs/mnt" / made.mount_id)
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", tmp_path / "out", place], check=True)
    try:
        found = [each for each in AreaCheck(area).run() if not each.ok]
        assert sorted(each.found.split(" ")[0] for each in found) == sorted(map(str, places))
        put_right(area)
        assert not any(map(os.path.ismount, places))
    finally:
        for place in places:
            subprocess.run(["umount", "-q", place], check=False)
    assert (tmp_path / "out/f").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_tree_that_is_in_use_stays_mounted(root: Path, area: Area) -> None:
    made = containers.created(root, "a:1", "steady")
    with area.writing() as writing, writing.driver(made.driver).mounted(made.mount_id) as merged:
        assert said_all(area) == []
        assert os.listdir(merged)


def test_what_is_left_of_a_container_that_was_not_made_is_deleted(root: Path, area: Area) -> None:
    (root / "layerview/making" / ("f" * 64)).mkdir(parents=True)
    one(area, "leftovers of containers", "was not made", wrong=False)
    put_right(area)
    assert list((root / "layerview/making").iterdir()) == []


def test_a_foreign_folder_is_left_to_the_person(root: Path, area: Area) -> None:
    (root / "containers/mine").mkdir(parents=True)
    check = one(area, "containers", "mine is no container")
    assert check.repair is None


def test_what_is_being_made_or_was_half_removed_is_passed_over(root: Path, area: Area) -> None:
    with area.writing() as writing:
        wanted = containers.new(area, "a:1", "steady")
        making = writing.new_container(wanted)
        containers.layers(writing, wanted, making.__enter__())
        assert said_all(area) == []
        making.__exit__(None, None, None)
        Volumes(writing).create("data")
    (root / "layerview/removing").mkdir(exist_ok=True)
    os.rename(folder_of(area, wanted.id), root / "layerview/removing" / wanted.id)
    os.rename(root / "volumes/data", root / "layerview/removing/volume-1")
    found = [each for each in AreaCheck(area).run() if each.remedy]
    assert {each.name for each in found} == {"unfinished work"}
    assert all(each.ok for each in found)
    assert len(found) == 2
    put_right(area)
    assert containers.of(root) == set()
    assert wanted.mount_id not in areas.folders(root, wanted.driver)
