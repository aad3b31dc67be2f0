"""Where what a container has copied lies in the layers below."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from layerview.drivers.below import is_opaque
from layerview.layer.beneath import OPEN_FOLDER, Folders
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.whiteouts import Whiteouts
from layerview.watch.events import INIT
from layerview.watch.handles import handle_in_origin, handle_of, open_handle
from layerview.watch.look import GONE
from layerview.watch.target import WatchedLayer

_OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 10_000
_MOST_FOLDERS = 2
"""Folders held open in each layer: there may be 128 layers, and 1024 open files."""


class Source(NamedTuple):
    """An entry of the layers below."""

    at: int
    """The layer's place in the stack, 0 is the nearest."""
    layer: int
    """The layer's number."""
    path: bytes
    state: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.state.st_mode)

    @property
    def size(self) -> int:
        """Bytes of data in it."""
        return self.state.st_size if stat.S_ISREG(self.state.st_mode) else 0


class Sources:
    """The layers below a container's own, as the one tree that they show; none is changed."""

    def __init__(self, layers: Sequence[WatchedLayer], whiteouts: Whiteouts) -> None:
        """Look through layers, the nearest first; none is opened before it is needed.

        A full tree (Whiteouts.NONE) shows all that lies below it: only the nearest counts.
        """
        self._layers = list(layers[:1] if whiteouts is Whiteouts.NONE else layers)
        self._form = whiteouts
        self._opened: dict[int, tuple[int, Folders]] = {}
        self._showing: dict[bytes, tuple[int, ...]] = {}
        """By folder: the layers that show in it, nearest first."""
        self._real = [os.path.realpath(os.fsencode(layer.folder)) for layer in self._layers]

    def close(self) -> None:
        """Close what is held open."""
        for base, folders in self._opened.values():
            folders.close()
            os.close(base)
        self._opened.clear()

    def find(self, path: bytes) -> Source | None:
        """Return what shows at a path, unless there is nothing."""
        parent, _, name = path.rpartition(b"/")
        for at in self._stack(parent):
            state = self._look(at, parent, name)
            if state is not None:
                if stat.S_ISCHR(state.st_mode) and not state.st_rdev:
                    return None
                return Source(at, self._layers[at].number, path, state)
            if self._has_whiteout(at, parent, name):
                return None
        return None

    def searched(self, source: Source) -> tuple[int, ...]:
        """Return the image's layers that are looked at until a source is found."""
        numbers = [layer.number for layer in self._layers[: source.at + 1]]
        return tuple(number for number in numbers if number != INIT or source.layer == INIT)

    def is_origin(self, source: Source, mark: bytes) -> bool | None:
        """Whether an `origin` mark leads to a source; None: it can't be told."""
        handle = handle_in_origin(mark)
        if handle is None:
            return None
        parent, _, name = source.path.rpartition(b"/")
        try:
            return handle_of(self._folders(source.at).open(parent), name) == handle
        except OSError:
            return None

    def follow(self, mark: bytes) -> Source | None:
        """Return what an `origin` mark leads to, where the kernel lets us (root) and it is here."""
        handle = handle_in_origin(mark)
        if handle is None:
            return None
        tried = set()
        for at in range(len(self._layers)):
            with suppress(OSError):
                mount = self._folders(at).open(b"")
                device = os.fstat(mount).st_dev
                if device in tried:
                    continue
                tried.add(device)
                found = self.by_handle(mount, handle)
                if found is not None:
                    return found
        return None

    def by_handle(self, mount: int, handle: bytes) -> Source | None:
        """Return what has a handle on the file system of a descriptor, if it is in these layers.

        Raises:
            OSError: as open_handle.
        """
        fd = open_handle(mount, handle)
        try:
            place = os.readlink(b"/proc/self/fd/%d" % fd)
            state = os.fstat(fd)
        finally:
            os.close(fd)
        for at, real in enumerate(self._real):
            if place.startswith(real + b"/"):
                path = place[len(real) + 1 :]
                there = self._look(at, *_split(path))
                if there is not None and there.st_ino == state.st_ino:
                    return Source(at, self._layers[at].number, path, state)
        return None

    def read(self, source: Source, size: int) -> bytes | None:
        """Read the start of a regular file; None where it can't be read."""
        parent, name = _split(source.path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._folders(source.at).open(parent))
        except OSError:
            return None
        try:
            return os.pread(fd, size, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except OSError:
            return None
        finally:
            os.close(fd)

    def walk(self) -> Iterator[Source]:
        """Yield what shows in these layers, a folder at a time."""
        waiting = [b""]
        while waiting:
            folder = waiting.pop()
            start = folder + b"/" if folder else b""
            for name in self.names(folder):
                source = self.find(start + name)
                if source is not None:
                    yield source
                    if source.is_folder:
                        waiting.append(source.path)

    def names(self, folder: bytes) -> set[bytes]:
        """Return the names that show in a folder."""
        names: set[bytes] = set()
        hidden: set[bytes] = set()
        for at in self._stack(folder):
            with suppress(OSError):
                fd = os.open(f"/proc/self/fd/{self._folders(at).open(folder)}/.", OPEN_FOLDER)
                try:
                    here = set(map(os.fsencode, os.listdir(fd)))
                finally:
                    os.close(fd)
                if self._form is Whiteouts.AUFS:
                    marks = {name for name in here if name.startswith(WHITEOUT_PREFIX)}
                    names |= here - marks - hidden
                    hidden |= {name[len(WHITEOUT_PREFIX) :] for name in marks}
                else:
                    names |= here
        return names

    def _folders(self, at: int) -> Folders:
        if at not in self._opened:
            base = os.open(self._layers[at].folder, OPEN_FOLDER & ~os.O_NOFOLLOW)
            self._opened[at] = base, Folders(base, most=_MOST_FOLDERS)
        return self._opened[at][1]

    def _look(self, at: int, folder: bytes, name: bytes) -> os.stat_result | None:
        try:
            fd = self._folders(at).open(folder)
            return os.stat(name, dir_fd=fd, follow_symlinks=False) if name else os.fstat(fd)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def _has_whiteout(self, at: int, folder: bytes, name: bytes) -> bool:
        """Whether a layer of aufs's form hides a name."""
        if self._form is not Whiteouts.AUFS or not name:
            return False
        return self._look(at, folder, WHITEOUT_PREFIX + name) is not None

    def _stack(self, path: bytes) -> tuple[int, ...]:
        """Pick the layers that show in a folder; none when none does."""
        known = self._showing
        if len(known) > _KEPT:
            known.clear()
        missing = []
        while path and path not in known:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        if path not in known:
            known[path] = self._shown_in(b"", tuple(range(len(self._layers))))
        stack = known[path]
        for below in reversed(missing):
            stack = known[below] = self._shown_in(below, stack)
        return stack

    def _shown_in(self, path: bytes, above: tuple[int, ...]) -> tuple[int, ...]:
        parent, _, name = path.rpartition(b"/")
        found = []
        for at in above:
            state = self._look(at, parent, name)
            if state is None:
                if self._has_whiteout(at, parent, name):
                    break
                continue
            if not stat.S_ISDIR(state.st_mode):
                break
            found.append(at)
            if self._hides(at, path):
                break
        return tuple(found)

    def _hides(self, at: int, folder: bytes) -> bool:
        if self._form is Whiteouts.NONE:
            return False
        if self._form is Whiteouts.AUFS:
            return self._look(at, folder, OPAQUE_MARKER) is not None
        try:
            return is_opaque(self._folders(at).open(folder), self._form)
        except OSError:
            return False


def _split(path: bytes) -> tuple[bytes, bytes]:
    parent, _, name = path.rpartition(b"/")
    return parent, name
