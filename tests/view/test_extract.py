"""What extraction makes on disk: what the view shows, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerview.cli.main import main
from layerview.errors import Cancelled, LayerviewError, LimitError, NotFoundError, UsageError
from layerview.layer import beneath
from layerview.progress import Progress
from layerview.sources.loading import ImageContents, load_layers
from layerview.sources.resolve import open_image
from layerview.view.extract import extract
from layerview.view.union import UnionView
from tests.support import archives, tars
from tests.support.trees import remove, snapshot
from tests.view.extracting import SECRET, Opened, Yard, assert_equals_view, opened

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="owners, devices and capabilities need root"
)
K = b"k" * 1000


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    yield made
    remove(made.yard)


# ---- what is made -------------------------------------------------------------------------------

NAMES = st.sampled_from([b"a", b"b", b"c", b"caf\xe9", b"new\nline", b"\xe2\x80\xaex", b"-rf"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
OWNERS = st.sampled_from([0, 1, 1000, 100_000, 4_000_000_000])
MODES = st.sampled_from([0, 0o400, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777])
TIMES = st.sampled_from([0, 1, "1700000000.5", "1700000000.123456789", 2**31 - 1])
XATTRS = st.sampled_from([{}, {}, {"user.note": b"\x00\xff"}, {"user.a": b"1", "user.b": b""}])


@st.composite
def entries(draw: st.DrawFn) -> tars.Entry:
    path = draw(PATHS)
    common: dict[str, Any] = {"uid": draw(OWNERS), "gid": draw(OWNERS), "mtime": draw(TIMES)}
    kind = draw(st.sampled_from("ffffddddsshhpcbwoS"))
    if kind in "fdS":
        common |= {"mode": draw(MODES), "xattrs": draw(XATTRS)}
    if kind == "f":
        return tars.file(path, draw(st.binary(max_size=2000)), **common)
    if kind == "d":
        return tars.folder(draw(st.sampled_from([path, path, path, b""])), **common)
    if kind == "s":
        targets = [
            b"a",
            b"../b",
            b"/",
            b"/etc/passwd",
            b"../../../../tmp",
            b"x" * 200 + b"/" + b"y" * 200,
        ]
        return tars.symlink(path, draw(st.sampled_from(targets) | PATHS), **common)
    if kind == "h":
        return tars.hardlink(path, draw(PATHS), **common)
    if kind == "p":
        return tars.fifo(path, mode=draw(MODES), **common)
    if kind == "c":
        return tars.char(path, draw(st.integers(0, 4095)), draw(st.integers(1, 99)), **common)
    if kind == "b":
        return tars.block(path, 7, draw(st.integers(0, 2**20 - 1)), **common)
    if kind == "w":
        return tars.whiteout(path)
    if kind == "o":
        return tars.opaque(draw(st.sampled_from([path, path, b""])))
    chunks = draw(st.sampled_from([[(4096, b"data")], [(0, b"x" * 512), (100_000, b"y" * 600)]]))
    return tars.sparse(path, 200_000, chunks, style=draw(st.sampled_from(["gnu", "pax-1.0"])))


STACKS = st.lists(
    st.lists(entries(), max_size=12).map(lambda parts: tars.layer(*parts)), min_size=1, max_size=4
)


@needs_root
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(STACKS, st.sampled_from(["none", "gzip", "zstd"]))
def test_root_extracted_as_root_is_the_view(stack: list[bytes], compression: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        yard = Yard(Path(folder))
        try:
            with opened(yard.place, *stack, compression=compression) as image:
                done = extract(image.view, image.contents, b"", str(yard.target))
                yard.check()
                unresolved = {
                    node.path
                    for node in image.view.walk()
                    if node.layer is not None and image.view.is_unresolved(node.layer, node.row)
                }
                assert len(done.skipped) == len(unresolved), done.skipped
                assert not done.damage
                found = yard.found()
                assert_equals_view(found, image, left_out=unresolved)
                files = {
                    image.view.source_of(node.layer, node.row)
                    for node in image.view.walk()
                    if node.layer is not None and node.kind == 0 and node.path not in unresolved
                }
                assert done.files == len(files)
                assert done.folders == sum(stat.S_ISDIR(one.kind) for one in found.values())
                assert done.files + done.folders + done.links + done.nodes == len(found)
        finally:
            remove(yard.yard)


@needs_root
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(STACKS)
def test_one_layer_extracted_is_what_it_holds(stack: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        yard = Yard(Path(folder))
        try:
            with opened(yard.place, *stack) as image:
                top = len(stack) - 1
                done = extract(image.view, image.contents, b"", str(yard.target), layer=top)
                yard.check()
                index = image.view.layers[top]
                assert index is not None
                held = {path for path, row in index.walk_rows() if index.kinds[row] != 6}
                deleted = len(index) - len(held)
                assert sum("deleted here" in line for line in done.skipped) == deleted
                lost = sum("not in the image" in line for line in done.skipped)
                assert len(yard.found()) - 1 == len(held) - lost
        finally:
            remove(yard.yard)


def test_a_file_goes_under_a_new_name_or_into_a_folder(yard: Yard) -> None:
    layer = tars.layer(tars.file("etc/conf", b"text", mode=0o640, mtime="1700000000.25"))
    done = yard.extract(layer, path=b"etc/conf")
    assert yard.target.read_bytes() == b"text"
    state = yard.target.stat()
    assert (stat.S_IMODE(state.st_mode), state.st_mtime_ns) == (0o640, 1_700_000_000_250_000_000)
    assert (done.files, done.folders, done.bytes) == (1, 0, 4)
    yard.target.unlink()
    yard.target.mkdir()
    done = yard.extract(layer, path=b"etc/conf")
    assert done.target.endswith("/yard/target/conf")
    assert (yard.target / "conf").read_bytes() == b"text"


def test_a_folder_goes_into_an_existing_one_under_its_own_name(yard: Yard) -> None:
    layer = tars.layer(tars.file("etc/conf/a", b"A"), tars.file("other", b"no"))
    yard.target.mkdir()
    yard.extract(layer, path=b"etc/conf")
    assert sorted(yard.found()) == [b"", b"conf", b"conf/a"]
    yard.extract(layer)
    assert sorted(name for name in yard.found() if name.startswith(b"rootfs/")) == [
        b"rootfs/etc",
        b"rootfs/etc/conf",
        b"rootfs/etc/conf/a",
        b"rootfs/other",
    ]


def test_nothing_is_overwritten_unless_forced(yard: Yard) -> None:
    layer = tars.layer(tars.file("etc/conf", b"new"), tars.symlink("etc/link", "conf"))
    yard.target.mkdir()
    there = yard.target / "etc"
    there.mkdir()
    with pytest.raises(LayerviewError, match=r"target/etc is there already; --force replaces it"):
        yard.extract(layer, path=b"etc")
    (there / "conf").symlink_to(yard.outside / "secret")
    (there / "link").write_bytes(b"old")
    (there / "mine").write_bytes(b"mine")
    yard.extract(layer, path=b"etc", force=True)
    assert not (there / "conf").is_symlink()
    assert (there / "conf").read_bytes() == b"new"
    assert os.readlink(there / "link") == "conf"
    assert (there / "mine").read_bytes() == b"mine"


def test_forced_into_a_link_to_a_folder_replaces_the_link(yard: Yard) -> None:
    layer = tars.layer(tars.file("etc/d/conf", b"new"))
    (yard.target / "etc").mkdir(parents=True)
    (yard.target / "etc" / "d").symlink_to(yard.outside / "folder")
    yard.extract(layer, path=b"etc", force=True)
    assert not (yard.target / "etc" / "d").is_symlink()
    assert (yard.target / "etc" / "d" / "conf").read_bytes() == b"new"


def test_a_folder_is_never_replaced_by_a_file(yard: Yard) -> None:
    (yard.target / "conf").mkdir(parents=True)
    with pytest.raises(LayerviewError, match="is a folder: it is not replaced"):
        yard.extract(tars.layer(tars.file("conf", b"new")), path=b"conf", force=True)


def test_a_dangling_link_at_the_destination_is_not_followed(yard: Yard) -> None:
    layer = tars.layer(tars.file("conf", b"new"))
    yard.target.symlink_to(yard.outside / "not-there")
    with pytest.raises(LayerviewError, match="is there already"):
        yard.extract(layer, path=b"conf")
    yard.extract(layer, path=b"conf", force=True)
    assert not yard.target.is_symlink()
    assert yard.target.read_bytes() == b"new"


def test_bad_destinations_are_one_line(yard: Yard) -> None:
    layer = tars.layer(tars.file("conf", b"new"))
    with opened(yard.place, layer) as image:
        for destination, error in [
            ("", UsageError),
            (str(yard.yard / "no" / "such"), NotFoundError),
            (str(yard.outside / "secret" / "x"), NotFoundError),
            (str(yard.yard) + "/x/", NotFoundError),
            (str(yard.yard) + "/no/..", UsageError),
            ("a\0b", UsageError),
        ]:
            with pytest.raises(error):
                extract(image.view, image.contents, b"conf", destination)
        with pytest.raises(NotFoundError):
            extract(image.view, image.contents, b"nope", str(yard.target))
        with pytest.raises(NotFoundError):
            extract(image.view, image.contents, b"conf", str(yard.target), layer=1)
    yard.check()
    assert not yard.target.exists()


def test_a_hidden_version_is_extracted_from_its_layer(yard: Yard) -> None:
    base = tars.layer(tars.file("d/f", b"old"), tars.file("d/gone", b"gone"))
    top = tars.layer(tars.file("d/f", b"new"), tars.whiteout("d/gone"), tars.opaque("e"))
    done = yard.extract(base, top, path=b"d", layer=1)
    assert {path: one.content for path, one in yard.found().items()} == {b"": b"", b"f": b"new"}
    assert done.skipped == ["/d/gone: deleted here"]
    remove(yard.target)
    yard.extract(base, top, path=b"d/f", layer=0)
    assert yard.target.read_bytes() == b"old"
    with pytest.raises(NotFoundError, match="layer 1 deletes /d/gone"):
        yard.extract(base, top, path=b"d/gone", layer=1)


def test_a_link_keeps_bytes_whose_first_name_is_deleted(yard: Yard) -> None:
    base = tars.layer(tars.file("a", K), tars.hardlink("b", "a"), tars.hardlink("c", "a"))
    yard.extract(base, tars.layer(tars.whiteout("a")))
    found = yard.found()
    assert found[b"b"].content == found[b"c"].content == K
    assert found[b"b"].inode == found[b"c"].inode


def test_a_link_to_a_lower_layer_is_made_within_the_extraction_only(yard: Yard) -> None:
    base = tars.layer(tars.file("a", K), tars.file("x/y/app", b"app"))
    top = tars.layer(tars.hardlink("d/b", "a"), tars.hardlink("new/folder/app", "x/y/app"))
    done = yard.extract(base, top)
    found = yard.found()
    assert found[b"a"].inode == found[b"d/b"].inode
    assert found[b"x/y/app"].inode == found[b"new/folder/app"].inode
    assert (done.files, done.links) == (2, 2)
    remove(yard.target)
    yard.extract(base, top, path=b"d")
    assert yard.found()[b"b"].content == K
    assert yard.found()[b"b"].links == 1


def test_a_link_to_nothing_is_left_out_and_said(yard: Yard) -> None:
    done = yard.extract(tars.layer(tars.hardlink("b", "nope"), tars.file("a")))
    assert done.skipped == ["/b: a hard link to a file that is not in the image"]
    assert sorted(yard.found()) == [b"", b"a"]
    with pytest.raises(LayerviewError, match="a hard link to a file that is not in the image"):
        yard.extract(tars.layer(tars.hardlink("b", "nope")), path=b"b", force=True)


def test_links_that_the_file_system_refuses_become_copies(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    sparse = tars.sparse("s", 1 << 22, [(1 << 21, b"data")])
    done = yard.extract(tars.layer(sparse, tars.hardlink("t", "s"), tars.file("a", K)))
    found = yard.found()
    assert found[b"s"].size == found[b"t"].size == 1 << 22
    assert (yard.target / "t").stat().st_blocks * 512 < 1 << 20
    assert (yard.target / "t").read_bytes()[1 << 21 :][:4] == b"data"
    assert done.files == 3
    assert any("a copy" in line for line in done.skipped)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_sparse_files_are_written_with_their_holes(yard: Yard, compression: str) -> None:
    huge = 1 << 40
    layer = tars.layer(
        tars.sparse("lastlog", huge, [(4096, b"one"), (huge - 4096, b"z" * 4096)]),
        tars.sparse("empty", 1 << 30, []),
    )
    done = yard.extract(layer, compression=compression)
    state = (yard.target / "lastlog").stat()
    assert (state.st_size, state.st_blocks * 512 < 1 << 16) == (huge, True)
    with open(yard.target / "lastlog", "rb") as file:
        assert file.read(4100)[4096:] == b"one\0"
        file.seek(huge - 4096)
        assert file.read() == b"z" * 4096
    assert (yard.target / "empty").stat().st_blocks == 0
    assert done.bytes == 3 + 4096


def test_a_file_larger_than_the_file_system_can_hold_is_left_out(yard: Yard) -> None:
    layer = tars.layer(
        tars.sparse("huge", 1 << 60, [], style="pax-1.0"), tars.file("small", b"small")
    )
    done = yard.extract(layer)
    if b"huge" not in yard.found():
        assert done.skipped == ["/huge: file too large"]
    assert yard.found()[b"small"].content == b"small"


def test_too_little_room_is_said_before_anything_is_written(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstatvfs

    def little(fd: int) -> os.statvfs_result:
        values = list(real(fd))
        values[3] = values[4] = 0
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "fstatvfs", little)
    with pytest.raises(LimitError, match=r"has room for 0 B, not for the 1\.0 kB of /d"):
        yard.extract(tars.layer(tars.file("d/a", K)), path=b"d")
    assert not yard.target.exists()


def test_a_compressed_layer_is_read_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerview.layer import contents

    opened_streams = 0
    real = contents.open_plain

    def counting(*arguments: Any) -> Any:
        nonlocal opened_streams
        opened_streams += 1
        return real(*arguments)

    names = [f"d{number % 7}/{number}" for number in range(200)]
    layer = tars.layer(*(tars.file(name, name * 50) for name in reversed(names)))
    with opened(yard.place, layer, layer, compression="gzip") as image:
        monkeypatch.setattr(contents, "open_plain", counting)
        extract(image.view, image.contents, b"", str(yard.target))
    assert opened_streams == 1
    for name in names:
        assert (yard.target / name).read_text() == name * 50


def test_modes_that_forbid_everything_still_get_content(yard: Yard) -> None:
    layer = tars.layer(
        tars.folder("d", mode=0), tars.folder("d/e", mode=0o100), tars.file("d/e/f", K, mode=0)
    )
    yard.extract(layer)
    (yard.target / "d").chmod(0o700)
    (yard.target / "d" / "e").chmod(0o700)
    (yard.target / "d" / "e" / "f").chmod(0o600)
    assert (yard.target / "d" / "e" / "f").read_bytes() == K


def test_a_truncated_layer_gives_what_is_whole(yard: Yard) -> None:
    layer = tars.layer(tars.file("a", b"A" * 600), tars.file("b", b"B" * 5000), end=0)
    done = yard.extract(layer[: len(layer) - 4096])
    assert {path for path in yard.found() if path} == {b"a"}
    assert done.damage == ["/b: the layer ends inside /b"]


def test_cancelling_leaves_no_partial_file(yard: Yard) -> None:
    class Impatient(Progress):
        def step(self, what: str, done: int, total: int | None) -> None:
            if what == "extracting" and done > 1 << 20:
                self.cancel()
            self.check()

    layer = tars.layer(tars.file("a", b"a"), tars.file("big", bytes(1 << 23)), tars.file("z"))
    with pytest.raises(Cancelled):
        yard.extract(layer, progress=Impatient())
    assert sorted(yard.found()) == [b"", b"a"]


def test_names_too_long_for_the_disk_are_left_out_with_all_below(yard: Yard) -> None:
    long = b"n" * 300
    layer = tars.layer(
        tars.file(b"ok/" + long, b"x"), tars.file(long + b"/a/b", b"x"), tars.file("fine", b"x")
    )
    done = yard.extract(layer)
    assert sorted(yard.found()) == [b"", b"fine", b"ok"]
    assert len(done.skipped) == 4
    assert sum("file name too long" in line for line in done.skipped) == 2
    assert sum("its folder is left out" in line for line in done.skipped) == 2


def test_deep_nesting_needs_neither_recursion_nor_descriptors(yard: Yard) -> None:
    paths = [b"/".join([b"d"] * depth) for depth in (1500, 1900, 2047, 2048, 2500, 4000)]
    layer = tars.layer(*(tars.file(path + b"/f", b"deep") for path in paths))
    before = len(os.listdir("/proc/self/fd"))
    done = yard.extract(layer)
    assert len(os.listdir("/proc/self/fd")) == before
    assert done.files == 2 + 1
    assert any("longer than any program could open" in line for line in done.skipped)
    at = os.open(yard.target, os.O_RDONLY)
    for _ in range(1900):
        below = os.open("d", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
        os.close(at)
        at = below
    assert os.stat("f", dir_fd=at).st_size == 4
    os.close(at)


def test_lines_about_what_is_left_out_are_bounded(yard: Yard) -> None:
    layer = tars.layer(
        tars.file("a"),
        *(tars.whiteout(f"w{number}") for number in range(500)),
        *(tars.file(f"x{n}", xattrs={f"security.x{n}": b""}) for n in range(2000)),
    )
    done = yard.extract(layer, layer=0)
    assert len(done.skipped) <= 1002
    assert "and 480 more: deleted here" in done.skipped


@needs_root
def test_what_steers_the_machine_is_not_set(yard: Yard) -> None:
    xattrs = {
        "trusted.overlay.opaque": b"y",
        "trusted.overlay.redirect": b"/../../etc",
        "user.overlay.whiteout": b"y",
        "security.selinux": b"system_u:object_r:bin_t:s0\0",
        "user.kept": b"1",
        "nonsense": b"1",
        "": b"1",
    }
    done = yard.extract(tars.layer(tars.folder("d", xattrs=xattrs)), path=b"d")
    assert yard.found()[b""].xattrs == (("user.kept", b"1"),)
    assert len(done.skipped) == 6


@needs_root
def test_capabilities_setuid_and_owners_are_kept_for_root(yard: Yard) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    layer = tars.layer(
        tars.file("ping", K, xattrs={"security.capability": capability}, uid=5, gid=6),
        tars.file("su", K, mode=0o4755, uid=7),
        tars.file("odd", K, mode=0o6755, uid=0xFFFFFFFF, base256=["uid"]),
    )
    done = yard.extract(layer)
    found = yard.found()
    assert found[b"ping"].xattrs == (("security.capability", capability),)
    assert (found[b"ping"].uid, found[b"ping"].gid) == (5, 6)
    assert (found[b"su"].mode, found[b"su"].uid) == (0o4755, 7)
    # An owner that can't be given away must not leave root's setuid bit behind.
    assert found[b"odd"].mode == 0o755
    assert any("setuid" in line for line in done.skipped)


@needs_root
def test_device_numbers_that_would_fold_into_a_whiteout_are_refused(yard: Yard) -> None:
    layer = tars.layer(
        tars.char("zero", 0, 0),
        tars.char("folds", 4096, 0),
        tars.block("wide", 7, 1 << 20),
        tars.char("null", 1, 3),
        tars.block("zero-block", 0, 0),
    )
    done = yard.extract(layer)
    assert sorted(yard.found()) == [b"", b"null", b"zero-block"]
    assert len(done.skipped) == 3


# ---- as an ordinary user ------------------------------------------------------------------------


def as_nobody(yard: Yard, *layers: bytes) -> dict[str, Any]:
    """Extract the root as an ordinary user, in a process of its own."""
    archive = yard.place / "image.tar"
    archives.docker_archive(archive, archives.image(*layers))
    yard.yard.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-m", "tests.view.as_nobody", str(archive), str(yard.yard)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    yard.check()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_root
def test_an_ordinary_user_keeps_what_may_be_kept(yard: Yard) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    done = as_nobody(
        yard,
        tars.layer(
            tars.folder("", mode=0o755, uid=0),
            tars.folder("closed", mode=0, uid=9),
            tars.file("closed/f", b"inside", mode=0o400, uid=9),
            tars.file("su", K, mode=0o6755),
            tars.file("ping", K, xattrs={"security.capability": capability, "user.a": b"1"}),
            tars.file("linked", b"one"),
            tars.hardlink("again", "linked"),
            tars.folder("mail", mode=0o2775),
            tars.char("null", 1, 3),
            tars.block("disk", 8, 0),
            tars.fifo("pipe"),
            tars.symlink("out", str(yard.outside / "secret"), mtime=5),
            tars.sparse("holes", 1 << 30, [(0, b"x")]),
        ),
    )
    found = yard.found()
    assert {one.uid for one in found.values()} == {65534}
    assert found[b"su"].mode == 0o755
    assert found[b"mail"].mode == 0o775
    assert found[b"closed"].mode == 0
    assert found[b"closed/f"].content == b"inside"
    assert found[b"ping"].xattrs == (("user.a", b"1"),)
    assert found[b"linked"].inode == found[b"again"].inode
    assert found[b"out"].mtime == 5_000_000_000
    assert (b"pipe" in found, b"null" in found, b"disk" in found) == (True, False, False)
    text = "\n".join(done["skipped"])
    assert "/su: setuid and setgid are dropped" in text
    assert "/mail: setuid and setgid are dropped" in text
    assert "/null: a device node, which only root can make" in text
    assert "/disk: a device node" in text
    assert "/ping: security.capability is left out: only root may set it" in text
    assert len(done["skipped"]) == 5


@needs_root
def test_an_ordinary_user_gets_a_line_where_writing_is_forbidden(yard: Yard) -> None:
    archive = yard.place / "image.tar"
    archives.docker_archive(archive, archives.image(tars.layer(tars.file("a"))))
    done = subprocess.run(
        [sys.executable, "-m", "tests.view.as_nobody", str(archive), str(yard.yard)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "./target: permission denied"


# ---- a folder as a layer ------------------------------------------------------------------------


def test_a_folder_on_disk_is_copied_with_its_holes_and_links(yard: Yard) -> None:
    source = yard.outside / "rootfs"
    source.mkdir()
    (source / "f").write_bytes(b"content")
    os.link(source / "f", source / "g")
    with open(source / "holes", "wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
    yard._before = snapshot(yard.outside)
    with open_image(str(source)) as image:
        found = Opened(image)
        done = extract(found.view, found.contents, b"", str(yard.target))
    yard.check()
    made = yard.found()
    assert made[b"f"].inode == made[b"g"].inode
    assert made[b"holes"].size == (1 << 30) + 3
    assert (yard.target / "holes").stat().st_blocks * 512 < 1 << 20
    assert done.bytes < 1 << 20


# ---- the descriptors ----------------------------------------------------------------------------


def test_open_beneath_without_openat2_is_as_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        def syscall(self, *_: Any) -> int:
            return -1

    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "d" / "up").symlink_to("..")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for old in (False, True):
            if old:
                monkeypatch.setattr(beneath, "_libc", Old)
                monkeypatch.setattr("ctypes.get_errno", lambda: errno.ENOSYS)
            os.close(beneath.open_beneath(folder, b"d/f", os.O_RDONLY))
            for path in (b"l/f", b"d/up/d/f", b"d/up", b"l", b"../x", b"/etc"):
                with pytest.raises(OSError):  # noqa: PT011 - ELOOP, ENOTDIR, EXDEV or ENOENT
                    os.close(beneath.open_beneath(folder, path, os.O_RDONLY))
    finally:
        os.close(folder)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        (b"a", True),
        (b"...", True),
        (b"", False),
        (b".", False),
        (b"..", False),
        (b"a/b", False),
        (b"/", False),
        (b"a\0", False),
    ],
)
def test_component(name: bytes, good: bool) -> None:
    assert beneath.is_component(name) is good


# ---- the command --------------------------------------------------------------------------------


def test_command_prints_a_summary_and_json(
    yard: Yard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = yard.place / "image.tar"
    layer = tars.layer(
        tars.file("usr/bin/dash", K),
        tars.symlink("usr/bin/sh", "dash"),
        tars.symlink("bin", "usr/bin"),
        tars.symlink("out", str(yard.outside / "secret")),
        tars.hardlink("lost\x1b[2J", "nope"),
    )
    archives.docker_archive(archive, archives.image(layer))
    yard.target.mkdir()
    monkeypatch.chdir(yard.target)
    assert main(["extract", str(archive), "/bin/sh"]) == 0
    assert capsys.readouterr().out == "./sh: 1 link, 0 B\n"
    assert os.readlink("sh") == "dash"
    assert main(["extract", str(archive), "/bin/sh"]) == 1
    assert capsys.readouterr().err == ("layerview: ./sh is there already; --force replaces it\n")
    assert main(["extract", str(archive), "/bin/sh", "-L", "--force", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {
        "path": "/usr/bin/dash",
        "layer": None,
        "target": "./sh",
        "files": 1,
        "folders": 0,
        "links": 0,
        "nodes": 0,
        "bytes": 1000,
        "skipped": [],
        "damage": [],
    }
    assert Path("sh").read_bytes() == K
    # Links of the image lead to the image's own files, never to the host's.
    assert main(["extract", str(archive), "/out", "--follow", "x"]) == 1
    assert "does not show in the image" in capsys.readouterr().err
    assert main(["extract", str(archive), "/", "all", "--layer", "0"]) == 0
    caught = capsys.readouterr()
    assert caught.out == "./all: 1 file, 3 folders, 3 links, 1.0 kB\n"
    assert caught.err == (
        "layerview: left out: /lost\\x1b[2J: a hard link to a file that is not in the image\n"
    )
    assert (yard.outside / "secret").read_bytes() == SECRET
    yard.check()


def test_command_fails_where_bytes_are_damaged(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = yard.place / "image.tar"
    layer = tars.layer(tars.file("a", b"A"), tars.file("b", b"B" * 5000), end=0)
    archives.docker_archive(archive, archives.image(layer[:-4096]))
    assert main(["extract", str(archive), "/", str(yard.target)]) == 1
    assert "damaged: /b: the layer ends inside /b" in capsys.readouterr().err
    assert (yard.target / "a").read_bytes() == b"A"
    assert not (yard.target / "b").exists()


def test_missing_layers_do_not_matter(yard: Yard) -> None:
    archive = yard.place / "image.tar"
    present = tars.layer(tars.file("a", b"A"))
    gone = archives.Layer(tar=tars.layer(tars.file("b")), present=False)
    archives.docker_archive(archive, archives.image(present, gone))
    with open_image(str(archive)) as image:
        layers = load_layers(image, cache=False)
        view = UnionView([layer.index for layer in layers])
        done = extract(view, ImageContents(layers), b"", str(yard.target))
    assert done.files == 1
    yard.check()
