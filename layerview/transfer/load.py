"""Loading: an image, wherever it lies, into the local storage area."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from layerview.errors import (
    Cancelled,
    DamageError,
    FormatError,
    LayerviewError,
    LimitError,
    NotFoundError,
)
from layerview.layer.blob import BlobReader
from layerview.layer.compression import open_plain
from layerview.layer.windows import Readable
from layerview.oci.digest import Digest, chain_ids
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference
from layerview.progress import QUIET, Progress
from layerview.sources.image import Image, LayerSource
from layerview.store.rebuilding import rebuilt
from layerview.store.writing import MAX_LAYERS, Writing
from layerview.text import printable

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(slots=True)
class Loaded:
    """What loading an image did."""

    image_id: Digest
    references: list[str] = field(default_factory=list)
    """The names it was given, as Docker prints them."""
    layers: list[tuple[Digest, bool]] = field(default_factory=list)
    """By layer, the base first: its DiffID, and whether it was there before."""
    renamed: list[tuple[str, Digest]] = field(default_factory=list)
    """Names that were another image's before, and whose."""
    notes: list[str] = field(default_factory=list)
    """What could not be kept of the layers, and what is odd about the image."""
    parent: Digest | None = None
    """The image that it was built on, if the same file has that."""


def load(
    writing: Writing,
    driver: str,
    image: Image,
    *,
    tag: str | None = None,
    verify: bool = False,
    progress: Progress = QUIET,
) -> Loaded:
    """Load one image; when that fails, nothing of it stays.

    Layers that the area has are not read again, as in Docker.

    Args:
        writing: of the area.
        driver: under which the image shall lie.
        image: the opened image.
        tag: a name to give it; its own names when left out.
        verify: read and hash layers that are there, too.
        progress: told about the layers, and asked whether to go on.

    Raises:
        DamageError: when a layer or the config is damaged.
        NotFoundError: when a layer is not here.
        FormatError: when the image is none that Docker would take.
        LayerviewError: when it can't be written.
    """
    if image.damage:
        raise DamageError(f"{image.location}: {image.damage[0]}")
    references = [Reference.parse(tag)] if tag is not None else list(_references(image))
    for reference in references:
        if reference.tag is None:
            raise FormatError(f"{reference.familiar} has no tag")
    loaded = (
        _load_image(writing, driver, image, verify, progress)
        if image.has_config
        else _load_root(writing, driver, image, progress)
    )
    loaded.parent = image.parents[0] if image.parents else None
    for reference in references:
        before = writing.tag(driver, reference, loaded.image_id)
        loaded.references.append(reference.familiar)
        if before is not None:
            loaded.renamed.append((reference.familiar, Digest.parse(before)))
    return loaded


def link_parents(writing: Writing, driver: str, loaded: Sequence[Loaded]) -> None:
    """Note of images of one file which was built on which, as `docker load` does.

    Raises:
        LayerviewError: when that can't be written.
    """
    ids = {each.image_id for each in loaded}
    for each in loaded:
        if each.parent is not None and each.parent in ids:
            writing.note_parent(driver, each.image_id, each.parent)


def _references(image: Image) -> Iterator[Reference]:
    """Yield the image's names; a bare tag, as OCI layouts may have, is no name."""
    for name in image.references:
        if not set(name) & set(":/@"):
            image.warnings.append(f"the image has no name but the tag {name}; --tag gives it one")
            continue
        try:
            yield Reference.parse(name)
        except FormatError as error:
            image.warnings.append(f"{error}; it is left out")
        else:
            if image.place.startswith("oci"):
                return  # what else the layout calls it are the same name's parts


def _load_image(
    writing: Writing, driver: str, image: Image, verify: bool, progress: Progress
) -> Loaded:
    diff_ids = image.config.diff_ids
    if len(diff_ids) != len(image.layers):
        raise FormatError(
            f"{image.location}: the config names {len(diff_ids)} layers, the manifest"
            f" {len(image.layers)}"
        )
    for number, diff_id in enumerate(diff_ids):
        if diff_id.algorithm != "sha256":
            raise FormatError(f"layer {number}: Docker knows no DiffIDs of {diff_id.algorithm}")
    image_id = Digest.of(image.config.raw)
    if image.image_id is not None and image.image_id != image_id:
        raise DamageError(
            f"{image.location}: the config hashes to {image_id.short}, not to"
            f" {image.image_id.short}"
        )
    if len(diff_ids) > MAX_LAYERS:
        raise LimitError(
            f"{image.location}: {len(diff_ids)} layers; an area, as Docker's, takes {MAX_LAYERS}"
        )
    loaded = Loaded(image_id)
    chains = chain_ids(diff_ids)
    existed = writing.hold(driver, chains)
    parent: Digest | None = None
    for layer, diff_id, chain, there in zip(image.layers, diff_ids, chains, existed, strict=True):
        what = f"layer {layer.number + 1} of {len(chains)}"
        if there and verify and layer.available:
            _verify(layer, diff_id, what, progress)
        if not there and not writing.has_layer(driver, chain):
            with _naming(what), _plain(layer, what, progress) as (tar, check):
                writing.add_layer(driver, parent, tar, diff_id, progress=progress, what=what)
                check()
            if layer.digest is not None and layer.digest.algorithm == "sha256":
                if layer.compression == "none" and layer.digest != diff_id:
                    raise DamageError(
                        f"{what} is damaged: the blob hashes to {diff_id.short},"
                        f" not to {layer.digest.short}"
                    )
                writing.note_digest(driver, diff_id, layer.digest)
        loaded.layers.append((diff_id, there))
        parent = chain
    writing.add_image(driver, image.config.raw)
    loaded.notes = [*image.warnings, *writing.notes]
    writing.notes.clear()
    return loaded


