"""Saving: images of a data root as an archive, in the form that `docker save` has from 25.0 on.

It is an OCI layout with a manifest.json beside it (moby, image/tarexport): blobs named by their
sha256, the layers as plain tars, so that a layer's digest is its DiffID. The same images give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from layerview.errors import DamageError, LayerviewError, NotFoundError
from layerview.oci import media_types
from layerview.oci.digest import Digest
from layerview.oci.reference import Reference
from layerview.progress import QUIET, Progress
from layerview.store.data_root import DataRoot, ImageRecord, LayerRecord
from layerview.store.finding import find, names_repository
from layerview.store.rebuilding import rebuilt, tar_length
from layerview.text import printable

_BLOCK = 512
_RECORD = 10_240
"""Bytes in whose multiples tars end (POSIX, pax)."""


@dataclass(slots=True)
class Wanted:
    """An image that shall be saved, with the names that it shall have in the archive."""

    record: ImageRecord
    references: list[str] = field(default_factory=list)


def wanted_images(data: DataRoot, words: Sequence[str], driver: str | None = None) -> list[Wanted]:
    """Find the images to save, each once.

    As in Docker, a name without a tag stands for all tags of the repository, and an image that
    is called by its ID is saved without a name.

    Raises:
        NotFoundError: when there is no such image.
    """
    chosen: dict[tuple[str, Digest], Wanted] = {}

    def choose(record: ImageRecord, reference: str | None) -> None:
        item = chosen.setdefault((record.driver, record.image_id), Wanted(record))
        if reference is not None and "@" not in reference and reference not in item.references:
            item.references.append(reference)

    for word in words:
        repository = names_repository(word)
        tags = list(_tags(data, repository, driver)) if repository is not None else []
        for each, tag in tags:
            choose(data.image(tag, each), tag)
        if not tags:
            found = find(data, word, driver)
            choose(found.record, found.reference)
    return list(chosen.values())


def _tags(data: DataRoot, repository: str, driver: str | None) -> Iterator[tuple[str, str]]:
    for name in [driver] if driver is not None else data.drivers():
        found = [
            tag
            for tag in sorted(data.tags(name))
            if "@" not in tag and Reference.parse(tag).familiar_name == repository
        ]
        if found:
            yield from ((name, tag) for tag in found)
            return


@dataclass(frozen=True, slots=True)
class _Layer:
    record: LayerRecord
    tar_split: str
    length: int


def save(
    data: DataRoot,
    images: Sequence[Wanted],
    write: Callable[[bytes], object],
    *,
    progress: Progress = QUIET,
) -> None:
    """Write an archive of images.

    Args:
        data: where they lie.
        images: which, from `wanted_images`.
        write: takes the archive's bytes, in order.
        progress: told about the bytes written, and asked whether to go on.

    Raises:
        DamageError: when a layer's files are not what they were when it was put in place.
        NotFoundError: when a layer or its tar-split is not there, or an image was removed
            meanwhile: reading takes no lock, and an archive that ends well is whole.
    """
    blobs: dict[str, bytes | _Layer] = {}
    try:
        _save(data, images, write, progress, blobs)
    except (DamageError, NotFoundError):
        for image in images:
            if _is_gone(data, image.record, blobs):
                name = next(iter(image.references), f"image {image.record.image_id.short}")
                raise NotFoundError(f"{name} was removed while it was saved") from None
        raise


def _is_gone(data: DataRoot, record: ImageRecord, blobs: Mapping[str, bytes | _Layer]) -> bool:
    """Whether an image is not there any more, or is what another load made by now."""
    if not os.path.lexists(data.layout(record.driver).image(record.image_id)):
        return True
    for blob in blobs.values():
        if isinstance(blob, _Layer) and blob.record.driver == record.driver:
            before = blob.record
            with suppress(LayerviewError):
                if data.layer(before.driver, before.chain_id).cache_id != before.cache_id:
                    return True
    return False


def _save(
    data: DataRoot,
    images: Sequence[Wanted],
    write: Callable[[bytes], object],
    progress: Progress,
    blobs: dict[str, bytes | _Layer],
) -> None:
    described = [_describe(data, image, blobs) for image in images]
    documents = {
        "index.json": _json(
            {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_INDEX,
                "manifests": [item for each in described for item in each.manifests],
            }
        ),
        "manifest.json": _json([{**each.item, **_parent(each, described)} for each in described]),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    repositories: dict[str, dict[str, str]] = {}
    for each in described:
        for name, tags in each.repositories.items():
            repositories.setdefault(name, {}).update(tags)
    if repositories:
        documents["repositories"] = _json(repositories) + b"\n"

    total = sum(blob.length for blob in blobs.values() if isinstance(blob, _Layer))
    out = _Tar(write, progress, total)
    out.folder("blobs")
    out.folder("blobs/sha256")
    for name in sorted(blobs):
        blob = blobs[name]
        if isinstance(blob, bytes):
            out.file(f"blobs/sha256/{name}", len(blob), iter([blob]))
        else:
            out.file(f"blobs/sha256/{name}", blob.length, _checked(blob))
    for name, document in documents.items():
        out.file(name, len(document), iter([document]))
    out.close()


@dataclass(frozen=True, slots=True)
class _Described:
    """What the archive's documents say of an image."""

    record: ImageRecord
    manifests: list[dict[str, object]]
    item: dict[str, object]
    repositories: dict[str, dict[str, str]]


