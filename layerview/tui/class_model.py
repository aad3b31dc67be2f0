"""What a Class view knows: the containers of one image, and what lights up in whose box.

Pure: records and seconds go in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from layerview.tui.live_words import volume_name, volume_of
from layerview.watch.events import Copying, CowEvent, Ended, Record
from layerview.watch.ledger import Ledger
from layerview.watch.target import Target, WatchedLayer, WatchedVolume, below

RISE = 0.6
"""Seconds in which a small file rises."""
STEPS = 6
"""Steps in which it does."""
LANDED = 1.5
"""Seconds for which a box tells of what arrived."""
BRIEF = 0.3
"""Seconds for which a box lights up for what needed no copy."""
MOST_PATHS = 4096
"""Paths of a volume that are remembered."""
MOST_EVENTS = 2000
"""Events of all containers together that are kept; each container's Live view has all of its."""


class Riser(NamedTuple):
    """A file on its way from a shared layer into one container's box."""

    layer: int
    share: float
    """How far it is, 0 to 1; 1 when it has arrived."""


class Told(NamedTuple):
    """An event and whose it is."""

    id: str
    name: str
    event: CowEvent


class Box:
    """One container."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.ledger = Ledger()
        self.last: CowEvent | None = None
        """What happened last, without what was there before."""
        self.copying: Copying | None = None
        self.ended = ""
        """Why nothing more will come."""
        self._rises: tuple[int, float] | None = None
        """The layer that the last copy-up was from, and when it began to rise."""
        self.bright_until = 0.0

    @property
    def size(self) -> int:
        """Bytes of the container's layer."""
        return self.ledger.container_layer_size

    def take(self, record: Record, now: float, animated: bool) -> None:
        """Take what happened in it."""
        self.ledger.add(record)
        if isinstance(record, Ended):
            self.ended, self.copying, self._rises = record.reason, None, None
        elif isinstance(record, Copying):
            self.copying, self._rises = record, None
        elif isinstance(record, CowEvent) and not record.held:
            self._happened(record, now, animated)

    def _happened(self, event: CowEvent, now: float, animated: bool) -> None:
        grew = self.copying is not None
        self.copying = None
        if event.volume:
            return
        last = self.last if self._rises is not None else None
        if last is not None and event.kind in ("write", "metadata") and event.path == last.path:
            # What the file was copied up for; that it was is what is told.
            return
        self.last = event
        if event.kind == "copy_up" and event.layer is not None:
            # One that was seen growing has risen already.
            began = now if animated and not grew else now - RISE
            self._rises = (event.layer, began)
            self.bright_until = began + RISE + LANDED
        elif event.kind != "read" and self._rises is None:
            self.bright_until = now + BRIEF

    def riser(self, now: float) -> Riser | None:
        """Return the file that is on its way, or has just arrived."""
        copying = self.copying
        if copying is not None and copying.layer is not None:
            total = copying.total or 0
            return Riser(copying.layer, min(1.0, copying.done / total) if total else 0.0)
        if self._rises is None:
            return None
        layer, began = self._rises
        step = int((now - began) / RISE * STEPS + 1e-6)
        return Riser(layer, min(1.0, max(0, step) / STEPS))

    def lit(self, now: float) -> bool:
        """Whether the box is bright."""
        if now >= self.bright_until:
            return False
        return self._rises is None or now >= self._rises[1] + RISE - 1e-6

    def settle(self, now: float) -> None:
        """Forget what was told long enough."""
        if now >= self.bright_until and self.copying is None:
            self._rises = None

    @property
    def moves(self) -> bool:
        """Whether something in it will look different soon."""
        return self._rises is not None or self.copying is not None


