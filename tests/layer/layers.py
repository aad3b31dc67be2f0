"""Layers of every form for the tests of this folder, and the ways to read them."""

from __future__ import annotations

import io
from pathlib import Path

from hypothesis import strategies as st

from layerview.layer.blob import Blob
from layerview.layer.build import build_index
from layerview.layer.index import LayerIndex
from layerview.layer.reading import ReadLayer, read_layer
from layerview.layer.tar import RawEntries, scan
from layerview.layer.windows import StreamWindow
from tests.support import tars


class Dribble:
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = io.BytesIO(data)
        self._sizes = sizes
        self._at = 0

    def read(self, size: int, /) -> bytes:
        self._at += 1
        return self._data.read(min(size, self._sizes[self._at % len(self._sizes)]))


def scanned(data: bytes) -> RawEntries:
    """Scan a plain tar as a stream."""
    raw = RawEntries()
    scan(StreamWindow(io.BytesIO(data)), raw)
    return raw


def index_of(data: bytes) -> LayerIndex:
    return build_index(scanned(data))


def read_from(path: Path, data: bytes) -> ReadLayer:
    """Read a blob that lies in a file."""
    return read_layer(blob_of(path, data))


def blob_of(path: Path, data: bytes) -> Blob:
    path.write_bytes(data)
    return Blob(str(path), length=len(data))


# ---- any layer ------------------------------------------------------------------------------

_PARTS = st.one_of(
    st.sampled_from([b"a", b"b", b"c.d", b"caf\xe9", b"\xf0\x9f\x90\x8b", b"n\nl", b"x" * 90]),
    st.binary(min_size=1, max_size=6).filter(
        lambda part: b"\0" not in part and b"/" not in part and part not in (b".", b"..")
    ),
)
names = (
    st.lists(_PARTS, min_size=1, max_size=4)
    .map(b"/".join)
    .filter(
        # tarfile can not tell these names' ends.
        lambda name: name == name.strip(b" ")
    )
)
_META = st.fixed_dictionaries(
    {
        "mode": st.integers(0, 0o7777),
        "uid": st.one_of(st.integers(0, 70000), st.just(2**32 - 2)),
        "gid": st.one_of(st.integers(0, 70000), st.just(2**21)),
        "mtime": st.one_of(
            st.integers(0, 2**33 - 1),
            st.sampled_from([-1, -(2**31), 2**33, 2**40]),
            st.sampled_from(["0.5", "1700000000.123456789", "-1.25", "12.000000001", "7.10"]),
        ),
        "form": st.sampled_from(["gnu", "pax", "pax"]),
        "base256": st.sets(st.sampled_from(["uid", "gid", "size", "mtime"])),
    }
)
_XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"security.capability", b"user.caf\xe9"]),
    st.binary(min_size=1, max_size=20),
    max_size=2,
)
_CONTENTS = st.one_of(st.binary(max_size=40), st.integers(0, 1500).map(lambda size: b"z" * size))


def _fixed(meta: dict[str, object]) -> dict[str, object]:
    if isinstance(meta["mtime"], str) and meta["form"] == "gnu":
        meta = {**meta, "form": "pax"}
    return meta


@st.composite
def entries(draw: st.DrawFn) -> tars.Entry:
    """An entry of any kind and form."""
    name, meta = draw(names), _fixed(draw(_META))
    kind = draw(
        st.sampled_from(["file", "file", "dir", "symlink", "link", "fifo", "char", "sparse"])
    )
    if kind == "sparse":
        style = draw(st.sampled_from(["gnu", "pax-0.0", "pax-0.1", "pax-1.0"]))
        chunks = [(at * 1024, b"s" * 512) for at in range(draw(st.integers(0, 30)))]
        return tars.sparse(name, 40_000, chunks, style)
    if kind == "file":
        return tars.file(name, draw(_CONTENTS), xattrs=draw(_XATTRS), **meta)
    if kind == "dir":
        return tars.folder(name, xattrs=draw(_XATTRS), **meta)
    if kind == "symlink":
        return tars.symlink(name, draw(names), **meta)
    if kind == "link":
        return tars.hardlink(name, draw(names), **meta)
    if kind == "fifo":
        return tars.fifo(name, **meta)
    return tars.char(name, draw(st.integers(0, 500)), draw(st.integers(0, 2**20)), **meta)


layers = st.lists(entries(), max_size=6).map(lambda parts: tars.layer(*parts))
