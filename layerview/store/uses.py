"""What uses which layer: images, containers, layers above, loads under way, build caches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from layerview.errors import DamageError, LayerviewError, NotFoundError
from layerview.oci.config import ImageConfig
from layerview.oci.digest import Digest, chain_ids
from layerview.store.build_cache import BuildCache
from layerview.store.data_root import DataRoot
from layerview.store.durable import read_small
from layerview.store.layout import Layout, sha256_digest
from layerview.text import is_hex


def names(folder: str) -> list[str]:
    """List the names in a folder that are 64 hexadecimal digits."""
    try:
        return sorted(name for name in os.listdir(folder) if is_hex(name, 64))
    except FileNotFoundError:
        return []


def read_images(layout: Layout) -> dict[Digest, ImageConfig]:
    """Read the configs of all images of a driver.

    Raises:
        DamageError: when one is not what its name says.
    """
    found = {}
    for name in names(layout.images):
        image_id = Digest("sha256", name)
        path = layout.image(image_id)
        data = read_small(path)
        if Digest.of(data) != image_id:
            raise DamageError(
                f"{path} is damaged, so that its layers are not known; nothing is deleted"
            )
        found[image_id] = ImageConfig.from_json(data, path)
    return found


def image_layers(layout: Layout) -> set[Digest]:
    """Return the ChainIDs of all layers that images of a driver are made of."""
    images = read_images(layout).values()
    return {chain for config in images for chain in chain_ids(config.diff_ids)}


class Uses:
    """What uses the layers of one driver, as it is on disk now."""

    def __init__(self, layout: Layout, held: Iterable[Digest] = ()) -> None:
        """Read the records.

        Args:
            layout: whose records.
            held: layers that loads under way count on.

        Raises:
            LayerviewError: when a record can't be read: then nobody knows what may be deleted.
        """
        self._layout = layout
        self.parents: dict[Digest, Digest | None] = {}
        """The layer below each layer."""
        for name in names(layout.layers):
            chain = Digest("sha256", name)
            self.parents[chain] = self._parent(chain)
        self.images = read_images(layout)
        self._used: set[Digest] = set()
        for config in self.images.values():
            self._used.update(chain_ids(config.diff_ids))
        for chain in [*held, *self._mounted()]:
            self._use(chain)
        for chain in self._cached():
            self._use(chain)

    def _parent(self, chain: Digest) -> Digest | None:
        path = os.path.join(self._layout.layer(chain), "parent")
        try:
            text = read_small(path, 4096).decode("utf-8", "replace")
        except NotFoundError:
            return None
        return sha256_digest(text, path)

    def _mounted(self) -> Iterator[Digest]:
        for name in names(self._layout.mounts):
            path = os.path.join(self._layout.mounts, name, "parent")
            try:
                yield sha256_digest(read_small(path, 4096).decode("utf-8", "replace"), path)
            except NotFoundError:
                continue  # a container from nothing

    def _use(self, chain: Digest) -> None:
        at: Digest | None = chain
        while at is not None and at not in self._used:
            self._used.add(at)
            at = self.parents.get(at)

    def with_below(self, chain: Digest) -> list[Digest]:
        """Return a layer and those below it."""
        found: list[Digest] = []
        at: Digest | None = chain
        while at in self.parents and at not in found:
            found.append(at)
            at = self.parents[at]
        return found

    def _cached(self) -> Iterable[Digest]:
        """Return the layers that BuildKit's cache counts on."""
        cache = BuildCache.read(DataRoot(self._layout.root))
        if not cache.readable:
            raise LayerviewError(f"{cache.problem}; nothing is deleted")
        return cache.chain_ids

    def unused(self, chains: Iterable[Digest]) -> list[Digest]:
        """Return those of some layers that may be deleted, each before the one below it."""
        wanted = {chain for chain in chains if chain in self.parents}
        wanted -= self._used
        children: dict[Digest, int] = {}
        for parent in self.parents.values():
            if parent is not None:
                children[parent] = children.get(parent, 0) + 1
        ready = sorted(chain for chain in wanted if not children.get(chain))
        found: list[Digest] = []
        while ready:
            chain = ready.pop()
            found.append(chain)
            parent = self.parents[chain]
            if parent is not None:
                children[parent] -= 1
                if parent in wanted and not children[parent]:
                    ready.append(parent)
        return found

    def children(self, image_id: Digest) -> list[Digest]:
        """Return the images that were built on an image here."""
        found = []
        for other in self.images:
            path = os.path.join(self._layout.image_metadata(other), "parent")
            try:
                text = read_small(path, 4096).decode("utf-8", "replace")
                if sha256_digest(text, path) == image_id:
                    found.append(other)
            except NotFoundError:
                continue
        return found
