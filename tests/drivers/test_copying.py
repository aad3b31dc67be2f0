"""A copied tree is the tree: by lstat, content and attributes, entry by entry."""

from __future__ import annotations

import os
import socket
import stat
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from layerview.drivers import copying
from layerview.drivers.copying import copy_tree
from tests.support.disks import disk, free
from tests.support.trees import Found, snapshot


def comparable(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    """Leave out the disk's own numbers."""
    return {path: replace(found, inode=0) for path, found in tree.items()}


def links(tree: dict[bytes, Found]) -> set[tuple[bytes, ...]]:
    names: dict[int, list[bytes]] = {}
    for path, found in tree.items():
        if not stat.S_ISDIR(found.kind):
            names.setdefault(found.inode, []).append(path)
    return {tuple(sorted(paths)) for paths in names.values()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with one of everything that a layer can hold."""
    top = tmp_path / "source"
    (top / "a/b").mkdir(parents=True)
    (top / "a/file").write_bytes(os.urandom(100_000))
    (top / "empty").write_text("")
    os.link(top / "a/file", top / "a/b/hard")
    os.link(top / "a/file", top / "zlink")
    (top / "relative").symlink_to("a/file")
    (top / "dangling").symlink_to("/nowhere/at/all")
    os.link(top / "dangling", top / "dangling-2", follow_symlinks=False)
    os.mkfifo(top / "fifo", 0o640)
    os.mkdir(os.fsencode(top) + b"/\xff raw")
    os.setxattr(top / "a/file", "user.note", b"\x00bytes")
    os.setxattr(top / "a/b", "user.note", b"folder")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(top / "a/socket"))
    if os.geteuid() == 0:
        os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(250, 7))
        os.setxattr(top / "dangling", "trusted.note", b"link", follow_symlinks=False)
        os.setxattr(top / "null", "trusted.note", b"device")
        os.chown(top / "a/b", 12, 34)
        os.chown(top / "dangling", 56, 78, follow_symlinks=False)
        os.chown(top / "a/file", 1000, 1001)
        # cap_net_raw=ep, version 2 (linux/capability.h).
        capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
        os.setxattr(top / "empty", "security.capability", capability)
    os.chmod(top / "a/file", 0o6751)
    os.chmod(top / "a", 0o1705)
    os.chmod(top, 0o711)
    for number, path in enumerate([b"a/file", b"relative", b"fifo", b"a/b", b"a", b""]):
        place = os.fsencode(top) + b"/" + path
        times = (10**18 + number, 1_111_111_111_123_456_789 + number)
        os.utime(place, ns=times, follow_symlinks=False)
    return top


@pytest.mark.parametrize("means", ["all", "no clone", "neither"])
def test_a_copy_is_the_same_tree(
    means: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if means != "all":
        monkeypatch.setattr(copying.TreeCopy, "_clones", False, raising=False)
        monkeypatch.setattr(copying.fcntl, "ioctl", _refuse)
    if means == "neither":
        monkeypatch.setattr(copying.os, "copy_file_range", _refuse)
    target = tmp_path / "target"
    target.mkdir()
    before = snapshot(source)
    copy_tree(str(source), str(target))
    copied = snapshot(target)
    assert comparable(copied) == comparable(before)
    assert links(copied) == links(before)
    assert snapshot(source) == before
    own = {found.inode for found in before.values()}
    assert not own & {found.inode for found in copied.values()}


def _refuse(*_: object) -> None:
    raise OSError(95, "not supported")


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    with open(source / "sparse", "wb") as file:
        file.seek(1 << 30)
        file.write(b"middle")
        file.truncate(3 << 30)
    copy_tree(str(source), str(target))
    copied = os.stat(target / "sparse")
    assert copied.st_size == 3 << 30
    assert copied.st_blocks * 512 < 1 << 20
    with open(target / "sparse", "rb") as file:
        file.seek(1 << 30)
        assert file.read(8) == b"middle\0\0"


def test_changing_a_copy_leaves_the_source_alone(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    copy_tree(str(source), str(target))
    before = snapshot(source)
    (target / "a/file").write_bytes(b"changed")
    assert snapshot(source) == before


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_blocks_are_shared_where_the_file_system_can(kind: str, tmp_path: Path) -> None:
    with disk(kind, tmp_path) as place:
        for name in ("source", "target"):
            (place / name).mkdir()
        (place / "source/big").write_bytes(os.urandom(60 << 20))
        before = free(place)
        copy_tree(str(place / "source"), str(place / "target"))
        assert (place / "target/big").read_bytes() == (place / "source/big").read_bytes()
        assert before - free(place) < 4 << 20
        # Written to, the copy gets blocks of its own: the source stays what it is.
        source = (place / "source/big").read_bytes()
        with open(place / "target/big", "r+b") as file:
            file.write(bytes(1 << 20))
        assert (place / "source/big").read_bytes() == source


def test_many_folders_need_few_descriptors(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for number in range(3000):
        (source / f"d{number % 50}" / f"e{number}").mkdir(parents=True)
    target.mkdir()
    limit = len(os.listdir("/proc/self/fd"))
    copy_tree(str(source), str(target))
    assert len(snapshot(target)) == len(snapshot(source)) == 3051
    assert len(os.listdir("/proc/self/fd")) == limit
