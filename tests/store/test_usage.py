"""The account of a data root adds up to what `du` says, and names whose each part is."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from layerview.errors import Cancelled
from layerview.progress import Progress
from layerview.sources.several import open_all
from layerview.store.account import KINDS, Account, Part
from layerview.store.area import Area
from layerview.store.data_root import DataRoot
from layerview.store.driver_homes import HOMES
from layerview.store.intents import Intent, Intents
from layerview.store.usage import account
from layerview.transfer.load import load
from tests.support import archives, build_caches, containers, tars
from tests.support.areas import BASE, TOP

DRIVERS = ["vfs", "overlay2", "aufs"] if os.geteuid() == 0 else ["vfs"]
OTHER = tars.layer(tars.file("o", b"o" * 9000))


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, driver: str) -> Path:
    """An area with two images that share their base, one of them with a second name."""
    one = archives.image(BASE, TOP, tags=["a:1"], compression="gzip")
    two = archives.image(BASE, OTHER, tags=["b:1", "b:2"], compression="gzip")
    area = Area.open(str(tmp_path / "area"), create=True)
    for number, spec in enumerate((one, two)):
        path = archives.docker_archive(tmp_path / f"{number}.tar", spec)
        with open_all(str(path)) as images, area.writing() as writing:
            for image in images:
                load(writing, driver, image)
    return tmp_path / "area"


def du(root: Path) -> int:
    words = ["du", "-s", "-B1", "-x", str(root)]
    return int(subprocess.run(words, capture_output=True, check=True).stdout.split()[0])


def taken(root: Path) -> Account:
    """Return the account, which must be as large as `du` says and have each path once."""
    found = account(DataRoot(str(root)))
    assert found.total_bytes == du(root)
    assert {part.kind for part in found.parts} <= set(KINDS)
    paths = [part.path for part in found.parts]
    assert len(paths) == len(set(paths))
    assert all(os.path.lexists(part.path) for part in found.parts)
    return found


def only(parts: tuple[Part, ...]) -> Part:
    (part,) = parts
    return part


def home(root: Path, driver: str) -> Path:
    """Where a driver has a layer's own files."""
    return root / driver / HOMES[driver].places[0]


def test_every_layer_is_of_the_images_that_have_it(root: Path, driver: str) -> None:
    found = taken(root)
    owners = sorted(part.owners for part in found.of("image_layer"))
    assert owners == [("a:1",), ("a:1", "b:1", "b:2"), ("b:1", "b:2")]
    ids = {layer.cache_id for layer in DataRoot(str(root)).layers(driver)}
    assert {part.id for part in found.of("image_layer")} == ids
    assert all(part.name == part.id and part.driver == driver for part in found.of("image_layer"))
    assert found.driver == driver
    assert not found.problems
    assert not found.engine
    assert not found.of("orphan") + found.of("other")


def test_an_image_without_a_name_is_called_by_its_id(root: Path, driver: str) -> None:
    with Area.open(str(root)).writing() as writing:
        writing.untag(driver, "a:1")
    image = next(one for one in DataRoot(str(root)).images(driver) if not one.references)
    owners = {part.owners for part in taken(root).of("image_layer")}
    assert (image.image_id.short,) in owners
    assert {"b:1", "b:2", image.image_id.short} in map(set, owners)


def test_a_step_to_another_image_is_not_named_beside_it(root: Path, driver: str) -> None:
    """It is named where it alone has a layer."""
    records = {one.references[0]: one for one in DataRoot(str(root)).images(driver)}
    base, child = records["b:1"].image_id, records["a:1"].image_id
    with Area.open(str(root)).writing() as writing:
        writing.untag(driver, "b:1")
        writing.untag(driver, "b:2")
    layout = DataRoot(str(root)).layout(driver)
    folder = Path(layout.image_metadata(child))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parent").write_text(str(base))
    owners = sorted(part.owners for part in taken(root).of("image_layer"))
    assert owners == sorted([("a:1",), ("a:1",), (base.short,)])


