"""Where the area is, whose it is, and who may write it."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.store.area import Area, default_root
from layerview.store.intents import Intent, Intents
from layerview.store.locks import live_engine
from tests.support import archives, areas
from tests.support.areas import BASE, TOP
from tests.support.commands import Command


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    return Command(capsys)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return archives.docker_archive(tmp_path / "a.tar", archives.image(BASE, TOP, tags=["a:1"]))


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
    }


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERVIEW_ROOT", "/some/where")
    assert default_root() == "/some/where"
    monkeypatch.delenv("LAYERVIEW_ROOT")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_root() == "/var/lib/layerview"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_root() == "/data/layerview"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_root() == "/home/someone/.local/share/layerview"


def test_it_is_made_when_it_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="layerview load"):
        Area.open(str(tmp_path / "none"))
    for root in (tmp_path / "a" / "b", tmp_path / "empty"):
        if root.name == "empty":
            root.mkdir()
        area = Area.open(str(root), create=True)
        assert (root / "layerview/version").read_text() == "1\n"
        assert Area.open(str(root)).root == area.root
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o710


def test_what_is_left_of_a_first_attempt_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "area/layerview/tmp").mkdir(parents=True)
    (tmp_path / "area/layerview/tmp/0123").write_text("1")
    (tmp_path / "area/layerview/lock").touch()
    with pytest.raises(NotFoundError):
        Area.open(str(tmp_path / "area"))
    Area.open(str(tmp_path / "area"), create=True)


@pytest.mark.parametrize("names", [["file"], ["image"], ["layerview", "file"]])
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, run: Command, image: Path, names: list[str]
) -> None:
    root = tmp_path / "other"
    root.mkdir()
    for name in names:
        (root / name).mkdir()
    before = contents(root)
    for words in (["load", image], ["rmi", "a:1"], ["prune", "-f"], ["doctor", "--repair"]):
        answer = run(*words, "--root", root)
        assert answer.status == 1
        assert str(root) in answer.errors + answer.out
        assert contents(root) == before


def test_an_area_that_is_a_file(tmp_path: Path, run: Command, image: Path) -> None:
    (tmp_path / "area").write_text("x")
    answer = run("load", image)
    assert (answer.status, answer.errors.count("\n")) == (1, 1)
    assert str(tmp_path / "area") in answer.errors


@pytest.mark.parametrize(
    ("text", "said"),
    [("2\n", "newer"), ("99999999999999999999\n", "newer"), ("one\n", "not known"), ("", "not")],
)
def test_other_versions_are_left_alone(
    tmp_path: Path, run: Command, image: Path, text: str, said: str
) -> None:
    root = tmp_path / "area"
    assert run("load", image).status == 0
    (root / "layerview/version").write_text(text)
    before = contents(root)
    for words in (["load", image], ["rmi", "a:1"], ["tag", "a:1", "b:1"], ["prune", "-af"]):
        answer = run(*words)
        assert answer.status == 1
        assert "layerview/version" in answer.errors
        assert said in answer.errors
    assert run("doctor", "--repair").status == 1
    assert contents(root) == before


def test_cache_ids_that_point_outside(tmp_path: Path, run: Command, image: Path) -> None:
    root = tmp_path / "area"
    run("load", image)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    for record in (root / "image/vfs/layerdb/sha256").iterdir():
        (record / "cache-id").write_text("../../../victim")
    for words in (["rmi", "a:1"], ["prune", "-af"], ["save", "a:1", "-o", tmp_path / "o"]):
        answer = run(*words)
        assert (answer.status, answer.errors.count("\n")) == (1, 1)
        assert "cache-id" in answer.errors
    answer = run("doctor")
    assert answer.status == 1
    assert "cache-id" in answer.out
    # With the layers' own files gone, there is nothing by which these could be found again.
    for folder in (root / "vfs/dir").iterdir():
        (folder / "d" / "f").unlink(missing_ok=True)
        (folder / "new").unlink(missing_ok=True)
    answer = run("doctor", "--repair")
    assert answer.status == 1
    assert "cache-id" in answer.out
    assert set(areas.names(root)) == {"a:1"}
    answer = run("rmi", "--force", "a:1")
    assert answer.status == 0
    assert "stays" in answer.errors
    assert (victim / "file").read_text() == "precious"
    assert len(areas.folders(root)) == 2
    assert areas.layers(root) == set()


def test_a_damaged_image_keeps_everything_from_being_deleted(
    tmp_path: Path, run: Command, image: Path
) -> None:
    """Whose layers are not known, nobody may say which are free."""
    root = tmp_path / "area"
    run("load", image)
    other = archives.docker_archive(tmp_path / "b.tar", archives.image(TOP, tags=["b:1"]))
    run("load", other)
    image_id = areas.names(root)["a:1"]
    config = root / "image/vfs/imagedb/content/sha256" / image_id[7:]
    config.write_bytes(config.read_bytes().replace(b"linux", b"linuX"))
    before = areas.layers(root), areas.folders(root)
    answer = run("rmi", "b:1")
    assert answer.status == 1
    assert str(config) in answer.errors
    assert (areas.layers(root), areas.folders(root)) == before


@pytest.fixture
def read_only(tmp_path: Path, run: Command, image: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", place], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    assert run("load", image, "--root", place / "area").status == 0
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_read_only_disk(read_only: Path, run: Command, image: Path) -> None:
    root = read_only / "area"
    for words in (["load", image], ["rmi", "a:1"], ["tag", "a:1", "b:1"], ["prune", "-f"]):
        answer = run(*words, "--root", root)
        assert (answer.status, answer.errors.count("\n")) == (1, 1)
        assert "area is on a read-only file system; choose" in answer.errors
        assert str(root) in answer.errors
    assert run("load", image, "--root", read_only / "other").status == 1
    assert run("doctor", "--root", root).status == 0
    assert run("save", "a:1", "-o", image.with_name("out"), "--root", root).status == 0


def test_a_live_engine_is_refused_and_named(tmp_path: Path, run: Command, image: Path) -> None:
    root = tmp_path / "area"
    run("load", image)
    database = root / "volumes" / "metadata.db"
    database.parent.mkdir()
    database.write_bytes(b"bolt")
    assert live_engine(str(root)) is None
    holder = subprocess.Popen(
        ["flock", "--exclusive", database, "sh", "-c", "echo ready; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    try:
        before = contents(root)
        for words in (["load", image], ["rmi", "a:1"], ["doctor", "--repair"]):
            answer = run(*words)
            assert answer.status == 1
            assert f"process {holder.pid} " in answer.errors
        assert contents(root) == before
        assert run("save", "a:1", "-o", tmp_path / "out").status == 0
    finally:
        holder.communicate(b"\n")
    assert run("rmi", "a:1").status == 0


def test_an_engine_that_starts_while_we_write_has_to_wait(tmp_path: Path) -> None:
    area = Area.open(str(tmp_path / "area"), create=True)
    database = tmp_path / "area/volumes/metadata.db"
    database.parent.mkdir()
    database.touch()
    with open(database) as file:
        with area.writing(), pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_errors_are_of_the_family() -> None:
    assert issubclass(FormatError, LayerviewError)


def test_what_cannot_be_cleared_up_yet_keeps_nobody_from_working(
    run: Command, image: Path, tmp_path: Path
) -> None:
    """A load died, and which folders are layers can't be told while one cache ID can't be read."""
    root = tmp_path / "area"
    run("load", image)
    area = Area.open(str(root))
    died = Intents(area.own, area.scratch).note(Intent("load", "vfs", ["1" * 64]))
    os.close(died.fd)
    (root / "vfs/dir" / ("1" * 64)).mkdir()
    [(path, kept), *_] = [
        (p, p.read_bytes()) for p in root.glob("image/vfs/layerdb/sha256/*/cache-id")
    ]
    path.write_bytes(b"../outside")
    answer = run("tag", "a:1", "b:1")
    assert (answer.status, answer.out) == (0, "")
    assert "not cleared up yet" in answer.errors
    assert (root / "vfs/dir" / ("1" * 64)).is_dir()
    path.write_bytes(kept)
    assert run("tag", "a:1", "c:1").status == 0
    assert not (root / "vfs/dir" / ("1" * 64)).exists()
    assert areas.wrong(root) == []


def test_an_area_that_another_makes_in_the_midst_of_a_look_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "area"
    (root / "layerview").mkdir(parents=True)
    look = os.listdir

    def make_meanwhile(path: str) -> list[str]:
        if path == str(root / "layerview"):
            monkeypatch.setattr(os, "listdir", look)
            with Area.open(str(root), create=True).writing():
                pass
        return look(path)

    monkeypatch.setattr(os, "listdir", make_meanwhile)
    assert Area.open(str(root), create=True).root == str(root)
    assert os.listdir is look
