"""tar-split: written, and put together again."""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from layerview.errors import DamageError
from layerview.layer.tar_split import TarSplitWriter, open_in, read_headers, rebuild
from layerview.layer.whiteouts import Whiteouts
from tests.layer.applying import opened, scratch, unpack
from tests.layer.layers import index_of, layers
from tests.support import tars


def lines(tar_split: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(tar_split).splitlines()]


def packed(*items: object) -> io.BytesIO:
    return io.BytesIO(gzip.compress("".join(json.dumps(item) + "\n" for item in items).encode()))


def nothing(name: bytes) -> int:
    raise FileNotFoundError(2, "No such file or directory")


def test_the_lines_are_those_of_vbatts_tar_split() -> None:
    """Fields, their order, and Go's escapes; and the CRC-64 of Go's hash/crc64."""
    from fastcrc import crc64

    out = io.BytesIO()
    writer = TarSplitWriter(out)
    writer.segment(b"head")
    writer.file(b"a/", 0, None)
    writer.file(b'b<\xc3\xa9>&"', 11, crc64.go_iso(b"hello world"))
    writer.file(b"caf\xe9", 0, None)
    writer.close()
    assert gzip.decompress(out.getvalue()).decode().splitlines() == [
        '{"type":2,"payload":"aGVhZA==","position":0}',
        '{"type":1,"name":"a/","payload":null,"position":1}',
        '{"type":1,"name":"b\\u003cé\\u003e\\u0026\\"","size":11,'
        f'"payload":"{_crc(b"hello world")}","position":2}}',
        '{"type":1,"name_raw":"Y2Fm6Q==","payload":null,"position":3}',
    ]


def _crc(data: bytes) -> str:
    """CRC-64/GO-ISO bit by bit: the polynomial x^64+x^4+x^3+x+1, reflected (hash/crc64)."""
    from base64 import b64encode

    crc = (1 << 64) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xD800000000000000 if crc & 1 else 0)
    return b64encode((crc ^ (1 << 64) - 1).to_bytes(8, "big")).decode()


def test_segments_are_cut() -> None:
    out = io.BytesIO()
    writer = TarSplitWriter(out)
    data = os.urandom((2 << 20) + 5)
    writer.segment(data)
    writer.close()
    sizes = [len(b64decode(line["payload"])) for line in lines(out.getvalue())]
    assert sizes == [1 << 20, 1 << 20, 5]
    assert b"".join(rebuild(io.BytesIO(out.getvalue()), nothing)) == data


@pytest.mark.parametrize("readable", [True, False])
def test_a_name_stands_once(tmp_path: Path, readable: bool) -> None:
    """Readers refuse two lines of one name, however it is spelt."""
    with open(tmp_path / "split", "w+b" if readable else "wb") as out:
        writer = TarSplitWriter(out)
        writer.segment(b"one")
        writer.file(b"./a", 3, 1)
        writer.file(b"b", 0, None)
        writer.replace(b"a", [b"12", b"3"])
        writer.file(b"a", 0, None)
        writer.file(b"x/../a", 0, None)
        writer.segment(b"two")
        writer.file(b"b/", 0, None)
        writer.close()
    found = lines((tmp_path / "split").read_bytes())
    assert [line.get("name") for line in found] == [None, None, "x/../a", None, "b/"]
    assert [line["position"] for line in found] == list(range(5))
    with open(tmp_path / "split", "rb") as file:
        assert b"".join(rebuild(file, nothing)) == b"one123two"


def test_bytes_are_not_forgotten_silently() -> None:
    writer = TarSplitWriter(io.BytesIO())
    writer.file(b"a", 3, 1)
    writer.file(b"a", 3, 1)
    with pytest.raises(ValueError, match="lost"):
        writer.close()


def test_of_several_lines_that_of_the_file_stays() -> None:
    """A hard link to itself, say: the bytes are still the file's."""
    out = io.BytesIO()
    writer = TarSplitWriter(out)
    writer.file(b"a", 0, None)
    writer.file(b"/a", 3, 1)
    writer.file(b"./a", 0, None)
    writer.close()
    assert [line["name"] for line in lines(out.getvalue())] == ["/a"]


