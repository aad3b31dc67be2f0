"""Which frame of a copy-up is to be seen when: the table of the design, frame by frame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.tui.live_store import PACK, EventStore
from layerview.tui.story import (
    FADES,
    FOUND,
    LANDED,
    LOST,
    MOST_WAITING,
    ROUTE,
    STAYS,
    STEP,
    Frame,
    Teller,
    landing_of,
    scene_of,
    searched_layers,
)
from layerview.watch.events import KINDS, Copying, CowEvent
from tests.tui.live_specimens import big_copied, big_copying, copy_up, event

SIX = (5, 4, 3, 2, 1, 0)


def teller(*, animated: bool = True) -> Teller:
    """Return one for six layers."""
    return Teller(SIX, animated=animated)


def seen(one: Teller) -> Frame:
    """Return what is to be seen, of which there is something."""
    frame = one.frame
    assert frame is not None
    return frame


def play(one: Teller, milliseconds: int, step: int = 10) -> list[Frame | None]:
    """Let time go by and return each frame that was seen, once."""
    frames: list[Frame | None] = [one.frame]
    for _ in range(0, milliseconds, step):
        one.advance(step)
        if one.frame != frames[-1]:
            frames.append(one.frame)
    return frames


def test_the_search_goes_down_a_layer_in_100_ms() -> None:
    one = teller()
    one.add(0, copy_up("etc/nginx/nginx.conf", 1, 2400))
    one.advance(0)
    first = seen(one)
    assert (first.seen, first.searching, first.found, first.share) == (0, True, False, None)
    depths = []
    for _ in range(5):
        one.advance(STEP)
        depths.append((seen(one).seen, seen(one).found))
    assert depths == [(1, False), (2, False), (3, False), (4, False), (5, True)]


def test_the_file_rises_in_six_steps_and_lands() -> None:
    scene = scene_of(0, copy_up("etc/hosts.allow", 0, 411), SIX)
    found = next(place for place, (_, frame) in enumerate(scene) if frame.found)
    assert scene[found][0] == FOUND
    assert (scene[found + 1][0], scene[found + 1][1].share) == (ROUTE, 0.0)
    rise = scene[found + 2 : landing_of(scene)]
    assert [stays for stays, _ in rise] == [STEP] * 6
    assert [frame.share for _, frame in rise] == [pytest.approx(n / 6) for n in range(1, 7)]
    landed, rest, fading = scene[landing_of(scene) :]
    assert (landed[0], landed[1].landed, landed[1].share) == (LANDED, True, None)
    assert (rest[0], rest[1].landed, rest[1].found) == (STAYS, False, True)
    assert (fading[0], fading[1].faint) == (FADES, True)
    # The marks are gone four seconds after the landing, and a second in which they fade.
    assert landed[0] + rest[0] == 4000


def test_the_search_through_many_layers_takes_no_longer_than_through_six() -> None:
    layers = tuple(range(127, -1, -1))
    scene = scene_of(0, copy_up("a", 0, 1, searched=layers), layers)
    found = next(place for place, (_, frame) in enumerate(scene) if frame.found)
    assert sum(stays for stays, _ in scene[1:found]) <= 600
    assert scene[found][1].seen == 128


def test_a_write_to_what_is_on_top_lights_it_up_for_300_ms() -> None:
    one = teller()
    one.add(0, event("write", "etc/hosts.allow", written=15))
    one.advance(0)
    assert seen(one).bright
    assert seen(one).sign == "here"
    one.advance(299)
    assert seen(one).bright
    one.advance(1)
    assert not seen(one).bright
    assert seen(one).share is None


def test_a_new_file_is_searched_for_nowhere() -> None:
    scene = scene_of(0, event("create", "run/pid"), SIX)
    assert {(frame.sign, frame.searching, frame.seen) for _, frame in scene} == {("new", False, 0)}


def test_a_whiteout_leads_down_to_what_it_hides() -> None:
    scene = scene_of(0, event("whiteout", "usr/share/doc/README", layer=1), SIX)
    end = scene[landing_of(scene)][1]
    assert (end.sign, end.seen, end.found, end.share) == ("whiteout", 5, True, None)


def test_a_volume_is_passed_by_while_the_stack_stays_still() -> None:
    one = teller()
    one.add(0, event("write", "var/lib/shop/x", volume=True))
    one.advance(0)
    ways = []
    for _ in range(3):
        frame = seen(one)
        assert not frame.bright
        assert not frame.searching
        ways.append(frame.way)
        one.advance(STEP)
    assert ways == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_reading_searches_and_copies_nothing() -> None:
    scene = scene_of(0, event("read", "bin/sh", layer=0, searched=SIX), SIX)
    assert all(frame.share is None and not frame.landed for _, frame in scene)
    assert scene[landing_of(scene)][1].found


def test_a_large_file_rises_as_fast_as_it_is_copied() -> None:
    one = teller()
    one.copying(big_copying(0))
    one.advance(0)
    assert seen(one).number == -1
    one.advance(5 * STEP + FOUND)
    assert (seen(one).found, seen(one).share) == (True, 0.0)
    one.copying(big_copying(24_900_000))
    one.advance(STEP)
    assert seen(one).share == pytest.approx(24.9 / 38.7)
    one.advance(5000)
    assert seen(one).share == pytest.approx(24.9 / 38.7)
    one.add(7, big_copied())
    assert seen(one).number == 7
    assert (seen(one).share or 0) > 24.9 / 38.7
    shares = [frame.share for frame in play(one, 1000) if frame is not None]
    assert shares[-1] is None
    assert seen(one).landed


def test_a_copy_that_ends_while_the_search_is_told_is_told_to_its_end() -> None:
    one = teller()
    one.copying(big_copying(10))
    one.advance(2 * STEP)
    before = seen(one).seen
    one.add(0, big_copied())
    assert seen(one).seen == before
    kinds = [frame.share for frame in play(one, 3000) if frame is not None]
    assert 0.0 in kinds
    assert 1.0 in kinds


def test_a_copy_of_which_nothing_is_heard_any_more_is_let_go() -> None:
    one = teller()
    one.copying(big_copying(10))
    one.advance(0)
    one.advance(5 * STEP + FOUND)
    one.advance(LOST)
    assert one.frame is None
    assert one.due is None


def test_a_copy_whose_name_is_not_known_yet_ends_as_that_of_its_event() -> None:
    one = teller()
    one.copying(Copying(1, b"", None, 10, 100))
    one.advance(0)
    assert not seen(one).searching
    one.add(3, big_copied())
    assert seen(one).number == 3


def test_of_more_than_three_that_wait_the_newest_is_told_and_the_rest_counted() -> None:
    one = teller()
    for number in range(50):
        one.add(number, copy_up(f"data/{number}", 0, 10, number))
    one.advance(0)
    assert seen(one).number == 49
    assert one.untold == 49
    assert one.waiting == 0


@pytest.mark.parametrize("count", range(1, MOST_WAITING + 1))
def test_a_few_events_are_told_one_after_the_other(count: int) -> None:
    one = teller()
    for number in range(count):
        one.add(number, copy_up(f"data/{number}", 0, 10, number))
    frames = play(one, 30_000)
    told = list(dict.fromkeys(frame.number for frame in frames if frame is not None))
    assert told == list(range(count))
    assert one.frame is None


def test_folders_on_the_way_have_no_story_of_their_own() -> None:
    one = teller()
    one.add(0, copy_up("srv", 0, 0))
    one.advance(STEP)
    one.add(1, copy_up("srv/data", 0, 0))
    one.add(2, copy_up("srv/data/places.db", 0, 38_700_000))
    one.advance(0)
    assert seen(one).number == 2


def test_a_landing_is_cut_short_when_something_waits() -> None:
    one = teller()
    one.add(0, copy_up("a", 5, 10))
    one.advance(STEP + FOUND + ROUTE + 6 * STEP + 50)
    assert seen(one).landed
    one.add(1, event("write", "a", written=1))
    one.advance(500)
    assert seen(one).number == 1


def test_reads_are_told_only_when_nothing_else_is() -> None:
    one = teller()
    one.add(0, copy_up("a", 0, 10))
    one.advance(0)
    one.add(1, event("read", "bin/sh", layer=0))
    assert one.waiting == 0
    assert one.untold == 1


def test_what_was_there_before_is_not_told() -> None:
    one = teller()
    one.add(0, copy_up("a", 0, 10, held=True))
    one.advance(0)
    assert one.frame is None


def test_without_animations_only_the_landing_is_shown() -> None:
    one = teller(animated=False)
    one.add(0, copy_up("a", 0, 10))
    one.advance(0)
    assert seen(one).landed
    frames = play(one, 10_000)
    assert len(frames) == 2
    assert frames[-1] is None


def test_steps_go_through_all_frames_forth_and_back() -> None:
    events = [copy_up("a", 5, 10), event("create", "b"), copy_up("c", 0, 1)]
    one = teller()
    forth = []
    one.go_to(0, events[0])
    while True:
        frame = seen(one)
        forth.append((frame.number, frame.seen, frame.share, frame.landing))
        if one.step(1, len(events), events.__getitem__) is None:
            break
    assert [number for number, *_ in forth] == sorted(number for number, *_ in forth)
    assert {number for number, *_ in forth} == {0, 1, 2}
    back = [forth[-1]]
    while one.step(-1, len(events), events.__getitem__) is not None:
        frame = seen(one)
        back.append((frame.number, frame.seen, frame.share, frame.landing))
    assert back == forth[::-1]


def test_stepping_back_from_rest_shows_the_end_of_the_last_event() -> None:
    events = [copy_up("a", 5, 10, held=True), copy_up("b", 5, 10), copy_up("c", 5, 1, held=True)]
    one = teller()
    assert one.step(-1, 3, events.__getitem__) == 1
    assert seen(one).landing
    # What was there before is stepped over.
    one.go_to(1, events[1])
    assert one.step(-1, 3, events.__getitem__) is None


EVENTS = st.builds(
    CowEvent,
    time=st.integers(0, 2**60),
    kind=st.sampled_from(KINDS),
    path=st.sampled_from([b"a", b"a/b", b"a/b/c", b"d"]),
    from_path=st.none() | st.binary(max_size=8),
    layer=st.none() | st.integers(-1, 12),
    searched=st.lists(st.integers(-1, 12), max_size=8).map(tuple),
    bytes=st.none() | st.integers(0, 2**40),
    written=st.none() | st.integers(0, 2**40),
    volume=st.booleans(),
    held=st.booleans(),
)
COPYINGS = st.builds(
    Copying,
    time=st.just(0),
    path=st.sampled_from([b"", b"a/b", b"d"]),
    layer=st.none() | st.integers(-1, 12),
    done=st.integers(0, 2**40),
    total=st.none() | st.integers(0, 2**40),
)


@given(EVENTS)
def test_every_event_has_a_scene_of_frames_no_shorter_than_a_tenth_of_a_second(
    one: CowEvent,
) -> None:
    scene = scene_of(0, one, SIX)
    assert all(stays >= STEP for stays, _ in scene)
    assert 0 <= landing_of(scene) < len(scene)
    assert set(searched_layers(one, SIX)) <= set(SIX)


@settings(max_examples=200)
@given(
    st.lists(EVENTS | COPYINGS | st.integers(0, 3000), max_size=40),
    st.booleans(),
)
def test_whatever_comes_the_story_ends_and_nothing_is_told_twice(
    script: list[CowEvent | Copying | int], animated: bool
) -> None:
    one = teller(animated=animated)
    number = 0
    told: list[int] = []
    landed = set()
    for item in script:
        if isinstance(item, CowEvent):
            under_way = one.frame is not None and one.frame.number < 0
            one.add(number, item)
            if under_way and one.frame is not None and one.frame.number == number:
                landed.add(number)
            number += 1
        elif isinstance(item, Copying):
            one.copying(item)
        else:
            one.advance(item)
        frame = one.frame
        if frame is not None and frame.number >= 0 and (not told or told[-1] != frame.number):
            told.append(frame.number)
    for _ in range(200):
        one.advance(500)
    assert one.frame is None
    assert one.due is None
    assert len(told) == len(set(told))
    # What is on its way up lands before what came meanwhile is told.
    others = [each for each in told if each not in landed]
    assert others == sorted(others)


@given(st.lists(EVENTS, max_size=30), st.integers(0, 3))
def test_the_store_gives_back_what_it_was_given(events: list[CowEvent], packs: int) -> None:
    store = EventStore()
    filler = copy_up("x", 0, 1)
    for _ in range(packs * PACK):
        store.append(filler)
    for one in events:
        store.append(one)
    assert len(store) == packs * PACK + len(events)
    assert store[packs * PACK :] == events
    with pytest.raises(IndexError):
        store[len(store)]


def test_a_hundred_thousand_events_take_little_room_and_any_is_at_hand() -> None:
    store = EventStore()
    for number in range(100_000):
        store.append(copy_up(f"usr/share/doc/package-{number}/copyright", 1, number, number / 1e3))
    kept = sum(map(len, store._packs))
    assert kept < 6_000_000
    for number in (0, 99_999, 50_000, 511, 512, 513):
        assert store[number].bytes == number


def test_in_a_crowd_a_copy_up_is_told_rather_than_the_write_that_it_was_for() -> None:
    one = teller()
    for number in range(10):
        one.add(2 * number, copy_up(f"data/{number}", 0, 10, number))
        one.add(2 * number + 1, event("write", f"data/{number}", number, written=1))
    one.advance(0)
    assert seen(one).number == 18
    assert one.untold == 19
