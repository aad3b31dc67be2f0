"""What a folder of the union holds: read once from its branches, then kept in step."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from layerview.unionfs.names import OPAQUE_MARKER, WHITEOUT_PREFIX

_HAS_PROC = os.path.isdir("/proc/self/fd")


class Below(NamedTuple):
    """A name that the read-only branches show in a folder."""

    stack: tuple[int, ...]
    """Where it is found: folders in all branches that may merge, else the first one alone."""
    kind: int
    ino: int
    """As its first branch has it."""


class Scan(NamedTuple):
    """A folder on one branch."""

    names: dict[bytes, tuple[int, int]]
    """Type's bits and inode number of what is no mark."""
    whiteouts: set[bytes]
    """The names that are hidden below."""
    is_opaque: bool


class Listing:
    """A folder's content: on top as it is now, below as it always is."""

    __slots__ = ("below", "is_opaque", "top", "whiteouts")

    def __init__(
        self,
        top: dict[bytes, tuple[int, int]] | None = None,
        whiteouts: set[bytes] | None = None,
        below: dict[bytes, Below] | None = None,
        is_opaque: bool = False,
    ) -> None:
        self.top = {} if top is None else top
        self.whiteouts = set() if whiteouts is None else whiteouts
        """Those on the top branch."""
        self.below = {} if below is None else below
        self.is_opaque = is_opaque
        """Whether the top branch has the mark in the folder."""

    @property
    def size(self) -> int:
        """How many names are remembered."""
        return len(self.top) + len(self.whiteouts) + len(self.below)

    def shows(self, name: bytes) -> bool:
        """Whether there is such a name."""
        return name in self.top or (name in self.below and name not in self.whiteouts)

    @property
    def is_empty(self) -> bool:
        """Whether no name shows."""
        if self.top:
            return False
        return all(name in self.whiteouts for name in self.below)


def scan(folder: int) -> Scan:
    """Read a folder on one branch.

    Args:
        folder: its descriptor; O_PATH is enough.

    Raises:
        OSError: when it can't be read.
    """
    names: dict[bytes, tuple[int, int]] = {}
    whiteouts = set()
    is_opaque = False
    if _HAS_PROC:
        found = os.scandir(b"/proc/self/fd/%d" % folder)
        fd = -1
    else:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        found = os.scandir(fd)  # type: ignore[assignment]
    try:
        with found:
            for entry in found:
                name = entry.name if fd < 0 else os.fsencode(entry.name)
                if name.startswith(WHITEOUT_PREFIX):
                    if name == OPAQUE_MARKER:
                        is_opaque = True
                    elif not name.startswith(WHITEOUT_PREFIX * 2):
                        whiteouts.add(name[len(WHITEOUT_PREFIX) :])
                    continue
                names[name] = (_kind(entry), entry.inode())
    finally:
        if fd >= 0:
            os.close(fd)
    return Scan(names, whiteouts, is_opaque)


def _kind(entry: os.DirEntry[bytes]) -> int:
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)


def read(
    stack: tuple[int, ...], descriptor: Callable[[int], int]
) -> tuple[Listing, tuple[int, ...]]:
    """Read a folder; also return the branches that do show in it.

    Args:
        stack: the branches that may show in it, top first.
        descriptor: gives the folder on a branch.

    Raises:
        OSError: when one can't be read.
    """
    top: dict[bytes, tuple[int, int]] = {}
    whiteouts: set[bytes] = set()
    below: dict[bytes, Below] = {}
    hidden: set[bytes] = set()
    closed: set[bytes] = set()
    opaque_top = False
    for at, branch in enumerate(stack):
        names, marks, is_opaque = scan(descriptor(branch))
        if branch == 0:
            top, whiteouts, opaque_top = names, marks, is_opaque
        else:
            for name, (kind, ino) in names.items():
                if name in hidden:
                    continue
                had = below.get(name)
                if had is None:
                    below[name] = Below((branch,), kind, ino)
                elif had.kind == stat.S_IFDIR and name not in closed:
                    if kind == stat.S_IFDIR:
                        below[name] = had._replace(stack=(*had.stack, branch))
                    else:
                        closed.add(name)
            hidden |= marks
        if is_opaque:
            stack = stack[: at + 1]
            break
    return Listing(top, whiteouts, below, opaque_top), stack
