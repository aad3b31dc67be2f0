"""Saving: the very bytes that were loaded, in a form that Docker, umoci and skopeo read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from layerview.cli.main import main
from layerview.errors import NotFoundError
from layerview.store.area import Area
from layerview.transfer.save import save, wanted_images
from tests.support import archives, areas, tars
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

TWICE = tars.layer(tars.file("x", b"1" * 600), tars.file("x", b"2" * 700), tars.fifo("p"))
ODD = tars.layer(
    tars.file(b"bad\xff", b"b"),
    tars.file("big", b"0123456789" * 100_000),
    tars.folder("empty"),
    form="gnu",
    end=10_240,
)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    return Command(capsys)


@pytest.fixture
def loaded(run: Command, tmp_path: Path) -> Command:
    one = archives.image(BASE, TOP, TWICE, tags=["a:1", "a:2", "b.example:5000/x:1"])
    two = archives.image(BASE, ODD, tags=["b:1"])
    assert run("load", archives.docker_archive(tmp_path / "in.tar", one, two)).status == 0
    return run


class Archive:
    """A saved archive, read by tarfile."""

    def __init__(self, data: bytes) -> None:
        self.members: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                file = tar.extractfile(member)
                self.members[member.name] = file.read() if file is not None else b""

    def json(self, name: str) -> Any:
        return json.loads(self.members[name])


def test_it_is_dockers_25_form_and_an_oci_layout(loaded: Command, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    answer = loaded("save", "a:1", "b:1", "-o", out)
    assert (answer.status, answer.out, answer.errors) == (0, "", "")
    archive = Archive(out.read_bytes())
    assert len(archive.json("manifest.json")) == 2
    blobs = {name: data for name, data in archive.members.items() if name.startswith("blobs/s")}
    assert all(
        name == "blobs/sha256" or hashlib.sha256(data).hexdigest() == name[13:]
        for name, data in blobs.items()
    )
    first, second = archive.json("manifest.json")
    assert [blobs[name] for name in first["Layers"]] == [BASE, TOP, TWICE]
    assert [blobs[name] for name in second["Layers"]] == [BASE, ODD]
    assert (first["RepoTags"], second["RepoTags"]) == (["a:1"], ["b:1"])
    names = areas.names(tmp_path / "area")
    assert f"sha256:{first['Config'][13:]}" == names["a:1"]
    source = first["LayerSources"][archives.sha256(BASE)]
    assert source == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": archives.sha256(BASE),
        "size": len(BASE),
    }
    assert archive.json("oci-layout") == {"imageLayoutVersion": "1.0.0"}
    described = archive.json("index.json")["manifests"]
    assert [each["annotations"]["io.containerd.image.name"] for each in described] == [
        "docker.io/library/a:1",
        "docker.io/library/b:1",
    ]
    for each, item in zip(described, (first, second), strict=True):
        manifest = json.loads(blobs["blobs/sha256/" + each["digest"][7:]])
        assert [layer["digest"][7:] for layer in manifest["layers"]] == [
            name[13:] for name in item["Layers"]
        ]
    assert archive.json("repositories") == {
        "a": {"1": archives.sha256(TWICE)[7:]},
        "b": {"1": archives.sha256(ODD)[7:]},
    }


def test_the_same_images_give_the_same_bytes(loaded: Command, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert loaded("save", "a:1", "b:1", "-o", tmp_path / name).status == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_packed(loaded: Command, tmp_path: Path, how: str) -> None:
    loaded("save", "a:1", "-o", tmp_path / "plain")
    assert loaded("save", "a:1", "-o", tmp_path / "packed", f"--{how}").status == 0
    packed = (tmp_path / "packed").read_bytes()
    plain = gzip.decompress(packed) if how == "gzip" else archives.zstd.decompress(packed)
    assert plain == (tmp_path / "plain").read_bytes()
    assert loaded("load", tmp_path / "packed").status == 0


def test_to_standard_output(loaded: Command, tmp_path: Path) -> None:
    loaded("save", "a:1", "-o", tmp_path / "plain")
    words = [sys.executable, "-m", "layerview", "save", "a:1"]
    assert subprocess.check_output(words) == (tmp_path / "plain").read_bytes()


def test_names_and_ids(loaded: Command, tmp_path: Path) -> None:
    def tags(*words: str) -> list[list[str] | None]:
        out = tmp_path / "out.tar"
        assert loaded("save", *words, "-o", out).status == 0
        return [item["RepoTags"] for item in Archive(out.read_bytes()).json("manifest.json")]

    image_id = areas.names(tmp_path / "area")["a:1"]
    assert tags("a") == [["a:1", "a:2"]]
    assert tags("a:1", "a:2", "a:1") == [["a:1", "a:2"]]
    assert tags("b.example:5000/x:1", "a:2") == [["b.example:5000/x:1", "a:2"]]
    assert tags(image_id) == [None]
    assert tags(image_id[7:19]) == [None]


def test_what_was_saved_loads_into_an_empty_area(loaded: Command, tmp_path: Path) -> None:
    out, other = tmp_path / "out.tar", tmp_path / "other"
    assert loaded("save", "a", "b:1", "b.example:5000/x:1", "-o", out).status == 0
    assert loaded("load", out, "--root", other).status == 0
    assert areas.names(other) == areas.names(tmp_path / "area")
    assert areas.layers(other) == areas.layers(tmp_path / "area")
    again = tmp_path / "again.tar"
    words = ("a", "b:1", "b.example:5000/x:1", "-o", again, "--root", other)
    assert loaded("save", *words).status == 0
    assert again.read_bytes() == out.read_bytes()


def test_damage_is_named_and_no_file_stays(loaded: Command, tmp_path: Path) -> None:
    (victim,) = [
        path
        for path in (tmp_path / "area/vfs/dir").glob("*/d/f")
        if (path.parent / "f").stat().st_size == 1000 and not (path.parents[1] / "big").exists()
    ]
    data = bytearray(victim.read_bytes())
    data[500] ^= 1
    victim.write_bytes(data)
    out = tmp_path / "out.tar"
    out.write_text("before")
    answer = loaded("save", "a:1", "-o", out)
    assert answer.status == 1
    assert "/d/f" in answer.errors
    assert answer.errors.count("\n") == 1
    assert out.read_text() == "before"
    assert not list(tmp_path.glob("*.part"))


def test_a_missing_tar_split_is_named(loaded: Command, tmp_path: Path) -> None:
    for path in (tmp_path / "area/image/vfs/layerdb/sha256").glob("*/tar-split.json.gz"):
        path.unlink()
    answer = loaded("save", "a:1", "-o", tmp_path / "out.tar")
    assert (answer.status, "tar-split.json.gz" in answer.errors) == (1, True)
    assert not (tmp_path / "out.tar").exists()


def test_calls_that_are_off(loaded: Command, tmp_path: Path) -> None:
    assert loaded("save").status == 2
    assert loaded("save", "a:1", "--gzip", "--zstd", "-o", tmp_path / "x").status == 2
    assert loaded("save", "none:1", "-o", tmp_path / "x").status == 1
    answer = loaded("save", "a:1", "-o", tmp_path / "no" / "x")
    assert (answer.status, answer.errors.count("\n")) == (1, 1)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.conformance
def test_umoci_and_skopeo_read_it(loaded: Command, tmp_path: Path) -> None:
    for program in ("umoci", "skopeo"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    out = tmp_path / "out.tar"
    assert loaded("save", "a:1", "b:1", "-o", out).status == 0
    layout = tmp_path / "layout"
    with tarfile.open(out) as tar:
        tar.extractall(layout, filter="data")
    inspected = subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{layout}:1"])
    assert len(json.loads(inspected)["layers"]) >= 2
    for name, count in (("a:1", 3), ("b:1", 2)):
        target = tmp_path / name.replace(":", "-")
        words = ["skopeo", "copy", "-q", f"docker-archive:{out}:{name}", f"dir:{target}"]
        subprocess.run(words, check=True)
        assert len(json.loads((target / "manifest.json").read_text())["layers"]) == count
    listed = subprocess.check_output(["umoci", "list", "--layout", str(layout)])
    assert listed.split() == [b"1", b"1"]
    if os.geteuid() == 0:
        stat = subprocess.run(
            ["umoci", "stat", "--image", f"{layout}:1"], capture_output=True, text=True
        )
        assert "ambiguous" in stat.stderr or stat.returncode == 0


class Interrupted:
    """Takes an archive's bytes; before one of the pieces it does something else."""

    def __init__(self, at: int, *commands: list[str]) -> None:
        self.pieces: list[bytes] = []
        self._at = at
        self._commands = commands

    def __call__(self, data: bytes) -> None:
        if len(self.pieces) == self._at:
            for words in self._commands:
                assert main(words) == 0
        self.pieces.append(data)


