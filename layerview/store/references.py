"""Who refers to each folder of the storage drivers, as the records of a data root say.

What changes a data root changes records and folders one after the other; two readings, and the
folders that are there after the second, tell what nobody refers to (see `orphans`). The records
are read in the order in which a thing passes through them, so that none is missed on its way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from layerview.errors import LayerviewError, NotFoundError
from layerview.oci.fields import Fields
from layerview.store.area import is_own
from layerview.store.build_cache import BuildCache
from layerview.store.containers import removed_container
from layerview.store.data_root import ContainerRecord, DataRoot, ImageRecord
from layerview.store.driver_references import DriverRecords, References
from layerview.store.intents import Intent, Intents
from layerview.store.layout import is_container_id
from layerview.store.record_files import RecordFiles, unread

_SHORT = 12
"""Digits of a container's ID that people are shown."""
_TRIES = 20
"""Readings of what writers of our own are at, who come and go meanwhile."""


class Records:
    """All that refers to driver folders, read once."""

    def __init__(self, root: DataRoot, drivers: Iterable[str]) -> None:
        """Read.

        Args:
            root: the data root.
            drivers: those whose folders are there; those that have images are added.
        """
        self.root = root
        self.problems: list[str] = []
        """What could not be read, a line each."""
        self.files = RecordFiles(root.path)
        try:
            self._read(drivers)
        finally:
            self.files.close()

    def _read(self, drivers: Iterable[str]) -> None:
        root = self.root
        self.own = os.path.join(root.path, "layerview")
        self.is_own = is_own(self.own)
        """Whether layerview made the data root, so that its writers note what they do."""
        self.intents: list[tuple[Intent, bool]] = []
        """What they are at, and whether the writer lives."""
        self._intents_known = True
        self.removals: set[str] = set()
        """Containers that are being removed there."""
        may_be_own = self.is_own or not self._is_surely_others()
        if may_be_own:
            self._read_own()
        found = dict.fromkeys([*root.drivers(), *drivers])
        self.drivers = {driver: References(driver) for driver in found}
        records = [DriverRecords(root.layout(driver), self) for driver in found]
        self.images: list[ImageRecord] = []
        for each in records:
            each.read_images(root)
            self.images += each.images
        self.containers_known = True
        """Whether all containers could be read, and so what they mount."""
        self.container_ids = self._container_ids()
        self.containers = self._containers()
        self.cache = BuildCache.read(root)
        if self.cache.problem:
            self.problems.append(self.cache.problem)
        if may_be_own:
            # Of who began meanwhile a layer may have been seen, and its image not yet.
            self._read_own()
        for each in records:
            each.refer(self.drivers[each.layout.driver])
        self._find_layerless(set().union(*(each.mounts for each in records)))

    def _find_layerless(self, mounts: set[str]) -> None:
        """Note the containers whose record in layerdb is lost: their layers may be any folder."""
        for id in sorted(self.container_ids - mounts - self.removals):
            named = ""
            with suppress(LayerviewError):
                named = self.root.container_document(id).optional_text("Driver") or ""
            for driver, references in self.drivers.items():
                if named in ("", driver):
                    references.layerless += (self.container_name(id),)

    def _is_surely_others(self) -> bool:
        """Whether it is certain that layerview did not make the data root."""
        try:
            return self.files.text(os.path.join(self.own, "version")) is None
        except LayerviewError as error:
            self._intents_known = False
            self.problems.append(str(error))
            return False

    def _read_own(self) -> None:
        for _ in range(_TRIES):
            try:
                self.intents += list(Intents(self.own, "").listed())
                break
            except NotFoundError:
                continue  # one was dropped while it was read
            except (LayerviewError, OSError) as error:
                self._intents_known = False
                place = os.path.join(self.own, "intents")
                said = unread(place, error) if isinstance(error, OSError) else error
                self.problems.append(str(said))
                break
        else:
            self._intents_known = False
        for name in self.names(os.path.join(self.own, "removing")):
            if id := removed_container(name):
                self.removals.add(id)

    @property
    def own_work_known(self) -> bool:
        """Whether it is known what writers of our own are at."""
        return self._intents_known

    def _container_ids(self) -> set[str]:
        before = len(self.problems)
        names = self.names(os.path.join(self.root.path, "containers"))
        self.containers_known = len(self.problems) == before
        return set(filter(is_container_id, names))

    def names(self, folder: str) -> list[str]:
        """List a folder; one that can't be read is noted."""
        try:
            return self.files.names(folder)
        except LayerviewError as error:
            self.problems.append(str(error))
            return []

    def _containers(self) -> dict[str, ContainerRecord]:
        problems: list[str] = []
        try:
            found = {record.id: record for record in self.root.containers(problems)}
        except LayerviewError as error:
            problems.append(str(error))
            found = {}
        self.containers_known = self.containers_known and not problems
        self.problems += problems
        return found

    def container_name(self, id: str) -> str:
        """Name a container for people: its name, or the start of its ID."""
        record = self.containers.get(id)
        name: str | None = record.name if record is not None else ""
        if record is None and id in self.container_ids:
            with suppress(LayerviewError):
                name = self.root.container_document(id).optional_text("Name")
        return (name or "").removeprefix("/") or id[:_SHORT]

    def volume_users(self) -> dict[str, list[str]]:
        """Return which containers mount each volume, by name."""
        users: dict[str, list[str]] = {}
        found = {record.id: record.volumes for record in self.containers.values()}
        for id in self.container_ids - self.containers.keys():
            # It has no layer any more, or none yet.
            with suppress(LayerviewError):
                found[id] = tuple(_volumes(self.root.container_document(id)))
        for id in sorted(found):
            for volume in dict.fromkeys(found[id]):
                users.setdefault(volume, []).append(self.container_name(id))
        return users


def _volumes(document: Fields) -> Iterator[str]:
    points = document.optional_inner("MountPoints")
    if points is not None:
        for key in points.values():
            if name := points.inner(key).optional_text("Name"):
                yield name
