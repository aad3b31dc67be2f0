"""Indexes as bytes: they come back whole, and damaged bytes are refused or harmless."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import DamageError
from layerview.layer.index import IndexColumns
from layerview.layer.packing import pack, unpack
from tests.layer.layers import index_of, layers
from tests.support import tars
from tests.view import naive

anything = settings(max_examples=200, deadline=None)
any_layer = st.one_of(layers, naive.stacks(most=1).map(lambda stack: tars.layer(*stack[0])))


@anything
@given(any_layer)
def test_what_is_packed_comes_back(data: bytes) -> None:
    index = index_of(data)
    packed = pack(index)
    found = unpack(packed)
    assert found.columns.size == index.size
    index.columns.size = index.size
    for column in fields(IndexColumns):
        assert getattr(found.columns, column.name) == getattr(index.columns, column.name)
    assert pack(found) == packed


def test_every_cut_is_refused() -> None:
    packed = pack(index_of(tars.layer(tars.file("a/b", b"x", xattrs={"user.x": b"1"}))))
    for length in range(len(packed)):
        with pytest.raises(DamageError):
            unpack(packed[:length])


@settings(max_examples=500, deadline=None)
@given(layers, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_or_give_an_index(
    data: bytes, flips: list[tuple[int, int]]
) -> None:
    changed = bytearray(pack(index_of(data)))
    for at, value in flips:
        changed[at % len(changed)] = value
    try:
        found = unpack(bytes(changed))
    except DamageError:
        return
    # The cache checks a sum over these bytes; here it is enough that nothing is executed.
    assert len(found.columns.kinds) == len(found.columns.modes)


def test_another_version_is_refused() -> None:
    packed = pack(index_of(tars.layer()))
    for other in (b"XXXX" + packed[4:], packed[:4] + b"\xff\xff" + packed[6:]):
        with pytest.raises(DamageError, match="version"):
            unpack(other)
