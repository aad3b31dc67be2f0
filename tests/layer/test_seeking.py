"""Random access into gzip layers gives the bytes that decompressing forward gives."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest

from layerview.errors import DamageError
from layerview.layer import contents as contents_module
from layerview.layer.blob import Blob
from layerview.layer.contents import TarContents
from layerview.layer.reading import read_layer

pytest.importorskip("rapidgzip", reason="the extra `seek` is not installed")


def write_layer(path: Path, before: bytes = b"") -> Blob:
    """Write a gzip layer of ten files, behind some other bytes; their content is incompressible."""
    noise = random.Random(7)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for number in range(10):
            data = noise.randbytes(200_000 + number)
            member = tarfile.TarInfo(f"files/{number}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    packed = gzip.compress(plain.getvalue(), mtime=0)
    path.write_bytes(before + packed + b"behind")
    return Blob(str(path), start=len(before), length=len(packed))


def test_any_order_of_looks_gives_the_bytes_that_reading_forward_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = write_layer(tmp_path / "layer", b"in front")
    index = read_layer(blob).index
    rows = [index.find(b"files/%d" % number) for number in (9, 0, 5, 5, 1, 8)]
    seeking = TarContents(blob, index)
    found = [b"".join(seeking.pieces(row or 0, 1000, 50_000)) for row in rows]

    monkeypatch.setattr(contents_module, "can_seek", lambda: False)
    forward = TarContents(blob, index)
    assert found == [b"".join(forward.pieces(row or 0, 1000, 50_000)) for row in rows]
    assert {len(piece) for piece in found} == {50_000}


def test_corrupt_data_is_one_clear_error(tmp_path: Path) -> None:
    blob = write_layer(tmp_path / "layer")
    index = read_layer(blob).index
    row = index.find(b"files/9")
    assert row is not None
    data = bytearray((tmp_path / "layer").read_bytes())
    data[50_000:50_100] = bytes(100)
    del data[200_000:]
    (tmp_path / "layer").write_bytes(data)
    short = Blob(str(tmp_path / "layer"), length=len(data))
    with pytest.raises(DamageError):
        b"".join(TarContents(short, index).pieces(row))