def layers_of(data: bytes) -> list[bytes]:
    """The layers of an archive of one image, which must be whole."""
    archive = Archive(data)
    (item,) = archive.json("manifest.json")
    return [archive.members[name] for name in item["Layers"]]


@pytest.mark.parametrize("again", [False, True])
def test_an_image_that_is_removed_meanwhile(run: Command, tmp_path: Path, again: bool) -> None:
    """Before whichever piece it happens: a whole archive, or a line that says so."""
    root = tmp_path / "area"
    contents = [tars.layer(tars.file(f"f{n}", bytes([n]) * 200_000)) for n in range(4)]
    archive = archives.docker_archive(tmp_path / "a.tar", archives.image(*contents, tags=["a:1"]))
    other = archives.docker_archive(tmp_path / "b.tar", archives.image(contents[0], tags=["b:1"]))
    commands = [["rmi", "a:1"], *([["load", "-i", str(archive)]] if again else [])]
    ends = []
    for at in range(0, 80, 3):
        assert run("load", "-i", archive).status == 0
        assert run("load", "-i", other).status == 0
        area = Area.open(str(root))
        write = Interrupted(at, *commands)
        said = ""
        try:
            save(area.data, wanted_images(area.data, ["a:1"]), write)
        except NotFoundError as error:
            said = str(error)
        if not said:
            assert layers_of(b"".join(write.pieces)) == contents
        ends.append(said)
    assert set(ends) == {"", "a:1 was removed while it was saved"}
    assert run("doctor").status == 0


