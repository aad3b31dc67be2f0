"""The account of a data root: every byte below it, in exactly one part.

One walk measures it; the records say whose each part is. What they know nobody for is measured
and held back until a second reading of the records and its age have told what it is.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from layerview.errors import LayerviewError
from layerview.progress import QUIET, Progress
from layerview.store.account import Account, Part
from layerview.store.data_root import DataRoot
from layerview.store.driver_homes import HOMES, REMOVING, Home, id_of, is_trial
from layerview.store.engine import Engine, find_engine
from layerview.store.layout import is_container_id
from layerview.store.moments import birth, changed
from layerview.store.orphans import Candidate, Proof
from layerview.store.record_files import RecordFiles, unread
from layerview.store.references import Records
from layerview.store.tree_size import LEFT_OUT, Meter, Size

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
_OWN_WORK = {
    "intents": "what a writer is at, or left behind",
    "making": "a container or volume that is being made, or was not made",
    "removing": "a container or volume that is being removed",
    "tmp": "a file on its way to its place",
}
"""Folders of layerview's own corner whose entries pass."""
_MOUNTING = (*HOMES, "buildkit", "containerd", "containers", "layerview", "network", "plugins")
"""Where engines mount containers' trees and the like, which are counted where they come from."""
_DEVICES = ("devicemapper", "zfs")
_MOST_PARTS = 1000
"""Entries of one folder of passing things that get a part each."""


