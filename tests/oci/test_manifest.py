from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from layerview.errors import FormatError
from layerview.oci import media_types
from layerview.oci.digest import Digest
from layerview.oci.manifest import Index, Manifest, parse_manifest
from layerview.oci.platform import Platform
from tests.oci.attempts import attempt
from tests.oci.strategies import documents_with_one_fault, json_values


def blob(media_type: str, content: str = "", **more: Any) -> dict[str, Any]:
    digest = str(Digest.of(content.encode()))
    return {"mediaType": media_type, "digest": digest, "size": len(content), **more}


OCI_IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": media_types.OCI_MANIFEST,
    "config": blob(media_types.OCI_CONFIG, "config"),
    "layers": [blob(media_types.OCI_LAYER, "base"), blob(media_types.OCI_LAYER + "+gzip", "top")],
    "annotations": {"key": "value"},
}
DOCKER_IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": media_types.DOCKER_MANIFEST,
    "config": blob(media_types.DOCKER_CONFIG, "config"),
    "layers": [
        blob(media_types.DOCKER_LAYER + ".gzip", "base"),
        blob(media_types.DOCKER_FOREIGN_LAYER + ".gzip", "win", urls=["https://example.com/l"]),
    ],
}
AMD64 = blob(media_types.OCI_MANIFEST, "amd64", platform={"os": "linux", "architecture": "amd64"})
ARM64 = blob(
    media_types.OCI_MANIFEST,
    "arm64",
    platform={"os": "linux", "architecture": "arm64", "variant": "v8"},
)
ATTESTATION = blob(
    media_types.OCI_MANIFEST,
    "attestation",
    platform={"os": "unknown", "architecture": "unknown"},
    annotations={
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": AMD64["digest"],
    },
)
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": media_types.OCI_INDEX,
    "manifests": [AMD64, ATTESTATION, ARM64],
}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def without(document: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in fields}


@pytest.mark.parametrize("document", [OCI_IMAGE, DOCKER_IMAGE])
def test_an_image_manifest_keeps_the_order_of_its_layers(document: dict[str, Any]) -> None:
    manifest = Manifest.from_json(encoded(document))
    assert manifest.media_type == document["mediaType"]
    assert [str(layer.digest) for layer in manifest.layers] == [
        layer["digest"] for layer in document["layers"]
    ]
    assert str(manifest.config.digest) == document["config"]["digest"]
    assert not manifest.is_attestation


def test_a_foreign_layer_keeps_its_size_and_urls() -> None:
    layer = Manifest.from_json(encoded(DOCKER_IMAGE)).layers[1]
    assert layer.is_foreign
    assert (layer.size, layer.urls) == (3, ("https://example.com/l",))


def test_a_manifest_is_named_by_the_digest_of_its_bytes() -> None:
    data = json.dumps(OCI_IMAGE, indent=3).encode()
    assert Manifest.from_json(data).digest == Digest.of(data)
    assert Manifest.from_json(data).raw == data


@pytest.mark.parametrize("media_type", [media_types.OCI_INDEX, media_types.DOCKER_INDEX])
def test_an_index_lists_its_manifests(media_type: str) -> None:
    index = Index.from_json(encoded({**INDEX, "mediaType": media_type}))
    assert index.media_type == media_type
    assert [str(one.digest) for one in index.manifests] == [
        AMD64["digest"],
        ATTESTATION["digest"],
        ARM64["digest"],
    ]


def test_what_an_oci_document_does_not_say_its_fields_do() -> None:
    image = parse_manifest(encoded(without(OCI_IMAGE, "mediaType")))
    index = parse_manifest(encoded(without(INDEX, "mediaType")))
    assert isinstance(image, Manifest)
    assert image.media_type == media_types.OCI_MANIFEST
    assert isinstance(index, Index)
    assert index.media_type == media_types.OCI_INDEX


@pytest.mark.parametrize("nothing", [None, []])
def test_no_layers_and_no_manifests_are_legal(nothing: object) -> None:
    assert Manifest.from_json(encoded({**OCI_IMAGE, "layers": nothing})).layers == ()
    assert Index.from_json(encoded({**INDEX, "manifests": nothing})).manifests == ()


def test_attestations_are_listed_but_are_no_images() -> None:
    index = Index.from_json(encoded(INDEX))
    assert [index.is_attestation(one) for one in index.manifests] == [False, True, False]
    assert [one.size for one in index.images] == [AMD64["size"], ARM64["size"]]


def test_the_loose_blobs_of_a_build_cache_are_no_images() -> None:
    cache = {**INDEX, "manifests": [blob(media_types.OCI_LAYER), AMD64]}
    assert len(Index.from_json(encoded(cache)).images) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [blob("application/vnd.in-toto+json")]},
        {"artifactType": "application/vnd.docker.attestation.manifest.v1+json"},
        {"config": blob("application/vnd.in-toto+json")},
    ],
)
def test_an_attestation_manifest_is_known_without_its_index(change: dict[str, Any]) -> None:
    assert Manifest.from_json(encoded({**OCI_IMAGE, **change})).is_attestation


