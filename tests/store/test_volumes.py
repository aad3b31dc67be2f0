"""Volumes: made, listed with their users, kept while anybody has them, removed as a whole."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from layerview.errors import LayerviewError, NotFoundError, UsageError
from layerview.store import volumes
from layerview.store.area import Area
from layerview.store.container_files import volume_point
from layerview.store.containers import Making
from layerview.store.inventory import folder_size
from layerview.store.volumes import VolumeInUse, Volumes
from tests.support import archives, bolts, containers
from tests.support.areas import BASE
from tests.support.commands import Command


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
    spec = archives.image(BASE, tags=["a:1"])
    assert Command(capsys)("load", archives.docker_archive(tmp_path / "a.tar", spec)).status == 0
    return Area.open(str(root))


def make(area: Area, *names: str) -> None:
    with area.writing() as writing:
        for name in names:
            assert Volumes(writing).create(name)


def names(area: Area) -> list[str]:
    return [volume.name for volume in volumes.listed(area.data)]


def used(root: Path, name: str, container: str, *, asked: bool = True) -> str:
    points = {"/v": volume_point(str(root), name, "/v", asked=asked)}
    return containers.created(root, "a:1", container, mount_points=points).id


def test_a_volume_lies_where_docker_has_it(root: Path, area: Area) -> None:
    old = os.umask(0o077)
    try:
        make(area, "data")
    finally:
        os.umask(old)
    modes = {
        path: stat.S_IMODE((root / path).stat().st_mode)
        for path in ("volumes", "volumes/data", "volumes/data/_data")
    }
    assert modes == {"volumes": 0o701, "volumes/data": 0o701, "volumes/data/_data": 0o755}
    [volume] = volumes.listed(area.data)
    assert (volume.name, volume.folder) == ("data", str(root / "volumes/data/_data"))
    assert (volume.users, volume.size(), volume.is_anonymous) == ((), 0, False)


def test_a_volume_that_is_there_stays_as_it_is(root: Path, area: Area) -> None:
    make(area, "data")
    (root / "volumes/data/_data/f").write_text("kept")
    with area.writing() as writing:
        assert Volumes(writing).create("data") is False
    assert (root / "volumes/data/_data/f").read_text() == "kept"


def test_a_volume_that_was_half_made_is_completed(root: Path, area: Area) -> None:
    (root / "volumes/data").mkdir(parents=True)
    assert names(area) == []
    make(area, "data")
    assert names(area) == ["data"]


@pytest.mark.parametrize(
    "name", ["", "a", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "é1", "a\n", "x" * 256]
)
def test_no_other_name_is_a_volumes(root: Path, area: Area, name: str) -> None:
    with area.writing() as writing, pytest.raises(UsageError, match="is no volume's name"):
        Volumes(writing).create(name)
    with area.writing() as writing, pytest.raises(NotFoundError):
        Volumes(writing).remove(name)
    with pytest.raises(NotFoundError):
        volumes.inspect(area.data, name)
    assert not (root / "volumes").exists()


def test_who_uses_a_volume_is_told(root: Path, area: Area) -> None:
    make(area, "data", "free")
    used(root, "data", "one")
    used(root, "data", "two")
    found = volumes.inspect(area.data, "data")
    assert {user.name for user in found.users} == {"one", "two"}
    assert volumes.inspect(area.data, "free").users == ()


def test_a_volume_that_a_container_has_is_not_removed(root: Path, area: Area) -> None:
    make(area, "data")
    id = used(root, "data", "steady")
    (root / "volumes/data/_data/f").write_text("kept")
    with area.writing() as writing:
        with pytest.raises(VolumeInUse, match=rf"container {id[:12]} \(steady\) uses it"):
            Volumes(writing).remove("data")
        assert (root / "volumes/data/_data/f").read_text() == "kept"
        writing.remove_container(id, volumes=True)
        assert names(area) == ["data"]
        Volumes(writing).remove("data")
        with pytest.raises(NotFoundError, match="no volume data"):
            Volumes(writing).remove("data")
    assert names(area) == []
    assert list((root / "layerview/removing").iterdir()) == []


def test_a_volume_is_not_removed_while_a_container_is_being_made_with_it(
    root: Path, area: Area
) -> None:
    make(area, "data")
    point = volume_point(str(root), "data", "/v", asked=True)
    with area.writing() as writing, area.writing() as other:
        wanted = containers.new(area, "a:1", "steady", mount_points={"/v": point})
        with writing.new_container(wanted) as making:
            with pytest.raises(VolumeInUse, match=r"\(steady\) uses it"):
                Volumes(other).remove("data")
            assert Volumes(other).prune(named_too=True) == []
            containers.layers(writing, wanted, making)


def test_a_volume_that_another_container_took_up_stays_when_the_first_is_not_made(
    root: Path, area: Area
) -> None:
    point = volume_point(str(root), "data", "/v", asked=True)
    with area.writing() as writing, area.writing() as other:
        first = containers.new(area, "a:1", "first", mount_points={"/v": point})
        second = containers.new(area, "a:1", "second", mount_points={"/v": point})

        def fail(making: Making) -> None:
            assert making.new_volumes == ("data",)
            containers.make(other, second)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            containers.make(writing, first, fail)
    assert names(area) == ["data"]


def test_only_volumes_without_a_name_and_a_user_are_pruned(root: Path, area: Area) -> None:
    free, taken = "a" * 64, "b" * 64
    make(area, "data", free, taken)
    used(root, taken, "steady", asked=False)
    (root / f"volumes/{free}/_data/f").write_bytes(b"12345")
    with area.writing() as writing:
        assert Volumes(writing).prune() == [(free, 5)]
        assert names(area) == [taken, "data"]
        assert Volumes(writing).prune(named_too=True) == [("data", 0)]
    assert names(area) == [taken]


def test_a_volume_that_only_an_engine_can_mount_is_told_and_not_used(
    root: Path, area: Area
) -> None:
    make(area, "nfs")
    options = '{"MountType":"nfs","MountOpts":"addr=10.0.0.1","MountDevice":":/x","Quota":{}}'
    (root / "volumes/nfs/opts.json").write_text(options)
    assert volumes.inspect(area.data, "nfs").options == {
        "type": "nfs",
        "o": "addr=10.0.0.1",
        "device": ":/x",
    }
    with area.writing() as writing, pytest.raises(LayerviewError, match="an engine"):
        Volumes(writing).create("nfs")
    with pytest.raises(LayerviewError, match="type=nfs"):
        used(root, "nfs", "steady")
    assert containers.of(root) == set()


def test_a_link_is_no_volume(root: Path, area: Area, tmp_path: Path) -> None:
    make(area, "real")
    (tmp_path / "out").mkdir()
    (root / "volumes/link").mkdir()
    (root / "volumes/link/_data").symlink_to(tmp_path / "out")
    (root / "volumes/file").write_text("")
    assert names(area) == ["real"]
    with area.writing() as writing, pytest.raises(LayerviewError):
        Volumes(writing).create("link")


def test_removing_a_volume_follows_no_link(root: Path, area: Area, tmp_path: Path) -> None:
    make(area, "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/f").write_text("kept")
    (root / "volumes/data/_data/link").symlink_to(tmp_path / "out")
    with area.writing() as writing:
        Volumes(writing).remove("data")
    assert (tmp_path / "out/f").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_is_mounted_in_a_volume_keeps_it(root: Path, area: Area, tmp_path: Path) -> None:
    make(area, "data")
    place = root / "volumes/data/_data/m"
    place.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/f").write_text("kept")
    subprocess.run(["mount", "--bind", tmp_path / "out", place], check=True)
    try:
        with area.writing() as writing, pytest.raises(LayerviewError, match="is mounted"):
            Volumes(writing).remove("data")
    finally:
        subprocess.run(["umount", place], check=True)
    assert (tmp_path / "out/f").read_text() == "kept"
    assert names(area) == ["data"]


def test_volumes_are_filled_by_one_at_a_time(root: Path, area: Area) -> None:
    make(area, "data")
    said: list[str] = []
    with area.writing() as writing:
        held = Volumes(writing)

        def fill() -> None:
            with Volumes(writing).filling("data"):
                said.append("second")

        with held.filling("data"):
            other = threading.Thread(target=fill)
            other.start()
            other.join(0.1)
            with pytest.raises(VolumeInUse, match="being filled"):
                held.remove("data")
            said.append("first")
        other.join()
    assert said == ["first", "second"]


def test_sizes_count_each_inode_once_and_folders_not(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "f").write_bytes(b"1234")
    os.link(tmp_path / "f", tmp_path / "a/f")
    (tmp_path / "a/b/g").write_bytes(b"12")
    (tmp_path / "a/link").symlink_to("/etc")
    assert folder_size(str(tmp_path)) == 4 + 2 + len("/etc")
    assert folder_size(str(tmp_path / "none")) is None


def test_a_tree_of_any_depth_is_summed_and_removed(root: Path, area: Area) -> None:
    make(area, "data")
    here = os.open(root / "volumes/data/_data", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("dddd", dir_fd=here)
        below = os.open("dddd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open("f", "wb", opener=lambda path, flags: os.open(path, flags, dir_fd=here)) as file:
        file.write(b"deep")
    os.close(here)
    assert volumes.inspect(area.data, "data").size() == 4
    with area.writing() as writing:
        Volumes(writing).remove("data")
    assert names(area) == []


def test_a_removal_that_was_cut_short_is_finished(root: Path, area: Area) -> None:
    make(area, "data")
    (root / "layerview/removing").mkdir(exist_ok=True)
    (root / "volumes/data").rename(root / "layerview/removing/volume-1")
    with area.writing() as writing:
        assert writing.recovered == ["finished the removal of a volume"]
    assert list((root / "layerview/removing").iterdir()) == []


# Labels, which an engine's database has -------------------------------------------------------


def label(root: Path, labels: dict[str, object]) -> None:
    notes: dict[bytes, bytes | bolts.Tree] = {
        name.encode(): json.dumps({"Name": name, "Driver": "local", "Labels": value}).encode()
        for name, value in labels.items()
    }
    (root / "volumes/metadata.db").write_bytes(bolts.database({b"volumes": notes}))


def test_labels_are_those_of_the_engine(
    root: Path, area: Area, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(capsys)
    make(area, "plain", "said", "odd")
    label(root, {"said": {"a": "b", "of": ""}, "plain": None, "odd": {"a": 5}, "gone": {"a": "b"}})
    found = {one["name"]: one["labels"] for one in run.json("volume", "ls")}
    assert found == {"plain": {}, "said": {"a": "b", "of": ""}, "odd": {}}
    assert run.json("volume", "inspect", "said")[0]["labels"] == {"a": "b", "of": ""}
    for wanted, names in (("a", ["said"]), ("a=b", ["said"]), ("a=c", []), ("of=", ["said"])):
        answer = run("volume", "ls", "-q", "--filter", f"label={wanted}")
        assert answer.out.split() == names


def test_labels_that_cannot_be_read_are_unknown(
    root: Path, area: Area, capsys: pytest.CaptureFixture[str]
) -> None:
    make(area, "data")
    (root / "volumes/metadata.db").write_bytes(b"?" * 9000)
    [found] = Command(capsys).json("volume", "ls")
    assert found["labels"] is None
    (root / "volumes/metadata.db").write_bytes(b"")
    [found] = Command(capsys).json("volume", "ls")
    assert found["labels"] == {}
