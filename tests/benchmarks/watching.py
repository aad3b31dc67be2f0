"""How soon a write is told, and what watching costs.

    python -m tests.benchmarks.watching [--only PART,...] [--way WAY] [--volatile] [--folder DIR]

As root. `idle`: the processor time of watching while nothing happens. `burst`: many small files,
copied up one after the other as fast as it goes; how soon each is told. `slowed`: how much longer
such a burst takes when it is watched, and when the kernel tells of it and nobody looks, which no
way of watching can do without. `everyday`: the same of work as people do it. Give the machine
nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from layerview.watch import by_fanotify, by_inotify, fanotify
from layerview.watch.events import CowEvent
from layerview.watch.fanotify import Fanotify
from layerview.watch.inotify import Inotify
from layerview.watch.observe import observe
from layerview.watch.target import Target
from tests.support.overlays import overlay

KINDS = ("alone", "heard", "watched")


def many(folder: Path) -> None:
    """Make ten thousand small files."""
    for number in range(10_000):
        place = folder / f"d{number // 100}"
        place.mkdir(exist_ok=True)
        (place / str(number)).write_text("x" * 2000)


def append(top: Path, numbers: range, done: dict[bytes, int]) -> float:
    """Append to files, each of which is copied up by that; return the seconds it took."""
    start = time.monotonic()
    for number in numbers:
        name = f"d{number // 100}/{number}"
        fd = os.open(top / name, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"y")
        os.close(fd)
        done[name.encode()] = time.time_ns()
    return time.monotonic() - start


def told(target: Target, stop: threading.Event, ready: threading.Event) -> dict[bytes, int]:
    """Watch until told to stop; return when each copy-up was told."""
    seen: dict[bytes, int] = {}
    for batch in observe(target, stop):
        now = time.time_ns()
        for record in batch:
            if isinstance(record, CowEvent) and record.kind == "copy_up":
                seen.setdefault(record.path, now)
        ready.set()
    return seen


def watched(target: Target, write: int, ready: int, stop: int) -> None:
    """Be the process that watches: say when it is ready, then what was told when."""
    import json

    end, first = threading.Event(), threading.Event()
    seen: dict[bytes, int] = {}
    thread = threading.Thread(target=lambda: seen.update(told(target, end, first)))
    thread.start()
    first.wait()
    os.write(ready, b"1")
    start = time.process_time()
    os.read(stop, 1)
    used = time.process_time() - start
    end.set()
    thread.join()
    with os.fdopen(write, "w") as out:
        json.dump([used, {os.fsdecode(path): when for path, when in seen.items()}], out)
    os._exit(0)


class Process:
    """A process that watches a target."""

    def __init__(self, target: Target) -> None:
        self._said, write = os.pipe()
        ready, tell_ready = os.pipe()
        stop, self._stop = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._stop)
            watched(target, write, tell_ready, stop)
        for fd in (write, tell_ready, stop):
            os.close(fd)
        os.read(ready, 1)
        os.close(ready)

    def end(self) -> tuple[float, dict[str, int]]:
        """End it; return its processor time in seconds, and when each copy-up was told."""
        import json

        os.close(self._stop)
        with os.fdopen(self._said) as said:
            used, seen = json.load(said)
        os.waitpid(self._pid, 0)
        return used, seen


class Heard:
    """A process that is told by the kernel all that a watching one hears, and looks at nothing."""

    def __init__(self, target: Target, way: str) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _hear(target, way)
            finally:
                os._exit(1)
        time.sleep(0.1)

    def end(self) -> None:
        """End it."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _hear(target: Target, way: str) -> None:
    notify: Fanotify | Inotify
    if way == "fanotify":
        notify = Fanotify()
        notify.hear(target.upper)
        notify.hear_in(os.path.join(target.work or "", "work"), fanotify.OPEN)
    else:
        notify = Inotify()
        for folder, _, _, fd in os.fwalk(target.upper):
            del folder
            notify.hear(fd)
    poll = select.poll()
    poll.register(notify.fd, select.POLLIN)
    while True:
        poll.poll()
        time.sleep(0.004)
        with suppress(BlockingIOError):
            while os.read(notify.fd, 1 << 16):
                pass


def refuse(*_: object) -> None:
    """Be a way to hear that is not to be had."""
    raise PermissionError


def idle(place: Path, words: argparse.Namespace) -> None:
    """Measure what watching costs while nothing happens."""
    with overlay(place, many, volatile=words.volatile) as (target, _):
        process = Process(target)
        time.sleep(words.idle)
        used, _ = process.end()
    print(f"idle: {used:.3f} s of processor time in {words.idle:.0f} s")


