"""Unpacking a layer's tar into a driver's folder."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

from layerview.layer.apply import Applied, apply
from layerview.layer.tar_split import TarSplitWriter, open_in, rebuild
from layerview.layer.whiteouts import Whiteouts
from tests.support import tars


def unpack(
    folder: Path, data: bytes, whiteouts: Whiteouts = Whiteouts.TRUSTED
) -> tuple[Applied, io.BytesIO]:
    folder.mkdir(exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    out = io.BytesIO()
    try:
        applied = apply(io.BytesIO(data), fd, whiteouts=whiteouts, tar_split=TarSplitWriter(out))
    finally:
        os.close(fd)
    out.seek(0)
    return applied, out


def rebuilt(folder: Path, tar_split: io.BytesIO) -> bytes:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return b"".join(rebuild(tar_split, open_in(fd)))
    finally:
        os.close(fd)


def test_the_bytes_come_back(tmp_path: Path) -> None:
    data = tars.layer(
        tars.folder("a"),
        tars.file("a/f", b"x" * 3000),
        tars.file("a/g", b"y"),
        tars.file("a/f", b"again"),
        tars.whiteout("q/z"),
        tars.opaque("a"),
    )
    applied, tar_split = unpack(tmp_path / "d", data)
    assert applied.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (applied.size, applied.entries, applied.notes) == (6, 6, [])
    assert rebuilt(tmp_path / "d", tar_split) == data
