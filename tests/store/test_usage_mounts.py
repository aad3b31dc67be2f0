"""What is mounted below a data root is no part of it; a folder mounted on itself is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from layerview.store.data_root import DataRoot
from layerview.store.usage import account

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
]
MOUNTS = (f"overlay2/{'2' * 64}/merged", "volumes/v/_data", "plugins")


@contextmanager
def mounted(*words: object) -> Iterator[None]:
    subprocess.run(["mount", *map(str, words)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(words[-1])], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("image/vfs", f"vfs/dir/{'1' * 64}", *MOUNTS):
        (root / name).mkdir(parents=True)
    (root / "vfs/dir" / ("1" * 64) / "f").write_bytes(b"x" * 50_000)
    return root


def test_what_is_mounted_is_left_out_and_said_where_no_engine_mounts(
    root: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f").write_bytes(b"y" * 500_000)
    words = ["du", "-s", "-B1", *(f"--exclude={root / name}" for name in MOUNTS), str(root)]
    said = int(subprocess.run(words, capture_output=True, check=True).stdout.split()[0])
    with ExitStack() as stack:
        stack.enter_context(mounted("--bind", root / "vfs", root / "vfs"))
        for name in MOUNTS:
            stack.enter_context(mounted("--bind", elsewhere, root / name))
        found = account(DataRoot(str(root)))
    assert found.total_bytes == said
    sizes = {part.path: part.bytes for part in found.parts}
    assert sizes[str(root / "vfs/dir" / ("1" * 64))] > 50_000
    assert sizes[str(root / "plugins")] == 0
    expected = [root / "plugins", root / "volumes/v/_data"]
    assert sorted(found.problems) == [f"{path}: a mount, left out" for path in expected]


def test_a_drivers_home_on_another_disk_is_not_counted(root: Path) -> None:
    before = account(DataRoot(str(root)))
    with mounted("-t", "tmpfs", "none", root / "overlay2"):
        (root / "overlay2" / ("3" * 64)).mkdir()
        found = account(DataRoot(str(root)))
    home = [part for part in before.parts if part.path.startswith(str(root / "overlay2"))]
    assert found.total_bytes == before.total_bytes - sum(part.bytes for part in home)
    (part,) = (part for part in found.parts if part.path == str(root / "overlay2"))
    assert (part.kind, part.bytes) == ("other", 0)
    assert part.note == "mounted from elsewhere, and not counted"
