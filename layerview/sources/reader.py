"""The child process of `background`: reads layers and answers with frames on standard output."""

from __future__ import annotations

import json
import sys
import time

from layerview import settings
from layerview.errors import LayerviewError
from layerview.layer.blob import Blob
from layerview.layer.cache import IndexCache
from layerview.layer.index import LayerIndex
from layerview.layer.packing import pack
from layerview.layer.reading import ReadLayer, hash_blob, read_layer
from layerview.progress import Progress
from layerview.sources.background import FRAME


class _Reporter(Progress):
    """Sends the progress of one layer, at most ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self._next = 0.0

    def step(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.1
            send(b"P", number=self.number, done=done, total=total)


def send(kind: bytes, index: LayerIndex | None = None, **fields: object) -> None:
    """Write one frame."""
    packed = pack(index) if index is not None else b""
    said = json.dumps(fields).encode()
    out = sys.stdout.buffer
    out.write(FRAME.pack(kind, len(said), len(packed)))
    out.write(said)
    out.write(packed)
    out.flush()


def main() -> None:
    """Read the layers that standard input names; hash afterwards those not hashed on the way."""
    job = json.load(sys.stdin)
    cache = None
    if job["cache"] and settings.cache_wanted():
        cache = IndexCache(settings.cache_dir())
    reporter = _Reporter()
    unhashed: list[tuple[int, Blob, ReadLayer]] = []
    for layer in job["layers"]:
        reporter.number = layer["number"]
        if layer["path"] is None and layer["folder"] is None:
            continue
        send(b"S", number=layer["number"])
        try:
            blob, read = _read(layer, cache, reporter)
        except (LayerviewError, OSError) as error:
            message = f"layer {layer['number']}: {error}"
            send(b"L", number=layer["number"], damage=message, diff_id=None, digest=None)
            continue
        hashed = not read.from_cache
        if blob is not None and (read.from_cache or read.digest is None):
            unhashed.append((layer["number"], blob, read))
        send(
            b"L",
            read.index,
            number=layer["number"],
            damage=f"layer {layer['number']}: {read.damage}" if read.damage else None,
            diff_id=read.diff_id if hashed else None,
            digest=read.digest if hashed else None,
        )
    for number, blob, read in unhashed:
        reporter.number = number
        try:
            _verify(number, blob, read, cache, reporter)
        except (LayerviewError, OSError) as error:
            send(b"E", message=f"layer {number}: {error}")
            return
    if cache is not None:
        cache.trim()
    send(b"F")


def _read(
    layer: dict[str, object], cache: IndexCache | None, reporter: _Reporter
) -> tuple[Blob | None, ReadLayer]:
    folder, path, fd = layer["folder"], layer["path"], layer["fd"]
    if isinstance(folder, str):
        from layerview.layer.folder import read_folder

        return None, ReadLayer(read_folder(folder, reporter))
    start, length = layer["start"], layer["length"]
    assert isinstance(path, str)
    assert isinstance(start, int)
    assert isinstance(length, int)
    blob = Blob(path, fd=fd if isinstance(fd, int) else None, start=start, length=length)
    known = cache.find(blob) if cache is not None else None
    if known is not None and _agrees(known, layer):
        return blob, known
    read = read_layer(blob, progress=reporter)
    if cache is not None:
        cache.keep(blob, read)
    return blob, read


def _agrees(known: ReadLayer, layer: dict[str, object]) -> bool:
    """Whether what was once hashed is what the image claims; if not, the bytes decide again."""
    return all(
        found is None or layer[claim] in (None, found)
        for claim, found in (("diff_id", known.diff_id), ("digest", known.digest))
    )


def _verify(
    number: int, blob: Blob, read: ReadLayer, cache: IndexCache | None, reporter: _Reporter
) -> None:
    """Hash a blob as it is stored, and say what follows for the layer's digests."""
    digest = hash_blob(blob, progress=reporter)
    if blob.compression == "none":
        send(b"V", number=number, diff_id=digest, digest=digest)
        if read.diff_id is None and cache is not None:
            read.diff_id = read.digest = digest
            cache.keep(blob, read)
    elif digest == read.digest:
        # The very bytes that were decompressed and hashed when the index was made.
        send(b"V", number=number, diff_id=read.diff_id, digest=digest)
    else:
        if cache is not None:
            cache.forget(blob)
        fresh = read_layer(blob, progress=reporter)
        send(
            b"L",
            fresh.index,
            number=number,
            damage=f"layer {number}: {fresh.damage}" if fresh.damage else None,
            diff_id=fresh.diff_id,
            digest=fresh.digest,
        )


if __name__ == "__main__":
    main()
