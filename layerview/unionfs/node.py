"""What a union is made of: its files and folders, whatever branch they lie on."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from layerview.unionfs.listing import Listing


class Attributes(NamedTuple):
    """What stat(2) tells of a node."""

    ino: int
    mode: int
    """With the type's bits."""
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Caller(NamedTuple):
    """Who asks, and owns what is made."""

    uid: int = 0
    gid: int = 0
    pid: int = 0


ROOT_CALLER = Caller()


class Entry(NamedTuple):
    """A name in a folder."""

    name: bytes
    ino: int
    kind: int
    """The type's bits of a mode (stat.S_IFMT)."""


class Node:
    """A file or folder of the union; it stays the same over copy-ups, renames and deletion."""

    __slots__ = (
        "branch",
        "children",
        "held",
        "ino",
        "is_folder",
        "kind",
        "listing",
        "name",
        "others",
        "parent",
        "pin",
        "real",
        "set_group",
        "stack",
    )

    def __init__(
        self, parent: Node | None, name: bytes, kind: int, ino: int, stack: tuple[int, ...]
    ) -> None:
        self.parent = parent
        """The folder of its first name; None: it is the root, or has no name any more."""
        self.name = name
        self.others: list[tuple[Node, bytes]] = []
        """Its further names, as far as they are known."""
        self.kind = kind
        """The type's bits of a mode."""
        self.is_folder = kind == stat.S_IFDIR
        self.ino = ino
        """The same over a copy-up, and for all names of a file."""
        self.branch = stack[0]
        """Where it lies; 0 is the top."""
        self.stack = stack
        """The branches whose content shows in a folder, top first; of a file, its own."""
        self.real: tuple[int, int] | None = None
        """Device and inode, where a file has several names."""
        self.children: dict[bytes, Node] = {}
        """What was looked up in a folder."""
        self.listing: Listing | None = None
        self.set_group: bool | None = None
        """Whether what is made in a folder gets its group; None: not looked at."""
        self.held = 0
        self.pin = -1
        """Descriptor (O_PATH) of what has no name any more and is held."""

    def __repr__(self) -> str:
        return f"Node({self.ino}, {self.name!r}, branch {self.branch})"


def attributes_of(ino: int, state: os.stat_result, nlink: int) -> Attributes:
    """Return a node's attributes by what its branch says."""
    return Attributes(
        ino,
        state.st_mode,
        nlink,
        state.st_uid,
        state.st_gid,
        state.st_rdev,
        state.st_size,
        state.st_blocks,
        state.st_atime_ns,
        state.st_mtime_ns,
        state.st_ctime_ns,
    )
