"""What can be said of something below a data root: whose it is, and where its bytes lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from layerview.store.data_root import ContainerRecord, LayerRecord
from layerview.store.inventory import ImageUse


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

    @property
    def bytes(self) -> int | None:
        """Allocated for it, without what it only uses; None when that is not known."""
        return _sum(place.bytes for place in self.places if place.own)

    @property
    def bytes_alone(self) -> int | None:
        """Those of them that nothing else needs."""
        return _sum(place.bytes for place in self.places if place.own and not place.shared)


def _sum(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def joined(*notes: str) -> str:
    """Put notes behind one another; "" is none."""
    return "; ".join(filter(None, notes))
