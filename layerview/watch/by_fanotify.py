"""Hearing of a container's changes with fanotify: nothing is missed, and who did it is told."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress

from layerview.watch import fanotify
from layerview.watch.events import Copying
from layerview.watch.fanotify import Fanotify, Heard, device_of
from layerview.watch.handles import handle_of, open_handle
from layerview.watch.hints import CHANGED, CREATED, MOVED, WRITTEN, Batch, Hint, merged
from layerview.watch.processes import Commands
from layerview.watch.source import Source
from layerview.watch.tree import Tree

_GATHER = 0.004
"""Seconds between the first event and the look: what one call does comes as several events."""
_STEP = 0.02
"""Seconds between two words about a copy-up under way."""
_MOST = 20_000
"""Names in unknown folders, and copies under way, that are kept."""
_LOST_AFTER = 60
"""Seconds after which a copy that never landed is forgotten."""

_FLAGS = (
    (fanotify.CREATE, CREATED),
    (fanotify.MOVED_FROM | fanotify.MOVED_TO, MOVED),
    (fanotify.MODIFY, WRITTEN),
    (fanotify.ATTRIB, CHANGED),
)


class _Making:
    """A copy-up under way: a file without a name in overlayfs's work folder."""

    def __init__(self, id: bytes, pid: int) -> None:
        self.id = id
        self.pid = pid
        self.began = time.monotonic()
        self.told = 0
        self.source: Source | None = None


class ByFanotify:
    """Hears of all changes in watched folders."""

    grace = 0.005
    """Seconds in which the other half of a rename comes."""
    rests = False
    """Whether something may be missed, so that all is to be looked at when it is quiet."""

    def __init__(self, trees: Sequence[Tree], work: str | None) -> None:
        """Listen; what happens from now on is heard.

        Args:
            trees: the folders, the container's layer first.
            work: overlayfs's work folder.

        Raises:
            OSError: where that isn't permitted, or not to be had.
        """
        self._trees = trees
        self._devices = [device_of(tree.place.disk) for tree in trees]
        self._fan = Fanotify()
        self._commands = Commands()
        self._work: bytes | None = None
        self._making: dict[bytes, _Making] = {}
        self._probe: Fanotify | None = None
        try:
            heard: set[int] = set()
            for tree, device in zip(trees, self._devices, strict=True):
                if handle_of(tree.upper.base) is None:
                    raise OSError(0, "no file handles", tree.place.disk)
                if device not in heard:
                    self._fan.hear(tree.place.disk)
                    heard.add(device)
            if work is not None:
                self._find_work(work)
        except BaseException:
            self._fan.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._fan.fd, select.POLLIN)

    def close(self) -> None:
        """Hear nothing more."""
        self._fan.close()
        if self._probe is not None:
            self._probe.close()

    def wait(self, seconds: float) -> Batch:
        """Wait until something is heard, at most some seconds; return what."""
        batch = Batch()
        if self._making:
            seconds = min(seconds, _STEP)
        if self._poll.poll(seconds * 1000):
            if seconds:
                time.sleep(_GATHER)
            self._take(batch)
        if self._making:
            self._tell_progress(batch)
        return batch

    def landed(self) -> None:
        """Take notice of what has been looked at."""
        for tree in self._trees:
            tree.new_folders.clear()
        made = self._trees[0].made
        for id in [id for id in self._making if id not in made]:
            del self._making[id]
        if not self._making and self._probe is not None:
            self._probe.close()
            self._probe = None

    def _find_work(self, work: str) -> None:
        with suppress(OSError):
            fd = os.open(os.path.join(work, "work"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._work = handle_of(fd)
            finally:
                os.close(fd)

    def _take(self, batch: Batch) -> None:
        for heard in self._fan.read():
            if heard.mask & fanotify.OVERFLOW:
                batch.rescan = True
            else:
                self._sort(batch, heard)

    def _sort(self, batch: Batch, heard: Heard) -> None:
        if heard.folder == self._work:
            if heard.child and heard.mask & fanotify.MODIFY and heard.name.startswith(b"#"):
                self._note_copy(heard)
            return
        hint: Hint | None = None
        for at, tree in enumerate(self._trees):
            if self._devices[at] != heard.device:
                continue
            name = b"" if heard.name == b"." else heard.name
            path = tree.path_of(heard.folder, name)
            if path is None:
                continue
            hint = self._hint(heard)
            batch.add(at, path, hint)
        if hint is None and len(batch.names) < _MOST and heard.name:
            key = (heard.folder, heard.name)
            hint = self._hint(heard)
            known = batch.names.get(key)
            batch.names[key] = merged(known, hint) if known is not None else hint

    def _hint(self, heard: Heard) -> Hint:
        pid = heard.pid or None
        return Hint(_flags(heard.mask), pid, self._commands.of(pid))

    # --- copy-ups under way ---

    def _note_copy(self, heard: Heard) -> None:
        if heard.child in self._making:
            return
        self._making[heard.child] = _Making(heard.child, heard.pid)
        made = self._trees[0].made
        if len(made) > _MOST:
            made.clear()
        made[heard.child] = time.time_ns()

    def _tell_progress(self, batch: Batch) -> None:
        now = time.monotonic()
        for making in list(self._making.values()):
            age = now - making.began
            if age > _LOST_AFTER:
                del self._making[making.id]
            elif age >= _STEP and making.id in self._trees[0].made:
                self._tell(batch, making)

    def _tell(self, batch: Batch, making: _Making) -> None:
        tree = self._trees[0]
        try:
            fd = open_handle(tree.upper.base, making.id)
        except OSError:
            # It was given up, or has been deleted since.
            del self._making[making.id]
            tree.made.pop(making.id, None)
            return
        try:
            state = os.fstat(fd)
        finally:
            os.close(fd)
        if state.st_nlink:
            return
        if making.source is None:
            making.source = self._find_source(making)
        if state.st_size <= making.told:
            return
        making.told = state.st_size
        source = making.source
        batch.records.append(
            Copying(
                time.time_ns(),
                source.path if source is not None else b"",
                source.layer if source is not None else None,
                state.st_size,
                source.size if source is not None else None,
            )
        )

    def _find_source(self, making: _Making) -> Source | None:
        """Find out what is copied: the process is heard to read it, piece by piece."""
        tree = self._trees[0]
        try:
            if self._probe is None:
                self._probe = Fanotify()
            self._probe.hear(tree.place.disk, fanotify.ACCESS)
        except OSError:
            return None
        try:
            end = time.monotonic() + _STEP
            while (left := end - time.monotonic()) > 0:
                if not select.select([self._probe.fd], [], [], left)[0]:
                    return None
                for heard in self._probe.read():
                    if heard.pid == making.pid and heard.child:
                        with suppress(OSError):
                            found = tree.sources.by_handle(tree.upper.base, heard.child)
                            if found is not None:
                                return found
            return None
        finally:
            with suppress(OSError):
                self._probe.deafen(tree.place.disk, fanotify.ACCESS)


def _flags(mask: int) -> int:
    return sum(flag for bits, flag in _FLAGS if mask & bits)
