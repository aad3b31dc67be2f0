"""What BuildKit's cache takes, as Docker adds it up.

The rules are those of buildkit (cache/manager.go, DiskUsage), moby (builder-next/imagerefchecker)
and of Docker's command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from layerview.oci.digest import Digest
from layerview.store.build_cache import BuildCache, CacheRecord
from layerview.store.inventory import Inventory, changed_size

_BLOBS = "buildkit/content/blobs/sha256"


@dataclass(frozen=True, slots=True)
class CacheUse:
    """A record that Docker lists, with what it takes."""

    record: CacheRecord
    size: int | None
    """Bytes as BuildKit counts them; None where its files may not be read."""
    shared: bool
    """Whether an image has its layer as well, or one that lies on it."""


def cache_uses(inventory: Inventory, cache: BuildCache) -> list[CacheUse]:
    """Return what Docker lists of a build cache, in its order."""
    chains = {chain for image in inventory.images for chain in image.record.chain_ids}
    shared = shared_records(cache, chains)
    return [
        CacheUse(record, _size(inventory, cache, record), record.id in shared)
        for record in listed_records(cache)
    ]


def listed_records(cache: BuildCache) -> list[CacheRecord]:
    """Return the records that Docker lists: of two that share a snapshot one.

    That is the one that can be written, if nothing lies on the other.
    """
    parents = {parent for record in cache.records for parent in record.parents}
    held = {record.twin for record in cache.records if record.twin and record.id in parents}
    return [
        record
        for record in cache.records
        if (not record.twin or record.id in parents) and record.id not in held
    ]


def shared_records(cache: BuildCache, chains: Iterable[Digest]) -> set[str]:
    """Return the IDs of the records whose layers images have as well.

    Args:
        cache: whose records.
        chains: the ChainIDs of all images.
    """
    by_id = {record.id: record for record in cache.records}
    images = set(chains)
    waiting = [one.id for one in cache.records if one.chain_id in images]
    found: set[str] = set()
    while waiting:
        id = waiting.pop()
        if id in by_id and id not in found:
            found.add(id)
            waiting += by_id[id].parents
    return found


def _size(inventory: Inventory, cache: BuildCache, record: CacheRecord) -> int | None:
    """Count as BuildKit does when it is asked for the first time (cache/refs.go, size)."""
    if record.size is not None:
        return record.size
    blob = _blob_size(inventory, record)
    if record.blob_only:
        return blob
    for layer in inventory.layers.values():
        if layer.chain_id == record.chain_id:
            return layer.size + blob
    place = _folder(inventory, record)
    if place is None:
        return None
    below = next((one for one in cache.records if one.id in record.parents), None)
    under = _folder(inventory, below) if below is not None else None
    size = changed_size(inventory.root, *place, under[1] if under is not None else None)
    return None if size is None else size + blob


def _folder(inventory: Inventory, record: CacheRecord) -> tuple[str, str] | None:
    """Return the driver and the folder that a record has."""
    for layer in inventory.layers.values():
        if layer.chain_id == record.chain_id:
            return layer.driver, layer.folder
    if record.driver_id:
        for driver in inventory.root.drivers():
            folder = inventory.root.layout(driver).layer_folder(record.driver_id)
            if folder and os.path.lexists(folder):
                return driver, folder
    return None


def _blob_size(inventory: Inventory, record: CacheRecord) -> int:
    if record.blob is not None:
        with suppress(OSError):
            return os.lstat(os.path.join(inventory.root.path, _BLOBS, record.blob.hex)).st_size
    return 0
