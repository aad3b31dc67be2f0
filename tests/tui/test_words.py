"""What the screens say in words."""

from __future__ import annotations

from layerview.oci.config import History
from layerview.tui.words import (
    CausedWaste,
    count_of,
    no_layer_words,
    numbers,
    time_words,
    why_wasted,
)


def test_steps_without_a_layer_are_named_shortly():
    steps = [
        History(created_by="ENV PATH=/bin:/usr/bin", empty_layer=True),
        History(created_by='/bin/sh -c #(nop)  CMD ["bash"]', empty_layer=True),
    ]
    assert no_layer_words(steps) == ["ENV PATH", 'CMD ["bash"]']


def test_waste_is_explained_the_largest_reason_first():
    cause = CausedWaste(total=110)
    for kind, size, layer in (("metadata_only", 100, 4), ("deleted", 10, 0)):
        cause.files[kind] += 2
        cause.sizes[kind] += size
        cause.sources[kind].add(layer)
    assert why_wasted(cause, (0o644, 0o664)) == [
        "2 files, each a full copy of the one in 4; only its mode differs, 0644 → 0664",
        "deletes 2 files of 0; the bytes still ship",
    ]


def test_counts_numbers_and_times_read_well():
    assert count_of(1, "file") == "1 file"
    assert count_of(1204, "file") == "1,204 files"
    assert numbers([0, 3, 1]) == "3, 1 and 0"
    assert numbers([2]) == "2"
    assert numbers(range(9)) == "8, 7, 6, 5, 4 and 4 more"
    assert time_words("2026-11-19T08:14:22.123Z") == "2026-11-19 08:14:22Z"
    assert time_words(None) == "not recorded"
