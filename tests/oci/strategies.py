"""What hypothesis draws for the formats: digests, names, history, JSON of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from layerview.oci.config import History
from layerview.oci.digest import Digest
from layerview.oci.platform import Platform

HEX = "0123456789abcdef"

digests = st.one_of(
    st.text(HEX, min_size=64, max_size=64).map(lambda digits: Digest("sha256", digits)),
    st.text(HEX, min_size=128, max_size=128).map(lambda digits: Digest("sha512", digits)),
    st.text(HEX, min_size=32, max_size=80).map(lambda digits: Digest("blake3+x", digits)),
)

sha256 = st.text(HEX, min_size=64, max_size=64).map(lambda digits: Digest("sha256", digits))

histories = st.lists(
    st.builds(
        History,
        created=st.none() | st.just("2026-01-02T03:04:05.120Z"),
        created_by=st.none() | st.text(max_size=20),
        empty_layer=st.booleans(),
    ),
    max_size=12,
)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)

_words = st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)

platforms = st.builds(
    Platform,
    os=st.sampled_from(["linux", "windows", "darwin", "freebsd"]),
    architecture=st.sampled_from(["amd64", "386", "arm", "arm64", "riscv64", "s390x"]),
    variant=st.sampled_from([None, "v1", "v2", "v3", "v5", "v6", "v7", "v8", "v8.2", "v9", "v9.1"]),
    os_version=st.none() | st.just("10.0.17763.1234"),
)

familiar_names = st.builds(
    lambda host, parts, suffix: host + "/".join(parts) + suffix,
    st.sampled_from(
        ["", "docker.io/", "index.docker.io/", "localhost/", "host:5000/", "[::1]:80/", "Host/"]
    ),
    st.lists(st.builds(str.__add__, _words, st.just("") | _words), min_size=1, max_size=3),
    st.sampled_from(["", ":Tag_1.2-x", "@sha256:" + "a" * 64, ":1@sha512:" + "b" * 128]),
)


@st.composite
def documents_with_one_fault(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document in which one value, at any depth, was replaced by something else."""
    paths = list(_paths(document))
    path = draw(st.sampled_from(paths))
    return _replaced(document, path, draw(json_values))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _paths(item, (*path, number))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy
