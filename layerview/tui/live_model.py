"""What a Live view knows: all events, the totals so far, the story, and what a pause holds back."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from typing import Protocol, runtime_checkable

from layerview.tui.live_store import EventStore
from layerview.tui.live_words import volume_of
from layerview.tui.story import Frame, Teller
from layerview.tui.try_this import Tries
from layerview.watch.events import Copying, CowEvent, Ended, Notice, Record
from layerview.watch.ledger import Ledger
from layerview.watch.target import Target, below

SAMPLES = 8
"""Steps of the container layer's growth that are shown."""

SAMPLE = 0.5
"""Seconds between two of them."""

MOST_NOTICES = 100

RECENT = 64
"""Copy-ups whose first write is looked for."""


class Source(Protocol):
    """Where a Live view's records come from: a container, a recording, a test."""

    target: Target

    def batches(self) -> AsyncIterator[list[Record]]:
        """Give records as they come."""
        ...


@runtime_checkable
class Recorded(Source, Protocol):
    """A recording, which plays in its own time and can be told how."""

    def pause(self, paused: bool) -> None:
        """Stop, or go on."""
        ...

    def slow_motion(self, slow: bool) -> None:
        """Take longer, or as long as it took."""
        ...

    def step(self, by: int) -> None:
        """Stop, and go on or back by an event."""
        ...


class Growth:
    """How the container layer grew lately."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)

    def sample(self, now: float, size: int) -> None:
        """Note a size; of several in half a second the last counts.

        Args:
            now: seconds.
            size: bytes.
        """
        samples = self._samples
        if samples and now - samples[-1][0] < SAMPLE:
            samples[-1] = (samples[-1][0], size)
        else:
            samples.append((now, size))

    def shares(self) -> list[float]:
        """Return the sizes, each as a share of the largest, oldest first."""
        most = max((size for _, size in self._samples), default=0)
        return [size / most if most else 0.0 for _, size in self._samples]

    def rate(self, now: float) -> float:
        """Return the bytes a second that it grew by in the last second or so."""
        recent = [sample for sample in self._samples if now - sample[0] <= 2.0]
        before = [sample for sample in self._samples if now - sample[0] > 2.0]
        if not recent:
            return 0.0
        start = before[-1] if before else recent[0]
        grown = recent[-1][1] - start[1]
        return max(0.0, grown / max(1.0, min(2.0, now - start[0])))


class LiveModel:
    """Everything that a Live view shows of a container, without a screen."""

    def __init__(self, target: Target, *, animated: bool = True) -> None:
        """Begin with nothing.

        Args:
            target: the container.
            animated: whether copy-ups are retold frame by frame.
        """
        self.target = target
        self.layers = tuple(layer.number for layer in below(target))
        self.store = EventStore()
        self.shown = 0
        """Events that are in view: in a pause more are kept than are shown."""
        self.told: int | None = None
        """The number of the event that was stepped to."""
        self.last_news = -1
        """The number of the last event that was not there before; -1 while there is none."""
        self.held = 0
        """Events that tell of what was there before."""
        self.ledger = Ledger()
        """The totals of what is in view."""
        self.to_volumes: Counter[int] = Counter()
        """Bytes that each volume got."""
        self.growth = Growth()
        self.teller = Teller(self.layers, animated=animated)
        self.tries = Tries(target)
        self.copying: dict[bytes, Copying] = {}
        """Copy-ups under way, by path."""
        self.notices: list[str] = []
        """What else should be known, each once."""
        self.begun = False
        """Whether what was there before is known."""
        self.ended = ""
        """Why nothing more will come."""
        self.paused = False
        self._first_writes: OrderedDict[bytes, tuple[int, int | None]] = OrderedDict()

    # Records ---------------------------------------------------------------------------------

    def take(self, records: Iterable[Record]) -> None:
        """Take what happened; in a pause it is kept, and shown afterwards."""
        self.begun = True
        for record in records:
            if isinstance(record, CowEvent):
                self.store.append(record)
                self.copying.pop(record.path, None)
                self.copying.pop(b"", None)
                self.tries.add(record)
                if not self.paused:
                    self._show_next(record)
            elif isinstance(record, Copying):
                if record.path:
                    self.copying.pop(b"", None)
                self.copying[record.path] = record
                if not self.paused:
                    self.teller.copying(record)
            elif isinstance(record, Notice):
                if record.text not in self.notices and len(self.notices) < MOST_NOTICES:
                    self.notices.append(record.text)
            elif isinstance(record, Ended):
                self.ended = record.reason
                self.copying.clear()

    @property
    def size(self) -> int:
        """Bytes in the container layer; what is being copied lies there already."""
        coming = sum(copying.done for copying in self.copying.values())
        return self.ledger.container_layer_size + coming

    def sample(self, now: float) -> None:
        """Note the container layer's size for its growth, once what was there before is known."""
        if self.begun:
            self.growth.sample(now, self.size)

    def _show_next(self, event: CowEvent) -> None:
        number = self.shown
        self.shown += 1
        self.ledger.add(event)
        volume = volume_of(event, self.target.volumes) if event.volume else None
        if volume is not None and not event.held:
            self.to_volumes[volume] += event.size or event.written or 0
        if event.held:
            self.held += 1
        else:
            self.last_news = number
        self._note_write(number, event)
        self.teller.add(number, event)

    def _note_write(self, number: int, event: CowEvent) -> None:
        if event.volume or event.held:
            return
        firsts = self._first_writes
        if event.kind == "copy_up":
            firsts[event.path] = (number, None)
            firsts.move_to_end(event.path)
            if len(firsts) > RECENT:
                firsts.popitem(last=False)
        elif event.kind == "write" and event.path in firsts:
            copied, written = firsts[event.path]
            if written is None:
                firsts[event.path] = (copied, event.written)

    def first_write(self, number: int, event: CowEvent) -> int | None:
        """Return the bytes that were written first after a copy-up, where they are known."""
        copied, written = self._first_writes.get(event.path, (-1, None))
        return written if copied == number else None

    # Time ------------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame | None:
        """What of the story is to be seen."""
        return self.teller.frame

    def advance(self, milliseconds: float) -> None:
        """Let the story go on, unless it is paused."""
        if not self.paused:
            self.teller.advance(milliseconds)

    @property
    def held_back(self) -> int:
        """How many events a pause keeps from being shown."""
        return len(self.store) - self.shown

    def pause(self, paused: bool) -> None:
        """Stop the story, or let it go on with all that came meanwhile."""
        self.paused = paused
        if not paused:
            self.told = None
            while self.shown < len(self.store):
                self._show_next(self.store[self.shown])
            for record in self.copying.values():
                self.teller.copying(record)

    def step(self, by: int) -> None:
        """Go a frame on (1) or back (-1); what a pause held back comes into view one by one."""
        self.paused = True
        told = self.teller.step(by, self.shown, self.store.__getitem__)
        if told is None and by > 0 and self.shown < len(self.store):
            before = self.shown
            while self.shown < len(self.store) and self.store[self.shown].held:
                self._show_next(self.store[self.shown])
            if self.shown < len(self.store):
                self._show_next(self.store[self.shown])
            if self.shown > before:
                told = self.teller.go_to(self.shown - 1, self.store[self.shown - 1])
        if told is not None:
            self.told = told
