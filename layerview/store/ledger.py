"""The ledger of an account: its parts, and the open folders whose entries become parts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from layerview.errors import LayerviewError
from layerview.store.account import Part
from layerview.store.record_files import RecordFiles, unread
from layerview.store.tree_size import Meter, Size

NOTHING = Size(0, 0, 0)
_MOST_PARTS = 1000
"""Entries of one folder of passing things that get a part each."""


class Ledger:
    """Collects the parts of one data root."""

    def __init__(
        self,
        files: RecordFiles,
        stop: Callable[[], bool],
        each: Callable[[Part], None] | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            files: reads beneath the data root.
            stop: asked now and then whether to give up.
            each: told every part as soon as it is known.
        """
        self.parts: list[Part] = []
        self.problems: list[str] = []
        """What could not be read, a line each; see the meter's as well."""
        self.meter = Meter(files.root, stop)
        self._files = files
        self._each = each

    def add(
        self,
        kind: str,
        path: str,
        size: Size,
        name: str = "",
        *,
        owners: tuple[str, ...] = (),
        id: str = "",
        driver: str = "",
        note: str = "",
    ) -> None:
        """Add a part; without a name it is called what its path is."""
        part = Part(
            kind,
            name or os.path.basename(path),
            path,
            size.bytes,
            owners,
            id,
            driver,
            note,
            size.entries,
            not size.unread,
        )
        self.parts.append(part)
        if self._each is not None:
            self._each(part)

    @contextmanager
    def folder(self, path: str) -> Iterator[OpenFolder | None]:
        """Open a folder for what lies in it; None when it can't be looked into, which is noted."""
        try:
            fd = self._files.open_folder(path)
        except LayerviewError as error:
            self.problems.append(str(error))
            fd = None
        if fd is None:
            yield None
            return
        try:
            yield OpenFolder(self.meter, fd, path)
        except OSError as error:
            self.problems.append(str(unread(path, error)))
        finally:
            os.close(fd)

    def whole(self, kind: str, path: str, note: str = "") -> None:
        """Add a thing with all below it as one part."""
        self.add(kind, path, self.meter.tree(path), note=note)

    def but(self, path: str, rooms: Mapping[str, Callable[[str], Size]]) -> Size:
        """Measure a folder, and have some of its sub-folders measured otherwise."""
        with self.folder(path) as folder:
            if folder is None:
                return self.meter.tree(path)
            own = folder.own
            for name in folder.names():
                if name in rooms and folder.is_folder(name):
                    own = added(own, rooms[name](os.path.join(path, name)))
                else:
                    own = added(own, folder.entry(name))
            return own
        return NOTHING

    def entries(self, path: str, passing: Callable[[str], str]) -> Size:
        """Measure a folder whose passing entries are parts of their own.

        Args:
            path: the folder.
            passing: says what a passing entry is, by its path; "" for what is no passing one.

        Returns:
            What all else in it takes.
        """
        with self.folder(path) as folder:
            if folder is None:
                return self.meter.tree(path)
            own, count = folder.own, 0
            for name in folder.names():
                size, place = folder.entry(name), os.path.join(path, name)
                note = passing(place) if count < _MOST_PARTS else ""
                if note and size.entries:
                    count += 1
                    self.add("temporary", place, size, note=note)
                else:
                    own = added(own, size)
            return own
        return NOTHING


class OpenFolder:
    """An open folder, whose entries are measured one by one."""

    def __init__(self, meter: Meter, fd: int, path: str) -> None:
        self.path = path
        self._meter = meter
        self._fd = fd
        self.own = Size(os.fstat(fd).st_blocks * 512, 1, 0)
        """What the folder alone takes."""

    def names(self) -> list[str]:
        """List it, sorted."""
        return sorted(os.listdir(self._fd))

    def entry(self, name: str) -> Size:
        """Measure an entry with all below it."""
        return self._meter.entry(self._fd, name)

    def is_room(self, name: str) -> bool:
        """Whether an entry is a folder of the same data root, and no mount."""
        return self.is_folder(name) and not self._meter.is_left_out(self._fd, name)

    def is_folder(self, name: str) -> bool:
        """Whether an entry is a folder."""
        with suppress(OSError):
            mode = os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode
            return stat.S_ISDIR(mode)
        return False


def added(*sizes: Size) -> Size:
    """Add sizes."""
    return Size(*map(sum, zip(*sizes, strict=True))) if sizes else NOTHING
