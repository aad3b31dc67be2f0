"""From a layer's blob to its index, checking digests on the way."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from layerview.errors import DamageError
from layerview.layer.blob import Blob, BlobReader
from layerview.layer.build import TooDeep, build_index
from layerview.layer.compression import open_plain
from layerview.layer.index import LayerIndex
from layerview.layer.tar import RawEntries, TarDamage, scan
from layerview.layer.windows import FileWindow, StreamWindow
from layerview.progress import QUIET, Progress

_HASH_PIECE = 1 << 20


@dataclass(slots=True)
class ReadLayer:
    """What reading a blob gave."""

    found: LayerIndex | None
    """The index; None: it is packed as yet."""
    diff_id: str | None = None
    """sha256 of the plain bytes ("sha256:…"), where all of them were hashed."""
    digest: str | None = None
    """sha256 of the blob's bytes, where all of them were hashed."""
    identity: tuple[int, ...] | None = None
    """The blob's identity when reading began; None: not noted."""
    packed: bytes | None = None
    """The index as packing.pack writes it, where it came in that form."""
    from_cache: bool = False
    """Whether the hashes are those of an earlier reading."""
    damage: str | None = None
    """What was wrong with the bytes; the index has what could be read."""

    @property
    def index(self) -> LayerIndex:
        """The layer's index.

        Raises:
            DamageError: when it came packed, and not as packing.pack writes it.
        """
        if self.found is None:
            from layerview.layer.packing import unpack

            self.found = unpack(self.packed or b"")
        return self.found


def read_layer(blob: Blob, *, progress: Progress = QUIET, what: str = "") -> ReadLayer:
    """Index a layer: by offset where the tar is plain, else while decompressing and hashing it.

    Raises:
        NotFoundError: when the blob's file can't be opened.
        Cancelled: when the progress object says so.
    """
    identity = blob.identity()
    with blob.opened() as fd:
        compression = blob.compression
        raw = RawEntries()
        damage: str | None = None
        if compression == "none":
            window = FileWindow(fd, blob.start, blob.length, progress, what)
            try:
                scan(window, raw)
            except TarDamage as error:
                damage = str(error)
            read = _indexed(raw, damage)
            read.identity = identity
            return read

        plain_hash, blob_hash = hashlib.sha256(), hashlib.sha256()
        reader = BlobReader(fd, blob, passed=blob_hash.update, progress=progress, what=what)
        stream = StreamWindow(open_plain(reader.buffered(), compression), plain_hash.update)
        decoded = False
        try:
            scan(stream, raw)
        except (TarDamage, DamageError) as error:
            damage = str(error)
        try:
            stream.drain()
            decoded = True
        except DamageError as error:
            damage = damage or str(error)
        reader.drain()
        read = _indexed(raw, damage)
        read.identity = identity
        read.digest = f"sha256:{blob_hash.hexdigest()}"
        if decoded:
            read.diff_id = f"sha256:{plain_hash.hexdigest()}"
        return read


def _indexed(raw: RawEntries, damage: str | None) -> ReadLayer:
    try:
        return ReadLayer(build_index(raw), damage=damage)
    except TooDeep:
        return ReadLayer(
            build_index(RawEntries()),
            damage="its folders are nested so deep that they would fill the memory",
        )


def hash_blob(blob: Blob, *, progress: Progress = QUIET, what: str = "") -> str:
    """Hash a blob as it is stored ("sha256:…"): its digest; of a plain one its DiffID too."""
    digest = hashlib.sha256()
    buffer = bytearray(_HASH_PIECE)
    view = memoryview(buffer)
    with blob.opened() as fd:
        at = 0
        while at < blob.length:
            count = os.preadv(fd, [view[: blob.length - at]], blob.start + at)
            if not count:
                break
            digest.update(view[:count])
            at += count
            progress.step(what, at, blob.length)
    return f"sha256:{digest.hexdigest()}"
