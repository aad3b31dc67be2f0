"""OCI image layouts, as a folder or as an archive (OCI image-spec, image-layout.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.layer.blob import Blob, open_regular
from layerview.oci import media_types
from layerview.oci.config import ImageConfig
from layerview.oci.descriptor import ANNOTATION_IMAGE_NAME, ANNOTATION_REFERENCE, Descriptor
from layerview.oci.digest import Digest
from layerview.oci.manifest import Index, Manifest, parse_manifest
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference
from layerview.sources.archive import Archive, read_document
from layerview.sources.image import Image, ImageChoice, LayerSource
from layerview.text import printable

_MAX_DEPTH = 8
"""Indexes inside indexes that are followed."""
_MAX_MANIFESTS = 10_000


class Layout(Protocol):
    """Where an OCI layout's files are."""

    name: str
    damage: list[str]

    def index(self) -> bytes:
        """Return index.json's bytes."""

    def blob(self, digest: Digest) -> Blob | None:
        """Find a blob by its digest."""

    def close(self) -> None:
        """Close what is held open."""


class FolderLayout:
    """A layout in a folder."""

    def __init__(self, path: str) -> None:
        self.name = path
        self.damage: list[str] = []

    def index(self) -> bytes:
        """See Layout."""
        path = os.path.join(self.name, "index.json")
        return read_document(_file_blob(path), path)

    def blob(self, digest: Digest) -> Blob | None:
        """See Layout."""
        path = os.path.join(self.name, "blobs", digest.algorithm, digest.hex)
        try:
            return _file_blob(path)
        except NotFoundError:
            return None

    def close(self) -> None:
        """See Layout."""


class ArchiveLayout:
    """A layout in an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.name = archive.name
        self.damage = archive.damage

    def index(self) -> bytes:
        """See Layout."""
        data = self._archive.read(b"index.json")
        if data is None:
            raise NotFoundError(f"{self.name}: there is no index.json in the archive")
        return data

    def blob(self, digest: Digest) -> Blob | None:
        """See Layout."""
        return self._archive.find(f"blobs/{digest.algorithm}/{digest.hex}".encode())

    def close(self) -> None:
        """See Layout."""
        self._archive.close()


def _file_blob(path: str) -> Blob:
    fd = open_regular(path)
    try:
        return Blob(path, length=os.fstat(fd).st_size)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A manifest that a layout's index leads to."""

    descriptor: Descriptor
    names: tuple[str, ...]
    platform: Platform | None
    entry: int
    """The item of index.json through which it was found."""

    @property
    def selector(self) -> str:
        """What to ask for it by."""
        return self.names[0] if self.names else str(self.descriptor.digest)


def candidates(layout: Layout) -> list[Candidate]:
    """List the images of a layout; attestations are left out.

    Raises:
        FormatError: when index.json does not have the form it should have.
    """
    index = parse_manifest(layout.index(), f"{layout.name}: index.json")
    if not isinstance(index, Index):
        raise FormatError(f"{layout.name}: index.json is no index")
    found: list[Candidate] = []
    for entry, descriptor in enumerate(index.images):
        for candidate in _expand(layout, descriptor, _names(descriptor), entry, set()):
            found.append(candidate)
            if len(found) >= _MAX_MANIFESTS:
                return found
    return found


def _names(descriptor: Descriptor) -> tuple[str, ...]:
    image_name = descriptor.annotations.get(ANNOTATION_IMAGE_NAME)
    reference = descriptor.annotations.get(ANNOTATION_REFERENCE)
    return tuple(name for name in (image_name, reference) if name)


def _expand(
    layout: Layout,
    descriptor: Descriptor,
    names: tuple[str, ...],
    entry: int,
    seen: set[Digest],
) -> Iterator[Candidate]:
    inner = _inner_index(layout, descriptor)
    if inner is None:
        yield Candidate(descriptor, names, descriptor.platform, entry)
        return
    if descriptor.digest in seen or len(seen) >= _MAX_DEPTH:
        return
    for child in inner.images:
        yield from _expand(layout, child, names, entry, seen | {descriptor.digest})


def _inner_index(layout: Layout, descriptor: Descriptor) -> Index | None:
    if not media_types.is_index(descriptor.media_type):
        return None
    blob = layout.blob(descriptor.digest)
    if blob is None:
        return None
    what = f"{layout.name}: index {descriptor.digest.short}"
    inner = parse_manifest(read_document(blob, what), what)
    return inner if isinstance(inner, Index) else None


