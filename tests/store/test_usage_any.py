"""Whatever lies in a data root, its account adds up, and only unnamed folders are orphans."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.store.account import KINDS
from layerview.store.data_root import DataRoot
from layerview.store.usage import account

IDS = ["1" * 64, "2" * 64, f"{'1' * 64}-init", "a" * 25, f"{'2' * 64}-removing"]
NAMES = [
    *IDS,
    f"{'1' * 64}-{'2' * 64}-removing",
    *("image", "overlay2", "vfs", "aufs", "dir", "diff", "layers", "mnt", "l", "layerdb", "sha256"),
    *("mounts", "tmp", "imagedb", "content", "containers", "volumes", "_data", "buildkit"),
    *("layerview", "intents", "removing", "network", "cache-id", "mount-id", "parent", "link"),
    *(f"{'1' * 64}-json.log", "config.v2.json", "repositories.json", "\udcff", "odd\n"),
]
HOMES = [("overlay2",), ("vfs", "dir"), ("aufs", "diff"), ("image", "overlay2", "layerdb")]
PATHS = st.tuples(
    st.sampled_from([(), *HOMES]), st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)
).map(lambda parts: (*parts[0], *parts[1]))
THINGS = st.sampled_from(["folder", "file", "big", "link", "again", "pipe", "named", "json"])


def make(root: Path, things: list[tuple[tuple[str, ...], str]]) -> None:
    """Make what can be made of it."""
    files: list[Path] = []
    for parts, kind in things:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir(parents=True)
            elif kind == "link":
                path.symlink_to("overlay2")
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "again" and files:
                os.link(files[-1], path)
            elif not os.path.lexists(path):
                data = {"big": b"x" * 50_000, "named": b"1" * 64, "json": b'{"a": 1}'}
                path.write_bytes(data.get(kind, b""))
                files.append(path)
        except OSError:
            continue


@given(things=st.lists(st.tuples(PATHS, THINGS), max_size=25))
@settings(max_examples=60, deadline=None)
def test_the_account_of_anything_adds_up(things: list[tuple[tuple[str, ...], str]]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        root = Path(place) / "data"
        (root / "image").mkdir(parents=True)
        make(root, things)
        found = account(DataRoot(str(root)))
        words = ["du", "-s", "-B1", str(root)]
        said = subprocess.run(words, capture_output=True, check=True).stdout
        assert found.total_bytes == int(said.split()[0])
        count = sum(1 for _ in root.rglob("*")) + 1
        assert sum(part.entries for part in found.parts) == count
        paths = [(part.path, part.kind) for part in found.parts]
        assert len(set(paths)) == len(paths)
        assert {part.kind for part in found.parts} <= set(KINDS)
        named = named_by_records(root)
        for part in found.of("orphan"):
            assert part.id.removesuffix("-removing") in IDS
            assert "container" not in named.get(part.id, set())
        for part in found.of("container_layer"):
            assert "container" in named[part.id.removesuffix("-removing")]


def named_by_records(root: Path) -> dict[str, set[str]]:
    """Return what in containers' records names each ID; no image can be right here."""
    found: dict[str, set[str]] = {}
    for path in root.glob("image/*/layerdb/*/*/*"):
        if path.name not in ("cache-id", "mount-id", "init-id") or not path.is_file():
            continue
        if any(parent.is_symlink() for parent in [path, *path.parents]):
            continue
        if path.parts[-3] == "mounts" and (root / "containers" / path.parts[-2]).exists():
            found.setdefault(path.read_text(), set()).add("container")
        else:
            found.setdefault(path.read_text(), set()).add("layer")
    return found
