"""What is told about a watched container."""

from __future__ import annotations

from typing import NamedTuple

INIT = -1
"""The number of a container's first layer (`-init`), which belongs to no image."""

KINDS = (
    "copy_up",
    "create",
    "write",
    "metadata",
    "whiteout",
    "delete",
    "opaque",
    "rename",
    "link",
    "block",
    "read",
)
"""The kinds of events: see CowEvent.kind."""


class CowEvent(NamedTuple):
    """One thing that happened in a container's layer, or in a volume beside it."""

    time: int
    """Nanoseconds since 1970, UTC."""
    kind: str
    """One of KINDS.

    copy_up: the driver copied an entry of a layer below to the top; create: new; write: to what is
    on top already; metadata: mode, owner, times or attributes of what is on top; whiteout: hides
    something below; delete: of what was on top only; opaque: a folder that hides all below it;
    rename; link: a hard link that a copy-up broke; block: blocks of a block driver; read.
    """
    path: bytes
    """In the container, relative; b"" is the root."""
    from_path: bytes | None = None
    """The path before a rename; for what was copied up under another name, the one below."""
    layer: int | None = None
    """Where a copy-up came from, or what a whiteout or a moved folder hides.

    0 is the base; INIT; None: unknown.
    """
    searched: tuple[int, ...] = ()
    """The layers that were looked at, top first, the one where it was found among them."""
    bytes: int | None = None
    """Bytes of data that were copied; 0 where only the entry was."""
    written: int | None = None
    """Bytes that a program wrote; None where the driver can't know."""
    duration_ns: int | None = None
    pid: int | None = None
    """Who did it, as this machine counts."""
    command: str | None = None
    cause: str | None = None
    """Of a copy-up: open, truncate, metadata, rename or link; None where it can't be told."""
    disk_path: str = ""
    """Where it lies on disk, absolute."""
    volume: bool = False
    """It passed the driver by: it lies in a volume or a bind mount."""
    held: bool = False
    """It was there when watching began; `time` is then the entry's own."""
    size: int | None = None
    """Bytes of the entry afterwards."""


class Copying(NamedTuple):
    """A copy-up under way. Its CowEvent follows; both have the same path."""

    time: int
    path: bytes
    """b"" and `layer` None where the driver doesn't tell what it copies yet."""
    layer: int | None
    done: int
    """Bytes that were copied."""
    total: int | None
    """Bytes of the file."""


class Notice(NamedTuple):
    """Something that who watches should know: a limit, a missing right, a rescan."""

    time: int
    text: str
    """One line for people, with the remedy where there is one."""


class Ended(NamedTuple):
    """Nothing more will come."""

    time: int
    reason: str
    """One line for people: the container ended, was removed, its layer is gone."""


Record = CowEvent | Copying | Notice | Ended


def is_exchange(one: CowEvent, other: CowEvent) -> bool:
    """Whether two renames in a row, at the same time, gave each of two entries the other's path."""
    return (
        one.kind == other.kind == "rename"
        and (one.path, one.from_path) == (other.from_path, other.path)
        and one.volume == other.volume
    )
