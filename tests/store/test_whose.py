"""Whose a path, an ID or a name is; by path and by name it is the same answer."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerview.errors import NotFoundError, UsageError
from layerview.store.account import Account
from layerview.store.answers import Answer
from layerview.store.containers import NewContainer
from layerview.store.data_root import DataRoot
from layerview.store.root_paths import look_up, root_of
from layerview.store.usage import account
from layerview.store.whose import Whose
from layerview.store.whose_words import Words
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
each_driver = pytest.mark.parametrize("place", DRIVERS, indirect=True)
KINDS = {
    "image_layer": "layer",
    "container_layer": "container",
    "init_layer": "init",
    "build_cache": "cache",
}
WORDS = [
    *("image", "vfs", "overlay2", "aufs", "diff", "mnt", "layers", "dir", "l", "layerdb", "tmp"),
    *("sha256", "mounts", "imagedb", "content", "containers", "volumes", "data", "_data"),
    *("buildkit", "layerview", "run", "a" * 64, f"{'b' * 64}-init", "Q" * 26, "z" * 25, "é"),
    *(f"{'c' * 64}-removing", f"{'d' * 64}-json.log", ".hidden", "x y", "100000.100000"),
]
POINT = {
    "Type": "volume",
    "Name": "data",
    "Driver": "local",
    "Destination": "/data",
    "RW": True,
}


class Place:
    """An area with two images that share a layer, a container with a volume, and an orphan."""

    def __init__(self, root: Path, driver: str, box: NewContainer) -> None:
        self.root = root
        self.driver = driver
        self.box = box
        self.data = DataRoot(str(root))
        self.home = root / {"vfs": "vfs/dir", "aufs": "aufs/diff"}.get(driver, driver)
        self.orphan = secrets.token_hex(32)
        (self.home / self.orphan / "diff").mkdir(parents=True)
        (self.home / self.orphan / "diff/f").write_bytes(b"f" * 10_000)

    @cached_property
    def whose(self) -> Whose:
        """Its records as they were when this was first asked for."""
        return Whose(self.data)

    def word(self, word: str, wanted: str | None = None) -> Answer:
        return Words(self.whose).find(word, wanted)

    def path(self, path: str | Path) -> Answer:
        return self.whose.of_path(str(path))

    def account(self) -> Account:
        return account(self.data)


@pytest.fixture
def place(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Place:
    root, run, driver = tmp_path / "area", Command(capsys), getattr(request, "param", "vfs")
    for name, layers in (("base", [BASE]), ("a", [BASE, TOP])):
        spec = archives.image(*layers, tags=[f"{name}:1"])
        file = archives.docker_archive(tmp_path / name, spec)
        done = run("load", "-i", file, "--root", root, "--driver", driver)
        if done.status:
            pytest.skip(done.errors)
    box = containers.created(root, "a:1", "box", mount_points={"/data": POINT})
    (root / "containers" / box.id / f"{box.id}-json.log").write_bytes(b"l" * 5000)
    (root / "containers" / box.id / f"{box.id}-json.log.1").write_bytes(b"l" * 9000)
    return Place(root, driver, box)


def images(answer: Answer) -> dict[str, int | None]:
    return {name: at for image, at in answer.images for name in image.record.references}


@each_driver
def test_every_part_of_the_account_is_whose_the_account_says(place: Place) -> None:
    whose = place.whose
    seen = set()
    for part in place.account().parts:
        found = whose.of_path(part.path)
        assert found.kind == KINDS.get(part.kind, part.kind), part
        assert found.note == part.note or part.kind not in ("orphan", "volume")
        seen.add(found.kind)
        if part.kind == "image_layer":
            assert sorted(images(found)) == sorted(part.owners)
        if part.kind in ("container_layer", "init_layer", "log", "volume"):
            assert [one.name for one in found.containers] == list(part.owners)
        if part.kind in ("image_layer", "init_layer", "orphan"):
            assert place.word(part.id) == replace(found, inside=None)
            if not part.id.endswith("-init"):
                assert place.word(part.id[:9]) == place.word(part.id)
            sizes = whose.measured(found, lambda: False).places
            assert sum(one.bytes or 0 for one in sizes if one.own) == part.bytes
        if part.kind == "orphan":
            assert (found.orphan, part.id) == (True, place.orphan)
    assert seen >= {"layer", "container", "init", "volume", "orphan", "log", "metadata"}


@each_driver
def test_a_layer_is_found_by_all_its_ids_and_deep_paths(place: Place) -> None:
    (base, top) = place.data.image("a:1").chain_ids
    layer = place.data.layer(place.driver, base)
    found = place.word(layer.cache_id)
    assert (found.kind, images(found)) == ("layer", {"a:1": 0, "base:1": 0})
    assert [one.name for one in found.containers] == ["box"]
    for word in (str(base), base.hex, layer.cache_id[:12], base.hex[:12], f"sha256:{base.hex[:9]}"):
        assert place.word(word) == found
    upper = place.data.layer(place.driver, top)
    assert images(place.word(str(upper.diff_id))) == {"a:1": 1}
    deep = place.path(f"{layer.folder}/d/f")
    assert (deep.kind, deep.path, deep.inside) == ("layer", found.path, "/d/f")
    record = place.path(place.root / f"image/{place.driver}/layerdb/sha256/{base.hex}/size")
    assert (record.kind, record.layer) == ("metadata", layer)
    assert images(record) == images(found)


@pytest.mark.parametrize("place", DRIVERS[1:2], indirect=True)
def test_the_short_name_of_overlay2_is_its_layers(place: Place) -> None:
    (base,) = place.data.image("base:1").chain_ids
    folder = Path(place.data.layer("overlay2", base).folder).parent
    short = (folder / "link").read_text()
    assert place.word(short).path == str(folder)
    found = place.path(place.root / "overlay2/l" / short / "d/f")
    assert (found.path, found.inside) == (str(folder), "/d/f")
    assert place.path(folder / "merged/etc").inside == "/etc"
    assert place.path(folder / "work/x").inside is None
    (place.root / "overlay2/l" / ("Q" * 26)).symlink_to("../../elsewhere/diff")
    with pytest.raises(NotFoundError):
        place.word("Q" * 26)


@each_driver
def test_of_a_container_all_places_are_told(place: Place) -> None:
    found = place.word("box")
    for word in (place.box.id, place.box.id[:7], "/box"):
        assert place.word(word) == found
    measured = place.whose.measured(found, lambda: False)
    by_kind: dict[str, int] = {}
    for one in measured.places:
        assert one.own is (one.kind not in ("volume", "image_layer"))
        by_kind[one.kind] = by_kind.get(one.kind, 0) + (one.bytes or 0)
    parts = place.account().parts
    for kind in ("container_layer", "init_layer", "log", "volume", "image_layer"):
        assert by_kind[kind] == sum(part.bytes for part in parts if part.kind == kind)
    assert by_kind["log"] >= 14_000
    assert measured.bytes == sum(one.bytes or 0 for one in measured.places if one.own)
    assert images(found) == {"a:1": None}


def test_of_an_image_what_it_shares_is_told(place: Place) -> None:
    found = place.whose.measured(place.word("a:1"), lambda: False)
    layers = [one for one in found.places if one.kind == "image_layer"]
    assert {(one.number, one.shared) for one in layers} == {(0, True), (1, False)}
    assert place.word("a:1") == place.word(str(place.data.image("a:1").image_id))
    assert found.bytes == sum(one.bytes or 0 for one in layers)
    assert found.bytes_alone == sum(one.bytes or 0 for one in layers if not one.shared)
    assert [one.name for one in found.containers] == ["box"]


def test_a_word_that_means_several_things_is_told_so(place: Place) -> None:
    containers.created(place.root, "a:1", "data")
    found = place.word("data")
    assert (found.kind, found.note) == ("container", "a volume is called so, too: --type chooses")
    assert place.word("data", "volume").kind == "volume"
    start = "ab"
    for number in range(2):
        id = start + secrets.token_hex(31)
        containers.created(place.root, "a:1", f"more{number}", id=id)
    del place.whose
    with pytest.raises(UsageError, match=r"may be several things: .*more0"):
        place.word(start)
    for word in ("none", "", "a:2", "..", "../..", "\0", "-", "x" * 300, "e" * 64):
        with pytest.raises(NotFoundError):
            place.word(word)


def test_what_the_build_cache_has_is_its(place: Place) -> None:
    (place.home / place.orphan).rename(place.home / ("z" * 25))
    keys = {"s": {"committed": "z" * 25}}
    build_caches.write(place.root, keys, {"s": {"cache.description": "RUN make"}})
    found = place.word("z" * 25)
    assert (found.kind, found.note, found.orphan) == ("cache", "RUN make", False)
    (place.root / "buildkit/snapshots.db").write_bytes(b"torn" * 5000)
    del place.whose
    found = place.word("z" * 25)
    assert (found.kind, found.orphan) == ("other", None)
    assert "can't be told" in found.note


def test_a_folder_that_is_not_there_is_told_by_its_record(place: Place) -> None:
    (base,) = place.data.image("base:1").chain_ids
    layer = place.data.layer(place.driver, base)
    shutil.rmtree(place.home / layer.cache_id)
    found = place.path(place.home / layer.cache_id / "d")
    assert (found.kind, found.note) == ("layer", "it is not there")
    with pytest.raises(NotFoundError, match="no record speaks of it"):
        place.path(place.home / ("f" * 64))
    for driver in ("overlay2/", "btrfs/subvolumes/", "aufs/diff/", "vfs/dir/", "overlay/"):
        with pytest.raises(NotFoundError, match="no record speaks of it"):
            place.path(place.root / driver / ("f" * 64) / "diff")
    found = place.path(place.home / place.orphan / "diff/none")
    assert "nothing has that name in it" in found.note
    assert "nothing has" not in place.path(place.home / place.orphan / "diff").note
    assert place.path(place.root).note == "the data root itself, with all that is in it"
    assert "driver's own folder" in place.path(place.root / place.driver).note


def test_the_root_is_found_from_any_path_below_and_by_links(place: Place, tmp_path: Path) -> None:
    volume = place.root / "volumes/data/_data"
    link = tmp_path / "link"
    link.symlink_to(place.root)
    for path in (volume / "x", link / "volumes/data", place.root, place.home / place.orphan):
        found, there = root_of(str(path))
        assert os.path.realpath(found.path) == os.path.realpath(place.root)
        look_up(found, there)
    into = tmp_path / "into"
    into.symlink_to(volume)
    assert root_of(str(into))[1] == str(volume)
    with pytest.raises(NotFoundError, match="lies in no Docker data root"):
        root_of(str(tmp_path / "elsewhere"))
    # What a container makes is no root of ours, however it looks.
    (volume / "image/overlay2/layerdb").mkdir(parents=True)
    assert root_of(str(volume / "overlay2/x"))[0].path == str(place.root)
    # But dockerd's own for remapped users is.
    inner = place.root / "100000.100000"
    (inner / "image/vfs/layerdb").mkdir(parents=True)
    assert root_of(str(inner / "vfs/dir/x"))[0].path == str(inner)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_folder_that_hides_a_root_is_named() -> None:
    with tempfile.TemporaryDirectory(prefix="layerview-whose-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        shut = Path(place) / "shut"
        (shut / "root/image/vfs/layerdb").mkdir(parents=True)
        shut.chmod(0o700)
        os.seteuid(65534)
        try:
            for path in (shut, shut / "root", shut / "root/vfs/dir"):
                with pytest.raises(NotFoundError, match=f"{shut} may only .* its owner; use sudo"):
                    root_of(str(path))
        finally:
            os.seteuid(0)


def test_a_path_is_taken_from_where_one_is(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the storage area is, and whether there is one."""
    run = Command(capsys)
    monkeypatch.setenv("LAYERVIEW_ROOT", str(place.root.parent / "none"))
    for at in (place.root, place.home, place.home / place.orphan):
        monkeypatch.chdir(at)
        for word in (os.path.relpath(place.home / place.orphan / "diff"), "."):
            found = run.json("whose", word)
            assert (found["query"], found["root"]) == (word, str(place.root))
        assert found["kind"] == ("orphan" if at.name == place.orphan else "metadata")
    monkeypatch.chdir(place.home)
    assert run.json("whose", place.orphan)["kind"] == "orphan"
    assert run.json("whose", f"{place.orphan}/none")["kind"] == "orphan"
    assert "no storage area" in run("whose", "box").errors
    for at in (place.root, place.root.parent):
        monkeypatch.chdir(at)
        words = ("volumes/data", "--type", "path", "--root", place.root)
        assert run.json("whose", *words)["kind"] == "volume"
    assert "does not lie in" in run("whose", "/etc", "--root", place.root).errors


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_any_path_below_a_root_is_something(place: Place, words: list[str]) -> None:
    found = look_up(place.data, os.path.join(str(place.root), *words))
    assert found.path == str(place.root) or found.path.startswith(f"{place.root}/")
    try:
        answer = place.path("/".join([str(place.root), *words]))
    except NotFoundError:
        return
    assert answer.path == found.path or answer.kind == "layer"


