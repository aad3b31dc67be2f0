"""Paths followed inside a union: symbolic links lead nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NoReturn

from layerview.unionfs.union import Attributes, Caller, Entry, Node, Union

MAX_LINKS = 40
"""Symbolic links that a path may lead over, as in Linux."""
MAX_PATH = 4095


class Place:
    """Something in the tree, and the way to it from the root."""

    __slots__ = ("above", "name", "node", "union")

    def __init__(self, union: Union, node: Node, above: Place | None, name: bytes) -> None:
        """Keep what lies under a name in a folder; the root has no folder above it."""
        self.union = union
        self.node = node
        self.above = above
        self.name = name

    def attributes(self) -> Attributes:
        """Return its attributes."""
        return self.union.attributes(self.node)

    @property
    def is_folder(self) -> bool:
        """Whether it is one."""
        return self.node.is_folder

    @property
    def path(self) -> bytes:
        """Its path, relative; b"" is the root."""
        names: list[bytes] = []
        place = self
        while place.above is not None:
            names.append(place.name)
            place = place.above
        return b"/".join(reversed(names))

    def same(self, other: Place) -> bool:
        """Whether both are one file or folder."""
        return self.union is other.union and self.node.ino == other.node.ino

    def is_in(self, folder: Place) -> bool:
        """Whether it is a folder itself, or lies somewhere beneath it."""
        place: Place | None = self
        while place is not None:
            if place.same(folder):
                return True
            place = place.above
        return False


class Tree:
    """A union, and what is mounted in it."""

    def __init__(self, union: Union, by: Caller | None = None) -> None:
        """Show a union as one tree.

        Args:
            union: the container's.
            by: owner of what is made.
        """
        self._mounts: dict[bytes, tuple[Union, Node]] = {}
        self.by = by if by is not None else Caller()
        self.root = Place(union, union.root, None, b"")

    def mount(self, path: bytes, union: Union, node: Node) -> None:
        """Show a folder or file of another union, as a volume is shown; what lacks there is made.

        Args:
            path: where; links in it are followed, as everywhere.
            union: the other one.
            node: what shows: its root, or a file in that.

        Raises:
            OSError: when there is no such place, and none can be made.
        """
        place, names = self.root, [name for name in path.split(b"/") if name]
        for number, name in enumerate(names):
            try:
                place = self.find(place, name)
                continue
            except FileNotFoundError:
                folder, new = self._walk(place, name, True, missing=True)
            last = number + 1 == len(names)
            if last and not node.is_folder:
                made, fd = folder.union.create(
                    folder.node, new, 0o644, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.by
                )
                os.close(fd)
            else:
                made = folder.union.mkdir(folder.node, new, 0o755, self.by)
            place = Place(folder.union, made, folder, new)
        if place.above is None:
            fail(errno.EBUSY)
        self._mounts[place.path] = union, node

    def child(self, folder: Place, name: bytes) -> Place:
        """Return what lies under a name in a folder; a link itself.

        Raises:
            OSError: when there is nothing.
        """
        if name == b".":
            return folder
        if name == b"..":
            return folder.above or folder
        if not folder.is_folder:
            fail(errno.ENOTDIR)
        if self._mounts:
            mounted = self._mounts.get((folder.path + b"/" + name).lstrip(b"/"))
            if mounted is not None:
                return Place(*mounted, folder, name)
        if len(name) > 255:
            fail(errno.ENAMETOOLONG)
        return Place(folder.union, folder.union.lookup(folder.node, name, self.by), folder, name)

    def is_mount(self, place: Place) -> bool:
        """Whether something is mounted there."""
        return place.above is None or place.path in self._mounts

    def find(self, at: Place, path: bytes, *, follow: bool = True) -> Place:
        """Return what a path leads to.

        Args:
            at: where it begins when it is relative.
            path: of the tree.
            follow: whether its last name, where it is a link, is followed as well.

        Raises:
            OSError: as open(2) has it.
        """
        return self._walk(at, path, follow, missing=False)[0]

    def find_or_new(self, at: Place, path: bytes) -> tuple[Place, bytes]:
        """Return what a path leads to and b"", or the folder and the name of what it would make.

        Raises:
            OSError: as open(2) with O_CREAT has it.
        """
        return self._walk(at, path, True, missing=True)

    def _walk(self, at: Place, path: bytes, follow: bool, *, missing: bool) -> tuple[Place, bytes]:
        if not path:
            fail(errno.ENOENT)
        place, links = at, 0
        waiting = [path]
        names: list[bytes] = []
        while waiting:
            text = waiting.pop()
            if len(text) > MAX_PATH:
                fail(errno.ENAMETOOLONG)
            if text.startswith(b"/"):
                place = self.root
            parts = [part for part in text.split(b"/") if part]
            if text.endswith(b"/") and parts:
                # What stands before a slash is a folder.
                parts.append(b".")
            names += reversed(parts)
            while names:
                name = names.pop()
                if not place.is_folder:
                    fail(errno.ENOTDIR)
                try:
                    found = self.child(place, name)
                except FileNotFoundError:
                    if not missing or names:
                        raise
                    return place, name
                if self._is_link(found) and (names or follow):
                    links += 1
                    if links > MAX_LINKS:
                        fail(errno.ELOOP)
                    target = found.union.read_link(found.node)
                    if not target:
                        fail(errno.ENOENT)
                    waiting.append(target)
                    break
                place = found
        return place, b""

    @staticmethod
    def _is_link(place: Place) -> bool:
        return not place.is_folder and stat.S_ISLNK(place.attributes().mode)

    def above(self, at: Place, path: bytes) -> tuple[Place, bytes]:
        """Return the folder that a path's last name lies in, and the name.

        Raises:
            OSError: when there is no such folder; EBUSY for the root, EINVAL for `.` and `..`.
        """
        stripped = path.rstrip(b"/")
        if not stripped:
            fail(errno.EBUSY if path else errno.ENOENT)
        folder, slash, name = stripped.rpartition(b"/")
        if name in (b".", b".."):
            fail(errno.EINVAL)
        place = self.find(at, (folder or b"/") if slash else b".")
        if not place.is_folder:
            fail(errno.ENOTDIR)
        return place, name

    def entries(self, folder: Place) -> list[Entry]:
        """Return what lies in a folder, sorted by name."""
        return sorted(folder.union.entries(folder.node))

    def walk(self, place: Place, path: bytes) -> Iterator[tuple[bytes, Place]]:
        """Yield a place and all beneath it, each with its path, folders before what they hold.

        What vanishes meanwhile is passed over; the caller may remove what it was given.
        """
        waiting = [(path, place)]
        while waiting:
            path, place = waiting.pop()
            yield path, place
            if not place.is_folder:
                continue
            start = path if path.endswith(b"/") else path + b"/"
            for entry in reversed(self.entries(place)):
                try:
                    waiting.append((start + entry.name, self.child(place, entry.name)))
                except FileNotFoundError:
                    continue


def fail(code: int) -> NoReturn:
    """Raise the error of a number."""
    raise OSError(code, os.strerror(code))
