"""aufs: a folder a layer, deletions as files in it; shown as one tree by a union (moby, aufs).

aufs/diff/ID      the layer's own files, with `.wh.NAME` and `.wh..wh..opq`
     layers/ID    IDs of all layers below, a line each, nearest first; only to be read (0444) once
                  a layer lies on this one
     mnt/ID       the tree, while it is mounted
layerview/union/ID/steps   where the union's server tells what it does (see unionfs.steps)

The union is the kernel's own aufs where it has one, else layerview's, served through FUSE by a
process of its own, which ends when its tree is unmounted everywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from layerview.drivers.base import (
    check_id,
    folder_size,
    ids_in,
    is_folder,
    make_folder,
    naive_size,
    need,
)
from layerview.drivers.kernel_aufs import has_kernel_aufs, mount_kernel_aufs
from layerview.drivers.layered import (
    apply_layered,
    changes_layered,
    diff_layered,
    imply_layered,
    look_layered,
    parent_of,
    shown_below,
    take_over,
    write_file,
)
from layerview.drivers.mounted_trees import MountedTrees, Places, detach_all, lock_soon
from layerview.drivers.mounts import attach, mount
from layerview.drivers.removal import remove_tree
from layerview.errors import DamageError, FormatError, LayerviewError, LimitError
from layerview.layer.beneath import OPEN_FOLDER
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import QUIET, Progress

if TYPE_CHECKING:
    from layerview.layer.apply import Applied
    from layerview.layer.tar_split import TarSplitWriter
    from layerview.layer.tree_changes import Change
    from layerview.layer.windows import Readable

MAX_BRANCHES = 127
"""Layers of a tree, its own included, as in the kernel's aufs (AUFS_BRANCH_MAX)."""

