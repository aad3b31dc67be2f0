"""The bytes of files inside a layer, whole and in parts, plain and compressed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import DamageError
from layerview.layer.contents import MAX_HOLE_BYTES, TarContents, is_full_of_holes
from layerview.layer.index import LayerIndex
from tests.layer.layers import blob_of, read_from
from tests.support import archives, tars

FORMS = ["none", "gzip", "zstd", "bzip2", "xz"]
STYLES = ["gnu", "pax-0.0", "pax-0.1", "pax-1.0"]
LARGE = hashlib.shake_256(b"large").digest((1 << 20) + 12_345)


def opened(path: Path, data: bytes) -> tuple[LayerIndex, TarContents]:
    read = read_from(path, data)
    return read.index, TarContents(blob_of(path, data), read.index)


def row_of(index: LayerIndex, path: bytes) -> int:
    row = index.find(path)
    assert row is not None
    return row


@pytest.mark.parametrize("form", FORMS)
def test_any_part_of_any_file_is_read(tmp_path: Path, form: str) -> None:
    files = {b"a": b"", b"b": b"x", b"c": LARGE, b"d": LARGE[:1000], b"e": b"y" * 512}
    tar = tars.layer(*(tars.file(name, data) for name, data in files.items()))
    index, contents = opened(tmp_path / "blob", archives.compress(tar, form))
    for name in (b"e", b"c", b"a", b"d", b"b"):
        data, row = files[name], row_of(index, name)
        assert b"".join(contents.pieces(row)) == data
        for offset, limit in ((0, 0), (0, 5), (500, 600), (1 << 20, None), (1 << 30, 5)):
            end = None if limit is None else offset + limit
            assert b"".join(contents.pieces(row, offset, limit)) == data[offset:end]
    digests = contents.digests(range(len(files)))
    assert digests == {
        row_of(index, name): hashlib.sha256(data).digest() for name, data in files.items()
    }
    assert contents.digests([]) == {}


@pytest.mark.parametrize("form", ["none", "gzip"])
def test_a_hard_link_has_its_inodes_bytes_even_of_a_name_that_was_replaced(
    tmp_path: Path, form: str
) -> None:
    tar = tars.layer(
        tars.file("a", b"old"),
        tars.hardlink("b", "a"),
        tars.file("a", b"new one"),
        tars.hardlink("c", "not here"),
    )
    index, contents = opened(tmp_path / "blob", archives.compress(tar, form))
    a, b, c = (row_of(index, name) for name in (b"a", b"b", b"c"))
    assert [b"".join(contents.pieces(row)) for row in (a, b)] == [b"new one", b"old"]
    digests = contents.digests([a, b, c])
    assert digests == {a: hashlib.sha256(b"new one").digest(), b: hashlib.sha256(b"old").digest()}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500)), max_size=40),
    st.integers(0, 3000),
    st.sampled_from(STYLES),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 5000)), max_size=4),
)
def test_sparse_files_are_whole_in_any_part(
    tmp_path_factory: pytest.TempPathFactory,
    gaps: list[tuple[int, int]],
    tail: int,
    style: str,
    parts: list[tuple[int, int]],
) -> None:
    expected, chunks = b"", []
    for number, (gap, length) in enumerate(gaps):
        expected += bytes(gap)
        chunks.append((len(expected), bytes([number + 1]) * length))
        expected += chunks[-1][1]
    expected += bytes(tail)
    tar = tars.layer(tars.sparse("s", len(expected), chunks, style), tars.file("t", b"after"))
    index, contents = opened(tmp_path_factory.getbasetemp() / "sparse", tar)
    row = row_of(index, b"s")
    assert index.sizes[row] == len(expected)
    assert b"".join(contents.pieces(row)) == expected
    assert contents.digests([row])[row] == hashlib.sha256(expected).digest()
    for offset, limit in parts:
        assert b"".join(contents.pieces(row, offset, limit)) == expected[offset : offset + limit]
    assert b"".join(contents.pieces(row_of(index, b"t"))) == b"after"


def test_a_file_of_huge_holes_is_told_apart_without_reading_them(tmp_path: Path) -> None:
    size = MAX_HOLE_BYTES * 4
    digests = []
    for number, chunks in enumerate(
        ([(size - 10, b"x")], [(size - 10, b"x")], [(size - 10, b"y")], [(size - 11, b"x")])
    ):
        tar = tars.layer(tars.sparse("s", size, chunks, "pax-1.0"))
        index, contents = opened(tmp_path / f"{number}", tar)
        assert is_full_of_holes(index, 0)
        assert b"".join(contents.pieces(0, size - 12, 12)).strip(b"\0") in (b"x", b"y")
        digests.append(contents.digests([0])[0])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("form", ["none", "gzip", "zstd"])
def test_a_layer_that_ends_inside_a_file_gives_what_there_is_and_says_so(
    tmp_path: Path, form: str
) -> None:
    data = archives.compress(tars.layer(tars.file("a", b"a"), tars.file("f", LARGE)), form)
    index, contents = opened(tmp_path / "blob", data[: len(data) // 2])
    assert b"".join(contents.pieces(row_of(index, b"a"))) == b"a"
    row = index.find(b"f")
    if row is None:
        return
    with pytest.raises(DamageError):
        list(contents.pieces(row))
    with pytest.raises(DamageError):
        contents.digests([row])
