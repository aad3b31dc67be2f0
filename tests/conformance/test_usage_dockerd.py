"""The account of a data root that a real engine fills equals `du`, and knows whose everything is.

LAYERVIEW_DOCKER26  the root of a system with Docker 26 (docker26-lab makes one), to see it there
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import usage_lab
from tests.conformance.usage_lab import Lab, Owned
from tests.support.commands import Command
from tests.support.container_lab import BUSYBOX
from tests.support.disks import disk
from tests.support.dockerd import docker26

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]
LAYERVIEW = (sys.executable, "-P", "-m", "layerview")
KINDS = {"layer": "image_layer", "container": "container_layer", "init": "init_layer"}


@pytest.fixture(scope="module", params=["overlay2", "vfs", "btrfs", "overlay2-26", "vfs-26"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A data root with all that takes space, its engine running."""
    driver, _, of = request.param.partition("-")
    folder = tmp_path_factory.mktemp("usage")
    system = docker26() if of else None
    if driver == "btrfs":
        with disk("btrfs", folder, 2 << 30) as mounted:
            yield from filled(Lab(driver, mounted / "data", folder, system))
    else:
        yield from filled(Lab(driver, folder / "data", folder, system))


def filled(lab: Lab) -> Iterator[Lab]:
    try:
        usage_lab.fill(lab)
        yield lab
    finally:
        lab.stop()


@pytest.fixture(scope="module")
def killed(lab: Lab) -> Lab:
    """The same after the engine was killed in the middle of a load."""
    usage_lab.interrupt_load(lab)
    return lab


@pytest.fixture(scope="module")
def leftover(killed: Lab) -> Lab:
    """The same with an orphan of each kind; no engine runs."""
    usage_lab.make_orphans(killed)
    return killed


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def account(lab: Lab, run: Command) -> Any:
    """The account as it is printed; its parts add up to what `du` says."""

    def work() -> Any:
        os.sync()
        return run.json("usage", lab.data)

    [(said, found)] = usage_lab.calm(lambda: usage_lab.du(lab.data, lab), work)
    assert sum(part["bytes"] for part in found["parts"]) == found["total_bytes"]
    assert found["total_bytes"] == said
    assert (found["root"], found["driver"]) == (str(lab.data), lab.driver)
    paths = [part["path"] for part in found["parts"]]
    assert len(set(paths)) == len(paths)
    for part in found["parts"]:
        assert os.path.lexists(part["path"]), part
    return found


def of_folders(lab: Lab, found: Any) -> dict[str, Any]:
    """The parts that are a driver's folders."""
    home = f"{lab.home}/"
    parts = {
        part["path"].removeprefix(home): part
        for part in found["parts"]
        if part["path"].startswith(home)
    }
    return {name: part for name, part in parts.items() if name != "l"}


def orphans(found: Any) -> set[str]:
    return {part["path"] for part in found["parts"] if part["kind"] == "orphan"}


# A live engine ------------------------------------------------------------------------------------


def test_the_parts_add_up_to_what_du_says(lab: Lab, run: Command) -> None:
    account(lab, run)


