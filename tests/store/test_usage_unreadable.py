"""Whatever an ordinary user may not read makes no orphan, and is said."""

from __future__ import annotations

import json
import os
import secrets
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerview.errors import LayerviewError
from layerview.sources.several import open_all
from layerview.store.account import Account
from layerview.store.area import Area
from layerview.store.data_root import DataRoot
from layerview.store.engine import find_engine
from layerview.store.usage import account
from layerview.transfer.load import load
from tests.support import archives, build_caches, containers, tars
from tests.support.areas import BASE, TOP

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
NOBODY = 65534
OTHER = tars.layer(tars.file("o", b"o" * 9000))


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """An area that everybody may read, with one of each: the orphan among them is named last."""
    with tempfile.TemporaryDirectory(prefix="layerview-usage-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        root = Path(place) / "area"
        area = Area.open(str(root), create=True)
        for tag, top in (("a:1", TOP), ("b:1", OTHER)):
            spec = archives.image(BASE, top, tags=[tag], compression="gzip")
            path = archives.docker_archive(Path(place) / "a.tar", spec)
            with open_all(str(path)) as images, area.writing() as writing:
                for image in images:
                    load(writing, "vfs", image)
        record = DataRoot(str(root)).image("a:1")
        containers.created(root, "a:1", "one")
        containers.created(root, "a:1", "two")
        # What a container or a build cache alone needs.
        layout = DataRoot(str(root)).layout("vfs")
        os.unlink(layout.image(record.image_id))
        for name in ("cached", "orphan"):
            id = secrets.token_hex(12) + ("a" if name == "cached" else "b")
            (root / "vfs/dir" / id).mkdir()
            (root / "vfs/dir" / id / name).write_bytes(b"x" * 5000)
            if name == "cached":
                build_caches.write(root, {"c" * 25: {"committed": id}})
        (root / "vfs/dir" / ("9" * 64)).mkdir()
        intent = {"why": "load", "driver": "vfs", "ids": ["9" * 64]}
        (root / "layerview/intents/1").write_text(json.dumps(intent))
        (root / "network/files").mkdir(parents=True)
        (root / "network/files/local-kv.db").touch()
        (root / "volumes/v/_data").mkdir(parents=True)
        subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
        yield root


@contextmanager
def nobody() -> Iterator[None]:
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def du(root: Path) -> int:
    return int(subprocess.check_output(["du", "-sx", "-B1", str(root)]).split()[0])


def orphans(found: Account) -> set[str]:
    return {part.id for part in found.of("orphan")}


def test_an_ordinary_user_is_told_as_much_as_root_where_all_may_be_read(root: Path) -> None:
    whole = account(DataRoot(str(root)))
    with nobody():
        found = account(DataRoot(str(root)))
    assert found == whole
    assert len(orphans(whole)) == 1
    assert not whole.problems


def test_whatever_may_not_be_read_makes_no_orphan_and_is_said(root: Path) -> None:
    """Each folder and file is shut once, with all below it."""
    whole = account(DataRoot(str(root)))
    sizes = {part.path: part.bytes for part in whole.parts}
    tried, refused = 0, []
    for path in [root, *sorted(root.rglob("*"))]:
        if path.is_symlink() or "vfs/dir" in str(path.parent):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(0)
        try:
            with nobody():
                found = account(DataRoot(str(root)))
        except LayerviewError:
            refused.append(path)
            continue
        finally:
            path.chmod(mode)
        tried += 1
        assert orphans(found) <= orphans(whole), path
        assert found.total_bytes <= whole.total_bytes
        for part in found.parts:
            assert part.bytes <= sizes.get(part.path, 0) or not sizes.get(part.path), path
        records = ("cache-id", "mount-id", "parent", "snapshots.db", "version", "1")
        if path.is_dir() or path.name in records:
            assert found.problems, path
            assert all(str(root) in line for line in found.problems), found.problems
    assert tried > 40
    assert refused == [root, root / "image"]


@pytest.mark.parametrize("what", ["link", "file", "folder", "pipe"])
def test_whatever_stands_in_a_records_place_makes_no_orphan(root: Path, what: str) -> None:
    """Each folder and file of the records is moved away once, and something else put there."""
    whole = account(DataRoot(str(root)))
    moved = root.parent / "moved"
    tried = 0
    for path in sorted(root.rglob("*")):
        top = path.relative_to(root).parts[0]
        if top in ("vfs", "volumes", "network") or path.is_symlink() or path.name == "volumes":
            continue
        # An empty database is one that nobody has written yet.
        if (what == "folder" and path.is_dir()) or (what == "file" and path.suffix == ".db"):
            continue
        path.rename(moved)
        put = {
            "link": lambda at: at.symlink_to(moved),
            "file": Path.touch,
            "folder": Path.mkdir,
            "pipe": os.mkfifo,
        }
        put[what](path)
        try:
            before = du(root)
            found = account(DataRoot(str(root)))
            assert orphans(found) <= orphans(whole), path
            # What was written just now may take another block, or one less, once it is on the disk.
            assert found.total_bytes in (before, du(root)), path
        except LayerviewError:
            assert path == root / "image"
        finally:
            path.rmdir() if what == "folder" else path.unlink()
            moved.rename(path)
        tried += 1
    assert tried > 20


def test_a_layer_that_may_not_be_read_whole_is_marked(root: Path) -> None:
    layer = DataRoot(str(root)).layers("vfs")[0]
    inner = next(path for path in Path(layer.folder).iterdir() if path.is_dir())
    mode = stat.S_IMODE(inner.stat().st_mode)
    inner.chmod(0o700)
    try:
        with nobody():
            found = account(DataRoot(str(root)))
    finally:
        inner.chmod(mode)
    (part,) = (one for one in found.parts if one.id == layer.cache_id)
    assert not part.complete
    assert all(one.complete for one in found.parts if one is not part)
    assert found.problems == (f"{inner} may only be read by its owner",)


def test_an_engine_may_hold_what_can_not_be_read(root: Path) -> None:
    """So that what was made just now may be its own."""
    database = root / "network/files/local-kv.db"
    database.chmod(0o600)
    try:
        with nobody():
            held = find_engine(str(root))
            found = account(DataRoot(str(root)))
    finally:
        database.chmod(0o644)
    assert held is not None
    assert held.start is None
    assert found.engine == held.name == "an engine, perhaps"
    assert not found.of("orphan")
    assert any("nothing refers to it yet" in part.note for part in found.of("temporary"))
