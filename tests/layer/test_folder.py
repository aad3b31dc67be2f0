"""A folder on disk looked at as one layer."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from layerview.errors import DamageError, NotFoundError
from layerview.layer.folder import FolderContents, read_folder
from layerview.layer.kinds import Kind

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="devices and owners need root")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"content")
    os.chmod(root / "d" / "f", 0o4751)
    os.utime(root / "d" / "f", ns=(1, 1_700_000_000_123_456_789))
    os.link(root / "d" / "f", root / "again")
    os.symlink("d/f", root / "s")
    os.mkfifo(root / "p")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).write_bytes(b"")
    (root / ".wh.x").write_bytes(b"")
    return root


def test_every_entry_is_there_with_its_attributes(tree: Path) -> None:
    index = read_folder(str(tree))
    found = {path: Kind(index.kinds[row]) for path, row in index.walk_rows()}
    assert found == {
        b"again": Kind.FILE,
        b"caf\xe9": Kind.FILE,
        b"d": Kind.DIR,
        b"d/f": Kind.FILE,
        b"p": Kind.FIFO,
        b"s": Kind.SYMLINK,
        b"x": Kind.WHITEOUT,
    }
    row = index.find(b"d/f")
    assert row is not None
    state = os.lstat(tree / "d" / "f")
    assert (index.modes[row], index.sizes[row]) == (0o4751, 7)
    assert (index.uids[row], index.gids[row]) == (state.st_uid, state.st_gid)
    assert (index.mtimes[row], index.fraction(row) >> 4) == (1_700_000_000, 123_456_789)
    again, link = index.find(b"again"), index.find(b"s")
    assert index.inode(again or 0) == index.inode(row)
    assert index.size == 7
    assert index.targets[link or 0] == b"d/f"
    root = index.row_of_dir[0]
    assert index.modes[root] == os.stat(tree).st_mode & 0o7777


@needs_root
def test_devices_owners_and_attributes(tree: Path) -> None:
    os.mknod(tree / "null", 0o20666, os.makedev(1, 3))
    os.chown(tree / "d", 7, 8)
    os.setxattr(tree / "d" / "f", "trusted.x", b"1\xff")
    index = read_folder(str(tree))
    null, folder, file = (index.find(name) for name in (b"null", b"d", b"d/f"))
    assert null is not None
    assert folder is not None
    assert index.columns.devices[null] == (1, 3)
    assert (index.uids[folder], index.gids[folder]) == (7, 8)
    assert index.xattrs[index.inode(file or 0)] == {b"trusted.x": b"1\xff"}


def test_sockets_are_no_entries(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree / "socket"))
        assert read_folder(str(tree)).find(b"socket") is None


def test_contents_are_read_in_parts(tree: Path) -> None:
    index = read_folder(str(tree))
    contents = FolderContents(str(tree), index)
    row = index.find(b"d/f")
    assert row is not None
    assert b"".join(contents.pieces(row)) == b"content"
    assert b"".join(contents.pieces(row, 2, 3)) == b"nte"
    assert contents.digests([row])[row].hex().startswith("ed7002b4")


@pytest.mark.parametrize("change", ["gone", "link", "fifo", "parent"])
def test_a_file_that_became_something_else_is_not_followed(tree: Path, change: str) -> None:
    index = read_folder(str(tree))
    row = index.find(b"d/f")
    assert row is not None
    path = tree / "d" / "f"
    path.unlink()
    if change == "link":
        path.symlink_to("/etc/passwd")
    elif change == "fifo":
        os.mkfifo(path)
    elif change == "parent":
        path.parent.rmdir()
        path.parent.symlink_to("/etc")
    with pytest.raises(DamageError) as caught:
        b"".join(FolderContents(str(tree), index).pieces(row))
    assert "d/f" in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotFoundError):
        read_folder(str(tmp_path / name))
