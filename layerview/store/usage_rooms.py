"""What an account says of containers, volumes and records, and of what passes."""

from __future__ import annotations

import os

from layerview.store.driver_homes import REMOVING
from layerview.store.engine import Engine
from layerview.store.layout import is_container_id
from layerview.store.ledger import NOTHING, Ledger, added
from layerview.store.moments import birth, changed
from layerview.store.references import Records
from layerview.store.tree_size import Size

_OWN_WORK = {
    "intents": "what a writer is at, or left behind",
    "making": "a container or volume that is being made, or was not made",
    "removing": "a container or volume that is being removed",
    "tmp": "a file on its way to its place",
}
"""Folders of layerview's own corner whose entries pass."""

_JSON = "-json.log"
"""Behind a container's ID: its log, and, with numbers behind, the older ones."""
_LOGS = ("local-logs", "container-cached.log")


class Rooms:
    """Measures the folders of a data root that all drivers share."""

    def __init__(self, ledger: Ledger, records: Records, engine: Engine | None) -> None:
        """Prepare.

        Args:
            ledger: takes the parts.
            records: say whose they are.
            engine: who holds the data root.
        """
        self._ledger = ledger
        self._records = records
        self._engine = engine

    # -- containers and volumes ---------------------------------------------------------------

    def containers(self, path: str) -> None:
        """Measure the containers' folders, and their logs apart."""
        with self._ledger.folder(path) as folder:
            if folder is None:
                self._ledger.whole("metadata", path)
                return
            own = folder.own
            for name in folder.names():
                if is_container_id(name) and folder.is_folder(name):
                    self._container(os.path.join(path, name), name)
                else:
                    own = added(own, folder.entry(name))
            self._ledger.add("metadata", path, own)

    def _container(self, path: str, id: str) -> None:
        owner = self._records.container_name(id)
        with self._ledger.folder(path) as folder:
            if folder is None:
                self._ledger.add(
                    "metadata", path, self._ledger.meter.tree(path), owner, owners=(owner,), id=id
                )
                return
            own = folder.own
            logs: dict[str, tuple[str, Size]] = {}
            """By how their names begin: the first file, and what all take."""
            for name in folder.names():
                size = folder.entry(name)
                start = next(filter(name.startswith, (f"{id}{_JSON}", *_LOGS)), "")
                if start:
                    first, before = logs.get(start, (name, NOTHING))
                    logs[start] = (first, added(before, size))
                else:
                    own = added(own, size)
            for first, size in logs.values():
                where = os.path.join(path, first)
                self._ledger.add("log", where, size, owner, owners=(owner,), id=id)
            self._ledger.add("metadata", path, own, owner, owners=(owner,), id=id)

    def volumes(self, path: str) -> None:
        """Measure the volumes."""
        users = self._records.volume_users()
        unused = "no container mounts it" if self._records.containers_known else ""
        with self._ledger.folder(path) as folder:
            if folder is None:
                self._ledger.whole("metadata", path)
                return
            own = folder.own
            for name in folder.names():
                size = folder.entry(name)
                if not folder.is_folder(name):
                    own = added(own, size)
                    continue
                owners = tuple(sorted(users.get(name, ())))
                where, note = os.path.join(path, name), "" if owners else unused
                self._ledger.add("volume", where, size, owners=owners, id=name, note=note)
            self._ledger.add("metadata", path, own)

    # -- records and what passes --------------------------------------------------------------

    def image(self, path: str) -> None:
        """Measure the records of images and layers."""
        with self._ledger.folder(path) as folder:
            if folder is None:
                self._ledger.whole("metadata", path)
                return
            own = folder.own
            for name in folder.names():
                if folder.is_folder(name):
                    own = added(own, self._layer_store(os.path.join(path, name)))
                else:
                    own = added(own, folder.entry(name))
            self._ledger.add("metadata", path, own, note="records of images and layers")

    def _layer_store(self, path: str) -> Size:
        """Measure the records of one driver; what passes is added as parts of its own."""
        return self._ledger.but(path, {"layerdb": self._layerdb})

    def _layerdb(self, path: str) -> Size:
        return self._ledger.but(path, {"tmp": self._in_the_making, "sha256": self._layer_records})

    def _in_the_making(self, path: str) -> Size:
        return self._ledger.entries(path, self._making)

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
        return self._ledger.entries(path, self._removal)

    def passing(self, path: str) -> None:
        """Measure an engine's folder for what passes."""
        alive = self._engine is not None
        note = "an engine is at work with it" if alive else "an engine left it behind"
        own = self._ledger.entries(path, lambda place: note)
        self._ledger.add("temporary", path, own, note="the engine's folder for what passes")

    def own(self, path: str) -> None:
        """Measure layerview's own corner of an area of ours."""
        rooms = {name: self._own_work for name in _OWN_WORK}
        own = self._ledger.but(path, rooms)
        self._ledger.add("metadata", path, own, note="layerview's own notes")

    def _own_work(self, path: str) -> Size:
        note = _OWN_WORK[os.path.basename(path)]
        return self._ledger.entries(path, lambda place: note)
