"""The process that measures for the Disk screen: real areas, large folders, stopping, failing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.tui.disk_model import Disk
from layerview.tui.disk_rows import Found
from layerview.tui.disk_told import (
    read_containers,
    read_found,
    read_images,
    read_pair,
    read_parts,
    read_sizes,
)
from tests.drivers.people import as_each, readable_site, user
from tests.support.container_lab import BUSYBOX, Lab, busybox_layer, changed_layers, eventually
from tests.tui.disk_talk import Document, Talk, talking

MANY = 20_000
"""Paths that take seconds to measure."""


def du(path: Path | str) -> int:
    """Return what a tree takes."""
    done = subprocess.run(["du", "-s", "-B1", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give an area with two images, a container that ran, a volume and an orphan."""
    if os.geteuid() != 0:
        pytest.skip("an area of root's is made")
    if not Path(BUSYBOX).exists():
        pytest.skip(f"{BUSYBOX} is not installed")
    lab = Lab(tmp_path_factory.mktemp("area") / "root", driver="vfs")
    lab.load("base:1", busybox_layer())
    lab.load("changed:1", *changed_layers())
    script = "echo said; head -c 70000 /dev/zero >/big; head -c 9000 /dev/zero >/data/f"
    lab.out("run", "--name", "one", "-v", "data:/data", "changed:1", "sh", "-c", script)
    orphan = lab.root / "vfs/dir" / ("ab" * 32)
    orphan.mkdir()
    (orphan / "left").write_bytes(b"x" * 50_000)
    lab.end_worker()
    yield lab
    lab.clear()
    lab.end_worker()
    shutil.rmtree(lab.root)


def read(talk: Talk, root: Path | str) -> Disk:
    """Read a root as the screen does."""
    *answers, last = talk.ask("account", root=str(root))
    assert last.get("done"), last
    disk = Disk()
    disk.images = read_images(answers[0]["images"])
    disk.containers = read_containers(answers[0]["containers"])
    early = {part.path for answer in answers for part in read_parts(answer.get("parts"))}
    disk.settle(read_parts(last["parts"]))
    disk.frees = read_sizes(last["frees"])
    assert early <= {part.path for part in disk.parts.values()}
    return disk


def test_the_rows_of_an_area_add_up_to_what_du_says(lab: Lab) -> None:
    with talking() as talk:
        disk = read(talk, lab.root)
    rows = {row.name: row for row in disk.top()}
    assert disk.total == du(lab.root) == sum(row.bytes or 0 for row in rows.values())
    assert rows["orphans"].bytes == du(lab.root / "vfs/dir" / ("ab" * 32))
    assert {"base:1", "changed:1", "one", "data", "metadata"} <= rows.keys()
    kinds = {inner.type for inner in disk.inside(rows["one"])}
    assert {"layer", "init layer", "log"} <= kinds
    assert rows["one"].note == "exited, of changed:1"
    assert rows["data"].note == "mounted by one"


def test_what_deleting_frees_is_what_deleting_freed(lab: Lab) -> None:
    with talking() as talk:
        rows = {row.name: row for row in read(talk, lab.root).top()}
        assert rows["changed:1"].frees is not None
        before = du(lab.root)
        container = rows["one"].frees
        lab.out("rm", "one")
        freed = before - du(lab.root)
        rows = {row.name: row for row in read(talk, lab.root).top()}
        before = du(lab.root)
        image = rows["changed:1"].frees
        lab.out("rmi", "changed:1")
        freed_then = before - du(lab.root)
    lab.end_worker()
    # Folders of records, which several share, may shrink or stay as they are.
    assert container is not None
    assert image is not None
    assert abs(freed - container) <= 8192
    assert abs(freed_then - image) <= 8192


def test_a_folder_is_told_entry_by_entry_and_a_hostile_name_can_be_gone_into(
    tmp_path: Path,
) -> None:
    odd = os.fsencode(tmp_path) + b"/odd\xff\n\x1b"
    os.makedirs(odd)
    (tmp_path / "file").write_bytes(b"x" * 9000)
    (tmp_path / "link").symlink_to("/etc")
    with open(odd + b"/inner", "wb") as file:
        file.write(b"y" * 5000)
    with talking() as talk:
        *answers, last = talk.ask("folder", root=str(tmp_path), path=str(tmp_path))
        found = {one.name: one for one in _found(answers)}
        assert {name: one.kind for name, one in found.items()} == {
            "file": "file",
            "link": "link",
            "odd\udcff\n\x1b": "folder",
        }
        assert sum(one.bytes for one in found.values()) + _own(tmp_path) == du(tmp_path)
        inside = talk.ask("folder", root=str(tmp_path), path=f"{tmp_path}/odd\udcff\n\x1b")
    assert [one.name for one in _found(inside)] == ["inner"]
    assert last["rest"] == [0, 0]


def test_of_a_folder_of_very_many_the_largest_are_told_and_the_rest_is_summed(
    tmp_path: Path,
) -> None:
    for number in range(5_100):
        (tmp_path / f"small{number}").touch()
    for number in range(3):
        (tmp_path / f"large{number}").write_bytes(b"x" * 9000)
    (tmp_path / "folder").mkdir()
    with talking() as talk:
        *answers, last = talk.ask("folder", root=str(tmp_path), path=str(tmp_path))
    found = _found(answers)
    assert {"large0", "large1", "large2", "folder"} <= {one.name for one in found}
    rest = read_pair(last["rest"])
    assert rest is not None
    assert len(found) + rest[0] == 5_104
    assert sum(one.bytes for one in found) + rest[1] + _own(tmp_path) == du(tmp_path)