def burst(place: Path, words: argparse.Namespace) -> None:
    """Measure how soon each of many copy-ups is told."""
    with overlay(place, many, volatile=words.volatile) as (target, top):
        done: dict[bytes, int] = {}
        process = Process(target)
        taken = append(top, range(words.count), done)
        time.sleep(2)
        used, seen = process.end()
    late = sorted(
        (seen[os.fsdecode(path)] - when) / 1e6
        for path, when in done.items()
        if os.fsdecode(path) in seen
    )
    share = late[int(len(late) * 0.95)]
    print(f"burst: {len(late):,} of {words.count:,} copy-ups told, in {taken:.1f} s of work")
    print(f"from write to record: median {statistics.median(late):.1f} ms, 95 % {share:.1f} ms")
    print(f"watching took {used:.2f} s of processor time")


def slowed(place: Path, words: argparse.Namespace) -> None:
    """Measure how much longer a burst takes that is watched, and that is only heard of."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    # The first ones are slower, whoever watches.
    for turn in range(-2, words.rounds * len(KINDS)):
        with overlay(place, many, volatile=words.volatile) as (target, top):
            kind, process = _followed(turn, target, words)
            seconds = append(top, range(min(words.count, 3000)), {})
            if turn >= 0:
                took[kind].append(seconds)
            if process is not None:
                process.end()
        shutil.rmtree(place)
    print(f"a burst alone: {_compared(took)}")


def everyday(place: Path, words: argparse.Namespace) -> None:
    """Measure how much longer everyday work takes that is watched, and that is only heard of."""
    packed = place.with_suffix(".tar")
    subprocess.run(["tar", "-cf", packed, "-C", os.path.dirname(os.__file__), "."], check=True)
    checkout = Path(__file__).resolve().parents[2]
    tasks = {
        "tar x": f"tar -xf {packed} -C python",
        "git clone": f"git clone -q --no-hardlinks {checkout} clone",
        "git status": "git -C clone status",
        "compile": f"{sys.executable} -m compileall -q -f clone/layerview",
        "chown -R": "chown -R 1:1 d0 d1 d2 d3 d4",
        "rm -r": "rm -r clone python",
    }
    took: dict[str, dict[str, list[float]]] = {
        task: {kind: [] for kind in KINDS} for task in (*tasks, "all of it")
    }
    for turn in range(-1, words.rounds * len(KINDS)):
        with overlay(place, many, volatile=words.volatile) as (target, top):
            (top / "python").mkdir()
            kind, process = _followed(turn, target, words)
            seconds = {}
            for task, line in tasks.items():
                start = time.monotonic()
                subprocess.run(line.split(), cwd=top, check=True, stdout=subprocess.DEVNULL)
                seconds[task] = time.monotonic() - start
            seconds["all of it"] = sum(seconds.values())
            if turn >= 0:
                for task, each in seconds.items():
                    took[task][kind].append(each)
            if process is not None:
                process.end()
        shutil.rmtree(place)
    packed.unlink()
    for task, by in took.items():
        print(f"{task} alone: {_compared(by)}")


def _followed(
    turn: int, target: Target, words: argparse.Namespace
) -> tuple[str, Process | Heard | None]:
    """Begin to watch, to hear only, or neither; return which, and who does it."""
    kind = KINDS[turn % len(KINDS)]
    if kind == "watched":
        return kind, Process(target)
    return kind, Heard(target, words.way) if kind == "heard" else None


def _compared(took: dict[str, list[float]]) -> str:
    """Say how long something took alone, and how much longer otherwise."""
    alone = took["alone"]
    others = (f"{kind}: {_more(alone, took[kind])}" for kind in KINDS if kind != "alone")
    return f"{statistics.median(alone):.3f} s; {'; '.join(others)}"


def _more(alone: Sequence[float], other: Sequence[float]) -> str:
    """Say how much longer something took, pair by pair."""
    ratios = sorted(two / one for one, two in zip(alone, other, strict=True))
    return (
        f"{statistics.median(ratios) - 1:+.1%} ({len(ratios)} pairs,"
        f" {ratios[0] - 1:+.0%} to {ratios[-1] - 1:+.0%})"
    )


PARTS = {"idle": idle, "burst": burst, "slowed": slowed, "everyday": everyday}


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.watching",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", metavar="PART,...", default=",".join(PARTS), help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--idle", type=float, default=60, help="seconds of doing nothing")
    parser.add_argument("--count", type=int, default=10_000, help="copy-ups in the burst")
    parser.add_argument("--rounds", type=int, default=10, help="pairs with and without")
    parser.add_argument(
        "--way",
        choices=("fanotify", "inotify", "watchfiles"),
        default="fanotify",
        help="how to hear: as root does, as everybody else, or where the kernel has neither",
    )
    parser.add_argument("--volatile", action="store_true", help="let no copy-up wait for the disk")
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default="/var/tmp",
        help="where the layers lie; root hears of all that happens on the file system there",
    )
    words = parser.parse_args()
    if words.way != "fanotify":
        by_fanotify.Fanotify = refuse  # type: ignore[assignment,misc]
    if words.way == "watchfiles":
        by_inotify.Inotify = refuse  # type: ignore[assignment,misc]
    with tempfile.TemporaryDirectory(dir=words.folder) as made:
        for part in words.only.split(","):
            PARTS[part](Path(made) / part, words)


if __name__ == "__main__":
    main()
