"""Loading: every form in, byte for byte; what is damaged leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.oci.digest import Digest, chain_ids
from tests.support import archives, areas, tars
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

FORMS = {
    "docker": (archives.docker_archive, "none"),
    "docker 25": (archives.docker25_archive, "none"),
    "oci layout": (archives.oci_layout, "none"),
    "oci archive": (archives.oci_archive, "none"),
    "oci gzip": (archives.oci_archive, "gzip"),
    "oci zstd": (archives.oci_archive, "zstd"),
    "docker xz": (archives.docker_archive, "xz"),
}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    return Command(capsys)


def diff_ids(*layers: bytes) -> list[str]:
    return [archives.sha256(layer) for layer in layers]


def chains(*layers: bytes) -> list[str]:
    return [str(each) for each in chain_ids(map(Digest.parse, diff_ids(*layers)))]


@pytest.mark.parametrize("form", FORMS)
def test_every_form(run: Command, tmp_path: Path, form: str) -> None:
    write, compression = FORMS[form]
    spec = archives.image(BASE, TOP, tags=["some/thing:1"], compression=compression)
    path = write(tmp_path / "image", spec)
    inspected = run.json("inspect", path)
    (line,) = run.lines("load", "-i", path)
    assert line == {
        "image_id": inspected["image_id"],
        "references": ["some/thing:1"],
        "layers": [{"diff_id": each, "existed": False} for each in diff_ids(BASE, TOP)],
        "driver": "vfs",
    }
    root = tmp_path / "area"
    assert areas.names(root) == {"some/thing:1": line["image_id"]}
    assert areas.images(root) == {line["image_id"]}
    assert areas.layers(root) == set(chains(BASE, TOP))
    config = root / "image/vfs/imagedb/content/sha256" / line["image_id"][7:]
    assert archives.sha256(config.read_bytes()) == line["image_id"]
    records = root / "image/vfs/layerdb/sha256"
    base, top = (records / each[7:] for each in chains(BASE, TOP))
    assert (base / "diff").read_text() == diff_ids(BASE)[0]
    assert (top / "parent").read_text() == f"sha256:{base.name}"
    assert not (base / "parent").exists()
    assert {path.name for path in top.iterdir()} == {
        *("diff", "size", "cache-id", "parent", "tar-split.json.gz")
    }
    ids = {(record / "cache-id").read_text() for record in (base, top)}
    assert ids == areas.folders(root)
    assert not ids & {base.name, top.name, *(each[7:] for each in diff_ids(BASE, TOP))}
    merged = root / "vfs/dir" / (top / "cache-id").read_text()
    assert (merged / "new").read_bytes() == b"n"
    assert not (merged / "d/f").exists()
    assert (merged / "h").read_bytes() == b"k" * 1000
    assert areas.wrong(root) == []


def test_what_it_says_to_people(run: Command, tmp_path: Path) -> None:
    named = archives.docker_archive(tmp_path / "a", archives.image(BASE, tags=["a:1", "b:2"]))
    bare = archives.docker_archive(tmp_path / "b", archives.image(TOP, tags=[]))
    assert run("load", "-i", named).out == "Loaded image: a:1\nLoaded image: b:2\n"
    assert run("load", bare).out.startswith("Loaded image ID: sha256:")
    assert run("load", "-q", named).out == "a:1\nb:2\n"
    other = archives.docker_archive(tmp_path / "c", archives.image(TOP, tags=["a:1"]))
    answer = run("load", other)
    assert (answer.status, answer.out) == (0, "Loaded image: a:1\n")
    assert "a:1 was the name of image" in answer.errors


def test_all_images_of_a_file_are_loaded(run: Command, tmp_path: Path) -> None:
    two = (archives.image(BASE, tags=["a:1"]), archives.image(BASE, TOP, tags=["b:1"]))
    for number, write in enumerate((archives.docker_archive, archives.oci_archive)):
        path = write(tmp_path / str(number), *two)
        lines = run.lines("load", path)
        assert [line["references"] for line in lines] == [["a:1"], ["b:1"]]
        assert [layer["existed"] for layer in lines[1]["layers"]] == [True, number == 1]
    answer = run("load", path, "--tag", "x:1")
    assert answer.status == 2


@pytest.mark.parametrize("outer", ["none", "gzip", "zstd"])
def test_standard_input(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str
) -> None:
    two = (archives.image(BASE, tags=["a:1"]), archives.image(BASE, TOP, tags=["b:1"]))
    path = archives.docker_archive(tmp_path / "a", *two, outer=outer)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert [line["references"] for line in run.lines("load")] == [["a:1"], ["b:1"]]


def test_a_layer_that_is_there_is_not_read(run: Command, tmp_path: Path) -> None:
    good = archives.docker_archive(tmp_path / "a", archives.image(BASE, TOP, tags=["a:1"]))
    assert run("load", good).status == 0
    before = areas.folders(tmp_path / "area")
    spoilt = archives.Layer(tar=BASE, stored=b"no tar at all" * 100)
    path = archives.docker_archive(tmp_path / "b", archives.image(spoilt, TOP, tags=["b:1"]))
    (line,) = run.lines("load", path)
    assert all(layer["existed"] for layer in line["layers"])
    answer = run("load", path, "--verify")
    assert answer.status == 1
    assert "layer 1 of 2 is damaged" in answer.errors
    assert areas.folders(tmp_path / "area") == before


def test_the_same_layer_twice_in_one_image(run: Command, tmp_path: Path) -> None:
    path = archives.docker_archive(tmp_path / "a", archives.image(BASE, TOP, TOP, tags=["a:1"]))
    assert run("load", path).status == 0
    assert areas.layers(tmp_path / "area") == set(chains(BASE, TOP, TOP))
    assert areas.wrong(tmp_path / "area") == []


def test_shared_layers_lie_there_once(run: Command, tmp_path: Path) -> None:
    big = tars.layer(tars.file("big", os.urandom(3_000_000)))
    for number in range(3):
        top = tars.layer(tars.file("n", str(number)))
        spec = archives.image(big, top, tags=[f"a:{number}"])
        assert run("load", archives.docker_archive(tmp_path / str(number), spec)).status == 0
    words = ["du", "-sb", str(tmp_path / "area/vfs")]
    used = int(subprocess.check_output(words).split()[0])
    # vfs copies a tree for each layer; the shared one is there for itself and below each top.
    assert used < 4 * 3_000_000 + 200_000
    assert len(areas.layers(tmp_path / "area")) == 4


def test_a_root_file_system(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(BASE)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    (line,) = run.lines("load", path, "--tag", "root:1")
    assert line["references"] == ["root:1"]
    assert [layer["diff_id"] for layer in line["layers"]] == diff_ids(BASE)
    assert run.lines("load", path)[0]["image_id"] == line["image_id"]
    config = json.loads(
        (tmp_path / "area/image/vfs/imagedb/content/sha256" / line["image_id"][7:]).read_bytes()
    )
    assert config["created"] == "2020-09-13T12:26:40Z"
    assert config["rootfs"]["diff_ids"] == diff_ids(BASE)
    assert areas.wrong(tmp_path / "area") == []


def test_a_folder(run: Command, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    assert run.lines("load", folder, "--tag", "folder:1")[0]["references"] == ["folder:1"]
    (cache_id,) = areas.folders(tmp_path / "area")
    found = tmp_path / "area/vfs/dir" / cache_id / "etc/hosts"
    assert found.read_text() == "127.0.0.1 localhost\n"
    assert areas.wrong(tmp_path / "area") == []


def test_a_bare_tag_is_no_name(run: Command, tmp_path: Path) -> None:
    path = archives.oci_archive(tmp_path / "a", archives.image(BASE, tags=["latest"]))
    answer = run("load", path)
    assert answer.out.startswith("Loaded image ID: ")
    assert "--tag" in answer.errors
    assert run("load", path, "-t", "a").out == "Loaded image: a:latest\n"


def damaged() -> dict[str, archives.Image]:
    other = archives.sha256(b"another")
    packed = archives.compress(TOP, "gzip")
    return {
        "a layer with another DiffID": archives.image(BASE, archives.Layer(tar=TOP, diff_id=other)),
        "a layer that is not here": archives.image(BASE, archives.Layer(tar=TOP, present=False)),
        "a layer that was cut off": archives.image(
            BASE, archives.Layer(tar=TOP, stored=TOP[: len(TOP) // 2])
        ),
        "a packed layer that was cut off": archives.image(
            BASE, archives.Layer(tar=TOP, compression="gzip", stored=packed[:-20])
        ),
        "a packed layer with a flipped bit": archives.image(
            BASE,
            archives.Layer(
                tar=TOP,
                compression="gzip",
                stored=packed[:60] + bytes([packed[60] ^ 4]) + packed[61:],
            ),
        ),
        "a packed layer with another digest": archives.image(
            BASE, archives.Layer(tar=TOP, compression="gzip", digest=other)
        ),
    }


@pytest.mark.parametrize("what", damaged())
@pytest.mark.parametrize("driver", ["vfs", "overlay2"])
def test_what_is_damaged_leaves_nothing(
    run: Command, tmp_path: Path, what: str, driver: str
) -> None:
    if driver == "overlay2" and os.geteuid() != 0:
        pytest.skip("overlays need root")
    path = archives.oci_archive(tmp_path / "image", damaged()[what])
    answer = run("load", path, "--driver", driver)
    assert (answer.status, answer.out) == (1, "")
    assert answer.errors.startswith("layerview: ")
    assert answer.errors.count("\n") == 1
    assert "layer 2 of 2" in answer.errors
    root = tmp_path / "area"
    assert areas.is_bare(root)
    assert areas.wrong(root) == []
    # What shares a layer with it can be loaded all the same.
    good = archives.docker_archive(tmp_path / "good", archives.image(BASE, tags=["a:1"]))
    assert run("load", good, "--driver", driver).status == 0


def test_what_was_there_before_stays_when_a_load_fails(run: Command, tmp_path: Path) -> None:
    root = tmp_path / "area"
    good = archives.docker_archive(tmp_path / "good", archives.image(BASE, tags=["a:1"]))
    run("load", good)
    before = areas.names(root), areas.images(root), areas.layers(root), areas.folders(root)
    for spec in damaged().values():
        assert run("load", archives.oci_archive(tmp_path / "bad", spec)).status == 1
        after = areas.names(root), areas.images(root), areas.layers(root), areas.folders(root)
        assert after == before


def test_a_config_that_lies_is_refused(run: Command, tmp_path: Path) -> None:
    members = archives.docker_members(archives.image(BASE, tags=["a:1"]))
    (name,) = [name for name in members if name.endswith(".json") and len(name) > 64]
    data = members[name]
    assert isinstance(data, bytes)
    members[name] = data.replace(b"linux", b"Linux")
    answer = run("load", archives.write_tar(tmp_path / "a", members))
    assert answer.status == 1
    assert "config" in answer.errors
    assert areas.is_bare(tmp_path / "area")


def test_as_many_layers_as_docker_takes(run: Command, tmp_path: Path) -> None:
    layers = [tars.layer(tars.file("n", str(number))) for number in range(126)]
    most = archives.docker_archive(tmp_path / "a", archives.image(*layers[:125], tags=["a:1"]))
    assert run("load", most).status == 0
    more = archives.docker_archive(tmp_path / "b", archives.image(*layers, tags=["b:1"]))
    answer = run("load", more)
    assert (answer.status, "126 layers" in answer.errors) == (1, True)


def test_hostile_names_stay_in_the_file(run: Command, tmp_path: Path) -> None:
    spec = archives.image(BASE, tags=["../../x:1", "UPPER:1", "ok:1", "a\x1b[31m:1"])
    answer = run("load", archives.docker_archive(tmp_path / "a", spec))
    assert (answer.status, answer.out) == (0, "Loaded image: ok:1\n")
    assert "\x1b" not in answer.errors
    assert set(areas.names(tmp_path / "area")) == {"ok:1"}


# Several at once -----------------------------------------------------------------------------


def command(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "layerview", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def without_waiting(errors: bytes) -> list[bytes]:
    """Return what was said but for that one had to wait for the other: disks may be slow."""
    return [line for line in errors.splitlines() if b": waiting for process " not in line]


def test_two_loads_at_once(run: Command, tmp_path: Path) -> None:
    shared = tars.layer(tars.file("shared", os.urandom(2_000_000)))
    paths = []
    for number in range(3):
        spec = archives.image(shared, TOP, tags=[f"a:{number % 2}"])
        paths.append(archives.docker_archive(tmp_path / str(number), spec))
    started = [command("load", "-i", path) for path in paths]
    for each in started:
        out, errors = each.communicate(timeout=60)
        assert (each.returncode, without_waiting(errors)) == (0, []), out
    root = tmp_path / "area"
    assert set(areas.names(root)) == {"a:0", "a:1"}
    assert areas.layers(root) == set(chains(shared, TOP))
    assert len(areas.folders(root)) == 2
    assert areas.wrong(root) == []


def test_a_load_and_removals_at_once(run: Command, tmp_path: Path) -> None:
    """An image that shares its layers goes while they are counted on."""
    shared = [tars.layer(tars.file(f"f{number}", os.urandom(100_000))) for number in range(4)]
    old = archives.docker_archive(tmp_path / "old", archives.image(*shared, tags=["old:1"]))
    new = archives.docker_archive(tmp_path / "new", archives.image(*shared, TOP, tags=["new:1"]))
    root = tmp_path / "area"
    for _ in range(4):
        assert run("load", old).status == 0
        started = [command("load", "-i", new), command("rmi", "old:1")]
        for each in started:
            _, errors = each.communicate(timeout=60)
            assert (each.returncode, without_waiting(errors)) == (0, [])
        assert set(areas.names(root)) == {"new:1"}
        assert areas.layers(root) == set(chains(*shared, TOP))
        assert areas.wrong(root) == []
        assert run("rmi", "new:1").status == 0
        assert areas.is_bare(root)


def test_a_load_that_was_killed_is_undone_by_the_next_command(run: Command, tmp_path: Path) -> None:
    root = tmp_path / "area"
    assert run("load", archives.docker_archive(tmp_path / "k", archives.image(TOP, tags=["k:1"])))
    kept = areas.layers(root)
    os.mkfifo(tmp_path / "pipe")
    spec = archives.image(BASE, tars.layer(tars.file("big", os.urandom(30_000_000))), tags=["a:1"])
    path = archives.docker_archive(tmp_path / "a", spec)
    started = command("load", "-i", path)
    end = time.monotonic() + 30
    while len(areas.folders(root)) < 3 and time.monotonic() < end:
        time.sleep(0.001)
    started.kill()
    started.communicate()
    assert len(areas.folders(root)) == 3
    assert areas.wrong(root) == []
    answer = run("tag", "k:1", "other:1")
    assert answer.status == 0
    assert areas.layers(root) == kept
    assert len(areas.folders(root)) == 1
    assert run("load", path).status == 0
    assert areas.wrong(root) == []


# A full disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", place], check=False)
    if done.returncode:
        pytest.skip("nothing may be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("driver", ["vfs", "overlay2"])
def test_a_full_disk(run: Command, tmp_path: Path, small_disk: Path, driver: str) -> None:
    root = small_disk / "area"
    words = ("--root", root, "--driver", driver)
    small = archives.docker_archive(tmp_path / "small", archives.image(BASE, tags=["a:1"]))
    assert run("load", small, *words).status == 0
    before = areas.layers(root, driver), areas.folders(root, driver)
    big = [tars.layer(tars.file(f"f{number}", os.urandom(1_200_000))) for number in range(3)]
    path = archives.docker_archive(tmp_path / "big", archives.image(BASE, *big, tags=["b:1"]))
    answer = run("load", path, *words)
    assert (answer.status, answer.out) == (1, "")
    assert answer.errors.count("\n") == 1
    assert "no room" in answer.errors
    assert "disk" in answer.errors
    assert (areas.layers(root, driver), areas.folders(root, driver)) == before
    assert set(areas.names(root, driver)) == {"a:1"}
    assert areas.wrong(root) == []
    assert run("rmi", "a:1", "--root", root).status == 0
    assert areas.is_bare(root)


def test_the_tar_is_hashed_by_what_is_unpacked() -> None:
    """The oracle of this file: a layer's DiffID is the sha256 of its tar."""
    assert diff_ids(BASE) == ["sha256:" + hashlib.sha256(BASE).hexdigest()]