def test_they_do_so_where_the_engines_mounts_are_seen(lab: Lab) -> None:
    """A running container's tree is mounted below the root, and is no part of it."""
    lab.engine.inside("true")
    place = lab.engine.data_inside

    def work() -> Any:
        done = lab.engine.inside(*LAYERVIEW, "usage", place, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    [(said, found)] = usage_lab.calm(lambda: usage_lab.du(place, lab, inside=True), work)
    assert sum(part["bytes"] for part in found["parts"]) == found["total_bytes"] == said
    assert orphans(found) == set()


def test_every_folder_of_the_driver_is_what_the_engine_has_it_for(lab: Lab, run: Command) -> None:
    parts = of_folders(lab, account(lab, run))
    owned, cached = usage_lab.owned(lab), usage_lab.cached(lab)
    expected = {name: KINDS[one.kind] for name, one in owned.items()}
    expected |= dict.fromkeys(cached, "build_cache")
    assert {name: part["kind"] for name, part in parts.items()} == expected
    assert len(cached) >= 4
    for name, part in parts.items():
        assert (part["id"], part["driver"]) == (name, lab.driver)
        assert part["bytes"] == usage_lab.du(part["path"], lab)
        if name in owned:
            check_owners(owned[name], part)


def check_owners(one: Owned, part: Any) -> None:
    """A layer's owners are its images, by name; where no image has it, its containers."""
    if one.kind != "layer":
        assert set(part["owners"]) == one.containers, part
        return
    names = {name for name in one.images if not name.startswith("sha256:")}
    short = {name[7:19] for name in one.images - names}
    if names or short:
        assert set(part["owners"]) - short == names, part
        assert names or set(part["owners"]) == short, part
    else:
        assert set(part["owners"]) == one.containers, part


def test_logs_are_their_containers(lab: Lab, run: Command) -> None:
    parts = account(lab, run)["parts"]
    logs = [part for part in parts if part["kind"] == "log"]
    assert all(len(part["owners"]) == 1 for part in logs)
    found: dict[str, int] = {}
    for part in logs:
        found[part["owners"][0]] = found.get(part["owners"][0], 0) + part["bytes"]
    expected = {}
    for each in lab.engine.api("/containers/json?all=1"):
        files = list((lab.data / "containers" / each["Id"]).glob("*-json.log*"))
        files += (lab.data / "containers" / each["Id"]).glob("local-logs/**/*")
        folder = lab.data / "containers" / each["Id"] / "local-logs"
        blocks = sum(file.lstat().st_blocks for file in files)
        if files:
            blocks += folder.lstat().st_blocks if folder.exists() else 0
            expected[each["Names"][0].strip("/")] = blocks * 512
    assert {name: size for name, size in found.items() if size} == {
        name: size for name, size in expected.items() if size
    }
    assert found["talks"] > usage_lab.LOG_BYTES
    assert found["turns"] > 500_000


def test_volumes_are_those_of_the_engine_and_whose_they_are(lab: Lab, run: Command) -> None:
    parts = account(lab, run)["parts"]
    found = {
        part["name"]: (part["path"], sorted(part["owners"]), part["bytes"])
        for part in parts
        if part["kind"] == "volume"
    }
    users: dict[str, list[str]] = {}
    for each in lab.engine.api("/containers/json?all=1"):
        for mount in lab.engine.inspect(each["Id"])["Mounts"]:
            users.setdefault(mount["Name"], []).append(each["Names"][0].strip("/"))
    expected = {}
    for volume in lab.engine.api("/volumes")["Volumes"]:
        path = lab.data / "volumes" / volume["Name"]
        users_of = sorted(users.get(volume["Name"], []))
        expected[volume["Name"]] = (str(path), users_of, usage_lab.du(path, lab))
    assert found == expected
    assert sorted(map(len, (owners for _, owners, _ in found.values()))) == [0, 1, 2]
    [nobodys] = [part for part in parts if part["name"] == "nobodys"]
    assert "no container" in nobodys["note"]


def test_the_build_cache_is_told_by_its_records(lab: Lab, run: Command) -> None:
    parts = of_folders(lab, account(lab, run))
    notes = "\n".join(part["note"] for part in parts.values() if part["kind"] == "build_cache")
    said = lab.engine.api("/system/df")["BuildCache"]
    alone = [one for one in said if not one["Shared"] and one["Size"]]
    for one in alone:
        # A record's first words: a note is one line of a bounded length.
        assert one["Description"].splitlines()[0][:40] in notes, one
    assert len(alone) >= 2


def test_the_metadata_of_a_container_is_its_own(lab: Lab, run: Command) -> None:
    parts = account(lab, run)["parts"]
    for each in lab.engine.api("/containers/json?all=1"):
        place = str(lab.data / "containers" / each["Id"])
        [part] = [part for part in parts if part["path"] == place]
        assert (part["kind"], part["owners"]) == ("metadata", [each["Names"][0].strip("/")])


def test_whose_is_right_for_every_folder(lab: Lab, run: Command) -> None:
    owned = usage_lab.owned(lab)
    for name in lab.folders():
        place = lab.home / name
        one = owned.get(name, Owned("cache", frozenset(), frozenset()))
        for said in (place, name):
            words = ("whose", said, *(("--root", lab.data) if said == name else ()))
            found = run.json(*words)
            assert (found["kind"], found["path"]) == (one.kind, str(place)), found
            assert found["cache_id"] == name
            assert not found["orphan"]
            assert {
                image["reference"] or image["image_id"] for image in found["images"]
            } == one.images, found
            assert {each["name"] for each in found["containers"]} == one.containers, found
            if one.diff_id:
                assert found["diff_id"] == one.diff_id
            assert found["bytes"] == usage_lab.du(place, lab)


def test_whose_follows_what_people_have_in_hand(lab: Lab, run: Command) -> None:
    """Paths deep inside, DiffIDs, ChainIDs, containers and volumes."""
    root = ("--root", lab.data)
    diff_ids, chain_ids = lab.base.diff_ids, lab.base.chain_ids
    folder = lab.home / lab.cache_id(lab.base)
    deep = next(path for path in folder.rglob("again"))
    for said in (diff_ids[1], chain_ids[1], chain_ids[1].removeprefix("sha256:"), deep):
        found = run.json("whose", said, *root)
        assert (found["kind"], found["path"]) == ("layer", str(folder)), said
        assert (found["diff_id"], found["chain_id"]) == (diff_ids[1], chain_ids[1])
        assert {image["layer"] for image in found["images"]} == {1}
    runs = lab.engine.inspect("runs")
    for said in ("runs", runs["Id"], runs["Id"][:7]):
        found = run.json("whose", said, *root)
        assert (found["kind"], found["containers"]) == (
            "container",
            [{"id": runs["Id"], "name": "runs"}],
        )
        places = {place["path"] for place in found["places"]}
        mount = (lab.layerdb / "mounts" / runs["Id"] / "mount-id").read_text()
        assert {str(lab.home / mount), str(lab.home / f"{mount}-init")} <= places
        assert str(lab.data / "containers" / runs["Id"]) in places
    found = run.json("whose", "used", *root)
    assert (found["kind"], found["path"]) == ("volume", str(lab.data / "volumes/used"))
    assert {each["name"] for each in found["containers"]} == {"runs", "stopped"}
    found = run.json("whose", lab.data / "volumes/used/_data/f")
    assert (found["kind"], found["path"]) == ("volume", str(lab.data / "volumes/used"))
    found = run.json("whose", runs["LogPath"].replace("/engine/data/", f"{lab.data}/"))
    assert [each["name"] for each in found["containers"]] == ["runs"]


def test_whose_says_where_an_images_bytes_lie(lab: Lab, run: Command) -> None:
    owned = usage_lab.owned(lab)
    for name in ("above:1", "classic:1", "kit:1", "base:1"):
        image = lab.engine.inspect(name)
        for said in (name, image["Id"], image["Id"][7:19]):
            found = run.json("whose", said, "--root", lab.data)
            assert found["kind"] == "image"
            layers = {Path(place["path"]).name for place in found["places"] if place["bytes"]}
            mine = {
                folder
                for folder, one in owned.items()
                if name in one.images and one.kind == "layer"
            }
            assert mine <= layers, said
            assert not (layers & (owned.keys() - mine))


# Orphans ------------------------------------------------------------------------------------------


def test_what_a_killed_engine_left_is_told_apart(killed: Lab, run: Command) -> None:
    """Of a load: its layer's folder is an orphan, the other files are temporary."""
    found = account(killed, run)
    assert orphans(found) == killed.orphans
    assert len(killed.orphans) == 1
    temporary = [part for part in found["parts"] if part["kind"] == "temporary"]
    places = {os.path.relpath(part["path"], killed.data).split("/")[0] for part in temporary}
    assert places == {"tmp", "image"}
    assert sum(part["bytes"] for part in temporary) > 40_000_000


def test_each_orphan_is_named_and_nothing_else(leftover: Lab, run: Command) -> None:
    found = account(leftover, run)
    assert orphans(found) == leftover.orphans
    assert len(leftover.orphans) >= 6
    for part in found["parts"]:
        if part["kind"] == "orphan":
            assert part["note"], part
            assert part["bytes"] == usage_lab.du(part["path"], leftover)


def test_whose_knows_orphans(leftover: Lab, run: Command) -> None:
    for path in leftover.orphans:
        found = run.json("whose", path)
        assert (found["kind"], found["orphan"]) == ("orphan", True), found
        assert (found["path"], found["images"], found["containers"]) == (path, [], [])


def test_they_are_orphans_to_an_engine_that_started_after_them(leftover: Lab, run: Command) -> None:
    assert leftover.engine.api("/_ping") == b"OK"
    found = account(leftover, run)
    assert orphans(found) == {path for path in leftover.orphans if os.path.exists(path)}
    assert len(orphans(found)) >= 6
    owned = usage_lab.owned(leftover)
    parts = of_folders(leftover, found)
    for name, one in owned.items():
        assert parts[name]["kind"] == KINDS[one.kind], parts[name]


def test_layers_that_an_orphan_stands_on_are_no_orphans(leftover: Lab, run: Command) -> None:
    base = leftover.cache_id(leftover.base)
    found = run.json("whose", base, "--root", leftover.data)
    assert (found["kind"], found["orphan"]) == ("layer", False)
    assert "base:1" in {image["reference"] for image in found["images"]}


def test_the_way_that_is_said_frees_them_and_harms_nothing(leftover: Lab, run: Command) -> None:
    leftover.stop()
    said = run("usage", leftover.data)
    lines = [line.strip() for line in said.out.splitlines()]
    commands = [line for line in lines if line.startswith(("rm -r ", "btrfs subvolume delete "))]
    assert len(commands) >= 5
    for command in commands:
        subprocess.run(shlex.split(command), check=True, capture_output=True)
    # What of it is the engine's to finish, a restart finishes.
    assert leftover.engine.api("/_ping") == b"OK"
    leftover.stop()
    assert orphans(account(leftover, run)) == set()
    assert not any(os.path.exists(path) for path in leftover.orphans)
    docker = leftover.engine.docker
    for image in ("classic:1", "kit:1"):
        docker("run", "--rm", "--network", "none", image, "true")
    docker("start", "-a", "untagged")
    leftover.kit("kit")