def test_containers_have_layers_logs_and_volumes(root: Path, driver: str) -> None:
    made = containers.created(root, "a:1", "one")
    folder = root / "containers" / made.id
    (folder / f"{made.id}-json.log").write_bytes(b"x" * 20_000)
    (folder / f"{made.id}-json.log.1").write_bytes(b"y" * 10_000)
    (folder / "local-logs").mkdir()
    (folder / "local-logs" / "container.log").write_bytes(b"z" * 30_000)
    for name in ("used", "free"):
        (root / "volumes" / name / "_data").mkdir(parents=True)
        (root / "volumes" / name / "_data" / "f").write_bytes(b"v" * 5000)
    config = folder / "config.v2.json"
    document = json.loads(config.read_text())
    document["MountPoints"] = {"/v": {"Name": "used", "Destination": "/v", "Driver": "local"}}
    config.write_text(json.dumps(document))
    found = taken(root)
    for kind in ("container_layer", "init_layer"):
        part = only(found.of(kind))
        assert part.owners == ("one",)
        assert part.name == "one"
    assert only(found.of("container_layer")).id == made.mount_id
    assert only(found.of("init_layer")).id == f"{made.mount_id}-init"
    logs = {part.path: part.bytes for part in found.of("log")}
    plain, older = folder / f"{made.id}-json.log", folder / f"{made.id}-json.log.1"
    local = folder / "local-logs"
    assert logs == {str(plain): du(plain) + du(older), str(local): du(local)}
    assert {(part.owners, part.name, part.id) for part in found.of("log")} == {
        (("one",), "one", made.id)
    }
    volumes = {part.name: (part.owners, part.note) for part in found.of("volume")}
    assert volumes == {"used": (("one",), ""), "free": ((), "no container mounts it")}
    kept = [part for part in found.of("metadata") if part.owners == ("one",)]
    assert [part.path for part in kept] == [str(folder)]


def test_layers_whose_image_is_gone_are_of_the_container_made_from_it(
    root: Path, driver: str
) -> None:
    containers.created(root, "a:1", "one")
    record = DataRoot(str(root)).image("a:1")
    layout = DataRoot(str(root)).layout(driver)
    os.unlink(layout.image(record.image_id))
    found = taken(root)
    top = next(part for part in found.of("image_layer") if part.owners == ("one",))
    assert top.note == "its image is gone"
    assert not found.of("orphan")


def test_what_only_a_build_cache_names_is_its_own(root: Path, driver: str) -> None:
    layer = next(
        one
        for one in DataRoot(str(root)).layers(driver)
        if one.chain_id == DataRoot(str(root)).image("a:1").chain_ids[-1]
    )
    folder = home(root, driver) / ("a" * 25)
    folder.mkdir()
    (folder / "f").write_bytes(b"c" * 5000)
    build_caches.write(
        root,
        {
            "b" * 25: {"committed": "a" * 25},
            "c" * 25: {"chainid": str(layer.chain_id)},
        },
        {
            "b" * 25: {"cache.description": "a step"},
            "c" * 25: {"cache.description": "the layer"},
        },
    )
    record = DataRoot(str(root)).image("a:1")
    with Area.open(str(root)).writing() as writing:
        writing.untag(driver, "a:1")
    os.unlink(DataRoot(str(root)).layout(driver).image(record.image_id))
    found = taken(root)
    notes = {part.id: part.note for part in found.of("build_cache") if part.id}
    assert notes == {"a" * 25: "a step", layer.cache_id: "the layer"}
    assert str(root / "buildkit") in {part.path for part in found.of("build_cache")}
    assert not found.of("orphan")


