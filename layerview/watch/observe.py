"""Watching a container: one iterator of what happens, whatever its driver."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Protocol

from layerview.layer.whiteouts import Whiteouts
from layerview.sizes import format_size
from layerview.text import printable
from layerview.watch.beside import beside
from layerview.watch.compare import open_tree, unreadable
from layerview.watch.events import CowEvent, Ended, Notice, Record
from layerview.watch.hints import Batch
from layerview.watch.look import Upper
from layerview.watch.source import Sources
from layerview.watch.target import Target, WatchedVolume
from layerview.watch.tree import Place, Tree

_TICK = 0.1
"""Seconds between two looks at whether to stop."""
_QUIET = 0.3
"""Seconds without news after which all is looked at once, where something may have been missed."""
_LATER = 2.0
"""Seconds after which it is looked at once more: a busy machine may hear of a folder late."""
_SHARE = 20
"""A look at everything comes at most this many times its own duration after the last one."""
_BURST = 500
"""Paths heard of at once: with so many, something may be missed on any way."""
_MOST_IN_VOLUME = 100_000
"""Entries of a volume that are watched."""
_REMOVAL = 0.1
"""Seconds after a container's end in which its layer may be removed."""


class Listener(Protocol):
    """Hears where something happens."""

    grace: float
    """Seconds in which the other half of a rename comes."""
    rests: bool
    """Whether something may be missed, so that all is to be looked at when it is quiet."""

    def wait(self, seconds: float) -> Batch:
        """Wait until something is heard, at most some seconds; return what."""

    def landed(self) -> None:
        """Take notice of what has been looked at."""

    def close(self) -> None:
        """Hear nothing more."""


def observe(
    target: Target, stop: threading.Event, *, reads: bool = False
) -> Iterator[list[Record]]:
    """Tell what happens in a container, a batch of records at a time, as soon as it does.

    The first batch says what the container's layer holds already; it comes at once and may be
    empty. The last one ends with an Ended, unless `stop` was set.

    Args:
        target: the container.
        stop: ends it; looked at ten times a second.
        reads: tell what is read as well, where the driver sees that.

    Raises:
        LayerviewError: when the container's layer can't be looked at.
    """
    from layerview.watch import inside

    if inside.is_needed(target):
        yield from inside.observe(target, stop, reads=reads)
    else:
        yield from observe_here(target, stop, reads=reads)


def observe_here(
    target: Target, stop: threading.Event, *, reads: bool = False
) -> Iterator[list[Record]]:
    """Do it in this process."""
    from layerview.watch import union

    if target.steps is not None:
        with suppress(union.NotServed):
            told = union.observe(target, stop, reads=reads)
            if not target.volumes:
                yield from told
                return
            # The first batch says whether there is a server at all.
            yield next(told)
            with ExitStack() as held:
                yield from beside(told, _VolumeObserver(target, stop, held).run(), stop)
            return
    with ExitStack() as held:
        yield from _Observer(target, stop, held).run()


class _Observer:
    """Listens, looks and tells."""

    def __init__(self, target: Target, stop: threading.Event, held: ExitStack) -> None:
        self._target = target
        self._stop = stop
        self._said: list[Record] = []
        self._trees = [open_tree(target, held)]
        self._trees += _volumes(target, held, self._said)
        self._life = _life(target, held)
        self._listener = _listen(self._trees, target, stop, self._said)
        held.callback(self._listener.close)
        self._rests = 0
        self._news_at = self._next_rest = 0.0

    def run(self) -> Iterator[list[Record]]:
        first: list[Record] = list(self._said)
        first += _about_start(self._target)
        for tree in self._trees:
            try:
                first += tree.first()
            except OSError as error:
                raise unreadable(self._target, error) from None
        missed = self._trees[0].upper.missed
        if missed:
            first.append(_notice(f"{missed:,} entries of the layer may not be read by this user"))
        yield first
        while not self._stop.is_set():
            batch = self._listener.wait(_TICK)
            records = self._look(batch)
            if self._life is not None and select.select([self._life], [], [], 0)[0]:
                yield self._last_words(records)
                return
            if records:
                yield records
            if self._trees[0].upper.is_gone():
                yield [Ended(time.time_ns(), "the container's layer was removed")]
                return
        records = self._look(self._listener.wait(0))
        if records:
            yield records

    def _look(self, batch: Batch, *, settle: bool = True) -> list[Record]:
        """Look at what a batch leads to; return what that tells."""
        records: list[Record] = list(batch.records)
        now = time.monotonic()
        self._settle(batch)
        if settle and any(tree.waits for tree in self._trees):
            time.sleep(self._listener.grace)
            more = self._listener.wait(0)
            records += more.records
            self._settle(more)
        if batch:
            self._news_at = now
            if self._listener.rests:
                self._rests = 2
            elif len(batch) > _BURST:
                self._rests = 1
        elif self._rests and now > max(self._news_at + self._quiet, self._next_rest):
            self._rests -= 1
            for tree in self._trees:
                tree.rescan()
            done = time.monotonic()
            self._next_rest = done + _SHARE * (done - now)
        for tree in self._trees:
            records += tree.events()
        self._listener.landed()
        return records

    @property
    def _quiet(self) -> float:
        """How long it must be quiet before the next look at everything."""
        return _LATER if self._rests == 1 and self._listener.rests else _QUIET

    def _settle(self, batch: Batch) -> None:
        if batch.rescan:
            for tree in self._trees:
                tree.rescan()
        for tree, paths in zip(self._trees, batch.paths, strict=False):
            tree.look(paths.items(), batch.names)

    def _last_words(self, records: list[Record]) -> list[Record]:
        """Tell what came before the container's end, but not how its layer is removed after it."""
        records = records + self._look(self._listener.wait(0))
        time.sleep(_REMOVAL)
        more = self._look(self._listener.wait(0), settle=False)
        upper = self._trees[0].upper
        gone = upper.is_gone() or not os.path.exists(os.path.dirname(self._target.upper))
        if gone or any(_deletes(record) for record in more):
            records = [record for record in records if not _deletes(record)]
        else:
            records += more
        reason = "the container ended and was removed" if gone else "the container ended"
        return [*records, Ended(time.time_ns(), reason)]


