"""No folder is called an orphan because an engine was at work while the account was made.

LAYERVIEW_USAGE_RUNS  how often the account is made beside builds, pulls, loads and prunes
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import usage_lab
from tests.conformance.usage_lab import Lab
from tests.support import archives
from tests.support.commands import Command
from tests.support.container_lab import BUSYBOX
from tests.support.dockerd import DOCKER, docker26
from tests.support.registry import registry

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]
RUNS = int(os.environ.get("LAYERVIEW_USAGE_RUNS", "15"))


OLD = 6


@contextlib.contextmanager
def filled(driver: str, folder: Path, system: Path | None) -> Iterator[Lab]:
    """Make a data root whose engine has things that are older than itself."""
    made = Lab(driver, folder / "data", folder, system)
    try:
        made.load(
            made.base,
            *(
                archives.image(
                    *made.base.layers,
                    usage_lab.random_layer("old", 50_000),
                    usage_lab.random_layer("older", 50_000),
                    tags=[f"old{number}:1"],
                )
                for number in range(OLD)
            ),
        )
        for number in range(OLD // 2):
            name = f"old{number}"
            made.engine.docker("create", "--name", name, "--network", "none", f"{name}:1", "true")
            if number < 2:
                made.kit(name)
        made.stop()
        assert made.engine.api("/_ping") == b"OK"
        yield made
    finally:
        made.stop()


class Busy:
    """An engine that is given work by several clients at once, over and over."""

    def __init__(self, lab: Lab, place: str) -> None:
        self._lab = lab
        self._place = place
        self._stop = threading.Event()
        # moby 20.10 panics when cached layers are pruned that a build begins with.
        self._images = threading.Lock()
        self.done: Counter[str] = Counter()
        layer = usage_lab.random_layer("loaded", 500_000)
        image = archives.image(*lab.base.layers, layer, tags=["loaded:1"])
        self._file = archives.docker_archive(lab.folder / "loaded.tar", image)

    def _docker(self, what: str, *words: object) -> None:
        """Let a client do something, which may meet another one that undoes it."""
        done = subprocess.run(
            [DOCKER, *map(str, words)],
            env=self._lab.engine.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
        self.done[what] += done.returncode == 0

    def _clear(self) -> None:
        """Remove things that are older than the engine, as long as there are any."""
        number = self.done["cleared"]
        self.done["cleared"] += 1
        if number < OLD:
            self._docker("rm", "rm", "-f", f"old{number}")
            self._docker("rmi", "rmi", "-f", f"old{number}:1")
        time.sleep(0.2)

    def _build(self) -> None:
        with self._images:
            build = self._lab.kit_build("kit", "--progress=plain", size=3_000_000)
            assert build.stdout is not None
            while b"COPY" not in (line := build.stdout.readline()) and line:
                pass
        build.communicate(timeout=120)
        self.done["build"] += build.returncode == 0
        self._docker("rmi", "rmi", "kit:1")

    def _pull(self) -> None:
        name = f"{self._place}/pulled:1"
        self._docker("pull", "pull", "-q", name)
        self._docker("rmi", "rmi", name)

    def _load(self) -> None:
        self._docker("load", "load", "-q", "-i", self._file)
        self._docker("run", "run", "--rm", "--network", "none", "loaded:1", "true")
        self._docker("rmi", "rmi", "-f", "loaded:1")

    def _prune(self) -> None:
        self._docker("create", "create", "--network", "none", "base:1", "true")
        with self._images:
            self._docker("prune", "system", "prune", "-f", "--volumes")
        with self._images:
            self._docker("prune", "builder", "prune", "-a", "-f")

    def _over_and_over(self, work: Callable[[], None]) -> None:
        while not self._stop.is_set():
            work()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Have all of it done for as long as this lasts."""
        works = [self._build, self._pull, self._load, self._prune, self._clear]
        with ThreadPoolExecutor(len(works)) as pool:
            going = [pool.submit(self._over_and_over, work) for work in works]
            try:
                yield
            finally:
                self._stop.set()
            for each in going:
                each.result()


def check_orphans(lab: Lab, parts: list[Any]) -> None:
    """Fail if anything is called an orphan; tell what became of it, and what the engine said."""
    found = [part for part in parts if part["kind"] == "orphan"]
    if not found:
        return
    time.sleep(5)
    lines = [
        f"{part['path']}: {part['note']}; {part['bytes']} bytes,"
        f" 5 s later {usage_lab.du(part['path'], lab) if os.path.exists(part['path']) else 'gone'}"
        for part in found
    ]
    said = [line for line in lab.engine.log.splitlines() if "level=info" not in line]
    pytest.fail("\n".join([*lines, *said[-20:]]), pytrace=False)


class Died(Exception):
    """The engine did, so that what it was at is left for good."""


def accounts(lab: Lab, run: Command, busy: Busy) -> Counter[str]:
    """Make the account many times beside a busy engine; return of what kinds parts were."""
    seen: Counter[str] = Counter()
    with busy.working():
        for _ in range(RUNS):
            answer = run("usage", lab.data, "--json")
            if not lab.engine.is_alive:
                raise Died
            assert answer.status == 0, answer
            parts = answer.json["parts"]
            assert sum(part["bytes"] for part in parts) == answer.json["total_bytes"]
            check_orphans(lab, parts)
            seen.update(part["kind"] for part in parts)
            time.sleep(0.1)
    return seen


@pytest.mark.parametrize("engine", ["overlay2", "vfs", "overlay2-26"])
def test_what_an_engine_is_making_or_removing_is_no_orphan(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(capsys)
    driver, _, of = engine.partition("-")
    system = docker26() if of else None
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with filled(driver, folder, system) as lab:
            layers = [usage_lab.random_layer(name, 700_000) for name in "abc"]
            pulled = archives.image(*lab.base.layers, *layers, compression="gzip")
            with registry(pulled=pulled) as place:
                busy = Busy(lab, place)
                try:
                    seen = accounts(lab, run, busy)
                except Died:
                    continue
            with capsys.disabled():
                print(f"\n{engine}: {RUNS} accounts beside {dict(busy.done)}: {dict(seen)}")
            done = {what for what, count in busy.done.items() if count}
            assert {"build", "pull", "load", "prune", "run"} <= done
            # At rest nothing is left that could not be told.
            [(said, found)] = usage_lab.calm(
                lambda: usage_lab.du(lab.data, lab), lambda: run.json("usage", lab.data)
            )
            assert found["total_bytes"] == said
            check_orphans(lab, found["parts"])
            return
    pytest.fail("the engine died each time")
