"""Unpacking a layer's tar into a driver's folder."""

from __future__ import annotations

import errno
import gc
import hashlib
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from layerview.errors import DamageError, LayerviewError, LimitError
from layerview.layer.apply import apply
from layerview.layer.attributes import AttributeSetter
from layerview.layer.folder import read_folder
from layerview.layer.override import OVERRIDE
from layerview.layer.whiteouts import Whiteouts
from tests.layer.applying import Unpacked, opened, unpack
from tests.layer.layers import Dribble
from tests.support import tars
from tests.support.trees import snapshot

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def check(unpacked: Unpacked, data: bytes) -> None:
    assert unpacked.applied.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert unpacked.rebuilt() == data


def test_the_bytes_come_back(tmp_path: Path) -> None:
    data = tars.layer(
        tars.folder("a"),
        tars.file("a/f", b"x" * 3000),
        tars.file("a/g", b"y"),
        tars.file("a/f", b"again"),
        tars.whiteout("q/z"),
        tars.opaque("a"),
    )
    unpacked = unpack(tmp_path / "d", data, Whiteouts.AUFS)
    assert (unpacked.applied.size, unpacked.applied.entries, unpacked.applied.notes) == (6, 6, [])
    check(unpacked, data)


@pytest.mark.parametrize("sizes", [[1 << 20], [511], [100_000, 3]])
def test_however_the_stream_comes(tmp_path: Path, sizes: list[int]) -> None:
    large = os.urandom(300_000)
    data = tars.layer(
        tars.file("large", large),
        *(tars.file(f"f{number}", b"%d" % number) for number in range(50)),
        tars.file("n" * 200, large[:1000]),
        end=9 * 512,
    )
    unpacked = unpack(tmp_path / "d", Dribble(data, sizes), Whiteouts.AUFS)
    check(unpacked, data)
    assert (tmp_path / "d" / "large").read_bytes() == large


def test_what_unpacking_needs_is_freed_with_it(tmp_path: Path) -> None:
    """Loading has many layers, and the collector of cycles comes by late."""
    gc.collect()
    gc.disable()
    try:
        unpack(tmp_path / "d", tars.layer(tars.file("f", b"x")), Whiteouts.AUFS)
        left = {type(kept).__name__ for kept in gc.get_objects()}
    finally:
        gc.enable()
    assert not left & {"_Unpacking", "UnpackingWindow", "RawEntries", "TarSplitWriter"}


@pytest.mark.parametrize("style", ["gnu", "pax-0.0", "pax-0.1", "pax-1.0"])
def test_holes_cost_nothing(tmp_path: Path, style: str) -> None:
    size = 1 << 30
    data = tars.layer(tars.sparse("f", size, [(1024, b"s" * 512), (size - 512, b"e" * 512)], style))
    check(unpack(tmp_path / "d", data, Whiteouts.AUFS), data)
    state = os.stat(tmp_path / "d" / "f")
    assert state.st_size == size
    assert state.st_blocks * 512 < 1 << 17
    with open(tmp_path / "d" / "f", "rb") as file:
        assert os.pread(file.fileno(), 513, 1024) == b"s" * 512 + b"\0"
        assert os.pread(file.fileno(), 600, size - 513) == b"\0" + b"e" * 512


def test_nothing_leads_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    before = snapshot(outside)
    data = tars.layer(
        tars.symlink("out", str(outside)),
        tars.file("out/evil", b"1"),
        tars.symlink("up", ".."),
        tars.file("up/outside/evil", b"2"),
        tars.file("../outside/evil", b"3"),
        tars.file("/" + str(outside) + "/evil", b"4"),
        tars.hardlink("link", str(outside / "kept")),
        tars.hardlink("link2", "../outside/kept"),
        tars.symlink("kept", str(outside / "kept")),
        tars.hardlink("again", "kept"),
        tars.file("again", b"5"),
        tars.whiteout("out/kept"),
        tars.opaque("out"),
        tars.symlink("loop", "loop"),
        tars.file("loop/x", b"6"),
    )
    for form in (Whiteouts.AUFS, Whiteouts.NONE):
        unpacked = unpack(tmp_path / form.value, data, form)
        check(unpacked, data)
        assert snapshot(outside) == before
        inside = (tmp_path / form.value / str(outside).lstrip("/") / "evil").read_bytes()
        # The last whiteout and the last opaque marker concern lower layers alone.
        assert inside == b"4"


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh..wh.aufs"])
def test_marks_that_name_nothing_are_passed_over(tmp_path: Path, name: str) -> None:
    data = tars.layer(tars.file("a/f", b"1"), tars.file(name, b"content"), tars.file("g"))
    for form in Whiteouts:
        if form is Whiteouts.TRUSTED and os.geteuid() != 0:
            continue
        folder = tmp_path / form.value
        check(unpack(folder, data, form), data)
        assert sorted(os.listdir(folder)) == ["a", "g"]
        assert os.listdir(folder / "a") == ["f"]


