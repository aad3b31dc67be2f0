"""What is known of a watched folder, look by look."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.hints import NOTHING
from layerview.watch.look import Upper
from layerview.watch.source import Sources
from layerview.watch.tree import Place, Tree


def tree_of(folder: Path) -> Tree:
    """Take in a folder without layers below."""
    upper = Upper(str(folder), Whiteouts.AUFS)
    tree = Tree(Place(str(folder)), upper, Sources([], Whiteouts.AUFS), Whiteouts.AUFS)
    tree.first()
    return tree


def told(tree: Tree, *paths: bytes) -> list[tuple[str, bytes, int | None]]:
    tree.look((path, NOTHING) for path in paths)
    return [(event.kind, event.path, event.size) for event in tree.events()]


def test_a_write_to_a_file_with_several_names_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345678")
    os.link(tmp_path / "a", tmp_path / "b")
    tree = tree_of(tmp_path)
    (tmp_path / "a").write_bytes(b"12345")
    assert told(tree, b"a", b"b") == [("write", b"a", 5)]


def test_what_was_written_under_a_name_that_goes_with_its_folder_shows_under_the_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/a").write_bytes(b"12345678")
    os.link(tmp_path / "deep/er/a", tmp_path / "b")
    tree = tree_of(tmp_path)
    (tmp_path / "deep/er/a").write_bytes(b"12345")
    shutil.rmtree(tmp_path / "deep")
    found = told(tree, b"deep")
    assert ("write", b"b", 5) in found
    gone = [path for kind, path, _ in found if kind == "delete"]
    assert gone == [b"deep/er/a", b"deep/er", b"deep"]
