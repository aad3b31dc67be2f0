"""Run the fuzzer: `python -m tests.fuzz --seconds 60 [--seed N] [--target NAME]`.

Inputs are taken from the corpus or made anew, changed by their structure, and given to the
targets in turn. The first failure ends it: an exception that is no answer, something written
outside, more than 5 seconds or 300 MiB for one input. The input is written to a file, and
`--replay NAME FILE` runs it again, `--minimise NAME FILE` makes it smaller.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import FORMS, corpus, generate, write_corpus
from tests.fuzz.targets import TARGETS
from tests.support.trees import remove

MAX_SECONDS = 5.0
MAX_BYTES = 300 << 20
_MAX_FILE = 1 << 30


class TooMuch(BaseException):
    """One input took more time or memory than any input may."""


def main() -> int:
    """Fuzz for a while, or look at one input."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--replay", nargs=2, metavar=("NAME", "FILE"))
    parser.add_argument("--minimise", nargs=2, metavar=("NAME", "FILE"))
    parser.add_argument("--write-corpus", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_corpus:
        write_corpus()
        return 0
    # A file that a sparse map makes huge is an error, not a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    # In memory where that is possible: thousands of folders are made and removed.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="layerview-fuzz-", dir=memory))
    try:
        if arguments.replay:
            name, file = arguments.replay
            run_one(name, Path(file).read_bytes(), place)
            print(f"{name}: {file} is handled")
            return 0
        if arguments.minimise:
            return minimise(*arguments.minimise, place)
        return fuzz(arguments.seconds, arguments.seed, arguments.target or list(TARGETS), place)
    finally:
        remove(place)


def fuzz(seconds: float, seed: int, names: list[str], place: Path) -> int:
    """Feed the targets in turn until the time is over."""
    print(f"seed {seed}")
    kept = {name: list(corpus(name).values()) for name in names}
    tars = list(corpus("tar").values())
    counts = dict.fromkeys(names, 0)
    slowest = dict.fromkeys(names, 0.0)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        name = names[number % len(names)]
        rng = random.Random(f"{seed}:{number}")
        data = make(rng, name, kept[name], tars)
        started = time.monotonic()
        try:
            run_one(name, data, place)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            fd, path = tempfile.mkstemp(prefix=f"layerview-fuzz-{name}-")
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            traceback.print_exc()
            print(f"FAILED: {name}, seed {seed}, input {number}, kept in {path}")
            print(f"again: python -m tests.fuzz --replay {name} {path}")
            return 1
        slowest[name] = max(slowest[name], time.monotonic() - started)
        counts[name] += 1
        number += 1
    each = ", ".join(
        f"{name} {count:,} (<= {slowest[name]:.1f} s)" for name, count in counts.items()
    )
    print(f"fuzz: {sum(counts.values()):,} inputs, no failure: {each}")
    return 0


def make(rng: random.Random, name: str, kept: list[bytes], tars: list[bytes]) -> bytes:
    """Make one input of a target."""
    form = FORMS[name]
    if name in ("tar", "extract"):
        start = generate(rng) if rng.random() < 0.5 or not tars else rng.choice(kept + tars)
        return start if rng.random() < 0.2 else mutate(rng, start, tars, form)
    return mutate(rng, rng.choice(kept or [b""]), kept + tars, form)


def run_one(name: str, data: bytes, place: Path) -> None:
    """Give one input to a target, within the limits.

    Raises:
        TooMuch: when it took too much time or memory.
    """
    before = _reset_peak()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        TARGETS[name](data, place)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    taken = _status("VmHWM") - before
    if taken > MAX_BYTES:
        raise TooMuch(f"{taken >> 20} MiB for an input of {len(data):,} bytes")


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooMuch(f"more than {MAX_SECONDS} seconds")


def _reset_peak() -> int:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def minimise(name: str, path: str, place: Path) -> int:
    """Cut pieces away for as long as the input fails in the same way."""
    data = Path(path).read_bytes()
    wanted = _failure(name, data, place)
    if wanted is None:
        print(f"{path} does not fail")
        return 1
    step = max(1, len(data) // 2)
    while step:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + step :]
            if _failure(name, shorter, place) == wanted:
                data = shorter
            else:
                at += step
        step = min(512, step // 2) if step > 512 else step // 2
    Path(path + ".min").write_bytes(data)
    print(f"{path}.min: {len(data)} bytes, {wanted}")
    return 0


def _failure(name: str, data: bytes, place: Path) -> Any:
    try:
        run_one(name, data, place)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        return type(error).__name__, last.filename, last.lineno
    return None


if __name__ == "__main__":
    sys.exit(main())
