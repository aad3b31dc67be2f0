"""Our union beside fuse-overlayfs, the kernel's overlayfs and the bare file system, in one run.

    python -m tests.benchmarks.union [--runs N] [--folder DIR] [--only NAME,...] [--one-core]
                                     [--json FILE]

As root. Each file system shows the same files from one lower layer, and writes to a layer of its
own; all of it lies in one folder (default: in memory, so that no disk is measured). The tasks run
in turn on each file system, the order changing from run to run. `without` is our union where the
kernel grants no passthrough, as for ordinary users. Give the machine nothing else to do. By
`--one-core` all of it shares one processor: the times are then what the work costs, without the
waking of a processor that slept, which is most of the time that a request takes elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from layerview.drivers import mounts
from layerview.unionfs.serve import serve
from tests.benchmarks.machine import load, machine
from tests.benchmarks.rows import Row, ratios, table

SMALL = 2_000
"""Small files, of 1 KiB each."""
PACKED = 5_000
"""Files in the tar."""
LARGE = 256 << 20
HUGE = 1 << 30
SIZES = {"1 KiB": (1 << 10, 1000), "1 MiB": (1 << 20, 100), "1 GiB": (HUGE, 1)}
"""Copy-ups: the file's size, and how many of them."""
SYSTEMS = ("bare", "overlayfs", "fuse-overlayfs", "union", "without")
AGAINST = "fuse-overlayfs"

