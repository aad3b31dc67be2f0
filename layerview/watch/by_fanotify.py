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
from layerview.watch.hints import Batch, Hint, flags_of, merged
from layerview.watch.large_files import LargeFiles
from layerview.watch.pace import Pace
from layerview.watch.processes import Commands
from layerview.watch.source import Source
from layerview.watch.tree import Made, Tree

_LEAST_NOISE, _MOST_NOISE = 0.0005, 0.016
_STEP = 0.02
"""Seconds between two words about a copy-up under way."""
_MOST = 20_000
"""Names in unknown folders, and copies under way, that are kept."""
_FEW = 100
"""Changes heard at once: with more, copies are under way that no one has the time to look at."""
_LOST_AFTER = 60
"""Seconds after which a copy that never landed is forgotten."""


class _Making:
    """A copy-up under way: a file without a name in overlayfs's work folder."""

    def __init__(self, id: bytes, began: float) -> None:
        self.id = id
        self.began = began
        self.told = began
        self.size = 0
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
        self._large = LargeFiles(trees[0].sources)
        self._pace = Pace()
        self._woken = 0.0
        self._noise = 0.0
        """Seconds that are slept after events that have nothing to do with these folders."""
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

    def wait(self, seconds: float) -> Batch:
        """Wait until something is heard, at most some seconds; return what."""
        batch = Batch()
        if self._making:
            seconds = min(seconds, _STEP)
        at_once = bool(self._poll.poll(0))
        if at_once or self._poll.poll(seconds * 1000):
            # At once, while who did it is still there to be asked for its name.
            self._woken = time.monotonic()
            asked = self._commands.asked
            self._take(batch)
            if not seconds:
                return batch
            if batch or self._making:
                self._noise = 0.0
            else:
                # Others' files: a while of deafness costs less than to wake up for each.
                self._noise = min(max(2 * self._noise, _LEAST_NOISE), _MOST_NOISE)
                time.sleep(self._noise)
                self._take(batch)
            if batch:
                # Of many short-lived processes each must be asked for its name soon.
                is_one = self._commands.asked == asked
                heard = len(batch) + len(batch.names)
                time.sleep(self._pace.pause(heard, at_once=at_once and is_one))
                self._take(batch)
        elif seconds and not self._making:
            self._large.look_on()
        if self._making and len(batch) <= _FEW:
            self._tell_progress(batch)
        return batch

    def landed(self) -> None:
        """Take notice of what has been looked at."""
        for tree in self._trees:
            tree.new_folders.clear()
        made = self._trees[0].made
        for id in [id for id in self._making if id not in made]:
            del self._making[id]

    def _find_work(self, work: str) -> None:
        with suppress(OSError):
            fd = os.open(os.path.join(work, "work"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._work = handle_of(fd)
                self._fan.hear_in(f"/proc/self/fd/{fd}", fanotify.OPEN)
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
            if heard.child and heard.name.startswith(b"#"):
                self._note_copy(heard)
            return
        hint: Hint | None = None
        for at, tree in enumerate(self._trees):
            if self._devices[at] != heard.device:
                continue
            name = b"" if heard.name == b"." else heard.name
            path = tree.path_of(heard.folder, name)
            # Of a file with several names overlayfs may tell one that it has no longer.
            own = tree.path_of(heard.child) if heard.child else None
            if path is None and own is None:
                continue
            hint = hint or self._hint(heard)
            if path is not None:
                batch.add(at, path, hint)
            if own is not None and own != path:
                batch.add(at, own, hint)
        if hint is None and len(batch.names) < _MOST and heard.name:
            key = (heard.folder, heard.name)
            # Mostly others' files: who it was is asked for when it matters.
            hint = Hint(flags_of(heard.mask), heard.pid or None)
            known = batch.names.get(key)
            batch.names[key] = merged(known, hint) if known is not None else hint

    def _hint(self, heard: Heard) -> Hint:
        pid = heard.pid or None
        return Hint(flags_of(heard.mask), pid, self._commands.of(pid))

    # --- copy-ups under way ---

    def _note_copy(self, heard: Heard) -> None:
        made = self._trees[0].made
        making = self._making.get(heard.child)
        if making is None and heard.mask & fanotify.OPEN:
            if len(made) > _MOST:
                made.clear()
            self._commands.of(heard.pid)
            making = self._making[heard.child] = _Making(heard.child, self._woken)
            made[heard.child] = Made()
        if making is not None and heard.mask & fanotify.CLOSE_WRITE:
            del self._making[heard.child]
            if heard.child in made:
                # What took less than hearing of it has no known duration.
                passed = self._woken - making.began
                made[heard.child].duration_ns = int(passed * 1e9) if passed else None

    def _tell_progress(self, batch: Batch) -> None:
        now = time.monotonic()
        made = self._trees[0].made
        for making in list(self._making.values()):
            age = now - making.began
            if age > _LOST_AFTER or making.id not in made:
                del self._making[making.id]
                made.pop(making.id, None)
            elif now - making.told >= _STEP:
                making.told = now
                self._tell(batch, making, made[making.id])

    def _tell(self, batch: Batch, making: _Making, made: Made) -> None:
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
            if state.st_nlink or state.st_size <= making.size:
                return
            if making.source is None:
                making.source = self._large.like(fd, state)
        finally:
            os.close(fd)
        making.size, made.told = state.st_size, True
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
