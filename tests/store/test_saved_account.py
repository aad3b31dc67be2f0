"""A saved account: whole when it is read back, refused when it is none, and compared by paths."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.errors import FormatError, LayerviewError, LimitError, NotFoundError
from layerview.store import saved_account
from layerview.store.account import KINDS, Account, Part
from layerview.store.saved_account import account_fields, changes, from_json, read_saved

NOW = "2026-11-26T10:00:00Z"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.binary(min_size=1, max_size=12).map(
    lambda raw: os.fsdecode(raw.replace(b"\0", b"x").replace(b"/", b"y"))
)
"""Of files: bytes of any kind, as Python has them."""
PARTS = st.builds(
    Part,
    st.sampled_from(KINDS),
    TEXT,
    NAMES.map(lambda name: f"/r/{name}"),
    st.integers(0, (1 << 63) - 1),
    st.lists(TEXT, max_size=3).map(tuple),
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 1 << 40),
    st.booleans(),
)
ACCOUNTS = st.builds(
    Account,
    st.just("/r"),
    TEXT,
    st.lists(PARTS, max_size=6, unique_by=lambda part: part.path).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
    TEXT,
)


def part(kind: str, name: str, size: int, **more: str) -> Part:
    return Part(kind, name, f"/r/{name}", size, **more)  # type: ignore[arg-type]


def account(*parts: Part, root: str = "/r") -> Account:
    return Account(root, "overlay2", parts)


@given(ACCOUNTS)
def test_what_was_printed_is_read_back_whole(one: Account) -> None:
    data = json.dumps(account_fields(one, NOW)).encode()
    if one.total_bytes >= 1 << 63:
        with pytest.raises(FormatError):
            from_json(data, "saved")
        return
    found = from_json(data, "saved")
    assert (found.account, found.time) == (one, NOW)
    assert changes(found.account, one) == []


@given(ACCOUNTS, ACCOUNTS)
def test_what_changed_adds_up_to_the_difference(one: Account, other: Account) -> None:
    found = changes(one, other)
    assert sum(each.bytes for each in found) == other.total_bytes - one.total_bytes
    assert [each.bytes for each in found] == sorted((each.bytes for each in found), reverse=True)
    was = {each.path: each for each in one.parts}
    for each in found:
        was.pop(each.part.path, None)
        if each.word != "went":
            was[each.part.path] = each.part
    untouched = {each.path: (each.kind, each.bytes) for each in other.parts}
    assert {path: (each.kind, each.bytes) for path, each in was.items()} == untouched


def test_each_change_has_a_word_of_its_own() -> None:
    before = account(
        part("log", "l", 5),
        part("volume", "v", 9),
        part("image_layer", "i", 7),
        part("metadata", "m", 1),
        part("container_layer", "c", 4),
    )
    now = account(
        part("log", "l", 50),
        part("volume", "v", 8),
        part("orphan", "i", 7),
        part("metadata", "m", 1),
        part("build_cache", "b", 3),
    )
    found = [(one.word, one.part.name, one.bytes, one.was) for one in changes(before, now)]
    assert found == [
        ("grew", "l", 45, ""),
        ("came", "b", 3, ""),
        ("became", "i", 0, "image_layer"),
        ("shrank", "v", -1, ""),
        ("went", "c", -4, ""),
    ]


def test_two_roots_are_not_compared_but_by_a_link_to_one_they_are(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    assert changes(account(root=str(real)), account(root=str(link))) == []
    with pytest.raises(FormatError, match="is of /a, not of /b"):
        changes(account(root="/a"), account(root="/b"))


GOOD = account_fields(account(part("log", "l", 5), part("orphan", "o", 1)), NOW)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[]", "must be an object"),
        ("", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"root": "/r"}', "is no account"),
        (json.dumps(GOOD | {"total_bytes": 7}), "total_bytes is not the sum"),
        (json.dumps(GOOD | {"total_bytes": -1}), "total_bytes is no number of bytes"),
        (json.dumps(GOOD | {"total_bytes": "6"}), "must be a whole number"),
        (json.dumps(GOOD | {"root": "r"}), "root is no absolute path"),
        (json.dumps(GOOD | {"root": "/r\0"}), "root is no absolute path"),
        (json.dumps(GOOD | {"root_bytes": "!"}), "root_bytes is not base64"),
        (json.dumps(GOOD | {"time": "yesterday"}), "time is no time"),
        (json.dumps(GOOD | {"parts": {}}), "parts must be an array"),
        (json.dumps(GOOD | {"parts": [1]}), "must be an object"),
        (json.dumps(GOOD | {"parts": [{"kind": "x"}]}), "is not known"),
        (json.dumps(GOOD | {"parts": [{"kind": "log"}]}), "name is missing"),
        (json.dumps(GOOD | {"driver": 5}), "driver must be a string"),
        ('{"root": "/r", "parts": [], "total_bytes": 1e999}', "is not JSON"),
        ('{"root": "/r", "parts": [], "total_bytes": ' + "9" * 5000 + "}", "too many digits"),
    ],
)
def test_what_is_no_account_is_refused_in_one_line(document: str, said: str) -> None:
    with pytest.raises(LayerviewError, match=said) as caught:
        from_json(document.encode(), "saved")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(LayerviewError):
        from_json(data, "saved")


@given(st.recursive(st.none() | st.integers() | TEXT, lambda each: st.lists(each, max_size=3)))
def test_no_value_in_the_place_of_another_does_more_than_be_refused(value: object) -> None:
    for key in GOOD:
        document = json.dumps(GOOD | {key: value}).encode()
        with suppress(LayerviewError):
            assert from_json(document, "saved").account.total_bytes == 6


def test_a_file_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "saved"
    path.write_text(json.dumps(GOOD))
    assert read_saved(str(path)).account.total_bytes == 6
    monkeypatch.setattr(saved_account, "_LONGEST", 100)
    with pytest.raises(LimitError, match="no saved account"):
        read_saved(str(path))
    for wrong in (str(tmp_path / "none"), str(tmp_path), "a\0b"):
        with pytest.raises(NotFoundError):
            read_saved(wrong)
