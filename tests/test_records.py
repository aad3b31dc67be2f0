"""Records, held against typing.NamedTuple, which they stand for."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.records import Record


class Ours(Record):
    """A record."""

    first: int
    second: str = "two"
    third: tuple[int, ...] = ()
    """With a line of its own."""

    @property
    def doubled(self) -> int:
        """Twice the first."""
        return 2 * self.first


class Theirs(NamedTuple):
    """The same as a named tuple."""

    first: int
    second: str = "two"
    third: tuple[int, ...] = ()


class _Parts(Record):
    name: str


class Below(_Parts):
    """Checks what it is made of."""

    __slots__ = ()

    def __new__(cls, name: str) -> Below:
        return super().__new__(cls, name.upper())


_NAMES = st.sampled_from(["first", "second", "third", "fourth"])
_CALLS = st.tuples(
    st.lists(st.integers(), max_size=4), st.dictionaries(_NAMES, st.integers(), max_size=4)
)


def _made(kind: Any, values: list[int], named: dict[str, int]) -> Any:
    try:
        return kind(*values, **named)
    except TypeError:
        return TypeError


@given(_CALLS)
def test_a_call_makes_what_it_makes_of_a_named_tuple_or_is_refused_as_there(
    call: tuple[list[int], dict[str, int]],
) -> None:
    ours, theirs = _made(Ours, *call), _made(Theirs, *call)
    assert ours == theirs
    if theirs is not TypeError:
        assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
        assert hash(ours) == hash(theirs)
        assert ours._asdict() == theirs._asdict()
        assert (ours.first, ours.second, ours.third) == tuple(theirs)


def test_it_can_be_unpacked_matched_compared_copied_and_sent() -> None:
    one = Ours(1, third=(2,))
    first, *_ = one
    match one:
        case Ours(1, second=word):
            assert (first, word) == (1, "two")
        case _:
            pytest.fail("not matched")
    assert one < Ours(2)
    assert one._replace(first=5) == Ours(5, "two", (2,))
    assert one.doubled == 2
    assert pickle.loads(pickle.dumps(one)) == one
    assert type(pickle.loads(pickle.dumps(one))) is Ours
    assert Ours._fields == Theirs._fields


def test_it_takes_no_other_value_later_and_no_other_name() -> None:
    one: Any = Ours(1)
    with pytest.raises(AttributeError):
        one.first = 2
    with pytest.raises(AttributeError):
        one.other = 2
    with pytest.raises(ValueError, match="other"):
        one._replace(other=2)


def test_a_class_below_one_has_its_fields_and_may_check_them() -> None:
    assert Below("a").name == "A"
    assert Below("a")._replace(name="b") == Below("B")
    assert isinstance(pickle.loads(pickle.dumps(Below("a"))), Below)
