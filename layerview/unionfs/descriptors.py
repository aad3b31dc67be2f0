"""Descriptors of folders on the branches; a bounded number is held open."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Sequence

from layerview.unionfs.names import failure
from layerview.unionfs.node import Node

PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FOLDER = PATH_ONLY | os.O_DIRECTORY
_MOST = 512
_MOST_ON_THE_WAY = 32
"""How many are opened anew for one folder, and kept."""


class FolderDescriptors:
    """Folders by node and branch, each opened by its name in the one above it."""

    def __init__(self, root: Node, branches: Sequence[int]) -> None:
        """Look beneath branches, whose descriptors stay their owner's to close."""
        self._root = root
        self._branches = branches
        self._open: OrderedDict[tuple[Node, int], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, folder: Node, branch: int) -> int:
        """Return a folder's descriptor on a branch; it is good until many others are asked for.

        Raises:
            OSError: ENOENT when it is removed, or as open(2).
        """
        descriptors = self._open
        key = (folder, branch)
        fd = descriptors.get(key)
        if fd is not None:
            descriptors.move_to_end(key)
            return fd
        missing = []
        at = folder
        while at is not self._root:
            fd = descriptors.get((at, branch))
            if fd is not None:
                break
            missing.append(at)
            if at.parent is None:
                raise failure(errno.ENOENT, at.name)
            at = at.parent
        else:
            fd = self._branches[branch]
        for left in range(len(missing) - 1, -1, -1):
            at = missing[left]
            try:
                below = os.open(at.name, OPEN_FOLDER, dir_fd=fd)
            finally:
                if _MOST_ON_THE_WAY <= left + 1 < len(missing):
                    os.close(fd)
            fd = below
            # However deep a folder lies, the others' descriptors that were asked for just now stay.
            if left < _MOST_ON_THE_WAY:
                descriptors[at, branch] = fd
        while len(descriptors) > _MOST:
            os.close(descriptors.popitem(last=False)[1])
        return fd

    def forget(self, folder: Node) -> None:
        """Close a folder that is removed, or not remembered any more."""
        for branch in range(len(self._branches)):
            fd = self._open.pop((folder, branch), None)
            if fd is not None:
                os.close(fd)

    def close(self) -> None:
        """Close all that is held open."""
        while self._open:
            os.close(self._open.popitem()[1])
