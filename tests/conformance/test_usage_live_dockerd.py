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


@pytest.fixture(params=["overlay2", "vfs", "overlay2-26"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A data root whose engine has things that are older than itself."""
    driver, _, of = request.param.partition("-")
    made = Lab(driver, tmp_path / "data", tmp_path, docker26() if of else None)
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            build = self._lab.kit_build("kit", size=3_000_000)
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
        self._docker("prune", "system", "prune", "-f", "--volumes")
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


def test_what_an_engine_is_making_or_removing_is_no_orphan(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(capsys)
    layers = [usage_lab.random_layer(name, 700_000) for name in "abc"]
    pulled = archives.image(*lab.base.layers, *layers, compression="gzip")
    with registry(pulled=pulled) as place:
        busy = Busy(lab, place)
        seen: Counter[str] = Counter()
        with busy.working():
            for _ in range(RUNS):
                answer = run("usage", lab.data, "--json")
                assert answer.status == 0, answer
                parts = answer.json["parts"]
                assert sum(part["bytes"] for part in parts) == answer.json["total_bytes"]
                assert [part for part in parts if part["kind"] == "orphan"] == []
                seen.update(part["kind"] for part in parts)
                time.sleep(0.1)
        with capsys.disabled():
            print(f"\n{lab.driver}: {RUNS} accounts beside {dict(busy.done)}; parts {dict(seen)}")
    assert {"build", "pull", "load", "prune", "run"} <= {
        what for what, count in busy.done.items() if count
    }
    # At rest nothing is left that could not be told.
    [(said, found)] = usage_lab.calm(
        lambda: usage_lab.du(lab.data, lab), lambda: run.json("usage", lab.data)
    )
    assert found["total_bytes"] == said
    assert [part for part in found["parts"] if part["kind"] == "orphan"] == []