def test_what_nobody_refers_to_is_an_orphan(root: Path, driver: str) -> None:
    """A folder without a record, a half-removed layer, one of no image, and a container's left."""
    layout = DataRoot(str(root)).layout(driver)
    base = home(root, driver)
    wanted: dict[str, str] = {}

    def folder(why: str, name: str = "") -> str:
        name = name or secrets.token_hex(32)
        (base / name / "diff").mkdir(parents=True)
        (base / name / "diff" / "f").write_bytes(os.urandom(5000))
        wanted[name] = why
        return name

    def record(place: str, **texts: str) -> None:
        Path(place).mkdir(parents=True)
        for key, text in texts.items():
            (Path(place) / key.replace("_", "-")).write_text(text)

    folder("no record of a layer, a container or a build cache names it")
    folder("no record of a layer, a container or a build cache names it", f"{'d' * 64}-init")
    folder("no record of a layer, a container or a build cache names it", "x" * 25)
    folder("its removal was interrupted", f"{'e' * 64}-removing")
    going = f"{layout.layers}/{'1' * 64}-{'2' * 64}-removing"
    record(going, cache_id=folder("the removal of its layer was interrupted"))
    half = f"{layout.layers_tmp}/write-set-1"
    record(half, cache_id=folder("left of a pull or load that was interrupted"))
    alone, below = "3" * 64, "4" * 64
    unneeded = "its layer is of no image, container or build cache"
    record(f"{layout.layers}/{below}", cache_id=folder(unneeded), diff=f"sha256:{below}")
    record(f"{layout.layers}/{alone}", cache_id=folder(unneeded), parent=f"sha256:{below}")
    gone = "its container, or the build that had it mounted, is gone"
    mounted = secrets.token_hex(32)
    record(f"{layout.mounts}/{'5' * 64}", mount_id=folder(gone, mounted), init_id=f"{mounted}-init")
    folder(gone, f"{mounted}-init")
    record(f"{layout.mounts}/{'m' * 25}", mount_id=folder(gone))
    found = taken(root)
    assert {part.id: part.note for part in found.of("orphan")} == wanted
    assert {part.path for part in found.of("orphan")} == {str(base / name) for name in wanted}
    passing = {part.path for part in found.of("temporary")}
    assert {going, half} <= passing
    assert not [part for part in found.of("other") if part.id]


def test_what_writers_of_an_area_are_at_is_temporary(root: Path, driver: str) -> None:
    layer = tars.layer(tars.file("n", b"n" * 5000))
    area = Area.open(str(root))
    with area.writing() as writing:
        chain, _ = writing.add_layer(driver, None, _Bytes(layer))
        cache_id = DataRoot(str(root)).layer(driver, chain).cache_id
        found = taken(root)
        part = next(one for one in found.of("temporary") if one.id == cache_id)
        assert part.note == "a load is making it"
        assert any(one.path.startswith(f"{root}/layerview/intents/") for one in found.parts)
        assert not found.of("orphan")
    assert not any(part.id == cache_id for part in taken(root).parts)


def test_a_container_in_the_making_is_temporary(root: Path, driver: str) -> None:
    area = Area.open(str(root))
    with area.writing() as writing:
        wanted = containers.new(area, "a:1", "one")
        with writing.new_container(wanted) as making:
            containers.layers(writing, wanted, making)
            found = taken(root)
            ids = {part.id: part.note for part in found.of("temporary") if part.id}
            assert ids == dict.fromkeys(
                (making.mount_id, making.init_id), "a container is being made with it"
            )
            assert not found.of("orphan")


def test_a_container_whose_removal_is_under_way_is_no_orphan(root: Path, driver: str) -> None:
    made = containers.created(root, "a:1", "one")
    os.rename(root / "containers" / made.id, root / "layerview" / "removing" / made.id)
    found = taken(root)
    assert not found.of("orphan")
    ids = {part.id: part.note for part in found.of("temporary") if part.id}
    assert ids == dict.fromkeys(
        (made.mount_id, f"{made.mount_id}-init"), "its container is being removed"
    )


