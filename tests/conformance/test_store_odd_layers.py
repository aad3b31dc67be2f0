"""Layers that lean on those below them, in an area that an engine then reads.

Docker's own drivers differ on them. Its vfs unpacks over the whole tree, which is what the image
specification describes, and is the oracle here. Its overlay2 (20.10) refuses a hard link to a
file of a layer below, gives a folder that a layer does not list mode 0755, and passes over an
opaque mark in a layer's root.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerview.drivers.by_name import make_driver
from layerview.store.data_root import DataRoot
from tests.support import archives, tars
from tests.support.commands import Command
from tests.support.dockerd import Dockerd

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
]

BASE = tars.layer(
    tars.folder("d", mode=0o700, uid=1, gid=2),
    tars.file("d/f", b"f", mode=0o600),
    tars.file("g", b"g", mode=0o4755, uid=3, gid=4),
    tars.symlink("s", "g"),
)
LINKS = [
    # As tars have it, an entry of a link says what its inode has.
    tars.hardlink(name, target, mode=0o4755, uid=3, gid=4)
    for name, target in (("h", "g"), ("i", "h"))
]
IMAGES = {
    "link:1": archives.image(BASE, tars.layer(*LINKS), tags=["link:1"]),
    "implied:1": archives.image(BASE, tars.layer(tars.file("d/n", b"n")), tags=["implied:1"]),
    "opaque:1": archives.image(
        BASE,
        tars.layer(tars.opaque(), tars.file("n", b"n")),
        tars.layer(tars.file("k", b"k")),
        tags=["opaque:1"],
    ),
}
Trees = dict[str, dict[str, tuple[object, ...]]]


def exported(engine: Dockerd, name: str) -> dict[str, tuple[object, ...]]:
    """What a container of an image has, but for what the engine puts there."""
    container = engine.docker("create", name, "x").decode().strip()
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(engine.docker("export", container))) as tar:
        for member in tar:
            if member.name.split("/")[0] in ("dev", "etc", "proc", "sys", ".dockerenv"):
                continue
            first = tar.getmember(member.linkname) if member.islnk() else member
            content = tar.extractfile(first)
            said = content.read() if content is not None else first.linkname.encode()
            found[member.name.strip("/")] = (
                *(first.type, first.mode & 0o7777, first.uid, first.gid, said),
            )
    engine.docker("rm", container)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("archives")
    return {
        name: archives.docker_archive(place / f"{name[:-2]}.tar", spec)
        for name, spec in IMAGES.items()
    }


@pytest.fixture(scope="module")
def wanted(files: dict[str, Path]) -> Trees:
    with Dockerd("vfs") as engine:
        for file in files.values():
            engine.docker("load", "-q", "-i", file)
        return {name: exported(engine, name) for name in IMAGES}


@dataclass(frozen=True)
class Filled:
    """An area with the images."""

    root: Path
    driver: str

    def shown(self, name: str) -> dict[str, tuple[int, int, int]]:
        """What layerview's driver shows of an image: mode and owner by path."""
        data = DataRoot(str(self.root))
        record = data.image(name, self.driver)
        layer = data.layer(self.driver, record.chain_ids[-1])
        found = {}
        with make_driver(self.driver, str(self.root)).mounted(layer.cache_id) as place:
            for path in Path(place).rglob("*"):
                state = path.lstat()
                mode = state.st_mode & 0o7777
                found[str(path.relative_to(place))] = (mode, state.st_uid, state.st_gid)
        return found


@pytest.fixture(params=["overlay2", "vfs"])
def area(
    request: pytest.FixtureRequest,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Filled]:
    run, made = Command(capsys), Filled(tmp_path / "area", request.param)
    for file in files.values():
        answer = run("load", "-i", file, "--root", made.root, "--driver", made.driver)
        assert answer.status == 0, answer
    yield made
    answer = run("doctor", "--root", made.root)
    assert answer.status == 0, answer.out


@pytest.mark.parametrize("name", IMAGES)
def test_the_driver_shows_what_a_full_tree_has(area: Filled, wanted: Trees, name: str) -> None:
    assert area.shown(name) == {
        path: (mode, uid, gid) for path, (_, mode, uid, gid, _) in wanted[name].items()
    }


def test_an_engine_runs_and_saves_them(area: Filled, wanted: Trees) -> None:
    with Dockerd(area.driver, area.root) as engine:
        for name, spec in IMAGES.items():
            found = exported(engine, name)
            if (name, area.driver) == ("opaque:1", "overlay2"):
                # The engine's overlay2 does not obey the mark; nothing of the layers is missing.
                assert {**found, **wanted[name]} == found
            else:
                assert found == wanted[name]
            with tarfile.open(fileobj=io.BytesIO(engine.docker("save", name))) as saved:
                (item,) = json.load(saved.extractfile("manifest.json") or io.BytesIO())
                parts = [saved.extractfile(path) for path in item["Layers"]]
                digests = [hashlib.sha256(part.read()).digest() for part in parts if part]
            assert digests == [hashlib.sha256(layer.tar).digest() for layer in spec.layers]