def test_the_bytes_of_a_file_that_came_back_are_those_it_had_each_time() -> None:
    out = io.BytesIO()
    writer = TarSplitWriter(out)
    writer.file(b"d/a", 3, 1)
    writer.replace(b"d/a", [b"one"])
    writer.replace(b"d/a", [b"of an entry with another name"])
    writer.file(b"d/a", 3, 1)
    writer.file(b"d/a", 0, None)
    writer.replace(b"d/a", [b"two"])
    writer.file(b"d", 0, None)
    writer.close()
    assert [line.get("name") for line in lines(out.getvalue())] == [None, None, "d/a", "d"]
    assert b"".join(rebuild(io.BytesIO(out.getvalue()), nothing)) == b"onetwo"


def test_names_that_only_look_seen_keep_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerview.layer.tar_split._SEEN_BITS", 8)
    out = io.BytesIO()
    writer = TarSplitWriter(out)
    names = [b"f%d" % number for number in range(50)]
    for name in names:
        writer.file(name, 0, None)
    writer.close()
    assert [line["name"].encode() for line in lines(out.getvalue())] == names


@settings(max_examples=60, deadline=None)
@given(layers)
def test_any_layer_comes_back(data: bytes) -> None:
    with scratch() as top:
        unpacked = unpack(top / "layer", data, Whiteouts.AUFS)
        assert unpacked.rebuilt() == data
        found = read_headers(io.BytesIO(unpacked.tar_split)).columns
        wanted = index_of(data).columns
        for name in type(wanted).__slots__:
            assert getattr(found, name) == getattr(wanted, name), name
        names = [
            os.path.normpath(line.get("name") or b64decode(line["name_raw"]))
            for line in lines(unpacked.tar_split)
            if line["type"] == 1 and (line.get("name") or line.get("name_raw"))
        ]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_bytes(b"X" * 3000), "CRC-64"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes, not 3,000"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "a/f"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "no regular file"),
    ],
)
def test_a_file_that_changed_is_named(
    tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    unpacked = unpack(tmp_path / "d", tars.layer(tars.file("a/f", b"x" * 3000)), Whiteouts.AUFS)
    harm(tmp_path / "d" / "a" / "f")
    with pytest.raises(DamageError) as caught:
        unpacked.rebuilt()
    assert "/a/f" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "items",
    [
        [{"type": 3, "payload": "", "position": 0}],
        [{"type": 2, "payload": "!!", "position": 0}],
        [{"type": 1, "name": "a", "size": -1, "payload": None, "position": 0}],
        [{"type": 1, "name": "a", "size": 5, "payload": None, "position": 0}],
        [{"type": 1, "name": 7, "size": 5, "payload": "AAAAAAAAAAA=", "position": 0}],
        [{"type": 1, "name": "a", "size": "5", "payload": "AAAAAAAAAAA=", "position": 0}],
        ["text"],
        [[]],
        [7],
    ],
)
def test_nonsense_is_damage(items: list[object]) -> None:
    with pytest.raises(DamageError, match="line 1 of the tar-split"):
        b"".join(rebuild(packed(*items), nothing))


def test_what_is_no_gzip_is_damage(tmp_path: Path) -> None:
    for data in (b"", b"no gzip", gzip.compress(b'{"type":2}')[:-9], zlib.compress(b"x")):
        with pytest.raises(DamageError, match="tar-split"):
            b"".join(rebuild(io.BytesIO(data), nothing))
        if data:
            with pytest.raises(DamageError):
                read_headers(io.BytesIO(data))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    bomb = io.BytesIO(gzip.compress(bytes(1 << 27), 1))
    with pytest.raises(DamageError, match="too long"):
        b"".join(rebuild(bomb, nothing))


def test_headers_left_to_a_file_are_damage() -> None:
    header = tars.layer(tars.file("f", b"x" * 600))[:512]
    from base64 import b64encode

    file = {"type": 1, "name": "f", "size": 512, "payload": "AAAAAAAAAAA=", "position": 1}
    segment = {"type": 2, "payload": b64encode(header[:100]).decode(), "position": 0}
    for items in ([file], [segment, file], [file, segment]):
        with pytest.raises(DamageError):
            read_headers(packed(*items))


def test_names_open_beneath_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"1")
    (tmp_path / "d").mkdir()
    with opened(tmp_path / "d") as fd:
        for name in (b"../outside", b"a/../../outside", os.fsencode(tmp_path / "outside")):
            with pytest.raises(OSError, match="outside"):
                open_in(fd)(name)
