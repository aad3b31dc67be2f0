"""The story that a Live view tells of a copy-up that took a millisecond: which frame, and when.

Pure: events and milliseconds go in, a frame comes out. A frame says what is to be seen of one
event: how far the search is, how far the file has risen, what the container layer shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from layerview.watch.events import Copying, CowEvent

STEP = 100
"""Milliseconds of the shortest frame: ten a second are what the screen shows at most."""

SEARCH_STEPS = 6
"""Frames that a search takes at most, however many layers it visits."""

RISE_STEPS = 6
FOUND, ROUTE = 200, 100
LANDED, STAYS, FADES = 1500, 2500, 1000
BRIGHT = 300
HURRY = 500
"""Milliseconds that a landing is shown while something else waits to be told."""

MOST_WAITING = 3
"""Events that may wait to be told; of more only the newest is."""

LOST = 10_000
"""Milliseconds without news after which a copy-up is taken for given up."""


class Frame(NamedTuple):
    """What is to be seen of one event at one moment."""

    number: int
    """The event's number in the store; -1 while it is still under way."""
    event: CowEvent
    seen: int = 0
    """How many of the layers searched have their mark yet."""
    searching: bool = False
    """The container layer and the layers seen are marked, and a line joins them."""
    found: bool = False
    """The last layer seen is where it was."""
    share: float | None = None
    """How far the file has risen, 0 to 1; None: no file is on its way."""
    landed: bool = False
    """It has just arrived: its name stands on the container layer."""
    bright: bool = False
    """The container layer lights up."""
    sign: str = ""
    """What the container layer's mark says instead of "not here": here, new, whiteout and so on."""
    way: float | None = None
    """How far the arrow to the volume has run, 0 to 1."""
    faint: bool = False
    """All marks fade."""
    landing: bool = False
    """The event is told so far as it goes: what follows only stays and fades."""


Scene = list[tuple[int, Frame]]
"""Frames, each with the milliseconds that it stays."""

_SIGNS = {
    "write": "here",
    "create": "new",
    "metadata": "changed",
    "rename": "renamed",
    "link": "linked",
    "delete": "gone",
    "block": "here",
}


def searched_layers(event: CowEvent, layers: Sequence[int]) -> tuple[int, ...]:
    """Return the image's layers that were searched, top first, the one where it was last.

    Args:
        event: a copy-up, a whiteout or a read.
        layers: the image's, top first. Where the event does not say which were searched, it is all
            from the top down to its own.
    """
    known = tuple(number for number in event.searched if number in layers)
    if known or event.layer is None or event.layer not in layers:
        return known
    return tuple(layers[: layers.index(event.layer) + 1])


def _search(first: Frame, count: int, finds: bool) -> Scene:
    """The line grows down, a layer a frame; of many layers several a frame."""
    steps = min(count, SEARCH_STEPS)
    scene = [(STEP, first)]
    for step in range(1, steps + 1):
        seen = count * step // steps
        scene.append((STEP, first._replace(seen=seen, found=finds and seen == count)))
    return scene


def _tail(landed: Frame, stays: int = STAYS) -> Scene:
    """The end is seen for a while, then it fades."""
    rest = landed._replace(landed=False, bright=False, share=None)
    return [(LANDED, landed), (stays, rest), (FADES, rest._replace(faint=True))]


def scene_of(number: int, event: CowEvent, layers: Sequence[int]) -> Scene:
    """Return the frames that tell an event.

    Args:
        number: of the event in the store.
        event: what is told.
        layers: the image's layers, top first.
    """
    first = Frame(number, event)
    if event.volume:
        ways = [(STEP, first._replace(way=step / 3)) for step in (1, 2)]
        arrived = first._replace(way=1.0, landing=True)
        return [*ways, (LANDED, arrived), (STEP, arrived._replace(way=None))]
    count = len(searched_layers(event, layers))
    if event.kind in ("copy_up", "read") and count:
        searching = first._replace(searching=True)
        scene = _search(searching, count, True)
        found = searching._replace(seen=count, found=True)
        scene[-1] = (FOUND, found)
        if event.kind == "read":
            return [*scene, *_tail(found._replace(landing=True), 500)]
        scene.append((ROUTE, found._replace(share=0.0)))
        scene += [
            (STEP, found._replace(share=step / RISE_STEPS)) for step in range(1, RISE_STEPS + 1)
        ]
        return [*scene, *_tail(found._replace(landed=True, bright=True, landing=True))]
    if event.kind in ("whiteout", "opaque"):
        sign = first._replace(searching=bool(count), sign=event.kind)
        scene = _search(sign, count, True) if count else []
        end = sign._replace(seen=count, found=bool(count), bright=True, landing=True)
        return [*scene, *_tail(end)]
    shown = first._replace(sign=_SIGNS.get(event.kind, ""), landing=True)
    if event.kind == "copy_up":
        shown = shown._replace(landed=True)
    return [(BRIGHT, shown._replace(bright=True)), (LANDED, shown), (STEP, shown)]


