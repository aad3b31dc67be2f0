"""The child process of `background`: opens, reads, and answers with frames on standard output."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from layerview import settings
from layerview.errors import LayerviewError
from layerview.layer.blob import Blob
from layerview.layer.cache import IndexCache
from layerview.layer.packing import pack
from layerview.layer.reading import ReadLayer, hash_blob, read_layer
from layerview.progress import Progress
from layerview.sources.background import FRAME
from layerview.sources.description import blob_of, describe, layer_from
from layerview.sources.resolve import SeveralImages, open_image


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


class _OpeningReporter(Progress):
    """Sends the progress of opening an image, at most ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def step(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.1
            send(b"O", what=what, done=done, total=total)


def send(kind: bytes, read: ReadLayer | None = None, **fields: object) -> None:
    """Write one frame."""
    packed = b""
    if read is not None:
        packed = read.packed if read.packed is not None else pack(read.index)
    said = json.dumps(fields).encode()
    out = sys.stdout.buffer
    out.write(FRAME.pack(kind, len(said), len(packed)))
    out.write(said)
    out.write(packed)
    out.flush()


def main() -> None:
    """Do what the job on standard input says: open an image, or go on with one that is open."""
    job = json.loads(sys.stdin.readline())
    cache = None
    if job["cache"] and settings.cache_wanted():
        cache = IndexCache(settings.cache_dir())
    layers = job.get("layers")
    if layers is not None:
        _read_all(layers, cache)
        return
    try:
        image = open_image(job["name"], platform=job["platform"], progress=_OpeningReporter())
    except SeveralImages as several:
        choices = [
            {"name": each.name, "references": each.references, "platform": each.platform}
            for each in several.choices
        ]
        send(b"X", message=str(several), location=several.location, choices=choices)
        return
    except (LayerviewError, OSError) as error:
        send(b"X", message=str(error), choices=None)
        return
    with image:
        said = describe(image)
        send(b"I", **said)
        _read_all(said["layers"], cache)
        # An unpacked archive is there as long as this process: stay until nobody needs it.
        sys.stdin.read()


def _read_all(layers: list[dict[str, Any]], cache: IndexCache | None) -> None:
    """Read layers; hash afterwards those that were not hashed on the way."""
    # Where processors are few, the screen comes first.
    os.nice(10)
    reporter = _Reporter()
    unhashed: list[tuple[int, Blob, ReadLayer]] = []
    placed: list[dict[str, Any]] = []
    for layer in layers:
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
        elif layer["tar_split"] is not None:
            placed.append(layer)
        send(
            b"L",
            read,
            number=layer["number"],
            damage=f"layer {layer['number']}: {read.damage}" if read.damage else None,
            diff_id=read.diff_id if hashed else None,
            digest=read.digest if hashed else None,
            cached=read.from_cache,
        )
    # Hashing takes all that a processor has: it begins when the screen stands.
    sys.stdin.readline()
    for number, blob, read in unhashed:
        reporter.number = number
        try:
            _verify(number, blob, read, cache, reporter)
        except (LayerviewError, OSError) as error:
            send(b"E", message=f"layer {number}: {error}")
            return
    for layer in placed:
        reporter.number = layer["number"]
        _verify_placed(layer, reporter)
    if cache is not None:
        cache.trim()
    send(b"F")


def _read(
    layer: dict[str, Any], cache: IndexCache | None, reporter: _Reporter
) -> tuple[Blob | None, ReadLayer]:
    if layer["folder"] is not None:
        from layerview.sources.placed import read_placed

        return None, read_placed(layer_from(layer, None), cache, reporter)
    blob = blob_of(layer, layer["fd"])
    assert blob is not None
    known = cache.find(blob, unpacked=False) if cache is not None else None
    if known is not None and _agrees(known, layer):
        return blob, known
    read = read_layer(blob, progress=reporter)
    if cache is not None:
        cache.keep(blob, read)
    return blob, read


def _verify_placed(layer: dict[str, Any], reporter: _Reporter) -> None:
    """Make a layer's tar again out of a storage driver's folder, and hash it."""
    from layerview.sources.placed import hash_placed

    number, diff_id, damage = layer["number"], None, None
    try:
        diff_id = hash_placed(layer_from(layer, None), reporter)
    except (LayerviewError, OSError) as error:
        damage = f"layer {number}: {error}"
    send(b"V", number=number, diff_id=diff_id, digest=None, damage=damage)


def _agrees(known: ReadLayer, layer: dict[str, Any]) -> bool:
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
    plain = blob.compression == "none"
    if read.digest in (None, digest):
        # Known by their hash from now on; or the very bytes that the index was made from.
        send(b"V", number=number, diff_id=digest if plain else read.diff_id, digest=digest)
        if read.digest is None and cache is not None and not read.from_cache:
            read.diff_id = read.digest = digest
            cache.keep(blob, read)
    else:
        if cache is not None:
            cache.forget(blob)
        fresh = read_layer(blob, progress=reporter)
        if plain:
            fresh.diff_id = fresh.digest = digest
        send(
            b"L",
            fresh,
            number=number,
            damage=f"layer {number}: {fresh.damage}" if fresh.damage else None,
            diff_id=fresh.diff_id,
            digest=fresh.digest,
        )


if __name__ == "__main__":
    main()