def _deletes(record: Record) -> bool:
    return isinstance(record, CowEvent) and record.kind == "delete" and not record.volume


class _VolumeObserver(_Observer):
    """Looks at the volumes alone: our union tells the rest."""

    def __init__(self, target: Target, stop: threading.Event, held: ExitStack) -> None:
        self._target = target
        self._stop = stop
        self._said = []
        self._trees = _volumes(target, held, self._said)
        self._life = None
        self._rests = 0
        self._news_at = self._next_rest = 0.0
        if self._trees:
            self._listener = _listen(self._trees, target, stop, self._said)
            held.callback(self._listener.close)

    def run(self) -> Iterator[list[Record]]:
        first: list[Record] = list(self._said)
        for tree in self._trees:
            first += tree.first()
        yield first
        while self._trees and not self._stop.is_set():
            records = self._look(self._listener.wait(_TICK))
            if records:
                yield records


def _listen(
    trees: list[Tree], target: Target, stop: threading.Event, said: list[Record]
) -> Listener:
    from layerview.watch.by_fanotify import ByFanotify
    from layerview.watch.by_inotify import ByInotify
    from layerview.watch.by_watchfiles import ByWatchfiles

    if os.geteuid() == 0:
        with suppress(OSError):
            return ByFanotify(trees, target.work)
    with suppress(OSError):
        return ByInotify(trees)
    return ByWatchfiles(trees, stop)


def _life(target: Target, held: ExitStack) -> int | None:
    """Return a descriptor that is ready when the container has ended; None: it can't be told."""
    if target.pid is None:
        return None
    try:
        life = os.pidfd_open(target.pid)
    except ProcessLookupError:
        life, other = os.pipe()
        os.close(other)
    except OSError:
        return None
    held.callback(os.close, life)
    return life


def _volumes(target: Target, held: ExitStack, said: list[Record]) -> list[Tree]:
    trees = []
    for volume in target.volumes:
        tree = _volume(volume, held, said)
        if tree is not None:
            trees.append(tree)
    return trees


def _volume(volume: WatchedVolume, held: ExitStack, said: list[Record]) -> Tree | None:
    """Open a volume to watch; None for what is a single file, or can't be watched."""
    name = printable(volume.name or os.fsencode(volume.source))
    if not os.path.isdir(volume.source):
        return None
    try:
        upper = held.enter_context(closing(Upper(volume.source, Whiteouts.NONE)))
        for count, _ in enumerate(upper.walk()):
            if count > _MOST_IN_VOLUME:
                said.append(
                    _notice(f"{name} has more than {_MOST_IN_VOLUME:,} entries: it is not watched")
                )
                return None
    except OSError as error:
        said.append(_notice(f"{name} is not watched: {(error.strerror or '').lower()}"))
        return None
    sources = held.enter_context(closing(Sources((), Whiteouts.NONE)))
    place = Place(volume.source, volume.target, volume=True)
    return Tree(place, upper, sources, Whiteouts.NONE)


def _about_start(target: Target) -> list[Record]:
    """Say what making the container copied, where that was everything."""
    if target.whiteouts is not Whiteouts.NONE or target.copied_at_start is None:
        return []
    size = format_size(target.copied_at_start)
    return [
        _notice(
            f"{size} were copied when the container was made: on {target.driver} each container"
            " has all files of its own, and writes copy nothing"
        )
    ]


def _notice(text: str) -> Notice:
    return Notice(time.time_ns(), text)
