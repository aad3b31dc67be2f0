"""Packing a layer's folder into a tar."""

from __future__ import annotations

import io
import os
import socket
import stat
import struct
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from layerview.errors import DamageError, NotFoundError
from layerview.layer.beneath import file_data
from layerview.layer.override import OVERRIDE
from layerview.layer.pack import pack_changes, pack_folder
from layerview.layer.tree_changes import Change, compare_trees
from layerview.layer.whiteouts import Whiteouts
from tests.layer.applying import Entry, entries_on_disk, scratch, unpack
from tests.layer.layers import index_of
from tests.support import tars
from tests.view.naive import Stack, stacks

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def packed(folder: Path, whiteouts: Whiteouts = Whiteouts.NONE) -> bytes:
    return b"".join(pack_folder(str(folder), whiteouts))


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """Read a tar with Python's own library."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


@needs_root
def test_tarfile_reads_what_is_packed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    long = "n" * 120
    (top / "d" / long).mkdir(parents=True)
    (top / "d" / long / "f").write_bytes(b"x" * 1000)
    os.utime(top / "d" / long / "f", ns=(0, 1_234_567_890_123_456_789))
    os.chown(top / "d" / long / "f", 1 << 22, 5)
    os.link(top / "d" / long / "f", top / "again")
    (top / "s").symlink_to("t" * 150)
    os.utime(top / "s", ns=(0, -1_500_000_000), follow_symlinks=False)
    os.mkfifo(top / "p")
    os.mknod(top / "c", 0o20600, os.makedev(300, 70000))
    (top / "é").write_bytes(b"")
    os.setxattr(top / "é", "user.x", b"1")
    capability = struct.pack("<5I", 0x02000001, ord("\n"), ord("="), 0, 0)
    os.setxattr(top / "é", "security.capability", capability)
    os.setxattr(top / "é", "trusted.overlay.opaque", b"y")
    os.chmod(top / "é", 0o6711)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(top / "socket"))
        data = packed(top)
    found = members(data)
    assert list(found) == ["again", "c", "d", f"d/{long}", f"d/{long}/f", "p", "s", "é"]
    again, file = found["again"], found[f"d/{long}/f"]
    assert (again.size, again.uid, again.gid, again.mtime) == (1000, 1 << 22, 5, 1234567890)
    assert (file.islnk(), file.linkname) == (True, "again")
    assert (found["s"].linkname, found["s"].mtime) == ("t" * 150, -2)
    assert (found["c"].devmajor, found["c"].devminor) == (300, 70000)
    assert (found["p"].isfifo(), found["é"].mode) == (True, 0o6711)
    assert {key: value for key, value in found["é"].pax_headers.items() if "SCHILY" in key} == {
        "SCHILY.xattr.security.capability": capability.decode()
    }
    assert packed(top) == data
    assert len(data) % 512 == 0


def test_small_names_need_no_pax(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    os.utime(tmp_path / "f", (7, 7))
    assert len(packed(tmp_path)) == 512 + 512 + 1024


@pytest.mark.parametrize("length", [98, 99, 100, 101, 155, 156, 200, 254])
def test_names_of_any_length(tmp_path: Path, length: int) -> None:
    for parts in ((length,), (length, 90), (50, length), (100, 100, length)):
        top = tmp_path / "-".join(map(str, parts))
        path = top.joinpath(*("n" * part for part in parts))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
        assert list(members(packed(top)))[-1] == str(path.relative_to(top))


def without_marks(top: Path) -> dict[bytes, Entry]:
    """What lies in a folder, but for what an engine does not pack either."""
    entries, _ = entries_on_disk(top)
    return {
        path: replace(
            entry,
            mode=0 if entry.kind == "char" or b".wh." in path else entry.mode,
            xattrs=tuple(pair for pair in entry.xattrs if pair[0] == b"security.capability"),
        )
        for path, entry in entries.items()
    }


@needs_root
@settings(max_examples=30, deadline=None)
@given(stacks(most=1, links=False))
@pytest.mark.parametrize("form", [Whiteouts.TRUSTED, Whiteouts.USER, Whiteouts.AUFS])
def test_a_packed_folder_unpacks_to_itself(form: Whiteouts, stack: Stack) -> None:
    with scratch() as top:
        unpack(top / "one", tars.layer(*stack[0]), form)
        data = packed(top / "one", form)
        unpack(top / "two", data, form)
        assert without_marks(top / "two") == without_marks(top / "one")
        assert packed(top / "two", form) == data
        # In another form it says the same.
        for other in (Whiteouts.TRUSTED, Whiteouts.AUFS):
            unpack(top / other.value, data, other)
            again = index_of(packed(top / other.value, other))
            assert list(again.walk_rows()) == list(index_of(data).walk_rows())
            assert (again.kinds, again.opaque) == (index_of(data).kinds, index_of(data).opaque)


def test_owners_that_could_not_be_kept_are_put_back(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    os.setxattr(tmp_path / "f", OVERRIDE, b"7:8:04711")
    [member] = members(packed(tmp_path)).values()
    assert (member.uid, member.gid, member.mode) == (7, 8, 0o4711)
    assert not any("SCHILY" in key for key in member.pax_headers)


@needs_root
def test_capabilities_are_kept_without_their_namespace(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    plain = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr(tmp_path / "f", "security.capability", plain)
    [row] = index_of(packed(tmp_path)).xattrs.values()
    assert row == {b"security.capability": plain}
    os.setxattr(
        tmp_path / "f",
        "security.capability",
        struct.pack("<6I", 0x03000001, 1 << 10, 0, 0, 0, 1000),
    )
    [row] = index_of(packed(tmp_path)).xattrs.values()
    assert row == {b"security.capability": plain}


def test_holes_are_packed_as_zeros_and_not_held(tmp_path: Path) -> None:
    size = 64 << 20
    with open(tmp_path / "f", "wb") as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"x", 5 << 20)
    with open(tmp_path / "f", "rb") as file:
        if sum(len(piece) for _, piece in file_data(file.fileno(), size)) == size:
            pytest.skip("this file system has no holes")
    tracemalloc.start()
    total = count = 0
    for piece in pack_folder(str(tmp_path), Whiteouts.NONE):
        total += len(piece)
        count += piece.count(b"x" if len(piece) > 4096 or len(piece) == 1 else b"\xff")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total >= size + 1024
    assert peak < 8 << 20


def test_changes_of_a_full_tree(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for top in (lower, upper):
        (top / "d").mkdir(parents=True)
        (top / "d" / "same").write_bytes(b"same")
        os.utime(top / "d" / "same", (5, 5))
    (lower / "d" / "gone").write_bytes(b"1")
    (upper / "d" / "new").write_bytes(b"2")
    os.link(upper / "d" / "new", upper / "link")
    changes = compare_trees(str(lower), str(upper))
    data = b"".join(pack_changes(str(lower), str(upper), changes))
    assert list(members(data)) == ["d", "d/.wh.gone", "d/new", "link"]
    unpack(lower, data, Whiteouts.NONE)
    assert compare_trees(str(lower), str(upper)) == []
    assert os.stat(lower / "link").st_ino == os.stat(lower / "d" / "new").st_ino


def test_changes_stand_in_the_order_of_their_bytes_and_folders_in_that_of_a_walk(
    tmp_path: Path,
) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    for name in ("a/x", "a-b/x"):
        (upper / name).mkdir(parents=True)
    changes = compare_trees(str(lower), str(upper))
    found = b"".join(pack_changes(str(lower), str(upper), changes))
    assert list(members(found)) == ["a", "a-b", "a-b/x", "a/x"]
    assert list(members(packed(upper))) == ["a", "a/x", "a-b", "a-b/x"]


@needs_root
def test_deletions_have_the_form_that_an_engine_gives_them(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.chown(tmp_path / "d", 7, 8)
    os.chmod(tmp_path / "d", 0o2751)
    os.setxattr(tmp_path / "d", "trusted.overlay.opaque", b"y")
    os.mknod(tmp_path / "d" / "gone", 0o020000, 0)
    os.utime(tmp_path / "d" / "gone", (9, 9))
    os.link(tmp_path / "d" / "gone", tmp_path / "d" / "too")
    found = members(packed(tmp_path, Whiteouts.TRUSTED))
    assert list(found) == ["d", "d/.wh..wh..opq", "d/.wh.gone", "d/.wh.too"]
    _, opaque, gone, too = found.values()
    assert (opaque.mode, opaque.uid, opaque.gid, opaque.mtime) == (0o751, 7, 8, 0)
    assert (gone.type, gone.mode, gone.mtime, gone.linkname) == (b"0", 0o600, 9, "")
    assert (too.type, too.mode, too.mtime, too.linkname) == (b"0", 0o600, 9, "d/gone")


@needs_root
def test_every_name_of_a_file_has_its_capabilities(tmp_path: Path) -> None:
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    (tmp_path / "a").write_bytes(b"1")
    os.setxattr(tmp_path / "a", "security.capability", capability)
    os.link(tmp_path / "a", tmp_path / "b")
    one, other = members(packed(tmp_path)).values()
    assert other.islnk()
    key = "SCHILY.xattr.security.capability"
    assert one.pax_headers[key] == other.pax_headers[key]


def test_a_file_that_is_gone_meanwhile_is_left_out(tmp_path: Path) -> None:
    data = b"".join(pack_changes(None, str(tmp_path), [Change(b"gone", "A")]))
    assert data == bytes(1024)


def test_a_file_that_shrinks_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    pieces = pack_folder(str(tmp_path), Whiteouts.NONE)
    next(pieces)
    os.truncate(tmp_path / "f", 10)
    with pytest.raises(DamageError, match="/f became shorter"):
        b"".join(pieces)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "s").symlink_to("/etc")
    [member] = members(packed(tmp_path / "top")).values()
    assert stat.S_ISLNK(os.lstat(tmp_path / "top" / "s").st_mode)
    assert member.issym()
    with pytest.raises(NotFoundError):
        packed(tmp_path / "missing")
