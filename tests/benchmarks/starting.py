"""Starting containers, beside bubblewrap's start of the same files and runc's in the same run.

    python -m tests.benchmarks.starting [--runs N] [--only NAME,...] [--json FILE]

As root. The containers run one program of busybox that ends at once. What is measured is the time
from the call of `launch` in a running layerview until the program is executed (bwrap: from its
start to its end), how that changes with the image and with the containers that run already, and
`layerview run --rm IMAGE true` as a whole process. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from layerview.containers.calls import CLONE_NEWNS, MS_RDONLY, restrict_attached
from layerview.drivers import mounts
from tests.benchmarks.machine import load, machine
from tests.benchmarks.processes import Surroundings, in_turn, layerview
from tests.benchmarks.rows import Row, ratios, table
from tests.benchmarks.starts import start
from tests.containers.starting import Lab, busybox, lab, wait_for_end
from tests.support import archives, tars

AGAINST_BWRAP = 2.0
AGAINST_RUNC = 3.0
FLAT = 1.5
"""Of the start with a small image, or with nothing running."""
MANY = 100
PARTS = {
    "bwrap": "launch beside bwrap, on overlay2 and vfs",
    "image": "launch of an image of many layers and files, beside the small one",
    "running": f"launch beside {MANY} running containers, beside none; what each of these holds",
    "runc": "layerview run --rm IMAGE true beside runc run, as whole processes",
}


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when a goal is not met."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.starting",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", metavar="N", type=int, default=40, help="of each (default: 40)")
    parser.add_argument("--only", metavar="NAME,...", help=f"only these of {', '.join(PARTS)}")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything as JSON too")
    given = parser.parse_args(words)
    only = list(PARTS) if given.only is None else given.only.split(",")
    if unknown := set(only) - set(PARTS):
        parser.error(f"--only knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("only root can mount")
    facts = machine(None)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="layerview-starting-") as folder:
        place = Path(folder)
        if "bwrap" in only:
            rows += bwrap_rows(place, given.runs)
        if "image" in only:
            rows += image_rows(place, given.runs)
        if "running" in only:
            rows += running_rows(place, given.runs)
        if "runc" in only:
            rows += runc_rows(place, given.runs)
    facts["load at the end"] = load()
    for key, value in facts.items():
        print(f"{key}: {value}")
    print()
    print(table(rows))
    if given.json is not None:
        document = {"machine": facts, "rows": [row.to_json() for row in rows]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(any(row.met == "NO" for row in rows))


def starter(made: Lab, image: str = "") -> Callable[[], float]:
    """Return what starts a new container here and says how long it took, in ms."""
    return lambda: start(made, image)


class Starts:
    """A process that starts containers, as small as layerview's own (see starts.py)."""

    def __init__(self, made: Lab) -> None:
        """Begin it."""
        where = (made.driver.name, str(made.root), made.image)
        words = [sys.executable, "-m", "tests.benchmarks.starts", *where]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Starts:
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._process.communicate()

    def start(self) -> float:
        """Have a container started; return the ms that it took."""
        asks, says = self._process.stdin, self._process.stdout
        assert asks is not None
        assert says is not None
        asks.write("\n")
        return float(says.readline())

    @property
    def memory(self) -> int:
        """What it holds of memory, in KiB."""
        return _memory(self._process.pid)


def bwrap_rows(folder: Path, rounds: int) -> list[Row]:
    """Start containers of a small image, and bwrap with the same files, in turn."""
    if shutil.which("bwrap") is None:
        print("bwrap is not installed: nothing to measure beside", file=sys.stderr)
        return []
    rows = []
    for kind in ("overlay2", "vfs"):
        with lab(kind, folder / kind) as made, Starts(made) as starts:
            files = made.driver.layer_folder(made.image)
            words = ["bwrap", "--unshare-all", "--bind", files, "/", "--proc", "/proc"]
            words += ["--dev", "/dev", "/bin/true"]

            def theirs(words: Sequence[str] = words) -> float:
                begun = time.perf_counter()
                subprocess.run(words, check=True)
                return (time.perf_counter() - begun) * 1e3

            for warm in (starts.start, theirs):
                warm()
            ours, bwrap = in_turn(starts.start, theirs, rounds)
            memory = starts.memory / 1024
        pairs = ratios(ours, bwrap)
        rows.append(
            Row(
                "start in a running layerview, against bwrap",
                kind,
                median(pairs),
                "x",
                AGAINST_BWRAP,
                raw={
                    "launch, ms": ours,
                    "bwrap, ms": bwrap,
                    "ratio of each pair": pairs,
                    "memory of who calls launch, MiB": [memory],
                },
            )
        )
    return rows


