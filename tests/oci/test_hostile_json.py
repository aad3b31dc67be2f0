from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import FormatError
from layerview.oci.config import ImageConfig
from layerview.oci.fields import MAX_DOCUMENT_BYTES, load_json
from layerview.oci.manifest import parse_manifest
from tests.oci.attempts import attempt

ROOTFS = b'"rootfs": {"type": "layers", "diff_ids": []}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": "\n"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[-1e999]",
        b"[" * 100_000,
        b"[" * 5_000 + b"]" * 5_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"[" * 101 + b"]" * 101,
        b"9" * 100_000,
        b'{"a": "\\u12"}',
        b" " * (MAX_DOCUMENT_BYTES + 1),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_usable_json_is_one_printable_line(data: bytes) -> None:
    for read in (parse_manifest, ImageConfig.from_json):
        with pytest.raises(FormatError) as caught:
            read(data, "blobs/sha256/abc")
        message = str(caught.value)
        assert message.startswith("blobs/sha256/abc: ")
        assert message.isprintable()
        assert len(message) < 350


def test_the_place_of_a_syntax_error_is_told() -> None:
    with pytest.raises(FormatError, match=r"^index.json: is not JSON: .* \(line 2 column 6\)$"):
        load_json(b'{\n"a": x}', "index.json")


def test_a_control_character_in_the_name_of_a_document_is_escaped() -> None:
    with pytest.raises(FormatError) as caught:
        load_json(b"", "\x1b[2J\n")
    assert str(caught.value).startswith("\\x1b[2J\\n: ")


def test_of_a_repeated_key_the_last_counts() -> None:
    config = ImageConfig.from_json(b'{"os": "a", "os": "linux", ' + ROOTFS + b"}")
    assert config.os == "linux"


def test_bytes_that_are_not_utf_8_do_not_hide_the_image() -> None:
    data = b'{"author": "caf\xe9", ' + ROOTFS + b"}"
    config = ImageConfig.from_json(data)
    assert config.author == "caf\ufffd"
    assert config.raw == data


@pytest.mark.parametrize(
    ("escaped", "text"),
    [(r"\ud83d\ude00", "\U0001f600"), (r"\ud83d", "\ufffd"), (r"a\uDE00b", "a\ufffdb")],
)
def test_a_lone_surrogate_is_replaced_so_that_all_text_can_be_encoded(
    escaped: str, text: str
) -> None:
    value = load_json(f'{{"{escaped}": ["{escaped}"]}}'.encode(), "document")
    assert value == {text: [text]}


def test_a_whole_number_may_be_longer_than_a_machine_word() -> None:
    assert load_json(b"[9" + b"0" * 1000 + b"]", "document") == [9 * 10**1000]


def test_a_document_as_deep_as_is_allowed_is_read() -> None:
    data = b"[" * 100 + b"]" * 100
    assert json.dumps(load_json(data, "document")).encode() == data


@given(st.binary(max_size=200) | st.text('{}[]",:0eE-.\\u1 nulltrue', max_size=60).map(str.encode))
@settings(deadline=None)
def test_any_bytes_give_a_document_or_a_format_error(data: bytes) -> None:
    attempt(parse_manifest, data)
    attempt(ImageConfig.from_json, data)
