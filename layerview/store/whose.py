"""Whose something below a data root is, and where an image's or a container's bytes lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from layerview.errors import NotFoundError
from layerview.oci.digest import Digest
from layerview.store.answers import Answer, Place, joined
from layerview.store.build_cache import BuildCache
from layerview.store.data_root import ContainerRecord, DataRoot, LayerRecord
from layerview.store.driver_homes import HOMES
from layerview.store.engine import find_engine
from layerview.store.inventory import ImageUse, Inventory
from layerview.store.locks import undisturbed
from layerview.store.orphans import Proof
from layerview.store.references import Records
from layerview.store.root_paths import RootPath, is_log, look_up
from layerview.store.tree_size import LEFT_OUT, Meter
from layerview.text import printable

_KINDS = {
    "image_layer": "layer",
    "container_layer": "container",
    "init_layer": "init",
    "build_cache": "cache",
}
"""What an account calls a part, and an answer what the part is."""


class Whose:
    """Answers for one data root, whose records are read once."""

    def __init__(self, root: DataRoot) -> None:
        """Name the root.

        Raises:
            LayerviewError: when its records can't be read at all.
        """
        self.root = root
        self.inventory = Inventory(root)
        self.problems = self.inventory.problems
        """What could not be read, a line each."""
        self._stacks: dict[str, dict[Digest, None]] = {}
        """By container's ID."""
        self.layers: dict[tuple[str, str], LayerRecord] = {}
        """By driver and cache ID."""
        self.containers: dict[tuple[str, str], tuple[str, ContainerRecord]] = {}
        """By driver and its ID, with "container" or "init"."""
        for layer in self.inventory.layers.values():
            self.layers[layer.driver, layer.cache_id] = layer
        for one in self.inventory.containers:
            self.containers[one.driver, one.mount_id] = "container", one
            if one.init_id:
                self.containers[one.driver, one.init_id] = "init", one

    @cached_property
    def _records(self) -> Records:
        """All that refers to folders, the build cache's records included."""
        # Of all that paths may name, whether they are there or not.
        found = Records(self.root, HOMES)
        self.problems += [line for line in found.problems if line not in self.problems]
        return found

    @property
    def _cache(self) -> BuildCache:
        return self._records.cache

    @cached_property
    def _proof(self) -> Proof:
        first = self._records
        with undisturbed(self.root.path):
            second = Records(self.root, first.drivers)
        return Proof(first, second, find_engine(self.root.path))

    def measured(self, answer: Answer, stop: Callable[[], bool]) -> Answer:
        """Return an answer with the bytes of its places, each inode once.

        Args:
            answer: as it was found.
            stop: asked now and then; when it says True, Cancelled is raised.
        """
        meter = Meter(self.root.path, stop)
        sizes: dict[str, int | None] = {}
        for place in answer.places:
            if place.path not in sizes and os.path.lexists(place.path):
                found = meter.tree(place.path)
                sizes[place.path] = found.bytes if not found.unread else None
        # A container's log lies among its other files, which are a place as well.
        for path, size in sizes.items():
            outer = os.path.dirname(path)
            held = sizes.get(outer)
            if held is not None and size is not None:
                sizes[outer] = held - size
        self.problems += [line for line in meter.problems if not line.endswith(LEFT_OUT)]
        places = (replace(place, bytes=sizes.get(place.path, 0)) for place in answer.places)
        return replace(answer, places=tuple(places))

    # -- paths --------------------------------------------------------------------------------

    def of_path(self, path: str) -> Answer:
        """Say whose a path below the root is.

        Raises:
            NotFoundError: when it lies elsewhere, or nothing is known of it and nothing is there.
        """
        spot = look_up(self.root, path)
        answer = self.of_spot(spot)
        there = os.path.lexists(spot.path)
        if not there and answer.kind in ("orphan", "other", "metadata", "volume", "temporary"):
            raise NotFoundError(f"{printable(path)} is not there, and no record speaks of it")
        if not there:
            return replace(answer, note=joined(answer.note, "it is not there"))
        if _is_missing(path):
            answer = replace(answer, note=joined(answer.note, "nothing has that name in it"))
        return replace(answer, inside=spot.inside)

    def of_spot(self, spot: RootPath) -> Answer:
        """Say whose what a path leads to is."""
        if spot.kind == "folder":
            return self.of_folder(spot.driver, spot.id, spot.path)
        if spot.kind == "layer":
            digest = Digest("sha256", spot.id)
            layer = self.inventory.layers.get((spot.driver, digest))
            made = self.of_layer(layer) if layer is not None else Answer("metadata")
            note = f"the record of layer {digest.short}"
            return self._record(made, spot, note)
        if spot.kind == "mount":
            return self._record(self._of_container_id(spot.id), spot, "the record of its layer")
        if spot.kind == "image":
            images = self._by_image_id(spot.driver, spot.id)
            made = Answer("metadata", images=tuple((image, None) for image in images))
            return self._record(made, spot, f"the config or the notes of image {spot.id[:12]}")
        if spot.kind == "container":
            return self._record(self._of_container_id(spot.id), spot, "its config and other files")
        if spot.kind == "log":
            answer = self._of_container_id(spot.id)
            places = (Place("log", spot.path),)
            return replace(answer, kind="log", path=spot.path, cache_id="", places=places)
        if spot.kind == "volume":
            return self.of_volume(spot.id, spot.path)
        kind = {"build_cache": "cache"}.get(spot.kind, spot.kind)
        place, note = Place(spot.kind, spot.path), ""
        if spot.path == self.root.path:
            note = "the data root itself, with all that is in it"
        elif os.path.relpath(spot.path, self.root.path) in HOMES:
            note = "the storage driver's own folder, with all layers"
        return Answer(kind, spot.path, spot.driver, places=(place,), note=note)

    def _record(self, answer: Answer, spot: RootPath, note: str) -> Answer:
        return replace(
            answer,
            kind="metadata",
            path=spot.path,
            driver=spot.driver or answer.driver,
            places=(Place("metadata", spot.path),),
            note=note,
            orphan=False,
        )

    # -- folders of drivers -------------------------------------------------------------------

    def of_folder(self, driver: str, id: str, path: str = "") -> Answer:
        """Say whose a folder of a driver is, by the driver's ID."""
        layer = self.layers.get((driver, id))
        if layer is not None:
            return self.of_layer(layer, path)
        held = self.containers.get((driver, id))
        if held is not None:
            kind, record = held
            part = "init_layer" if kind == "init" else "container_layer"
            return Answer(
                kind,
                path or self.folders(driver, id)[0],
                driver,
                id,
                images=self._images_of(record),
                containers=(record,),
                places=tuple(Place(part, each) for each in self.folders(driver, id)),
                note="" if record.name else "its container is gone",
            )
        folder = path or self.folders(driver, id)[0]
        places = tuple(Place("build_cache", each) for each in self.folders(driver, id))
        cached = self._cache.driver_ids.get(id)
        if cached is not None:
            return Answer("cache", folder, driver, id, places=places, note=cached.description)
        verdict = self._proof.judge(driver, id, folder)
        kind = _KINDS.get(verdict.kind, verdict.kind)
        return Answer(
            kind,
            folder,
            driver,
            id,
            places=tuple(replace(place, kind=verdict.kind) for place in places),
            note=joined(verdict.note, ", ".join(verdict.owners)),
            orphan={"orphan": True, "other": None}.get(kind, False),
        )

    def folders(self, driver: str, id: str) -> list[str]:
        """Return where a driver has something under an ID; the first one has its files."""
        layout = self.root.layout(driver)
        if not layout.has_folders:
            return [layout.home]
        first = os.path.join(layout.layers_home, id)
        if driver != "aufs":
            return [first]
        return [first, *(os.path.join(layout.home, each, id) for each in ("layers", "mnt"))]

    # -- layers -------------------------------------------------------------------------------

    def of_layer(self, layer: LayerRecord, path: str = "") -> Answer:
        """Say which images and containers have a layer."""
        images = tuple(self.having(layer))
        containers = tuple(self.on(layer))
        folder = path or self.folders(layer.driver, layer.cache_id)[0]
        kind, note = "layer", ""
        orphan: bool | None = False
        cached = self._cache.chain_ids.get(layer.chain_id) or self._cache.driver_ids.get(
            layer.cache_id
        )
        if not images and not containers:
            if cached is not None:
                kind, note = "cache", cached.description
            else:
                verdict = self._proof.judge(layer.driver, layer.cache_id, folder)
                note = verdict.note
                if verdict.kind == "orphan":
                    kind, orphan = "orphan", True
                elif verdict.kind == "other":
                    orphan = None
        return Answer(
            kind,
            folder,
            layer.driver,
            layer.cache_id,
            layer,
            images,
            containers,
            tuple(self._layer_places(layer)),
            note=note,
            orphan=orphan,
        )

    def _layer_places(self, layer: LayerRecord) -> Iterator[Place]:
        for folder in self.folders(layer.driver, layer.cache_id):
            yield Place("image_layer", folder, layer=layer)
        record = self.root.layout(layer.driver).layer(layer.chain_id)
        yield Place("metadata", record, layer=layer, own=False)

    def having(self, layer: LayerRecord) -> list[tuple[ImageUse, int | None]]:
        """Return the images that have a layer; steps on the way to others where they alone do."""
        found = [
            (image, image.record.chain_ids.index(layer.chain_id))
            for image in self.inventory.images
            if image.record.driver == layer.driver and layer.chain_id in image.record.chain_ids
        ]
        return [one for one in found if not one[0].is_intermediate] or [*found]

    def on(self, layer: LayerRecord) -> Iterator[ContainerRecord]:
        """Yield the containers whose image has a layer."""
        for record in self.inventory.containers:
            if record.driver == layer.driver and layer.chain_id in self._stack(record):
                yield record

    def _stack(self, record: ContainerRecord) -> dict[Digest, None]:
        """Return the layers below a container's own, the top one first."""
        known = self._stacks.get(record.id)
        if known is not None:
            return known
        found: dict[Digest, None] = {}
        at = record.parent
        while at is not None and at not in found:
            found[at] = None
            layer = self.inventory.layers.get((record.driver, at))
            at = layer.parent if layer is not None else None
        self._stacks[record.id] = found
        return found

    # -- images, containers, volumes ----------------------------------------------------------

    def of_image(self, image: ImageUse) -> Answer:
        """Say where an image's bytes lie."""
        layout = self.root.layout(image.record.driver)
        image_id = image.record.image_id
        places = []
        for layer in image.layers:
            number = image.record.chain_ids.index(layer.chain_id)
            others = [one for one, _ in self.having(layer) if one is not image]
            shared = bool(others) or any(one.image_id != image_id for one in self.on(layer))
            places += [
                replace(place, number=number, shared=shared) for place in self._layer_places(layer)
            ]
        for path in (layout.image(image_id), layout.image_metadata(image_id)):
            if os.path.lexists(path):
                places.append(Place("metadata", path, own=False))
        missing = len(image.record.chain_ids) - len(image.layers)
        return Answer(
            "image",
            driver=image.record.driver,
            images=((image, None),),
            containers=image.containers,
            places=tuple(places),
            note=f"{missing} of its layers are not here" if missing else "",
        )

    def _images_of(self, record: ContainerRecord) -> tuple[tuple[ImageUse, int | None], ...]:
        image = self.inventory.image_of(record)
        return ((image, None),) if image is not None else ()

    def _by_image_id(self, driver: str, hex_: str) -> list[ImageUse]:
        return [
            image
            for image in self.inventory.images
            if image.record.image_id.hex == hex_ and image.record.driver == driver
        ]

    def _of_container_id(self, id: str) -> Answer:
        for record in self.inventory.containers:
            if record.id == id:
                return self.of_container(record)
        return Answer("metadata", note="no such container is recorded")

    def of_container(self, record: ContainerRecord) -> Answer:
        """Say where a container's bytes lie."""
        layout = self.root.layout(record.driver)
        places = [
            Place("container_layer", path) for path in self.folders(record.driver, record.mount_id)
        ]
        if record.init_id:
            init = self.folders(record.driver, record.init_id)
            places += [Place("init_layer", path) for path in init]
        home = os.path.join(layout.containers, record.id)
        places += [Place("log", path) for path in logs(home)]
        places += [Place("metadata", path) for path in (home, layout.mount(record.id))]
        for name in dict.fromkeys(record.volumes):
            path = os.path.join(self.root.path, "volumes", name)
            shared = len(self._with_volume(name)) > 1
            if "/" not in name:
                places.append(Place("volume", path, own=False, shared=shared))
        for number, chain in enumerate(reversed(self._stack(record))):
            layer = self.inventory.layers.get((record.driver, chain))
            if layer is not None:
                places += [
                    Place("image_layer", path, None, layer, number, shared=True, own=False)
                    for path in self.folders(record.driver, layer.cache_id)
                ]
        return Answer(
            "container",
            self.folders(record.driver, record.mount_id)[0],
            record.driver,
            record.mount_id,
            images=self._images_of(record),
            containers=(record,),
            places=tuple(place for place in places if os.path.lexists(place.path)),
        )

    def _with_volume(self, name: str) -> tuple[ContainerRecord, ...]:
        return tuple(one for one in self.inventory.containers if name in one.volumes)

    def of_volume(self, name: str, path: str) -> Answer:
        """Say which containers mount a volume."""
        users = self._with_volume(name)
        note = "no container mounts it"
        if users:
            note = ""
        elif not self._records.containers_known:
            note = "whether a container mounts it can't be told"
        place = Place("volume", path)
        return Answer("volume", path, containers=users, places=(place,), note=note)


def _is_missing(path: str) -> bool:
    """Whether there is surely nothing at a path."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def logs(home: str) -> list[str]:
    """List the logs of a container, by its folder."""
    with suppress(OSError):
        return [os.path.join(home, name) for name in sorted(os.listdir(home)) if is_log(name)]
    return []
