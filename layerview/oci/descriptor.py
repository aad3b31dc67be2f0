"""Descriptors: what a blob is, its digest and its size (OCI image-spec, descriptor.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from layerview.oci import media_types
from layerview.oci.digest import Digest
from layerview.oci.fields import Fields
from layerview.oci.platform import Platform

ANNOTATION_REFERENCE = "org.opencontainers.image.ref.name"
"""The tag, or the whole reference, of a manifest in an OCI layout (annotations.md)."""

ANNOTATION_IMAGE_NAME = "io.containerd.image.name"
"""The whole reference of a manifest in a layout that containerd or Docker wrote."""

_ANNOTATION_TYPE = "vnd.docker.reference.type"
_ATTESTATION_TYPE = "attestation-manifest"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One blob as a manifest or an index lists it; `size` is in bytes, as stored."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    artifact_type: str | None = None

    @classmethod
    def from_json(cls, value: object, document: str = "descriptor") -> Descriptor:
        """Read a descriptor from a parsed JSON object.

        Raises:
            FormatError: a field is missing, has a wrong type, or the size is negative.
        """
        return cls.from_fields(Fields(value, document))

    @classmethod
    def from_fields(cls, fields: Fields) -> Descriptor:
        """Read a descriptor inside a larger document."""
        platform = fields.optional_inner("platform")
        descriptor = cls(
            media_type=fields.text("mediaType"),
            digest=fields.digest("digest"),
            size=fields.integer("size"),
            urls=fields.texts("urls"),
            annotations=fields.text_map("annotations"),
            platform=None if platform is None else Platform.from_fields(platform),
            artifact_type=fields.optional_text("artifactType") or None,
        )
        if descriptor.size < 0:
            fields.fail("size", "is negative")
        return descriptor

    @property
    def is_foreign(self) -> bool:
        """Whether the blob is to be fetched from elsewhere and so may be left out."""
        return bool(self.urls) or media_types.is_foreign(self.media_type)

    @property
    def is_attestation(self) -> bool:
        """Whether this is a statement about an image: BuildKit's mark, or in-toto's types."""
        return (
            self.annotations.get(_ANNOTATION_TYPE) == _ATTESTATION_TYPE
            or media_types.is_attestation(self.artifact_type or "")
            or media_types.is_attestation(self.media_type)
            or (self.platform is not None and self.platform.is_unknown)
        )
