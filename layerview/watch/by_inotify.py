"""Hearing of a container's changes with inotify: for everybody, but who did it isn't told."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress

from layerview.watch import inotify
from layerview.watch.events import Notice
from layerview.watch.hints import NOTHING, Batch, Hint, flags_of, merged
from layerview.watch.inotify import Heard, Inotify, LimitReachedError
from layerview.watch.look import identity
from layerview.watch.pace import Pace
from layerview.watch.tree import Tree

_SLOW = 1.0
"""Seconds between two looks at everything, where not all can be heard."""
_MOST = 20_000
"""Names in unknown folders that are kept."""


class ByInotify:
    """Hears of changes in each watched folder.

    A folder is heard from before its content is read, so that nothing in it is missed. But a file
    with several names is heard of under one of them, which may be another than the changed one.
    """

    grace = 0.005
    """Seconds in which the other half of a rename comes."""
    rests = True
    """Whether something may be missed, so that all is to be looked at when it is quiet."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        """Listen; what happens from now on is heard.

        Args:
            trees: the folders, the container's layer first.

        Raises:
            OSError: where there is no inotify.
        """
        self._trees = trees
        self._folders: dict[int, bytes] = {}
        """The identity of each folder that is heard, by its number."""
        self._limit: str | None = None
        """What is to be said of a limit that is reached."""
        self._is_limited = False
        self._look_at = 0.0
        """When all is looked at next, where not all can be heard."""
        self._found = Batch()
        """What lies in folders that are heard since the last time."""
        self._pace = Pace()
        self._poll = select.poll()
        self._notify: Inotify | None = None
        try:
            self._notify = Inotify()
        except LimitReachedError as limit:
            self._reach(limit)
            return
        self._poll.register(self._notify.fd, select.POLLIN)
        self._hear_all()

    def close(self) -> None:
        """Hear nothing more."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def landed(self) -> None:
        """Take notice of what has been looked at."""
        for at, tree in enumerate(self._trees):
            for path in tree.new_folders:
                self._hear_new(self._found, at, path)
            tree.new_folders.clear()

    def wait(self, seconds: float) -> Batch:
        """Wait until something is heard, at most some seconds; return what."""
        batch, self._found = self._found, Batch()
        if batch:
            seconds = 0
        if self._limit is not None:
            batch.records.append(Notice(time.time_ns(), self._limit))
            self._limit = None
        at_once = bool(self._poll.poll(0))
        if at_once or self._poll.poll(seconds * 1000):
            self._take(batch)
            if batch and seconds:
                heard = len(batch) + len(batch.names)
                time.sleep(self._pace.pause(heard, at_once=at_once))
                self._take(batch)
        if self._is_limited and time.monotonic() >= self._look_at:
            batch.rescan = True
            self._look_at = time.monotonic() + _SLOW
        return batch

    def _take(self, batch: Batch) -> None:
        if self._notify is None:
            return
        for heard in self._notify.read():
            if heard.mask & inotify.OVERFLOW:
                batch.rescan = True
                self._hear_all()
            elif heard.mask & inotify.IGNORED:
                self._folders.pop(heard.folder, None)
            else:
                self._sort(batch, heard)

    def _sort(self, batch: Batch, heard: Heard) -> None:
        id = self._folders.get(heard.folder)
        if id is None:
            return
        hint = Hint(flags_of(heard.mask))
        is_known = False
        for at, tree in enumerate(self._trees):
            path = tree.path_of(id, heard.name)
            if path is None:
                continue
            is_known = True
            batch.add(at, path, hint)
            if heard.mask & inotify.IS_FOLDER and heard.mask & inotify.CREATE:
                self._hear_new(batch, at, path)
        if not is_known and heard.name and len(batch.names) < _MOST:
            key = (id, heard.name)
            known = batch.names.get(key)
            batch.names[key] = hint if known is None else merged(known, hint)

    # --- folders ---

    def _hear_all(self) -> None:
        for tree in self._trees:
            for _, folder in tree.upper.folders():
                self._hear(folder)

    def _hear_new(self, batch: Batch, at: int, path: bytes) -> None:
        """Hear a folder that has come, and those below it.

        What is not known of them is read later. Of the others all is looked at once more.
        """
        tree = self._trees[at]
        tree.upper.refresh()
        for below, folder in tree.upper.folders(path):
            if self._hear(folder) and below in tree.known:
                for each in tree.paths_in(below):
                    batch.add(at, each, NOTHING)

    def _hear(self, folder: int) -> bool:
        """Hear an open folder; return whether it was not heard before."""
        if self._notify is None or self._is_limited:
            return False
        try:
            number = self._notify.hear(folder)
        except LimitReachedError as limit:
            self._reach(limit)
            return False
        except OSError:
            # It is gone, or may not be read.
            return False
        is_new = number not in self._folders
        with suppress(OSError):
            self._folders[number] = identity(folder, b"", os.fstat(folder))
        return is_new

    def _reach(self, limit: LimitReachedError) -> None:
        self._limit, self._is_limited = str(limit), True
