"""Beside a live engine only what it can't be at is called an orphan."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerview.store import driver_references, orphans
from layerview.store.account import Part
from layerview.store.data_root import DataRoot
from layerview.store.engine import find_engine
from layerview.store.tree_size import Meter, Size
from layerview.store.usage import account
from tests.support import build_caches

HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""
RECORDS = "image/overlay2/layerdb"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("sha256", "tmp", "mounts"):
        (root / RECORDS / name).mkdir(parents=True)
    (root / "image/overlay2/imagedb/content/sha256").mkdir(parents=True)
    (root / "overlay2" / "l").mkdir(parents=True)
    (root / "network/files").mkdir(parents=True)
    (root / "network/files/local-kv.db").touch()
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "_WATCH", 0.2)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was made is older than an engine takes with what it makes."""
    monkeypatch.setattr(orphans, "_GRACE", 0.0)
    monkeypatch.setattr(orphans, "_JUST", 0.0)


@contextmanager
def engine(root: Path) -> Iterator[int]:
    """Let a process hold the root as an engine does that begins now."""
    time.sleep(0.03)  # processes' starts are told in hundredths of a second
    words = [sys.executable, "-c", HOLD, str(root / "network/files/local-kv.db")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def folder(root: Path, name: str = "") -> str:
    """Make a layer's folder; return the driver's ID."""
    name = name or secrets.token_hex(32)
    (root / "overlay2" / name / "diff").mkdir(parents=True)
    (root / "overlay2" / name / "diff" / "f").write_bytes(b"x" * 5000)
    return name


def record(root: Path, below: str, **texts: str) -> Path:
    place = root / RECORDS / below
    place.mkdir(parents=True)
    for key, text in texts.items():
        (place / key.replace("_", "-")).write_text(text)
    return place


def judged(root: Path) -> dict[str, Part]:
    """Return the parts of drivers' folders by ID."""
    return {part.id: part for part in account(DataRoot(str(root))).parts if part.id}


def test_the_engine_is_named_with_its_start(root: Path) -> None:
    assert find_engine(str(root)) is None
    before = time.time()
    with engine(root) as pid:
        found = find_engine(str(root))
        assert found is not None
        assert f"process {pid} " in found.name
        assert found.start is not None
        assert before - 0.02 <= found.start <= time.time()
        assert account(DataRoot(str(root))).engine == found.name
    assert find_engine(str(root)) is None


def test_an_engines_own_folder_tells_its_start_where_the_clock_was_set(root: Path) -> None:
    (root / "tmp").mkdir()
    made = (root / "tmp").stat().st_ctime
    time.sleep(0.1)
    with engine(root):
        found = find_engine(str(root))
        assert found is not None
        assert found.start is not None
        assert found.start < made + 0.02


def test_what_is_older_than_the_engine_is_an_orphan(root: Path) -> None:
    plain, init, cache = folder(root), folder(root, f"{'1' * 64}-init"), folder(root, "a" * 25)
    half, going = folder(root), folder(root, f"{'2' * 64}-removing")
    record(root, f"sha256/{'3' * 64}-{'4' * 64}-removing", cache_id=half)
    making, unneeded, gone, build = (folder(root) for _ in range(4))
    record(root, "tmp/write-set-1", cache_id=making)
    record(root, f"sha256/{'5' * 64}", cache_id=unneeded)
    record(root, f"mounts/{'6' * 64}", mount_id=gone)
    record(root, f"mounts/{'m' * 25}", mount_id=build)
    with engine(root):
        found = judged(root)
    for id in (plain, init, cache, half, going, making, unneeded, gone, build):
        assert found[id].kind == "orphan", found[id]


def test_what_is_younger_than_the_engine_is_not_called_one_at_once(root: Path) -> None:
    with engine(root):
        plain, cache, half, going = (
            folder(root, name) for name in ("", "a" * 25, "", f"{'2' * 64}-removing")
        )
        record(root, f"sha256/{'3' * 64}-{'4' * 64}-removing", cache_id=half)
        making, unneeded, gone, build = (folder(root) for _ in range(4))
        record(root, "tmp/write-set-1", cache_id=making)
        record(root, f"sha256/{'5' * 64}", cache_id=unneeded)
        record(root, f"mounts/{'6' * 64}", mount_id=gone)
        record(root, f"mounts/{'m' * 25}", mount_id=build)
        found = judged(root)
    assert {part.kind for part in found.values()} == {"temporary"}
    for id in (plain, cache, unneeded, gone):
        assert re.fullmatch(r"made \d+ s ago, and nothing refers to it yet: .*", found[id].note)
    assert found[half].note == found[going].note == "it is being removed"
    assert found[making].note == "a pull or load is making it"
    assert found[build].note == "a build has it mounted"


@pytest.mark.usefixtures("late")
def test_later_it_is_one_unless_a_record_shows_work(root: Path) -> None:
    with engine(root):
        plain, cache, half = folder(root), folder(root, "a" * 25), folder(root)
        record(root, f"mounts/{'6' * 64}", mount_id=(gone := folder(root)))
        record(root, f"mounts/{'m' * 25}", mount_id=(build := folder(root)))
        record(root, f"sha256/{'5' * 64}", cache_id=(unneeded := folder(root)))
        found = judged(root)
        assert {id for id, part in found.items() if part.kind == "orphan"} == {
            plain,
            cache,
            half,
            gone,
            unneeded,
        }
        assert found[build].kind == "temporary"
        record(root, f"sha256/{'3' * 64}-{'4' * 64}-removing", cache_id=half)
        found = judged(root)
        assert found[half].note == "it is being removed"
        assert found[unneeded].note == "layers are being removed: look again"
        assert found[plain].kind == "orphan"


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize(
    "sign",
    [f"{RECORDS}/tmp/write-set-7", "tmp/GetImageBlob123", "tmp/docker-import-1",
     "buildkit/content/ingest/abc"],
)  # fmt: skip
def test_while_something_is_loaded_nothing_young_is_one(root: Path, sign: str) -> None:
    old = folder(root)
    with engine(root):
        (root / sign).mkdir(parents=True)
        young, record_id = folder(root), folder(root)
        record(root, f"sha256/{'5' * 64}", cache_id=record_id)
        found = judged(root)
    assert found[old].kind == "orphan"
    for id in (young, record_id):
        assert found[id].kind == "temporary"
        assert found[id].note.endswith("which may be making it: look again")


def test_layers_of_an_image_that_was_deleted_just_now_are_waited_for(root: Path) -> None:
    id = folder(root)
    record(root, f"sha256/{'5' * 64}", cache_id=id)
    with engine(root):
        images = root / "image/overlay2/imagedb/content/sha256"
        (images / "gone").touch()
        (images / "gone").unlink()
        found = judged(root)[id]
    assert found.kind == "temporary"
    assert "an image or container went or came" in found.note


@pytest.mark.parametrize("how", ["emptied", "unlinked", "grown", "gone"])
def test_a_build_caches_folder_that_changes_is_no_orphan(
    root: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BuildKit drops a record before its folder, however old that is."""
    id = folder(root, "a" * 25)
    place = root / "overlay2" / id
    (place / "link").write_text("LINK")
    (root / "overlay2" / "l" / "LINK").symlink_to(f"../{id}/diff")
    build_caches.write(root, {"b" * 25: {"committed": "c" * 25}})
    measure, looks = Meter.tree, 0

    def tree(meter: Meter, path: str | bytes) -> Size:
        nonlocal looks
        looks += path == str(place)
        if looks == 2 and how == "emptied":
            (place / "diff" / "f").unlink()
        elif looks == 2 and how == "unlinked":
            (root / "overlay2" / "l" / "LINK").unlink()
        elif looks == 2 and how == "grown":
            (place / "diff" / "g").write_bytes(b"y" * 5000)
        elif looks == 2:
            shutil.rmtree(place)
        return measure(meter, path)

    monkeypatch.setattr(Meter, "tree", tree)
    with engine(root):
        found = judged(root)
        assert looks == 2
        if how == "gone":
            assert id not in found
            return
        assert found[id].note == "it is being changed: look again"
        assert judged(root)[id].kind == "orphan"


def test_a_record_that_appears_while_it_is_measured_is_heeded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records are read again before anything is called an orphan."""
    id = folder(root)
    record(root, "tmp/write-set-1", cache_id=id)
    place = root / "image/overlay2/imagedb/content/sha256"

    def finish(part: Part) -> None:
        if part.kind == "metadata" and part.path == str(root / "overlay2"):
            (root / RECORDS / "mounts" / ("7" * 64)).mkdir()
            (root / RECORDS / "mounts" / ("7" * 64) / "mount-id").write_text(id)
            (root / "containers" / ("7" * 64)).mkdir(parents=True)

    found = account(DataRoot(str(root)), each=finish)
    part = next(one for one in found.parts if one.id == id)
    assert part.kind == "container_layer"
    assert place.is_dir()


@pytest.mark.parametrize("ends", ["named", "gone"])
def test_a_record_that_names_no_folder_yet_or_no_more_is_read_again(
    root: Path, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine makes a record's folder before its files, and removes these before the folder."""
    id, name = folder(root), "7" * 64
    place = root / RECORDS / "mounts" / name
    place.mkdir(parents=True)
    (root / "containers" / name).mkdir(parents=True)

    def goes_on(seconds: float) -> None:
        if ends == "named":
            (place / "mount-id").write_text(id)
        else:
            shutil.rmtree(place, ignore_errors=True)

    monkeypatch.setattr(driver_references, "time", SimpleNamespace(sleep=goes_on))
    found = account(DataRoot(str(root)))
    assert not [line for line in found.problems if "names no folder" in line]
    if ends == "named":
        assert next(one for one in found.parts if one.id == id).kind == "container_layer"


def test_a_folder_that_goes_while_it_is_measured_is_not_named(root: Path) -> None:
    id = folder(root)

    def go(part: Part) -> None:
        if part.path == str(root / "overlay2"):
            shutil.rmtree(root / "overlay2" / id)

    found = account(DataRoot(str(root)), each=go)
    assert id not in {part.id for part in found.parts}


def test_nothing_of_a_build_caches_form_is_an_orphan_while_its_records_can_not_be_read(
    root: Path,
) -> None:
    cache, plain = folder(root, "a" * 25), folder(root)
    record(root, f"sha256/{'5' * 64}", cache_id=(unneeded := folder(root)))
    build_caches.write(root, {"b" * 25: {"committed": "c" * 25}})
    (root / "buildkit/snapshots.db").write_bytes(b"no database" * 1000)
    found = judged(root)
    assert found[cache].kind == found[unneeded].kind == "other"
    assert "the records of the build cache can't be read" in found[cache].note
    assert found[plain].kind == "orphan"
    assert any("snapshots.db" in line for line in account(DataRoot(str(root))).problems)


@pytest.mark.parametrize("name", ["cache-id", "parent"])
@pytest.mark.parametrize("text", ["../../etc", "", "x" * 5000, "\xff\n"])
def test_a_damaged_record_makes_no_orphan_of_what_it_may_name(
    root: Path, name: str, text: str
) -> None:
    id, alone = folder(root), folder(root)
    place = record(root, f"sha256/{'5' * 64}", cache_id=id)
    (place / name).write_text(text, encoding="latin-1")
    found = judged(root)
    kinds = {found[each].kind for each in (id, alone)}
    assert kinds == ({"orphan"} if name == "parent" and not text else {"other"})


def test_what_may_be_a_containers_whose_record_is_lost_is_no_orphan(root: Path) -> None:
    """It is a person's data; only the record could say which folder has them."""
    layer, cache = folder(root), folder(root, "a" * 25)
    place = root / "containers" / ("8" * 64)
    place.mkdir(parents=True)
    for driver, kind in (("overlay2", "other"), ("", "other"), ("vfs", "orphan")):
        said = {"ID": place.name, "Name": "/ledger", "Driver": driver}
        (place / "config.v2.json").write_text(json.dumps(said))
        found = judged(root)
        assert found[layer].kind == kind, (driver, found[layer])
        assert (kind == "orphan") or "container ledger is lost" in found[layer].note
        assert found[cache].kind == "orphan"
    (place / "config.v2.json").unlink()
    assert judged(root)[layer].kind == "other"
    place.rmdir()
    assert judged(root)[layer].kind == "orphan"


def test_a_damaged_image_makes_no_orphan_of_a_layer(root: Path) -> None:
    record(root, f"sha256/{'5' * 64}", cache_id=(id := folder(root)))
    alone = folder(root)
    (root / "image/overlay2/imagedb/content/sha256" / ("8" * 64)).write_text("{}")
    found = judged(root)
    assert found[id].kind == "other"
    assert found[alone].kind == "orphan"


def test_records_that_turn_in_a_circle_end(root: Path) -> None:
    ids = [folder(root) for _ in range(2)]
    for number, id in enumerate(ids, 5):
        chain, other = str(number) * 64, str(11 - number) * 64
        record(root, f"sha256/{chain}", cache_id=id, parent=f"sha256:{other}")
    assert {judged(root)[id].kind for id in ids} == {"orphan"}


def test_links_in_the_place_of_records_are_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "cache-id").write_text(id := folder(root))
    (root / RECORDS / "sha256" / ("5" * 64)).symlink_to(outside)
    assert judged(root)[id].kind == "other"