Times = dict[str, dict[str, list[float]]]
"""By task and system: seconds of each run."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when a goal is not met."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.union",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", metavar="N", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="where the files lie")
    parser.add_argument("--only", metavar="NAME,...", help=f"only these of {', '.join(SYSTEMS)}")
    parser.add_argument("--one-core", action="store_true", help="on one processor")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything as JSON too")
    given = parser.parse_args(words)
    systems = SYSTEMS if given.only is None else tuple(given.only.split(","))
    if unknown := set(systems) - set(SYSTEMS):
        parser.error(f"--only knows {', '.join(SYSTEMS)}, not {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("only root can mount")
    if "fuse-overlayfs" in systems and shutil.which("fuse-overlayfs") is None:
        parser.error("fuse-overlayfs is not installed: leave it out by --only")
    if given.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    facts = machine(None)
    times: Times = {}
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory(dir=given.folder)))
        if given.folder is None:
            mounts.mount("tmpfs", str(place), "tmpfs", 0, "size=12g")
            held.callback(mounts.detach, str(place))
        lower, archive = _lower(place)
        for number in range(given.runs):
            turn = number % len(systems)
            for system in (*systems[turn:], *systems[:turn]):
                with _mounted(system, lower, place) as root:
                    for task, seconds in _tasks(root, archive):
                        times.setdefault(task, {}).setdefault(system, []).append(seconds)
    facts["load at the end"] = load()
    for key, value in facts.items():
        print(f"{key}: {value}")
    print()
    print(matrix(times, systems))
    rows = _rows(times)
    print()
    print(table(rows))
    if given.json is not None:
        document = {"machine": facts, "times": times, "rows": [row.to_json() for row in rows]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(any(row.met == "NO" for row in rows))


def _lower(place: Path) -> tuple[Path, Path]:
    """Make the files below, and a tar to unpack."""
    lower = place / "lower"
    for number in range(SMALL):
        _make(lower / f"small/d{number % 20}/f{number}", 1 << 10)
    _make(lower / "large", LARGE)
    for name, (size, count) in SIZES.items():
        for number in range(count):
            _make(lower / "up" / name / f"f{number}", size)
    packed = place / "packed"
    for number in range(PACKED):
        _make(packed / f"d{number % 50}/f{number}", 2 << 10)
    archive = place / "files.tar"
    subprocess.run(["tar", "-cf", archive, "-C", packed, "."], check=True)
    shutil.rmtree(packed)
    return lower, archive


def _make(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = os.urandom(1 << 10) * 1024
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(piece[:size])


@contextmanager
def _mounted(system: str, lower: Path, place: Path) -> Iterator[Path]:
    """Show the lower files by a file system, with a new layer on top."""
    work = Path(tempfile.mkdtemp(dir=place))
    upper, root = work / "upper", work / "root"
    upper.mkdir()
    root.mkdir()
    try:
        with ExitStack() as held:
            if system == "bare":
                subprocess.run(["cp", "-a", f"{lower}/.", root], check=True)
            else:
                held.callback(mounts.detach, str(root))
                _mount(system, lower, upper, work, root)
            yield root
    finally:
        for _ in range(100):
            if not os.path.ismount(root):
                break
            time.sleep(0.05)
        time.sleep(0.2)
        shutil.rmtree(work)


def _mount(system: str, lower: Path, upper: Path, work: Path, root: Path) -> None:
    aside = work / "work"
    layers = f"lowerdir={lower},upperdir={upper},workdir={aside}"
    if system == "overlayfs":
        aside.mkdir()
        mounts.mount("overlay", str(root), "overlay", 0, f"{layers},volatile")
    elif system == "fuse-overlayfs":
        aside.mkdir()
        subprocess.run(["fuse-overlayfs", "-o", f"{layers},volatile", root], check=True)
    else:
        served = serve(
            [str(upper), str(lower)],
            steps=str(work / "steps"),
            volatile=True,
            passthrough=system == "union",
        )
        if system == "union" and not served.passthrough:
            raise SystemExit("the kernel grants no passthrough here: leave union out by --only")
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
        try:
            mounts.attach(served.tree, folder)
        finally:
            os.close(folder)
            os.close(served.tree)


def _tasks(root: Path, archive: Path) -> Iterator[tuple[str, float]]:
    """Carry out every task once; say how long each took, in seconds of an operation."""
    small = sorted(str(path) for path in (root / "small").rglob("f*"))
    yield "open, read and close", _timed(lambda: [_read(name) for name in small], len(small))
    yield "stat", _timed(lambda: [os.stat(name) for name in small * 5], 5 * len(small))
    yield "find with stat", _timed(lambda: _run("find", root, "-type", "f", "-size", "+9999k"))
    large = str(root / "large")
    yield "read 256 MiB", _timed(lambda: _read(large))
    new = root / "new"
    new.mkdir()
    names = [f"{new}/f{number}" for number in range(SMALL)]
    data = b"x" * 1024
    yield "create, write, close", _timed(lambda: [_write(name, data) for name in names], SMALL)
    yield "unlink", _timed(lambda: [os.unlink(name) for name in names], SMALL)
    piece = b"x" * (1 << 20)
    yield "write 256 MiB", _timed(lambda: _write(f"{new}/large", *[piece] * (LARGE >> 20)))
    os.mkdir(root / "tar")
    yield "tar x, 5,000 files", _timed(lambda: _run("tar", "-xf", archive, "-C", root / "tar"))
    yield "rm -r of these", _timed(lambda: _run("rm", "-r", root / "tar"))
    for name, (_, count) in SIZES.items():
        files = [str(root / "up" / name / f"f{number}") for number in range(count)]
        copy = _copied_up if os.path.ismount(root) else _copied
        yield f"copy-up of {name}", _timed(lambda f=files, c=copy: list(map(c, f)), count)


def _timed(work: Callable[[], object], count: int = 1) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) / count


def _read(name: str) -> None:
    fd = os.open(name, os.O_RDONLY)
    while os.read(fd, 1 << 20):
        pass
    os.close(fd)


def _write(name: str, *pieces: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)
    for piece in pieces:
        os.write(fd, piece)
    os.close(fd)


def _copied_up(name: str) -> None:
    os.close(os.open(name, os.O_WRONLY))


def _copied(name: str) -> None:
    """What a copy costs at least: the bare file system's own."""
    shutil.copyfile(name, f"{name}.copy")


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def matrix(times: Times, systems: Sequence[str]) -> str:
    """Lay out the medians as the README has them."""
    lines = [f"| | {' | '.join(systems)} |", f"|---|{'--:|' * len(systems)}"]
    for task, by_system in times.items():
        cells = (_shown(task, median(by_system[system])) for system in systems)
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(task: str, seconds: float) -> str:
    if task.endswith("256 MiB"):
        return f"{LARGE / seconds / 1e6:,.0f} MB/s"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _rows(times: Times) -> list[Row]:
    """Compare our union with fuse-overlayfs, task by task."""
    rows = []
    for task, by_system in times.items():
        for system, limit in (("union", 1.0), ("without", None)):
            if AGAINST not in by_system or system not in by_system:
                continue
            pairs = ratios(by_system[system], by_system[AGAINST])
            rows.append(
                Row(
                    f"{task}: {system} against {AGAINST}",
                    "",
                    median(pairs),
                    "x",
                    limit,
                    raw={"ratio of each pair": pairs},
                )
            )
    return rows


if __name__ == "__main__":
    sys.exit(main())
