"""The benchmark: what the README promises, measured beside dive on the same machine in one run.

    python -m tests.benchmarks [--dive PATH] [--runs N] [--only NAME,...] IMAGE.tar [IMAGE.tar ...]

The images are docker-archives; those named S, M and L (S.docker.tar, ...) have goals. layerview
has to be installed with the Python that runs this. dive takes half a minute on M and ten minutes
on L; `--dive-cpu L=530 --dive-peak L=975` takes its figures from an earlier run, and says so.
Everything is written into a folder that is removed in the end (set TMPDIR: the images of a million
entries take half a gigabyte). Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import commands, keyboard, loading, screens
from tests.benchmarks.machine import load, machine
from tests.benchmarks.processes import Surroundings, Usage
from tests.benchmarks.rows import Row, table

PARTS = {
    "cpu": "CPU of files --json and waste --json beside dive --json",
    "memory": "their peak memory",
    "growth": "CPU and memory from M to L beside the growth of entries",
    "start": "--help and inspect --json",
    "first": "the first screen beside a bare Textual app",
    "again": "the second open from the cache",
    "load": "load beside docker load (as root; needs dockerd)",
    "keys-loading": "keys while L loads",
    "keys-loaded": "keys when L is loaded",
    "keys-million": "keys with a million entries",
}


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when a goal is not met."""
    given = _arguments(words)
    begun = time.monotonic()

    def say(message: str) -> None:
        print(f"[{time.monotonic() - begun:6.0f} s] {message}", file=sys.stderr, flush=True)

    facts = machine(given.dive)
    with tempfile.TemporaryDirectory(prefix="layerview-benchmark-") as folder:
        surroundings = Surroundings(Path(folder), given.dive)
        rows = _measure(given, surroundings, say)
    facts["load at the end"] = load()
    for key, value in facts.items():
        print(f"{key}: {value}")
    print("caches off and page cache warm, unless a row says otherwise\n")
    print(table(rows))
    if given.json is not None:
        document = {"machine": facts, "rows": [row.to_json() for row in rows]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(any(row.met == "NO" for row in rows))


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parts = "\n".join(f"  {name:<13} {about}" for name, about in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=f"names for --only:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", metavar="IMAGE.tar", nargs="+", type=Path)
    parser.add_argument("--dive", metavar="PATH", help="the peer; left out without this")
    parser.add_argument("--runs", metavar="N", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--only", metavar="NAME,...", help="only these parts")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything as JSON too")
    for what, unit in (("cpu", "seconds"), ("peak", "MiB")):
        parser.add_argument(
            f"--dive-{what}",
            metavar="NAME=X",
            action="append",
            default=[],
            help=f"{unit} that dive took on an image in an earlier run",
        )
    given = parser.parse_args(words)
    given.only = list(PARTS) if given.only is None else given.only.split(",")
    unknown = set(given.only) - set(PARTS)
    if unknown:
        parser.error(f"--only knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    missing = [str(image) for image in given.images if not image.is_file()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    if given.runs < 1:
        parser.error("--runs takes a number of 1 or more")
    if given.dive is not None and not Path(given.dive).is_file():
        parser.error(f"no such program: {given.dive}")
    try:
        cpu, peak = (
            {key: float(number) for key, number in map(_split, pairs)}
            for pairs in (given.dive_cpu, given.dive_peak)
        )
    except ValueError:
        parser.error("--dive-cpu and --dive-peak take NAME=NUMBER, as L=530")
    given.earlier = {
        name: Usage(0.0, cpu.get(name, 0.0), peak.get(name, 0.0)) for name in {*cpu, *peak}
    }
    return given


def _split(pair: str) -> tuple[str, str]:
    name, _, number = pair.partition("=")
    return name, number


def _measure(given: argparse.Namespace, surroundings: Surroundings, say: commands.Say) -> list[Row]:
    images = {path.name.split(".")[0]: str(path.resolve()) for path in given.images}
    only, rounds = given.only, given.runs
    for name, image in images.items():
        say(f"reading {name} once, so that it is in the page cache")
        with open(image, "rb", buffering=0) as file:
            piece = bytearray(1 << 20)
            while file.readinto(piece):
                pass
    rows: list[Row] = []
    if {"cpu", "memory", "growth"}.intersection(only):
        runs = commands.measure_runs(images, surroundings, rounds, given.earlier, say)
        if "cpu" in only:
            rows += commands.cpu_rows(runs)
        if "memory" in only:
            rows += commands.memory_rows(runs)
        if "growth" in only:
            rows += commands.growth_rows(runs, surroundings, rounds)
    if "start" in only:
        say("starts")
        rows += commands.start_rows(images, surroundings, rounds)
    if "first" in only:
        rows += screens.first_rows(images, surroundings, rounds, say)
    if "again" in only:
        rows += screens.again_rows(images, surroundings, rounds, say)
    if "load" in only:
        rows += loading.load_rows(images, surroundings, rounds, say)
    largest = (
        "L" if "L" in images else max(images, key=lambda name: Path(images[name]).stat().st_size)
    )
    if "keys-loading" in only:
        rows += keyboard.while_loading(
            largest, images[largest], keyboard.PRESET, surroundings, rounds, say
        )
    if "keys-loaded" in only:
        rows.append(
            keyboard.when_loaded(
                largest, images[largest], keyboard.PRESET, surroundings, min(rounds, 3), say
            )
        )
    if "keys-million" in only:
        rows += keyboard.with_a_million(surroundings, surroundings.folder, min(rounds, 3), say)
    return rows


if __name__ == "__main__":
    sys.exit(main())
