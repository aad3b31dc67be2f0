"""overlay2: a folder a layer, shown as one tree by the kernel's overlayfs (moby, overlay2).

overlay2/l/SHORT -> ../ID/diff        names short enough for mount(2)
overlay2/ID/diff                      the layer's own files
           link                       SHORT
           lower                      l/SHORT of all layers below, nearest first, `:` between
           work, merged               overlayfs's scratch; the tree, while it is mounted
           committed                  a layer lies on this one: it is only read from now on
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property

from layerview.drivers.base import (
    check_id,
    folder_size,
    ids_in,
    is_folder,
    is_id,
    make_folder,
    naive_size,
    need,
)
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
from layerview.drivers.mounted_trees import MountedTrees, Places
from layerview.drivers.mounts import (
    is_initial,
    make_overlay,
    mount_overlay,
    overlay_options,
    overlay_parameter,
)
from layerview.drivers.removal import remove_tree
from layerview.errors import DamageError, LayerviewError, LimitError
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import QUIET, Progress
from layerview.text import consists_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from layerview.layer.apply import Applied
    from layerview.layer.tar_split import TarSplitWriter
    from layerview.layer.tree_changes import Change
    from layerview.layer.windows import Readable

MAX_DEPTH = 128
"""Layers below one, as in Docker's driver."""

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_MOST = 64 * 1024
"""Bytes of a `lower` file that are read: Docker's longest has 3,711."""


