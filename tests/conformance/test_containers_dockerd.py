"""A real engine on an area with our containers and volumes, and layerview on those it made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layerview.cli.main import main
from layerview.containers.init_layer import fill
from layerview.layer.tree_changes import Change
from layerview.store.area import Area
from layerview.store.container_files import bind_point, volume_point
from layerview.store.containers import NewContainer, change_container, read_lock
from layerview.store.data_root import DataRoot
from layerview.store.inventory import container_size
from layerview.store.volumes import Volumes, inspect, listed, new_name
from layerview.text import printable
from tests.support import archives, areas, containers, tars
from tests.support.dockerd import DOCKER, Dockerd

BUSYBOX = Path("/bin/busybox")
SCRIPT = "echo again; cat /new /data/kept"
STARTED, FINISHED = "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:07.5Z"

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox is not installed"),
]


@dataclass
class Made:
    """An area with containers of ours, of an image that needs nothing of this machine."""

    root: Path
    driver: str
    plain: NewContainer
    ended: NewContainer
    anonymous: str


def build(root: Path, driver: str, folder: Path) -> Made:
    layer = tars.layer(
        tars.folder("bin"),
        tars.file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        *(tars.symlink(f"bin/{name}", "busybox") for name in ("sh", "cat", "echo", "ls")),
        tars.folder("srv"),
        tars.file("srv/old", b"old"),
    )
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Volumes": {"/vol": {}}}
    spec = archives.image(layer, tags=["bb:1"], config=config)
    archive = archives.docker_archive(folder / "bb.tar", spec)
    assert main(["load", "-i", str(archive), "--driver", driver, "--root", str(root)]) == 0
    area = Area.open(str(root))
    shared = folder / "shared"
    shared.mkdir()
    anonymous = new_name()
    with area.writing() as writing:
        plain = ours(
            area,
            "plain",
            {"/vol": volume_point(str(root), anonymous, "/vol", asked=False)},
            binds=(),
        )
        make(writing, plain)
        Volumes(writing).create("data")
        (root / "volumes/data/_data/kept").write_text("kept\n")
        ended = ours(
            area,
            "ended",
            {
                "/data": volume_point(str(root), "data", "/data", asked=True),
                "/plain": volume_point(str(root), "data", "/plain", asked=True, copy=False),
                "/shared": bind_point(str(shared), "/shared", read_only=True),
                "/srv2": bind_point(str(shared), "/srv2"),
                "/vol": volume_point(str(root), new_name(), "/vol", asked=False),
            },
            binds=(
                f"{shared}:/shared:ro",
                f"{shared}:/srv2",
                "data:/data",
                "data:/plain:nocopy",
            ),
            args=("-c", SCRIPT),
        )
        make(writing, ended)
        with writing.driver(driver).mounted(ended.mount_id) as merged:
            Path(merged, "new").write_text("new\n")
            Path(merged, "srv/old").unlink()
            Path(merged, "bin/ls").unlink()
            Path(merged, "bin/ls").write_text("changed")
    home = root / "containers" / ended.id
    log = [
        {"log": f"{word}\n", "stream": stream, "time": STARTED}
        for word, stream in (("out", "stdout"), ("err", "stderr"))
    ]
    (home / f"{ended.id}-json.log").write_text("".join(json.dumps(line) + "\n" for line in log))

    def end(document: dict[str, Any]) -> None:
        document["HasBeenStartedBefore"] = True
        document["State"] |= {"ExitCode": 3, "StartedAt": STARTED, "FinishedAt": FINISHED}

    change_container(area, ended.id, end)
    return Made(root, driver, plain, ended, anonymous)


def ours(
    area: Area, name: str, points: dict[str, Any], *, binds: tuple[str, ...], args: Any = ()
) -> NewContainer:
    wanted = containers.new(area, "bb:1", name, mount_points=points, binds=binds)
    changed = {"Cmd": ["sh", *args], "Volumes": {"/vol": {}}, "Labels": {"a": "b"}}
    streams = {"AttachStdout": True, "AttachStderr": True}
    config = {**wanted.config, **changed, **streams}
    return wanted._replace(path="sh", args=args, config=config)


def make(writing: Any, wanted: NewContainer) -> None:
    below = writing.area.data.layer(wanted.driver, wanted.parent).cache_id
    with writing.new_container(wanted) as making:
        fill(writing.driver(wanted.driver), making.init_id, below)
        writing.driver(wanted.driver).create_writable(making.mount_id, making.init_id)


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("containers")
    return build(folder / "area", request.param, folder)


@pytest.fixture(scope="module")
def engine(made: Made) -> Iterator[Dockerd]:
    with Dockerd(made.driver, made.root) as here:
        yield here


def shown(engine: Dockerd, *words: object) -> list[dict[str, Any]]:
    found = engine.docker(*words, "--format", "{{json .}}").decode().splitlines()
    return [json.loads(line) for line in found]


def test_it_loads_them_without_a_word(made: Made, engine: Dockerd) -> None:
    engine.docker("ps", "--all")
    complaints = [
        line
        for line in engine.log.splitlines()
        if re.search("level=(warn|err|fatal)", line)
        and re.search(f"container|volume|mount|{made.plain.id[:12]}|{made.ended.id[:12]}", line)
        # What it says on an empty data root, too.
        and not re.search("containerd|snapshotter|blkio|cgroup", line)
    ]
    assert complaints == []


def test_it_lists_them(made: Made, engine: Dockerd) -> None:
    found = {one["Names"]: one for one in shown(engine, "ps", "--all", "--no-trunc", "--size")}
    assert set(found) >= {"plain", "ended"}
    for name, record in (("plain", made.plain), ("ended", made.ended)):
        assert found[name]["ID"] == record.id
        assert found[name]["Image"] == "bb:1"
        assert found[name]["Networks"] == "none"
    assert found["plain"]["Status"] == "Created"
    assert found["ended"]["Status"].startswith("Exited (3) ")
    assert found["ended"]["Command"] == f"\"sh -c '{SCRIPT}'\""
    assert set(found["ended"]["Mounts"].split(",")) > {"data"}
    ours = Area.open(str(made.root)).data
    size = container_size(ours, ours.container("ended"))
    assert found["ended"]["Size"].split(" ")[0] == f"{size}B"


@pytest.mark.parametrize("name", ["plain", "ended"])
def test_it_inspects_them_as_one_that_it_made_itself(
    made: Made, engine: Dockerd, name: str
) -> None:
    record = getattr(made, name)
    twin = f"{name}-twin"
    binds = [word for each in record.binds for word in ("--volume", each)]
    words = ("create", "--network", "none", "--name", twin, "--label", "a=b", *binds)
    engine.docker(*words, "bb:1", "sh", *record.args)
    try:
        documents = [engine.inspect(name), engine.inspect(twin)]
    finally:
        engine.docker("rm", "--volumes", twin)
    for document in documents:
        id = document.pop("Id")
        for key in ("Created", "Name"):
            assert document.pop(key)
        assert document["Config"].pop("Hostname") == id[:12]
        del document["GraphDriver"]["Data"]
        for mount in document["Mounts"]:
            if len(mount.get("Name", "")) == 64:
                assert mount["Source"].endswith(f"volumes/{mount.pop('Name')}/_data")
                del mount["Source"]
        (document["HostConfig"]["Binds"] or []).sort()
        document["Mounts"].sort(key=lambda mount: mount["Destination"])
    state = documents[0].pop("State"), documents[1].pop("State")
    assert state[0].keys() == state[1].keys()
    if name == "plain":
        assert state[0] == state[1]
    assert documents[0] == documents[1]


def test_it_tells_what_they_changed_and_wrote(made: Made, engine: Dockerd) -> None:
    found = set(engine.docker("diff", "ended").decode().splitlines())
    # /shared and the like are there from the mounts of a start, which it never had.
    assert found == {"C /bin", "C /bin/ls", "A /new", "C /srv", "D /srv/old"}
    area = Area.open(str(made.root))
    record = area.data.container("ended")
    assert found == {
        str(change) if not isinstance(change, Change) else words(change)
        for change in driver_changes(area, record.driver, record.mount_id, record.init_id)
    }
    assert engine.docker("diff", "plain") == b""
    assert engine.docker("logs", "--timestamps", "ended").decode() == f"{STARTED} out\n"


def words(change: Change) -> str:
    return f"{change.kind} /{printable(change.path)}"


def driver_changes(area: Area, driver: str, mount_id: str, init_id: str) -> list[Change]:
    from layerview.drivers.by_name import make_driver

    return make_driver(driver, area.root).changes(mount_id, init_id)


def test_it_lists_and_inspects_the_volumes(made: Made, engine: Dockerd) -> None:
    names = {one["Name"] for one in shown(engine, "volume", "ls")}
    data = DataRoot(str(made.root))
    assert names == {volume.name for volume in listed(data)} > {"data", made.anonymous}
    found = json.loads(engine.docker("volume", "inspect", "data"))[0]
    assert found["Mountpoint"] == inspect(data, "data").folder
    assert found["Driver"] == "local"
    assert found["Options"] in (None, {})
    users = engine.docker("ps", "-a", "--filter", "volume=data", "--format", "{{.Names}}")
    assert (
        users.decode().split() == [user.name for user in inspect(data, "data").users] == ["ended"]
    )
    unused = shown(engine, "volume", "ls", "--filter", "dangling=true")
    assert [one["Name"] for one in unused] == [v.name for v in listed(data) if not v.users] == []


def test_it_starts_them(made: Made, engine: Dockerd) -> None:
    assert engine.docker("start", "--attach", "ended") == b"again\nnew\nkept\n"
    assert engine.docker("logs", "ended") == b"out\nagain\nnew\nkept\n"
    record = DataRoot(str(made.root)).container("ended")
    assert (record.status, record.exit_code) == ("exited", 0)
    assert (record.started or "") > STARTED
    # One that is live, and its data root read by us.
    engine.docker(
        "run",
        "--detach",
        "--network",
        "none",
        "--name",
        "live",
        "bb:1",
        "sh",
        "-c",
        "cat <>/dev/ptmx",
    )
    assert DataRoot(str(made.root)).container("live").status == "running"
    engine.docker("rm", "--force", "live")


def test_it_removes_them(made: Made, engine: Dockerd) -> None:
    engine.docker("rm", "--volumes", "plain")
    engine.docker("rm", "ended")
    names = {one["Name"] for one in shown(engine, "volume", "ls")}
    assert made.anonymous not in names
    assert "data" in names
    engine.docker("volume", "rm", "data")
    assert made.plain.mount_id not in areas.folders(made.root, made.driver)
    assert f"{made.ended.mount_id}-init" not in areas.folders(made.root, made.driver)
    assert not containers.of(made.root) & {made.plain.id, made.ended.id}
    assert not (made.root / "volumes/data").exists()


# --- the other way round ---


@dataclass
class Theirs:
    """An area on which an engine made containers, and what it said of them when it was ended."""

    root: Path
    driver: str
    inspected: dict[str, Any]
    diffs: dict[str, set[str]]
    sizes: dict[str, int]
    volumes: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    driver: str = request.param
    folder = tmp_path_factory.mktemp("theirs")
    root = folder / "area"
    build(root, driver, folder)
    area = Area.open(str(root))
    with area.writing() as writing:
        for record in area.data.containers():
            writing.remove_container(record.id, volumes=True)
    with Dockerd(driver, root) as engine:
        create = ("create", "--network", "none", "--label", "a=b")
        engine.docker(*create, "--name", "created", "-it", "--volume", "data:/data:ro", "bb:1")
        ended = ("--name", "ended", "--tmpfs", "/t", "--volume", f"{folder / 'shared'}:/s", "bb:1")
        engine.docker(*create, *ended, "sh", "-c", "echo x >/new; echo out; exit 4")
        engine.docker(*create, "--name", "killed", "bb:1", "sh", "-c", "cat <>/dev/ptmx")
        assert engine.docker("start", "ended", "killed")
        assert engine.docker("wait", "ended") == b"4\n"
        names = ("created", "ended", "killed")
        found = Theirs(
            root,
            driver,
            {name: engine.inspect(name) for name in names},
            {name: set(engine.docker("diff", name).decode().splitlines()) for name in names},
            {
                one["Names"][0].removeprefix("/"): one.get("SizeRw", 0)
                for one in engine.api("/containers/json?all=1&size=1")
            },
            json.loads(engine.docker("volume", "inspect", *words_of(engine, "volume", "ls", "-q"))),
        )
        # As by a loss of power: nobody writes down how the container ended.
        os.kill(engine.pid, 9)
        return found


def words_of(engine: Dockerd, *words: str) -> list[str]:
    return engine.docker(*words).decode().split()


def test_layerview_lists_the_engines_containers(theirs: Theirs) -> None:
    data = DataRoot(str(theirs.root))
    records = {record.name: record for record in data.containers()}
    assert set(records) == {"created", "ended", "killed"}
    for name, record in records.items():
        said = theirs.inspected[name]
        assert record.id == said["Id"]
        assert str(record.image_id) == said["Image"]
        assert record.driver == theirs.driver
        assert list(record.command) == [said["Path"], *said["Args"]]
        assert record.created == said["Created"]
        assert record.started == said["State"]["StartedAt"]
        assert record.tty is (name == "created")
        assert container_size(data, record) == theirs.sizes[name]
        changes = driver_changes(
            Area.open(str(theirs.root)), theirs.driver, record.mount_id, record.init_id
        )
        assert {words(change) for change in changes} == theirs.diffs[name]
    assert records["created"].status == theirs.inspected["created"]["State"]["Status"] == "created"
    assert (records["ended"].status, records["ended"].exit_code) == ("exited", 4)
    assert records["ended"].finished == theirs.inspected["ended"]["State"]["FinishedAt"]
    # It ran when its engine was killed, and is written down so.
    assert theirs.inspected["killed"]["State"]["Status"] == "running"
    assert (records["killed"].status, records["killed"].exit_code) == ("exited", 255)


def test_layerview_inspects_them(theirs: Theirs) -> None:
    data = DataRoot(str(theirs.root))
    for said in theirs.inspected.values():
        document = data.container_document(said["Id"])
        assert document.mapping("Config") == {
            # What `inspect` leaves out, config.v2.json says as null.
            **dict.fromkeys(set(document.mapping("Config")) - set(said["Config"])),
            **said["Config"],
        }
        host = data.host_config(said["Id"]).values()
        assert {key: host[key] for key in said["HostConfig"]} == said["HostConfig"]
        targets = {mount["Destination"] for mount in said["Mounts"]}
        assert set(document.mapping("MountPoints")) == targets
        assert data.container_notes(said["Id"]).values() == {}


def test_layerview_lists_and_inspects_the_engines_volumes(theirs: Theirs) -> None:
    data = DataRoot(str(theirs.root))
    found = {volume.name: volume for volume in listed(data)}
    assert set(found) == {volume["Name"] for volume in theirs.volumes}
    for said in theirs.volumes:
        volume = found[said["Name"]]
        assert volume.folder == said["Mountpoint"]
        users = {
            name
            for name, one in theirs.inspected.items()
            if any(mount.get("Name") == volume.name for mount in one["Mounts"])
        }
        assert {user.name for user in volume.users} == users
    assert [user.name for user in found["data"].users] == ["created"]


def test_layerview_removes_them_and_an_engine_misses_nothing(theirs: Theirs) -> None:
    area = Area.open(str(theirs.root))
    with area.writing() as writing:
        for name in ("created", "ended", "killed"):
            gone = writing.remove_container(theirs.inspected[name]["Id"], volumes=True)
            assert len(gone) == 1
        Volumes(writing).remove("data")
    assert containers.of(theirs.root) == set()
    assert areas.wrong(theirs.root) == []
    with Dockerd(theirs.driver, theirs.root) as engine:
        assert engine.docker("ps", "--all", "--quiet") == b""
        assert engine.docker("volume", "ls", "--quiet") == b""
        assert engine.docker("run", "--rm", "--network", "none", "bb:1", "echo", "on") == b"on\n"


# --- what layerview itself ran ---


def layerview(root: Path, *words: object) -> subprocess.CompletedProcess[str]:
    first, *more = map(str, words)
    command = [sys.executable, "-m", "layerview", first, "--root", str(root), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def output(root: Path, *words: object) -> str:
    done = layerview(root, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shim_of(root: Path, name: str) -> int:
    area = Area.open(str(root))
    holder = read_lock(area, area.data.container(name).id)
    assert holder is not None
    return holder.shim


@pytest.fixture(params=["overlay2", "vfs"])
def ran(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    made = build(tmp_path / "area", request.param, tmp_path)
    yield made
    left = output(made.root, "ps", "-q").split()
    assert layerview(made.root, "rm", "--force", *left).returncode == 0 if left else True


def test_an_engine_goes_on_with_what_layerview_ran(ran: Made) -> None:
    root = ran.root
    script = "echo out; echo err >&2; echo x >/new; echo y >>/data/y; exit 3"
    words = ("--name", "ran", "-v", "more:/data", "bb:1", "sh", "-c", script)
    assert layerview(root, "run", *words).returncode == 3
    output(root, "run", "--detach", "--name", "killed", "bb:1", "sh", "-c", "read x <>/dev/ptmx")
    # While one runs, no engine comes to it, though none ever was here.
    with pytest.raises(pytest.skip.Exception, match=r"volume store metadata database: timeout"):
        Dockerd(ran.driver, root).__enter__()
    os.kill(shim_of(root, "killed"), 9)
    with Dockerd(ran.driver, root) as engine:
        listed_ = {one["Names"]: one["Status"] for one in shown(engine, "ps", "--all")}
        assert listed_["ran"].startswith("Exited (3) ")
        assert listed_["killed"].startswith("Exited (")
        assert engine.inspect("ran")["State"]["ExitCode"] == 3
        found = subprocess.run(
            [DOCKER, "logs", "ran"], env=engine.env, capture_output=True, check=True
        )
        assert (found.stdout, found.stderr) == (b"out\n", b"err\n")
        assert {"A /new", "A /data"} <= set(engine.docker("diff", "ran").decode().splitlines())
        assert engine.docker("volume", "ls", "-q", "--filter", "name=more") == b"more\n"
        again = subprocess.run(
            [DOCKER, "start", "--attach", "ran"], env=engine.env, capture_output=True
        )
        assert (again.returncode, again.stdout) == (3, b"out\n")
        made = ("create", "--network", "none", "--name", "made", "bb:1", "sh", "-c")
        engine.docker(*made, "cat /etc/hostname; echo from the engine; exit 5")
        engine.docker("rm", "killed")
    assert (root / "volumes/more/_data/y").read_text() == "y\ny\n"
    # And layerview with what the engine left.
    assert "Exited (3)" in output(root, "ps", "--all", "--filter", "name=ran")
    id = Area.open(str(root)).data.container("made").id
    started = layerview(root, "start", "--attach", "made")
    assert (started.returncode, started.stdout) == (5, f"{id[:12]}\nfrom the engine\n")
    assert "from the engine" in output(root, "logs", "made")
    again_ = layerview(root, "start", "--attach", "ran")
    assert (again_.returncode, again_.stdout) == (3, "out\n")
    output(root, "rm", "made", "ran")
    assert areas.wrong(root) == []


def test_a_shim_that_a_program_keeps_from_ending_is_told_and_ended(ran: Made) -> None:
    root = ran.root
    # busybox's cat lets the kernel copy (sendfile), which holds the pipe that the shim reads.
    output(root, "run", "--detach", "--name", "stuck", "bb:1", "sh", "-c", "exec cat <>/dev/ptmx")
    time.sleep(0.3)
    shim = shim_of(root, "stuck")
    os.kill(shim, 9)
    time.sleep(0.3)
    if not areas.wrong(root):
        pytest.skip("this kernel lets the shim end")
    [check] = areas.wrong(root)
    assert "keeps it from ending" in check.found
    match = re.search("`layerview kill ([0-9a-f]{12})`", check.remedy)
    assert match
    output(root, "kill", match[1])
    record = Area.open(str(root)).data.container("stuck")
    assert (record.status, record.exit_code) == ("exited", 137)
    assert areas.wrong(root) == []
