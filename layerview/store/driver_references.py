"""Who refers to each folder of one storage driver, as its records say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError
from layerview.oci.digest import Digest
from layerview.store.data_root import DataRoot, ImageRecord
from layerview.store.driver_homes import REMOVING
from layerview.store.layout import Layout, driver_id, sha256_digest
from layerview.text import is_hex, printable

if TYPE_CHECKING:
    from layerview.store.references import Records

_WORK = {
    "load": ("a load is making it", "left of a load that was interrupted"),
    "create": ("a container is being made with it", "left of a container that was not made"),
    "remove": ("it is being removed", "its removal was interrupted"),
}
_TRIES = 10
_AT_WORK = 0.05
"""How often, and after how many seconds, a record is read again that an engine may be writing."""
_CLEARED = "; the next command that changes the area clears it up"


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody needs a driver's folder, or is at work with it."""

    kind: str
    """As in Part: image_layer, container_layer, init_layer, build_cache or temporary."""
    owners: tuple[str, ...] = ()
    note: str = ""
    chain_id: Digest | None = None
    """The layer that it is."""
    container: str = ""
    """The ID of the container whose layer it is."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A record names a driver's folder, and nothing needs the record."""

    why: str
    """"making": a layer's record that is not in place; "removing": a layer's whose removal began;
    "unneeded": a layer's that nothing is made of; "gone": a container's that is gone, or a
    build's mount."""
    record: str
    """The record's folder."""
    chain_id: Digest | None = None


@dataclass(slots=True)
class References:
    """Who refers to the folders of one driver."""

    driver: str
    claims: dict[str, Claim] = field(default_factory=dict)
    """Who needs a folder, by the driver's ID."""
    idle: dict[str, Idle] = field(default_factory=dict)
    """Which record alone names a folder, by the driver's ID."""
    depth: dict[str, int] = field(default_factory=dict)
    """How many layers lie below an image's layer."""
    whole: bool = True
    """Whether all records that name folders could be read."""
    needs_known: bool = True
    """Whether all could be read that says which layers are needed."""
    layerless: tuple[str, ...] = ()
    """Names of containers of the driver that no record names a layer for."""

    def claim(self, name: str) -> Claim | None:
        """Return who needs a folder, by its name: its ID, or that with `-removing` behind it."""
        return self.claims.get(name) or self.claims.get(name.removesuffix(REMOVING))

    def only(self, name: str) -> Idle | None:
        """Return the record that alone names a folder, likewise."""
        return self.idle.get(name) or self.idle.get(name.removesuffix(REMOVING))


