"""A layer as the Docker Engine keeps it, beside what layerview makes of the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerview.layer.pack import pack_folder
from layerview.layer.tar_split import open_in, read_headers, rebuild
from layerview.layer.tree_changes import folder_changes
from layerview.layer.whiteouts import Whiteouts
from tests.layer.applying import opened, unpack
from tests.layer.layers import index_of
from tests.support.dockerd import Dockerd

LAB = Path(os.environ.get("LAYERVIEW_LAB_IMAGES", ""))
DATA = LAB / "engine" / "data"
LAYERS = DATA / "image" / "overlay2" / "layerdb" / "sha256"

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine's folders are root's"),
]

NAMES = sorted(path.name for path in LAYERS.iterdir()) if LAYERS.is_dir() else []


@pytest.fixture(params=NAMES or [pytest.param("", marks=pytest.mark.skip("no lab images"))])
def layer(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A layer's entry in the layer database, and its own folder."""
    entry = LAYERS / request.param
    return entry, DATA / "overlay2" / (entry / "cache-id").read_text() / "diff"


def meaning(tar_split: bytes) -> list[tuple[Any, ...]]:
    """What the lines say: adjoining segments are one, wherever they were cut."""
    found: list[tuple[Any, ...]] = []
    for number, line in enumerate(gzip.decompress(tar_split).splitlines()):
        item = json.loads(line)
        assert item.pop("position") == number
        if item["type"] == 2:
            data = b64decode(item["payload"])
            if found and found[-1][0] == 2:
                data = found.pop()[1] + data
            found.append((2, data))
        else:
            found.append((1, sorted(item.items())))
    return found


def test_layers_come_back_from_docker_s_own_tar_split(layer: tuple[Path, Path]) -> None:
    entry, folder = layer
    with opened(folder) as fd, open(entry / "tar-split.json.gz", "rb") as tar_split:
        data = b"".join(rebuild(tar_split, open_in(fd)))
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == (entry / "diff").read_text()


def test_our_tar_split_says_what_docker_s_does(layer: tuple[Path, Path], tmp_path: Path) -> None:
    entry, folder = layer
    theirs = (entry / "tar-split.json.gz").read_bytes()
    with opened(folder) as fd, open(entry / "tar-split.json.gz", "rb") as tar_split:
        data = b"".join(rebuild(tar_split, open_in(fd)))
    ours = unpack(tmp_path / "layer", data)
    assert meaning(ours.tar_split) == meaning(theirs)
    if len((entry / "cache-id").read_text()) == 64:
        # BuildKit's layers have other IDs, and sizes without symbolic links.
        assert ours.applied.size == int((entry / "size").read_text())
    with open(entry / "tar-split.json.gz", "rb") as tar_split:
        found, wanted = read_headers(tar_split).columns, index_of(data).columns
    for name in type(wanted).__slots__:
        assert getattr(found, name) == getattr(wanted, name), name


def test_our_folder_is_docker_s(layer: tuple[Path, Path], tmp_path: Path) -> None:
    """All that a mount would show of it: packed, both are the same bytes."""
    entry, folder = layer
    with opened(folder) as fd, open(entry / "tar-split.json.gz", "rb") as tar_split:
        data = b"".join(rebuild(tar_split, open_in(fd)))
    ours = unpack(tmp_path / "layer", data)
    theirs, found = (
        index_of(b"".join(pack_folder(str(path), Whiteouts.TRUSTED)))
        for path in (folder, ours.folder)
    )
    assert list(found.walk_rows()) == list(theirs.walk_rows())
    for row, kind in enumerate(theirs.kinds[: len(theirs)]):
        path = theirs.path(row)
        assert found.kinds[row] == kind, path
        if kind == 6:
            continue
        for name in ("modes", "uids", "gids", "sizes"):
            assert getattr(found, name)[row] == getattr(theirs, name)[row], (path, name)
        assert found.mtimes[row] == theirs.mtimes[row], path
    assert (found.opaque, found.links, found.targets) == (
        theirs.opaque,
        theirs.links,
        theirs.targets,
    )
    assert found.xattrs == theirs.xattrs


@pytest.mark.skipif(not NAMES, reason="no lab images")
def test_changes_are_what_docker_diff_prints() -> None:
    with Dockerd("overlay2") as engine:
        check_changes(lambda *words: engine.docker(*words).decode())


def check_changes(run: Callable[..., str]) -> None:
    tar = LAB / "docker" / "busybox.tar"
    image = run("load", "--quiet", "--input", str(tar)).split()[-1]
    script = """
        mkdir -p /bin/new /n/m; echo > /n/m/f; rm /bin/cat; ln -s x /bin/link; chmod 700 /home
        rm -rf /etc; mkdir /etc; echo > /etc/other; mkfifo /p; touch -d @5 /n/old
        mv /bin/ls /bin/moved; cp -a /bin/sh /bin/copy; chown 7 /bin/wc; mkdir /tmp/t
    """
    container = run("create", "--network", "none", image, "sh", "-c", script).strip()
    try:
        run("start", "--attach", container)
        graph = json.loads(run("inspect", container))[0]["GraphDriver"]["Data"]
        found = folder_changes(graph["UpperDir"], graph["LowerDir"].split(":"), Whiteouts.TRUSTED)
        printed = [f"{change.kind} /{os.fsdecode(change.path)}" for change in found]
        assert sorted(printed) == sorted(run("diff", container).splitlines())
        assert "D /bin/cat" in printed
    finally:
        run("rm", "--force", container)
