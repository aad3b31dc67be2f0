"""Keys on a real terminal: from pressing one to the output that paints what it does.

Each key is sent alone, after a pause of random length, as typing is. What it must do is known
before: the cursor's sign has to stand in the next row, a folder's marker has to turn, the letter
has to stand in the entry. Anything else that is painted meanwhile, as progress, does not count.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from tests.benchmarks import million
from tests.benchmarks.panes import Panes, focus, is_measuring, is_reading
from tests.benchmarks.processes import Surroundings, layerview
from tests.benchmarks.rows import Row, percentile
from tests.benchmarks.terminal import Screen, Terminal, TimedOut

GOAL = 50.0
"""Milliseconds, 95th percentile."""
PATIENCE = 10.0
"""Seconds after which a key counts as not answered."""
PAUSES = (0.005, 0.120)
"""Seconds between an effect and the next key, at least and at most."""
ENOUGH = 150
"""Keys while the image loads."""

KEYS = {
    "Down": b"\x1b[B",
    "Up": b"\x1b[A",
    "Right": b"\x1b[C",
    "Left": b"\x1b[D",
    "PageUp": b"\x1b[5~",
    "PageDown": b"\x1b[6~",
    "Home": b"\x1b[H",
    "End": b"\x1b[F",
    "Tab": b"\t",
    "Shift+Tab": b"\x1b[Z",
}

Effect = Callable[[Screen], bool]


@dataclass(slots=True)
class Times:
    """Milliseconds by kind of key, and the keys that were not answered."""

    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The same keys: milliseconds of CPU that the screen's process took meanwhile."""
    unanswered: list[str] = field(default_factory=list)
    results: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long what a key started took: a search, a sort."""
    peaks: list[float] = field(default_factory=list)
    """MiB of the screen's process, by session."""

    @property
    def all(self) -> list[float]:
        """All keys; one that was not answered took as long as was waited."""
        known = [time for times in self.taken.values() for time in times]
        return known + [1000 * PATIENCE] * len(self.unanswered)


class Typist:
    """Presses keys on a terminal and times their effects."""

    def __init__(self, terminal: Terminal, chance: random.Random) -> None:
        self.terminal = terminal
        self.chance = chance
        self.times = Times()
        self.pressed = 0.0
        """When the last key was pressed."""

    @property
    def screen(self) -> Screen:
        """What the terminal shows."""
        return self.terminal.screen

    def pause(self) -> None:
        """Wait as somebody who types."""
        self.terminal.idle(self.chance.uniform(*PAUSES))

    def press(self, kind: str, key: str, times: Times | None = None) -> bool:
        """Press a key and time its effect; return whether it came."""
        times = self.times if times is None else times
        effect = self._effect(kind, key)
        if effect is None:
            return False
        before = self.terminal.cpu()
        start = self.pressed = self.terminal.write(KEYS.get(key, key.encode()))
        try:
            painted = self.terminal.wait(effect, PATIENCE)
        except TimedOut:
            times.unanswered.append(f"{kind} {key}")
            return False
        name = key if kind == "move" else kind
        times.taken[name].append(1000 * (painted - start))
        times.cpu[name].append(1000 * (self.terminal.cpu() - before))
        return True

    def _effect(self, kind: str, key: str) -> Effect | None:
        """Return the test for what a key will do to the screen; None when it would do nothing."""
        if kind == "focus":
            before = focus(self.screen)
            return lambda screen: focus(screen) not in (before, ())
        panes = Panes.find(self.screen)
        if panes is None:
            return None
        if kind == "open filter":
            return lambda screen: _filter_is_open(screen, "/ type")
        if kind == "letter":
            typed = (panes.entry(self.screen) or "").removeprefix("/ type to filter") + key
            return lambda screen: _filter_is_open(screen, typed)
        if kind in ("sort", "one layer", "changed only"):
            words = panes.words(self.screen)
            word = {
                "sort": "by size" if "by name" in words else "by name",
                "one layer": "unified view" if " only " in words else " only ",
                "changed only": "changed only",
            }[kind]
            if kind == "changed only" and word in words:
                return lambda screen: word not in screen.line(panes.title)
            return lambda screen: word in screen.line(panes.title)[panes.column :]
        place = panes.place(self.screen)
        if place is None:
            return None
        return _moved(panes, self.screen, key, place)

    def escape(self) -> None:
        """Leave the filter; not timed, for a terminal waits whether more follows Escape."""
        self.terminal.write(b"\x1b")
        try:
            self.terminal.wait(_has_cursor, PATIENCE)
        except TimedOut:
            self.times.unanswered.append("leave the filter")

    def wait_for_result(self, kind: str, needle: str = "") -> None:
        """Wait until the rows that the last key asked for are there, and note how long it took."""

        def there(screen: Screen) -> bool:
            panes = Panes.find(screen)
            if panes is None:
                return False
            words = panes.words(screen)
            return f"{needle} " in words and " found" in words

        try:
            shown = self.terminal.wait(there, 3 * PATIENCE)
            self.times.results[kind].append(1000 * (shown - self.pressed))
        except TimedOut:
            self.times.unanswered.append(f"{kind} {needle}")


