"""prune --orphans deletes what belongs to nobody in an area, and nothing of anybody's."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from layerview.oci.digest import Digest
from layerview.store.account import Part
from layerview.store.area import Area
from layerview.store.data_root import DataRoot
from layerview.store.intents import Intent
from layerview.store.orphan_removal import remove_orphans
from layerview.store.safe_ways import SafeWays
from layerview.store.usage import account
from layerview.store.whose import Whose
from tests.support import archives, areas, build_caches, containers
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

DRIVERS = [
    "vfs",
    *(
        pytest.param(name, marks=pytest.mark.skipif(os.geteuid() != 0, reason="it needs root"))
        for name in ("overlay2", "aufs")
    ),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture(params=["vfs"])
def driver(
    request: pytest.FixtureRequest,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    name = str(request.param)
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", name)
    run = Command(capsys)
    for image, layers in (("base", [BASE]), ("a", [BASE, TOP])):
        file = archives.docker_archive(
            tmp_path / image, archives.image(*layers, tags=[f"{image}:1"])
        )
        answer = run("load", "-i", file)
        if answer.status:
            pytest.skip(answer.errors)
    containers.created(root, "base:1", "box")
    return name


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def home(root: Path, driver: str) -> Path:
    return root / {"vfs": "vfs/dir", "aufs": "aufs/diff"}.get(driver, driver)


def orphans(root: Path) -> list[Part]:
    return list(account(DataRoot(str(root))).of("orphan"))


def forget_image(root: Path, driver: str, name: str) -> None:
    """Lose an image's config and name, and the record of its top layer with it."""
    data = DataRoot(str(root))
    image = data.image(name)
    layout = data.layout(driver)
    os.unlink(layout.image(image.image_id))
    names = json.loads(Path(layout.repositories).read_text())
    del names["Repositories"][name.partition(":")[0]]
    Path(layout.repositories).write_text(json.dumps(names))


def lost_folder(root: Path, driver: str, suffix: str = "") -> str:
    id = secrets.token_hex(32) + suffix
    (home(root, driver) / id).mkdir()
    (home(root, driver) / id / "f").write_bytes(b"f" * 9000)
    return id


@pytest.mark.parametrize("driver", DRIVERS, indirect=True)
def test_all_kinds_of_orphans_go_and_nothing_else(root: Path, driver: str, run: Command) -> None:
    top = DataRoot(str(root)).image("a:1").chain_ids[-1]
    unneeded = DataRoot(str(root)).layer(driver, top).cache_id
    forget_image(root, driver, "a:1")
    lost = {lost_folder(root, driver), lost_folder(root, driver, "-init")}
    if driver == "aufs":
        lost.add(lost_folder(root, driver, "-removing"))
    gone = containers.created(root, "base:1", "gone")
    shutil.rmtree(root / "containers" / gone.id)
    lost |= {gone.mount_id, f"{gone.mount_id}-init"}
    before = areas.folders(root, driver)
    found = orphans(root)
    assert {part.id for part in found} == {*lost, unneeded}
    document = run.json("prune", "--orphans", "--force")
    assert set(document["deleted"]) == {part.path for part in found}
    assert document["bytes"] == sum(part.bytes for part in found)
    assert areas.folders(root, driver) == before - {*lost, unneeded}
    assert orphans(root) == []
    assert areas.wrong(root) == []
    assert not (root / f"image/{driver}/layerdb/mounts" / gone.id).exists()
    assert run.json("prune", "--orphans", "-f") == {"deleted": [], "kept": [], "bytes": 0}
    assert [one["name"] for one in run.json("ps", "-a")] == ["box"]


def test_layers_on_one_another_go_from_the_top(root: Path, driver: str, run: Command) -> None:
    shutil.rmtree(next((root / "containers").iterdir()))
    forget_image(root, driver, "a:1")
    forget_image(root, driver, "base:1")
    assert len(orphans(root)) == 4
    assert run("prune", "--orphans", "--force").status == 0
    assert areas.folders(root, driver) == areas.layers(root, driver) == set()


def test_what_somebody_needs_by_now_stays(root: Path, driver: str) -> None:
    id = lost_folder(root, driver)
    forget_image(root, driver, "a:1")
    (lost, unneeded) = sorted(orphans(root), key=lambda part: part.id != id)
    area = Area.open(str(root))
    # Others are at work: a load has the ID noted, another one counts on the layer.
    with area.writing() as other, area.writing() as writing:
        chain = next(
            iter(
                areas.layers(root, driver) - {str(DataRoot(str(root)).image("base:1").chain_ids[0])}
            )
        )
        with other.lock.hold():
            intent = other.intents.note(Intent("load", driver, [id], [], [Digest.parse(chain)]))
        kept = remove_orphans(writing, [lost, unneeded])
        assert kept.deleted == []
        assert len(kept.kept) == 2
        assert all(line.startswith(f"{root}/vfs/dir/") for line in kept.kept)
        with other.lock.hold():
            other.intents.drop(intent)
        gone = remove_orphans(writing, [lost, unneeded])
        assert ({*gone.deleted}, gone.kept) == ({lost, unneeded}, [])
    assert areas.wrong(root) == []


