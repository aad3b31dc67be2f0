"""Loading an archive into an area, beside `docker load` of the same file and the floors of both.

All that is written stays until the end: ext4 does not give out the inodes of files that were
deleted a few minutes ago, and looks at each of them for every file that is made.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tests.benchmarks.commands import Say
from tests.benchmarks.processes import Surroundings, Usage, layerview
from tests.benchmarks.rows import Row, ratios
from tests.support.dockerd import DOCKER, Dockerd

FASTER = 1.0
"""Of docker load's time."""
FLAT = 1.5
"""Peak memory on the largest image, of that on the smallest."""
_TICKS = os.sysconf("SC_CLK_TCK")


def load_rows(
    images: Mapping[str, str], surroundings: Surroundings, rounds: int, say: Say
) -> list[Row]:
    """Load each image into an empty overlay2 area and into an empty engine, in turn."""
    rows, peaks = [], {}
    for name, image in images.items():
        ours: list[Usage] = []
        theirs: list[Usage] = []
        hashing: list[float] = []
        for number in range(rounds):
            for what in ("ours", "docker") if number % 2 else ("docker", "ours"):
                os.sync()
                if what == "ours":
                    root = surroundings.folder / f"area-{name}-{number}"
                    ours.append(_ours(image, surroundings, root))
                    say(f"{name} layerview load: {ours[-1]}")
                else:
                    data = surroundings.folder / f"engine-{name}-{number}"
                    theirs.append(_docker(image, data))
                    say(f"{name} docker load: {theirs[-1]}")
            hashing.append(_hash(image))
        peaks[name] = [usage.peak for usage in ours]
        for attribute, title in (("wall", "wall time"), ("cpu", "CPU")):
            own = [getattr(usage, attribute) for usage in ours]
            engine = [getattr(usage, attribute) for usage in theirs]
            pairs = ratios(own, engine)
            rows.append(
                Row(
                    f"{title}, load against docker load",
                    name,
                    median(pairs),
                    "x",
                    FASTER if name == "M" and attribute == "wall" else None,
                    raw={
                        "layerview, s": own,
                        "docker load, s": engine,
                        "sha256 of the file alone, s": hashing,
                        "ratio of each pair": pairs,
                    },
                )
            )
    if len(peaks) > 1:
        names = list(peaks)
        first, last = names[0], names[-1]
        rows.append(
            Row(
                "peak memory of load, by that of the smallest",
                f"{last}/{first}",
                median(peaks[last]) / median(peaks[first]),
                "x",
                FLAT,
                raw={f"{name}, MiB": numbers for name, numbers in peaks.items()},
            )
        )
    return rows


def _ours(image: str, surroundings: Surroundings, root: Path) -> Usage:
    words = ("load", "-q", image, "--root", str(root), "--driver", "overlay2")
    return surroundings.run(layerview(*words))


def _docker(image: str, data: Path) -> Usage:
    """Load into a new engine; its CPU counts with that of the client and the engine's children."""
    with Dockerd("overlay2", data) as engine:
        before, client, begun = _cpu(engine.pid), _children(), time.monotonic()
        subprocess.run(
            [DOCKER, "load", "-q", "-i", image], env=engine.env, check=True, capture_output=True
        )
        wall = time.monotonic() - begun
        cpu = _cpu(engine.pid) - before + _children() - client
        peak = _peak(engine.pid)
    return Usage(wall, cpu, peak)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu(pid: int) -> float:
    """Return the CPU of a process and of the children that it has waited for, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _peak(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _hash(image: str) -> float:
    begun = time.process_time()
    with open(image, "rb", buffering=0) as file:
        hashlib.file_digest(file, "sha256")
    return time.process_time() - begun