def _moved(panes: Panes, screen: Screen, key: str, place: tuple[int, str]) -> Effect | None:
    """Return the test for a moved cursor or a turned marker; None beyond the ends."""
    row, name = place
    step = {"Down": 1, "Up": -1}.get(key)
    if key in ("Down", "PageDown", "End") and not panes.name(screen, row + 1):
        if row + 1 < panes.bottom:
            return None
    elif key in ("Up", "PageUp", "Home") and name.endswith(" /"):
        return None
    if step is not None and panes.top <= row + step < panes.bottom:
        # The sign stands in the next row: nothing but this key does that.
        return lambda screen: panes.cursor(screen) == row + step

    if step is not None:
        # At the edge the rows move under the cursor.
        rows = panes.names(screen)
        return lambda screen: (
            panes.cursor(screen) is not None
            and panes.names(screen) != rows
            and panes.name(screen, row - step) == name
        )

    def changed(screen: Screen) -> bool:
        now = panes.place(screen)
        return now is not None and now[1] != "" and now != place

    return changed


def _is_in_tree(screen: Screen) -> bool:
    """Whether the tree has the keys."""
    panes = Panes.find(screen)
    return panes is not None and focus(screen) == ((panes.title + 1, panes.column + 1),)


def _has_cursor(screen: Screen) -> bool:
    panes = Panes.find(screen)
    if panes is None:
        return False
    place = panes.place(screen)
    return place is not None and bool(place[1]) and panes.entry(screen) is None


def _filter_is_open(screen: Screen, typed: str) -> bool:
    panes = Panes.find(screen)
    entry = None if panes is None else panes.entry(screen)
    return entry is not None and entry.startswith(typed)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to press in an image."""

    folder: int
    """Which child of the root to open."""
    nested: bool
    """Whether the first entry in it is a folder, to be opened too."""
    needle: str
    """What to search for."""
    settles: bool
    """Whether sorting and hiding bring other rows, which then have to be waited for."""

    def moves(self) -> list[str]:
        """Return keys that walk through the tree and back to the root; each has an effect."""
        keys = [*self.opening(), *["Down"] * 9, *["PageDown"] * 3, *["Up"] * 4, "PageUp"]
        keys += ["End", "Up", "Up", "PageUp", "Down", "Home", *["Down"] * self.folder, "Right"]
        # Close the inner folder, go up to the outer one, close it, go to the root.
        return [*keys, *["Left"] * (4 if self.nested else 3)]

    def opening(self) -> list[str]:
        """Return the keys that open the folders, from the root."""
        keys = [*["Down"] * self.folder, "Right"]
        return [*keys, "Down", "Right"] if self.nested else keys


def _walk(typist: Typist, plan: Plan) -> Iterator[None]:
    """Press all kinds of keys, once; stop after each so that the caller can look."""

    def press(kind: str, key: str) -> bool:
        answered = typist.press(kind, key)
        typist.pause()
        return answered

    for key in plan.moves():
        press("move", key)
        yield
    if press("open filter", "/"):
        yield
        for letter in plan.needle[:-1]:
            press("letter", letter)
            yield
        # Nothing may be painted between the last letter and the search's rows unseen.
        if typist.press("letter", plan.needle[-1]) and not is_reading(typist.screen):
            typist.wait_for_result("search", plan.needle)
        typist.pause()
        yield
        typist.escape()
    yield from _start_over(typist)
    for kind, key in (("sort", "s"), ("one layer", "l"), ("changed only", "u")):
        for move in plan.opening():
            press("move", move)
            yield
        for turn in range(2):
            press(kind, key)
            yield
            if plan.settles:
                typist.terminal.idle(0.3)
            elif kind == "changed only" and not turn:
                # Nothing is left to move through.
                continue
            # What the key started goes on behind these.
            for move in ("Down", "Up", "Down", "Up"):
                press("move", move)
                yield
        yield from _start_over(typist)


def _focus_tree(typist: Typist) -> None:
    """Bring the keys back to the tree, and wait for its rows; not timed."""
    for _ in range(8):
        if _is_in_tree(typist.screen):
            break
        typist.terminal.write(KEYS["Shift+Tab"])
        typist.terminal.idle(0.3)
    typist.terminal.wait(_has_cursor, 120.0)


def _start_over(typist: Typist) -> Iterator[None]:
    """Close all folders, with the cursor on the root."""
    typist.terminal.write(KEYS["Home"])
    typist.terminal.idle(0.3)
    for key in ("Left", "Right"):
        typist.press("move", key)
        typist.pause()
        yield


PRESET = Plan(folder=2, nested=True, needle="lib", settles=True)
"""The images of make_images.py: opt and usr, with bin first in it."""
MILLION = Plan(folder=1, nested=False, needle="0012", settles=False)


def while_loading(
    name: str,
    image: str,
    plan: Plan,
    surroundings: Surroundings,
    sessions: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Press keys while an image loads, caches off, and until its waste is known."""
    chance = random.Random(20)
    early, loading, after = Times(), Times(), Times()
    for number in range(sessions):
        with _open(surroundings, image) as terminal:
            typist = Typist(terminal, chance)
            terminal.wait(lambda screen: "RUN " in screen.text() and _is_in_tree(screen))
            key = 0
            while not _has_cursor(terminal.screen) and is_reading(terminal.screen):
                typist.press("focus", ("Tab", "Shift+Tab")[key % 2], early)
                typist.pause()
                key += 1
            typist.times = loading if is_reading(terminal.screen) else after
            _focus_tree(typist)
            for _ in chain.from_iterable(_walk(typist, plan) for _ in range(10)):
                if not is_reading(terminal.screen):
                    if not is_measuring(terminal.screen):
                        break
                    typist.times = after
        assert terminal.usage is not None
        loading.peaks.append(terminal.usage.ru_maxrss / 1024)
        count = len(early.all) + len(loading.all)
        say(f"{name}: {count} keys while loading, {len(after.all)} while measuring")
        if count >= ENOUGH and number:
            break
    for kind, taken in early.taken.items():
        loading.taken[f"{kind}, before the first rows"] += taken
        loading.cpu[f"{kind}, before the first rows"] += early.cpu[kind]
    loading.unanswered += early.unanswered
    row = _row("keys while it loads, caches off", name, loading, GOAL)
    row.note += f"; {len(early.all)} of {len(loading.all)} came before the tree's first rows"
    rows = [row]
    if after.all:
        rows.append(_row("keys while waste is measured and layers are hashed", name, after, None))
    return rows