def _parent(image: _Described, beside: Sequence[_Described]) -> dict[str, object]:
    """Name the image that one was built on, if that is saved as well."""
    parent = image.record.parent
    if all(parent != other.record.image_id for other in beside):
        return {}
    return {"Parent": str(parent)}


def _describe(data: DataRoot, wanted: Wanted, blobs: dict[str, bytes | _Layer]) -> _Described:
    record = wanted.record
    layers = []
    for number, (chain_id, diff_id) in enumerate(
        zip(record.chain_ids, record.config.diff_ids, strict=True)
    ):
        found = data.layer(record.driver, chain_id)
        if found.tar_split is None:
            raise NotFoundError(
                f"layer {number} ({chain_id.short}) has no tar-split.json.gz, without which its"
                " tar can't be made again"
            )
        if diff_id.hex not in blobs:
            blobs[diff_id.hex] = _Layer(found, found.tar_split, tar_length(found.tar_split))
        blob = blobs[diff_id.hex]
        assert isinstance(blob, _Layer)
        layers.append(
            {
                "mediaType": media_types.OCI_LAYER,
                "digest": str(diff_id),
                "size": blob.length,
            }
        )
    config = record.config.raw
    blobs[record.image_id.hex] = config
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": {
                "mediaType": media_types.OCI_CONFIG,
                "digest": str(record.image_id),
                "size": len(config),
            },
            "layers": layers,
        }
    )
    digest = Digest.of(manifest)
    blobs[digest.hex] = manifest
    plain: dict[str, object] = {
        "mediaType": media_types.OCI_MANIFEST,
        "digest": str(digest),
        "size": len(manifest),
    }
    manifests: list[dict[str, object]] = []
    repositories: dict[str, dict[str, str]] = {}
    for text in wanted.references:
        reference = Reference.parse(text)
        tag = reference.tag or ""
        annotations = {
            "io.containerd.image.name": str(reference),
            "org.opencontainers.image.ref.name": tag,
        }
        manifests.append({**plain, "annotations": annotations})
        if record.config.diff_ids:
            top = record.config.diff_ids[-1].hex
            repositories.setdefault(reference.familiar_name, {})[tag] = top
    item: dict[str, object] = {
        "Config": f"blobs/sha256/{record.image_id.hex}",
        "RepoTags": wanted.references or None,
        "Layers": [f"blobs/sha256/{diff_id.hex}" for diff_id in record.config.diff_ids],
        "LayerSources": {str(layer["digest"]): layer for layer in layers},
    }
    return _Described(record, manifests or [plain], item, repositories)


def _checked(layer: _Layer) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    where = f"layer {layer.record.chain_id.short} ({printable(layer.record.folder)})"
    try:
        for piece in rebuilt(layer.tar_split, layer.record.folder):
            hasher.update(piece)
            yield piece
    except DamageError as error:
        raise DamageError(f"{where} is damaged: {error}") from None
    if hasher.hexdigest() != layer.record.diff_id.hex:
        raise DamageError(f"{where} is damaged: its tar hashes to {hasher.hexdigest()[:12]}")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class _Tar:
    """Writes a tar whose members come in order, with nothing in it that could differ."""

    def __init__(self, write: Callable[[bytes], object], progress: Progress, total: int) -> None:
        self._write = write
        self._progress = progress
        self._total = total
        self._done = 0

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._done += len(data)

    def folder(self, name: str) -> None:
        """Add a folder."""
        info = tarfile.TarInfo(name + "/")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._put(info.tobuf(tarfile.PAX_FORMAT))

    def file(self, name: str, size: int, pieces: Iterator[bytes]) -> None:
        """Add a file of a known size."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        self._put(info.tobuf(tarfile.PAX_FORMAT))
        start = self._done
        for piece in pieces:
            if self._done - start + len(piece) > size:
                raise DamageError(f"{name} has more bytes than its tar-split says")
            self._put(piece)
            self._progress.step("saving", min(self._done, self._total), self._total)
        if self._done - start != size:
            raise DamageError(f"{name} has fewer bytes than its tar-split says")
        self._put(bytes(-size % _BLOCK))

    def close(self) -> None:
        """Write the end."""
        self._put(bytes(2 * _BLOCK))
        self._put(bytes(-self._done % _RECORD))
