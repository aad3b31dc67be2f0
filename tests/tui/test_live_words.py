"""What the Live view says: who did what, where it was found, what it cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.tui.cells import width_of
from layerview.tui.live_lanes import lanes
from layerview.tui.live_route import route, row_of, stack_rows
from layerview.tui.live_words import (
    Word,
    burst_words,
    clock,
    note_words,
    now_words,
    quiet_words,
    size_words,
    volume_of,
    wrap_words,
)
from layerview.tui.stack_rows import visible_layers
from layerview.tui.widgets.live_stack import of_words
from layerview.watch.events import INIT, KINDS, CowEvent
from layerview.watch.target import WatchedVolume
from tests.tui.live_specimens import BEGUN, big_copied, copy_up, event, morning, target

SIX = (5, 4, 3, 2, 1, 0)


def text(sentences: list[list[Word]]) -> str:
    """Return sentences without their looks."""
    return " ".join("".join(word.text for word in sentence) for sentence in sentences)


def said(one: CowEvent, driver: str = "overlay2", first_write: int | None = None) -> str:
    """Return what is said of an event."""
    return text(now_words(one, target(driver=driver), first_write=first_write))


def test_a_copy_up_says_who_and_where_and_what_it_costs() -> None:
    assert said(big_copied(), first_write=1) == (
        "dd (pid 4121) opened GeoLite2-City.mmdb to write."
        " Not in the container layer, 5, 4, 3 or 2. Found: 1"
        " All 38.7 MB are copied first, for a write of 1 B."
    )
    chips = [word for line in now_words(big_copied(), target()) for word in line if word.chip]
    assert [word.chip for word in chips] == [1]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cause": "metadata"}, "changed mode, owner or times of b. "),
        ({"cause": "metadata"}, "though no byte of it changes"),
        ({"cause": "truncate", "bytes": 0}, "No data is copied: it is emptied anyway."),
        ({"bytes": 0}, "Only its entry is copied: there is no data."),
        ({"cause": None, "pid": None, "command": None}, "b was changed."),
        ({"command": None}, "Process 4121 opened b to write."),
        ({"layer": None, "searched": ()}, "sh (pid 4121) opened b to write. All 7 B"),
        ({"layer": INIT, "searched": ()}, "Not in the container layer. Found: init"),
        ({"layer": 4, "searched": (5, 4)}, "Not in the container layer or 5. Found: 4"),
        ({"layer": 5, "searched": (5,)}, "Not in the container layer. Found: 5"),
    ],
)
def test_a_copy_up_is_told_as_far_as_it_is_known(more: dict[str, object], words: str) -> None:
    assert words in said(copy_up("a/b", 0, 7)._replace(**more))  # type: ignore[arg-type]


def test_what_copies_nothing_says_so() -> None:
    assert "already: nothing is copied" in said(event("write", "a", written=15))
    assert "nothing is copied" in said(event("create", "a"))
    assert "No layer changes" in said(event("write", "var/lib/shop/x", volume=True))
    assert "the volume data" in said(event("write", "var/lib/shop/x", volume=True))
    read = said(event("read", "bin/sh", layer=0, searched=SIX))
    assert read.endswith("Found: 0 Read from there: nothing is copied.")
    assert "made at the start" in said(event("write", "a"), driver="vfs")


def test_the_contrast_that_vfs_makes_is_said_before_anything_happens() -> None:
    words = text(quiet_words(target(driver="vfs", copied_at_start=131_400_000)))
    assert words.startswith("131.4 MB were copied when it was made.")
    assert "does not tell of it" in text(quiet_words(target()))
    assert "shown as well" in text(quiet_words(target(driver="aufs")))


def test_notes_say_where_it_was() -> None:
    notes = [note_words(one, SIX) for one in morning()]
    assert notes[1] == "searched 5 4 3 2, found in 1"
    assert notes[5:] == ["hides the one in 1", "bypasses the driver"]
    assert note_words(copy_up("a", 5, 1), SIX) == "found in 5"
    assert note_words(event("rename", "b", from_path=b"a\nb"), SIX) == "from /a\\nb"
    assert note_words(copy_up("a", 0, 1, held=True), SIX) == "was there before"


def test_sizes_are_those_that_the_event_is_about() -> None:
    assert size_words(event("write", "a", written=15, size=400), False) == "15 B"
    assert size_words(event("write", "a", size=400), False) == ""
    assert size_words(event("create", "a", size=400), False) == "400 B"
    assert of_words(24_900_000, 38_700_000, False) == "24.9 of 38.7 MB"
    assert of_words(900, 38_700_000, False) == "900 B of 38.7 MB"
    assert of_words(None, 5, False) == of_words(5, 5, False) == "5 B"
    assert of_words(7, None, False) == "7 B"
    assert of_words(None, None, False) == ""


def test_an_event_belongs_to_the_innermost_volume() -> None:
    volumes = [WatchedVolume("a", "/a", b"data"), WatchedVolume("b", "/b", b"data/in")]
    assert volume_of(event("write", "data/in/x", volume=True), volumes) == 1
    assert volume_of(event("write", "data/inner", volume=True), volumes) == 0
    assert volume_of(event("write", "database", volume=True), volumes) is None


def test_times_are_those_of_the_day() -> None:
    assert clock(BEGUN + 118_000_000).endswith(":57.118")
    assert clock(BEGUN, short=True).endswith(":57")
    assert clock(2**200) == "?"


def test_a_burst_is_counted() -> None:
    assert burst_words(0) == ""
    assert burst_words(1) == "and 1 more event, all in the list"
    assert burst_words(2341) == "and 2,341 more events, all in the list"


PATHS = st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path)


@given(
    st.sampled_from(KINDS),
    PATHS,
    st.none() | PATHS,
    st.none() | st.integers(-1, 9),
    st.booleans(),
    st.none() | st.text(max_size=20),
    st.integers(12, 80),
)
def test_whatever_a_name_is_no_control_character_is_said_and_lines_fit(
    kind: str,
    path: bytes,
    before: bytes | None,
    layer: int | None,
    volume: bool,
    command: str | None,
    width: int,
) -> None:
    one = CowEvent(0, kind, path, before, layer, bytes=7, pid=1, command=command, volume=volume)
    sentences = now_words(one, target())
    assert sentences
    for words in (text(sentences), note_words(one, SIX)):
        assert words.isprintable()
    lines = wrap_words(sentences, width)
    for line in lines:
        cells = sum(width_of(word.text) + 2 * (word.chip is not None) for word in line)
        assert cells - width_of(" ") <= width
    kept = "".join(word.text for line in lines for word in line).replace(" ", "")
    assert kept == text(sentences).replace(" ", "")


@given(st.lists(st.integers(0, 100_000), max_size=60), st.integers(1, 120))
def test_each_event_falls_into_one_column_of_the_lanes(times: list[int], width: int) -> None:
    events = [copy_up("a", 0, 1, at / 1000) for at in sorted(times)]
    begun = BEGUN // 1_000_000
    shown = lanes(len(events), events.__getitem__, width, begun + 100_000, begun)
    assert len(shown.columns) == width
    assert sum(column.events for column in shown.columns) == len(events)
    assert shown.before == 0


@given(st.integers(1, 60), st.integers(5, 40), st.integers(0, 59), st.booleans())
def test_each_layer_has_its_row_or_the_one_that_stands_for_it(
    count: int, space: int, chosen: int, tall: bool
) -> None:
    chosen = min(chosen, count - 1)
    shown = visible_layers(count, space, 3 if tall else 1, chosen)
    rows = stack_rows(shown, 1, tall=tall, chip_row=False, plinth=True)
    places = [row_of(rows, number) for number in range(count - 1, -1, -1)]
    known = [place for place in places if place is not None]
    assert known == sorted(known)
    if any(row.kind == "more" for row in rows):
        assert None not in places
        assert chosen in shown
    for number in shown:
        if number >= 0:
            place = row_of(rows, number)
            assert place is not None
            assert rows[place].number == number


@given(st.integers(1, 60), st.integers(2, 80), st.floats(0, 1), st.sampled_from([1, 3]))
def test_a_file_is_always_between_its_layer_and_the_top(
    end: int, height: int, share: float, tall: int
) -> None:
    source = end + height
    way = route(source, end, share, tall)
    assert end <= way.chip <= source
    assert not any(way.above(y) and way.below(y) for y in range(end, source + 1))
    assert route(source, end, 1.0, tall).chip == end
