"""What images that share layers take on the disk: the shared bytes once, as `du` counts them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import archives, tars
from tests.support.commands import Command
from tests.support.disks import disk, free

MIB = 1 << 20
BASE = [
    tars.layer(tars.folder("b"), tars.file("b/one", os.urandom(8 * MIB))),
    tars.layer(tars.folder("b"), tars.file("b/two", os.urandom(4 * MIB))),
]
SHARED, OWN = 12 * MIB, MIB
SLACK = 512 * 1024
"""Records, folders and the file system's own blocks."""


@pytest.fixture
def apart(tmp_path: Path) -> tuple[Path, Path]:
    """Two archives that know nothing of each other, in two formats, and share their base."""
    one = archives.image(
        *BASE,
        tars.layer(tars.file("own1", os.urandom(OWN))),
        tags=["one:1"],
        history=["a", "b", "c"],
    )
    two = archives.image(
        *BASE, tars.layer(tars.file("own2", os.urandom(OWN))), tags=["two:1"], compression="gzip"
    )
    return (
        archives.docker_archive(tmp_path / "one.tar", one),
        archives.oci_archive(tmp_path / "two.tar", two),
    )


def du(root: Path) -> int:
    """What `du` prints, in bytes: each inode's blocks once."""
    done = subprocess.run(["du", "-s", "-k", str(root)], check=True, capture_output=True, text=True)
    found = int(done.stdout.split()[0]) * 1024
    seen: dict[tuple[int, int], int] = {}
    for at, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            state = os.lstat(os.path.join(at, name))
            seen[state.st_dev, state.st_ino] = state.st_blocks * 512
    assert abs(sum(seen.values()) - found) <= 1024
    return found


def load(run: Command, root: Path, driver: str, *files: Path) -> None:
    for file in files:
        answer = run("load", "-i", file, "--root", root, "--driver", driver)
        assert answer.status == 0, answer


@pytest.mark.skipif(os.geteuid() != 0, reason="overlays need root")
def test_overlay2_has_shared_layers_once(
    apart: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, root = Command(capsys), tmp_path / "area"
    load(run, root, "overlay2", apart[0])
    first = du(root)
    assert SHARED + OWN <= first < SHARED + OWN + SLACK
    load(run, root, "overlay2", apart[1])
    assert OWN <= du(root) - first < OWN + SLACK
    assert run.json("df", "--root", root)["images"]["size"] == SHARED + 2 * OWN
    assert run("rmi", "two:1", "--root", root).status == 0
    assert abs(du(root) - first) < SLACK


def test_vfs_has_a_full_tree_for_each_layer_and_still_each_layer_once(
    apart: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By design vfs has whole copies, in Docker as well: a layer's tree is all below it, too.

    So an image takes 8 + 12 + 13 MiB here; the second one adds but its own top tree of 13.
    """
    run, root = Command(capsys), tmp_path / "area"
    load(run, root, "vfs", apart[0])
    first, tree = du(root), SHARED + OWN
    assert 8 * MIB + SHARED + tree <= first < 8 * MIB + SHARED + tree + SLACK
    load(run, root, "vfs", apart[1])
    assert tree <= du(root) - first < tree + SLACK
    assert run.json("df", "--root", root)["images"]["size"] == SHARED + 2 * OWN


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_vfs_shares_blocks_where_the_file_system_can(
    kind: str, apart: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There `du` still counts each copy, for it sees inodes; what is free tells the truth."""
    run = Command(capsys)
    with disk(kind, tmp_path) as place:
        before, root = free(place), place / "area"
        load(run, root, "vfs", apart[0])
        first = before - free(place)
        assert SHARED + OWN <= first < SHARED + OWN + 6 * MIB
        load(run, root, "vfs", apart[1])
        assert OWN <= before - free(place) - first < OWN + 3 * MIB
        assert du(root) > 3 * SHARED
