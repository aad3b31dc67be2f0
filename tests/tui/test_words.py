"""What the screens say in words."""

from __future__ import annotations

import pytest

from layerview.oci.config import History
from layerview.tui.words import (
    CausedWaste,
    count_of,
    instruction,
    no_layer_words,
    numbers,
    time_words,
    why_wasted,
)


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("/bin/sh -c #(nop) ADD file:8e49 in / ", "ADD file:8e49 in /"),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/sh -c chmod -R g+rX /srv # buildkit", "RUN chmod -R g+rX /srv"),
        ("RUN |1 VERSION=3 /bin/sh -c make # buildkit", "RUN make"),
        ("COPY app/ /srv/ # buildkit", "COPY app/ /srv/"),
        ("RUN   a  \\\n  && b", "RUN a \\ && b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("", "(not recorded)"),
    ],
)
def test_an_instruction_loses_its_shell_prefix(recorded, shown):
    assert instruction(History(created_by=recorded)) == shown


def test_a_layer_without_history_says_so():
    assert instruction(None) == "(no history)"


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