class SharedVolume:
    """A volume, and which containers have it mounted; it stays when they go."""

    def __init__(self, volume: WatchedVolume) -> None:
        self.volume = volume
        self.users: set[str] = set()
        """IDs of the containers that run."""
        self.lit_until = 0.0
        self.sizes: dict[bytes, int] = {}
        """Of files in it that were made or written to, by path."""
        self._seen: dict[tuple[bytes, str], dict[str, int]] = {}

    @property
    def written(self) -> int:
        """Bytes of the files that were made or written to."""
        return sum(self.sizes.values())

    def is_new(self, id: str, event: CowEvent) -> bool:
        """Whether no other container's watcher has told of this already."""
        if len(self._seen) > MOST_PATHS:
            self._seen.clear()
        counts = self._seen.setdefault((event.path, event.kind), {})
        counts[id] = counts.get(id, 0) + 1
        return counts[id] > max((n for other, n in counts.items() if other != id), default=0)

    def note(self, event: CowEvent, now: float) -> None:
        """Keep what happened in it."""
        self.lit_until = now + BRIEF
        if event.kind == "delete":
            self.sizes.pop(event.path, None)
        elif event.size is not None and len(self.sizes) < MOST_PATHS:
            self.sizes[event.path] = event.size


class ClassModel:
    """All containers of one image that run, over the stack that they share."""

    def __init__(self, *, animated: bool = True) -> None:
        """Begin without any.

        Args:
            animated: whether files are seen to rise.
        """
        self.animated = animated
        self.boxes: dict[str, Box] = {}
        """By container ID, in the order in which they came."""
        self.volumes: dict[str, SharedVolume] = {}
        """By their place on disk."""
        self.events: deque[Told] = deque(maxlen=MOST_EVENTS)
        """What happened, the newest last."""
        self.count = 0
        """Events so far."""
        self.copy_ups = 0
        self.copied = 0
        """Bytes."""
        self.layers: tuple[WatchedLayer, ...] = ()
        """The shared ones, top first."""

    def show(self, targets: Sequence[Target]) -> tuple[list[Target], list[str]]:
        """Have boxes for these containers and no others; return who came, and the IDs that went."""
        wanted = {target.id: target for target in targets}
        gone = [id for id in self.boxes if id not in wanted]
        for id in gone:
            del self.boxes[id]
            for shared in self.volumes.values():
                shared.users.discard(id)
        came = [target for id, target in wanted.items() if id not in self.boxes]
        for target in came:
            self.boxes[target.id] = Box(target)
            self.layers = self.layers or below(target)
            for volume in target.volumes:
                known = self.volumes.setdefault(volume.source, SharedVolume(volume))
                known.users.add(target.id)
        return came, gone

    def take(self, id: str, records: Iterable[Record], now: float) -> None:
        """Take what happened in a container.

        Args:
            id: the container's.
            records: in order.
            now: seconds.
        """
        box = self.boxes.get(id)
        if box is None:
            return
        for record in records:
            box.take(record, now, self.animated)
            if not isinstance(record, CowEvent) or record.held:
                continue
            name = box.target.name
            if record.volume:
                shared = self._volume(box.target, record)
                if shared is None or not shared.is_new(id, record):
                    continue
                shared.note(record, now)
                if len(shared.users) > 1:
                    # All of them see it; who did it is not known.
                    name = f"volume {volume_name(shared.volume)}"
            elif record.kind == "copy_up":
                self.copy_ups += 1
                self.copied += record.bytes or 0
            self.count += 1
            self.events.append(Told(id, name, record))

    def _volume(self, target: Target, event: CowEvent) -> SharedVolume | None:
        number = volume_of(event, target.volumes)
        return None if number is None else self.volumes.get(target.volumes[number].source)

    def sources(self, now: float) -> set[int]:
        """Return the layers out of which something is rising, or has just risen."""
        risers = (box.riser(now) for box in self.boxes.values())
        return {riser.layer for riser in risers if riser is not None}

    def advance(self, now: float) -> bool:
        """Let time go on; return whether something still moves or is bright."""
        moves = False
        for box in self.boxes.values():
            bright = box.bright_until > now
            box.settle(now)
            moves = moves or box.moves or bright
        return moves or any(now < shared.lit_until for shared in self.volumes.values())
