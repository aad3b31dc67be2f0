"""Whose something below a data root is, and where an image's or a container's bytes lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from layerview.errors import NotFoundError, UsageError
from layerview.oci.digest import Digest
from layerview.store.build_cache import BuildCache
from layerview.store.data_root import ContainerRecord, DataRoot, LayerRecord
from layerview.store.engine import find_engine
from layerview.store.finding import find
from layerview.store.inventory import ImageUse, Inventory
from layerview.store.layout import is_driver_id
from layerview.store.orphans import Proof
from layerview.store.references import Records
from layerview.store.root_paths import RootPath, driver_names, is_log, look_up
from layerview.store.tree_size import LEFT_OUT, Meter
from layerview.text import is_hex, printable

TYPES = ("container", "image", "layer", "volume", "path")
"""What a word may be told to be."""
_KINDS = {
    "image_layer": "layer",
    "container_layer": "container",
    "init_layer": "init",
    "build_cache": "cache",
}
"""What an account calls a part, and an answer what the part is."""
_LEAST = 2
"""Digits of an ID that are enough to name it, if they name one thing alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or file with bytes of what was asked about."""

    kind: str
    """As of the parts of an account (see `account`)."""
    path: str
    bytes: int | None = None
    """Allocated; None where it was not measured, or may not be read."""
    layer: LayerRecord | None = None
    number: int | None = None
    """Of the layer in the image that was asked about."""
    shared: bool = False
    """Whether others need it as well, so that it stays when this goes."""
    own: bool = True
    """Whether it is what was asked about, and not used by it or a record of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whose something is."""

    kind: str
    """"layer", "container", "init", "volume", "cache", "orphan", "image", "log", "metadata",
    "temporary" or "other"."""
    path: str = ""
    """Where it lies; "" for what lies in several places."""
    driver: str = ""
    cache_id: str = ""
    """The driver's ID."""
    layer: LayerRecord | None = None
    images: tuple[tuple[ImageUse, int | None], ...] = ()
    """Those that have it, and as which of their layers."""
    containers: tuple[ContainerRecord, ...] = ()
    places: tuple[Place, ...] = ()
    inside: str | None = None
    """The path in the image or container, for a path that was asked about."""
    note: str = ""
    orphan: bool | None = False
    """None: that can't be told."""
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def bytes(self) -> int | None:
        """Allocated for it, without what it only uses; None when that is not known."""
        return _sum(place.bytes for place in self.places if place.own)

    @property
    def bytes_alone(self) -> int | None:
        """Those of them that nothing else needs."""
        return _sum(place.bytes for place in self.places if place.own and not place.shared)


