"""A real engine takes the mounts that layerview takes, and refuses those that it refuses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.test_mount_words import MOUNTS, NO_MOUNTS, NO_VOLUMES, VOLUMES
from tests.support import archives, tars
from tests.support.dockerd import DOCKER, Dockerd

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
]

OURS_ALONE = {
    *("", ":", ":/data", "/", "//"),  # the engine creates what it can't start, or means something
    "keep",  # likewise: a volume of no name on a path that is none
    "/srv/a:/data:rshared",
    "/srv/a\0:/data",  # no word of a call
    "type=bind,source=/srv,target=/data,bind-propagation=rshared",
    "target=/data,volume-opt=o=bind",
    "target=/data,volume-label=a=b",
    "type=tmpfs,target=/data,tmpfs-size=1m",
}
"""What layerview refuses and the engine does not."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    folder = tmp_path_factory.mktemp("image")
    spec = archives.image(tars.layer(tars.folder("bin")), tags=["t:1"], config={"Cmd": ["x"]})
    with Dockerd("vfs") as made:
        made.docker("load", "-i", archives.docker_archive(folder / "t.tar", spec))
        yield made


def takes(engine: Dockerd, option: str, text: str, folder: Path) -> bool:
    for name in ("a", "a,b", "ä b,c"):
        (folder / name).mkdir()
    words = [DOCKER, "create", "--network", "none", option, text.replace("/srv", str(folder))]
    done = subprocess.run(
        [*words, "t:1"], env=engine.env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode in (0, 1, 125), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("text", VOLUMES)
def test_v_is_taken(engine: Dockerd, tmp_path: Path, text: str) -> None:
    assert takes(engine, "-v", text, tmp_path)


@pytest.mark.parametrize("text", [text for text in NO_VOLUMES if text not in OURS_ALONE])
def test_v_is_refused(engine: Dockerd, tmp_path: Path, text: str) -> None:
    assert not takes(engine, "-v", text, tmp_path)


@pytest.mark.parametrize("text", MOUNTS)
def test_mount_is_taken(engine: Dockerd, tmp_path: Path, text: str) -> None:
    assert takes(engine, "--mount", text, tmp_path)


@pytest.mark.parametrize("text", [text for text in NO_MOUNTS if text not in OURS_ALONE])
def test_mount_is_refused(engine: Dockerd, tmp_path: Path, text: str) -> None:
    assert not takes(engine, "--mount", text, tmp_path)
