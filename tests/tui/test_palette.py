"""Each layer has one hue for the session; both sets of hues can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.tui.palette import (
    DARK_LAYERS,
    GREYS_DARK,
    GREYS_LIGHT,
    HUES,
    LIGHT_LAYERS,
    HueBook,
    blend,
    contrast,
    digit_color,
)


def test_an_image_alone_takes_its_hues_by_position():
    assert HueBook().assign([("a", 5), ("b", 1), ("c", 9)]) == [0, 1, 2]


def test_a_layer_met_again_keeps_its_hue_and_new_ones_take_what_is_free():
    book = HueBook()
    book.assign([("base", 1), ("apt", 1), ("app", 1)])
    assert book.assign([("base", 1), ("worker", 1), ("x", 1)]) == [0, 1, 2]
    assert book.assign([("other", 1), ("app", 1)]) == [0, 2]
    assert book.assign([("base", 1), ("apt", 1), ("app", 1)]) == [0, 1, 2]


def test_of_more_than_twelve_layers_the_largest_twelve_have_hues_base_first():
    stack = [(f"layer{number}", 100 - number) for number in range(14)]
    stack[3] = ("layer3", 1)
    hues = HueBook().assign(stack)
    assert hues[3] is None
    assert hues[13] is None
    assert [hue for hue in hues if hue is not None] == list(range(12))


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=30), max_size=8)
)
def test_no_two_layers_of_a_stack_share_a_hue(stacks):
    book = HueBook()
    for layers in stacks:
        stack = list(dict(layers).items())
        hues = book.assign(stack)
        given_hues = [hue for hue in hues if hue is not None]
        assert len(given_hues) == len(set(given_hues)) == min(HUES, len(stack))


@pytest.mark.parametrize(
    ("hues", "greys", "least"), [(DARK_LAYERS, GREYS_DARK, 5.5), (LIGHT_LAYERS, GREYS_LIGHT, 3.0)]
)
def test_hues_stand_out_from_the_background_and_carry_digits(hues, greys, least):
    for hue in hues:
        assert round(contrast(hue, greys["background"]), 1) >= least
        assert round(contrast(digit_color(hue), hue), 1) >= 4.5


@pytest.mark.parametrize(
    ("hues", "greys", "share"), [(DARK_LAYERS, GREYS_DARK, 0.22), (LIGHT_LAYERS, GREYS_LIGHT, 0.2)]
)
def test_text_on_a_slab_can_be_read(hues, greys, share):
    for hue in hues:
        slab = blend(greys["surface"], hue, share)
        assert round(contrast(greys["foreground"], slab), 1) >= 4.9
