"""Overlays by each way that there is to mount them, seen through the kernel's own table."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from layerview.drivers import mounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

Way = Callable[..., None]
WAYS: list[Way] = [mounts.mount_by_descriptors, mounts.mount_by_short_names]


@pytest.fixture
def area(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    left = mounts.mount_points(os.path.realpath(tmp_path))
    for place in left:
        subprocess.run(["umount", "-l", place], check=False)
    assert not left


def layers(folder: Path, count: int) -> Sequence[str]:
    """Make layers `0` (the base) and up, each with a file of its own and one that all have."""
    for number in range(count):
        layer = folder / str(number)
        layer.mkdir(parents=True)
        (layer / f"own-{number}").write_text(str(number))
        (layer / "common").write_text(str(number))
    for name in ("upper", "work", "merged"):
        (folder / name).mkdir()
    return [str(number) for number in reversed(range(count))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["plain", "colon:comma,back\\slash", "blank and ü"])
def test_each_way_shows_the_layers_whatever_the_folder_is_called(
    way: Way, name: str, area: Path
) -> None:
    home = area / name
    lowers = layers(home, 3)
    way(str(home), lowers, "upper", "work", "merged", ["index=off"])
    try:
        assert (home / "merged/common").read_text() == "2"
        assert sorted(os.listdir(home / "merged")) == ["common", "own-0", "own-1", "own-2"]
        (home / "merged/new").write_text("new")
        (home / "merged/own-0").unlink()
        assert (home / "upper/new").read_text() == "new"
        assert os.lstat(home / "upper/own-0").st_rdev == 0
        assert mounts.mount_points(os.path.realpath(home)) == [str(home / "merged")]
        assert os.getcwd() != str(home)
    finally:
        assert mounts.detach(str(home / "merged"))
    assert not mounts.detach(str(home / "merged"))


@pytest.mark.parametrize("name", ["plain", "colon:comma,back\\slash"])
@pytest.mark.parametrize("count", [2, 128, 400])
def test_any_number_of_layers_below_long_names(name: str, count: int, area: Path) -> None:
    home = area / ("n" * 100) / name
    lowers = layers(home, count)
    mounts.mount_overlay(str(home), lowers, "upper", "work", "merged")
    try:
        assert (home / "merged/common").read_text() == str(count - 1)
        assert len(os.listdir(home / "merged")) == count + 1
    finally:
        mounts.detach(str(home / "merged"))


def test_a_kernel_without_the_new_calls_takes_short_names(
    area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise OSError(38, "not there")

    home = area / ("n" * 200)
    lowers = layers(home, 120)
    monkeypatch.setattr(mounts, "mount_by_descriptors", missing)
    mounts.mount_overlay(str(home), lowers, None, None, "merged")
    try:
        assert (home / "merged/common").read_text() == "119"
        with pytest.raises(OSError, match="Read-only"):
            (home / "merged/new").write_text("")
    finally:
        mounts.detach(str(home / "merged"))


def test_more_layers_than_the_kernel_takes_is_an_error(area: Path) -> None:
    home = area / "home"
    lowers = layers(home, mounts.MAX_LOWERS + 1)
    with pytest.raises(OSError):  # noqa: PT011
        mounts.mount_overlay(str(home), lowers, "upper", "work", "merged")
    mounts.mount_overlay(str(home), lowers[1:], "upper", "work", "merged")
    assert mounts.detach(str(home / "merged"))


def test_mount_points_tell_names_apart(area: Path) -> None:
    for name in ("a", "a b", "a\\b", "ab"):
        (area / name).mkdir()
    for name in ("a b", "a\\b"):
        mounts.mount("none", str(area / name), "tmpfs")
    base = os.path.realpath(area)
    assert mounts.mount_points(f"{base}/a") == []
    assert mounts.mount_points(f"{base}/a b") == [f"{base}/a b"]
    assert sorted(mounts.mount_points(base)) == [f"{base}/a b", f"{base}/a\\b"]
    assert (
        shutil.which("findmnt") is None
        or subprocess.run(["findmnt", "-rn", f"{base}/a b"], check=False).returncode == 0
    )
    for name in ("a b", "a\\b"):
        assert mounts.detach(str(area / name))


def test_a_file_of_the_folder_above_is_not_unmounted_through_a_link(area: Path) -> None:
    (area / "real").mkdir()
    mounts.mount("none", str(area / "real"), "tmpfs")
    (area / "link").symlink_to("real")
    assert not mounts.detach(str(area / "link"))
    assert mounts.detach(str(area / "real"))
