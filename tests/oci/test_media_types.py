from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.oci import media_types

LAYERS = [
    ("application/vnd.oci.image.layer.v1.tar", False, "none"),
    ("application/vnd.oci.image.layer.v1.tar+gzip", False, "gzip"),
    ("application/vnd.oci.image.layer.v1.tar+zstd", False, "zstd"),
    ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", False, None),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", True, "none"),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True, "gzip"),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", True, "zstd"),
    ("application/vnd.docker.image.rootfs.diff.tar", False, "none"),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", False, "gzip"),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", False, "zstd"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", True, "none"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True, "gzip"),
]


@pytest.mark.parametrize(("media_type", "foreign", "compression"), LAYERS)
def test_a_layer_is_known_with_its_compression(
    media_type: str, foreign: bool, compression: str | None
) -> None:
    assert media_types.is_layer(media_type)
    assert media_types.is_foreign(media_type) is foreign
    assert media_types.layer_compression(media_type) == compression


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        media_types.OCI_INDEX,
        media_types.OCI_CONFIG,
        "application/vnd.oci.image.layer.v1.tarball",
        "application/vnd.in-toto+json",
        "text/plain",
    ],
)
def test_what_is_no_layer_has_no_compression(media_type: str) -> None:
    assert not media_types.is_layer(media_type)
    assert not media_types.is_foreign(media_type)
    assert media_types.layer_compression(media_type) is None


KINDS = [
    media_types.is_index,
    media_types.is_manifest,
    media_types.is_schema_1,
    media_types.is_image_config,
    media_types.is_layer,
    media_types.is_attestation,
]
CONSTANTS = [
    value for name, value in vars(media_types).items() if name.isupper() and name[0] != "_"
]


@given(st.sampled_from(CONSTANTS) | st.text(max_size=60))
@settings(deadline=None)
def test_a_media_type_is_of_one_kind_at_most(media_type: str) -> None:
    assert sum(is_kind(media_type) for is_kind in KINDS) <= 1


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ],
)
def test_schema_1_is_known_signed_and_unsigned(media_type: str) -> None:
    assert media_types.is_schema_1(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.in-toto+json",
        "application/vnd.in-toto.provenance+dsse",
        "application/vnd.docker.attestation.manifest.v1+json",
    ],
)
def test_statements_about_images_are_attestations(media_type: str) -> None:
    assert media_types.is_attestation(media_type)