def _load_root(writing: Writing, driver: str, image: Image, progress: Progress) -> Loaded:
    """Make an image of a root file system, as `docker import` does."""
    if len(image.layers) != 1:
        raise DamageError(f"{image.location}: there is no config, and so no order of the layers")
    layer = image.layers[0]
    what = "the root file system"
    with _naming(what), _plain(layer, what, progress) as (tar, check):
        _, diff_id = writing.add_layer(driver, None, tar, progress=progress, what=what)
        check()
    data = _config(image, diff_id)
    loaded = Loaded(Digest.of(data), layers=[(diff_id, False)])
    writing.add_image(driver, data)
    loaded.notes = list(writing.notes)
    writing.notes.clear()
    return loaded


def _config(image: Image, diff_id: Digest) -> bytes:
    platform = Platform.host()
    created = _time_of(image)
    document: dict[str, object] = {
        "architecture": platform.architecture,
        "config": {},
        "created": created,
        "history": [
            {"created": created, "comment": f"Loaded by layerview from {image.name}"},
        ],
        "os": platform.os,
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _time_of(image: Image) -> str:
    """The file's own time, so that the same file gives the same image; else now."""
    try:
        time = datetime.fromtimestamp(int(os.stat(image.location).st_mtime), UTC)
    except (OSError, ValueError, OverflowError):
        time = datetime.now(UTC).replace(microsecond=0)
    return time.isoformat().replace("+00:00", "Z")


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say in errors which layer they are about."""
    try:
        yield
    except Cancelled:
        raise
    except LayerviewError as error:
        text = str(error)
        raise type(error)(text if what in text else f"{what}: {text}") from None


class _Checked:
    """Shows a stream's reader the plain bytes, and can say whether the blob was the right one."""

    def __init__(self, reader: BlobReader, digest: Digest | None, hasher: _Hash, what: str) -> None:
        self._reader = reader
        self._digest = digest
        self._hasher = hasher
        self._what = what

    def __call__(self) -> None:
        if self._digest is None:
            return
        self._reader.drain()
        found = self._hasher.hexdigest()
        if found != self._digest.hex:
            raise DamageError(
                f"{self._what} is damaged: the blob hashes to {found[:12]},"
                f" not to {self._digest.short}"
            )


@contextmanager
def _plain(
    layer: LayerSource, what: str, progress: Progress
) -> Iterator[tuple[Readable, _Checked | _Nothing]]:
    """Open a layer's plain tar, and what checks its blob's digest when all is read."""
    if layer.blob is not None:
        blob = layer.blob
        # A plain tar's digest is its DiffID, or the tag of some other form of it.
        digest = layer.digest if blob.compression != "none" else None
        if digest is not None and not digest.verifiable:
            digest = None
        hasher = digest.hasher() if digest is not None else hashlib.sha256()
        with blob.opened() as fd:
            reader = BlobReader(
                fd,
                blob,
                passed=hasher.update if digest is not None else None,
                progress=progress,
                what=what,
            )
            check = _Checked(reader, digest, hasher, what)
            yield open_plain(reader.buffered(), blob.compression), check
        return
    if layer.folder is None:
        reason = layer.missing_reason or "it is not here"
        raise NotFoundError(f"{printable(what)} can't be loaded: {printable(reason)}")
    yield Pieces(layer_tar(layer)), _Nothing()


class _Nothing:
    def __call__(self) -> None:
        """There is no blob whose digest could be wrong."""


def layer_tar(layer: LayerSource) -> Iterator[bytes]:
    """Give the tar of a layer that lies in a folder: its very bytes where tar-split has them."""
    from layerview.layer.whiteouts import Whiteouts

    assert layer.folder is not None
    tar_split: str | None = getattr(layer, "tar_split", None)
    if tar_split is not None:
        yield from rebuilt(tar_split, layer.folder)
        return
    from layerview.layer.pack import pack_folder

    yield from pack_folder(layer.folder, getattr(layer, "whiteouts", Whiteouts.NONE))


class Pieces(io.RawIOBase):
    """Pieces of bytes, read as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; b"" at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


def _verify(layer: LayerSource, diff_id: Digest, what: str, progress: Progress) -> None:
    hasher = hashlib.sha256()
    with _plain(layer, what, progress) as (tar, check):
        while data := tar.read(1 << 20):
            hasher.update(data)
            progress.check()
        check()
    if hasher.hexdigest() != diff_id.hex:
        raise DamageError(
            f"{what} is damaged: its bytes hash to {hasher.hexdigest()[:12]}, not to"
            f" {diff_id.short}"
        )