class Overlay2:
    """The driver; see base.Driver. It mounts, which needs root, if only of a user namespace."""

    name = "overlay2"
    copy_on_write = "file"

    def __init__(self, root: str) -> None:
        """Keep layers in `root`/overlay2; nothing is made before it is needed."""
        self.home = os.path.join(os.path.realpath(root), "overlay2")
        self.user = os.geteuid() != 0 or not is_initial()
        self.whiteouts = Whiteouts.USER if self.user else Whiteouts.TRUSTED
        self._trees = MountedTrees(self._places, self._unmounted)

    # --- names ---

    def _dir(self, id: str, *names: str) -> str:
        return os.path.join(self.home, check_id(id), *names)

    def layer_folder(self, id: str) -> str:
        """See Driver."""
        return self._dir(id, "diff")

    def exists(self, id: str) -> bool:
        """See Driver."""
        return is_folder(self._dir(id))

    def ids(self) -> list[str]:
        """See Driver."""
        return ids_in(self.home)

    def lowers(self, id: str) -> list[str]:
        """Return the IDs of the layers below, nearest first.

        Raises:
            DamageError: when `lower` or a short link is not as it should be.
        """
        return [self._linked(link) for link in self._links(id)]

    def _links(self, id: str) -> list[str]:
        path = self._dir(id, "lower")
        try:
            with open(path, "rb") as file:
                text = file.read(_MOST).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        links = text.split(":")
        if not all(map(_is_link, links)):
            raise DamageError(f"{path}: not a list of short links (l/…)")
        return links

    def _linked(self, link: str) -> str:
        """Follow a short link by reading it, so that it leads nowhere else."""
        path = os.path.join(self.home, link)
        try:
            target = os.readlink(path)
        except OSError as error:
            raise DamageError(f"{path}: {(error.strerror or '').lower()}") from None
        id = target[len("../") : -len("/diff")]
        if target != f"../{id}/diff" or not is_id(id):
            raise DamageError(f"{path}: leads to no layer of this driver")
        return id

    def _places(self, id: str) -> Places:
        return Places(self._dir(id), self._dir(id, "link"), self._dir(id, "merged"))

    # --- making ---

    def create(self, id: str, parent: str | None) -> None:
        """See Driver."""
        folder = self._dir(id)
        lower = ""
        if parent is not None:
            need(self, parent)
            links = [f"l/{self._short(parent)}", *self._links(parent)]
            if len(links) > MAX_DEPTH:
                raise LimitError(
                    f"more than {MAX_DEPTH} layers below one: overlay2 cannot hold them"
                )
            lower = ":".join(links)
        for place in (os.path.dirname(self.home), self.home):
            with suppress(FileExistsError):
                make_folder(place, 0o710)
        with suppress(FileExistsError):
            make_folder(os.path.join(self.home, "l"), 0o700)
        make_folder(folder, 0o710)
        make_folder(os.path.join(folder, "diff"), 0o755)
        if parent is not None:
            take_over(self.layer_folder(parent), os.path.join(folder, "diff"))
        short = "".join(_BASE32[byte % 32] for byte in os.urandom(26))
        # `link` first: whoever clears up after a crash finds the short link by it.
        write_file(os.path.join(folder, "link"), short, 0o644)
        os.symlink(f"../{id}/diff", os.path.join(self.home, "l", short))
        if parent is not None:
            make_folder(os.path.join(folder, "work"), 0o700)
            write_file(self._dir(parent, "committed"), "", 0o600)
            write_file(os.path.join(folder, "lower"), lower, 0o644)

    def create_writable(self, id: str, parent: str | None) -> None:
        """See Driver."""
        self.create(id, parent)

    def _short(self, id: str) -> str:
        path = self._dir(id, "link")
        try:
            with open(path, "rb") as file:
                short = file.read(64).decode("utf-8", "replace")
        except FileNotFoundError:
            raise DamageError(f"{path}: not there") from None
        if not _is_link(f"l/{short}") or self._linked(f"l/{short}") != id:
            raise DamageError(f"{path}: not the short link of its layer")
        return short

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

    @cached_property
    def _native(self) -> bool:
        """Whether the folder alone tells what a layer changes (moby: Native Overlay Diff)."""
        on = ("Y", "y", "1", "on")
        return all(overlay_parameter(name) not in on for name in ("redirect_dir", "metacopy"))

    def _tells(self, id: str, parent: str | None) -> bool:
        need(self, id)
        return self._native and parent == parent_of(self, id)

    def diff(self, id: str, parent: str | None) -> Iterator[bytes]:
        """See Driver."""
        return diff_layered(self, id, parent, alone=self._tells(id, parent))

    def changes(self, id: str, parent: str | None) -> list[Change]:
        """See Driver."""
        return changes_layered(self, id, parent, alone=self._tells(id, parent))

    def size(self, id: str, parent: str | None) -> int:
        """See Driver."""
        if self._tells(id, parent):
            return folder_size(self.layer_folder(id))
        return naive_size(self, id, parent)

    def look(self, id: str, paths: Sequence[bytes]) -> list[os.stat_result | None]:
        """See Driver."""
        return look_layered(self, id, paths)

    def imply(self, id: str, path: bytes) -> None:
        """See Driver."""
        imply_layered(self, id, path)

    def status(self) -> list[tuple[str, str]]:
        """See Driver."""
        return [
            ("userxattr", str(self.user).lower()),
            ("Native Overlay Diff", str(self._native).lower()),
        ]

    # --- mounting ---

    @contextmanager
    def mounted(self, id: str, *, volatile: bool = False) -> Iterator[str]:
        """See Driver. A base layer is its own folder, as in Docker's driver.

        So is one that hides all below it.
        """
        links = self._checked(id)
        if not links:
            yield self.layer_folder(id)
            return
        self._trees.enter(
            id,
            lambda: self._mount(id, links, volatile),
            read_only=self._is_committed(id),
        )
        try:
            yield self._dir(id, "merged")
        finally:
            self._trees.leave(id)

    @contextmanager
    def detached(self, id: str, *, volatile: bool = False) -> Iterator[int | None]:
        """See Driver. For a layer that is written to, while nobody else uses it."""
        links = self._checked(id)
        if not links or self._is_committed(id):
            yield None
            return
        with self._trees.detached(id, lambda: self._make(id, links, volatile)) as tree:
            yield tree

    def _make(self, id: str, links: list[str], volatile: bool) -> int | None:
        _forget_volatile(self._dir(id, "work"))
        options = overlay_options(self.user) + (["volatile"] if volatile else [])
        try:
            return make_overlay(self.home, links, f"{id}/diff", f"{id}/work", options)
        except OSError:
            # What is wrong is said where it is mounted the other way.
            return None

    def _checked(self, id: str) -> list[str]:
        """Return the links of the layers below that show; all of them are there."""
        return self._links(id)[: len(shown_below(self, id))]

    def _is_committed(self, id: str) -> bool:
        return os.path.lexists(self._dir(id, "committed"))

    def _mount(self, id: str, links: list[str], volatile: bool) -> None:
        target = self._dir(id, "merged")
        with suppress(FileExistsError):
            os.mkdir(target, 0o700)
        lowers, upper, work = links, f"{id}/diff", f"{id}/work"
        try:
            if self._is_committed(id):
                lowers = [f"l/{self._short(id)}", *links]
                mount_overlay(self.home, lowers, None, None, f"{id}/merged", user=self.user)
            else:
                # What was not volatile before is mounted so now, and the other way round.
                _forget_volatile(self._dir(id, "work"))
                mount_overlay(
                    self.home,
                    lowers,
                    upper,
                    work,
                    f"{id}/merged",
                    user=self.user,
                    volatile=volatile,
                )
        except OSError as error:
            with suppress(OSError):
                os.rmdir(target)
            raise LayerviewError(
                f"{target}: overlay of {len(lowers) + 1} layers not mounted:"
                f" {(error.strerror or '').lower()}; layerview drivers says what works here"
            ) from None

    def descriptors(self, id: str) -> list[int]:
        """See Driver."""
        return self._trees.descriptors(id)

    def _unmounted(self, id: str) -> None:
        with suppress(FileNotFoundError):
            os.rmdir(self._dir(id, "merged"))

    # --- removing ---

    def remove(self, id: str) -> None:
        """See Driver.

        Raises:
            LayerviewError: when a process uses the tree.
        """
        with self._trees.removing(check_id(id)):
            self._remove_link(id)
            remove_tree(self.home, id)

    def _remove_link(self, id: str) -> None:
        """Remove the short link that leads to an ID: by `link`, else by looking at all."""
        links = os.path.join(self.home, "l")
        try:
            with open(self._dir(id, "link"), "rb") as file:
                names = [file.read(64).decode("utf-8", "replace")]
            if not _is_link(f"l/{names[0]}"):
                raise FileNotFoundError
        except OSError:
            try:
                names = os.listdir(links)
            except FileNotFoundError:
                return
        for name in names:
            path = os.path.join(links, name)
            with suppress(OSError):
                if os.readlink(path) == f"../{id}/diff":
                    os.unlink(path)


def _forget_volatile(work: str) -> None:
    """Let a tree be mounted again that was mounted without caring for the disk.

    overlayfs leaves a mark that forbids it, for whoever cares: a container's own layer is worth
    as much as the files in it are.
    """
    marks = os.path.join(work, "work/incompat")
    with suppress(OSError):
        os.unlink(os.path.join(marks, "volatile/dirty"))
    with suppress(OSError):
        os.rmdir(os.path.join(marks, "volatile"))


def _is_link(text: str) -> bool:
    short = text[2:]
    return text == f"l/{short}" and len(short) == 26 and consists_of(short, _BASE32)