def choices(layout: Layout, found: list[Candidate], transport: str) -> list[ImageChoice]:
    """Say how each image of a layout can be asked for."""
    return [
        ImageChoice(
            f"{transport}:{layout.name}:{candidate.selector}",
            candidate.names,
            None,
            str(candidate.platform) if candidate.platform is not None else None,
        )
        for candidate in found
    ]


def select(found: list[Candidate], selector: str, layout_name: str) -> list[Candidate]:
    """Find the images that a reference, a tag, "@number" or a digest names.

    Raises:
        NotFoundError: when there is none.
    """
    if selector.startswith("@") and selector[1:].isdecimal() and len(selector) < 9:
        number = int(selector[1:])
        matching = [candidate for candidate in found if candidate.entry == number]
    else:
        matching = [candidate for candidate in found if _is_named(candidate, selector)]
    if not matching:
        names = ", ".join(dict.fromkeys(printable(candidate.selector) for candidate in found))
        raise NotFoundError(f"{layout_name} has no image {printable(selector)}; it has {names}")
    return matching


def _is_named(candidate: Candidate, selector: str) -> bool:
    digest = candidate.descriptor.digest
    if selector in candidate.names or selector in (str(digest), digest.hex):
        return True
    try:
        wanted = Reference.parse(selector)
    except FormatError:
        return False
    for name in candidate.names:
        try:
            if Reference.parse(name) == wanted:
                return True
        except FormatError:
            continue
    return False


def for_platform(found: list[Candidate], wanted: Platform | None) -> list[Candidate]:
    """Keep the images of a platform; those of the machine's own when none is asked for.

    Raises:
        NotFoundError: when a platform is asked for that is not there.
    """
    if len(found) < 2 and wanted is None:
        return found
    for platform in (wanted or Platform.host()).fallbacks():
        matching = [
            candidate
            for candidate in found
            if candidate.platform is not None and platform.matches(candidate.platform)
        ]
        if matching:
            return matching
    if wanted is None:
        return found
    stated = [str(candidate.platform) for candidate in found if candidate.platform is not None]
    if not stated:
        return found
    raise NotFoundError(
        f"there is no image for {wanted}; there are {', '.join(dict.fromkeys(stated))}"
    )


def open_candidate(layout: Layout, candidate: Candidate, place: str) -> Image:
    """Open one image of a layout.

    Raises:
        NotFoundError: when its manifest is not here.
        FormatError: when its manifest can't be read.
    """
    damage = list(layout.damage)
    descriptor = candidate.descriptor
    what = f"{layout.name}: manifest {descriptor.digest.short}"
    data = _checked(layout, descriptor, what, damage)
    if data is None:
        raise NotFoundError(f"{what} is not here")
    manifest = parse_manifest(data, what)
    if not isinstance(manifest, Manifest):
        raise FormatError(f"{what} is an index inside an index")
    config: ImageConfig | None = None
    warnings: list[str] = []
    what = f"{layout.name}: config {manifest.config.digest.short}"
    try:
        data = _checked(layout, manifest.config, what, damage)
        if data is None:
            warnings.append(f"the config {manifest.config.digest} is not here")
        else:
            config = ImageConfig.from_json(data, what)
    except LayerviewError as error:
        damage.append(str(error))
    layers = [
        _layer(layout, number, descriptor) for number, descriptor in enumerate(manifest.layers)
    ]
    references = tuple(printable(name) for name in candidate.names)
    return Image(
        config,
        layers,
        name=references[0] if references else manifest.config.digest.short,
        place=place,
        location=layout.name,
        references=references,
        digest=candidate.descriptor.digest,
        image_id=manifest.config.digest,
        warnings=warnings,
        damage=damage,
        close=layout.close,
    )


def _layer(layout: Layout, number: int, descriptor: Descriptor) -> LayerSource:
    layer = LayerSource(
        number,
        digest=descriptor.digest,
        media_type=descriptor.media_type,
        compressed_size=descriptor.size,
    )
    layer.blob = layout.blob(descriptor.digest)
    if layer.blob is None:
        layer.missing_reason = (
            "a foreign layer, to be fetched from elsewhere"
            if descriptor.is_foreign
            else f"blob {descriptor.digest.short} is not here"
        )
    return layer


def _checked(layout: Layout, descriptor: Descriptor, what: str, damage: list[str]) -> bytes | None:
    """Read a document and check that it is the one its digest names."""
    blob = layout.blob(descriptor.digest)
    if blob is None:
        return None
    data = read_document(blob, what)
    if descriptor.digest.verifiable:
        hasher = descriptor.digest.hasher()
        hasher.update(data)
        if hasher.hexdigest() != descriptor.digest.hex:
            damage.append(f"{what} is damaged: its bytes hash to {hasher.hexdigest()[:12]}")
    return data
