"""What nobody refers to, proved: two readings of the records, and how old the folder is.

Without an engine, and with the notes of our own writers read, a folder that neither reading knows
is nobody's. A live engine makes a layer's folder first and its record last, deletes an image
before its layers, and BuildKit's record before its folder. So what is younger than the engine, or
may just have lost who needed it, is no orphan until that has been quiet for a while.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from layerview.store.engine import Engine
from layerview.store.layout import Layout
from layerview.store.moments import birth, changed
from layerview.store.references import Claim, Idle, Records, References
from layerview.text import is_hex

_QUIET = 600.0
"""Seconds in which an engine has finished what it began, if it still works on it at all."""
_AGAIN = "look again"
_DOWNLOADS = ("GetImageBlob", "docker-import-")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a folder is that no image, container or build cache had at first."""

    kind: str
    """A part's: orphan, temporary, other, or what the second reading says."""
    note: str = ""
    owners: tuple[str, ...] = ()


class Proof:
    """Judges the folders that a first reading of the records knows nobody for."""

    def __init__(self, first: Records, second: Records, engine: Engine | None) -> None:
        """Prepare.

        Args:
            first: what was read before the folders were measured.
            second: what was read afterwards.
            engine: who may change the data root meanwhile; None for nobody.
        """
        self._readings = (first, second)
        self._engine = engine
        self._root = second.root.path
        self._now = time.time()

    def judge(self, driver: str, id: str, path: str) -> Verdict:
        """Say what a folder is.

        Args:
            driver: the storage driver in whose folder it lies.
            id: the driver's ID; its name, where that is none.
            path: the folder.
        """
        readings = [reading.drivers[driver] for reading in self._readings]
        for reading in reversed(readings):
            claim = reading.claims.get(id)
            if claim is not None:
                return _claimed(claim)
        idle = next((each.idle[id] for each in reversed(readings) if id in each.idle), None)
        doubt = self._doubt(readings, idle, id)
        if doubt:
            return Verdict("other", f"whose it is can't be told: {doubt}")
        why = _WHY[idle.why if idle is not None else ""]
        if idle is None and id.endswith("-removing"):
            why = "its removal was interrupted"
        waiting = self._waiting(driver, id, path, idle)
        return Verdict("temporary", waiting) if waiting else Verdict("orphan", why)

    def _doubt(self, readings: list[References], idle: Idle | None, id: str) -> str:
        """Say which records could not be read that may be about a folder."""
        if not all(each.whole for each in readings):
            return "not all records of layers and containers can be read"
        why = idle.why if idle is not None else ""
        if why == "unneeded" and not all(each.needs_known for each in readings):
            return "not all that may need the layer can be read"
        if why == "gone" and not all(each.containers_known for each in self._readings):
            return "not all containers can be read"
        if not _is_engines(id) and not all(each.cache.readable for each in self._readings):
            return "the records of the build cache can't be read"
        return ""

    def _waiting(self, driver: str, id: str, path: str, idle: Idle | None) -> str:
        """Say why a folder may still be at work, or be in somebody's memory; "" when it is not."""
        if self._engine is None:
            return ""
        made = birth(idle.record if idle is not None else path)
        if made is None:
            return "it went meanwhile"
        start = self._engine.start
        younger = start is None or made >= start
        if idle is not None and idle.why == "removing":
            # The record was renamed when its removal began.
            began = changed(idle.record)
            going = start is None or began is None or began >= start
            return "its layer is being removed" if going else ""
        if idle is not None and idle.why == "making":
            return "a pull or load is making it" if younger else ""
        if idle is not None and idle.why == "gone":
            return self._young(made, "a build or a new container has it") if younger else ""
        if id.endswith("-removing"):
            began = changed(path)
            return "it is being removed" if start is None or (began or 0) >= start else ""
        if idle is None and not younger and _is_engines(id):
            return ""  # its record goes after it
        if idle is None and not younger:
            return self._busy([f"{self._root}/buildkit/snapshots.db"])
        if younger and (waiting := self._young(made, "nothing refers to it yet")):
            return waiting
        if younger and (loading := self._loading(driver)):
            return f"{loading}, which may be making it: {_AGAIN}"
        if idle is None and _is_engines(id):
            return ""
        layout = Layout(self._root, driver)
        places = [layout.images, layout.mounts, layout.layers]
        return self._busy([*places, f"{self._root}/buildkit/snapshots.db"])

    def _young(self, made: float, what: str) -> str:
        """Say how long ago something was made, if that was only just."""
        age = self._now - made
        if age >= _QUIET:
            return ""
        return f"made {_ago(age)} ago, and {what}: {_AGAIN}"

    def _loading(self, driver: str) -> str:
        """Say what is being pulled or loaded, as far as that shows."""
        if _names(Layout(self._root, driver).layers_tmp):
            return "a layer is being made"
        if any(name.startswith(_DOWNLOADS) for name in _names(f"{self._root}/tmp")):
            return "a pull or load is going on"
        if _names(f"{self._root}/buildkit/content/ingest"):
            return "a build is loading an image"
        return ""

    def _busy(self, places: list[str]) -> str:
        """Say that who needed a layer may have been deleted only just."""
        assert self._engine is not None
        latest = max((moment for place in places if (moment := _modified(place))), default=0.0)
        if self._now - latest >= _QUIET or latest < (self._engine.start or 0.0):
            return ""
        age = _ago(self._now - latest)
        return f"nothing refers to it, but the engine changed its records {age} ago: {_AGAIN}"


_WHY = {
    "": "no record of a layer, a container or a build cache names it",
    "making": "left of a pull or load that was interrupted",
    "removing": "the removal of its layer was interrupted",
    "unneeded": "its layer is of no image, container or build cache",
    "gone": "its container, or the build that had it mounted, is gone",
}


def _claimed(claim: Claim) -> Verdict:
    return Verdict(claim.kind, claim.note, claim.owners)


def _is_engines(id: str) -> bool:
    """Whether a driver's ID is of the form that engines make, other than BuildKit."""
    return is_hex(id.removesuffix("-removing").removesuffix("-init"), 64)


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