def test_save_and_rmi_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As two processes, at any moment of each other's work."""
    run, root = Command(capsys), tmp_path / "area"
    contents = [
        tars.layer(*(tars.file(f"f{n}-{m}", bytes([n]) * 5_000) for m in range(150)))
        for n in range(4)
    ]
    archive = archives.docker_archive(tmp_path / "a.tar", archives.image(*contents, tags=["a:1"]))
    out = tmp_path / "out.tar"
    ends = set()
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        assert run("load", "-i", archive, "--root", root, "--driver", "vfs").status == 0
        out.unlink(missing_ok=True)
        words = ["save", "a:1", "-o", str(out), "--root", str(root)]
        saving = subprocess.Popen(
            [sys.executable, "-m", "layerview", *words], stderr=subprocess.PIPE, text=True
        )
        time.sleep(pause)
        assert run("rmi", "a:1", "--root", root).status == 0
        said = saving.communicate(timeout=60)[1]
        ends.add(saving.returncode)
        if saving.returncode:
            assert said in (
                "layerview: a:1 was removed while it was saved\n",
                f"layerview: {root} has no image a:1\n",
            )
            assert list(tmp_path.glob("out.tar*")) == []
        else:
            assert layers_of(out.read_bytes()) == contents
        assert run("doctor", "--root", root).status == 0
    # As a rule: which ends come depends on how fast the machine is.
    assert ends <= {0, 1}
