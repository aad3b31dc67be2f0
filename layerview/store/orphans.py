"""What nobody refers to, proved: two readings of the records, and how old the folder is.

Without an engine, and with the notes of our own writers read, a folder that neither reading knows
is nobody's. A live engine makes a layer's folder first and its record last, deletes an image
before its layers, and BuildKit's record before its folder. What is younger than the engine may be
at work for a while, and what may be going that very moment is looked at twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from layerview.errors import Cancelled, LayerviewError
from layerview.layer.beneath import is_component
from layerview.store.driver_homes import REMOVING
from layerview.store.driver_references import Idle, References
from layerview.store.engine import Engine
from layerview.store.layout import Layout, is_container_id
from layerview.store.moments import birth, changed
from layerview.store.record_files import RecordFiles
from layerview.store.references import Records
from layerview.store.tree_size import Meter, never
from layerview.text import is_hex, printable

_GRACE = 600.0
"""Seconds in which an engine refers to what it makes, but for large layers (see `_loading`)."""
_JUST = 30.0
"""Seconds in which an engine that deleted an image is at its layers, one after the other."""
_WATCH = 2.0
"""Seconds in which a removal or a copy that goes on shows."""
_AGAIN = "look again"
_DOWNLOADS = ("GetImageBlob", "docker-import-")


class Candidate(NamedTuple):
    """A driver's folder that a first reading of the records knows nobody for."""

    driver: str
    id: str
    """The driver's ID; its name, where that is more."""
    path: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a folder is that no image, container or build cache had at first."""

    kind: str
    """A part's: orphan, temporary, other, or what the second reading says."""
    note: str = ""
    owners: tuple[str, ...] = ()


