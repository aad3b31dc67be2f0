"""Hearing by inotify: each folder from before it is read, whenever it came."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from layerview.layer.whiteouts import Whiteouts
from layerview.watch import by_inotify, inotify
from layerview.watch.by_inotify import ByInotify
from layerview.watch.events import CowEvent, Notice
from layerview.watch.hints import CHANGED, CREATED, WRITTEN, Batch
from layerview.watch.inotify import Inotify, LimitReachedError
from layerview.watch.look import Upper
from layerview.watch.source import Sources
from layerview.watch.tree import Place, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A watched folder without anything below it."""
    top = tmp_path / "top"
    top.mkdir()
    with (
        closing(Upper(str(top), Whiteouts.TRUSTED)) as upper,
        closing(Sources((), Whiteouts.TRUSTED)) as sources,
    ):
        yield Tree(Place(str(top)), upper, sources, Whiteouts.TRUSTED)


@pytest.fixture
def heard(tree: Tree) -> Iterator[ByInotify]:
    """Who hears of it."""
    with closing(ByInotify([tree])) as listener:
        yield listener


def look(tree: Tree, batch: Batch) -> list[CowEvent]:
    """Look at what a batch leads to."""
    for paths in batch.paths:
        tree.look(paths.items(), batch.names)
    return tree.events()


def test_what_was_done_to_a_name_is_heard(tree: Tree, heard: ByInotify) -> None:
    top = Path(tree.place.disk)
    (top / "file").write_text("x")
    (top / "file").chmod(0o600)
    ((path, hint),) = heard.wait(1).paths[0].items()
    assert path == b"file"
    assert hint.flags == CREATED | WRITTEN | CHANGED
    assert hint.pid is None


def test_a_folder_that_was_there_is_heard_with_all_below_it(tree: Tree) -> None:
    top = Path(tree.place.disk)
    (top / "a/b/c").mkdir(parents=True)
    with closing(ByInotify([tree])) as listener:
        tree.first()
        (top / "a/b/c/new\nline").touch()
        os.mkdir(os.fsencode(top) + b"/a/not\xffutf-8")
        assert set(listener.wait(1).paths[0]) == {b"a/b/c/new\nline", b"a/not\xffutf-8"}


def test_a_folder_that_came_between_listening_and_reading_is_heard(
    tree: Tree, heard: ByInotify
) -> None:
    (Path(tree.place.disk) / "between").mkdir()
    tree.first()
    look(tree, heard.wait(1))
    heard.landed()
    (Path(tree.place.disk) / "between/file").touch()
    assert b"between/file" in heard.wait(1).paths[0]


def test_what_is_made_deep_in_new_folders_is_told(tree: Tree, heard: ByInotify) -> None:
    tree.first()
    top = Path(tree.place.disk)
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").touch()
    told = {event.path for event in look(tree, heard.wait(1))}
    assert told == {b"a", b"a/b", b"a/b/file"}
    heard.landed()
    (top / "a/b/later").touch()
    assert b"a/b/later" in heard.wait(1).paths[0]


def test_a_folder_that_comes_in_an_unknown_one_is_heard_once_it_is_known(
    tree: Tree, heard: ByInotify
) -> None:
    tree.first()
    top = Path(tree.place.disk)
    (top / "a").mkdir()
    batch = heard.wait(1)
    # It is heard, but nobody has looked at it.
    (top / "a/b").mkdir()
    (top / "a/b/early").touch()
    later = heard.wait(1)
    assert not later.paths
    look(tree, batch)
    (top / "a/b/early").write_text("written before it is heard")
    heard.landed()
    found = heard.wait(0)
    assert b"a/b/early" in found.paths[0]
    assert [(event.kind, event.path) for event in look(tree, found)] == [("write", b"a/b/early")]


def test_a_moved_folder_is_heard_under_its_new_name(tree: Tree, heard: ByInotify) -> None:
    top = Path(tree.place.disk)
    (top / "a/b").mkdir(parents=True)
    look(tree, heard.wait(1))
    heard.landed()
    os.rename(top / "a", top / "c")
    look(tree, heard.wait(1))
    heard.landed()
    heard.wait(0)
    (top / "c/b/file").touch()
    assert set(heard.wait(1).paths[0]) == {b"c/b/file"}


def test_a_folder_that_is_gone_takes_no_room(tree: Tree, heard: ByInotify) -> None:
    top = Path(tree.place.disk)
    for name in ("a", "b", "c"):
        (top / name).mkdir()
        look(tree, heard.wait(1))
        heard.landed()
        (top / name).rmdir()
        look(tree, heard.wait(1))
        heard.landed()
    heard.wait(0)
    assert len(heard._folders) == 1


def test_after_lost_events_all_is_looked_at_and_each_folder_is_heard(
    tree: Tree, heard: ByInotify, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.first()
    top = Path(tree.place.disk)
    (top / "a/b").mkdir(parents=True)
    real = Inotify.read

    def loses(self: Inotify) -> Iterator[inotify.Heard]:
        list(real(self))
        yield inotify.Heard(-1, inotify.OVERFLOW, b"")

    monkeypatch.setattr(Inotify, "read", loses)
    assert heard.wait(1).rescan
    tree.rescan()
    assert {event.path for event in tree.events()} == {b"a", b"a/b"}
    monkeypatch.setattr(Inotify, "read", real)
    (top / "a/b/file").touch()
    assert b"a/b/file" in heard.wait(1).paths[0]


def test_where_folders_are_too_many_it_is_said_once_and_all_is_looked_at(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Inotify, folder: int) -> int:
        raise LimitReachedError(inotify.limit_reached("max_user_watches", "watched folders"))

    monkeypatch.setattr(Inotify, "hear", full)
    monkeypatch.setattr(by_inotify, "_SLOW", 0.1)
    with closing(ByInotify([tree])) as listener:
        first = listener.wait(0)
        assert first.rescan
        (notice,) = first.records
        assert isinstance(notice, Notice)
        assert "sysctl fs.inotify.max_user_watches=" in notice.text
        assert not listener.wait(0)
        assert listener.wait(0.15).rescan or listener.wait(0).rescan
        assert not listener.wait(0).records


def test_where_queues_are_too_many_it_is_said_and_all_is_looked_at(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Inotify) -> None:
        raise LimitReachedError(inotify.limit_reached("max_user_instances", "instances"))

    monkeypatch.setattr(Inotify, "__init__", full)
    with closing(ByInotify([tree])) as listener:
        batch = listener.wait(0)
        assert batch.rescan
        assert "fs.inotify.max_user_instances" in str(batch.records)