def when_loaded(
    name: str,
    image: str,
    plan: Plan,
    surroundings: Surroundings,
    walks: int,
    say: Callable[[str], None],
) -> Row:
    """Press keys when an image is loaded and nothing goes on behind the screen."""
    with _open(surroundings, image) as terminal:
        typist = Typist(terminal, random.Random(21))
        terminal.wait(_has_cursor, 300.0)
        terminal.wait(lambda screen: not is_reading(screen), 300.0)
        for _ in range(3000):
            if not terminal.children():
                break
            terminal.idle(0.1)
        terminal.idle(2.0)
        for _ in range(walks):
            for _ in _walk(typist, plan):
                pass
    assert terminal.usage is not None
    typist.times.peaks.append(terminal.usage.ru_maxrss / 1024)
    say(f"{name}: {len(typist.times.all)} keys when loaded")
    return _row("keys when it is loaded", name, typist.times, GOAL)


def with_a_million(
    surroundings: Surroundings, folder: Path, walks: int, say: Callable[[str], None]
) -> list[Row]:
    """Press keys with a million entries loaded, in a thousand folders and in one."""
    rows = []
    for name, write in (
        ("1,000,000 in 1,000 folders", million.write_in_folders),
        ("1,000,000 in one folder", million.write_in_one),
    ):
        image = folder / "million.tar"
        say(f"writing {name}")
        write(image)
        try:
            rows.append(when_loaded(name, str(image), MILLION, surroundings, walks, say))
        finally:
            image.unlink()
    return rows


def _open(surroundings: Surroundings, image: str) -> Terminal:
    environment = surroundings.environment()
    return Terminal(layerview(image), environment, str(surroundings.neutral))


def _row(what: str, name: str, times: Times, limit: float | None) -> Row:
    every = times.all
    if not every:
        return Row(f"{what}: no key came in time", name, float("nan"), "ms")
    cpu = [time for taken in times.cpu.values() for time in taken]
    raw = {"all keys, ms": every, f"all keys (p95 {percentile(cpu, 0.95):.0f} ms), CPU ms": cpu}
    for kind in sorted(times.taken):
        taken = times.taken[kind]
        raw[f"{kind} (p95 {percentile(taken, 0.95):.0f} ms), ms"] = taken
        raw[f"{kind}, CPU ms"] = times.cpu[kind]
    for kind, taken in times.results.items():
        raw[f"{kind}, from the last key to the rows, ms"] = taken
    raw["peak memory of the screen, MiB"] = times.peaks
    note = f"{len(times.unanswered)} keys without an effect that was known for theirs"
    if times.unanswered:
        note += f": {', '.join(times.unanswered[:8])}"
    figure = percentile(every, 0.95)
    return Row(f"{what}, 95th percentile", name, figure, "ms", limit, raw=raw, note=note)
