"""Hearing of a container's changes with watchfiles, where there is no inotify of the kernel's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from layerview.watch.events import Notice
from layerview.watch.hints import NOTHING, Batch
from layerview.watch.inotify import limit_reached
from layerview.watch.tree import Tree

if TYPE_CHECKING:
    from watchfiles.main import FileChange

_STEP = 10
_DEBOUNCE = 30
_TIMEOUT = 40
"""Milliseconds: the library's own looking for news, the longest it holds them, and none."""
_UNHEARD = 0.5
"""Seconds in which what comes into a new folder may be unheard: it is watched late."""
_AGAIN = 0.1
"""Seconds between two looks into such a folder."""
_PAUSE = 0.05
"""Seconds before the library is asked anew, when it has failed."""
_SLOW = 1.0
"""Seconds between two looks at everything, where changes can't be heard."""


class ByWatchfiles:
    """Hears of changes in watched folders; what it may have missed, a look at rest finds."""

    grace = 0.04
    rests = True

    def __init__(self, trees: Sequence[Tree], stop: threading.Event) -> None:
        """Listen; what happens from now on is heard.

        Args:
            trees: the folders, the container's layer first.
            stop: ends waiting.
        """
        self._trees = trees
        self._stop = stop
        self._starts = [os.fsencode(os.path.realpath(tree.place.disk)) for tree in trees]
        self._news: Iterator[set[FileChange]] | None = None
        self._added: dict[tuple[int, bytes], tuple[float, float]] = {}
        """New folders: when they are looked at again, and until when."""
        self._limit: Notice | None = None
        self._limited = False
        self._heard = True
        self._look_at = 0.0
        """When all is looked at next, while nothing is heard."""
        self._open(Batch())

    def close(self) -> None:
        """Hear nothing more."""
        if self._news is not None:
            self._news.close()  # type: ignore[attr-defined]
            self._news = None

    def landed(self) -> None:
        """Take notice of what has been looked at."""
        now = time.monotonic()
        for at, tree in enumerate(self._trees):
            for path in tree.new_folders:
                self._added[at, path] = now, now + _UNHEARD
            tree.new_folders.clear()

    def wait(self, seconds: float) -> Batch:
        """Wait until something is heard, at most some seconds; return what."""
        batch = Batch()
        if self._limit is not None:
            batch.records.append(self._limit)
            self._limit = None
        if self._news is None:
            self._stop.wait(min(seconds, max(self._look_at - time.monotonic(), 0)))
            if time.monotonic() < self._look_at:
                return batch
            batch.rescan = True
            self._look_at = time.monotonic() + _SLOW
            if self._limited:
                return batch
            self._open(batch)
            if self._news is None:
                return batch
        end = time.monotonic() + seconds
        while not batch:
            if not self._take(batch):
                break
            self._again(batch)
            if self._stop.is_set() or time.monotonic() >= end:
                break
        return batch

    def _open(self, batch: Batch) -> None:
        """Begin to listen, all anew; without the means for it, say so."""
        from watchfiles import watch

        self._news = watch(
            *[os.fsdecode(start) for start in self._starts],
            watch_filter=None,
            debounce=_DEBOUNCE,
            step=_STEP,
            stop_event=self._stop,
            rust_timeout=_TIMEOUT,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
            recursive=True,
        )
        # It listens from the first time that it is asked.
        self._take(batch)

    def _take(self, batch: Batch) -> bool:
        """Take in what there is; False when nothing will come."""
        if self._news is None:
            return False
        try:
            news = next(self._news, None)
        except Exception as error:
            # The library has no class for it: RuntimeError's kin, with a text.
            self._failed(batch, error)
            return False
        if news is None:
            return False
        self._heard = True
        for _, name in news:
            self._sort(batch, os.fsencode(name))
        return True

    def _sort(self, batch: Batch, place: bytes) -> None:
        for at, start in enumerate(self._starts):
            if place == start:
                batch.add(at, b"", NOTHING)
            elif place.startswith(start + b"/"):
                path = self._trees[at].shown(place[len(start) + 1 :])
                if path is not None:
                    batch.add(at, path, NOTHING)

    def _again(self, batch: Batch) -> None:
        """Look once more at what is in new folders."""
        now = time.monotonic()
        for (at, path), (then, end) in list(self._added.items()):
            if now < then:
                continue
            for below in self._trees[at].unknown_in(path):
                batch.add(at, below, NOTHING)
            if now > end:
                del self._added[at, path]
            else:
                self._added[at, path] = now + _AGAIN, end

    def _failed(self, batch: Batch, error: Exception) -> None:
        self._news = None
        text = str(error)
        limit = _limit_in(text)
        batch.rescan = True
        if limit is not None:
            self._limited = True
            self._limit = Notice(time.time_ns(), limit)
            return
        # A name that is not UTF-8, which the library can't tell, and after which it is deaf.
        self._look_at = time.monotonic() + (_PAUSE if self._heard else _SLOW)
        self._heard = False


def _limit_in(text: str) -> str | None:
    """Say which of inotify's limits an error means, and what raises it."""
    if "limit" in text or "os error 28" in text:
        return limit_reached("max_user_watches", "watched folders")
    if "os error 24" in text or "Too many open files" in text:
        return limit_reached("max_user_instances", "instances")
    return None