def image_rows(folder: Path, rounds: int) -> list[Row]:
    """Start containers of a small image and of one with many layers and files, in turn."""
    with lab("overlay2", folder / "image") as made:
        large = made.image
        for number in range(60):
            files = (tars.file(f"d{number}/f{each}", b"x" * 100) for each in range(500))
            large = made.layer(tars.layer(*files), large)
        small, big = in_turn(starter(made), starter(made, large), rounds)
    pairs = ratios(big, small)
    return [
        Row(
            "start with 61 layers and 30,000 files, against one small layer",
            "overlay2",
            median(pairs),
            "x",
            FLAT,
            raw={"large, ms": big, "small, ms": small, "ratio of each pair": pairs},
        )
    ]


def running_rows(folder: Path, rounds: int) -> list[Row]:
    """Start containers beside none and beside many that run."""
    with lab("overlay2", folder / "running") as made:
        start = starter(made)
        before = [start() for _ in range(rounds)]
        with ExitStack() as held:
            begun = time.perf_counter()
            shims = []
            for _ in range(MANY):
                started = made.start(made.plan("sleep", "1000"))
                shims.append(started.shim)
                held.callback(_kill, started.shim)
            took = time.perf_counter() - begun
            time.sleep(3)
            memory = [_memory(shim) / 1024 for shim in shims]
            beside = [start() for _ in range(rounds)]
    return [
        Row(
            f"start beside {MANY} running containers, against none",
            "overlay2",
            median(beside) / median(before),
            "x",
            FLAT,
            raw={"beside many, ms": beside, "beside none, ms": before},
        ),
        Row(f"{MANY} containers made and started", "overlay2", took, "s"),
        Row("memory that a shim holds", "overlay2", max(memory), "MiB", 16, raw={"MiB": memory}),
    ]


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


def _memory(pid: int) -> int:
    """Return what a process holds of memory, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def runc_rows(folder: Path, rounds: int) -> list[Row]:
    """Run `layerview run --rm` and `runc run`, in turn, as whole processes."""
    runc = shutil.which("runc")
    if runc is None:
        print("runc is not installed: nothing to measure beside", file=sys.stderr)
        return []
    surroundings = Surroundings(folder, None)
    root = folder / "area"
    archive = folder / "image.tar"
    image = archives.image(busybox(), tags=["bench:1"])
    archives.docker_archive(archive, image)
    where = ("--root", str(root), "--driver", "overlay2")
    surroundings.run(layerview("load", "-q", str(archive), *where))
    bundle = folder / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    tar = folder / "files.tar"
    tar.write_bytes(busybox())
    subprocess.run(["tar", "-xf", tar, "-C", bundle / "rootfs"], check=True)
    subprocess.run([runc, "spec", "--bundle", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(args=["true"], terminal=False, env=["PATH=/bin"])
    # As layerview has it do: without cgroups, which not every machine has ready for it.
    config["linux"].pop("resources", None)
    mounts.unshare(CLONE_NEWNS)
    mounts.mount("none", "/", "", mounts.MS_REC | mounts.MS_SLAVE)
    for point in mounts.mount_points("/sys/fs/cgroup"):
        restrict_attached(point, MS_RDONLY)
    words = [runc, "--rootless=true", "run", "--bundle", str(bundle), "bench"]
    (bundle / "config.json").write_text(json.dumps(config))

    def ours() -> float:
        return surroundings.run(layerview("run", "--rm", *where, "bench:1", "true")).wall * 1e3

    def theirs() -> float:
        return surroundings.run(words).wall * 1e3

    for warm in (ours, theirs):
        warm()
    own, other = in_turn(ours, theirs, rounds)
    pairs = ratios(own, other)
    return [
        Row(
            "layerview run --rm IMAGE true, against runc run",
            "overlay2",
            median(pairs),
            "x",
            AGAINST_RUNC,
            raw={"layerview, ms": own, "runc, ms": other, "ratio of each pair": pairs},
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