class DriverRecords:
    """What the records of one driver say, before it is known who needs what."""

    def __init__(self, layout: Layout, records: Records) -> None:
        """Read the records of layers and mounts.

        Args:
            layout: the driver's.
            records: what is read for all drivers; takes the problems.
        """
        self.layout = layout
        self.images: list[ImageRecord] = []
        self._records = records
        self._problems = records.problems
        self._whole = True
        self._needs_known = True
        self._layers: dict[Digest, str] = {}
        """The driver's ID of each layer."""
        self._parents: dict[Digest, Digest | None] = {}
        self._depths: dict[Digest, int] = {}
        self._mounts: dict[str, tuple[str, str, Digest | None]] = {}
        """Of a container or a build's mount: the driver's IDs, and the layer below."""
        self._unnamed: list[str] = []
        """Mounts whose records name no folder: they are being made or removed, or are damaged."""
        self._of_images: set[Digest] = set()
        self._going: dict[str, Idle] = {}
        for name in self._names(layout.layers_tmp):
            self._take_going("making", os.path.join(layout.layers_tmp, name))
        for name in self._names(layout.mounts):
            self._take_mount(name)
        for name in self._names(layout.layers):
            if name.endswith(REMOVING):
                self._take_going("removing", os.path.join(layout.layers, name))
            elif is_hex(name, 64):
                self._take_layer(Digest("sha256", name))

    def _names(self, folder: str) -> list[str]:
        before = len(self._problems)
        names = self._records.names(folder)
        self._whole = self._whole and len(self._problems) == before
        return names

    def _text(self, path: str) -> str | None:
        """Read a record's line; None where it is not there."""
        try:
            return self._records.files.text(path)
        except LayerviewError as error:
            self._doubt(error)
            return None

    def _doubt(self, error: LayerviewError) -> None:
        self._whole = self._needs_known = False
        self._problems.append(str(error))

    def _id(self, path: str) -> str:
        """Read a driver's ID from a record; "" where there is none."""
        text = self._text(path)
        if not text:
            return ""
        try:
            return driver_id(text, path)
        except LayerviewError as error:
            # Nobody knows which folder was meant.
            self._doubt(error)
            return ""

    def _digest(self, path: str) -> Digest | None:
        text = self._text(path)
        if not text:
            return None
        try:
            return sha256_digest(text, path)
        except LayerviewError as error:
            self._doubt(error)
            return None

    def _take_going(self, why: str, record: str) -> None:
        chain = os.path.basename(record).partition("-")[0]
        if id := self._id(os.path.join(record, "cache-id")):
            chain_id = Digest("sha256", chain) if is_hex(chain, 64) else None
            self._going[id] = Idle(why, record, chain_id)

    def _take_mount(self, name: str) -> None:
        folder = os.path.join(self.layout.mounts, name)
        paths = [os.path.join(folder, kind) for kind in ("mount-id", "init-id")]
        ids = [self._id(path) for path in paths]
        # Some have no init layer.
        if (not ids[0] and os.path.lexists(folder)) or (not ids[1] and os.path.lexists(paths[1])):
            self._unnamed.append(name)
        self._mounts[name] = (ids[0], ids[1], self._digest(os.path.join(folder, "parent")))

    def _read_unnamed_again(self) -> None:
        """Read mounts again that named no folder: an engine may be making or removing them."""
        for _ in range(_TRIES):
            if not any(map(self._is_container, self._unnamed)):
                return
            time.sleep(_AT_WORK)
            names, self._unnamed = self._unnamed, []
            for name in names:
                self._take_mount(name)

    def _take_layer(self, chain: Digest) -> None:
        record = self.layout.layer(chain)
        id = self._id(os.path.join(record, "cache-id"))
        self._parents[chain] = self._digest(os.path.join(record, "parent"))
        if id:
            self._layers[chain] = id
        elif os.path.lexists(record) and self._whole:
            self._whole = False
            self._problems.append(f"{printable(record)} names no folder of the driver")

    @property
    def mounts(self) -> set[str]:
        """Containers, and builds' mounts, that have a record here."""
        return {*self._mounts, *self._unnamed}

    def read_images(self, root: DataRoot) -> None:
        """Read the images, which are written after their layers."""
        names = self._image_names()
        before = len(self._problems)
        try:
            self.images = root.images(self.layout.driver, self._problems)
        except LayerviewError as error:
            self._problems.append(str(error))
        unread = names - {image.image_id.hex for image in self.images}
        if unread:
            unread &= self._image_names()  # the others were deleted meanwhile
        if len(self._problems) > before or unread:
            self._needs_known = False

    def _image_names(self) -> set[str]:
        return {name for name in self._names(self.layout.images) if is_hex(name, 64)}

    # -- who needs what -----------------------------------------------------------------------

    def refer(self, into: References) -> None:
        """Say who refers to which folder."""
        self._read_unnamed_again()
        claims = into.claims
        for id, claim in self._work():
            claims.setdefault(id, claim)
        cache = self._records.cache
        for id, record in cache.driver_ids.items():
            claims[id] = Claim("build_cache", note=record.description)
        owners = self._layer_owners()
        for chain, record in cache.chain_ids.items():
            for below in self._with_below(chain):
                if below in self._layers and below not in owners:
                    note = cache.chain_ids.get(below, record).description
                    claims[self._layers[below]] = Claim("build_cache", note=note, chain_id=below)
        for chain, names in owners.items():
            if chain in self._layers:
                note = "" if chain in self._of_images else "its image is gone"
                claim = Claim("image_layer", tuple(sorted(names, key=_rank)), note, chain)
                claims[self._layers[chain]] = claim
        for name, (mount_id, init_id, _) in self._mounts.items():
            self._refer_mount(into, name, mount_id, init_id)
        for name in filter(self._is_container, self._unnamed):
            if self._whole:
                place = os.path.join(self.layout.mounts, name)
                self._problems.append(f"{printable(place)} names no folder of the driver")
            self._whole = False
        for chain, id in self._layers.items():
            into.depth[id] = self._depth(chain)
            if id not in claims:
                into.idle[id] = Idle("unneeded", self.layout.layer(chain), chain)
        for id, idle in self._going.items():
            if id not in claims:
                into.idle[id] = idle
        into.whole = self._whole and self._records.own_work_known
        into.needs_known = self._needs_known and into.whole and cache.readable

    def _work(self) -> Iterator[tuple[str, Claim]]:
        """Yield what writers of our own have under way or left behind."""
        for intent, lives in self._records.intents:
            if intent.driver != self.layout.driver:
                continue
            going, left = _WORK.get(intent.why, _WORK["load"])
            claim = Claim("temporary", note=going if lives else left + _CLEARED)
            for id in intent.ids:
                yield id, claim
            # What a load counts on is needed as long as it lives.
            for chain in (*intent.chains, *(intent.uses if lives else ())):
                if chain in self._layers:
                    yield self._layers[chain], claim
            for id, idle in self._going.items():
                if idle.chain_id is not None and idle.chain_id in intent.chains:
                    yield id, claim

    def _layer_owners(self) -> dict[Digest, dict[str, None]]:
        """Return whose each needed layer is: images, and containers whose image is gone."""
        owners: dict[Digest, dict[str, None]] = {}
        steps: list[ImageRecord] = []
        parents = {image.parent for image in self.images}
        for image in self.images:
            names = image.references or image.digests
            if not names and image.image_id in parents:
                steps.append(image)
                continue
            for chain in image.chain_ids:
                found = owners.setdefault(chain, {})
                found.update(dict.fromkeys(names or (image.image_id.short,)))
        for image in steps:
            # A step on the way to another image is named where it alone has a layer.
            for chain in set(image.chain_ids) - owners.keys():
                owners[chain] = {image.image_id.short: None}
        self._of_images = set(owners)
        for name, (_, _, parent) in self._mounts.items():
            if parent is None or not self._is_container(name):
                continue
            for chain in self._with_below(parent):
                if chain not in self._of_images:
                    owners.setdefault(chain, {})[self._records.container_name(name)] = None
        return owners

    def _depth(self, chain: Digest) -> int:
        """Return how many layers lie below one."""
        waiting: list[Digest] = []
        for at in self._with_below(chain):
            if at in self._depths:
                break
            waiting.append(at)
        below = self._parents.get(waiting[-1]) if waiting else None
        depth = self._depths.get(below, -1) if below is not None else -1
        for at in reversed(waiting):
            depth += 1
            self._depths[at] = depth
        return self._depths[chain]

    def _with_below(self, chain: Digest) -> Iterator[Digest]:
        """Yield a layer and those below it, as far as records say."""
        seen: set[Digest] = set()
        at: Digest | None = chain
        while at is not None and at not in seen:
            seen.add(at)
            yield at
            at = self._parents.get(at)

    def _is_container(self, name: str) -> bool:
        return name in self._records.container_ids

    def _refer_mount(self, into: References, name: str, mount_id: str, init_id: str) -> None:
        if self._is_container(name):
            owner = (self._records.container_name(name),)
            pairs = ((mount_id, "container_layer"), (init_id, "init_layer"))
            for id, kind in pairs:
                if id:
                    into.claims[id] = Claim(kind, owner, container=name)
            return
        record = os.path.join(self.layout.mounts, name)
        for id in filter(None, (mount_id, init_id)):
            if name in self._records.removals:
                note = "its container is being removed"
                into.claims.setdefault(id, Claim("temporary", note=note, container=name))
            elif id not in into.claims:
                into.idle[id] = Idle("gone", record)


def _rank(owner: str) -> tuple[bool, str]:
    """Have references before the IDs of images without a name."""
    return ":" not in owner, owner
