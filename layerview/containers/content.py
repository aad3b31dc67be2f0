"""What a container shows at a path before it was ever started, to fill its volumes from."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from layerview.containers.mountpoints import open_place
from layerview.drivers.copying import FolderSource, Source
from layerview.layer.beneath import OPEN_FOLDER

if TYPE_CHECKING:
    from layerview.drivers.aufs import Aufs
    from layerview.drivers.base import Driver
    from layerview.unionfs.steps import Step
    from layerview.unionfs.union import Union

Find = Callable[[bytes], Source | None]
"""Gives the folder that a path leads to; None: there is none."""
_BRANCH = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def content(driver: Driver, mount_id: str) -> Iterator[Find]:
    """Show what a container's layers hold together.

    Raises:
        OSError: where they can't be mounted.
    """
    with ExitStack() as held:
        if driver.name == "aufs":
            from layerview.drivers.aufs import Aufs

            assert isinstance(driver, Aufs)
            yield _by_union(driver, mount_id, held)
        else:
            root = os.open(held.enter_context(driver.mounted(mount_id)), OPEN_FOLDER)
            held.callback(os.close, root)
            yield lambda path: _beneath(root, path, held)


def _beneath(root: int, path: bytes, held: ExitStack) -> Source | None:
    place, made = open_place(root, path, folder=True)
    try:
        if made or not stat.S_ISDIR(os.fstat(place).st_mode):
            return None
        source = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)
    held.callback(os.close, source)
    return FolderSource(source)


def _by_union(driver: Aufs, mount_id: str, held: ExitStack) -> Find:
    """Show them by our own union, which needs no mount, for where none can be made."""
    from layerview.drivers.layered import shown_below
    from layerview.unionfs.shell.places import Tree
    from layerview.unionfs.source import UnionSource

    layers = (mount_id, *shown_below(driver, mount_id))
    union = open_union([driver.layer_folder(layer) for layer in layers], held, writable=False)
    tree = Tree(union)

    def find(path: bytes) -> Source | None:
        try:
            place = tree.find(tree.root, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return UnionSource(union, place.node) if place.is_folder else None

    return find


def open_union(
    branches: Sequence[str],
    held: ExitStack,
    *,
    report: Callable[[Step], None] | None = None,
    writable: bool = True,
) -> Union:
    """Open the union of folders, the top one first; it is closed with what holds it.

    Raises:
        OSError: where a folder can't be opened.
    """
    from layerview.unionfs.union import Union

    fds = []
    for branch in branches:
        fds.append(os.open(branch, _BRANCH))
        held.callback(os.close, fds[-1])
    union = Union(fds, report=report, writable=writable)
    held.callback(union.close)
    return union