def never() -> bool:
    """Go on."""
    return False


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
        self._each = each
        self._progress = progress
        self._parts: list[Part] = []
        self._problems: list[str] = []
        self._held: list[_Held] = []
        self._meter = Meter(root.path, lambda: stop() or progress.cancelled)
        self._engine: Engine | None = None

    def run(self) -> Account:
        """Measure and judge."""
        root = self._root
        self._engine = find_engine(root.path)
        with RecordFiles(root.path) as self._files:
            names = self._files.names(root.path)
            homes = [name for name in names if name in HOMES]
            self._records = Records(root, homes)
            self._measure(names, homes)
        self._judge(homes)
        measuring = filter(self._is_worth_saying, self._meter.problems)
        problems = [*self._records.problems, *self._problems, *measuring]
        drivers = root.drivers()
        return Account(
            root.path,
            drivers[0] if drivers else "",
            tuple(self._parts),
            tuple(dict.fromkeys(problems)),
            self._engine.name if self._engine is not None else "",
        )

    def _is_worth_saying(self, line: str) -> bool:
        """Whether a line of the meter is of no mount that an engine has where it has them."""
        if not line.endswith(LEFT_OUT):
            return True
        parts = os.path.relpath(line, self._root.path).split("/")
        return len(parts) < 3 or parts[0] not in _MOUNTING

    # -- parts --------------------------------------------------------------------------------

    def _add(
        self,
        kind: str,
        path: str,
        size: Size,
        name: str = "",
        *,
        owners: tuple[str, ...] = (),
        id: str = "",
        driver: str = "",
        note: str = "",
    ) -> None:
        part = Part(
            kind,
            name or os.path.basename(path),
            path,
            size.bytes,
            owners,
            id,
            driver,
            note,
            size.entries,
            not size.unread,
        )
        self._parts.append(part)
        if self._each is not None:
            self._each(part)

    @contextmanager
    def _folder(self, path: str) -> Iterator[_Folder | None]:
        """Open a folder for what lies in it; None when it can't be looked into, which is noted."""
        try:
            fd = self._files.open_folder(path)
        except LayerviewError as error:
            self._problems.append(str(error))
            fd = None
        if fd is None:
            yield None
            return
        try:
            yield _Folder(self._meter, fd, path)
        except OSError as error:
            self._problems.append(str(unread(path, error)))
        finally:
            os.close(fd)

    def _whole(self, kind: str, path: str, note: str = "") -> None:
        """Add a thing with all below it as one part."""
        self._add(kind, path, self._meter.tree(path), note=note)

    # -- the top ------------------------------------------------------------------------------

    def _measure(self, names: list[str], homes: list[str]) -> None:
        root = self._root.path
        with self._folder(root) as top:
            if top is None:
                return
            for name in homes:
                if top.is_room(name):
                    self._home(name, HOMES[name])
            rooms: dict[str, Callable[[str], None]] = {
                "containers": self._containers,
                "volumes": self._volumes,
                "image": self._image,
                "layerview": self._own,
                "tmp": lambda path: self._passing(path, "the engine's folder for what passes"),
            }
            for name in names:
                path = os.path.join(root, name)
                if name in homes and top.is_room(name):
                    continue
                if name in rooms and top.is_room(name):
                    rooms[name](path)
                else:
                    self._loose(path)
            self._add("metadata", root, top.own, note="the data root's own folder")

    def _loose(self, path: str) -> None:
        name = os.path.basename(path)
        if name == "buildkit":
            self._whole("build_cache", path, "records of the build cache, and what it fetched")
        elif name in _METADATA:
            self._whole("metadata", path, _METADATA[name])
        elif name == "tmp-old":
            self._whole("temporary", path, "the engine deletes it")
        elif name.startswith(_TRIAL):
            self._whole("temporary", path, "made to try what storage drivers can do here")
        elif name == "containerd":
            self._whole("other", path, "containerd's own records")
        elif name in _DEVICES:
            self._whole("other", path, f"driver {name} keeps no folders that tell layers apart")
        elif _REMAPPED.fullmatch(name):
            self._whole("other", path, "a data root of its own, for remapped users")
        else:
            self._whole("other", path)

    # -- drivers ------------------------------------------------------------------------------

    def _home(self, driver: str, home: Home) -> None:
        path = os.path.join(self._root.path, driver)
        own = Size(0, 0, 0)
        found: dict[str, tuple[str, Size]] = {}
        """By ID: where it lies, and what is measured of it."""
        with self._folder(path) as folder:
            if folder is None:
                self._whole("other", path)
                return
            own = folder.own
            for name in folder.names():
                if name in home.known:
                    own = _sum(own, folder.entry(name))
                elif home.places == ("",) and id_of(name):
                    continue
                elif name not in home.places:
                    self._odd(folder, name, driver)
        for place in home.places:
            own = _sum(own, self._place(os.path.join(path, place).rstrip("/"), place, found))
        depth = self._records.drivers[driver].depth
        for id in sorted(found, key=lambda id: (depth.get(id, 0), id)):
            self._layer(driver, id, *found[id])
        self._add("metadata", path, own, note="the storage driver's own folder", driver=driver)

    def _odd(self, folder: _Folder, name: str, driver: str) -> None:
        path = os.path.join(folder.path, name)
        trial = is_trial(name)
        note = "made to try what the machine can do" if trial else ""
        kind = "temporary" if trial else "other"
        self._add(kind, path, folder.entry(name), note=note, driver=driver)

    def _place(self, path: str, place: str, found: dict[str, tuple[str, Size]]) -> Size:
        """Measure all that lies in a folder under the driver's IDs.

        Args:
            path: the folder.
            place: its name in the driver's own; "" where it is that itself.
            found: takes what was found, by ID; what other folders have under it is added up.

        Returns:
            What is the folder's own, where the driver's own folder is another.
        """
        with self._folder(path) as folder:
            if folder is None:
                return Size(0, 0, 0)
            names = folder.names()
            for number, name in enumerate(names):
                self._progress.step(f"measuring {path}", number, len(names))
                id = id_of(name)
                if id:
                    where, before = found.get(id, (os.path.join(path, name), Size(0, 0, 0)))
                    found[id] = (where, _sum(before, folder.entry(name)))
                elif place:
                    self._odd(folder, name, os.path.basename(os.path.dirname(path)))
            return folder.own if place else Size(0, 0, 0)
        return Size(0, 0, 0)

    def _layer(self, driver: str, id: str, path: str, size: Size) -> None:
        claim = self._records.drivers[driver].claims.get(id)
        if claim is None:
            self._held.append(_Held(driver, id, path, size))
            return
        name = claim.owners[0] if claim.container and claim.owners else id
        self._add(
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
        engine = find_engine(self._root.path)
        if engine is None and self._engine is not None:
            engine = self._engine  # it may have changed something before it ended
        elif engine is not None and self._engine is None:
            engine = Engine(engine.name, None)
        second = Records(self._root, homes)
        self._problems += [line for line in second.problems if line not in self._problems]
        proof = Proof(self._records, second, engine)
        there = [held for held in self._held if os.path.lexists(held.path)]
        verdicts = proof.judge_all([Candidate(one.driver, one.id, one.path) for one in there])
        for held, said in zip(there, verdicts, strict=True):
            if os.path.lexists(held.path):
                self._add(
                    said.kind,
                    held.path,
                    held.size,
                    held.id,
                    owners=said.owners,
                    id=held.id,
                    driver=held.driver,
                    note=said.note,
                )

    # -- containers and volumes ---------------------------------------------------------------

    def _containers(self, path: str) -> None:
        with self._folder(path) as folder:
            if folder is None:
                self._whole("metadata", path)
                return
            own = folder.own
            for name in folder.names():
                if is_container_id(name) and folder.is_folder(name):
                    self._container(os.path.join(path, name), name)
                else:
                    own = _sum(own, folder.entry(name))
            self._add("metadata", path, own)

    def _container(self, path: str, id: str) -> None:
        owner = self._records.container_name(id)
        with self._folder(path) as folder:
            if folder is None:
                self._add("metadata", path, self._meter.tree(path), owner, owners=(owner,), id=id)
                return
            own, logs, kept = folder.own, Size(0, 0, 0), ""
            for name in folder.names():
                size = folder.entry(name)
                if name.startswith((f"{id}-json.log", "local-logs", "container-cached.log")):
                    logs = _sum(logs, size)
                    kept = min(kept or name, name)
                else:
                    own = _sum(own, size)
            if kept:
                where = os.path.join(path, kept)
                self._add("log", where, logs, owner, owners=(owner,), id=id)
            self._add("metadata", path, own, owner, owners=(owner,), id=id)

    def _volumes(self, path: str) -> None:
        users: dict[str, list[str]] = {}
        for record in self._records.containers.values():
            for volume in dict.fromkeys(record.volumes):
                users.setdefault(volume, []).append(self._records.container_name(record.id))
        unused = "no container mounts it" if self._records.containers_known else ""
        with self._folder(path) as folder:
            if folder is None:
                self._whole("metadata", path)
                return
            own = folder.own
            for name in folder.names():
                size = folder.entry(name)
                if not folder.is_folder(name):
                    own = _sum(own, size)
                    continue
                owners = tuple(sorted(users.get(name, ())))
                where, note = os.path.join(path, name), "" if owners else unused
                self._add("volume", where, size, owners=owners, id=name, note=note)
            self._add("metadata", path, own)

    # -- records and what passes --------------------------------------------------------------

    def _image(self, path: str) -> None:
        with self._folder(path) as folder:
            if folder is None:
                self._whole("metadata", path)
                return
            own = folder.own
            for name in folder.names():
                if folder.is_folder(name):
                    own = _sum(own, self._layer_store(os.path.join(path, name)))
                else:
                    own = _sum(own, folder.entry(name))
            self._add("metadata", path, own, note="records of images and layers")

    def _layer_store(self, path: str) -> Size:
        """Measure the records of one driver; what passes is added as parts of its own."""
        return self._but(path, {"layerdb": self._layerdb})

    def _layerdb(self, path: str) -> Size:
        return self._but(path, {"tmp": self._in_the_making, "sha256": self._layer_records})

    def _in_the_making(self, path: str) -> Size:
        return self._entries(path, self._making)

    def _making(self, path: str) -> str:
        going = self._is_engines(birth(path))
        return "a layer's record in the making" if going else "left of a layer that was not made"

    def _removal(self, path: str) -> str:
        if not path.endswith(REMOVING):
            return ""
        # It got its name when the removal began.
        going = self._is_engines(changed(path))
        return "of a layer that is being removed" if going else "of a layer that is half removed"

    def _is_engines(self, moment: float | None) -> bool:
        """Whether something happened in the time of a live engine."""
        engine = self._engine
        return engine is not None and (engine.start or 0.0) <= (moment or 0.0)

    def _layer_records(self, path: str) -> Size:
        return self._entries(path, self._removal)

    def _but(self, path: str, rooms: Mapping[str, Callable[[str], Size]]) -> Size:
        """Measure a folder, and have some of its sub-folders measured otherwise."""
        with self._folder(path) as folder:
            if folder is None:
                return self._meter.tree(path)
            own = folder.own
            for name in folder.names():
                if name in rooms and folder.is_folder(name):
                    own = _sum(own, rooms[name](os.path.join(path, name)))
                else:
                    own = _sum(own, folder.entry(name))
            return own
        return Size(0, 0, 0)

    def _entries(self, path: str, passing: Callable[[str], str]) -> Size:
        """Measure a folder whose passing entries are parts of their own.

        Args:
            path: the folder.
            passing: says what a passing entry is, by its path; "" for what is no passing one.

        Returns:
            What all else in it takes.
        """
        with self._folder(path) as folder:
            if folder is None:
                return self._meter.tree(path)
            own, count = folder.own, 0
            for name in folder.names():
                size, place = folder.entry(name), os.path.join(path, name)
                note = passing(place) if count < _MOST_PARTS else ""
                if note and size.entries:
                    count += 1
                    self._add("temporary", place, size, note=note)
                else:
                    own = _sum(own, size)
            return own
        return Size(0, 0, 0)

    def _passing(self, path: str, what: str) -> None:
        alive = self._engine is not None
        note = "an engine is at work with it" if alive else "an engine left it behind"
        own = self._entries(path, lambda place: note)
        self._add("temporary", path, own, note=what)

    def _own(self, path: str) -> None:
        """Measure layerview's own corner of an area of ours."""
        rooms = {name: self._own_work for name in _OWN_WORK}
        own = self._but(path, rooms)
        self._add("metadata", path, own, note="layerview's own notes")

    def _own_work(self, path: str) -> Size:
        note = _OWN_WORK[os.path.basename(path)]
        return self._entries(path, lambda place: note)


class _Folder:
    """An open folder, whose entries are measured one by one."""

    def __init__(self, meter: Meter, fd: int, path: str) -> None:
        self.path = path
        self._meter = meter
        self._fd = fd
        self.own = Size(os.fstat(fd).st_blocks * 512, 1, 0)
        """What the folder alone takes."""

    def names(self) -> list[str]:
        """List it, sorted."""
        return sorted(os.listdir(self._fd))

    def entry(self, name: str) -> Size:
        """Measure an entry with all below it."""
        return self._meter.entry(self._fd, name)

    def is_room(self, name: str) -> bool:
        """Whether an entry is a folder of the same data root, and no mount."""
        return self.is_folder(name) and not self._meter.is_left_out(self._fd, name)

    def is_folder(self, name: str) -> bool:
        """Whether an entry is a folder."""
        with suppress(OSError):
            mode = os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode
            return stat.S_ISDIR(mode)
        return False


def _sum(one: Size, other: Size) -> Size:
    return Size(one.bytes + other.bytes, one.entries + other.entries, one.unread + other.unread)