def test_the_command_says_it_for_programs_and_for_people(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Command(capsys)
    path = place.home / place.orphan / "diff"
    found = run.json("whose", path)
    assert found["query"] == str(path)
    assert {key: found[key] for key in ("kind", "cache_id", "orphan", "images", "root")} == {
        "kind": "orphan",
        "cache_id": place.orphan,
        "orphan": True,
        "images": [],
        "root": str(place.root),
    }
    assert found["bytes"] == place.account().of("orphan")[0].bytes
    monkeypatch.setenv("LAYERVIEW_ROOT", str(place.root))
    assert run.json("whose", "box")["kind"] == "container"
    assert "for an engine's data root" in run("whose", "none").errors
    found = run.json("whose", "box", "--root", place.root)
    assert found["containers"] == [{"id": place.box.id, "name": "box"}]
    image_id = areas.names(place.root, place.driver)["a:1"]
    assert found["images"] == [{"reference": "a:1", "image_id": image_id, "layer": None}]
    layer = run.json("whose", "base:1", "--root", place.root)["places"][0]
    assert run.json("whose", layer["path"])["images"][0]["layer"] == 0
    monkeypatch.chdir(place.home)
    assert run.json("whose", f"{place.orphan}/diff", "--root", place.root)["kind"] == "orphan"
    answer = run("whose", place.orphan, "--root", place.root)
    assert (answer.status, answer.errors) == (0, "")
    assert "an orphan" in answer.out
    assert "layerview usage" in answer.out
    for words, status in (
        (["none", "--root", place.root], 1),
        (["/none"], 1),
        ([""], 2),
        (["box", "--type", "colour"], 2),
    ):
        answer = run("whose", *words)
        assert (answer.status, answer.out, answer.errors.count("\n")) == (status, "", 1)


def test_names_that_are_no_text_survive(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"\xff\x1b[31m")
    folder = place.home / place.orphan / "diff" / name
    folder.mkdir()
    run = Command(capsys)
    found = run.json("whose", os.fspath(folder / "x"))
    assert found["kind"] == "orphan"
    (place.root / "volumes" / name).mkdir(parents=True)
    found = json.loads(run("whose", place.root / "volumes" / name, "--json").out)
    assert found["path_bytes"]
    assert "\x1b" not in run("whose", place.root / "volumes" / name).out
