"""vfs: each layer is a full copy of its parent, changed in place. Works on every file system.

vfs/dir/ID      the whole tree
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from layerview.drivers.base import (
    check_id,
    folder_size,
    ids_in,
    is_folder,
    make_folder,
    naive_changes,
    naive_diff,
    naive_size,
    need,
)
from layerview.drivers.below import look_beneath
from layerview.drivers.copying import copy_tree
from layerview.drivers.mounts import clone_tree
from layerview.drivers.namespace import mapped_owners
from layerview.drivers.removal import remove_tree
from layerview.layer.beneath import OPEN_FOLDER
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import QUIET, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.layer.apply import Applied
    from layerview.layer.tar_split import TarSplitWriter
    from layerview.layer.tree_changes import Change
    from layerview.layer.windows import Readable


class Vfs:
    """The driver; see base.Driver. Nothing is mounted, and blocks are shared where they can be."""

    name = "vfs"
    copy_on_write = "none"
    whiteouts = Whiteouts.NONE

    def __init__(self, root: str) -> None:
        """Keep layers in `root`/vfs; nothing is made before it is needed."""
        self.home = os.path.join(os.path.realpath(root), "vfs")
        self._folder = os.path.join(self.home, "dir")

    def layer_folder(self, id: str) -> str:
        """See Driver. It is the whole tree."""
        return os.path.join(self._folder, check_id(id))

    def exists(self, id: str) -> bool:
        """See Driver."""
        return is_folder(self.layer_folder(id))

    def ids(self) -> list[str]:
        """See Driver."""
        return ids_in(self._folder)

    def create(self, id: str, parent: str | None) -> None:
        """See Driver. This is where the parent is copied."""
        folder = self.layer_folder(id)
        if parent is not None:
            need(self, parent)
        for place in (os.path.dirname(self.home), self.home, self._folder):
            with suppress(FileExistsError):
                make_folder(place, 0o710)
        make_folder(folder, 0o755)
        if parent is not None:
            copy_tree(self.layer_folder(parent), folder)

    def create_writable(self, id: str, parent: str | None) -> None:
        """See Driver."""
        self.create(id, parent)

    def apply(
        self,
        id: str,
        parent: str | None,
        tar: Readable,
        *,
        tar_split: TarSplitWriter | None = None,
        progress: Progress = QUIET,
    ) -> Applied:
        """See Driver."""
        from layerview.layer.apply import apply

        need(self, id)
        fd = os.open(self.layer_folder(id), OPEN_FOLDER)
        try:
            return apply(
                tar,
                fd,
                whiteouts=self.whiteouts,
                tar_split=tar_split,
                owners=mapped_owners(),
                progress=progress,
            )
        finally:
            os.close(fd)

    def diff(self, id: str, parent: str | None) -> Iterator[bytes]:
        """See Driver."""
        return naive_diff(self, need(self, id), parent)

    def changes(self, id: str, parent: str | None) -> list[Change]:
        """See Driver."""
        return naive_changes(self, need(self, id), parent)

    def size(self, id: str, parent: str | None) -> int:
        """See Driver."""
        need(self, id)
        return (
            folder_size(self.layer_folder(id)) if parent is None else naive_size(self, id, parent)
        )

    def look(self, id: str, paths: Sequence[bytes]) -> list[os.stat_result | None]:
        """See Driver."""
        base = os.open(self.layer_folder(need(self, id)), OPEN_FOLDER)
        try:
            return [look_beneath(base, path) for path in paths]
        finally:
            os.close(base)

    @contextmanager
    def detached(self, id: str, *, volatile: bool = False) -> Iterator[int | None]:
        """See Driver."""
        try:
            tree = clone_tree(-1, self.layer_folder(need(self, id)))
        except OSError:
            yield None
            return
        try:
            yield tree
        finally:
            os.close(tree)

    def imply(self, id: str, path: bytes) -> None:
        """See Driver. The layer's folder is the whole tree: it is there."""

    def descriptors(self, id: str) -> list[int]:
        """See Driver. There are none: nothing is mounted."""
        return []

    @contextmanager
    def mounted(self, id: str, *, volatile: bool = False) -> Iterator[str]:
        """See Driver. The tree lies there as it is."""
        yield self.layer_folder(need(self, id))

    def remove(self, id: str) -> None:
        """See Driver."""
        remove_tree(self._folder, check_id(id))

    def status(self) -> list[tuple[str, str]]:
        """See Driver."""
        return []
