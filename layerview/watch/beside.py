"""Two ways of watching side by side: what either tells, as soon as it does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from layerview.watch.events import Record

_TICK = 0.1
_AHEAD = 256
"""Batches that may wait to be taken."""

_Told = list[Record] | BaseException | None


def beside(
    first: Iterator[list[Record]], other: Iterator[list[Record]], stop: threading.Event
) -> Iterator[list[Record]]:
    """Tell what two iterators tell; the end of the first one is the end.

    Args:
        first: taken in a thread, as the other is.
        other: is stopped at the end.
        stop: what both stop at.
    """
    told: queue.Queue[tuple[bool, _Told]] = queue.Queue(_AHEAD)
    left = threading.Event()

    def give(main: bool, item: _Told) -> None:
        while not left.is_set():
            try:
                told.put((main, item), timeout=_TICK)
            except queue.Full:
                continue
            return

    def run(main: bool, batches: Iterator[list[Record]]) -> None:
        try:
            for batch in batches:
                give(main, batch)
                if left.is_set():
                    return
            give(main, None)
        except BaseException as error:
            give(main, error)

    threads = [
        threading.Thread(target=run, args=(main, batches), name="watch", daemon=True)
        for main, batches in ((True, first), (False, other))
    ]
    for thread in threads:
        thread.start()
    try:
        while True:
            main, item = told.get()
            if isinstance(item, BaseException):
                raise item
            if item is not None:
                yield item
            elif main:
                return
    finally:
        left.set()
        stop.set()
        for thread in threads:
            thread.join()
