"""Trees that are mounted while somebody uses them: shared, and told from what a crash left."""

from __future__ import annotations

import fcntl
import os
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from layerview.drivers.base import is_folder
from layerview.drivers.mounts import detach, mount_points
from layerview.errors import LayerviewError
from layerview.layer.beneath import OPEN_FOLDER
from layerview.records import Record

_MOMENT = 1.0
"""Seconds in which who has ended lets go of its layer."""


class Places(Record):
    """Where a layer's tree is mounted, and what is locked for that."""

    folder: str
    """The shared lock on it lasts as long as the tree's use, by whatever process."""
    changes: str
    """A file, under whose lock changes of state are made one at a time."""
    target: str
    """Where the tree is mounted."""


class _Mounted:
    """A tree that this process uses."""

    def __init__(self, folder: int) -> None:
        self.folder = folder
        """Descriptor of Places.folder, whose shared lock says to others that it is in use."""
        self.users = 1


class MountedTrees:
    """The trees of one driver.

    Whoever can lock a layer's folder alone knows that what is mounted was left by a process that
    was killed.
    """

    def __init__(self, places: Callable[[str], Places], unmount: Callable[[str], None]) -> None:
        """Look after trees.

        Args:
            places: where a layer's are.
            unmount: what else is to be done, when the last one has left and nothing is mounted.
        """
        self._places = places
        self._unmount = unmount
        self._lock = allocate_lock()
        self._mounted: dict[str, _Mounted] = {}

    def enter(self, id: str, mount: Callable[[], None], *, read_only: bool) -> None:
        """Mount a tree, or take part in one that is mounted.

        Args:
            id: whose.
            mount: mounts it.
            read_only: it may be mounted several times, in other mount namespaces.

        Raises:
            LayerviewError: when others use it elsewhere; and what `mount` raises.
        """
        with self._lock:
            own = self._mounted.get(id)
            if own is not None:
                own.users += 1
                return
            places = self._places(id)
            with _changing(places):
                folder = os.open(places.folder, OPEN_FOLDER)
                try:
                    if try_lock(folder):
                        detach_all(places.target)
                        mount()
                    elif not mount_points(places.target):
                        # Others use it in a mount namespace of their own.
                        if not read_only and not lock_soon(folder):
                            raise LayerviewError(f"{places.folder} is in use by another process")
                        mount()
                    fcntl.flock(folder, fcntl.LOCK_SH)
                except BaseException:
                    os.close(folder)
                    raise
            self._mounted[id] = _Mounted(folder)

    def leave(self, id: str) -> None:
        """Unmount a tree, if nobody else uses it."""
        with self._lock:
            own = self._mounted[id]
            own.users -= 1
            if own.users:
                return
            del self._mounted[id]
            places = self._places(id)
            try:
                with _changing(places):
                    if try_lock(own.folder):
                        detach_all(places.target)
                        self._unmount(id)
            finally:
                os.close(own.folder)

    @contextmanager
    def detached(self, id: str, make: Callable[[], int | None]) -> Iterator[int | None]:
        """Have a tree that is mounted nowhere, and in use while the context lasts.

        Args:
            id: whose; nobody else may use it.
            make: makes the tree; None where this machine can't.
        """
        made = self._detach(id, make)
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

    def _detach(self, id: str, make: Callable[[], int | None]) -> tuple[int, int] | None:
        """Make the tree; return its descriptor and that of the folder, which is locked."""
        places = self._places(id)
        with self._lock, ExitStack() as held:
            if id in self._mounted:
                return None
            folder = os.open(places.folder, OPEN_FOLDER)
            held.callback(os.close, folder)
            if not try_lock(folder):
                return None
            detach_all(places.target)
            tree = make()
            if tree is None:
                return None
            fcntl.flock(folder, fcntl.LOCK_SH)
            held.pop_all()
            self._mounted[id] = _Mounted(folder)
            return tree, folder

    def descriptors(self, id: str) -> list[int]:
        """Return what says to others that a tree is in use, for as long as anybody has it open."""
        with self._lock:
            own = self._mounted.get(id)
            return [own.folder] if own is not None else []

    @contextmanager
    def removing(self, id: str) -> Iterator[None]:
        """Have a layer for oneself, to remove it; what a crash left mounted is unmounted.

        Raises:
            LayerviewError: when a process uses the tree.
        """
        places = self._places(id)
        with self._lock:
            if not is_folder(places.folder):
                yield
                return
            fd = os.open(places.folder, OPEN_FOLDER)
            try:
                if not lock_soon(fd):
                    raise LayerviewError(f"{places.folder} is in use: its tree is mounted")
                if mount_points(places.target):
                    detach_all(places.target)
                yield
            finally:
                os.close(fd)


def detach_all(target: str) -> None:
    """Take all mounts off a place."""
    while detach(target):
        pass


def try_lock(fd: int) -> bool:
    """Lock a folder for oneself, if nobody else has a lock on it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_soon(fd: int) -> bool:
    """Lock a folder, or wait for who is about to let go of it.

    A container's last process lets go of all that it holds in no certain order: of its lock, by
    which others know that it has ended, often a moment before.
    """
    end = time.monotonic() + _MOMENT
    while not try_lock(fd):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@contextmanager
def _changing(places: Places) -> Iterator[None]:
    fd = os.open(places.changes, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
