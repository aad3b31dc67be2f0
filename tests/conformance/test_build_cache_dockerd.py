"""BuildKit's databases, and what deleting really frees, held against a real engine.

LAYERVIEW_DOCKER26  the root of a system with Docker 26 (docker26-lab makes one), to see it there
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from layerview.store.build_cache import BuildCache
from layerview.store.cache_use import listed_records
from layerview.store.data_root import DataRoot
from layerview.store.freeing import Freeing
from layerview.store.usage import account
from tests.conformance import usage_lab
from tests.conformance.usage_lab import Lab
from tests.support import archives
from tests.support.commands import Command
from tests.support.container_lab import BUSYBOX, busybox_layer
from tests.support.dockerd import docker26

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]
VOLUMES = 150
LABEL = "x" * 9000
BLOCKS = 8 * 1024
"""Bytes by which lists of names may grow or shrink beside what is deleted."""


@pytest.fixture(scope="module", params=["overlay2", "vfs", "overlay2 of Docker 26"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A data root with images that share layers, a build cache, containers and volumes."""
    folder = tmp_path_factory.mktemp("cache")
    driver, _, of = request.param.partition(" ")
    lab = Lab(driver, folder / "data", folder, docker26() if of else None)
    try:
        above = archives.image(
            *lab.base.layers, usage_lab.random_layer("above", 900_000), tags=["above:1", "also:1"]
        )
        single = archives.image(
            busybox_layer(), usage_lab.random_layer("single", 700_000), tags=["single:1"]
        )
        lab.load(lab.base, above, single)
        docker = lab.engine.docker
        docker("build", "--network=none", "-qt", "classic:1", "-", stdin=usage_lab.CLASSIC.encode())
        lab.kit("kit")
        lab.kit("gone", size=523_000)
        lab.kit("both", size=623_000)
        docker("rmi", "gone:1")
        script = "head -c 800000 /dev/zero >/big; head -c 300000 /dev/zero | tr '\\0' x"
        run = ("run", "--network=none", "--name")
        docker(*run, "writes", "above:1", "sh", "-ec", script)
        docker(
            *run,
            "single",
            "-v",
            "vol:/v",
            "single:1",
            "sh",
            "-ec",
            "head -c 90000 $0 >/v/f",
            "/bin/busybox",
        )
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_df_lists_what_the_engine_lists(lab: Lab, run: Command) -> None:
    # At first the engine has not counted yet; it notes what it counts.
    for _ in range(2):
        found = run.json("df", "-v", "--root", lab.data)["build_cache"]
        said = lab.engine.api("/system/df")["BuildCache"]
        assert {one["id"]: _row(one) for one in found["items"]} == {
            one["ID"]: (
                *(one["Type"], one["Size"], one["Shared"], one["UsageCount"], one["Description"]),
                *(_moment(one["CreatedAt"]), _moment(one["LastUsedAt"])),
                # One until Docker 23; since then a list, whose name is misspelt in some.
                one.get("Parent") or (one.get(" Parents") or one.get("Parents") or [None])[0],
            )
            for one in said
        }
        assert found["count"] == len(said)
        assert found["active"] == sum(one["InUse"] for one in said) == 0
        assert found["size"] == sum(one["Size"] for one in said if not one["Shared"])
        assert found["reclaimable"] == found["size"]
        assert len({one["Shared"] for one in said}) == 2


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    return (
        *(one["type"], one["size"], one["shared"], one["usage_count"], one["description"]),
        *(_moment(one["created"]), _moment(one["last_used"]), next(iter(one["parents"]), None)),
    )


def _moment(text: str) -> str:
    """Leave out the zeros that Go leaves out."""
    return text.rstrip("Z").rstrip("0").rstrip(".")


def test_df_prints_the_engines_rows(lab: Lab, run: Command) -> None:
    theirs = lab.engine.docker("system", "df", "-v").decode()
    ours = run("df", "-v", "--root", lab.data).out
    rows = [text[text.index("CACHE ID") :].splitlines()[1:] for text in (theirs, ours)]
    ids = [[line.split()[0] for line in lines if line.strip()] for lines in rows]
    assert ids[0] == ids[1]
    assert len(ids[0]) > 8
    form = "{{.Type}}|{{.TotalCount}}|{{.Active}}"
    lines = lab.engine.docker("system", "df", "--format", form).decode().splitlines()
    [line] = [
        line.split() for line in run("df", "--root", lab.data).out.splitlines() if "Cache" in line
    ]
    assert f"Build Cache|{line[2]}|{line[3]}" in lines


def test_every_folder_of_the_cache_is_known(lab: Lab) -> None:
    cache = BuildCache.read(DataRoot(str(lab.data)))
    assert cache.readable
    records = {
        record.joinpath("cache-id").read_text() for record in (lab.layerdb / "sha256").iterdir()
    }
    assert lab.folders() - usage_lab.owned(lab).keys() <= cache.driver_ids.keys() | records
    chains = {f"sha256:{record.name}" for record in (lab.layerdb / "sha256").iterdir()}
    assert set(map(str, cache.chain_ids)) <= chains


