"""`layerview usage` beside `du`, on one data root in one run: the account of a million files.

    python -m tests.benchmarks.usage [--files N] [--layers N] [--runs N] [--keep DIR]
        [--json FILE]

Writes a data root of driver overlay2 as an engine does, with images of fifty layers, and measures
it in turn with `du -sx` and `layerview usage`, the page cache warm. It takes 4 KB of the disk and
an inode for every file (set TMPDIR), and minutes to write and to delete; with --keep the root
stays, and is measured again the next time. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.benchmarks.machine import load, machine
from tests.benchmarks.processes import Surroundings, Usage, in_turn, layerview
from tests.benchmarks.rows import Row, ratios, table

DRIVER = "overlay2"
PER_IMAGE = 50
PER_FOLDER = 20
LIMIT = 1.5


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when the goal is not met."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.usage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", metavar="N", type=int, default=1_000_000, help="in all")
    parser.add_argument("--layers", metavar="N", type=int, default=500, help="in all")
    parser.add_argument("--runs", metavar="N", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="where the data root is, or goes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything as JSON too")
    given = parser.parse_args(words)
    if min(given.files, given.layers, given.runs) < 1:
        parser.error("--files, --layers and --runs take numbers of 1 or more")
    facts = machine(None)
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="layerview-benchmark-")))
        root: Path = given.keep or place / "root"
        if not (root / "image").exists():
            print(f"writing {given.files} files in {given.layers} layers", file=sys.stderr)
            write_root(root, given.files, given.layers)
        row = _measure(root, Surroundings(place, None), given.runs)
    facts["load at the end"] = load()
    for key, value in facts.items():
        print(f"{key}: {value}")
    print()
    print(table([row]))
    if given.json is not None:
        document = {"machine": facts, "rows": [row.to_json()]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(row.met == "NO")


def _measure(root: Path, surroundings: Surroundings, rounds: int) -> Row:
    du = ["/usr/bin/du", "-sx", "-B1", str(root)]
    account = layerview("usage", str(root), "--json")

    def run(command: list[str]) -> Usage:
        return surroundings.run(command)

    run(du)  # warms what is measured
    said = surroundings.answer("usage", str(root))
    theirs, ours = in_turn(lambda: run(du), lambda: run(account), rounds)
    cpu = [[usage.cpu for usage in several] for several in (ours, theirs)]
    entries = sum(part["entries"] for part in said["parts"])
    kinds = {kind: 0 for kind in sorted({part["kind"] for part in said["parts"]})}
    for part in said["parts"]:
        kinds[part["kind"]] += 1
    return Row(
        "CPU of `usage --json`, against `du -sx`",
        f"{entries} entries",
        median(ratios(*cpu)),
        "x",
        LIMIT,
        raw={
            "usage CPU s": cpu[0],
            "du CPU s": cpu[1],
            "usage wall s": [usage.wall for usage in ours],
            "du wall s": [usage.wall for usage in theirs],
            "usage MiB": [usage.peak for usage in ours],
            "du MiB": [usage.peak for usage in theirs],
        },
        note=f"{said['total_bytes']} bytes; parts: "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
    )


def write_root(root: Path, files: int, layers: int) -> None:
    """Write a data root of images whose layers hold so many files in all.

    Args:
        root: the folder to make.
        files: of all layers together; half of them have something in them.
        layers: of all images together.
    """
    base = root / "image" / DRIVER
    for name in ("containers", "volumes", f"{DRIVER}/l", "tmp"):
        (root / name).mkdir(parents=True)
    tags: dict[str, dict[str, str]] = {}
    made = 0
    for first in range(0, layers, PER_IMAGE):
        below: list[str] = []
        diff_ids: list[str] = []
        chain_id = ""
        for layer in range(first, min(first + PER_IMAGE, layers)):
            count = files // layers + (layer < files % layers)
            cache_id = f"{layer:064x}"
            size = _write_layer(root / DRIVER, cache_id, below, count, made)
            made += count
            below.insert(0, f"l/{_short(cache_id)}")
            diff_ids.append(_digest(f"layer {layer}"))
            chain_id = _write_record(base, chain_id, diff_ids[-1], cache_id, size)
        image_id = _write_config(base, diff_ids)
        name = f"bench/usage{first // PER_IMAGE}"
        tags[name] = {f"{name}:latest": image_id}
    (base / "repositories.json").write_text(json.dumps({"Repositories": tags}))


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _short(cache_id: str) -> str:
    return hashlib.sha256(cache_id.encode()).hexdigest().upper()[:26]


def _write_layer(home: Path, cache_id: str, below: list[str], files: int, made: int) -> int:
    """Write a layer's folder; return the size of what is in its files."""
    folder = home / cache_id
    (folder / "diff" / "usr" / "lib").mkdir(parents=True)
    os.symlink(f"../{cache_id}/diff", home / "l" / _short(cache_id))
    (folder / "link").write_text(_short(cache_id))
    if below:
        (folder / "lower").write_text(":".join(below))
        (folder / "work").mkdir()
        (folder / "committed").touch()
    size = 0
    for start in range(0, files, PER_FOLDER):
        path = folder / "diff" / "usr" / "lib" / f"package{start // PER_FOLDER}"
        path.mkdir()
        at = os.open(path, os.O_RDONLY)
        for number in range(start, min(start + PER_FOLDER, files)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            fd = os.open(f"module{number}.py", flags, 0o644, dir_fd=at)
            if number % 2:
                size += os.write(fd, b"x" * ((made + number) % 4000))
            os.close(fd)
        os.close(at)
    return size


def _write_record(base: Path, parent: str, diff_id: str, cache_id: str, size: int) -> str:
    """Write a layer's record; return its ChainID."""
    chain_id = _digest(f"{parent} {diff_id}") if parent else diff_id
    folder = base / "layerdb" / "sha256" / chain_id.partition(":")[2]
    folder.mkdir(parents=True)
    (folder / "diff").write_text(diff_id)
    (folder / "cache-id").write_text(cache_id)
    (folder / "size").write_text(str(size))
    if parent:
        (folder / "parent").write_text(parent)
    return chain_id


def _write_config(base: Path, diff_ids: list[str]) -> str:
    """Write an image's config; return the image's ID."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": "2024-01-01T00:00:00Z", "created_by": "RUN many files"} for _ in diff_ids
        ],
    }
    raw = json.dumps(config)
    image_id = _digest(raw)
    folder = base / "imagedb" / "content" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / image_id.partition(":")[2]).write_text(raw)
    return image_id


if __name__ == "__main__":
    sys.exit(main())