class Proof:
    """Judges the folders that a first reading of the records knows nobody for."""

    def __init__(
        self,
        first: Records,
        second: Records,
        engine: Engine | None,
        stop: Callable[[], bool] = never,
    ) -> None:
        """Prepare.

        Args:
            first: what was read before the folders were measured.
            second: what was read afterwards.
            engine: who may change the data root meanwhile; None for nobody.
            stop: asked now and then whether to give up.
        """
        self._stop = stop
        self._readings = (first, second)
        self._engine = engine
        self._root = second.root.path
        self._now = time.time()

    def judge(self, driver: str, id: str, path: str) -> Verdict:
        """Say what a folder is; see `judge_all`."""
        return self.judge_all([Candidate(driver, id, path)])[0]

    def judge_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """Say what some folders are.

        Raises:
            Cancelled: when it was asked to stop.
        """
        verdicts = [self._judge(each) for each in candidates]
        watched = [
            number
            for number, verdict in enumerate(verdicts)
            if verdict.kind == "orphan" and self._may_change(candidates[number])
        ]
        if not watched:
            return verdicts
        before = [self._look(candidates[number]) for number in watched]
        until = time.monotonic() + _WATCH
        while time.monotonic() < until:
            if self._stop():
                raise Cancelled("cancelled")
            time.sleep(_WATCH / 20)
        drivers = {candidates[number].driver for number in watched}
        going = any(self._removals(driver) for driver in drivers)
        for number, seen in zip(watched, before, strict=True):
            unneeded = self._idle(candidates[number], "unneeded") is not None
            if self._look(candidates[number]) != seen or (going and unneeded):
                verdicts[number] = Verdict("temporary", f"it is being changed: {_AGAIN}")
        return verdicts

    def _judge(self, candidate: Candidate) -> Verdict:
        driver, id, _ = candidate
        readings = [reading.drivers[driver] for reading in self._readings]
        for reading in reversed(readings):
            claim = reading.claim(id)
            if claim is not None:
                return Verdict(claim.kind, claim.note, claim.owners)
        idle = self._idle(candidate)
        doubt = self._doubt(readings, idle, id)
        if doubt:
            return Verdict("other", f"whose it is can't be told: {doubt}")
        why = _WHY[idle.why if idle is not None else ""]
        if idle is None and id.endswith(REMOVING):
            why = "its removal was interrupted"
        waiting = self._waiting(candidate, idle)
        return Verdict("temporary", waiting) if waiting else Verdict("orphan", why)

    def _idle(self, candidate: Candidate, why: str = "") -> Idle | None:
        """Return the record that alone names a folder, of one kind or of any."""
        for reading in reversed(self._readings):
            idle = reading.drivers[candidate.driver].only(candidate.id)
            if idle is not None and why in ("", idle.why):
                return idle
        return None

    def _doubt(self, readings: list[References], idle: Idle | None, id: str) -> str:
        """Say which records could not be read that may be about a folder."""
        if not all(each.whole for each in readings):
            return "not all records of layers and containers can be read"
        why = idle.why if idle is not None else ""
        if why == "unneeded" and not all(each.needs_known for each in readings):
            return "not all that may need the layer can be read"
        known = all(each.containers_known for each in self._readings)
        if why in ("unneeded", "gone") and not known:
            return "not all containers can be read"
        if not _is_engines(id):
            readable = all(each.cache.readable for each in self._readings)
            return "" if readable else "the records of the build cache can't be read"
        if not why:
            lost = [name for name in readings[0].layerless if name in readings[1].layerless]
            if lost:
                return f"the record that names the layer of container {printable(lost[0])} is lost"
        return ""

    def _waiting(self, candidate: Candidate, idle: Idle | None) -> str:
        """Say why a folder may still be at work, or be in somebody's memory; "" when it is not."""
        if self._engine is None:
            return ""
        driver, id, path = candidate
        why = idle.why if idle is not None else ""
        place = idle.record if idle is not None else path
        if why == "removing" or id.endswith(REMOVING):
            # It got its name when its removal began.
            return "it is being removed" if self._is_younger(changed(place)) else ""
        made = birth(place)
        if not self._is_younger(made):
            return self._just_changed(driver) if why == "unneeded" else ""
        if made is None:
            return "it went meanwhile"
        if why == "making":
            return "a pull or load is making it"
        if why == "gone" and not is_container_id(os.path.basename(place)):
            return "a build has it mounted"
        age = self._now - made
        if age < _GRACE:
            return f"made {_ago(age)} ago, and nothing refers to it yet: {_AGAIN}"
        loading = self._loading(driver)
        if loading:
            return f"{loading}, which may be making it: {_AGAIN}"
        return self._just_changed(driver) if why == "unneeded" else ""

    def _is_younger(self, moment: float | None) -> bool:
        """Whether something may have happened since the engine began."""
        assert self._engine is not None
        return moment is None or self._engine.start is None or moment >= self._engine.start

    def _may_change(self, candidate: Candidate) -> bool:
        """Whether an engine could be at a folder although no record shows it."""
        if self._engine is None:
            return False
        if self._idle(candidate) is None and _is_engines(candidate.id):
            # Its record goes after it, so that only one that is being made has none.
            return self._is_younger(birth(candidate.path))
        return True

    def _look(self, candidate: Candidate) -> tuple[object, ...]:
        """Return what changes when a folder is filled or emptied."""
        size = Meter(self._root, self._stop).tree(candidate.path)
        link = ""
        with suppress(LayerviewError), RecordFiles(self._root) as files:
            link = files.text(os.path.join(candidate.path, "link")) or ""
        # A removal under overlay2 begins with the short link.
        short = os.path.join(self._root, candidate.driver, "l", link)
        return size, is_component(os.fsencode(link)) and os.path.lexists(short)

    def _removals(self, driver: str) -> bool:
        """Whether layers are being removed."""
        assert self._engine is not None
        layers = Layout(self._root, driver).layers
        going = (os.path.join(layers, name) for name in _names(layers) if name.endswith(REMOVING))
        return any(self._is_younger(changed(path)) for path in going)

    def _loading(self, driver: str) -> str:
        """Say what is being pulled or loaded, as far as that shows."""
        if _names(Layout(self._root, driver).layers_tmp):
            return "a layer is being made"
        if any(name.startswith(_DOWNLOADS) for name in _names(f"{self._root}/tmp")):
            return "a pull or load is going on"
        if _names(f"{self._root}/buildkit/content/ingest"):
            return "a build is loading an image"
        return ""

    def _just_changed(self, driver: str) -> str:
        """Say that who needed a layer may have been deleted only just."""
        if self._removals(driver):
            return f"layers are being removed: {_AGAIN}"
        layout = Layout(self._root, driver)
        moments = (_modified(place) for place in (layout.images, layout.mounts))
        latest = max(filter(None, moments), default=0.0)
        age = self._now - latest
        if age >= _JUST or not self._is_younger(latest):
            return ""
        return f"nothing refers to it, but an image or container went or came {_ago(age)} ago"


_WHY = {
    "": "no record of a layer, a container or a build cache names it",
    "making": "left of a pull or load that was interrupted",
    "removing": "the removal of its layer was interrupted",
    "unneeded": "its layer is of no image, container or build cache",
    "gone": "its container, or the build that had it mounted, is gone",
}


def _is_engines(id: str) -> bool:
    """Whether a driver's ID is of the form that engines make, other than BuildKit."""
    return is_hex(id.removesuffix(REMOVING).removesuffix("-init"), 64)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _modified(path: str) -> float | None:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return None


def _ago(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole} s" if whole < 120 else f"{whole // 60} min"
