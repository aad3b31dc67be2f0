"""Watching a container from asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from layerview.watch.events import Record
from layerview.watch.observe import observe
from layerview.watch.target import Target

_AHEAD = 256
"""Batches that wait to be taken; after that the observer waits, and what happens is kept for it."""


async def stream(target: Target, *, reads: bool = False) -> AsyncIterator[list[Record]]:
    """Tell what happens in a container, as observe does.

    Raises:
        LayerviewError: when the container's layer can't be looked at.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[Record] | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    stop = threading.Event()

    def tell(item: list[Record] | BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, item)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            stop.set()

    def run() -> None:
        try:
            for batch in observe(target, stop, reads=reads):
                while not room.acquire(timeout=0.1):
                    if stop.is_set():
                        return
                tell(batch)
        except BaseException as error:
            tell(error)
        else:
            tell(None)

    thread = threading.Thread(target=run, name="watch", daemon=True)
    thread.start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
