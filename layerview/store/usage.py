"""The account of a data root: every byte below it, in exactly one part.

One walk measures it; the records say whose each part is. What they know nobody for is measured
and held back until a second reading of the records and its age have told what it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from layerview.errors import Cancelled
from layerview.progress import QUIET, Progress
from layerview.store.account import Account, Part
from layerview.store.data_root import DataRoot
from layerview.store.driver_homes import HOMES, Home, id_of, is_trial
from layerview.store.engine import Engine, find_engine
from layerview.store.ledger import Ledger, OpenFolder, added
from layerview.store.locks import undisturbed
from layerview.store.orphans import Candidate, Proof
from layerview.store.record_files import RecordFiles
from layerview.store.references import Records
from layerview.store.tree_size import LEFT_OUT, Size, never
from layerview.store.usage_rooms import Rooms

_TRIAL = ".layerview-probe-"
_REMAPPED = re.compile(r"\d{1,10}\.\d{1,10}", re.ASCII)
_METADATA = {
    "network": "networks",
    "plugins": "plugins of the engine",
    "runtimes": "",
    "swarm": "",
    "trust": "",
    "builder": "",
    "engine-id": "",
    "nuke-graph-directory.sh": "",
}
"""What engines keep beside images, containers and volumes."""
_MOUNTED = "mounted from elsewhere, and not counted"
_NO_FOLDER = "no folder of the data root: what it leads to is not counted"
_HOME = "the storage driver's own folder"
_MOUNTING = (*HOMES, "buildkit", "containerd", "containers", "layerview", "network", "plugins")
"""Where engines mount containers' trees and the like, which are counted where they come from."""
_DEVICES = ("devicemapper", "zfs")


def account(
    root: DataRoot,
    *,
    each: Callable[[Part], None] | None = None,
    stop: Callable[[], bool] = never,
    progress: Progress = QUIET,
) -> Account:
    """Say what takes the space below a data root.

    Args:
        root: the data root.
        each: told every part as soon as it is known; in the end all are in the account.
        stop: asked now and then whether to give up.
        progress: told how many of the drivers' folders are measured, and asked likewise.

    Raises:
        Cancelled: when it was asked to stop.
        LayerviewError: when the root can't be read at all.
    """
    return _Accounting(root, each, stop, progress).run()


@dataclass(slots=True)
class _Held:
    """A driver's folder of which nobody is known yet."""

    driver: str
    id: str
    path: str
    size: Size


