"""Waiting for the kernel's next request: awake for a moment, then asleep.

Who makes requests waits for each answer, and often asks again at once. A processor that sleeps
meanwhile takes longer to wake than most answers take, above all in a virtual machine.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerview.unionfs.fuse.listeners import Listeners

_AWAKE = 50_000
"""Nanoseconds to stay awake for: about what a virtual machine's processor takes to wake."""
_MOST_SKIPPED = 255
_LOOK_AGAIN = 40
"""Milliseconds between looks at what the kernel writes itself, while somebody listens."""


class Waiting:
    """Waits at one connection, for requests and for those who listen."""

    def __init__(
        self,
        connection: int,
        buffer: bytearray,
        *,
        listeners: Listeners | None,
        poll: select.poll | None,
        heed: Callable[[int, int], None],
        is_watched: Callable[[], bool],
        look: Callable[[], None],
    ) -> None:
        """Wait from now on; the connection does not block any more.

        Args:
            connection: to the kernel.
            buffer: where a request is read to.
            listeners: who hears of steps.
            poll: what these are looked at with; None: there are none.
            heed: takes what the poll found of a listener.
            is_watched: whether to look, now and then while nothing is asked.
            look: looks at what the kernel writes itself.
        """
        os.set_blocking(connection, False)
        self._connection = connection
        self._buffers = [buffer]
        self._listeners = listeners
        self._poll = select.poll() if poll is None else poll
        self._poll.register(connection, select.POLLIN)
        self._heed = heed
        self._is_watched = is_watched
        self._look = look
        self._skip = 0
        self._skipped = 0

    def wait(self) -> int:
        """Wait until there is something; none may be there nevertheless.

        Returns:
            The length of the request that was read; 0: there may be one to be read.
        """
        listeners = self._listeners
        if listeners is not None and listeners.waits:
            # Nobody waits for us: time to tell.
            listeners.send()
            return 0
        size = self._stay_awake()
        if not size:
            self._sleep()
        return size

    def _stay_awake(self) -> int:
        """Look for a request for a moment, less and less often where none comes that soon.

        None does where who asks has no other processor than this one: it is not kept waiting.
        """
        if self._skipped < self._skip:
            self._skipped += 1
            return 0
        self._skipped = 0
        connection, buffers = self._connection, self._buffers
        readv, now = os.readv, time.perf_counter_ns
        end = now() + _AWAKE
        while True:
            try:
                size = readv(connection, buffers)
            except BlockingIOError:
                if now() < end:
                    continue
                break
            except OSError:
                # What it is, who reads next will see.
                return 0
            self._skip = 0
            return size
        self._skip = min(2 * self._skip + 1, _MOST_SKIPPED)
        return 0

    def _sleep(self) -> None:
        while True:
            found = self._poll.poll(_LOOK_AGAIN if self._is_watched() else None)
            if not found:
                self._look()
                return
            if self._heed_all(found):
                return

    def heed(self) -> None:
        """Take what listeners say, without waiting."""
        if self._listeners is not None:
            self._heed_all(self._poll.poll(0))

    def _heed_all(self, found: list[tuple[int, int]]) -> bool:
        """Take what listeners say; return whether the connection has something."""
        here = False
        for fd, event in found:
            if fd == self._connection:
                here = True
            else:
                self._heed(fd, event)
        return here