def test_the_image_of_a_platform_is_found_whatever_its_spelling() -> None:
    index = Index.from_json(encoded(INDEX))
    (found,) = index.for_platform(Platform.parse("linux/aarch64"))
    assert str(found.digest) == ARM64["digest"]
    assert index.for_platform(Platform.parse("linux/s390x")) == ()


def test_the_best_image_of_a_platform_comes_first() -> None:
    def arm(variant: str) -> dict[str, Any]:
        platform = {"os": "linux", "architecture": "arm", "variant": variant}
        return blob(media_types.OCI_MANIFEST, variant, platform=platform)

    unnamed = blob(media_types.OCI_MANIFEST)
    index = Index.from_json(
        encoded({**INDEX, "manifests": [arm("v5"), unnamed, arm("v8"), arm("v7")]})
    )
    found = index.for_platform(Platform.parse("linux/arm/v7"))
    assert [one.platform and one.platform.variant for one in found] == ["v7", "v5"]


def test_a_subject_is_read() -> None:
    manifest = Manifest.from_json(encoded({**OCI_IMAGE, "subject": AMD64}))
    assert manifest.subject is not None
    assert str(manifest.subject.digest) == AMD64["digest"]


SCHEMA_1 = "is a Docker schema 1 manifest"
FAULTS: list[tuple[Any, str]] = [
    ({"schemaVersion": 1, "fsLayers": [], "history": [], "signatures": []}, SCHEMA_1),
    ({"schemaVersion": 1, "name": "a", "tag": "b"}, SCHEMA_1),
    ({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, SCHEMA_1),
    ([], "must be an object, not an array"),
    ("text", "must be an object, not a string"),
    (None, "must be an object, not null"),
    ({}, "is neither an image manifest nor an index"),
    (without(OCI_IMAGE, "schemaVersion"), "schemaVersion is missing"),
    ({**OCI_IMAGE, "schemaVersion": "2"}, "schemaVersion must be a whole number, not a string"),
    ({**OCI_IMAGE, "schemaVersion": 3}, "schemaVersion must be 2"),
    ({**OCI_IMAGE, "mediaType": "text/html"}, 'mediaType "text/html" is no image manifest'),
    ({**OCI_IMAGE, "mediaType": 1}, "mediaType must be a string, not a number"),
    (without(OCI_IMAGE, "config"), "config is missing"),
    ({**OCI_IMAGE, "config": None}, "config must be an object, not null"),
    ({**OCI_IMAGE, "config": {}}, "config.mediaType is missing"),
    (without(OCI_IMAGE, "layers"), "layers is missing"),
    ({**OCI_IMAGE, "layers": {}}, "layers must be an array, not an object"),
    ({**OCI_IMAGE, "layers": [1]}, "layers[0] must be an object, not a number"),
    (
        {**OCI_IMAGE, "layers": [blob("a"), {**blob("a"), "digest": "x"}]},
        'layers[1].digest is no digest: "x"',
    ),
    ({**OCI_IMAGE, "subject": []}, "subject must be an object, not an array"),
    (without(INDEX, "manifests"), "manifests is missing"),
    ({**INDEX, "manifests": [None]}, "manifests[0] must be an object, not null"),
    ({**INDEX, "manifests": [{**AMD64, "platform": {}}]}, "manifests[0].platform.os is missing"),
    ({**INDEX, "layers": []}, "mixes a manifest's fields with an index's"),
    ({**OCI_IMAGE, "manifests": []}, "mixes a manifest's fields with an index's"),
]


@pytest.mark.parametrize(("document", "message"), FAULTS)
def test_a_faulty_manifest_names_document_and_field(document: Any, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_manifest(encoded(document), "index.json")
    assert str(caught.value).startswith(f"index.json: {message}")
    assert str(caught.value).isprintable()


def test_a_manifest_is_not_taken_for_an_index_nor_the_other_way_round() -> None:
    with pytest.raises(FormatError, match=r"^manifest: is an index, not a manifest$"):
        Manifest.from_json(encoded(INDEX))
    with pytest.raises(FormatError, match=r"^index: is a manifest, not an index$"):
        Index.from_json(encoded(OCI_IMAGE))


@given(
    json_values
    | documents_with_one_fault(OCI_IMAGE)
    | documents_with_one_fault(DOCKER_IMAGE)
    | documents_with_one_fault({**INDEX, "subject": AMD64})
)
@settings(deadline=None, max_examples=300)
def test_any_json_gives_a_manifest_or_a_format_error(document: Any) -> None:
    data = encoded(document)
    parsed = attempt(parse_manifest, data)
    if isinstance(parsed, FormatError):
        assert str(parsed).startswith("manifest: ")
    else:
        assert parsed.digest == Digest.of(data)
    if isinstance(parsed, Index):
        assert set(parsed.images) <= set(parsed.manifests)
