"""Telling a union's steps to those who watch, from a thread beside the shell's work."""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress

from layerview.unionfs.fuse.listeners import Listeners, listen
from layerview.unionfs.steps import Step
from layerview.unionfs.union import Union


class Telling:
    """A socket where steps are told; see unionfs.steps."""

    def __init__(self, path: str) -> None:
        """Listen at a path.

        Raises:
            OSError: as bind(2) has it.
        """
        self._path = path
        listening, self._folder = listen(path)
        self._poll = select.poll()
        self._wake, self._woken = os.pipe()
        for fd in (self._wake, self._woken):
            os.set_blocking(fd, False)
        self._poll.register(self._wake, select.POLLIN)
        self._lock = threading.Lock()
        self._listeners = Listeners(listening, self._poll)
        self._union: Union | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def follow(self, union: Union) -> None:
        """Let the union know whether somebody wants to hear of reads."""
        self._union = union

    def tell(self, step: Step) -> None:
        """Tell a step; never waits for who hears it."""
        with self._lock:
            if not self._listeners.any:
                return
            self._listeners.tell(step)
            self._listeners.send()
        # Where something could not be sent at once, the thread is to look for room.
        self._rouse()

    def _rouse(self) -> None:
        with suppress(OSError):
            os.write(self._woken, b"1")

    def _serve(self) -> None:
        while not self._closed:
            events = self._poll.poll()
            with self._lock:
                for fd, event in events:
                    if fd == self._wake:
                        with suppress(BlockingIOError):
                            os.read(self._wake, 4096)
                    else:
                        self._listeners.heed(fd, event)
                if self._union is not None:
                    self._union.reads = self._listeners.reads

    def close(self) -> None:
        """Tell what is left, and end."""
        self._closed = True
        self._rouse()
        self._thread.join()
        self._listeners.close()
        with suppress(OSError):
            os.unlink(os.path.basename(self._path), dir_fd=self._folder)
        for fd in (self._wake, self._woken, self._folder):
            os.close(fd)
