from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.oci.config import History, HistoryRow, ImageConfig, pair_history
from layerview.oci.digest import Digest
from tests.oci.strategies import histories

GONE = "mismatch"

# Case of shared/reference/cases.md; the history (L: a layer, E: empty_layer), the number of
# layers, and each row as (entry or None, layer, or None, or GONE where a layer is claimed).
CASES = [
    ("27: more entries than layers", "LLL", 2, [(0, 0), (1, 1), (2, GONE)]),
    ("D13: more entries, empty ones between", "LELE", 1, [(0, 0), (1, None), (2, GONE), (3, None)]),
    ("28: only the flag decides", "LL", 2, [(0, 0), (1, 1)]),
    ("29: less history than layers", "L", 3, [(0, 0), (None, 1), (None, 2)]),
    ("29: no history", "", 2, [(None, 0), (None, 1)]),
    ("30: no layers", "", 0, []),
    ("30: no layers but history", "EE", 0, [(0, None), (1, None)]),
    ("53: an empty entry is newest", "LLE", 2, [(0, 0), (1, 1), (2, None)]),
    ("53: an empty entry is oldest", "ELL", 2, [(0, None), (1, 0), (2, 1)]),
    ("only empty entries over layers", "EE", 1, [(0, None), (1, None), (None, 0)]),
]


@pytest.mark.parametrize(
    ("flags", "layer_count", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_history_is_paired_as_the_reported_cases_need(
    flags: str, layer_count: int, expected: list[tuple[int | None, int | str | None]]
) -> None:
    history = [
        History(created_by=str(number), empty_layer=flag == "E")
        for number, flag in enumerate(flags)
    ]
    rows = pair_history(history, layer_count)
    found = [
        (
            None if row.history is None else int(row.history.created_by or ""),
            GONE if row.mismatch else row.layer,
        )
        for row in rows
    ]
    assert found == expected


@given(histories, st.integers(min_value=0, max_value=12))
@settings(deadline=None)
def test_every_layer_appears_exactly_once_and_in_order(
    history: list[History], layer_count: int
) -> None:
    layers = [row.layer for row in pair_history(history, layer_count) if row.layer is not None]
    assert layers == list(range(layer_count))


@given(histories, st.integers(min_value=0, max_value=12))
@settings(deadline=None)
def test_every_entry_appears_exactly_once_and_in_order(
    history: list[History], layer_count: int
) -> None:
    rows = pair_history(history, layer_count)
    assert [row.history for row in rows if row.history is not None] == history


@given(histories, st.integers(min_value=0, max_value=12))
@settings(deadline=None)
def test_an_empty_entry_owns_no_layer_and_is_no_mismatch(
    history: list[History], layer_count: int
) -> None:
    for row in pair_history(history, layer_count):
        if row.history is not None and row.history.empty_layer:
            assert row.layer is None
            assert not row.mismatch


@given(histories, st.integers(min_value=0, max_value=12))
@settings(deadline=None)
def test_surplus_is_marked_on_one_side_only(history: list[History], layer_count: int) -> None:
    rows = pair_history(history, layer_count)
    claimed = sum(not entry.empty_layer for entry in history)
    assert sum(row.mismatch for row in rows) == max(0, claimed - layer_count)
    assert sum(row.history is None for row in rows) == max(0, layer_count - claimed)


@given(histories, st.integers(min_value=0, max_value=4))
@settings(deadline=None)
def test_a_config_is_paired_with_its_own_diff_ids(history: list[History], layers: int) -> None:
    diff_ids = tuple(Digest.of(bytes([number])) for number in range(layers))
    config = ImageConfig(diff_ids=diff_ids, history=tuple(history))
    assert pair_history(config) == pair_history(history, layers)
    assert pair_history(config, layers + 1) == pair_history(history, layers + 1)


def test_a_config_without_history_gives_a_row_for_each_layer() -> None:
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(b""))]}
    config = ImageConfig.from_json(json.dumps({"rootfs": rootfs, "history": None}).encode())
    assert pair_history(config) == [HistoryRow(None, 0)]
