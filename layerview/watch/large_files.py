"""The large files of the layers below: which of them is being copied up, its first bytes tell."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

from layerview.watch.source import Source, Sources

_LARGE = 1 << 20
"""Bytes: what is copied within a moment needs no word while it is."""
_SLICE = 0.005
"""Seconds that looking for them takes at a time, while nothing else happens."""
_PROBE = 1 << 16
_MOST = 10_000


class LargeFiles:
    """Finds them while there is nothing else to do; all at once when one is asked for."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._found: list[Source] = []
        self._walk: Iterator[Source] | None = sources.walk()

    def look_on(self, seconds: float = _SLICE) -> None:
        """Look for more, for a moment."""
        if self._walk is None:
            return
        end = time.monotonic() + seconds
        for source in self._walk:
            if source.size >= _LARGE and len(self._found) < _MOST:
                self._found.append(source)
            if time.monotonic() > end:
                return
        self._walk = None

    def like(self, copy: int, state: os.stat_result) -> Source | None:
        """Return which file an unfinished copy is of; None where several may be, or none.

        Args:
            copy: its descriptor, with O_PATH.
            state: what was seen of it.
        """
        if state.st_size < _PROBE or not stat.S_ISREG(state.st_mode):
            return None
        self.look_on(seconds=1)
        mode = stat.S_IMODE(state.st_mode)
        wanted = [
            source
            for source in self._found
            if source.size >= state.st_size
            and (not mode or stat.S_IMODE(source.state.st_mode) == mode)
        ]
        if len(wanted) > 1:
            start = _start_of(copy)
            wanted = [each for each in wanted if self._sources.read(each, _PROBE) == start]
        return wanted[0] if len(wanted) == 1 else None


def _start_of(copy: int) -> bytes | None:
    try:
        fd = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.pread(fd, _PROBE, 0)
    finally:
        os.close(fd)