def test_sizes_are_told_again_and_what_went_has_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 5000)
    paths = [str(log), str(tmp_path / "gone")]
    with talking() as talk:
        [first] = talk.ask("sizes", root=str(tmp_path), paths=paths)
        log.write_bytes(b"x" * 50_000)
        [second] = talk.ask("sizes", root=str(tmp_path), paths=paths)
    assert first["sizes"] == {str(log): 8192, str(tmp_path / "gone"): 0}
    assert second["sizes"] == {str(log): du(log), str(tmp_path / "gone"): 0}


def test_a_log_is_measured_with_its_older_files(tmp_path: Path) -> None:
    for name, size in (("ab-json.log.1", 50_000), ("ab-json.log", 9_000), ("other", 70_000)):
        (tmp_path / name).write_bytes(b"x" * size)
    logs = [str(tmp_path / name) for name in ("ab-json.log.1", "ab-json.log")]
    with talking() as talk:
        [answer] = talk.ask("sizes", root=str(tmp_path), paths=logs)
    assert answer["sizes"] == dict.fromkeys(logs, sum(map(du, logs)))


def test_what_can_not_be_read_says_why(tmp_path: Path) -> None:
    with talking() as talk:
        [answer] = talk.ask("account", root=str(tmp_path))
        assert "is no Docker data root" in str(answer["error"])
        [answer] = talk.ask("folder", root=str(tmp_path), path=str(tmp_path / "gone"))
        assert "No such file" in str(answer["error"])
        [answer] = talk.ask("folder", root=str(tmp_path), path="/etc")
        assert "not beneath" in str(answer["error"])
        [answer] = talk.ask("something")
        assert "unknown" in str(answer["error"])


def test_what_is_stopped_ends_at_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    with talking() as talk:
        talk.ask("sizes", root=str(tmp_path), paths=[])
        # A pipe that nobody writes: opening it never comes back, as a dead file server would be.
        os.mkfifo(tmp_path / "image")
        (tmp_path / "many").mkdir()
        number = talk.reader.ask("sizes", root=str(tmp_path), paths=[str(tmp_path)] * MANY)
        eventually(lambda: len(_children(talk)) == 1, "nobody measures")
        talk.reader.stop(number)
        eventually(lambda: not _children(talk), "what was stopped goes on")
        [answer] = talk.ask("sizes", root=str(tmp_path), paths=[str(tmp_path)])
        assert answer["done"]


def test_a_process_that_is_killed_is_told_of_and_another_takes_its_place(tmp_path: Path) -> None:
    with talking() as talk:
        [first] = talk.ask("sizes", root=str(tmp_path), paths=[])
        number = talk.reader.ask("sizes", root=str(tmp_path), paths=[str(tmp_path)] * MANY)
        eventually(lambda: len(_children(talk)) == 1, "nobody measures")
        [child] = _children(talk)
        os.kill(child, signal.SIGKILL)
        assert [answer["error"] for answer in talk.answers(number)] == [
            "the process that measures has ended"
        ]
        number = talk.reader.ask("sizes", root=str(tmp_path), paths=[str(tmp_path)] * MANY)
        assert talk.reader._child is not None
        talk.reader._child.kill()
        assert [answer["error"] for answer in talk.answers(number)]
        [again] = talk.ask("sizes", root=str(tmp_path), paths=[])
    assert first["done"]
    assert again["done"]


def test_it_ends_with_the_screen_whatever_it_does(tmp_path: Path) -> None:
    with talking() as talk:
        talk.reader.ask("sizes", root=str(tmp_path), paths=[str(tmp_path)] * MANY)
        eventually(lambda: len(_children(talk)) == 1, "nobody measures")
        [child] = _children(talk)
    assert talk.reader._child is not None
    assert talk.reader._child.wait(20) == 0
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}"):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.conformance
def test_ordinary_users_see_their_own_area_whole_and_of_roots_what_may_be_read(lab: Lab) -> None:
    names = [user(name) for name in ("lvuser", "lvplain")]
    with readable_site() as site, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = Path(folder) / "root"
        subprocess.run(["cp", "-a", lab.root, root], check=True)
        subprocess.run(["chmod", "-R", "a+rX", root], check=True)
        # As an engine has them: who is not root does not see into layers and volumes.
        for closed in (*(root / "vfs/dir").iterdir(), *(root / "volumes").iterdir()):
            if closed.is_dir():
                closed.chmod(0o700)
        words = ("-m", "tests.tui.ordinary_disk", str(root))
        for done in as_each(names, site, lambda name: words, 120):
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[-1] == "all is well", done.stdout


def _found(answers: list[Document]) -> list[Found]:
    return [one for answer in answers for one in read_found(answer.get("found"))]


def _own(folder: Path) -> int:
    return os.lstat(folder).st_blocks * 512


def _children(talk: Talk) -> list[int]:
    child = talk.reader._child
    assert child is not None
    with open(f"/proc/{child.pid}/task/{child.pid}/children") as file:
        return [int(word) for word in file.read().split()]
