"""What deleting a thing would really free: what others need as well stays.

A layer is kept, as Docker keeps it (moby, layer/layer_store.go), by every image that it is the top
of, every container that lies on it, the build cache, and every layer above it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from layerview.oci.digest import Digest
from layerview.store.account import Account, Part
from layerview.store.build_cache import BuildCache, CacheRecord
from layerview.store.data_root import ContainerRecord, DataRoot, ImageRecord
from layerview.store.tree_size import Meter, never

_Layer = tuple[str, Digest]
"""A driver and a ChainID."""
_Image = tuple[str, Digest]
"""A driver and an image's ID."""
_Need = tuple[str, str]
"""What a record of the cache needs: "folder", "layer" or "blob", and which."""
_BLOBS = "buildkit/content/blobs/sha256"


class Freeing:
    """Says of what a data root holds how many bytes of its account would go with it."""

    def __init__(self, root: DataRoot, account: Account, stop: Callable[[], bool] = never) -> None:
        """Read the records of what needs what.

        Args:
            root: the data root.
            account: of it; the bytes are taken from there.
            stop: asked now and then whether to give up, while records are measured.

        Raises:
            LayerviewError: when the root can't be read at all.
        """
        problems: list[str] = []
        self._root = root
        self._meter = Meter(root.path, stop)
        self._parts = {
            (part.driver, part.id): part for part in account.parts if part.driver and part.id
        }
        self._of_containers: dict[str, list[Part]] = {}
        self._volumes = {part.id: part.bytes for part in account.of("volume")}
        for part in account.parts:
            if part.id and part.kind in ("log", "metadata"):
                self._of_containers.setdefault(part.id, []).append(part)
        self._parents: dict[_Layer, _Layer | None] = {}
        self._cache_ids: dict[_Layer, str] = {}
        self.images: list[ImageRecord] = []
        for driver in root.drivers():
            for layer in root.layers(driver, problems):
                parent = (driver, layer.parent) if layer.parent is not None else None
                self._parents[driver, layer.chain_id] = parent
                self._cache_ids[driver, layer.chain_id] = layer.cache_id
            self.images += root.images(driver, problems)
        self.containers = root.containers(problems)
        self._by_id = {(image.driver, image.image_id): image for image in self.images}
        self._used = {(one.driver, one.image_id) for one in self.containers}
        self._children: dict[_Image, int] = {}
        """How many images were built on one here."""
        for image in self.images:
            if image.parent is not None:
                key = (image.driver, image.parent)
                self._children[key] = self._children.get(key, 0) + 1
        self.cache = BuildCache.read(root)
        self._records = {record.id: record for record in self.cache.records}
        self._upper: dict[str, set[str]] = {}
        """The records that lie on one."""
        self._twins: dict[str, set[str]] = {}
        """The records that share their snapshot with one."""
        self._needs: dict[_Need, int] = {}
        """How many records need a thing."""
        for record in self.cache.records:
            for lower in record.parents:
                self._upper.setdefault(lower, set()).add(record.id)
            if record.twin:
                self._twins.setdefault(record.id, set()).add(record.twin)
                self._twins.setdefault(record.twin, set()).add(record.id)
            for need in _needs(record):
                self._needs[need] = self._needs.get(need, 0) + 1
        self.exact = not problems and self.cache.readable
        """Whether all records could be read that say what is needed."""
        self._layer_ids = {(driver, id) for (driver, _), id in self._cache_ids.items()}
        self._held: dict[_Layer, int] = {}
        """By how many each layer is kept."""
        for parent in self._parents.values():
            self._hold(parent)
        for image in self.images:
            self._hold(_top(image))
        for container in self.containers:
            self._hold(_below(container))
        for layer_ in self._cached(self.cache.chain_ids):
            self._hold(layer_)

    def _hold(self, layer: _Layer | None) -> None:
        if layer is not None:
            self._held[layer] = self._held.get(layer, 0) + 1

    def _cached(self, chains: Iterable[Digest]) -> list[_Layer]:
        """Return the layers that the cache means; it doesn't say of which driver they are."""
        drivers = self._root.drivers()
        return [
            (driver, one) for one in chains for driver in drivers if (driver, one) in self._parents
        ]

    # -- one thing ----------------------------------------------------------------------------

    def image(self, image: ImageRecord) -> int:
        """Return what goes with an image when all its names are taken away.

        That is nothing as long as another image was built on it here. The images without a name
        that it was built on go with it, as `docker image rm` has it.
        """
        return self.images_together([image])

    def images_together(self, images: Iterable[ImageRecord]) -> int:
        """Return what goes with several images."""
        going = {(image.driver, image.image_id): image for image in images}
        children: dict[_Image, int] = {}
        ready = list(going)
        gone: dict[_Image, ImageRecord] = {}
        while ready:
            key = ready.pop()
            if key in gone or key not in self._by_id:
                continue
            if children.get(key, self._children.get(key, 0)):
                continue
            image = gone[key] = self._by_id[key]
            if image.parent is None:
                continue
            above = (image.driver, image.parent)
            children[above] = children.get(above, self._children.get(above, 0)) - 1
            parent = self._by_id.get(above)
            if parent is None:
                continue
            nameless = not parent.references and not parent.digests and above not in self._used
            if above in going or nameless:
                ready.append(above)
        layers = self._released(_top(image) for image in gone.values())
        records = []
        for image in gone.values():
            layout = self._root.layout(image.driver)
            records += [layout.image(image.image_id), layout.image_metadata(image.image_id)]
        return self._layers_bytes(layers) + self._measured(records)

    def container(self, container: ContainerRecord) -> int:
        """Return what goes with a container; its volumes stay."""
        total = sum(part.bytes for part in self._of_containers.get(container.id, ()))
        for id in (container.mount_id, container.init_id):
            part = self._parts.get((container.driver, id)) if id else None
            total += part.bytes if part is not None else 0
        layers = self._released([_below(container)])
        mount = self._root.layout(container.driver).mount(container.id)
        return total + self._layers_bytes(layers) + self._measured([mount])

    def volume(self, name: str) -> int:
        """Return what goes with a volume."""
        return self._volumes.get(name, 0)

    def cache_record(self, record: CacheRecord) -> int:
        """Return what goes with a record of the build cache; nothing while another lies on it."""
        same = {record.id, *self._twins.get(record.id, ())}
        for id in list(same):
            same.update(self._twins.get(id, ()))
        if any(self._upper.get(id, set()) - same for id in same):
            return 0
        return self._cache_bytes([self._records[id] for id in same if id in self._records])

    def whole_cache(self) -> int:
        """Return what goes with the whole build cache, as far as nobody else needs it."""
        return self._cache_bytes(self.cache.records)

    # -- layers -------------------------------------------------------------------------------

    def _released(self, tops: Iterable[_Layer | None]) -> list[_Layer]:
        """Return the layers that go when each of some is kept by one less."""
        held: dict[_Layer, int] = {}
        gone = []
        for top in tops:
            at = top
            while at is not None and at in self._parents:
                held[at] = held.get(at, self._held.get(at, 0)) - 1
                if held[at]:
                    break
                gone.append(at)
                at = self._parents[at]
        return gone

    def _layers_bytes(self, layers: Iterable[_Layer]) -> int:
        total, records = 0, []
        for driver, chain in layers:
            part = self._parts.get((driver, self._cache_ids[driver, chain]))
            total += part.bytes if part is not None else 0
            records.append(self._root.layout(driver).layer(chain))
        return total + self._measured(records)

    def _cache_bytes(self, records: Iterable[CacheRecord]) -> int:
        needs: dict[_Need, int] = {}
        for record in records:
            for need in _needs(record):
                needs[need] = needs.get(need, 0) + 1
        # What other records need as well stays.
        free = [need for need, count in needs.items() if count == self._needs[need]]
        total = 0
        for driver in self._root.drivers():
            for kind, id in free:
                part = self._parts.get((driver, id)) if kind == "folder" else None
                if part is not None and (driver, id) not in self._layer_ids:
                    total += part.bytes
        chains = [Digest("sha256", hex_) for kind, hex_ in free if kind == "layer"]
        blobs = [hex_ for kind, hex_ in free if kind == "blob"]
        layers = self._released(self._cached(chains))
        places = [os.path.join(self._root.path, _BLOBS, hex_) for hex_ in blobs]
        return total + self._layers_bytes(layers) + self._measured(places)

    def _measured(self, paths: Iterable[str]) -> int:
        """Return what records take that the account has in one part with others."""
        return sum(self._meter.tree(path).bytes for path in paths)


def _top(image: ImageRecord) -> _Layer | None:
    return (image.driver, image.chain_ids[-1]) if image.chain_ids else None


def _below(container: ContainerRecord) -> _Layer | None:
    return (container.driver, container.parent) if container.parent is not None else None


def _needs(record: CacheRecord) -> list[_Need]:
    """Return what a record of the cache needs."""
    found = [("folder", record.driver_id)] if record.driver_id else []
    if record.chain_id is not None:
        found.append(("layer", record.chain_id.hex))
    if record.blob is not None:
        found.append(("blob", record.blob.hex))
    return found