def test_where_records_can_not_be_read_nothing_goes(root: Path, driver: str, run: Command) -> None:
    lost_folder(root, driver)
    found = orphans(root)
    build_caches.write(root, {})
    (root / "buildkit/snapshots.db").write_bytes(b"torn" * 5000)
    container = next((root / f"image/{driver}/layerdb/mounts").iterdir())
    (container / "mount-id").write_text("../..")
    before = areas.folders(root, driver)
    answer = run("prune", "--orphans", "--force")
    assert "Deleted" not in answer.out
    with Area.open(str(root)).writing() as writing:
        assert remove_orphans(writing, found).deleted == []
    assert areas.folders(root, driver) == before


def test_a_person_is_asked_and_nobody_agrees_alone(root: Path, driver: str, run: Command) -> None:
    id = lost_folder(root, driver)
    answer = run("prune", "--orphans")
    assert (answer.status, answer.out) == (2, "")
    assert id in answer.errors
    assert "--force" in answer.errors
    assert id in areas.folders(root, driver)
    for word in ("--all", "--volumes", "--filter=until=1h"):
        assert run("prune", "--orphans", "--force", word).status == 2
    assert id in areas.folders(root, driver)


def test_an_engines_root_is_only_read(root: Path, driver: str, run: Command) -> None:
    id = lost_folder(root, driver)
    shutil.rmtree(root / "layerview")
    answer = run("prune", "--orphans", "--force")
    assert (answer.status, answer.out) == (1, "")
    assert f"`layerview usage {root}`" in answer.errors
    assert id in areas.folders(root, driver)


def test_the_safe_way_names_every_path_of_an_orphan_and_nothing_else(
    root: Path, driver: str, run: Command
) -> None:
    """Followed word by word, the engine stopped, it leaves a root without orphans."""
    forget_image(root, driver, "a:1")
    gone = containers.created(root, "base:1", "gone")
    shutil.rmtree(root / "containers" / gone.id)
    lost_folder(root, driver)
    chain = secrets.token_hex(32)
    record = root / f"image/{driver}/layerdb/sha256/{chain}-{chain}-removing"
    record.mkdir()
    half = lost_folder(root, driver)
    (record / "cache-id").write_text(half)
    version = (root / "layerview/version").read_bytes()
    (root / "layerview/version").unlink()
    ways = SafeWays(DataRoot(str(root)))
    assert not ways.own
    commands = []
    for part in orphans(root):
        way = ways.steps(part)
        assert way is not None
        if part.id == half:
            assert (way.commands, "restart of the engine" in way.words) == ((), True)
            continue
        assert "stop the engine" in way.words
        assert str(way).count("`") == 2 * len(way.commands)
        commands += [command for command in way.commands if command not in commands]
    for command in commands:
        assert os.system(command) == 0
    assert [part.id for part in orphans(root)] == [half]
    (root / "layerview/version").write_bytes(version)
    assert run("prune", "--force").status == 0  # finishes what had begun
    assert (orphans(root), areas.wrong(root)) == ([], [])


def test_other_parts_have_their_ways_too(root: Path, driver: str) -> None:
    (root / "volumes/data/_data").mkdir(parents=True)
    (root / "tmp/GetImageBlob1").mkdir(parents=True)
    lost_folder(root, driver)
    (home(root, driver) / ("z" * 25)).mkdir()
    build_caches.write(root, {"s": {"committed": "z" * 25}})

    def ways() -> dict[str, str]:
        data = DataRoot(str(root))
        parts = [part for part in account(data).parts if part.name not in ("tmp", "buildkit")]
        return {part.kind: SafeWays(data).way(part) for part in parts}

    found = ways()
    assert "layerview volume rm data" in found["volume"]
    assert "layerview prune --orphans" in found["orphan"]
    assert found["image_layer"] == found["metadata"] == ""
    (root / "layerview/version").unlink()
    found = ways()
    assert "docker volume rm data" in found["volume"]
    assert "docker builder prune" in found["build_cache"]
    assert "when it starts" in found["temporary"]
    # A name that no volume has would be an option to the command, or several words.
    shutil.rmtree(root / "volumes/data")
    for name in ("-f", "a b", "a\nb", "$(id)"):
        (root / "volumes" / name).mkdir()
        assert ways()["volume"] == ""
        (root / "volumes" / name).rmdir()
    # Nor is one offered where it can't be told who mounts what.
    (root / "volumes/data").mkdir()
    assert ways()["volume"]
    (root / "containers" / ("5" * 64)).mkdir(parents=True)
    (root / "containers" / ("5" * 64) / "config.v2.json").write_text("{")
    (root / "image" / driver / "layerdb/mounts" / ("5" * 64)).mkdir(parents=True)
    assert ways()["volume"] == ""
    assert "can't be told" in Whose(DataRoot(str(root))).of_path(str(root / "volumes/data")).note


@pytest.mark.parametrize("at", range(6))
def test_whatever_ends_it_the_rest_is_still_an_orphan(
    root: Path, driver: str, run: Command, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = containers.created(root, "a:1", "gone")
    shutil.rmtree(root / "containers" / gone.id)
    forget_image(root, driver, "a:1")
    lost_folder(root, driver)
    count = len(orphans(root))
    real, calls = os.rmdir, 0

    def rmdir(*words: Any, **more: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt
        real(*words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", rmdir)
        assert run("prune", "--orphans", "--force").status == 130
    assert len(orphans(root)) <= count
    assert run("prune", "--orphans", "--force").status == 0
    assert (orphans(root), areas.wrong(root)) == ([], [])
    assert [one["name"] for one in run.json("ps", "-a")] == ["box"]