def test_links_to_what_aufs_kept(tmp_path: Path) -> None:
    data = tars.layer(
        tars.folder(".wh..wh.plnk"),
        tars.file(".wh..wh.plnk/1.2", b"shared", mode=0o640),
        tars.hardlink("a", ".wh..wh.plnk/1.2"),
        tars.hardlink("b", ".wh..wh.plnk/1.2"),
        tars.hardlink("c", ".wh..wh.plnk/9.9"),
    )
    unpacked = unpack(tmp_path / "d", data, Whiteouts.NONE)
    check(unpacked, data)
    assert sorted(os.listdir(tmp_path / "d")) == ["a", "b"]
    a, b = os.stat(tmp_path / "d" / "a"), os.stat(tmp_path / "d" / "b")
    assert (a.st_ino, a.st_mode & 0o777, a.st_size) == (b.st_ino, 0o640, 6)
    [note] = unpacked.applied.notes
    assert note.startswith("/c: ")


def test_a_link_into_lower_layers_is_a_copy(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    unpack(lower, tars.layer(tars.file("d/f", b"below", mode=0o4711, mtime=5)), Whiteouts.AUFS)
    data = tars.layer(tars.hardlink("x", "d/f"), tars.hardlink("y", "gone"))
    unpacked = unpack(tmp_path / "upper", data, Whiteouts.AUFS, lower)
    assert (tmp_path / "upper" / "x").read_bytes() == b"below"
    state = os.stat(tmp_path / "upper" / "x")
    assert (state.st_mode & 0o7777, state.st_mtime) == (0o4711, 5)
    assert unpacked.applied.size == 5
    assert [note.partition(":")[0] for note in unpacked.applied.notes] == ["/x", "/y"]
    check(unpacked, data)


@needs_root
def test_what_overlayfs_would_obey_is_not_set(tmp_path: Path) -> None:
    xattrs = {
        b"trusted.overlay.opaque": b"y",
        b"user.overlay.redirect": b"/etc",
        OVERRIDE: b"7:7:0777",
        b"user.kept": b"1",
    }
    data = tars.layer(
        tars.folder("a", xattrs=xattrs), tars.char("null", 0, 0), tars.char("c", 1, 3)
    )
    unpacked = unpack(tmp_path / "d", data)
    assert os.listxattr(tmp_path / "d" / "a") == ["user.kept"]
    assert sorted(os.listdir(tmp_path / "d")) == ["a", "c"]
    assert len(unpacked.applied.notes) == 4
    check(unpacked, data)


@needs_root
def test_a_folder_on_disk_is_what_its_tar_says(tmp_path: Path) -> None:
    data = tars.layer(
        tars.folder("", mode=0o750, mtime=7),
        tars.folder("d", mode=0o2751, uid=3, gid=4, mtime="12.5"),
        tars.file("d/f", b"1", uid=1, mode=0o4755, mtime="-1.25", xattrs={b"user.a": b"\xff"}),
        tars.hardlink("d/g", "d/f"),
        tars.symlink("s", "d/f", mtime="3.000000001"),
        tars.fifo("p", mtime=9),
        tars.block("b", 7, 1, mtime=10),
        tars.whiteout("d/w"),
        tars.file(b"caf\xe9\n", b"2"),
    )
    from tests.layer.layers import index_of

    unpacked = unpack(tmp_path / "d", data)
    found, wanted = read_folder(str(tmp_path / "d"), whiteouts=Whiteouts.TRUSTED), index_of(data)
    columns, others = found.columns, wanted.columns
    for name in (
        "names",
        "kinds",
        "uids",
        "gids",
        "sizes",
        "links",
        "targets",
        "devices",
        "opaque",
    ):
        assert getattr(columns, name) == getattr(others, name), name
    for row, kind in enumerate(others.kinds):
        if kind != 6:
            assert (found.mtimes[row], found.fraction(row)) == (
                wanted.mtimes[row],
                wanted.fraction(row),
            )
    assert found.xattrs == wanted.xattrs
    assert unpacked.applied.notes == []


@pytest.mark.parametrize("cut", [100, 512, 700, 1024 + 5, 3000])
def test_a_truncated_tar_is_damage(tmp_path: Path, cut: int) -> None:
    data = tars.layer(tars.file("f", b"x" * 600), tars.file("g", b"y" * 3000))[:cut]
    if cut == 512:
        data = data[:-1] + b"\1"
    with pytest.raises(DamageError) as caught:
        unpack(tmp_path / "d", data, Whiteouts.AUFS)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("layerview.layer.apply.write_all", full)
    with pytest.raises(LimitError, match="no room is left on the disk for /d/f"):
        unpack(tmp_path / "d", tars.layer(tars.file("d/f", b"x")), Whiteouts.AUFS)


def test_an_error_after_a_files_bytes_stops_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(AttributeSetter, "apply", refuse)
    with pytest.raises(LayerviewError, match="/f: operation not permitted"):
        unpack(tmp_path / "d", tars.layer(tars.file("f", b"x")), Whiteouts.AUFS)


def test_deep_folders_are_replaced(tmp_path: Path) -> None:
    deep = "d/" * 1500
    data = tars.layer(tars.file(deep + "f", b"1"), tars.file("d", b"2"))
    check(unpack(tmp_path / "d", data, Whiteouts.AUFS), data)
    assert (tmp_path / "d" / "d").read_bytes() == b"2"


def test_few_files_are_open_at_once(tmp_path: Path) -> None:
    data = tars.layer(*(tars.file(f"d{number}/f", b"x") for number in range(300)))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (140, before[1]))
    try:
        check(unpack(tmp_path / "d", data, Whiteouts.AUFS), data)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


