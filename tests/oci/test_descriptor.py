from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import FormatError
from layerview.oci import media_types
from layerview.oci.descriptor import Descriptor
from layerview.oci.digest import Digest
from layerview.oci.platform import Platform
from tests.oci.attempts import attempt
from tests.oci.strategies import digests, documents_with_one_fault, json_values

DIGEST = "sha256:" + "ab" * 32
LAYER = {"mediaType": media_types.OCI_LAYER, "digest": DIGEST, "size": 1000}
FULL = {
    **LAYER,
    "urls": ["https://example.com/layer"],
    "annotations": {"org.opencontainers.image.ref.name": "latest"},
    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    "artifactType": "application/example",
    "data": "e30=",
}


def test_a_descriptor_without_optional_fields_has_them_empty() -> None:
    assert Descriptor.from_json(LAYER) == Descriptor(
        media_types.OCI_LAYER, Digest.parse(DIGEST), 1000, (), {}, None, None
    )


def test_every_field_of_a_descriptor_is_read() -> None:
    descriptor = Descriptor.from_json(FULL)
    assert descriptor.urls == ("https://example.com/layer",)
    assert descriptor.annotations == {"org.opencontainers.image.ref.name": "latest"}
    assert descriptor.platform == Platform("linux", "arm64", "v8")
    assert descriptor.artifact_type == "application/example"


def test_a_null_stands_for_an_absent_field() -> None:
    absent = dict.fromkeys(("urls", "annotations", "platform", "artifactType"))
    assert Descriptor.from_json({**LAYER, **absent}) == Descriptor.from_json(LAYER)


def test_descriptors_can_be_members_of_sets() -> None:
    assert len({Descriptor.from_json(FULL), Descriptor.from_json(FULL)}) == 1


@given(digests, st.integers(min_value=0), st.text(max_size=30))
@settings(deadline=None)
def test_what_is_written_is_read_back(digest: Digest, size: int, media_type: str) -> None:
    descriptor = Descriptor.from_json(
        {"mediaType": media_type, "digest": str(digest), "size": size}
    )
    assert (descriptor.media_type, descriptor.digest, descriptor.size) == (
        media_type,
        digest,
        size,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": -1}, "size is negative"),
        ({"size": True}, "size must be a whole number, not a boolean"),
        ({"size": 1.0}, "size must be a whole number, not a number"),
        ({"size": "1"}, "size must be a whole number, not a string"),
        ({"size": None}, "size must be a whole number, not null"),
        ({"digest": "abc"}, 'digest is no digest: "abc"'),
        ({"digest": None}, "digest must be a string, not null"),
        ({"digest": "sha256:../../x"}, 'digest is no digest: "sha256:../../x"'),
        ({"mediaType": {}}, "mediaType must be a string, not an object"),
        ({"urls": "x"}, "urls must be an array, not a string"),
        ({"urls": ["x", 1]}, "urls[1] must be a string, not a number"),
        ({"annotations": []}, "annotations must be an object, not an array"),
        ({"annotations": {"a\n": 1}}, "annotations.a\\n must be a string, not a number"),
        ({"platform": "linux"}, "platform must be an object, not a string"),
        ({"platform": {}}, "platform.os is missing"),
        ({"artifactType": 1}, "artifactType must be a string, not a number"),
    ],
)
def test_a_faulty_descriptor_names_its_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        Descriptor.from_json({**LAYER, **change})
    assert str(caught.value) == f"descriptor: {message}"


@pytest.mark.parametrize("field", list(LAYER))
def test_a_missing_field_is_named(field: str) -> None:
    rest = {name: value for name, value in LAYER.items() if name != field}
    with pytest.raises(FormatError, match=f"^index.json: {field} is missing$"):
        Descriptor.from_json(rest, "index.json")


@given(json_values | documents_with_one_fault(FULL))
@settings(deadline=None)
def test_any_value_gives_a_descriptor_or_a_format_error(value: Any) -> None:
    descriptor = attempt(Descriptor.from_json, value)
    assert isinstance(descriptor, FormatError) or descriptor.size == value["size"]


@pytest.mark.parametrize(
    ("change", "foreign"),
    [
        ({}, False),
        ({"urls": []}, False),
        ({"urls": ["https://example.com/layer"]}, True),
        ({"mediaType": media_types.DOCKER_FOREIGN_LAYER + ".gzip"}, True),
        ({"mediaType": media_types.OCI_FOREIGN_LAYER}, True),
    ],
)
def test_a_layer_that_lies_elsewhere_is_foreign(change: dict[str, object], foreign: bool) -> None:
    assert Descriptor.from_json({**LAYER, **change}).is_foreign is foreign


@pytest.mark.parametrize(
    ("change", "attestation"),
    [
        ({}, False),
        ({"platform": {"os": "linux", "architecture": "amd64"}}, False),
        ({"platform": {"os": "linux", "architecture": "unknown"}}, False),
        ({"platform": {"os": "unknown", "architecture": "unknown"}}, True),
        ({"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}, True),
        ({"annotations": {"vnd.docker.reference.type": "other"}}, False),
        ({"artifactType": "application/vnd.docker.attestation.manifest.v1+json"}, True),
        ({"artifactType": "application/vnd.in-toto+json"}, True),
        ({"mediaType": "application/vnd.in-toto+json"}, True),
    ],
)
def test_each_mark_of_an_attestation_is_enough(
    change: dict[str, object], attestation: bool
) -> None:
    manifest = {**LAYER, "mediaType": media_types.OCI_MANIFEST, **change}
    assert Descriptor.from_json(manifest).is_attestation is attestation
