"""What `layerview extract` makes of an engine's images is what `umoci unpack` makes, to the bit."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from layerview.cli.main import main
from tests.support.trees import Found, remove, snapshot

LAB = os.environ.get("LAYERVIEW_LAB_IMAGES", "")

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not LAB, reason="LAYERVIEW_LAB_IMAGES names no folder of lab images"),
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root"),
]

NAMES = sorted(path.name for path in (Path(LAB) / "oci").iterdir()) if LAB else ["none"]


@pytest.mark.parametrize("name", NAMES)
def test_extracted_root_is_what_umoci_unpacks(name: str, tmp_path: Path) -> None:
    layout = Path(LAB) / "oci" / name
    [manifest] = json.loads((layout / "index.json").read_text())["manifests"]
    tag = manifest["annotations"]["org.opencontainers.image.ref.name"]
    bundle, ours = tmp_path / "bundle", tmp_path / "ours"
    try:
        subprocess.run(
            ["umoci", "unpack", "--keep-dirlinks", "--image", f"{layout}:{tag}", str(bundle)],
            check=True,
            capture_output=True,
        )
        assert main(["extract", "--no-cache", str(layout), "/", str(ours)]) == 0
        expected, found = snapshot(bundle / "rootfs"), snapshot(ours)
        assert set(found) == set(expected)
        for path in expected:
            assert comparable(path, found[path]) == comparable(path, expected[path]), path
        assert inodes(found) == inodes(expected)
    finally:
        remove(bundle)
        remove(ours)


def comparable(path: bytes, found: Found) -> Found:
    """Leave out what is the disk's own, and the root's time: umoci sets it where no layer does."""
    return replace(found, inode=0, mtime=found.mtime if path else 0)


def inodes(tree: dict[bytes, Found]) -> set[tuple[bytes, ...]]:
    """The names of each file that has several."""
    names: dict[int, list[bytes]] = {}
    for path, found in tree.items():
        if stat.S_ISREG(found.kind) and found.links > 1:
            names.setdefault(found.inode, []).append(path)
    return {tuple(sorted(paths)) for paths in names.values()}
