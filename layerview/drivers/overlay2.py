"""overlay2: a folder a layer, shown as one tree by the kernel's overlayfs (moby, overlay2).

overlay2/l/SHORT -> ../ID/diff        names short enough for mount(2)
overlay2/ID/diff                      the layer's own files
           link                       SHORT
           lower                      l/SHORT of all layers below, nearest first, `:` between
           work, merged               overlayfs's scratch; the tree, while it is mounted
           committed                  a layer lies on this one: it is only read from now on
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

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
from layerview.drivers.below import Below, copy_attributes, is_opaque
from layerview.drivers.mounts import (
    detach,
    make_overlay,
    mount_overlay,
    mount_points,
    overlay_options,
    overlay_parameter,
)
from layerview.drivers.namespace import is_initial, mapped_owners
from layerview.drivers.removal import remove_tree
from layerview.errors import DamageError, LayerviewError, LimitError, NotFoundError
from layerview.layer.beneath import OPEN_FOLDER, open_beneath
from layerview.layer.override import OVERRIDE
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import QUIET, Progress
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.layer.apply import Applied
    from layerview.layer.tar_split import TarSplitWriter
    from layerview.layer.tree_changes import Change
    from layerview.layer.windows import Readable

MAX_DEPTH = 128
"""Layers below one, as in Docker's driver."""

_LINK = re.compile(r"l/[A-Z2-7]{26}", re.ASCII)
_TARGET = re.compile(r"\.\./((?:[a-f0-9]{64}|[a-z0-9]{25})(?:-init)?)/diff", re.ASCII)
_MOST = 64 * 1024
"""Bytes of a `lower` file that are read: Docker's longest has 3,711."""
_MOMENT = 1.0
"""Seconds in which who has ended lets go of its layer."""


class _Mounted:
    """A tree that this process uses."""

    def __init__(self, folder: int) -> None:
        self.folder = folder
        """Descriptor of ID's folder, whose shared lock says to others that the tree is in use."""
        self.users = 1