def test_nothing_below_a_root_is_left_out(root: Path, driver: str) -> None:
    """Whatever lies there: files, links, pipes, unknown folders, and folders of other drivers."""
    for name in ("network", "trust", "plugins", "strange", "containerd", "tmp", "tmp-old", "l l"):
        (root / name / "deep").mkdir(parents=True)
        (root / name / "deep" / "f").write_bytes(b"q" * 7000)
    (root / "100000.100000" / "image").mkdir(parents=True)
    (root / "engine-id").write_text("x")
    (root / "link").symlink_to("network")
    os.mkfifo(root / "pipe")
    os.link(root / "strange" / "deep" / "f", root / "network" / "again")
    os.mkdir(os.fsencode(root) + b"/\xff\n")
    (root / "containers").mkdir(exist_ok=True)
    (root / "containers" / "stray").write_bytes(b"s" * 5000)
    (root / "volumes").mkdir(exist_ok=True)
    (root / "volumes" / "metadata.db").write_bytes(b"s" * 5000)
    (home(root, driver) / "odd").mkdir()
    (home(root, driver) / "check-overlayfs-support1").mkdir()
    (root / ".layerview-probe-1").mkdir()
    (root / "fuse-overlayfs" / ("f" * 64)).mkdir(parents=True)
    (root / "btrfs" / "subvolumes" / ("a" * 64)).mkdir(parents=True)
    (root / "overlay").symlink_to("strange")
    (root / "image" / "file").write_bytes(b"1" * 5000)
    found = taken(root)
    kinds = {os.path.basename(part.path): part.kind for part in found.parts}
    for name in ("network", "trust", "plugins", "engine-id"):
        assert kinds[name] == "metadata"
    for name in ("strange", "containerd", "link", "pipe", "100000.100000", "overlay", "odd"):
        assert kinds[name] == "other"
    for name in ("tmp", "deep", "tmp-old", "check-overlayfs-support1", ".layerview-probe-1"):
        assert kinds[name] == "temporary"
    assert kinds["f" * 64] == kinds["a" * 64] == "orphan"


def test_parts_are_told_as_they_are_measured(root: Path, driver: str) -> None:
    told: list[Part] = []
    found = account(DataRoot(str(root)), each=told.append)
    assert tuple(told) == found.parts


@pytest.mark.parametrize("how", ["stop", "progress"])
def test_it_stops_when_it_is_asked_to(root: Path, how: str) -> None:
    told: list[Part] = []
    if how == "stop":
        with pytest.raises(Cancelled):
            account(DataRoot(str(root)), each=told.append, stop=lambda: True)
        return
    progress = Progress()

    def each(part: Part) -> None:
        told.append(part)
        progress.cancel()

    with pytest.raises(Cancelled):
        account(DataRoot(str(root)), each=each, progress=progress)
    assert len(told) == 1


def test_aufs_has_three_places_for_each_layer(tmp_path: Path) -> None:
    root = tmp_path / "r"
    (root / "image" / "aufs" / "layerdb" / "sha256").mkdir(parents=True)
    for name in ("diff", "layers", "mnt"):
        (root / "aufs" / name).mkdir(parents=True)
    (root / "aufs" / "diff" / ("1" * 64)).mkdir()
    (root / "aufs" / "layers" / ("1" * 64)).write_text("x" * 5000)
    (root / "aufs" / "mnt" / ("1" * 64)).mkdir()
    (root / "aufs" / "layers" / ("2" * 64)).write_text("x" * 5000)
    found = taken(root)
    one, two = sorted(found.of("orphan"), key=lambda part: part.id)
    assert one.path == str(root / "aufs" / "diff" / ("1" * 64))
    assert one.bytes == sum(du(root / "aufs" / name / one.id) for name in ("diff", "layers", "mnt"))
    assert two.path == str(root / "aufs" / "layers" / ("2" * 64))