def saved_with_parent(path: Path, *images: archives.Image, parent: str) -> Path:
    """An archive whose last image names the one that it was built on."""
    members = archives.docker_members(*images)
    manifest = json.loads(members["manifest.json"])
    manifest[-1]["Parent"] = parent
    return archives.write_tar(path, {**members, "manifest.json": json.dumps(manifest).encode()})


def history(run: Command, name: object) -> list[str]:
    """The first column of `history`: which image each step made."""
    return [line.split()[0] for line in run("history", name).out.splitlines()[1:]]


def test_what_an_image_was_built_on_is_kept(run: Command, tmp_path: Path) -> None:
    base = archives.image(BASE, tags=["base:1"])
    child = archives.image(BASE, TOP, tags=["child:1"])
    path = saved_with_parent(tmp_path / "both.tar", base, child, parent=base.image_id)
    run.lines("load", path)
    ids = [each.image_id.removeprefix("sha256:")[:12] for each in (child, base)]
    assert history(run, "local:child:1") == ids
    assert history(run, f"{path}:child:1") == ids
    run("save", "base:1", "child:1", "-o", tmp_path / "again.tar")
    with tarfile.open(tmp_path / "again.tar") as saved:
        file = saved.extractfile("manifest.json")
        assert file is not None
        assert [item.get("Parent") for item in json.load(file)] == [None, base.image_id]
    run("save", "child:1", "-o", tmp_path / "alone.tar")
    with tarfile.open(tmp_path / "alone.tar") as saved:
        file = saved.extractfile("manifest.json")
        assert file is not None
        assert "Parent" not in json.load(file)[0]


@pytest.mark.parametrize("parent", ["", "nonsense", "sha256:" + "0" * 64])
def test_a_parent_that_is_not_in_the_file_is_none(
    run: Command, tmp_path: Path, parent: str
) -> None:
    base = archives.image(BASE, tags=["base:1"])
    child = archives.image(BASE, TOP, tags=["child:1"])
    run.lines("load", saved_with_parent(tmp_path / "both.tar", base, child, parent=parent))
    assert history(run, "local:child:1")[1] == "<missing>"


def test_an_image_is_not_built_on_one_whose_layers_it_does_not_have(
    run: Command, tmp_path: Path
) -> None:
    other = archives.image(TOP, tags=["other:1"])
    child = archives.image(BASE, TOP, tags=["child:1"])
    run.lines("load", saved_with_parent(tmp_path / "f.tar", other, child, parent=other.image_id))
    assert history(run, "local:child:1")[1] == "<missing>"