class _Accounting:
    def __init__(
        self,
        root: DataRoot,
        each: Callable[[Part], None] | None,
        stop: Callable[[], bool],
        progress: Progress,
    ) -> None:
        self._root = root
        self._progress = progress
        self._held: list[_Held] = []
        self._engine: Engine | None = None
        self._files = RecordFiles(root.path)
        self._stop: Callable[[], bool] = lambda: stop() or progress.cancelled
        self._ledger = Ledger(self._files, self._stop, each)

    def run(self) -> Account:
        """Measure and judge."""
        root = self._root
        self._engine = find_engine(root.path)
        with self._files:
            names = self._files.names(root.path)
            homes = [name for name in names if name in HOMES]
            self._records = Records(root, homes)
            self._measure(names, homes)
        self._judge(homes)
        drivers, ledger = root.drivers(), self._ledger
        measuring = filter(self._is_worth_saying, ledger.meter.problems)
        problems = [*self._records.problems, *ledger.problems, *measuring]
        return Account(
            root.path,
            drivers[0] if drivers else "",
            tuple(ledger.parts),
            tuple(dict.fromkeys(problems)),
            self._engine.name if self._engine is not None else "",
        )

    def _is_worth_saying(self, line: str) -> bool:
        """Whether a line of the meter is of no mount that an engine has where it has them."""
        if not line.endswith(LEFT_OUT):
            return True
        parts = os.path.relpath(line, self._root.path).split("/")
        return len(parts) < 3 or parts[0] not in _MOUNTING

    # -- the top ------------------------------------------------------------------------------

    def _measure(self, names: list[str], homes: list[str]) -> None:
        root = self._root.path
        with self._ledger.folder(root) as top:
            if top is None:
                return
            for name in homes:
                if top.is_room(name):
                    self._home(name, HOMES[name])
            rooms = Rooms(self._ledger, self._records, self._engine)
            measures: dict[str, Callable[[str], None]] = {
                "containers": rooms.containers,
                "volumes": rooms.volumes,
                "image": rooms.image,
                "layerview": rooms.own,
                "tmp": rooms.passing,
            }
            for name in names:
                path = os.path.join(root, name)
                if name in measures or name in homes:
                    if not top.is_room(name):
                        mounted = top.is_folder(name)
                        self._ledger.whole("other", path, _MOUNTED if mounted else _NO_FOLDER)
                    elif name in measures:
                        measures[name](path)
                else:
                    self._loose(path)
            self._ledger.add("metadata", root, top.own, note="the data root's own folder")

    def _loose(self, path: str) -> None:
        name = os.path.basename(path)
        if name == "buildkit":
            self._ledger.whole(
                "build_cache", path, "records of the build cache, and what it fetched"
            )
        elif name in _METADATA:
            self._ledger.whole("metadata", path, _METADATA[name])
        elif name == "tmp-old":
            self._ledger.whole("temporary", path, "the engine deletes it")
        elif name.startswith(_TRIAL):
            self._ledger.whole("temporary", path, "made to try what storage drivers can do here")
        elif name == "containerd":
            self._ledger.whole("other", path, "containerd's own records")
        elif name in _DEVICES:
            self._ledger.whole(
                "other", path, f"driver {name} keeps no folders that tell layers apart"
            )
        elif _REMAPPED.fullmatch(name):
            self._ledger.whole("other", path, "a data root of its own, for remapped users")
        else:
            self._ledger.whole("other", path)

    # -- drivers ------------------------------------------------------------------------------

    def _home(self, driver: str, home: Home) -> None:
        path = os.path.join(self._root.path, driver)
        with ExitStack() as opened:
            folder = opened.enter_context(self._ledger.folder(path))
            if folder is None:
                self._ledger.whole("other", path)
                return
            places, own = [folder], folder.own
            if home.places != ("",):
                own = self._rest(folder, driver, own, home.known, home.places)
                found = [self._ledger.folder(os.path.join(path, place)) for place in home.places]
                places = [each for one in found if (each := opened.enter_context(one)) is not None]
                own = added(own, *(each.own for each in places))
            named: dict[str, list[tuple[OpenFolder, str]]] = {}
            """By ID: where there is something under it."""
            for place in places:
                own = self._rest(place, driver, own, home.known)
                for name in filter(id_of, place.names()):
                    named.setdefault(name, []).append((place, name))
            depth = self._records.drivers[driver].depth
            # What an inode takes is said of the lowest layer that has it (overlay).
            order = sorted(named, key=lambda id: (depth.get(id, 0), id))
            for number, id in enumerate(order):
                self._progress.step(f"measuring {path}", number, len(order))
                if self._stop():
                    raise Cancelled("cancelled")
                size = added(*(place.entry(name) for place, name in named[id]))
                place, name = named[id][0]
                self._layer(driver, id, os.path.join(place.path, name), size)
            self._ledger.add("metadata", path, own, note=_HOME, driver=driver)

    def _rest(
        self,
        folder: OpenFolder,
        driver: str,
        own: Size,
        known: tuple[str, ...],
        places: tuple[str, ...] = (),
    ) -> Size:
        """Measure what has no driver's ID for its name; add what is the driver's to its own."""
        for name in folder.names():
            if name in known:
                own = added(own, folder.entry(name))
            elif name not in places and (places or not id_of(name)):
                trial = is_trial(name)
                note = "made to try what the machine can do" if trial else ""
                kind = "temporary" if trial else "other"
                where = os.path.join(folder.path, name)
                self._ledger.add(kind, where, folder.entry(name), note=note, driver=driver)
        return own

    def _layer(self, driver: str, id: str, path: str, size: Size) -> None:
        claim = self._records.drivers[driver].claim(id)
        if claim is None:
            self._held.append(_Held(driver, id, path, size))
            return
        name = claim.owners[0] if claim.container and claim.owners else id
        self._ledger.add(
            claim.kind,
            path,
            size,
            name,
            owners=claim.owners,
            id=id,
            driver=driver,
            note=claim.note,
        )

    def _judge(self, homes: list[str]) -> None:
        """Find out what those folders are that the first reading knows nobody for."""
        if not self._held:
            return
        self._progress.step("looking again at what nobody refers to", 0, None)
        engine = find_engine(self._root.path)
        if engine is None and self._engine is not None:
            engine = self._engine  # it may have changed something before it ended
        elif engine is not None and self._engine is None:
            engine = Engine(engine.name, None)
        with undisturbed(self._root.path):
            second = Records(self._root, homes)
        self._ledger.problems += [
            line for line in second.problems if line not in self._ledger.problems
        ]
        proof = Proof(self._records, second, engine, self._stop)
        there = [held for held in self._held if os.path.lexists(held.path)]
        verdicts = proof.judge_all([Candidate(one.driver, one.id, one.path) for one in there])
        for held, said in zip(there, verdicts, strict=True):
            if os.path.lexists(held.path):
                self._ledger.add(
                    said.kind,
                    held.path,
                    held.size,
                    held.id,
                    owners=said.owners,
                    id=held.id,
                    driver=held.driver,
                    note=said.note,
                )