class Whose:
    """Answers for one data root, whose records are read once."""

    def __init__(self, root: DataRoot) -> None:
        """Name the root.

        Raises:
            LayerviewError: when its records can't be read at all.
        """
        self.root = root
        self._inventory = Inventory(root)
        self.problems = self._inventory.problems
        """What could not be read, a line each."""
        self._stacks: dict[str, dict[Digest, None]] = {}
        """By container's ID."""
        self._layers: dict[tuple[str, str], LayerRecord] = {}
        self._containers: dict[tuple[str, str], tuple[str, ContainerRecord]] = {}
        for layer in self._inventory.layers.values():
            self._layers[layer.driver, layer.cache_id] = layer
        for one in self._inventory.containers:
            self._containers[one.driver, one.mount_id] = "container", one
            if one.init_id:
                self._containers[one.driver, one.init_id] = "init", one

    @cached_property
    def _records(self) -> Records:
        """All that refers to folders, the build cache's records included."""
        found = Records(self.root, driver_names(self.root))
        self.problems += [line for line in found.problems if line not in self.problems]
        return found

    @property
    def _cache(self) -> BuildCache:
        return self._records.cache

    @cached_property
    def _proof(self) -> Proof:
        first = self._records
        return Proof(first, Records(self.root, first.drivers), find_engine(self.root.path))

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
        answer = self._of_spot(spot)
        there = os.path.lexists(spot.path)
        if not there and answer.kind in ("orphan", "other", "metadata", "volume", "temporary"):
            raise NotFoundError(f"{printable(path)} is not there, and no record speaks of it")
        if not there:
            return replace(answer, note=_joined(answer.note, "it is not there"))
        return replace(answer, inside=spot.inside)

    def _of_spot(self, spot: RootPath) -> Answer:
        if spot.kind == "folder":
            return self._of_folder(spot.driver, spot.id, spot.path)
        if spot.kind == "layer":
            digest = Digest("sha256", spot.id)
            layer = self._inventory.layers.get((spot.driver, digest))
            made = self._of_layer(layer) if layer is not None else Answer("metadata")
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
            return self._of_volume(spot.id, spot.path)
        kind = {"build_cache": "cache"}.get(spot.kind, spot.kind)
        place = Place(spot.kind, spot.path)
        return Answer(kind, spot.path, spot.driver, places=(place,))

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

    def _of_folder(self, driver: str, id: str, path: str = "") -> Answer:
        layer = self._layers.get((driver, id))
        if layer is not None:
            return self._of_layer(layer, path)
        held = self._containers.get((driver, id))
        if held is not None:
            kind, record = held
            part = "init_layer" if kind == "init" else "container_layer"
            return Answer(
                kind,
                path or self._folders(driver, id)[0],
                driver,
                id,
                images=self._images_of(record),
                containers=(record,),
                places=tuple(Place(part, each) for each in self._folders(driver, id)),
                note="" if record.name else "its container is gone",
            )
        folder = path or self._folders(driver, id)[0]
        places = tuple(Place("build_cache", each) for each in self._folders(driver, id))
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
            note=_joined(verdict.note, ", ".join(verdict.owners)),
            orphan={"orphan": True, "other": None}.get(kind, False),
        )

    def _folders(self, driver: str, id: str) -> list[str]:
        """Return where a driver has something under an ID; the first one has its files."""
        layout = self.root.layout(driver)
        if not layout.has_folders:
            return [layout.home]
        first = os.path.join(layout.layers_home, id)
        if driver != "aufs":
            return [first]
        return [first, *(os.path.join(layout.home, each, id) for each in ("layers", "mnt"))]

    # -- layers -------------------------------------------------------------------------------

    def _of_layer(self, layer: LayerRecord, path: str = "") -> Answer:
        images = tuple(self._having(layer))
        containers = tuple(self._on(layer))
        folder = path or self._folders(layer.driver, layer.cache_id)[0]
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
        for folder in self._folders(layer.driver, layer.cache_id):
            yield Place("image_layer", folder, layer=layer)
        record = self.root.layout(layer.driver).layer(layer.chain_id)
        yield Place("metadata", record, layer=layer, own=False)

    def _having(self, layer: LayerRecord) -> list[tuple[ImageUse, int | None]]:
        """Return the images that have a layer; steps on the way to others where they alone do."""
        found = [
            (image, image.record.chain_ids.index(layer.chain_id))
            for image in self._inventory.images
            if image.record.driver == layer.driver and layer.chain_id in image.record.chain_ids
        ]
        return [one for one in found if not one[0].is_intermediate] or [*found]

    def _on(self, layer: LayerRecord) -> Iterator[ContainerRecord]:
        for record in self._inventory.containers:
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
            layer = self._inventory.layers.get((record.driver, at))
            at = layer.parent if layer is not None else None
        self._stacks[record.id] = found
        return found

    # -- images, containers, volumes ----------------------------------------------------------

    def _of_image(self, image: ImageUse) -> Answer:
        layout = self.root.layout(image.record.driver)
        image_id = image.record.image_id
        places = []
        for layer in image.layers:
            number = image.record.chain_ids.index(layer.chain_id)
            others = [one for one, _ in self._having(layer) if one is not image]
            shared = bool(others) or any(one.image_id != image_id for one in self._on(layer))
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
        image = self._inventory.image_of(record)
        return ((image, None),) if image is not None else ()

    def _by_image_id(self, driver: str, hex_: str) -> list[ImageUse]:
        return [
            image
            for image in self._inventory.images
            if image.record.image_id.hex == hex_ and image.record.driver == driver
        ]

    def _of_container_id(self, id: str) -> Answer:
        for record in self._inventory.containers:
            if record.id == id:
                return self._of_container(record)
        return Answer("metadata", note="no such container is recorded")

    def _of_container(self, record: ContainerRecord) -> Answer:
        layout = self.root.layout(record.driver)
        places = [
            Place("container_layer", path) for path in self._folders(record.driver, record.mount_id)
        ]
        if record.init_id:
            init = self._folders(record.driver, record.init_id)
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
            layer = self._inventory.layers.get((record.driver, chain))
            if layer is not None:
                places += [
                    Place("image_layer", path, None, layer, number, shared=True, own=False)
                    for path in self._folders(record.driver, layer.cache_id)
                ]
        return Answer(
            "container",
            self._folders(record.driver, record.mount_id)[0],
            record.driver,
            record.mount_id,
            images=self._images_of(record),
            containers=(record,),
            places=tuple(place for place in places if os.path.lexists(place.path)),
        )

    def _with_volume(self, name: str) -> tuple[ContainerRecord, ...]:
        return tuple(one for one in self._inventory.containers if name in one.volumes)

    def _of_volume(self, name: str, path: str) -> Answer:
        users = self._with_volume(name)
        note = "" if users else "no container mounts it"
        place = Place("volume", path)
        return Answer("volume", path, containers=users, places=(place,), note=note)

    # -- words --------------------------------------------------------------------------------

    def of_word(self, word: str, wanted: str | None = None) -> Answer:
        """Say whose what a word names is, or where it lies: an ID, a name, the start of an ID.

        Args:
            word: what a person typed.
            wanted: one of TYPES; None: any, in the order container, layer, volume, image.

        Raises:
            NotFoundError: when nothing has such a name.
            UsageError: when the start of an ID may be several things.
        """
        looks: list[tuple[str, Callable[[str], Answer | None]]] = [
            ("container", self._named_container),
            ("layer", self._named_layer),
            ("volume", self._named_volume),
            ("image", self._named_image),
        ]
        found = [
            (kind, answer)
            for kind, look in looks
            if wanted in (None, kind) and (answer := look(word)) is not None
        ]
        if found:
            also = " and ".join(dict.fromkeys(f"{_a(kind)}" for kind, _ in found[1:]))
            note = f"{also} is called so, too: --type chooses" if also else ""
            return replace(found[0][1], note=_joined(found[0][1].note, note))
        started = list(self._starting(word, wanted))
        if len(started) > 1:
            names = ", ".join(name for name, _ in started[:10])
            raise UsageError(f"{printable(word)} may be several things: {names}")
        if started:
            return started[0][1]()
        what = wanted or "container, image, layer or volume"
        raise NotFoundError(f"{printable(self.root.path)} has no {what} {printable(word)}")

    def _named_container(self, word: str) -> Answer | None:
        for record in self._inventory.containers:
            if word == record.id or (record.name and word.removeprefix("/") == record.name):
                return self._of_container(record)
        return None

    def _named_layer(self, word: str) -> Answer | None:
        """Find a layer by the driver's ID, a ChainID, a DiffID or overlay2's short name."""
        if is_driver_id(word):
            for driver in self.root.drivers():
                known = {**self._layers, **self._containers}
                there = any(map(os.path.lexists, self._folders(driver, word)))
                if (driver, word) in known or (there and self.root.layout(driver).has_folders):
                    return self._of_folder(driver, word)
        hex_ = word.removeprefix("sha256:")
        if is_hex(hex_, 64):
            digest = Digest("sha256", hex_)
            layers = self._inventory.layers.values()
            found = [layer for layer in layers if layer.chain_id == digest]
            return self._of_layers(found or [one for one in layers if one.diff_id == digest])
        if len(word) == 26 and word.isalnum() and word.isupper():
            for driver in ("overlay2", "fuse-overlayfs"):
                path = os.path.join(self.root.path, driver, "l", word)
                spot = look_up(self.root, path)
                if spot.kind == "folder":
                    return self._of_spot(spot)
        return None

    def _of_layers(self, layers: Sequence[LayerRecord]) -> Answer | None:
        if not layers:
            return None
        first = self._of_layer(layers[0])
        if len(layers) == 1:
            return first
        places = [place for layer in layers for place in self._of_layer(layer).places]
        images = [one for layer in layers for one in self._having(layer)]
        containers = [one for layer in layers for one in self._on(layer)]
        note = f"{len(layers)} layers have this content, on other layers or under other drivers"
        return replace(
            first,
            images=tuple(_once(images)),
            containers=tuple(dict.fromkeys(containers)),
            places=tuple(places),
            note=_joined(first.note, note),
        )

    def _named_volume(self, word: str) -> Answer | None:
        path = os.path.join(self.root.path, "volumes", word)
        if "/" in word or word in ("", ".", "..") or os.path.islink(path):
            return None
        return self._of_volume(word, path) if os.path.isdir(path) else None

    def _named_image(self, word: str) -> Answer | None:
        with suppress(NotFoundError, UsageError):
            found = find(self.root, word)
            if found.reference is not None or is_hex(word.removeprefix("sha256:"), 64):
                record = found.record
                for image in self._by_image_id(record.driver, record.image_id.hex):
                    return self._of_image(image)
        return None

    def _starting(
        self, word: str, wanted: str | None
    ) -> Iterator[tuple[str, Callable[[], Answer]]]:
        """Yield what IDs begin with a word: what each is called, and the way to its answer."""
        start = word.removeprefix("sha256:")
        if len(start) < _LEAST or not start.isalnum():
            return
        if wanted in (None, "container"):
            for record in self._inventory.containers:
                if record.id.startswith(start):
                    name = f"container {record.id[:12]} ({printable(record.name)})"
                    yield name, partial(self._of_container, record)
        if wanted in (None, "image"):
            for image in self._inventory.images:
                if image.record.image_id.hex.startswith(start):
                    name = f"image {image.record.image_id.short}"
                    yield name, partial(self._of_image, image)
        if wanted in (None, "layer"):
            yield from self._layers_starting(start)

    def _layers_starting(self, start: str) -> Iterator[tuple[str, Callable[[], Answer]]]:
        seen: set[tuple[str, str]] = set()
        for layer in self._inventory.layers.values():
            ids = layer.cache_id, layer.chain_id.hex, layer.diff_id.hex
            if any(each.startswith(start) for each in ids):
                seen.add((layer.driver, layer.cache_id))
                name = f"layer {layer.chain_id.short} ({layer.driver}/{layer.cache_id[:12]})"
                yield name, partial(self._of_layer, layer)
        for driver in self.root.drivers():
            for id in self._ids(driver):
                if id.startswith(start) and (driver, id) not in seen and not id.endswith("-init"):
                    name = f"{driver}/{id[:12]}"
                    yield name, partial(self._of_folder, driver, id)

    def _ids(self, driver: str) -> Iterable[str]:
        home = self.root.layout(driver).layers_home
        known = {id for one, id in self._containers if one == driver}
        with suppress(OSError):
            known.update(filter(is_driver_id, os.listdir(home) if home else ()))
        return sorted(known)


def logs(home: str) -> list[str]:
    """List the logs of a container, by its folder."""
    with suppress(OSError):
        return [os.path.join(home, name) for name in sorted(os.listdir(home)) if is_log(name)]
    return []


def _sum(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _once(items: Iterable[tuple[ImageUse, int | None]]) -> list[tuple[ImageUse, int | None]]:
    known: dict[tuple[int, int | None], tuple[ImageUse, int | None]] = {}
    for image, number in items:
        known.setdefault((id(image), number), (image, number))
    return list(known.values())


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