class Overlay2:
    """The driver; see base.Driver. It mounts, which needs root, if only of a user namespace."""

    name = "overlay2"
    copy_on_write = "file"

    def __init__(self, root: str) -> None:
        """Keep layers in `root`/overlay2; nothing is made before it is needed."""
        self.home = os.path.join(os.path.realpath(root), "overlay2")
        self.user = os.geteuid() != 0 or not is_initial()
        self.whiteouts = Whiteouts.USER if self.user else Whiteouts.TRUSTED
        self._lock = threading.Lock()
        self._mounted: dict[str, _Mounted] = {}

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
        if not all(_LINK.fullmatch(link) for link in links):
            raise DamageError(f"{path}: not a list of short links (l/…)")
        return links

    def _linked(self, link: str) -> str:
        """Follow a short link by reading it, so that it leads nowhere else."""
        path = os.path.join(self.home, link)
        try:
            target = os.readlink(path)
        except OSError as error:
            raise DamageError(f"{path}: {(error.strerror or '').lower()}") from None
        match = _TARGET.fullmatch(target)
        if match is None:
            raise DamageError(f"{path}: leads to no layer of this driver")
        return match[1]

    def _parent(self, id: str) -> str | None:
        links = self._links(id)
        return self._linked(links[0]) if links else None

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
            # Where the layer says nothing of the root, it stays what it is.
            _take_over(self.layer_folder(parent), os.path.join(folder, "diff"))
        short = base64.b32encode(os.urandom(17))[:26].decode()
        # `link` first: whoever clears up after a crash finds the short link by it.
        _write(os.path.join(folder, "link"), short, 0o644)
        os.symlink(f"../{id}/diff", os.path.join(self.home, "l", short))
        if parent is not None:
            make_folder(os.path.join(folder, "work"), 0o700)
            _write(self._dir(parent, "committed"), "", 0o600)
            _write(os.path.join(folder, "lower"), lower, 0o644)

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
        if not _LINK.fullmatch(f"l/{short}") or self._linked(f"l/{short}") != id:
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
        """See Driver.

        A hard link to what a layer below holds becomes a copy of that, and a folder that the
        layer implies is what it is below: both as when the tar is unpacked over all layers below
        (umoci, Docker's vfs). Docker's overlay2 refuses such links, and gives such folders 0755.
        """
        from layerview.layer.apply import apply

        need(self, id)
        owners = mapped_owners()
        if parent == self._parent(id):
            fd = os.open(self.layer_folder(id), OPEN_FOLDER)
            lowers = [self.layer_folder(lower) for lower in self.lowers(id)]
            try:
                with closing(Below(lowers, self.whiteouts)) as below:
                    return apply(
                        tar,
                        fd,
                        whiteouts=self.whiteouts,
                        tar_split=tar_split,
                        owners=owners,
                        lower=below.open if lowers else None,
                        progress=progress,
                    )
            finally:
                os.close(fd)
        with self.mounted(id) as merged:
            fd = os.open(merged, OPEN_FOLDER)
            try:
                return apply(
                    tar,
                    fd,
                    whiteouts=Whiteouts.NONE,
                    tar_split=tar_split,
                    owners=owners,
                    progress=progress,
                )
            finally:
                os.close(fd)

    # --- looking ---

    @cached_property
    def _native(self) -> bool:
        """Whether the folder alone tells what a layer changes (moby: Native Overlay Diff)."""
        on = ("Y", "y", "1", "on")
        return all(overlay_parameter(name) not in on for name in ("redirect_dir", "metacopy"))

    def _tells(self, id: str, parent: str | None) -> bool:
        need(self, id)
        return self._native and parent == self._parent(id)

    def diff(self, id: str, parent: str | None) -> Iterator[bytes]:
        """See Driver."""
        if self._tells(id, parent):
            from layerview.layer.pack import pack_folder

            return pack_folder(self.layer_folder(id), self.whiteouts)
        return naive_diff(self, id, parent)

    def changes(self, id: str, parent: str | None) -> list[Change]:
        """See Driver."""
        if self._tells(id, parent):
            from layerview.layer.tree_changes import folder_changes

            below = [self.layer_folder(lower) for lower in self.lowers(id)]
            return folder_changes(self.layer_folder(id), below, self.whiteouts)
        return naive_changes(self, id, parent)

    def size(self, id: str, parent: str | None) -> int:
        """See Driver."""
        if self._tells(id, parent):
            return folder_size(self.layer_folder(id))
        return naive_size(self, id, parent)

    def look(self, id: str, paths: Sequence[bytes]) -> list[os.stat_result | None]:
        """See Driver."""
        need(self, id)
        found: list[os.stat_result | None] = []
        folders = [self.layer_folder(each) for each in (id, *self.lowers(id))]
        with closing(Below(folders, self.whiteouts)) as below:
            for path in paths:
                fd = below.open(path)
                if fd is None:
                    found.append(None)
                    continue
                try:
                    found.append(os.fstat(fd))
                finally:
                    os.close(fd)
        return found

    def imply(self, id: str, path: bytes) -> None:
        """See Driver."""
        folders = [self.layer_folder(each) for each in self.lowers(need(self, id))]
        with closing(Below(folders, self.whiteouts)) as below:
            source = below.open(path)
        if source is None:
            raise NotFoundError(f"{self._dir(id)}: no layer below has {printable(path)}")
        above, _, name = path.rpartition(b"/")
        base = os.open(self.layer_folder(id), OPEN_FOLDER)
        try:
            folder = open_beneath(base, above, OPEN_FOLDER)
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
                made = os.open(name, OPEN_FOLDER, dir_fd=folder)
                try:
                    copy_attributes(source, made)
                finally:
                    os.close(made)
            finally:
                os.close(folder)
        finally:
            os.close(base)
            os.close(source)

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

        So is one that hides all below it: overlayfs passes over such a mark on a layer's root
        (and so does Docker), the image specification does not (layer.md, Opaque Whiteout).
        """
        links = self._checked(id)
        if not links:
            yield self.layer_folder(id)
            return
        self._enter(id, links, volatile)
        try:
            yield self._dir(id, "merged")
        finally:
            self._leave(id)

    @contextmanager
    def detached(self, id: str, *, volatile: bool = False) -> Iterator[int | None]:
        """See Driver. For a layer that is written to, while nobody else uses it."""
        made = self._detach(id, volatile)
        if made is None:
            yield None
            return
        tree, folder = made
        try:
            yield tree
        finally:
            with self._lock:
                del self._mounted[id]
            os.close(tree)
            os.close(folder)

    def _detach(self, id: str, volatile: bool) -> tuple[int, int] | None:
        """Make the tree; return its descriptor and that of the folder, which is locked."""
        links = self._checked(id)
        if not links or os.path.lexists(self._dir(id, "committed")):
            return None
        with self._lock, ExitStack() as held:
            if id in self._mounted:
                return None
            folder = os.open(self._dir(id), OPEN_FOLDER)
            held.callback(os.close, folder)
            if not _try_lock(folder):
                return None
            while detach(self._dir(id, "merged")):
                pass
            _forget_volatile(self._dir(id, "work"))
            options = overlay_options(self.user) + (["volatile"] if volatile else [])
            try:
                tree = make_overlay(self.home, links, f"{id}/diff", f"{id}/work", options)
            except OSError:
                # What is wrong is said where it is mounted the other way.
                return None
            fcntl.flock(folder, fcntl.LOCK_SH)
            held.pop_all()
            self._mounted[id] = _Mounted(folder)
            return tree, folder

    def _checked(self, id: str) -> list[str]:
        """Return the links of the layers below that show; all of them are there."""
        need(self, id)
        links = self._links(id)
        for link in links:
            need(self, self._linked(link))
        return self._shown(id, links)

    def _shown(self, id: str, links: list[str]) -> list[str]:
        """Return those of the layers below that show."""
        for at, each in enumerate([id, *map(self._linked, links)]):
            if is_opaque(self.layer_folder(each), self.whiteouts):
                return links[:at]
        return links

    def _enter(self, id: str, links: list[str], volatile: bool) -> None:
        """Mount a tree, or take part in one that is mounted.

        The shared lock on ID's folder lasts as long as its use. Whoever can lock it alone knows
        that what is mounted was left by a process that was killed. Changes of state are made one
        at a time, under a lock on `link`.
        """
        with self._lock:
            own = self._mounted.get(id)
            if own is not None:
                own.users += 1
                return
            with self._changing(id):
                folder = os.open(self._dir(id), OPEN_FOLDER)
                try:
                    target = self._dir(id, "merged")
                    if _try_lock(folder):
                        while detach(target):
                            pass
                        self._mount(id, links, volatile)
                    elif not mount_points(target):
                        # Others use it in a mount namespace of their own.
                        if not os.path.lexists(self._dir(id, "committed")) and not _lock_soon(
                            folder
                        ):
                            raise LayerviewError(f"{self._dir(id)} is in use by another process")
                        self._mount(id, links, volatile)
                    fcntl.flock(folder, fcntl.LOCK_SH)
                except BaseException:
                    os.close(folder)
                    raise
            self._mounted[id] = _Mounted(folder)

    def _mount(self, id: str, links: list[str], volatile: bool) -> None:
        target = self._dir(id, "merged")
        with suppress(FileExistsError):
            os.mkdir(target, 0o700)
        lowers, upper, work = links, f"{id}/diff", f"{id}/work"
        try:
            if os.path.lexists(self._dir(id, "committed")):
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
        with self._lock:
            own = self._mounted.get(id)
            return [own.folder] if own is not None else []

    def _leave(self, id: str) -> None:
        with self._lock:
            own = self._mounted[id]
            own.users -= 1
            if own.users:
                return
            del self._mounted[id]
            try:
                with self._changing(id):
                    if _try_lock(own.folder):
                        self._unmount(id)
            finally:
                os.close(own.folder)

    def _unmount(self, id: str) -> None:
        target = self._dir(id, "merged")
        while detach(target):
            pass
        with suppress(FileNotFoundError):
            os.rmdir(target)

    @contextmanager
    def _changing(self, id: str) -> Iterator[None]:
        fd = os.open(self._dir(id, "link"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # --- removing ---

    def remove(self, id: str) -> None:
        """See Driver.

        Raises:
            LayerviewError: when a process uses the tree.
        """
        folder = self._dir(id)
        with self._lock:
            if is_folder(folder):
                fd = os.open(folder, OPEN_FOLDER)
                try:
                    if not _lock_soon(fd):
                        raise LayerviewError(f"{folder} is in use: its tree is mounted")
                    self._unmount_left(id)
                    self._remove_link(id)
                    remove_tree(self.home, id)
                finally:
                    os.close(fd)
            else:
                self._remove_link(id)
                remove_tree(self.home, id)

    def _unmount_left(self, id: str) -> None:
        target = self._dir(id, "merged")
        if mount_points(target):
            while detach(target):
                pass

    def _remove_link(self, id: str) -> None:
        """Remove the short link that leads to an ID: by `link`, else by looking at all."""
        links = os.path.join(self.home, "l")
        try:
            with open(self._dir(id, "link"), "rb") as file:
                names = [file.read(64).decode("utf-8", "replace")]
            if not _LINK.fullmatch(f"l/{names[0]}"):
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


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_soon(fd: int) -> bool:
    """Lock a folder, or wait for who is about to let go of it.

    A container's last process lets go of all that it holds in no certain order: of its lock, by
    which others know that it has ended, often a moment before.
    """
    end = time.monotonic() + _MOMENT
    while not _try_lock(fd):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


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


def _take_over(source: str, target: str) -> None:
    """Give a new folder another's owner and mode."""
    state = os.lstat(source)
    with suppress(PermissionError):
        os.chown(target, state.st_uid, state.st_gid)
    with suppress(OSError):
        os.setxattr(target, OVERRIDE, os.getxattr(source, OVERRIDE))
    os.chmod(target, stat.S_IMODE(state.st_mode))


def _write(path: str, text: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