def test_a_large_database_is_read_as_the_engine_reads_it(lab: Lab, run: Command) -> None:
    """Branch pages, and values that run over many: labels of volumes are kept there alone."""
    for number in range(VOLUMES):
        labels = {"at": f"{number}{LABEL * (number % 3)}"}
        lab.engine.api("/volumes/create", {"Name": f"v{number}", "Labels": labels})
    said = {one["Name"]: one["Labels"] for one in lab.engine.api("/volumes")["Volumes"]}
    found = {one["name"]: one["labels"] for one in run.json("volume", "ls", "--root", lab.data)}
    assert found == {name: labels or {} for name, labels in said.items()}
    assert len(said) > VOLUMES


def test_a_database_that_is_being_written_is_always_whole(lab: Lab) -> None:
    """Builds go on meanwhile; what is read then is what some moment had."""
    root = DataRoot(str(lab.data))
    before = set(BuildCache.read(root).driver_ids)
    seen, count = set(), 0
    for name in ("live1", "live2"):
        building = lab.kit_build(name)
        while building.poll() is None:
            cache = BuildCache.read(root)
            assert cache.readable, cache.problem
            # What was there stays, and belongs to the same.
            assert before <= set(cache.driver_ids)
            seen.add(len(cache.driver_ids))
            count += 1
        out, _ = building.communicate()
        assert building.returncode == 0, out
    assert len(seen) > 3
    assert count > 20


# What deleting frees -------------------------------------------------------------------------


class Freed:
    """Deletes by the engine, and compares with what was said before."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._root = DataRoot(str(lab.data))

    def before(self) -> Freeing:
        """Say what deleting would free now."""
        freeing = Freeing(self._root, account(self._root))
        assert freeing.exact
        return freeing

    def check(self, said: int, *words: str) -> int:
        """Have the engine delete; return how many bytes the disk has more."""
        before = self._listed()
        self._lab.engine.docker(*words)
        after = self._listed()
        freed = sum(before.values()) - sum(after.values())
        changed = {
            path: before.get(path, 0) - after.get(path, 0)
            for path in before.keys() | after.keys()
            if before.get(path, 0) != after.get(path, 0)
        }
        assert abs(freed - said) <= BLOCKS, (words, said, freed, changed)
        return freed

    def settle(self) -> None:
        """Wait until the engine has put away what builds left."""
        end = time.monotonic() + 60
        last: dict[str, int] = {}
        while (now := self._listed()) != last:
            assert time.monotonic() < end
            last = now
            time.sleep(0.5)

    def _listed(self) -> dict[str, int]:
        """What each file and folder takes; databases and notes of past builds only grow."""
        found: dict[tuple[int, int], tuple[str, int]] = {}
        for at, _, files in os.walk(self._lab.data):
            for path in (at, *(os.path.join(at, name) for name in files)):
                with suppress(FileNotFoundError):
                    state = os.lstat(path)
                    if not path.endswith(".db") and "/buildkit/content/" not in path:
                        found[state.st_dev, state.st_ino] = path, state.st_blocks * 512
        return dict(found.values())


def image(freeing: Freeing, name: str) -> int:
    [record] = [one for one in freeing.images if name in one.references]
    return freeing.image(record)


def container(freeing: Freeing, name: str) -> int:
    [record] = [one for one in freeing.containers if one.name == name]
    return freeing.container(record)


def test_as_much_is_freed_as_was_said(lab: Lab) -> None:
    lab.engine.docker("rmi", "live1:1", "live2:1")
    freed = Freed(lab)
    freed.settle()
    # An image whose layers a container needs: only its record.
    assert freed.check(image(freed.before(), "single:1"), "rmi", "-f", "single:1") < 100_000
    # With the container go the layers that only it needs.
    assert freed.check(container(freed.before(), "single"), "rm", "single") > 700_000
    assert freed.check(freed.before().volume("vol"), "volume", "rm", "vol") > 90_000
    # Shared layers stay, with the log goes the container's own.
    assert freed.check(container(freed.before(), "writes"), "rm", "writes") > 1_000_000
    said = image(freed.before(), "above:1")
    freed.check(0, "rmi", "also:1")
    assert freed.check(said, "rmi", "above:1") > 900_000
    # The build cache has all that this image is made of, and frees nothing that an image has.
    assert freed.check(image(freed.before(), "kit:1"), "rmi", "kit:1") < 100_000
    # A single record that nothing lies on, then all.
    now = freed.before()
    rows = {one.id: now.cache_record(one) for one in listed_records(now.cache)}
    id = max(rows, key=lambda id: rows[id])
    assert freed.check(rows[id], "builder", "prune", "-af", "--filter", f"id={id}") > 500_000
    assert freed.check(freed.before().whole_cache(), "builder", "prune", "-af") > 200_000
    # What a build made is the image's alone now.
    assert freed.check(image(freed.before(), "both:1"), "rmi", "both:1") > 600_000
    # Built by steps: those without a name go with the last image.
    freed.check(image(freed.before(), "classic:1"), "rmi", "classic:1")
    assert freed.check(image(freed.before(), "base:1"), "rmi", "base:1") > 1_000_000
