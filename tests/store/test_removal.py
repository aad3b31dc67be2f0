"""Names and images go by Docker's rules; what anything uses stays."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.support import archives, areas, build_caches, tars
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

CONTAINER = "c" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "area"


@pytest.fixture
def run(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    command = Command(capsys)
    for name, layers in (("base", [BASE]), ("a", [BASE, TOP])):
        spec = archives.image(*layers, tags=[f"{name}:1"])
        assert command("load", archives.docker_archive(tmp_path / name, spec)).status == 0
    return command


def container(root: Path, image: str, *, running: bool = False) -> None:
    """Record a container of an image, as an engine does."""
    image_id = areas.names(root)[image]
    config = json.loads((root / "image/vfs/imagedb/content/sha256" / image_id[7:]).read_text())
    (top,) = [
        path
        for path in (root / "image/vfs/layerdb/sha256").iterdir()
        if (path / "diff").read_text() == config["rootfs"]["diff_ids"][-1]
    ]
    folder = root / "containers" / CONTAINER
    folder.mkdir(parents=True)
    document = {
        "ID": CONTAINER,
        "Name": "/steady",
        "Image": image_id,
        "Driver": "vfs",
        "State": {"Running": running},
    }
    (folder / "config.v2.json").write_text(json.dumps(document))
    mount = root / "image/vfs/layerdb/mounts" / CONTAINER
    mount.mkdir(parents=True)
    (mount / "mount-id").write_text("d" * 64)
    (mount / "init-id").write_text("d" * 64 + "-init")
    (mount / "parent").write_text(f"sha256:{top.name}")
    for name in ("d" * 64, "d" * 64 + "-init"):
        (root / "vfs/dir" / name).mkdir()


def child_of(root: Path, image: str, parent: str) -> None:
    """Say that an image was built on another one here."""
    image_id = areas.names(root)[image]
    folder = root / "image/vfs/imagedb/metadata/sha256" / image_id[7:]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parent").write_text(areas.names(root)[parent])


def test_a_name_goes_and_the_image_with_the_last_one(run: Command, root: Path) -> None:
    ids = areas.names(root)
    run("tag", "a:1", "b:1")
    assert run("rmi", "a:1").out == "Untagged: a:1\n"
    answer = run("rmi", "b:1")
    lines = answer.out.splitlines()
    assert lines[:2] == ["Untagged: b:1", f"Deleted: {ids['a:1']}"]
    assert len(lines) == 3  # the top layer; the base is another image's
    assert areas.names(root) == {"base:1": ids["base:1"]}
    assert len(areas.layers(root)) == len(areas.folders(root)) == 1
    document = run.json("rmi", "base:1")
    assert document["untagged"] == ["base:1"]
    assert document["deleted"][0] == ids["base:1"]
    assert areas.is_bare(root)


def test_by_id(run: Command, root: Path) -> None:
    ids = areas.names(root)
    run("tag", "a:1", "other/b:1")
    answer = run("rmi", ids["a:1"][7:19])
    assert (answer.status, "several names" in answer.errors) == (1, True)
    assert set(areas.names(root)) == {"a:1", "base:1", "other/b:1"}
    answer = run("rmi", "-f", ids["a:1"])
    assert answer.out.splitlines()[:3] == [
        *("Untagged: a:1", "Untagged: other/b:1", f"Deleted: {ids['a:1']}"),
    ]
    assert run("rmi", ids["base:1"][:15]).status == 0
    assert areas.is_bare(root)


def test_several_one_of_which_is_not_there(run: Command, root: Path) -> None:
    answer = run("rmi", "a:1", "none:1", "base:1")
    assert answer.status == 1
    assert answer.errors.count("\n") == 1
    assert "none:1" in answer.errors
    assert areas.is_bare(root)


@pytest.mark.parametrize("running", [False, True])
def test_a_container_keeps_its_image(run: Command, root: Path, running: bool) -> None:
    container(root, "a:1", running=running)
    ids = areas.names(root)
    for word in ("a:1", ids["a:1"]):
        answer = run("rmi", word)
        assert (answer.status, answer.out) == (1, "")
        assert "container cccccccccccc (steady)" in answer.errors
    if running:
        assert run("prune", "-af").status == 0
        assert "a:1" in areas.names(root)
    run("tag", "a:1", "b:1")
    assert run("rmi", "a:1").out == "Untagged: a:1\n"
    answer = run("rmi", "-f", "b:1")
    assert answer.status == 0
    assert answer.out.splitlines()[0] == "Untagged: b:1"
    assert (ids["a:1"] in areas.images(root)) is running
    # The container stands on the layers, whatever became of the image.
    assert len(areas.layers(root)) == 2
    assert areas.wrong(root) == []


def test_prune_takes_containers_that_do_not_run_as_docker_does(run: Command, root: Path) -> None:
    container(root, "a:1", running=False)
    document = run.json("prune", "-f", "--filter", "label=x")
    assert document["containers"] == []
    document = run.json("prune", "-af")
    assert document["containers"] == ["c" * 64]
    assert areas.is_bare(root)


def test_an_image_that_others_were_built_on_stays(run: Command, root: Path) -> None:
    child_of(root, "a:1", "base:1")
    ids = areas.names(root)
    answer = run("rmi", "-f", ids["base:1"])
    assert (answer.status, "was built on it" in answer.errors) == (1, True)
    assert run("rmi", "base:1").out == "Untagged: base:1\n"
    assert ids["base:1"] in areas.images(root)
    assert run("prune", "-f").out == "0 B freed\n"
    # With the last child the parent without a name goes, too, as in Docker.
    lines = run("rmi", "a:1").out.splitlines()
    assert f"Deleted: {ids['base:1']}" in lines
    assert areas.is_bare(root)


def test_parents_can_be_kept(run: Command, root: Path) -> None:
    child_of(root, "a:1", "base:1")
    ids = areas.names(root)
    run("rmi", "base:1")
    assert run("rmi", "--no-prune", "a:1").status == 0
    assert areas.images(root) == {ids["base:1"]}


def test_prune_takes_what_has_no_name(run: Command, root: Path, tmp_path: Path) -> None:
    ids = areas.names(root)
    other = tars.layer(tars.file("other", b"o" * 5000))
    run("load", archives.docker_archive(tmp_path / "o", archives.image(other, tags=["a:1"])))
    assert len(areas.images(root)) == 3
    document = run.json("prune", "-f")
    assert document["deleted"][0] == ids["a:1"]
    assert document["bytes"] == 1
    assert set(areas.names(root)) == {"a:1", "base:1"}
    document = run.json("prune", "-f", "-a", "--filter", "label=x")
    assert document["deleted"] == []
    document = run.json("prune", "-f", "-a", "--filter", "until=2000-01-01T00:00:00Z")
    assert document["deleted"] == []
    document = run.json("prune", "-f", "-a", "--filter", "until=1h", "--filter", "label!=x")
    assert set(document["untagged"]) == {"a:1", "base:1"}
    assert document["bytes"] >= 6000
    assert areas.is_bare(root)


@pytest.mark.parametrize("word", ["until", "until=", "until=soon", "colour=red", "label="])
def test_filters_that_are_off(run: Command, root: Path, word: str) -> None:
    assert run("prune", "-f", "--filter", word).status == 2
    assert len(areas.images(root)) == 2


def test_prune_asks(run: Command, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert run("prune", "-a").status == 2
    assert len(areas.images(root)) == 2


def test_what_a_build_cache_speaks_of_stays(run: Command, root: Path) -> None:
    chains = sorted(areas.layers(root))
    build_caches.write(root, {chain: {} for chain in chains})
    assert run("rmi", "a:1", "base:1").status == 0
    assert sorted(areas.layers(root)) == chains
    assert len(areas.folders(root)) == 2
    assert areas.images(root) == set()


def test_the_last_container_takes_the_layers_of_an_image_that_is_gone(
    run: Command, root: Path
) -> None:
    for name in ("one", "two"):
        assert run("create", "--name", name, "a:1", "true").status == 0
    assert run("rmi", "-f", "a:1", "base:1").status == 0
    assert areas.images(root) == set()
    assert run("rm", "one").status == 0
    assert len(areas.layers(root)) == 2
    assert run("rm", "two").status == 0
    assert areas.layers(root) == set()
    assert areas.folders(root) == set()


def test_a_container_leaves_layers_that_the_build_cache_needs(run: Command, root: Path) -> None:
    assert run("create", "--name", "one", "a:1", "true").status == 0
    assert run("rmi", "-f", "a:1").status == 0
    (top,) = areas.layers(root) - {f"sha256:{hashlib.sha256(BASE).hexdigest()}"}
    build_caches.write(root, {top: {}})
    assert run("rm", "one").status == 0
    assert len(areas.layers(root)) == 2
    # Nobody can tell what a damaged one needs: the container goes, and all layers stay.
    assert run("create", "--name", "two", "base:1", "true").status == 0
    assert run("rmi", "-f", "base:1").status == 0
    (root / "buildkit/snapshots.db").write_bytes(b"?" * 5000)
    assert run("rm", "two").status == 0
    assert len(areas.layers(root)) == 2


def test_tags(run: Command, root: Path) -> None:
    ids = areas.names(root)
    assert run("tag", "a:1", "x").status == 0
    assert run("tag", ids["a:1"][7:], "host:5000/x/y:z").status == 0
    assert run("tag", "base:1", "a:1").status == 0
    assert areas.names(root) == {
        "a:1": ids["base:1"],
        "base:1": ids["base:1"],
        "host:5000/x/y:z": ids["a:1"],
        "x:latest": ids["a:1"],
    }
    for words in (["none:1", "x"], ["a:1", "UPPER"], ["a:1", f"x@{ids['a:1']}"], ["a:1"]):
        answer = run("tag", *words)
        assert answer.status in (1, 2)
        assert answer.errors.count("\n") == 1
