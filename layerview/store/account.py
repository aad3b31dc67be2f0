"""The account of a data root: what takes its space, part by part, and whose each part is."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "image_layer",
    "container_layer",
    "init_layer",
    "log",
    "volume",
    "build_cache",
    "metadata",
    "temporary",
    "orphan",
    "other",
)
"""Of parts, in the order in which a person is told of them."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something below a data root that is one person's business: a layer, a log, a volume."""

    kind: str
    """One of KINDS."""
    name: str
    """What people call it: a layer's cache ID, a container's or a volume's name, a folder's."""
    path: str
    """Where it lies, absolute."""
    bytes: int
    """Allocated on the disk, as `du` counts: folders too, an inode with several names once."""
    owners: tuple[str, ...] = ()
    """Who has it: references of images (or short image IDs), names of containers."""
    id: str = ""
    """The driver's ID of a layer, a container's ID, a volume's name; "" for what has none."""
    driver: str = ""
    """The storage driver of a layer."""
    note: str = ""
    """A line for people: why it is an orphan, what is going on, what it is for."""
    entries: int = 0
    """Files, folders and all else in it."""
    complete: bool = True
    """Whether all of it could be read."""


@dataclass(frozen=True, slots=True)
class Account:
    """What takes the space below a data root; the parts are disjoint and leave nothing out."""

    root: str
    driver: str
    """The storage driver that has the images; where several have, the one asked first."""
    parts: tuple[Part, ...]
    problems: tuple[str, ...] = ()
    """What could not be read or proved, a line each."""
    engine: str = ""
    """The process that holds the root while it is read, for people; "" for none."""

    @property
    def total_bytes(self) -> int:
        """What `du` says of the root, but for what is mounted in it."""
        return sum(part.bytes for part in self.parts)

    def of(self, kind: str) -> tuple[Part, ...]:
        """Return the parts of a kind, the largest first."""
        found = (part for part in self.parts if part.kind == kind)
        return tuple(sorted(found, key=lambda part: (-part.bytes, part.path)))
