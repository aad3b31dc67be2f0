"""On a full disk nothing is half made, and all can be removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerview.errors import LayerviewError
from layerview.store.area import Area
from layerview.store.container_files import volume_point
from layerview.store.volumes import Volumes, listed
from tests.support import archives, areas, containers
from tests.support.areas import BASE, TOP
from tests.support.commands import Command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=2000", "none", folder]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def only(place: Path, inodes: int) -> Iterator[None]:
    """Leave room for so many more files and folders."""
    found = os.statvfs(place)
    most = found.f_files - found.f_ffree + inodes
    subprocess.run(["mount", "-o", f"remount,nr_inodes={most}", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,nr_inodes=2000", place], check=True)


@pytest.fixture(params=["vfs", "overlay2"])
def area(
    request: pytest.FixtureRequest,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Area:
    root = place / "area"
    monkeypatch.setenv("LAYERVIEW_ROOT", str(root))
    monkeypatch.setenv("LAYERVIEW_DRIVER", request.param)
    spec = archives.image(BASE, TOP, tags=["a:1"])
    assert Command(capsys)("load", archives.docker_archive(tmp_path / "a.tar", spec)).status == 0
    return Area.open(str(root))


def contents(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")} - {"volumes", "containers"}


def test_a_container_is_made_whole_or_not_at_all(place: Path, area: Area) -> None:
    root = place / "area"
    points = {"/v": volume_point(str(root), "data", "/v", asked=True)}
    containers.created(root, "a:1", "first")
    with area.writing() as writing:
        writing.remove_container(area.data.container("first").id)
    before = contents(root)
    said: list[str] = []
    for inodes in range(60):
        try:
            with only(place, inodes):
                made = containers.created(root, "a:1", "steady", mount_points=points)
            break
        except LayerviewError as error:
            said.append(str(error))
        assert contents(root) == before, inodes
        assert areas.wrong(root) == [], inodes
    assert len(said) > 10
    assert [each for each in said if "no room left" not in each] == []
    assert area.data.container("steady").id == made.id
    assert areas.wrong(root) == []


def test_containers_and_volumes_can_be_removed(place: Path, area: Area) -> None:
    root = place / "area"
    points = {"/v": volume_point(str(root), "a" * 64, "/v", asked=False)}
    id = containers.created(root, "a:1", "steady", mount_points=points).id
    with area.writing() as writing:
        Volumes(writing).create("data")
    with only(place, 0), area.writing() as writing:
        with pytest.raises(LayerviewError, match="no room left"):
            Volumes(writing).create("more")
        assert writing.remove_container(id, volumes=True) == ["a" * 64]
        Volumes(writing).remove("data")
    assert listed(area.data) == []
    assert containers.of(root) == set()
    assert areas.wrong(root) == []