_MOST = 64 * 1024
"""Bytes of a list of layers that are read: the longest has 8,190."""
_REMOVING = "-removing"
_READ_ONLY = 0o444
_MS_RDONLY = 1
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_OPEN_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Aufs:
    """The driver; see base.Driver. It mounts, which needs root, if only of a user namespace."""

    name = "aufs"
    copy_on_write = "file"
    whiteouts = Whiteouts.AUFS

    def __init__(self, root: str) -> None:
        """Keep layers in `root`/aufs; nothing is made before it is needed."""
        base = os.path.realpath(root)
        self.home = os.path.join(base, "aufs")
        self._union = os.path.join(base, "layerview", "union")
        self._trees = MountedTrees(self._places, self._forget_steps)

    # --- names ---

    def _path(self, kind: str, id: str) -> str:
        return os.path.join(self.home, kind, check_id(id))

    def layer_folder(self, id: str) -> str:
        """See Driver."""
        return self._path("diff", id)

    def steps_of(self, id: str) -> str:
        """Return the socket where the server of a layer's tree tells what it does."""
        return os.path.join(self._union, check_id(id), "steps")

    def exists(self, id: str) -> bool:
        """See Driver."""
        return os.path.lexists(self._path("layers", id)) or is_folder(self.layer_folder(id))

    def ids(self) -> list[str]:
        """See Driver."""
        found = set(ids_in(os.path.join(self.home, "diff")))
        with suppress(FileNotFoundError):
            for name in os.listdir(os.path.join(self.home, "layers")):
                with suppress(FormatError):
                    found.add(check_id(name))
        return sorted(found)

    def lowers(self, id: str) -> list[str]:
        """See Layered.

        Raises:
            DamageError: when `layers/ID` is not there or not as it should be.
        """
        path = self._path("layers", id)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                text = file.read(_MOST).decode("utf-8", "replace")
            return [check_id(line) for line in text.split()]
        except OSError as error:
            raise DamageError(f"{path}: {(error.strerror or '').lower()}") from None
        except FormatError:
            raise DamageError(f"{path}: not a list of layers, an ID a line") from None

    def _places(self, id: str) -> Places:
        return Places(self.layer_folder(id), self._path("layers", id), self._path("mnt", id))

    # --- making ---

    def create(self, id: str, parent: str | None) -> None:
        """See Driver."""
        lowers: list[str] = []
        if parent is not None:
            lowers = [need(self, parent), *self.lowers(parent)]
            if len(lowers) >= MAX_BRANCHES:
                raise LimitError(f"more than {MAX_BRANCHES} layers in one: aufs cannot hold them")
        folder, mount_point = self.layer_folder(id), self._path("mnt", id)
        for place in (os.path.dirname(self.home), self.home):
            with suppress(FileExistsError):
                make_folder(place, 0o710)
        for kind in ("diff", "layers", "mnt"):
            with suppress(FileExistsError):
                make_folder(os.path.join(self.home, kind), 0o710)
        make_folder(folder, 0o755)
        make_folder(mount_point, 0o755)
        if parent is not None:
            take_over(self.layer_folder(parent), folder)
            os.chmod(self._path("layers", parent), _READ_ONLY)
        write_file(self._path("layers", id), "".join(f"{lower}\n" for lower in lowers), 0o644)

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
        """See Driver and apply_layered."""
        return apply_layered(self, id, parent, tar, tar_split=tar_split, progress=progress)

    # --- looking ---

    def _tells(self, id: str, parent: str | None) -> bool:
        """Whether the folder alone tells what a layer changes."""
        need(self, id)
        return parent == parent_of(self, id)

    def diff(self, id: str, parent: str | None) -> Iterator[bytes]:
        """See Driver."""
        return diff_layered(self, id, parent, alone=self._tells(id, parent))

    def changes(self, id: str, parent: str | None) -> list[Change]:
        """See Driver."""
        return changes_layered(self, id, parent, alone=self._tells(id, parent))

    def size(self, id: str, parent: str | None) -> int:
        """See Driver."""
        if self._tells(id, parent):
            return folder_size(self.layer_folder(id), leave_out=b".wh.")
        return naive_size(self, id, parent)

    def look(self, id: str, paths: Sequence[bytes]) -> list[os.stat_result | None]:
        """See Driver."""
        return look_layered(self, id, paths)

    def imply(self, id: str, path: bytes) -> None:
        """See Driver."""
        imply_layered(self, id, path)

    def status(self) -> list[tuple[str, str]]:
        """See Driver."""
        from layerview.drivers.file_systems import file_system

        return [
            ("Root Dir", self.home),
            ("Backing Filesystem", file_system(self.home)),
            ("Dirs", str(len(self.ids()))),
            ("Dirperm1 Supported", "true"),
        ]

    # --- mounting ---

    @contextmanager
    def mounted(self, id: str, *, volatile: bool = False) -> Iterator[str]:
        """See Driver. A base layer is its own folder, as in Docker's driver."""
        if not self.lowers(need(self, id)):
            yield self.layer_folder(id)
            return
        branches, read_only = self._branches(id), self._is_committed(id)
        self._trees.enter(
            id, lambda: self._mount(id, branches, read_only, volatile), read_only=read_only
        )
        try:
            yield self._path("mnt", id)
        finally:
            self._trees.leave(id)

    @contextmanager
    def detached(self, id: str, *, volatile: bool = False) -> Iterator[int | None]:
        """See Driver. For a layer that is written to, while nobody else uses it."""
        if not self.lowers(need(self, id)) or self._is_committed(id) or has_kernel_aufs():
            yield None
            return
        branches = self._branches(id)

        def make() -> int | None:
            try:
                return self._serve(id, branches, volatile=volatile)
            except OSError:
                # What is wrong is said where it is mounted the other way.
                return None

        with self._trees.detached(id, make) as tree:
            yield tree

    def descriptors(self, id: str) -> list[int]:
        """See Driver."""
        return self._trees.descriptors(id)

    def _branches(self, id: str) -> list[str]:
        """Return the folders of the layers that show, the layer's own first."""
        return [self.layer_folder(each) for each in (id, *shown_below(self, id))]

    def _is_committed(self, id: str) -> bool:
        """Whether a layer lies on this one."""
        return not os.lstat(self._path("layers", id)).st_mode & stat.S_IWUSR

    def _serve(
        self, id: str, branches: list[str], *, volatile: bool, read_only: bool = False
    ) -> int:
        """Make a tree that is mounted nowhere, and a server behind it; return its descriptor."""
        from layerview.unionfs.serve import serve

        steps = None
        if not read_only:
            steps = self.steps_of(id)
            with suppress(FileExistsError):
                os.makedirs(os.path.dirname(steps), 0o700)
        return serve(branches, steps=steps, volatile=volatile, read_only=read_only).tree

    def _mount(self, id: str, branches: list[str], read_only: bool, volatile: bool) -> None:
        target = self._path("mnt", id)
        try:
            with suppress(FileExistsError):
                os.mkdir(target, 0o755)
            if has_kernel_aufs():
                mount_kernel_aufs(target, branches, read_only=read_only)
                return
            with ExitStack() as held:
                tree = self._serve(id, branches, volatile=volatile, read_only=read_only)
                held.callback(os.close, tree)
                place = os.open(target, _OPEN_PATH)
                held.callback(os.close, place)
                attach(tree, place)
                if read_only:
                    mount("none", target, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
        except OSError as error:
            from layerview.unionfs.serve import can_serve

            detach_all(target)
            why = can_serve() or (error.strerror or "").lower()
            raise LayerviewError(
                f"{target}: union of {len(branches)} layers not mounted: {why};"
                " layerview drivers says what works here"
            ) from None

    def _forget_steps(self, id: str) -> None:
        """Wait until a server has ended, and take away what it left."""
        folder = os.path.dirname(self.steps_of(id))
        self._await_server(folder)
        with suppress(OSError):
            os.unlink(os.path.join(folder, "steps"))
        with suppress(OSError):
            os.rmdir(folder)

    def _await_server(self, folder: str) -> None:
        """Wait for a server whose tree is gone: it writes down what it knows (see unionfs)."""
        with suppress(OSError):
            fd = os.open(folder, OPEN_FOLDER)
            try:
                lock_soon(fd)
            finally:
                os.close(fd)

    # --- removing ---

    def remove(self, id: str) -> None:
        """See Driver. What is removed gets another name first, as in Docker's driver.

        Raises:
            LayerviewError: when a process uses the tree.
        """
        folders = os.path.join(self.home, "diff")
        with self._trees.removing(check_id(id)):
            self._await_server(os.path.join(self._union, id))
            remove_tree(self._union, id)
            remove_tree(folders, id + _REMOVING)
            with suppress(FileNotFoundError):
                os.rename(self.layer_folder(id), self.layer_folder(id) + _REMOVING)
            remove_tree(os.path.join(self.home, "mnt"), id)
            with suppress(FileNotFoundError):
                os.unlink(self._path("layers", id))
            remove_tree(folders, id + _REMOVING)
