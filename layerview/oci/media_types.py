"""The media types of images (OCI image-spec, media-types.md; Docker image manifest v2.2)."""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"

DOCKER_ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
_IN_TOTO = "application/vnd.in-toto"
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"

_LAYERS = (OCI_LAYER, OCI_FOREIGN_LAYER, DOCKER_LAYER, DOCKER_FOREIGN_LAYER)
_FOREIGN_LAYERS = (OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER)
_COMPRESSIONS = {
    "": "none",
    "+gzip": "gzip",
    ".gzip": "gzip",
    "+zstd": "zstd",
    ".zstd": "zstd",
}


def is_index(media_type: str) -> bool:
    """Tell whether this is an OCI index or a Docker manifest list."""
    return media_type in (OCI_INDEX, DOCKER_INDEX)


def is_manifest(media_type: str) -> bool:
    """Tell whether this is the manifest of one image (OCI, or Docker schema 2)."""
    return media_type in (OCI_MANIFEST, DOCKER_MANIFEST)


def is_schema_1(media_type: str) -> bool:
    """Tell whether this is one of Docker's manifests from before 2016, signed or not."""
    return media_type.startswith(_SCHEMA_1)


def is_image_config(media_type: str) -> bool:
    """Tell whether this is an image's config."""
    return media_type in (OCI_CONFIG, DOCKER_CONFIG)


def is_layer(media_type: str) -> bool:
    """Tell whether this is a file system layer, in whatever compression."""
    return _layer_suffix(media_type) is not None


def is_foreign(media_type: str) -> bool:
    """Tell whether this is a layer that registries and archives leave out (non-distributable)."""
    return is_layer(media_type) and media_type.startswith(_FOREIGN_LAYERS)


def is_attestation(media_type: str) -> bool:
    """Tell whether this is a statement about an image (in-toto, BuildKit's attestations)."""
    return media_type == DOCKER_ATTESTATION or media_type.startswith(_IN_TOTO)


def layer_compression(media_type: str) -> str | None:
    """Return "none", "gzip" or "zstd" as a layer's media type says it; None when it does not.

    A hint only: archives are known to state it wrongly, the bytes decide.
    """
    suffix = _layer_suffix(media_type)
    return None if suffix is None else _COMPRESSIONS.get(suffix)


def _layer_suffix(media_type: str) -> str | None:
    for base in _LAYERS:
        suffix = media_type.removeprefix(base)
        if suffix != media_type and (not suffix or suffix[0] in "+."):
            return suffix
    return None
