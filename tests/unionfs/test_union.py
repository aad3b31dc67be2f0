"""What is particular to the union: copies, limits, crashes, steps, and memory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.unionfs import copying, tree
from layerview.unionfs.node import Caller, Node
from layerview.unionfs.steps import Step
from layerview.unionfs.union import RENAME_EXCHANGE, Union
from tests.unionfs import flat

MIB = 1 << 20


class Lab:
    """Branches `top`, `mid` and `low`, and a union of them once it is asked for."""

    def __init__(self, base: Path) -> None:
        self.top, self.mid, self.low = (base / name for name in ("top", "mid", "low"))
        self.steps: list[Step] = []
        self._fds: list[int] = []
        self._union: Union | None = None
        for folder in (self.top, self.mid, self.low):
            folder.mkdir()

    @property
    def union(self) -> Union:
        if self._union is None:
            folders = (self.top, self.mid, self.low)
            self._fds = [os.open(folder, flat.FOLDER) for folder in folders]
            self._union = Union(self._fds, report=self.steps.append)
        return self._union

    def close(self, *, killed: bool = False) -> None:
        """Let go of the union; without its own end, as a killed process does."""
        if self._union is not None and not killed:
            self._union.close()
        for fd in self._fds:
            os.close(fd)
        self._fds, self._union = [], None

    def node(self, path: str) -> Node:
        node = self.union.root
        for name in os.fsencode(path).split(b"/"):
            node = self.union.lookup(node, name)
        return node

    def read(self, path: str) -> bytes:
        with open(self.union.open(self.node(path), os.O_RDONLY), "rb") as file:
            return file.read()

    def told(self) -> list[tuple[str, str]]:
        return [(step.kind, step.path) for step in self.steps]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def code(do: object, *given: object, **named: object) -> int | None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - which one is what is returned
        do(*given, **named)  # type: ignore[operator]
    return raised.value.errno


def test_a_copy_up_brings_the_folders_first_and_says_what_was_searched_and_copied(
    lab: Lab,
) -> None:
    (lab.low / "etc/conf").mkdir(parents=True)
    (lab.low / "etc/conf/app").write_bytes(b"12345")
    fd = lab.union.open(lab.node("etc/conf/app"), os.O_WRONLY | os.O_APPEND, Caller(0, 0, 42))
    os.close(fd)
    folder, inner, file = lab.steps
    assert (folder.kind, folder.path, folder.bytes) == ("copy_up", "etc", 0)
    assert (inner.kind, inner.path, inner.bytes) == ("copy_up", "etc/conf", 0)
    assert (file.kind, file.path, file.bytes) == ("copy_up", "etc/conf/app", 5)
    assert (file.found, file.searched, file.cause, file.pid) == (2, (0, 1, 2), "open", 42)
    assert file.duration_ns is not None
    assert file.duration_ns > 0


def test_what_is_on_top_is_not_searched_below_nor_copied_again(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"old")
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    lab.steps.clear()
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    lab.union.wrote(lab.node("f"), 3)
    (write,) = lab.steps
    assert (write.kind, write.found, write.searched, write.written) == ("write", 0, (0,), 3)


def test_reading_copies_nothing_and_is_told_only_when_asked_for(lab: Lab) -> None:
    (lab.mid / "f").write_bytes(b"data")
    assert lab.read("f") == b"data"
    assert lab.steps == []
    lab.union.reads = True
    lab.read("f")
    (read,) = lab.steps
    assert (read.kind, read.found, read.searched) == ("read", 1, (0, 1))
    assert os.listdir(lab.top) == []


def test_opening_to_truncate_copies_no_data(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"x" * MIB)
    os.close(lab.union.open(lab.node("f"), os.O_WRONLY | os.O_TRUNC))
    (step,) = lab.steps
    assert (step.kind, step.bytes, step.cause) == ("copy_up", 0, "truncate")
    assert lab.read("f") == b""


def test_truncating_copies_no_more_than_what_stays(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"x" * MIB)
    had = lab.union.set_attributes(lab.node("f"), size=4096)
    (step,) = lab.steps
    assert (step.bytes, step.cause, had.st_size) == (4096, "truncate", 4096)


def test_holes_stay_holes_in_a_copy(lab: Lab) -> None:
    with open(lab.low / "f", "wb") as file:
        file.write(b"start")
        file.truncate(1 << 30)
        file.seek(512 * MIB)
        file.write(b"middle")
    before = (lab.low / "f").stat()
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    after = (lab.top / "f").stat()
    assert after.st_size == before.st_size
    assert after.st_blocks <= before.st_blocks + 16
    assert lab.steps[-1].bytes is not None
    assert lab.steps[-1].bytes <= before.st_blocks * 512
    with open(lab.top / "f", "rb") as copy:
        assert copy.read(5) == b"start"
        copy.seek(512 * MIB)
        assert copy.read(6) == b"middle"


def test_a_big_copy_says_how_far_it_is(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerview.unionfs.copy_up._TELL_EACH", 0)
    monkeypatch.setattr(copying, "_PIECE", MIB)
    (lab.low / "f").write_bytes(os.urandom(4 * MIB))
    lab.union._copier._clones = False
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    *under_way, done = lab.steps
    assert [step.kind for step in under_way] == ["copying"] * 3
    assert [step.bytes for step in under_way] == [MIB, 2 * MIB, 3 * MIB]
    assert {step.total for step in under_way} == {4 * MIB}
    assert done.bytes == 4 * MIB
    assert (lab.top / "f").read_bytes() == (lab.low / "f").read_bytes()


@pytest.mark.parametrize("ranges", [True, False])
def test_data_are_copied_with_and_without_the_kernels_help(lab: Lab, ranges: bool) -> None:
    (lab.low / "f").write_bytes(os.urandom(3 * MIB + 17))
    lab.union._copier._clones = False
    lab.union._copier._ranges = ranges and hasattr(os, "copy_file_range")
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    assert (lab.top / "f").read_bytes() == (lab.low / "f").read_bytes()


def test_who_opened_a_file_before_its_copy_up_goes_on_reading_what_it_had(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"old")
    before = lab.union.open(lab.node("f"), os.O_RDONLY)
    fd = lab.union.open(lab.node("f"), os.O_WRONLY)
    os.write(fd, b"new")
    assert os.read(before, 10) == b"old"
    assert lab.read("f") == b"new"
    os.close(fd)
    os.close(before)


def test_all_names_of_a_file_go_on_being_one_after_a_copy_up_and_another_start(lab: Lab) -> None:
    (lab.low / "d").mkdir()
    (lab.low / "f").write_bytes(b"old")
    for name in ("g", "d/h", "gone", "replaced"):
        os.link(lab.low / "f", lab.low / name)
    (lab.mid / "replaced").write_bytes(b"another")
    lab.union.unlink(lab.union.root, b"gone")
    ino = lab.union.attributes(lab.node("f")).ino
    assert lab.union.attributes(lab.node("f")).nlink == 4
    fd = lab.union.open(lab.node("g"), os.O_WRONLY)
    os.write(fd, b"new")
    os.close(fd)
    for _ in range(2):
        assert lab.node("f") is lab.node("g") is lab.node("d/h")
        had = lab.union.attributes(lab.node("d/h"))
        # Names that a layer hides are brought to no copy.
        assert (had.ino, had.nlink) == (ino, 3)
        assert lab.read("f") == lab.read("d/h") == b"new"
        assert lab.read("replaced") == b"another"
        assert code(lab.node, "gone") == errno.ENOENT
        lab.close()
    # The step names the file by the name that was looked up first.
    assert [path for kind, path in lab.told() if kind == "copy_up"] == ["f", "d"]
    brought = [(step.path, step.from_path) for step in lab.steps if step.kind == "create"]
    assert sorted(brought) == [("d/h", "f"), ("g", "f")]


def test_names_that_are_kept_for_whiteouts_are_refused_and_not_shown(lab: Lab) -> None:
    (lab.low / ".wh.gone").write_bytes(b"")
    (lab.low / ".wh..wh.plnk").mkdir()
    (lab.low / ".wh..wh.aufs").write_bytes(b"")
    (lab.low / "f").write_bytes(b"")
    union, root = lab.union, lab.union.root
    assert [entry.name for entry in union.entries(root)] == [b"f"]
    for name in (b".wh.f", b".wh..wh.plnk", b".wh..wh..opq", b".wh."):
        assert code(union.lookup, root, name) == errno.ENOENT
        assert code(union.create, root, name, 0o644) == errno.EPERM
        assert code(union.mkdir, root, name, 0o755) == errno.EPERM
        assert code(union.symlink, root, name, b"f") == errno.EPERM
        assert code(union.link, lab.node("f"), root, name) == errno.EPERM
        assert code(union.rename, root, b"f", root, name) == errno.EPERM
        assert code(union.unlink, root, name) == errno.ENOENT
    assert lab.steps == []
    assert os.listdir(lab.top) == []


def test_a_name_too_long_for_its_whiteout_is_read_and_written_but_neither_made_nor_deleted(
    lab: Lab,
) -> None:
    long, fits = b"n" * 252, b"m" * 251
    for name in (long, fits):
        (lab.low / os.fsdecode(name)).write_bytes(b"old")
    union, root = lab.union, lab.union.root
    assert union.statfs().f_namemax == 251
    assert code(union.create, root, b"x" * 252, 0o644) == errno.ENAMETOOLONG
    assert code(union.rename, root, fits, root, b"x" * 252) == errno.ENAMETOOLONG
    for _ in range(2):
        assert code(union.unlink, root, long) == errno.ENAMETOOLONG
        assert code(union.rename, root, long, root, b"short") == errno.ENAMETOOLONG
        assert lab.read(os.fsdecode(long)) == b"old"
        os.close(union.open(union.lookup(root, long), os.O_RDWR))
    union.unlink(root, fits)
    assert code(union.lookup, root, fits) == errno.ENOENT


def test_a_folder_that_is_partly_below_is_not_renamed(lab: Lab) -> None:
    (lab.low / "d/e").mkdir(parents=True)
    union, root = lab.union, lab.union.root
    union.mkdir(root, b"own", 0o755)
    assert code(union.rename, root, b"d", root, b"x") == errno.EXDEV
    assert code(union.rename, root, b"own", root, b"d", RENAME_EXCHANGE) == errno.EXDEV
    union.create(lab.node("d"), b"f", 0o644)
    assert code(union.rename, root, b"d", root, b"x") == errno.EXDEV
    union.rename(root, b"own", lab.node("d/e"), b"own")
    assert lab.node("d/e/own").is_folder


def test_a_folder_made_where_one_was_deleted_shows_nothing_of_it(lab: Lab) -> None:
    (lab.low / "d").mkdir()
    (lab.low / "d/f").write_bytes(b"")
    union, root = lab.union, lab.union.root
    union.unlink(lab.node("d"), b"f")
    union.rmdir(root, b"d")
    assert sorted(os.listdir(lab.top)) == [".wh..wh.orph", ".wh.d"]
    union.mkdir(root, b"d", 0o755)
    assert union.entries(lab.node("d")) == []
    assert os.listdir(lab.top / "d") == [".wh..wh..opq"]
    assert lab.told()[-3:] == [("whiteout", "d"), ("create", "d"), ("opaque", "d")]
    lab.close()
    assert lab.union.entries(lab.node("d")) == []


def test_an_exchange_is_two_renames_at_the_same_time(lab: Lab) -> None:
    (lab.low / "a").write_bytes(b"a")
    (lab.low / "b").write_bytes(b"b")
    lab.union.rename(lab.union.root, b"a", lab.union.root, b"b", RENAME_EXCHANGE)
    assert (lab.read("a"), lab.read("b")) == (b"b", b"a")
    one, other = lab.steps[-2:]
    assert (one.path, one.from_path, other.path, other.from_path) == ("b", "a", "a", "b")
    assert one.time == other.time


def test_what_a_killed_process_left_half_copied_is_not_seen_and_is_removed(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"old")
    work = lab.top / ".wh..wh.orph"
    work.mkdir()
    (work / "1").write_bytes(b"half")
    (work / "2").mkdir()
    (work / "2/.wh.x").write_bytes(b"")
    assert [entry.name for entry in lab.union.entries(lab.union.root)] == [b"f"]
    assert os.listdir(work) == []
    fd = lab.union.open(lab.node("f"), os.O_RDWR)
    os.close(fd)
    assert lab.read("f") == b"old"


def test_a_copy_that_fails_leaves_the_old_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.low / "f").write_bytes(b"old" * 1000)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(lab.union._copier, "copy", full)
    assert code(lab.union.open, lab.node("f"), os.O_RDWR) == errno.ENOSPC
    assert lab.read("f") == b"old" * 1000
    assert lab.steps == []
    assert os.listdir(lab.top / ".wh..wh.orph") == []
    assert os.listdir(lab.top) == [".wh..wh.orph"]


def test_a_union_that_is_not_to_be_written_refuses_every_change(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    fd = os.open(tmp_path, flat.FOLDER)
    union = Union([fd], writable=False)
    root = union.root
    node = union.lookup(root, b"f")
    assert code(union.open, node, os.O_WRONLY) == errno.EROFS
    assert code(union.create, root, b"x", 0o644) == errno.EROFS
    assert code(union.mkdir, root, b"x", 0o755) == errno.EROFS
    assert code(union.unlink, root, b"f") == errno.EROFS
    assert code(union.rename, root, b"f", root, b"x") == errno.EROFS
    assert code(union.set_attributes, node, mode=0) == errno.EROFS
    assert code(union.link, node, root, b"x") == errno.EROFS
    union.close()
    os.close(fd)
    assert os.listdir(tmp_path) == ["f"]


def test_writes_that_follow_each_other_closely_are_told_together(lab: Lab) -> None:
    node, fd = lab.union.create(lab.union.root, b"f", 0o644)
    os.close(fd)
    lab.steps.clear()
    for _ in range(100):
        lab.union.wrote(node, 10, Caller(pid=1))
    lab.union.wrote(node, 7, Caller(pid=2))
    lab.union.tell_writes()
    assert sum(step.written or 0 for step in lab.steps) == 1007
    assert len(lab.steps) < 50
    assert {step.pid for step in lab.steps} == {1, 2}


def test_links_in_an_image_are_never_followed(lab: Lab, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (lab.low / "way").symlink_to(outside)
    (lab.low / "file").symlink_to(outside / "secret")
    union = lab.union
    assert code(union.lookup, lab.node("way"), b"secret") == errno.ENOTDIR
    assert code(union.create, lab.node("way"), b"x", 0o644) == errno.ENOTDIR
    assert code(union.open, lab.node("file"), os.O_RDWR) == errno.ELOOP
    union.set_attributes(lab.node("file"), mtime_ns=1, uid=os.geteuid())
    assert union.read_link(lab.node("file")) == os.fsencode(outside / "secret")
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").stat().st_mtime_ns != 1


def test_a_whiteout_and_what_it_stands_beside_mean_the_new_one_alone(lab: Lab) -> None:
    """As layers have it where a build deleted something and made it anew (layer.md)."""
    (lab.low / "d").mkdir()
    (lab.low / "d/old").write_bytes(b"")
    (lab.mid / "d").mkdir()
    (lab.mid / "d/new").write_bytes(b"")
    (lab.mid / ".wh.d").write_bytes(b"")
    assert [entry.name for entry in lab.union.entries(lab.node("d"))] == [b"new"]


def test_a_thousand_folders_deep_is_as_good_as_one(lab: Lab) -> None:
    union = lab.union
    at = union.root
    for _ in range(1500):
        at = union.mkdir(at, b"d", 0o755)
    union.create(at, b"f", 0o644)
    assert union.path(at).count("d") == 1500
    union._drop(union.lookup(union.root, b"d"))
    at = union.root
    for _ in range(1500):
        at = union.lookup(at, b"d")
    assert [entry.name for entry in union.entries(at)] == [b"f"]
    while at is not union.root:
        for entry in union.entries(at):
            (union.rmdir if stat.S_ISDIR(entry.kind) else union.unlink)(at, entry.name)
        assert at.parent is not None
        at = at.parent


def test_a_rename_between_the_deepest_folders_finds_both(lab: Lab) -> None:
    union = lab.union
    folders = []
    for name in (b"a", b"b"):
        at = union.root
        for _ in range(700):
            at = union.mkdir(at, name, 0o755)
        folders.append(at)
    one, other = folders
    for number in range(20):
        name = b"%d" % number
        os.close(union.create(one, name, 0o644)[1])
        union.rename(one, name, other, name)
        union.link(union.lookup(other, name), one, name)
    for folder in folders:
        assert len(union.entries(folder)) == 20
    assert len(union._folders) <= 512
    for folder in folders:
        at = folder
        while at is not union.root:
            for entry in union.entries(at):
                (union.rmdir if stat.S_ISDIR(entry.kind) else union.unlink)(at, entry.name)
            assert at.parent is not None
            at = at.parent


def test_what_nobody_holds_is_forgotten_before_it_fills_the_memory(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_MOST_NODES", 50)
    monkeypatch.setattr(tree, "_MOST_NAMES", 60)
    for folder in range(20):
        (lab.low / f"d{folder}").mkdir()
        for name in range(20):
            (lab.low / f"d{folder}/f{name}").write_bytes(b"")
    union = lab.union
    union._sweep_at = 50
    kept = lab.node("d3/f3")
    union.hold(kept)
    for folder in range(20):
        for name in range(20):
            lab.node(f"d{folder}/f{name}")
    assert union._nodes < 150
    assert union._names < 100
    assert lab.node("d3/f3") is kept
    union.forget(kept)


def test_a_deleted_file_that_is_held_can_still_be_written(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"old")
    node = lab.node("f")
    lab.union.hold(node)
    lab.union.unlink(lab.union.root, b"f")
    assert lab.union.attributes(node).nlink == 0
    fd = lab.union.open(node, os.O_RDWR)
    os.write(fd, b"new")
    assert os.pread(fd, 10, 0) == b"new"
    os.close(fd)
    assert lab.union.attributes(node).size == 3
    lab.union.forget(node)
    assert sorted(os.listdir(lab.top)) == [".wh..wh.orph", ".wh.f"]
    assert os.listdir(lab.top / ".wh..wh.orph") == []


def test_a_file_that_lost_the_one_name_that_was_looked_up_still_is_the_one_of_its_others(
    lab: Lab,
) -> None:
    (lab.low / "d").mkdir()
    (lab.low / "a").write_bytes(b"old")
    os.link(lab.low / "a", lab.low / "d/b")
    node = lab.node("a")
    lab.union.hold(node)
    lab.union.unlink(lab.union.root, b"a")
    assert lab.union.attributes(node).nlink == 1
    fd = lab.union.open(node, os.O_WRONLY)
    os.write(fd, b"new")
    os.close(fd)
    assert lab.node("d/b") is node
    assert lab.read("d/b") == b"new"
    assert lab.union.attributes(node).nlink == 1


def test_numbers_of_a_copied_branch_are_not_taken_for_those_of_the_first(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"old")
    ino = lab.node("f").ino
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    lab.close()
    records = (lab.top / ".wh..wh.numbers").read_text()
    assert lab.node("f").ino == ino
    lab.close()
    (lab.top / ".wh..wh.numbers").write_text(records.replace(" ", " 9", 1))
    assert lab.node("f").ino == (lab.top / "f").stat().st_ino


def test_after_a_kill_no_number_is_wrong(lab: Lab) -> None:
    (lab.low / "f").write_bytes(b"old")
    os.close(lab.union.open(lab.node("f"), os.O_RDWR))
    lab.close(killed=True)
    assert lab.node("f").ino == (lab.top / "f").stat().st_ino