def landing_of(scene: Scene) -> int:
    """Return the place of the frame that has told all."""
    return next(place for place, (_, frame) in enumerate(scene) if frame.landing)


class Teller:
    """Tells one event after another; what comes too fast is told in part, and counted."""

    def __init__(self, layers: Sequence[int], *, animated: bool = True) -> None:
        """Tell of a stack.

        Args:
            layers: the image's, top first.
            animated: else only the frame that has told all is shown, of the newest event.
        """
        self.layers = tuple(layers)
        self.animated = animated
        self._passed_by = 0
        self._skipped = 0
        self._crowded = False
        self._scene: Scene = []
        self._at = 0
        self._left = 0.0
        self._waiting: list[tuple[int, CowEvent]] = []
        self._copying: Copying | None = None
        self._silent = 0.0

    # What happens ----------------------------------------------------------------------------

    def add(self, number: int, event: CowEvent) -> None:
        """Take an event; what was held when watching began is no news."""
        if event.held:
            return
        copying = self._copying
        if copying is not None and event.kind == "copy_up" and _same(copying, event):
            self._copying = None
            if self._tells_of_copying:
                self._finish(number, event)
                return
        if event.kind == "read" and (self._waiting or self._busy):
            self._skipped += 1
            return
        if self._crowded and self._waiting and _follows(self._waiting[-1][1], event):
            # What was written to a copy goes with it: the copy is the better story.
            self._skipped += 1
            return
        self._drop_outdone(event)
        if self._is_on_the_way_to(event):
            self._scene = []
        self._waiting.append((number, event))
        if len(self._waiting) > MOST_WAITING or self._crowded:
            self._crowded = True
            self._skipped += len(self._waiting) - 1
            del self._waiting[:-1]

    def copying(self, record: Copying) -> None:
        """Take news of a copy-up under way."""
        self._copying = record
        self._silent = 0.0
        if self._is_on_the_way_to(record):
            self._scene = []
        if self._tells_of_copying:
            told = self._scene[-1][1].event
            if told.path == record.path and told.layer == record.layer:
                self._scene[-1] = (0, self._scene[-1][1]._replace(share=_share(record)))
            else:
                self._begin(self._scene_of_copying(record))

    def _drop_outdone(self, event: CowEvent) -> None:
        """Take out of those that wait what the new one says as well."""
        while self._waiting:
            last = self._waiting[-1][1]
            again = (last.kind, last.path, last.volume) == (event.kind, event.path, event.volume)
            # Folders are copied before what is in them: that is not worth a story of its own.
            if not (again or _is_parent(last, event)):
                return
            self._waiting.pop()

    def _is_on_the_way_to(self, event: CowEvent | Copying) -> bool:
        """Whether what is told is only a folder that was copied for the sake of an entry in it."""
        if not self._scene or self._tells_of_copying:
            return False
        frame = self._scene[self._at][1]
        return not frame.landing and _is_parent(frame.event, event)

    # The clock -------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame | None:
        """What is to be seen now."""
        return self._scene[self._at][1] if self._scene else None

    @property
    def untold(self) -> int:
        """How many events were only counted, before the one that is told and since."""
        return self._passed_by + self._skipped

    @property
    def waiting(self) -> int:
        """How many events wait to be told."""
        return len(self._waiting)

    @property
    def due(self) -> float | None:
        """Milliseconds until another frame comes; None: not without news."""
        if self._scene:
            return self._left if self._tells else LOST - self._silent
        return 0.0 if self._waiting or self._copying is not None else None

    @property
    def _tells_of_copying(self) -> bool:
        return bool(self._scene) and self._scene[-1][0] == 0

    @property
    def _tells(self) -> bool:
        """Whether the frame gives way to another by itself."""
        return bool(self._scene) and self._scene[self._at][0] > 0

    @property
    def _busy(self) -> bool:
        """Whether an event is being told that has not yet got to its point."""
        return bool(self._scene) and (self._tells_of_copying or self._at < landing_of(self._scene))

    def advance(self, milliseconds: float) -> None:
        """Let time go by."""
        while True:
            if not self._scene and not self._begin_next():
                return
            if not self._tells:
                self._silent += milliseconds
                if self._silent >= LOST:
                    self._copying, self._scene = None, []
                    milliseconds = 0
                    continue
                return
            self._hurry()
            if not self._scene:
                continue
            if milliseconds < self._left:
                self._left -= milliseconds
                return
            milliseconds -= self._left
            if self._at + 1 < len(self._scene):
                self._at += 1
                self._left = self._scene[self._at][0]
            else:
                self._scene = []

    def _hurry(self) -> None:
        """Cut a frame short that only stays, when something waits."""
        if not self._waiting and self._copying is None:
            return
        place = self._at
        if not self._tells_of_copying and place >= (landing := landing_of(self._scene)):
            if place > landing:
                self._scene = []
                return
            stays, frame = self._scene[place]
            limit = min(HURRY, stays)
            self._left = max(0.0, self._left - (stays - limit))
            self._scene[place:] = [(limit, frame)]

    def _begin_next(self) -> bool:
        if self._copying is not None:
            self._begin(self._scene_of_copying(self._copying))
        elif self._waiting:
            number, event = self._waiting.pop(0)
            self._begin(scene_of(number, event, self.layers))
        else:
            return False
        self._passed_by, self._skipped, self._crowded = self._skipped, 0, False
        return True

    def _begin(self, scene: Scene, at: int = 0) -> None:
        self._scene = scene
        self._silent = 0.0
        if not self.animated:
            # The frame that has told all, or the newest of what is under way.
            at = len(scene) - 1 if scene[-1][0] == 0 else landing_of(scene)
            if scene[at][0]:
                whole = sum(stays for stays, _ in scene[at:])
                self._scene = [(max(whole, LANDED + STAYS), scene[at][1])]
                at = 0
        self._at = at
        self._left = self._scene[at][0]

    # A copy-up under way ---------------------------------------------------------------------

    def _scene_of_copying(self, record: Copying) -> Scene:
        """The search, and then a frame that stays as long as the copying takes."""
        event = CowEvent(record.time, "copy_up", record.path, layer=record.layer)
        first = Frame(-1, event, searching=True)
        count = len(searched_layers(event, self.layers))
        scene: Scene = []
        if count:
            scene = _search(first, count, True)
            scene[-1] = (FOUND, first._replace(seen=count, found=True))
            first = scene[-1][1]
        else:
            first = first._replace(searching=False)
        return [*scene, (0, first._replace(share=_share(record)))]

    def _finish(self, number: int, event: CowEvent) -> None:
        """Go on with what has been copied: the rest of the way up, and the landing."""
        at = self._at
        waits = at == len(self._scene) - 1
        share = self._scene[-1][1].share or 0.0
        scene = scene_of(number, event, self.layers)
        if waits:
            rises = [
                place
                for place, (_, frame) in enumerate(scene)
                if frame.share is not None and frame.share > share
            ]
            at = rises[0] if rises else landing_of(scene)
        self._begin(scene, min(at, len(scene) - 1))

    # Frame by frame --------------------------------------------------------------------------

    def step(self, by: int, count: int, event: Callable[[int], CowEvent]) -> int | None:
        """Go a frame on or back, through the events of the store; return the event's number.

        Args:
            by: 1 or -1.
            count: how many events may be told.
            event: gives an event by its number.
        """
        self._waiting.clear()
        if self._tells_of_copying:
            # It has no end yet that could be stepped to.
            self._scene = []
        frame = self.frame
        if frame is not None:
            scene = scene_of(frame.number, frame.event, self.layers)
            at = next((n for n, (_, one) in enumerate(scene) if one == frame), landing_of(scene))
            at = min(at, landing_of(scene)) + by
            if 0 <= at <= landing_of(scene):
                self._show(scene, at)
                return frame.number
            number = frame.number + by
        else:
            number = count - 1 if by < 0 else count
        while 0 <= number < count:
            told = event(number)
            if not told.held:
                scene = scene_of(number, told, self.layers)
                self._show(scene, 0 if by > 0 else landing_of(scene))
                return number
            number += by
        return None

    def go_to(self, number: int, event: CowEvent) -> int:
        """Show the first frame of an event, and return its number."""
        self._waiting.clear()
        self._show(scene_of(number, event, self.layers), 0)
        return number

    def _show(self, scene: Scene, at: int) -> None:
        self._scene, self._at, self._left = scene, at, scene[at][0]


def _is_parent(folder: CowEvent, event: CowEvent | Copying) -> bool:
    """Whether a copy-up was of a folder above what another one is of."""
    return (
        folder.kind == "copy_up"
        and (isinstance(event, Copying) or event.kind == "copy_up")
        and not folder.bytes
        and event.path.startswith(folder.path + b"/" if folder.path else b"")
        and event.path != folder.path
    )


def _follows(before: CowEvent, event: CowEvent) -> bool:
    """Whether an event is only what a file was copied up or made for."""
    return (
        before.kind in ("copy_up", "create")
        and event.kind in ("write", "metadata")
        and before.path == event.path
    )


def _same(copying: Copying, event: CowEvent) -> bool:
    return copying.path in (event.path, b"")


def _share(record: Copying) -> float:
    if not record.total:
        return 0.0
    return min(1.0, max(0.0, record.done / record.total))
