"""How long a burst is listened to before what was heard is looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from layerview.watch.pace import Pace


def test_the_first_word_is_followed_up_soon_and_a_long_burst_seldom() -> None:
    pace = Pace()
    alone = pace.pause(1, at_once=False)
    assert alone < 0.01
    pauses = [pace.pause(1, at_once=True) for _ in range(10)]
    assert pauses == sorted(pauses)
    assert 2 * alone < pauses[-1] < 0.05
    assert pace.pause(1, at_once=False) == alone


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=50))
def test_the_more_there_is_to_look_at_the_less_is_waited_for(turns: list[tuple[int, bool]]) -> None:
    few, more = Pace(), Pace()
    for heard, at_once in turns:
        short, long = more.pause(heard + 1, at_once=at_once), few.pause(heard, at_once=at_once)
        assert 0 <= short <= long
    assert more.pause(1000, at_once=True) == 0
