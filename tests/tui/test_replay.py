"""A recording plays in its own time, and stops, steps and goes slower when it is told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from layerview.errors import FormatError
from layerview.tui.replay import LONGEST_WAIT, ReplaySource, open_replay
from layerview.watch.events import CowEvent, Ended, Notice, Record
from layerview.watch.recording import Recorder
from tests.watch.test_recording import TARGET

START = 1_790_000_000_000_000_000
MS = 1_000_000


def event(name: str, at: int, *, held: bool = False) -> CowEvent:
    return CowEvent(START + at * MS, "create", name.encode(), held=held)


RECORDS: list[Record] = [
    CowEvent(5, "create", b"old", held=True),
    event("a", 0),
    event("b", 0),
    event("c", 100),
    Notice(START + 150 * MS, "a word"),
    event("d", 200),
    Ended(START + 250 * MS, "over"),
]


class Listener:
    """Takes what a source gives, and can wait for so many records."""

    def __init__(self, source: ReplaySource) -> None:
        self.source = source
        self.taken: list[Record] = []
        self.times: list[float] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for batch in self.source.batches():
            self.taken += batch
            self.times += [time.monotonic()] * len(batch)

    async def has(self, count: int) -> Sequence[Record]:
        async with asyncio.timeout(5):
            while len(self.taken) < count:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
        assert len(self.taken) == count
        return self.taken

    async def stop(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


async def test_records_come_at_the_distances_in_which_they_were_recorded() -> None:
    source = ReplaySource(TARGET, RECORDS)
    listener = Listener(source)
    assert await listener.has(7) == RECORDS
    times = listener.times
    assert times[2] - times[0] < 0.09
    assert times[3] - times[2] >= 0.1
    assert times[6] - times[0] >= 0.25
    assert source.ended
    assert source.at == source.duration == pytest.approx(0.25)
    await listener.stop()


async def test_slow_motion_takes_five_times_as_long() -> None:
    source = ReplaySource(TARGET, RECORDS[1:4])
    source.slow_motion(True)
    listener = Listener(source)
    await listener.has(3)
    assert listener.times[2] - listener.times[1] >= 0.5
    await listener.stop()


async def test_a_pause_gives_nothing_and_what_is_left_comes_afterwards() -> None:
    source = ReplaySource(TARGET, RECORDS)
    listener = Listener(source)
    await listener.has(3)
    source.pause(True)
    await asyncio.sleep(0.3)
    await listener.has(3)
    source.pause(False)
    assert await listener.has(7) == RECORDS
    await listener.stop()


async def test_steps_give_one_event_each_and_what_lies_before_it() -> None:
    source = ReplaySource(TARGET, RECORDS)
    source.pause(True)
    listener = Listener(source)
    for count in (2, 3, 4, 6, 7):
        source.step(1)
        assert await listener.has(count) == RECORDS[:count]
    source.step(1)
    await listener.has(7)
    await listener.stop()


async def test_a_step_back_stops_and_it_goes_on_from_there() -> None:
    source = ReplaySource(TARGET, RECORDS)
    listener = Listener(source)
    await listener.has(7)
    for count in (5, 3, 2, 1, 0, 0):
        source.step(-1)
        assert source.position == count
    assert source.paused
    listener.taken.clear()
    source.pause(False)
    assert await listener.has(7) == RECORDS
    await listener.stop()


async def test_the_end_comes_at_once_when_asked_for_and_the_start_again() -> None:
    source = ReplaySource(TARGET, [event("a", 0), event("b", 2_000)])
    listener = Listener(source)
    await listener.has(1)
    source.go_to_end()
    await listener.has(2)
    source.go_to_start()
    await listener.has(3)
    await listener.stop()


def test_long_silences_are_cut_short_and_a_clock_set_back_holds_nothing_up() -> None:
    records = [event("a", 0), event("b", 3_600_000), event("c", 0), event("d", 3_600_100)]
    source = ReplaySource(TARGET, records)
    wait = LONGEST_WAIT
    assert source.offsets == pytest.approx([0, wait, wait, wait + 0.1])


def test_an_empty_recording_is_at_its_end() -> None:
    source = ReplaySource(TARGET, [])
    assert source.ended
    assert source.duration == source.at == 0
    source.step(1)
    source.step(-1)


def test_a_recording_is_opened_whole(tmp_path: Path) -> None:
    with Recorder(str(tmp_path / "r"), TARGET) as recorder:
        recorder.write(RECORDS)
    source = open_replay(str(tmp_path / "r"))
    assert source.target == TARGET
    assert source.records == RECORDS
    (tmp_path / "r").write_text("no")
    with pytest.raises(FormatError):
        open_replay(str(tmp_path / "r"))
