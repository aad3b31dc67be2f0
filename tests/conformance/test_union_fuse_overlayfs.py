"""The form on disk: what our union writes is read by fuse-overlayfs as we read it, and the reverse.

Debian's fuse-overlayfs writes and reads AUFS's whiteouts when it is told to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerview.unionfs.union import Union
from tests.unionfs import flat
from tests.unionfs.flat import Look, Seen
from tests.unionfs.random_layers import make
from tests.unionfs.work import on_folder, on_union, operations

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root"),
    pytest.mark.skipif(shutil.which("fuse-overlayfs") is None, reason="needs fuse-overlayfs"),
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse"),
]
SEEDS = range(25)


@contextmanager
def mounted(base: Path, folders: list[Path]) -> Iterator[Path]:
    """Mount branches, the top one first, by fuse-overlayfs."""
    place, work = base / "mounted", base / "work"
    for folder in (place, work):
        folder.mkdir(exist_ok=True)
    top, *below = folders
    options = f"lowerdir={':'.join(map(str, below))},upperdir={top},workdir={work}"
    environment = {**os.environ, "FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT": "1"}
    subprocess.run(
        ["fuse-overlayfs", "-o", options, place],
        check=True,
        env=environment,
        timeout=20,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True, timeout=20)


@contextmanager
def opened(folders: list[Path]) -> Iterator[Union]:
    fds = [os.open(folder, flat.FOLDER) for folder in folders]
    union = Union(fds)
    try:
        yield union
    finally:
        union.close()
        for fd in fds:
            os.close(fd)


def branches(base: Path, seed: int, *, links: bool = True) -> list[Path]:
    layers = [base / f"layer{number}" for number in range(3)]
    for number, layer in enumerate(layers):
        make(layer, seed * 10 + number, longest=False, links=links)
    (base / "top").mkdir()
    return [base / "top", *reversed(layers)]


def seen(look: Look) -> dict[bytes, Seen]:
    """Leave out attributes that fuse-overlayfs keeps for itself, and doesn't show."""
    return {
        path: each._replace(
            xattrs={name: value for name, value in each.xattrs.items() if b"overlay" not in name}
        )
        for path, each in look.seen.items()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_branches_that_the_union_wrote_read_the_same_in_fuse_overlayfs(
    tmp_path: Path, seed: int
) -> None:
    folders = branches(tmp_path, seed)
    with opened(folders) as union:
        for operation in operations(seed, 120):
            on_union(union, operation)
        ours = flat.look_union(union)
    with mounted(tmp_path, folders) as place:
        theirs = flat.look_flat(place)
    assert seen(theirs) == seen(ours)


@pytest.mark.parametrize("seed", SEEDS)
def test_branches_that_fuse_overlayfs_wrote_read_the_same_in_the_union(
    tmp_path: Path, seed: int
) -> None:
    # A copy-up breaks its links, and a mark of its own tells it later which were one file.
    folders = branches(tmp_path, seed, links=False)
    with mounted(tmp_path, folders) as place:
        for operation in operations(seed, 120):
            on_folder(os.fsencode(place), operation)
    # What it has in memory only, as which names are one file's, it does not know any more.
    with mounted(tmp_path, folders) as place:
        theirs = flat.look_flat(place)
    with opened(folders) as union:
        ours = flat.look_union(union)
    assert seen(ours) == seen(theirs)
