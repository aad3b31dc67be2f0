"""How soon a write is told, and what watching costs: `python -m tests.benchmarks.watching`."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

from layerview.watch import by_fanotify, by_inotify
from layerview.watch.events import CowEvent
from layerview.watch.observe import observe
from layerview.watch.target import Target
from tests.support.overlays import overlay


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


def refuse(*_: object) -> None:
    """Be a way to hear that is not to be had."""
    raise PermissionError


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=float, default=60, help="seconds of doing nothing")
    parser.add_argument(
        "--way",
        choices=("fanotify", "inotify", "watchfiles"),
        default="fanotify",
        help="how to hear: as root does, as everybody else, or where the kernel has neither",
    )
    parser.add_argument("--count", type=int, default=10_000)
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
        place = Path(made)
        with overlay(place / "idle", many, volatile=words.volatile) as (target, _):
            process = Process(target)
            time.sleep(words.idle)
            used, _ = process.end()
            print(f"idle: {used:.3f} s of processor time in {words.idle:.0f} s")
        with overlay(place / "burst", many, volatile=words.volatile) as (target, top):
            done: dict[bytes, int] = {}
            process = Process(target)
            taken = append(top, range(words.count), done)
            time.sleep(2)
            used, seen = process.end()
            late = sorted(
                (seen[os.fsdecode(p)] - t) / 1e6 for p, t in done.items() if os.fsdecode(p) in seen
            )
            share = late[int(len(late) * 0.95)]
            print(
                f"burst: {len(late):,} of {words.count:,} copy-ups told, in {taken:.1f} s of work"
            )
            middle = statistics.median(late)
            print(f"from write to record: median {middle:.1f} ms, 95 % {share:.1f} ms")
            print(f"watching took {used:.2f} s of processor time")
        rounds: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(8):
            with_it = bool(turn % 2)
            with overlay(place / f"turn{turn}", many, volatile=words.volatile) as (target, top):
                process = Process(target) if with_it else None
                rounds[with_it].append(append(top, range(min(words.count, 3000)), {}))
                if process is not None:
                    process.end()
        plain, with_watching = (statistics.median(rounds[each]) for each in (False, True))
        more = with_watching / plain - 1
        print(f"work alone {plain:.3f} s, watched {with_watching:.3f} s: {more:+.1%}")


if __name__ == "__main__":
    main()
