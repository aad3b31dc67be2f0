"""The names of files that have several on one branch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from layerview.unionfs.listing import scan

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def several_names(branch: int) -> dict[int, list[bytes]]:
    """Find which names of a branch are the same file's, by inode number.

    Args:
        branch: its folder's descriptor; O_PATH is enough.

    Raises:
        OSError: when a folder can't be read.
    """
    first: dict[int, bytes] = {}
    several: dict[int, list[bytes]] = {}
    for path, ino in _files(branch):
        other = first.setdefault(ino, path)
        if other is not path:
            several.setdefault(ino, [other]).append(path)
    return several


def _files(branch: int) -> Iterator[tuple[bytes, int]]:
    """Yield all that is no folder, with inode numbers; reads nothing but folders."""
    way: list[tuple[int, bytes, list[bytes]]] = []
    try:
        fd, path = os.open(b".", _OPEN, dir_fd=branch), b""
        while True:
            start = path + b"/" if path else b""
            folders: list[bytes] = []
            way.append((fd, path, folders))
            for name, (kind, ino) in scan(fd).names.items():
                if kind == stat.S_IFDIR:
                    folders.append(name)
                else:
                    yield start + name, ino
            while way and not way[-1][2]:
                os.close(way.pop()[0])
            if not way:
                return
            above, path, folders = way[-1]
            name = folders.pop()
            path = path + b"/" + name if path else name
            fd = os.open(name, _OPEN, dir_fd=above)
    finally:
        for fd, _, _ in way:
            os.close(fd)
