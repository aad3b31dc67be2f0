"""What to try in a container that is watched; a line is done when the driver has told of it.

Pure: it sees the records alone, never what was typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from layerview.text import printable
from layerview.watch.events import CowEvent
from layerview.watch.target import Target

MOST_PATHS = 4096
"""Paths that are remembered of each kind."""

SETTLED = 300_000_000
"""Nanoseconds after which a deletion is no part of a rename any more."""

AGAIN = 200_000_000
"""Nanoseconds after a copy-up from which on a write is another one than that it was for."""

BIG = 256 * 1024
"""Bytes of a file that is worth to be called big."""


class Files(NamedTuple):
    """The files of an image that the commands name."""

    append: bytes = b"etc/hosts.allow"
    mode: bytes = b"etc/apt/sources.list"
    move: bytes = b"etc/nsswitch.conf"
    remove: bytes = b"etc/shells"
    folder: bytes = b"usr/share/doc"
    big: bytes = b"srv/data/places.db"


DEMO = Files()
"""Those of the demo image."""


class Try(NamedTuple):
    """One line of the list."""

    key: str
    words: str
    command: str
    done: bool = False


class Tries:
    """The list, and which of its lines the records have shown to be done."""

    def __init__(self, target: Target, files: Files = DEMO) -> None:
        self._vfs = target.driver == "vfs"
        self._files = files
        self._done: set[str] = set()
        self._upper: dict[bytes, int] = {}
        """What was copied up or made, and when: to write there needs no copy any more."""
        self._gone: dict[bytes, int] = {}
        self._deleted: dict[bytes, int] = {}
        """When a whiteout came that may yet turn out to be a rename's."""
        self._renamed: dict[bytes, int] = {}
        self._lines = _lines(target, files)

    @property
    def lines(self) -> list[Try]:
        """All lines, in their order."""
        return [line._replace(done=line.key in self._done) for line in self._lines]

    @property
    def finished(self) -> int:
        """How many are done."""
        return sum(line.key in self._done for line in self._lines)

    def add(self, event: CowEvent) -> None:
        """See what an event shows to be done; what was there before watching shows nothing."""
        self.settle(event.time)
        if event.held:
            if event.kind in ("whiteout", "delete"):
                _remember(self._gone, event.path, event.time)
            elif event.kind == "copy_up":
                _remember(self._upper, event.path, event.time)
            return
        if event.volume:
            if event.kind in ("create", "write"):
                self._done.add("volume")
            return
        see = _SEERS.get(event.kind)
        if see is not None:
            see(self, event)
        if event.from_path is not None and event.from_path != event.path:
            self._saw_rename(event.from_path)

    def settle(self, now: int) -> bool:
        """Take deletions that no rename followed for what they are; return whether there were any.

        Args:
            now: nanoseconds since 1970.
        """
        settled = [path for path, at in self._deleted.items() if now - at >= SETTLED]
        for path in settled:
            del self._deleted[path]
            self._done.add("remove")
        return bool(settled)

    @property
    def waits(self) -> bool:
        """Whether `settle` has something to do."""
        return bool(self._deleted)

    # What the kinds of events show -----------------------------------------------------------

    def _saw_copy_up(self, event: CowEvent) -> None:
        known = event.path in self._upper
        _remember(self._upper, event.path, event.time)
        if event.cause == "metadata":
            self._done.add("mode")
        elif event.cause == "rename":
            self._done.add("move")
        elif event.cause is None and event.path == self._files.mode:
            # Which of both it was can't be told; that file's line asks for a change of mode.
            self._done.add("mode")
        elif event.bytes and event.cause in (None, "open") and not known:
            self._done.add("big" if event.bytes >= BIG else "append")

    def _saw_create(self, event: CowEvent) -> None:
        if self._vfs and event.path in self._gone:
            self._done.add("opaque")
        _remember(self._upper, event.path, event.time)

    def _saw_write(self, event: CowEvent) -> None:
        copied = self._upper.get(event.path)
        if self._vfs and copied is None:
            self._done.add("big" if event.path == self._files.big else "append")
            _remember(self._upper, event.path, event.time)
        elif copied is not None and event.time - copied >= AGAIN:
            self._done.add("again")

    def _saw_metadata(self, event: CowEvent) -> None:
        self._done.add("mode")

    def _saw_whiteout(self, event: CowEvent) -> None:
        _remember(self._gone, event.path, event.time)
        self._upper.pop(event.path, None)
        if event.path not in self._renamed:
            self._deleted[event.path] = event.time
            if len(self._deleted) > MOST_PATHS:
                # So many were not renamed.
                self._deleted.clear()
                self._done.add("remove")

    def _saw_opaque(self, event: CowEvent) -> None:
        self._done.add("opaque")

    def _saw_rename_to(self, event: CowEvent) -> None:
        self._done.add("move")

    def _saw_rename(self, before: bytes) -> None:
        self._done.add("move")
        self._deleted.pop(before, None)
        _remember(self._renamed, before, 0)


_SEERS: dict[str, Callable[[Tries, CowEvent], None]] = {
    "copy_up": Tries._saw_copy_up,
    "create": Tries._saw_create,
    "write": Tries._saw_write,
    "metadata": Tries._saw_metadata,
    "whiteout": Tries._saw_whiteout,
    "delete": Tries._saw_whiteout,
    "opaque": Tries._saw_opaque,
    "rename": Tries._saw_rename_to,
}


def _remember(paths: dict[bytes, int], path: bytes, time: int) -> None:
    paths.pop(path, None)
    paths[path] = time
    if len(paths) > MOST_PATHS:
        del paths[next(iter(paths))]


def _lines(target: Target, files: Files) -> list[Try]:
    """Return the lines with their commands; without a volume the one about it says so."""
    volume = next((one for one in target.volumes if not one.read_only), None)
    inside = "no volume is mounted"
    words = "write to a volume"
    if volume is not None:
        place = "/" + printable(volume.target)
        words = f"write to {place}"
        inside = f"echo hello > {place}/note"
    append, mode, move, remove, folder, big = ("/" + printable(path) for path in files)
    return [
        Try("append", "append to a file", f"echo hello >> {append}"),
        Try("again", "append again", f"echo again >> {append}"),
        Try("mode", "change a mode", f"chmod 600 {mode}"),
        Try("move", "rename", f"mv {move} {move}.old"),
        Try("remove", "delete", f"rm {remove}"),
        Try("opaque", "a folder anew", f"rm -r {folder} && mkdir {folder}"),
        Try("volume", words, inside),
        Try("big", "1 byte into a big file", f"printf x | dd of={big} bs=1 conv=notrunc"),
    ]
