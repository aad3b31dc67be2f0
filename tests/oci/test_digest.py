from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import FormatError
from layerview.oci.digest import Digest, chain_ids
from tests.oci.attempts import attempt
from tests.oci.strategies import digests, sha256

EMPTY_TAR = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


@given(digests)
@settings(deadline=None)
def test_a_digest_survives_being_printed_and_parsed(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


def test_the_digest_of_an_empty_tar_is_the_one_that_every_engine_knows() -> None:
    digest = Digest.of(bytes(1024))
    assert str(digest) == EMPTY_TAR
    assert digest.short == "5f70bf18a086"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        ":" + "a" * 64,
        "a" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "SHA256:" + "a" * 64,
        "sha384:" + "a" * 64,
        "sha512:" + "a" * 64,
        "other:" + "a" * 31,
        "other:" + "a" * 400,
        "sha256:" + "a" * 64 + "\n",
        "sha256:../../../../etc/passwd" + "a" * 64,
        "../sha256:" + "a" * 64,
        "sha256:" + "\u0661" * 64,
        "a..b:" + "a" * 64,
        "sha256:" + "a" * 32 + ":" + "a" * 32,
    ],
)
def test_what_is_no_digest_is_refused_in_one_printable_line(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        Digest.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150


def test_a_digest_cannot_be_built_around_the_check() -> None:
    with pytest.raises(FormatError):
        Digest("sha256", "../../etc/passwd")


@given(st.text(max_size=100))
@settings(deadline=None)
def test_parsing_any_text_gives_a_digest_or_a_format_error(text: str) -> None:
    digest = attempt(Digest.parse, text)
    assert isinstance(digest, FormatError) or str(digest) == text


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_registered_algorithm_hashes(algorithm: str) -> None:
    expected = hashlib.new(algorithm, b"content").hexdigest()
    hasher = Digest(algorithm, expected).hasher()
    hasher.update(b"content")
    assert hasher.hexdigest() == expected


def test_an_unknown_algorithm_is_a_digest_that_cannot_be_checked() -> None:
    digest = Digest.parse("blake3:" + "a" * 64)
    assert not digest.verifiable
    with pytest.raises(FormatError, match="blake3"):
        digest.hasher()


def test_the_chain_id_of_a_base_layer_is_its_diff_id() -> None:
    base = Digest.parse(EMPTY_TAR)
    assert chain_ids([base]) == [base]
    assert chain_ids([]) == []


@given(st.lists(sha256, min_size=1, max_size=6))
@settings(deadline=None)
def test_every_chain_id_hashes_the_one_below_a_space_and_the_diff_id(diffs: list[Digest]) -> None:
    chain = chain_ids(diffs)
    assert len(chain) == len(diffs)
    for below, diff_id, above in zip(chain, diffs[1:], chain[1:], strict=False):
        text = f"sha256:{below.hex} sha256:{diff_id.hex}"
        assert above.hex == hashlib.sha256(text.encode("ascii")).hexdigest()


@given(st.lists(sha256, max_size=6), sha256)
@settings(deadline=None)
def test_layers_added_on_top_leave_the_chain_ids_below_alone(
    diffs: list[Digest], top: Digest
) -> None:
    assert chain_ids([*diffs, top])[:-1] == chain_ids(diffs)
