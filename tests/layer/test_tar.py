"""The header scanner beside Python's tarfile and GNU tar, and against damage."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.layer.build import TooDeep, build_index
from layerview.layer.contents import TarContents
from layerview.layer.kinds import KIND_LABELS, Kind
from layerview.layer.packing import pack
from layerview.layer.tar import RawEntries, TarDamage, TooManyEntries, number, parse_pax, scan
from layerview.layer.windows import FileWindow, StreamWindow
from layerview.times import rfc3339
from tests.layer.layers import Dribble, blob_of, layers, names, read_from, scanned
from tests.support import tars

K = b"k" * 1000
anything = settings(max_examples=200, deadline=None)

TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.LNKTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


def by_tarfile(data: bytes) -> list[tuple[object, ...]]:
    """Each entry as Python's tarfile reads it."""
    found = []
    options = {"mode": "r:", "errors": "surrogateescape", "encoding": "utf-8"}
    with tarfile.open(fileobj=io.BytesIO(data), **options) as tar:  # type: ignore[call-overload]
        for member in tar:
            xattrs = {
                os.fsencode(key.removeprefix("SCHILY.xattr.")): os.fsencode(value)
                for key, value in member.pax_headers.items()
                if key.startswith("SCHILY.xattr.")
            }
            kind = TYPES[member.type]
            is_file = kind == "file" and not member.islnk()
            target = os.fsencode(member.linkname)
            found.append(
                (
                    os.fsencode(member.name),
                    kind,
                    member.mode & 0o7777,
                    member.uid,
                    member.gid,
                    member.size if is_file else len(target) if member.issym() else 0,
                    member.mtime // 1,
                    target if member.issym() else None,
                    target if member.islnk() else None,
                    xattrs,
                    (member.devmajor, member.devminor) if kind in ("char", "block") else None,
                )
            )
    return found


def by_layerview(raw: RawEntries) -> list[tuple[object, ...]]:
    return [
        (
            raw.paths[row].rstrip(b"/"),
            KIND_LABELS[raw.kinds[row]],
            raw.modes[row],
            raw.uids[row],
            raw.gids[row],
            raw.sizes[row],
            raw.mtimes[row],
            raw.targets.get(row),
            raw.links.get(row),
            raw.xattrs.get(row, {}),
            raw.devices.get(row),
        )
        for row in range(len(raw.kinds))
    ]


@anything
@given(layers)
def test_entries_are_what_tarfile_reads(data: bytes) -> None:
    assert by_layerview(scanned(data)) == by_tarfile(data)