_AS_NOBODY = """
import io, os, sys
sys.path[:0] = {path!r}
import layerview.layer.apply, layerview.layer.tar_split, layerview.layer.folder, fastcrc.crc64
import tests.support.tars, tests.layer.applying, isal.isal_zlib, tempfile
from tests.layer.test_apply import squashed
os.chdir({folder!r})
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
squashed()
"""


def squashed() -> None:
    """Unpack into ./d as a user without any rights."""
    data = tars.layer(
        tars.folder("a", mode=0o555, uid=7, gid=8),
        tars.file("a/f", b"1", mode=0o4000, uid=0),
        tars.symlink("a/s", "f"),
        tars.char("null", 1, 3),
        tars.whiteout("w"),
        tars.opaque("a"),
    )
    unpacked = unpack(Path("d"), data, Whiteouts.USER)
    check(unpacked, data)
    assert os.getxattr("d/a", OVERRIDE) == b"7:8:0555"
    assert os.getxattr("d/a/f", OVERRIDE) == b"0:0:04000"
    assert os.stat("d/a/f").st_mode & 0o7777 == 0o400
    assert os.getxattr("d/a", "user.overlay.opaque") == b"y"
    assert [note.partition(":")[0] for note in unpacked.applied.notes] == ["/null"]
    index = read_folder("d", whiteouts=Whiteouts.USER)
    row = index.find(b"a/f")
    assert row is not None
    assert (index.modes[row], index.uids[row]) == (0o4000, 0)
    assert index.find(b"w") is not None
    assert index.opaque == {1}


def test_an_ordinary_user_keeps_owners_in_attributes(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    os.chmod(tmp_path, 0o777)
    code = _AS_NOBODY.format(path=[os.getcwd(), *sys.path], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_cancelling_stops_the_work(tmp_path: Path) -> None:
    from layerview.errors import Cancelled
    from layerview.progress import Progress

    progress = Progress()
    progress.cancel()
    data = tars.layer(tars.file("f", b"x"))
    with opened(tmp_path) as fd, pytest.raises(Cancelled):
        apply(io.BytesIO(data), fd, whiteouts=Whiteouts.AUFS, progress=progress)
