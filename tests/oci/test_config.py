from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from layerview.errors import FormatError
from layerview.oci.config import History, ImageConfig
from layerview.oci.digest import Digest
from layerview.oci.platform import Platform
from tests.oci.attempts import attempt
from tests.oci.strategies import documents_with_one_fault, json_values

DIFF_ID = "sha256:" + "ab" * 32
MINIMAL: dict[str, Any] = {"rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}}
FULL: dict[str, Any] = {
    **MINIMAL,
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "os.version": "1.2",
    "created": "2026-01-02T03:04:05.1200Z",
    "author": "someone",
    "config": {
        "User": "1000:1000",
        "WorkingDir": "/work",
        "Env": ["PATH=/bin"],
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "true"],
        "Labels": {"a": "b", "empty": None},
        "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]},
    },
    "history": [
        {"created": "2026-01-01T00:00:00Z", "created_by": "ADD rootfs", "comment": "base"},
        {"created_by": "CMD true", "author": "me", "empty_layer": True},
    ],
    "container": "an unknown field",
}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_every_field_of_a_config_is_read() -> None:
    config = ImageConfig.from_json(encoded(FULL))
    assert config.platform == Platform("linux", "arm64", "v8", "1.2")
    assert config.author == "someone"
    assert config.config == FULL["config"]
    assert config.diff_ids == (Digest.parse(DIFF_ID),)
    assert config.history == (
        History("2026-01-01T00:00:00Z", "ADD rootfs", "base"),
        History(None, "CMD true", None, "me", True),
    )


def test_a_time_keeps_the_digits_that_were_recorded() -> None:
    assert ImageConfig.from_json(encoded(FULL)).created == "2026-01-02T03:04:05.1200Z"


def test_the_image_id_is_the_digest_of_the_bytes_and_not_of_their_meaning() -> None:
    compact, spread = encoded(FULL), json.dumps(FULL, indent=2).encode() + b"\n"
    one, other = ImageConfig.from_json(compact), ImageConfig.from_json(spread)
    assert one.image_id == Digest.of(compact)
    assert other.image_id == Digest.of(spread)
    assert one.image_id != other.image_id
    assert one.diff_ids == other.diff_ids


@pytest.mark.parametrize("absent", [{}, {"history": None, "config": None, "created": None}])
def test_absent_and_null_fields_are_empty(absent: dict[str, None]) -> None:
    config = ImageConfig.from_json(encoded({**MINIMAL, **absent}))
    assert (config.created, config.author, config.variant) == (None, None, None)
    assert (config.config, config.history) == ({}, ())
    assert str(config.platform) == "unknown"


@pytest.mark.parametrize("rootfs", [{"type": "layers", "diff_ids": None}, {"diff_ids": []}, {}])
def test_an_image_may_have_no_layers(rootfs: dict[str, object]) -> None:
    assert ImageConfig.from_json(encoded({"rootfs": rootfs})).diff_ids == ()


def test_a_command_may_be_one_string_as_docker_allows() -> None:
    config = ImageConfig.from_json(encoded({**MINIMAL, "config": {"Cmd": "true"}}))
    assert config.config["Cmd"] == "true"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object, not an array"),
        ({}, "rootfs is missing"),
        ({"rootfs": None}, "rootfs must be an object, not null"),
        ({"rootfs": {"type": "layers+base"}}, 'rootfs.type must be "layers"'),
        ({"rootfs": {"diff_ids": DIFF_ID}}, "rootfs.diff_ids must be an array, not a string"),
        ({"rootfs": {"diff_ids": [None]}}, "rootfs.diff_ids[0] must be a string, not null"),
        ({"rootfs": {"diff_ids": [DIFF_ID, ""]}}, 'rootfs.diff_ids[1] is no digest: ""'),
        ({**MINIMAL, "os": 1}, "os must be a string, not a number"),
        ({**MINIMAL, "architecture": []}, "architecture must be a string, not an array"),
        ({**MINIMAL, "created": 1700000000}, "created must be a string, not a number"),
        ({**MINIMAL, "history": {}}, "history must be an array, not an object"),
        ({**MINIMAL, "history": ["RUN"]}, "history[0] must be an object, not a string"),
        (
            {**MINIMAL, "history": [{}, {"empty_layer": "yes"}]},
            "history[1].empty_layer must be a boolean, not a string",
        ),
        (
            {**MINIMAL, "history": [{"created_by": ["RUN"]}]},
            "history[0].created_by must be a string, not an array",
        ),
        ({**MINIMAL, "config": []}, "config must be an object, not an array"),
        ({**MINIMAL, "config": {"Env": [1]}}, "config.Env[0] must be a string, not a number"),
        ({**MINIMAL, "config": {"Cmd": 1}}, "config.Cmd must be an array, not a number"),
        (
            {**MINIMAL, "config": {"Labels": {"a": {}}}},
            "config.Labels.a must be a string, not an object",
        ),
    ],
)
def test_a_faulty_config_names_document_and_field(document: Any, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        ImageConfig.from_json(encoded(document))
    assert str(caught.value) == f"image config: {message}"


@given(json_values | documents_with_one_fault(FULL))
@settings(deadline=None, max_examples=300)
def test_any_json_gives_a_config_or_a_format_error(document: Any) -> None:
    data = encoded(document)
    config = attempt(ImageConfig.from_json, data)
    if isinstance(config, FormatError):
        assert str(config).startswith("image config: ")
    else:
        assert config.image_id == Digest.of(data)
        json.dumps(config.config)


@given(json_values)
@settings(deadline=None)
def test_any_value_gives_a_history_entry_or_a_format_error(value: Any) -> None:
    if isinstance(attempt(History.from_json, value), History):
        assert isinstance(value, dict)
