"""What the Disk screen's account is made of: images, containers, the rows, entries of folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from layerview.store.account import Part


class StockLayer(NamedTuple):
    """A layer of an image."""

    chain_id: str
    cache_id: str
    instruction: str


class StockImage(NamedTuple):
    """An image that the root holds."""

    id: str
    names: tuple[str, ...]
    driver: str
    layers: tuple[StockLayer, ...]
    """Base first."""

    @property
    def name(self) -> str:
        """What it is called in a list."""
        return self.names[0] if self.names else f"<none> {self.id[:12]}"


class StockContainer(NamedTuple):
    """A container that the root holds."""

    id: str
    name: str
    status: str
    image: str
    driver: str
    ids: tuple[str, ...]
    """The driver's IDs of its layers: its own, and the one below it."""
    image_id: str = ""

    @property
    def runs(self) -> bool:
        """Whether it has processes, which write, and keep it from being removed as it is."""
        return self.status in ("running", "paused", "restarting")


class StackLayer(NamedTuple):
    """A layer as it lies in a stack."""

    chain_id: str
    """"" for a container's own."""
    bytes: int
    instruction: str
    images: int
    """How many have it."""


@dataclass(slots=True)
class Row:
    """One row of a list."""

    key: str
    """Unlike that of all other rows of its list, and the same when it is measured again."""
    name: str
    type: str
    """What it is, in a word or two: "image", "volume", "folder"."""
    bytes: int | None
    """Of the list that it stands in; None while nobody has measured it."""
    note: str = ""
    """Whose it is, or what is in it."""
    path: str = ""
    """Where it lies; "" for what lies in several places."""
    parts: tuple[Part, ...] = ()
    """What it is made of."""
    layer: tuple[int, str] | None = None
    """The number and the ChainID of the layer that it is."""
    writable: bool = False
    """Whether it is a container's own layer."""
    apart: bool = False
    """Whether its bytes count elsewhere: those of a layer that other images have as well."""
    opens: bool = False
    """Whether there is something in it to be seen."""
    entries: int = 0
    frees: int | None = None
    """Bytes that deleting it would free; None where that is not known or nothing deletes it."""
    grown: int = 0
    """Bytes by which it grew since the screen was opened."""
    whole: bool = True
    """Whether all of it could be read."""
    problem: bool = False
    """Whether it tells of something that could not be read."""
    warning: bool = False
    """Whether nothing needs it."""

    @property
    def is_folder(self) -> bool:
        """Whether what is in it are files."""
        return self.key.startswith(("part:", "file:")) or (
            self.key.startswith("volume:") and len(self.parts) == 1
        )


class Found(NamedTuple):
    """An entry of a folder."""

    name: str
    kind: str
    """"folder", "file", "link", or another word for what it is."""
    bytes: int
    entries: int
    unread: int


@dataclass(slots=True)
class Folder:
    """What was found in a folder."""

    found: list[Found] = field(default_factory=list)
    done: bool = False
    rest: tuple[int, int] = (0, 0)
    """Entries that are not listed one by one, and their bytes."""
    problem: str = ""
