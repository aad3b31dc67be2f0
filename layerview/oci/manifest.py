"""Manifests and indexes (OCI image-spec, manifest.md and image-index.md; Docker v2 schema 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from layerview.errors import FormatError
from layerview.oci import media_types
from layerview.oci.descriptor import Descriptor
from layerview.oci.digest import Digest
from layerview.oci.fields import Fields, load_json
from layerview.oci.platform import Platform
from layerview.text import printable


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one image: its config and its layers, base first."""

    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    media_type: str = media_types.OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str | None = None
    subject: Descriptor | None = None
    raw: bytes = field(default=b"", repr=False)

    @classmethod
    def from_json(cls, data: bytes, document: str = "manifest") -> Manifest:
        """Read an image manifest.

        Raises:
            FormatError: the bytes are anything else, such as an index.
        """
        manifest = parse_manifest(data, document)
        if not isinstance(manifest, Manifest):
            raise FormatError(f"{printable(document)}: is an index, not a manifest")
        return manifest

    @property
    def digest(self) -> Digest:
        """The sha256 of the document's bytes."""
        return Digest.of(self.raw)

    @property
    def is_attestation(self) -> bool:
        """Whether this states something about an image and is none itself."""
        return (
            media_types.is_attestation(self.artifact_type or "")
            or media_types.is_attestation(self.config.media_type)
            or any(media_types.is_attestation(layer.media_type) for layer in self.layers)
        )


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests: one image for several platforms, or several images of a layout."""

    manifests: tuple[Descriptor, ...] = ()
    media_type: str = media_types.OCI_INDEX
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str | None = None
    subject: Descriptor | None = None
    raw: bytes = field(default=b"", repr=False)

    @classmethod
    def from_json(cls, data: bytes, document: str = "index") -> Index:
        """Read an index or a Docker manifest list.

        Raises:
            FormatError: the bytes are anything else, such as a manifest.
        """
        index = parse_manifest(data, document)
        if not isinstance(index, Index):
            raise FormatError(f"{printable(document)}: is a manifest, not an index")
        return index

    @property
    def digest(self) -> Digest:
        """The sha256 of the document's bytes."""
        return Digest.of(self.raw)

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The manifests and inner indexes that may be images: no attestations, no loose blobs."""
        return tuple(
            descriptor
            for descriptor in self.manifests
            if not descriptor.is_attestation
            and (
                media_types.is_manifest(descriptor.media_type)
                or media_types.is_index(descriptor.media_type)
            )
        )

    @staticmethod
    def is_attestation(descriptor: Descriptor) -> bool:
        """Tell whether an entry is a statement about an image and no image."""
        return descriptor.is_attestation

    def for_platform(self, platform: Platform) -> tuple[Descriptor, ...]:
        """Return the images that run on a platform, best match first.

        An image whose entry names no platform is not among them.
        """
        runnable = platform.fallbacks()
        ranked: list[tuple[int, Descriptor]] = []
        for descriptor in self.images:
            stated = descriptor.platform
            if stated is not None:
                ranks = (rank for rank, this in enumerate(runnable) if this.matches(stated))
                rank = next(ranks, None)
                if rank is not None:
                    ranked.append((rank, descriptor))
        ranked.sort(key=lambda pair: pair[0])
        return tuple(descriptor for _, descriptor in ranked)


def parse_manifest(data: bytes, document: str = "manifest") -> Manifest | Index:
    """Read a manifest or an index, whichever the bytes are; OCI's and Docker schema 2's.

    A document that could be read as both is refused, as registries and engines read it
    differently (CVE-2021-41190).

    Raises:
        FormatError: the bytes are neither; Docker's schema 1 is named as such.
    """
    fields = Fields(load_json(data, document), document)
    media_type = _media_type(fields)
    if fields.integer("schemaVersion") != 2:
        fields.fail("schemaVersion", "must be 2")
    annotations = fields.text_map("annotations")
    artifact_type = fields.optional_text("artifactType") or None
    about = fields.optional_inner("subject")
    subject = None if about is None else Descriptor.from_fields(about)
    if media_types.is_index(media_type):
        manifests = tuple(map(Descriptor.from_fields, fields.objects("manifests", needed=True)))
        return Index(manifests, media_type, annotations, artifact_type, subject, data)
    config = Descriptor.from_fields(fields.inner("config"))
    layers = tuple(map(Descriptor.from_fields, fields.objects("layers", needed=True)))
    return Manifest(config, layers, media_type, annotations, artifact_type, subject, data)


def _media_type(fields: Fields) -> str:
    """Return what the document says it is, or, as OCI allows, what its fields make it."""
    stated = fields.optional_text("mediaType") or ""
    if media_types.is_schema_1(stated) or "fsLayers" in fields or fields.get("schemaVersion") == 1:
        fields.fail_whole(
            "is a Docker schema 1 manifest, which layerview does not read; "
            "pull and save the image again with Docker 1.10 or later"
        )
    if stated and not media_types.is_index(stated) and not media_types.is_manifest(stated):
        fields.fail("mediaType", f'"{stated[:100]}" is no image manifest or index')
    listed = "manifests" in fields
    single = "layers" in fields or "config" in fields
    if listed and single:
        fields.fail_whole("mixes a manifest's fields with an index's")
    if not stated and not listed and not single:
        fields.fail_whole("is neither an image manifest nor an index")
    return stated or (media_types.OCI_INDEX if listed else media_types.OCI_MANIFEST)