def test_files_that_layers_share_are_of_the_lowest(tmp_path: Path) -> None:
    """As driver overlay has them, which links them into every layer above."""
    root = tmp_path / "r"
    ids = {"base": "f" * 64, "top": "1" * 64}
    chains = {"base": "a" * 64, "top": "b" * 64}
    layers = root / "image" / "overlay" / "layerdb" / "sha256"
    for name, id in ids.items():
        (root / "overlay" / id / "root").mkdir(parents=True)
        (layers / chains[name]).mkdir(parents=True)
        (layers / chains[name] / "cache-id").write_text(id)
    (layers / chains["top"] / "parent").write_text(f"sha256:{chains['base']}")
    shared = root / "overlay" / ids["base"] / "root" / "f"
    shared.write_bytes(b"x" * 100_000)
    os.link(shared, root / "overlay" / ids["top"] / "root" / "f")
    sizes = {part.id: part.bytes for part in taken(root).of("orphan")}
    assert sizes[ids["base"]] > 100_000 > sizes[ids["top"]]


class _Bytes:
    """A tar in memory, read piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        piece = self._data[self._at : end]
        self._at += len(piece)
        return piece


def test_a_layer_whose_removal_is_under_way_is_temporary(root: Path, driver: str) -> None:
    record = DataRoot(str(root)).image("a:1")
    top = DataRoot(str(root)).layer(driver, record.chain_ids[-1])
    layout = DataRoot(str(root)).layout(driver)
    area = Area.open(str(root))
    intent = Intent("remove", driver, chains=list(record.chain_ids), image=record.image_id)
    with area.writing() as writing:
        writing.untag(driver, "a:1")
        with writing.noted(intent):
            os.unlink(layout.image(record.image_id))
            for number in range(2):
                found = taken(root)
                part = next(one for one in found.parts if one.id.startswith(top.cache_id))
                assert (part.kind, part.note) == ("temporary", "it is being removed")
                assert not found.of("orphan")
                if not number:
                    place = layout.layer(top.chain_id)
                    os.rename(place, f"{place}-{'0' * 64}-removing")
                    if driver == "aufs":
                        folder = home(root, driver) / top.cache_id
                        os.rename(folder, f"{folder}-removing")


def test_nothing_is_an_orphan_while_others_write_the_area(root: Path, driver: str) -> None:
    """Two processes load, make, remove and delete; every account is right."""
    path = archives.docker_archive(
        root.parent / "c.tar", archives.image(TOP, BASE, OTHER, tags=["c:1"], compression="gzip")
    )
    script = """
import sys
from layerview.cli.main import main
path, name = sys.argv[1:]
for number in range(3):
    for words in (
        ("load", "-q", "-i", path),
        ("create", "--name", name, "a:1", "true"),
        ("rmi", "-f", "c:1"),
        ("rm", name),
    ):
        try:
            main(list(words))
        except SystemExit:
            pass
"""
    env = {**os.environ, "LAYERVIEW_ROOT": str(root), "LAYERVIEW_DRIVER": driver}
    kept = {part.id for part in account(DataRoot(str(root))).parts if part.id}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), f"n{number}"],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(2)
    ]
    seen: Counter[str] = Counter()
    try:
        while any(writer.poll() is None for writer in writers):
            found = account(DataRoot(str(root)))
            assert not found.of("orphan") + found.of("other")
            assert kept <= {part.id for part in found.of("image_layer")}
            seen.update(part.kind for part in found.parts)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert seen["temporary"]


def test_what_a_dead_writer_left_is_temporary(root: Path, driver: str) -> None:
    area = Area.open(str(root))
    intents = Intents(area.own, area.scratch)
    id = secrets.token_hex(32)
    (home(root, driver) / id).mkdir()
    intents.leave(intents.note(Intent("load", driver, [id])))
    part = next(one for one in taken(root).parts if one.id == id)
    assert part.kind == "temporary"
    assert part.note.startswith("left of a load that was interrupted; the next command")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"why": "load", "driver": 1}'])
def test_an_intent_that_says_nothing_makes_no_orphan_of_what_it_may_name(
    root: Path, driver: str, text: str
) -> None:
    id = secrets.token_hex(32)
    (home(root, driver) / id).mkdir()
    (root / "layerview" / "intents" / "1").write_text(text)
    found = taken(root)
    part = next(one for one in found.parts if one.id == id)
    assert part.kind == "other"
    assert any("intents/1" in line for line in found.problems)
