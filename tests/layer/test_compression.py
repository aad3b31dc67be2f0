"""Compressed layers: told from their bytes, read in bounded memory, damage said."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from layerview.layer.compression import sniff
from layerview.layer.contents import TarContents
from tests.layer.layers import blob_of, read_from
from tests.support import archives, tars
from tests.support.archives import zstd

TAR = tars.layer(
    *(tars.file(f"f{n:03}", hashlib.shake_256(b"%d" % n).digest(960)) for n in range(100))
)
FORMS = ["none", "gzip", "zstd", "bzip2", "xz"]
SKIPPABLE = struct.pack("<II", 0x184D2A53, 10) + b"0123456789"


def parts(data: bytes) -> tuple[bytes, bytes]:
    middle = len(data) // 3
    return data[:middle], data[middle:]


STREAMS = {
    "gzip members": b"".join(gzip.compress(part) for part in parts(TAR)),
    "gzip with a name and a comment": (
        b"\x1f\x8b\x08\x18" + bytes(6) + b"name\0comment\0" + gzip.compress(TAR, mtime=0)[10:]
    ),
    "gzip with an empty member": gzip.compress(b"") + gzip.compress(TAR),
    "gzip padded with zeros": gzip.compress(TAR) + bytes(700),
    "zstd frames": b"".join(zstd.compress(part) for part in parts(TAR)),
    "zstd with skippable frames": (
        SKIPPABLE + zstd.compress(parts(TAR)[0]) + SKIPPABLE + zstd.compress(parts(TAR)[1])
    ),
    "zstd with a checksum": zstd.compress(
        TAR, options={zstd.CompressionParameter.checksum_flag: 1}
    ),
    "bzip2 streams": b"".join(bz2.compress(part) for part in parts(TAR)),
    "xz streams": b"".join(lzma.compress(part) for part in parts(TAR)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_told_from_the_first_bytes(form: str) -> None:
    assert sniff(archives.compress(TAR, form)) == form
    assert sniff(archives.compress(TAR, form)[:6]) == form


def test_a_few_bytes_are_plain() -> None:
    for data in (b"", b"\x1f", b"\x1f\x8b", b"BZ", b"\x28\xb5\x2f"):
        assert sniff(data) == "none"
    assert sniff(SKIPPABLE) == "zstd"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_index_and_contents(tmp_path: Path, form: str) -> None:
    data = archives.compress(TAR, form)
    read = read_from(tmp_path / "blob", data)
    assert read.damage is None
    plain = read_from(tmp_path / "plain", TAR)
    assert list(read.index.walk_rows()) == list(plain.index.walk_rows())
    if form != "none":
        assert read.diff_id == archives.sha256(TAR)
        assert read.digest == archives.sha256(data)
    contents = TarContents(blob_of(tmp_path / "blob", data), read.index)
    digests = contents.digests(range(100))
    for row in range(100):
        expected = hashlib.shake_256(b"%d" % row).digest(960)
        assert digests[row] == hashlib.sha256(expected).digest()
    assert b"".join(contents.pieces(99, 5, 100)) == expected[5:105]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_several_parts_are_one(tmp_path: Path, name: str) -> None:
    read = read_from(tmp_path / "blob", STREAMS[name])
    assert read.damage is None
    assert len(read.index) == 100
    assert read.diff_id == archives.sha256(TAR)
    assert read.digest == archives.sha256(STREAMS[name])


@pytest.mark.parametrize("form", FORMS[1:])
def test_garbage_behind_the_data_is_said_or_part_of_the_digest(tmp_path: Path, form: str) -> None:
    data = archives.compress(TAR, form) + b"garbage"
    read = read_from(tmp_path / "blob", data)
    assert len(read.index) == 100
    assert read.digest == archives.sha256(data)


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_layer_keeps_what_came_before_the_cut(tmp_path: Path, form: str) -> None:
    # Decoders of blocks can give no part of one: bzip2's have up to 900 kB.
    tar = (
        TAR
        if form in ("none", "gzip")
        else tars.layer(*(tars.file(f"f{n}", os.urandom(50_000)) for n in range(100)))
    )
    data = archives.compress(tar, form)
    for share in range(20):
        length = len(data) * share // 20 // 512 * 512 + 100
        read = read_from(tmp_path / "blob", data[:length])
        assert read.damage is not None
        assert "\n" not in read.damage
        assert read.diff_id is None
        if form in ("none", "gzip"):
            # Less what the window behind the cut held back.
            assert len(read.index) >= 100 * share // 20 - 3
        elif share > 10 and form != "xz":
            assert len(read.index) > 10


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_flipped_byte_is_damage(tmp_path: Path, form: str) -> None:
    data = archives.compress(TAR, form)
    for at in range(10, len(data), len(data) // 60):
        changed = bytes([*data[:at], data[at] ^ 0x40, *data[at + 1 :]])
        read = read_from(tmp_path / "blob", changed)
        assert read.damage is None or "\n" not in read.damage
        assert read.diff_id != archives.sha256(TAR) or read.damage is None
        assert read.digest == archives.sha256(changed)


def bomb(form: str, size: int) -> bytes:
    """A layer of one file of zeros, compressed without ever being held."""
    head = tars.file("zeros", b"", claimed_size=size).encode("ustar")[:512]
    piece = bytes(1 << 20)
    packer = {
        "gzip": lambda: zlib.compressobj(1, wbits=31),
        "zstd": zstd.ZstdCompressor,
        "bzip2": bz2.BZ2Compressor,
        "xz": lambda: lzma.LZMACompressor(preset=0),
    }[form]()
    out = [packer.compress(head)]
    out += [packer.compress(piece) for _ in range(size >> 20)]
    return b"".join([*out, packer.compress(bytes(1024)), packer.flush()])


MEASURE = """
import sys
from layerview.cli.main import main
status = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(*(line.split()[1] for line in lines if "VmHWM" in line), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("form", "size"), [("gzip", 1 << 30), ("zstd", 1 << 30), ("bzip2", 64 << 20), ("xz", 128 << 20)]
)
def test_a_bomb_opens_in_little_memory(tmp_path: Path, form: str, size: int) -> None:
    stored = bomb(form, size)
    layer = archives.Layer(tar=b"", compression=form, stored=stored)
    image = archives.oci_layout(tmp_path / "image", archives.image(layer))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "files", str(image), "--json", "--no-cache"],
        capture_output=True,
        text=True,
    )
    # Its DiffID is not what the config claims: that of no bytes.
    assert done.returncode == 1
    assert f'"size": {size}' in done.stdout
    *_, peak = done.stderr.split()
    assert int(peak) < 150 << 10


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_an_outer_bomb_opens_in_little_memory(tmp_path: Path, form: str) -> None:
    (tmp_path / "bomb").write_bytes(bomb(form, 256 << 20))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "files", str(tmp_path / "bomb"), "--json", "--no-cache"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert f'"size": {256 << 20}' in done.stdout
    assert int(done.stderr) < 150 << 10


def test_a_zstd_window_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    # RFC 8878 section 3.1.1.1.2: exponent 31, a window of 2 TiB.
    read = read_from(tmp_path / "blob", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100))
    assert read.damage is not None
