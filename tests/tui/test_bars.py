"""Bars end on half cells and change their layers on whole ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from layerview.tui.bars import cut_bar, share_of, solid_bar
from layerview.tui.cells import fit, fit_start, width_of, wrap
from layerview.tui.glyphs import ASCII, UNICODE, choose_glyphs


@given(
    st.integers(1, 30),
    st.floats(0, 1),
    st.dictionaries(st.integers(0, 60), st.integers(0, 10**12), max_size=8),
)
def test_a_bar_always_fills_its_width(width, share, by_layer):
    runs = cut_bar(width, share, by_layer, UNICODE)
    assert sum(len(signs) for signs, _ in runs) == width


@given(st.integers(1, 30), st.floats(0.000001, 1))
def test_the_smallest_share_still_shows_half_a_cell(width, share):
    signs, layer = cut_bar(width, share, {3: 10}, UNICODE)[0]
    assert layer == 3
    assert signs


def test_layers_share_the_cells_by_their_bytes_base_first():
    assert cut_bar(4, 1.0, {5: 50, 0: 25, 2: 25}, UNICODE) == [("▄", 0), ("▄", 2), ("▄▄", 5)]
    assert cut_bar(4, 0.375, {1: 9}, UNICODE) == [("▄▖", 1), ("▁▁", None)]
    assert cut_bar(4, 0.375, {1: 9}, ASCII) == [("#=", 1), ("..", None)]


def test_nothing_has_no_bar():
    assert cut_bar(3, 0.0, {}, UNICODE) == [("▁▁▁", None)]
    assert share_of(5, 0) == 0
    assert solid_bar(4, 0.0, UNICODE) == ("", "    ")


def test_a_full_bar_is_cut_in_eighths():
    assert solid_bar(2, 0.5, UNICODE) == ("█", " ")
    assert solid_bar(8, 0.001, UNICODE)[0] == "▏"


@given(st.text(), st.integers(0, 40))
def test_a_fitted_text_has_exactly_its_width(text, width):
    shown = "".join(char for char in text if char.isprintable())
    assert width_of(fit(shown, width)) == width


@given(st.text(), st.integers(1, 40))
def test_a_text_cut_at_its_start_is_never_wider(text, width):
    shown = "".join(char for char in text if char.isprintable())
    assert width_of(fit_start(shown, width)) <= max(width, 1)


@given(st.text("ab c", max_size=60), st.integers(3, 20))
def test_wrapped_lines_are_never_wider_and_lose_no_letter(text, width):
    lines = wrap(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_signs_are_ascii_where_the_terminal_wants_it():
    assert choose_glyphs(True, "UTF-8") is ASCII
    assert choose_glyphs(False, "utf8") is UNICODE
    assert choose_glyphs(False, "ANSI_X3.4-1968") is ASCII
    assert all(sign.isascii() for sign in ASCII)