@anything
@given(layers, st.lists(st.integers(1, 3000), min_size=1, max_size=4))
def test_a_file_and_a_stream_of_any_pieces_give_the_same_index(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, sizes: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "layer.tar"
    path.write_bytes(b"before" + data)
    seekable, streamed = RawEntries(), RawEntries()
    fd = os.open(path, os.O_RDONLY)
    try:
        scan(FileWindow(fd, 6, len(data)), seekable)
    finally:
        os.close(fd)
    passed: list[bytes] = []
    stream = StreamWindow(Dribble(data, sizes), passed.append)
    scan(stream, streamed)
    assert stream.drain() == len(data)
    assert b"".join(passed) == data
    assert pack(build_index(seekable)) == pack(build_index(streamed))


@anything
@given(st.binary(min_size=1, max_size=6).map(lambda part: part.replace(b"\0", b"n")))
def test_every_file_has_its_bytes(name: bytes) -> None:
    data = tars.layer(tars.file(b"p" + name.replace(b"/", b"_"), K), tars.file("q", b"after"))
    raw = scanned(data)
    for row, content in enumerate((K, b"after")):
        assert data[raw.offsets[row] : raw.offsets[row] + raw.sizes[row]] == content


# ---- forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["gnu", "pax"])
@pytest.mark.parametrize("length", [99, 100, 101, 255, 256, 511, 512, 513, 4000])
def test_names_and_targets_of_any_length(form: str, length: int) -> None:
    name = (b"d" * 50 + b"/") * (length // 51) + b"n" * (length % 51 or 1)
    raw = scanned(tars.layer(tars.symlink(name, name), tars.hardlink(b"l", name), form=form))
    assert raw.paths == [name, b"l"]
    assert (raw.targets, raw.links) == ({0: name}, {1: name})


def test_ustar_prefixes() -> None:
    name = b"p" * 150 + b"/" + b"n" * 90
    assert scanned(tars.layer(tars.file(name, form="ustar"))).paths == [name]


def test_what_comes_later_wins_of_the_ways_to_say_a_name() -> None:
    long = tars.gnu_long(b"L", b"long")
    pax = tars.extended_header({"path": "pax"})
    assert scanned(long + tars.layer(tars.file("short"))).paths == [b"long"]
    assert scanned(pax + tars.layer(tars.file("short"))).paths == [b"pax"]
    # A name counts for one entry only.
    assert scanned(long + tars.layer(tars.file("a"), tars.file("b"))).paths == [b"long", b"b"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0\0\0\0\0", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"77777777", 0o77777777),
        (b"777777777777", 0o777777777777),
        (b"\x80" + bytes(6) + b"\x05", 5),
        (b"\xff" * 8, -1),
        (b"\xff" * 7 + b"\x00", -256),
        (b"\x80" + b"\x00" * 3 + b"\x00\x01\x00\x00\x00\x00\x00\x00", 1 << 48),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize("field", [b"9", b"0x10", b"-1", b"+1", b"0o1", b"1_0", b"1e3", b"12 34"])
def test_what_is_no_number_is_damage(field: bytes) -> None:
    with pytest.raises(TarDamage):
        number(field)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("1700000000.5", "2023-11-14T22:13:20.5Z"),
        ("1700000000.500", "2023-11-14T22:13:20.500Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("-1.5", "1969-12-31T23:59:58.5Z"),
        ("-0.25", "1969-12-31T23:59:59.75Z"),
        ("0.1234567891", "1970-01-01T00:00:00.123456789Z"),
    ],
)
def test_times_keep_the_digits_that_were_recorded(said: str, shown: str) -> None:
    raw = scanned(tars.layer(tars.file("f", mtime=said, records={"mtime": said})))
    assert rfc3339(raw.mtimes[0], raw.fractions.get(0, 0)) == shown


@pytest.mark.parametrize("said", ["", "x", "1.x", ".", "1e9", "--1", "9" * 30])
def test_times_that_are_none_are_damage_or_left_alone(said: str) -> None:
    data = tars.layer(tars.file("f", mtime=5, records={"mtime": said}))
    if said:
        with pytest.raises(TarDamage):
            scanned(data)
    else:
        assert list(scanned(data).mtimes) == [5]


def test_an_empty_record_takes_the_value_back() -> None:
    entry = tars.file("f", K, uid=7, records={"path": "", "uid": "", "SCHILY.xattr.user.x": ""})
    raw = scanned(tars.layer(entry))
    assert (raw.paths, list(raw.uids), raw.xattrs) == ([b"f"], [7], {})


@pytest.mark.parametrize(
    "data",
    [b"5 a=\n"[:4], b"99 a=b\n", b"6 ab\n\n", b"x a=b\n", b"-6 a=b\n", b"7 a=b\n", b"0 a=b\n"],
)
def test_records_of_another_form_are_damage(data: bytes) -> None:
    with pytest.raises(TarDamage):
        parse_pax(data)


def test_global_headers_are_passed_over() -> None:
    raw = scanned(tars.layer(tars.global_header({"uid": "5", "path": "no"}), tars.file("f", K)))
    assert (raw.paths, list(raw.uids)) == ([b"f"], [0])


def test_old_folders_are_told_by_their_slash() -> None:
    header = tars.header(b"d/", typeflag=b"\0", magic=tars.V7_MAGIC)
    assert list(scanned(header + bytes(1024)).kinds) == [Kind.DIR]


def test_entries_can_be_bounded() -> None:
    raw = RawEntries()
    data = tars.layer(*(tars.file(f"f{n}") for n in range(10)))
    with pytest.raises(TooManyEntries):
        scan(StreamWindow(io.BytesIO(data)), raw, most=4)
    assert len(raw.kinds) <= 5


# ---- sparse files ---------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
@pytest.mark.parametrize(
    "words",
    [["gnu"], ["pax", "0.0"], ["pax", "0.1"], ["pax", "1.0"]],
    ids=" ".join,
)
@pytest.mark.parametrize("pieces", [0, 1, 3, 5, 30, 300])
def test_sparse_files_as_gnu_tar_writes_them(tmp_path: Path, words: list[str], pieces: int) -> None:
    source = tmp_path / ("long name " * 9)
    with open(source, "wb") as file:
        for at in range(pieces):
            file.seek(at * 65536 + 4096)
            file.write(bytes([at % 250 + 1]) * 5000)
        file.truncate(pieces * 65536 + 70_000)
    (tmp_path / "after").write_bytes(b"after")
    options = [f"--format={words[0]}", *(f"--sparse-version={word}" for word in words[1:])]
    done = subprocess.run(
        ["tar", "-C", str(tmp_path), "-S", *options, "-cf", "-", source.name, "after"],
        capture_output=True,
        check=True,
    )
    blob = blob_of(tmp_path / "layer.tar", done.stdout)
    read = read_from(tmp_path / "layer.tar", done.stdout)
    assert read.damage is None
    contents = TarContents(blob, read.index)
    expected = source.read_bytes()
    row = read.index.find(os.fsencode(source.name))
    other = read.index.find(b"after")
    assert row is not None
    assert other is not None
    assert read.index.sizes[row] == len(expected)
    assert b"".join(contents.pieces(row)) == expected
    assert b"".join(contents.pieces(other)) == b"after"
    for offset, limit in ((0, 10), (4000, 200), (4096, 5000), (9000, 70_000), (10**9, 5)):
        part = b"".join(contents.pieces(row, offset, limit))
        assert part == expected[offset : offset + limit]


# ---- damage ---------------------------------------------------------------------------------


def check_damaged(data: bytes) -> RawEntries:
    """Whatever the bytes are, a scan gives entries, or says where it can't go on."""
    raw = RawEntries()
    with suppress(TarDamage):
        scan(StreamWindow(io.BytesIO(data)), raw)
    seen = list(raw.paths)
    try:
        index = build_index(raw)
    except TooDeep:
        return raw
    assert len(list(index.walk_rows())) == len(index)
    assert index.size >= 0
    raw.paths = seen
    return raw


@anything
@given(layers, st.data())
def test_a_layer_cut_anywhere_gives_what_stood_before(data: bytes, draw: st.DataObject) -> None:
    whole = scanned(data)
    for length in draw.draw(st.lists(st.integers(0, len(data)), min_size=1, max_size=12)):
        cut = check_damaged(data[:length])
        assert cut.paths == whole.paths[: len(cut.paths)]


def test_every_cut_of_one_layer_of_each_kind() -> None:
    data = tars.layer(
        tars.folder("d"),
        tars.file("d/f", K, xattrs={"user.x": b"1"}),
        tars.sparse("s", 5000, [(0, b"a" * 600), (4000, b"b" * 600)], "pax-1.0"),
        tars.sparse("t", 50_000, [(n * 2000, b"a" * 600) for n in range(9)], "gnu"),
        tars.symlink("n" * 200, "t" * 200, form="gnu"),
    )
    whole = scanned(data)
    for length in range(len(data)):
        cut = check_damaged(data[:length])
        assert cut.paths == whole.paths[: len(cut.paths)]


@settings(max_examples=600, deadline=None)
@given(layers, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes_are_entries_or_damage(data: bytes, flips: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for at, value in flips:
        changed[at % len(data)] = value
    check_damaged(bytes(changed))


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=12)), max_size=4), layers)
def test_flipped_bytes_under_a_right_checksum_are_entries_or_damage(
    writes: list[tuple[int, bytes]], data: bytes
) -> None:
    blocks = [bytearray(data[at : at + 512]) for at in range(0, len(data), 512)]
    for at, value in writes:
        block = blocks[at % len(blocks)]
        place = at // len(blocks) % 512
        block[place : place + len(value)] = value[: 512 - place]
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    check_damaged(b"".join(blocks))


@anything
@given(names, st.binary(max_size=2000))
def test_any_bytes_are_entries_or_damage(name: bytes, data: bytes) -> None:
    check_damaged(data)
    check_damaged(tars.layer(tars.file(name, K), end=0) + data)


def test_a_size_may_fill_its_field() -> None:
    raw = scanned(tars.layer(tars.file("f", K, claimed_size=b"000000001750"), tars.file("g", K)))
    assert (raw.paths, list(raw.sizes)) == ([b"f", b"g"], [1000, 1000])


@pytest.mark.parametrize(
    "size",
    [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\x80" + bytes(3) + b"\x7f" * 8],
)
def test_absurd_sizes_are_damage(size: bytes) -> None:
    for entry in (tars.file("f", b"x", claimed_size=size), tars.folder("d", claimed_size=size)):
        check_damaged(tars.layer(entry, tars.file("g", K)))


def test_huge_special_headers_are_refused_unread() -> None:
    header = tars.header(b"x", typeflag=b"x", size=1 << 40)
    with pytest.raises(TarDamage, match="special header"):
        scanned(header + bytes(2000))
