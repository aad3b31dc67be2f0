"""Removing a tree takes that tree and nothing else, whatever it holds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from layerview.drivers import mounts, removal
from layerview.drivers.removal import remove_tree
from layerview.errors import LayerviewError
from tests.drivers.people import as_user, readable_site, user
from tests.support.trees import snapshot


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    (place / "folder").mkdir(parents=True)
    (place / "folder/file").write_text("keep")
    return place


def test_links_are_removed_and_not_followed(tmp_path: Path, outside: Path) -> None:
    before = snapshot(outside)
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/link").symlink_to(outside)
    (tree / "a/b/up").symlink_to("../../../outside/folder")
    (tree / "file-link").symlink_to(outside / "folder/file")
    os.link(outside / "folder/file", tree / "hard")
    remove_tree(str(tmp_path), "tree")
    assert not tree.exists()
    after = snapshot(outside)
    assert after == before


def test_a_link_in_the_place_of_the_tree_goes_alone(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "tree").symlink_to(outside)
    before = snapshot(outside)
    remove_tree(str(tmp_path), "tree")
    assert not os.path.lexists(tmp_path / "tree")
    assert snapshot(outside) == before


def test_what_is_not_there_is_removed(tmp_path: Path) -> None:
    remove_tree(str(tmp_path), "tree")
    remove_tree(str(tmp_path / "missing"), "tree")


def test_deeper_than_any_path_and_wide(tmp_path: Path) -> None:
    # 3,000 folders of 20 bytes: fifteen times the longest path.
    (tmp_path / "tree").mkdir()
    here = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("n" * 20, dir_fd=here)
        below = os.open("n" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        os.close(os.open("f", os.O_CREAT, dir_fd=here))
    os.close(here)
    for number in range(2000):
        (tmp_path / "tree" / f"w{number}").mkdir()
    limit = len(os.listdir("/proc/self/fd"))
    remove_tree(str(tmp_path), "tree")
    assert not (tmp_path / "tree").exists()
    assert len(os.listdir("/proc/self/fd")) == limit


def test_special_files_and_strange_names(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    if os.geteuid() == 0:
        os.mknod(tree / "whiteout", 0o020000, 0)
    (tree / "with\nnewline").mkdir()
    os.mkdir(os.fsencode(tree) + b"/\xff\xfe")
    os.close(os.open(os.fsencode(tree) + b"/\xff\xfe/\xff", os.O_CREAT))
    remove_tree(str(tmp_path), "tree")
    assert os.listdir(tmp_path) == []


def test_what_is_mounted_below_is_left_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    inner = tmp_path / "tree/a/mount"
    inner.mkdir(parents=True)
    mounts.mount("none", str(inner), "tmpfs")
    try:
        (inner / "file").write_text("keep")
        with pytest.raises(LayerviewError, match="mount is mounted: unmount it first"):
            remove_tree(os.path.realpath(tmp_path), "tree")
        assert (inner / "file").read_text() == "keep"
    finally:
        mounts.detach(str(inner))


def test_a_folder_moved_out_while_it_is_emptied_is_not_followed(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b/f").write_text("")
    before = snapshot(outside / "folder")
    real = removal._emptied

    def move(here: int) -> list[bytes]:
        found = real(here)
        if not found:
            os.rename(tmp_path / "tree/a/b", outside / "moved")
        return found

    monkeypatch.setattr(removal, "_emptied", move)
    with pytest.raises(OSError, match="tree"):
        remove_tree(str(tmp_path), "tree")
    assert snapshot(outside / "folder") == before


def test_what_cannot_be_removed_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chattr needs root")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "fixed").write_text("")
    subprocess.run(["chattr", "+i", str(tree / "fixed")], check=True)
    try:
        with pytest.raises(OSError, match=r"Operation not permitted.*tree"):
            remove_tree(str(tmp_path), "tree")
    finally:
        subprocess.run(["chattr", "-i", str(tree / "fixed")], check=True)


def test_a_user_removes_own_folders_whatever_their_modes() -> None:
    name = user("lvplain")
    code = """
import os, tempfile
from layerview.drivers.removal import remove_tree
top = tempfile.mkdtemp()
os.makedirs(top + "/tree/a/b/c")
open(top + "/tree/a/b/f", "w").close()
for path, mode in (("a/b", 0), ("a", 0o500), ("", 0o300)):
    os.chmod(top + "/tree/" + path, mode)
remove_tree(top, "tree")
print(os.listdir(top))
os.rmdir(top)
"""
    with readable_site() as site:
        done = as_user(name, site, "-c", code)
    assert (done.stdout, done.stderr) == ("[]\n", "")
