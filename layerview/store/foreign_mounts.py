"""Which entries of a data root are not its own: other file systems and folders, mounted there."""

from __future__ import annotations

import os

from layerview.drivers.mounts import unescaped


class ForeignMounts:
    """What is mounted below a folder in this mount namespace."""

    def __init__(self, root: str) -> None:
        self._root = os.fsencode(os.path.realpath(root)).rstrip(b"/")

    def names(self) -> frozenset[bytes]:
        """Return the last part of each mount point's path."""
        places = (unescaped(line[4]) for line in _lines())
        above = self._root + b"/"
        return frozenset(os.path.basename(place) for place in places if place.startswith(above))

    def is_foreign(self, folder: int, name: bytes) -> bool:
        """Whether something from elsewhere is mounted on an entry of an open folder.

        Not so where a folder is mounted on itself, as the engine does with a driver's home, nor
        for a subvolume of btrfs, which but looks like a mount.
        """
        try:
            place = os.readlink(b"/proc/self/fd/%d" % folder) + b"/" + name
        except OSError:
            return True
        lines = {line[0]: line for line in _lines()}
        if not lines:
            return True
        here = [line for line in lines.values() if unescaped(line[4]) == place]
        if not here:
            return False
        top = here[-1]
        above = lines.get(top[1])
        while above is not None and unescaped(above[4]) == place:
            above = lines.get(above[1])
        if above is None or above[2] != top[2]:
            return True
        base = unescaped(above[4]).rstrip(b"/")
        itself = unescaped(above[3]).rstrip(b"/") + place[len(base) :]
        return unescaped(top[3]) != itself


def _lines() -> list[list[bytes]]:
    """Read the mounts' fields: ID, that of the mount below, device, root, mount point (proc(5))."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return [line.split(b" ", 5) for line in file]
    except OSError:
        return []
