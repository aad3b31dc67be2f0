"""Looking at a container's own layer on disk: an entry's state, and the marks on it."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from layerview.drivers.namespace import is_initial
from layerview.layer.beneath import OPEN_FOLDER, Folders
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.whiteouts import Whiteouts
from layerview.watch.handles import handle_of

WHITEOUT = 1
OPAQUE = 2
METACOPY = 4
ORIGIN = 8
"""Marks: what overlayfs has noted on an entry."""

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENAMETOOLONG)
"""What looking fails with where there is nothing."""

_FUSE = "user.fuseoverlayfs."
_PREFIXES = {
    Whiteouts.TRUSTED: ("trusted.overlay.", _FUSE),
    Whiteouts.USER: ("user.overlay.", _FUSE),
}
_OVERLAY = ("trusted.overlay.", "user.overlay.", _FUSE)


class Seen(NamedTuple):
    """What was seen of an entry."""

    id: bytes
    """What the inode has and no other; empty for a whiteout."""
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    nlink: int
    marks: int = 0
    origin: bytes = b""
    """The handle of what it was copied from, where the kernel notes it."""
    xattrs: int = 0
    """A hash of the extended attributes, but overlayfs's own; 0: none."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_whiteout(self) -> bool:
        """Whether it only hides what lies below."""
        return bool(self.marks & WHITEOUT)


WHITEOUT_SEEN = Seen(b"", 0, 0, 0, 0, 0, 0, 1, WHITEOUT)


def identity(folder: int, name: bytes, state: os.stat_result) -> bytes:
    """Return what tells an inode from all others, also from one that had its number before."""
    handle = handle_of(folder, name)
    return handle if handle is not None else b"i" + struct.pack("=Q", state.st_ino)


def reads_marks(whiteouts: Whiteouts) -> bool:
    """Whether this process can see overlayfs's marks in a layer of a form, if it has any."""
    if whiteouts is Whiteouts.TRUSTED:
        return os.geteuid() == 0 and is_initial()
    return whiteouts is Whiteouts.USER


class Upper:
    """A folder on disk that is looked at while others change it."""

    def __init__(self, folder: str, whiteouts: Whiteouts, *, marks_too: bool = False) -> None:
        """Open the folder.

        Args:
            folder: where it lies.
            whiteouts: the form of what it hides.
            marks_too: names `.wh.*` are marks beside those, as fuse-overlayfs makes them.

        Raises:
            OSError: when it can't be opened.
        """
        self.base = os.open(folder, OPEN_FOLDER & ~os.O_NOFOLLOW)
        self.readable = reads_marks(whiteouts)
        """Whether marks are seen."""
        self.missed = 0
        """Folders and entries that could not be looked at."""
        self._path = folder
        self._form = whiteouts
        self._marks_too = marks_too
        self._prefixes = _PREFIXES.get(whiteouts, ())
        self._folders = Folders(self.base)

    def close(self) -> None:
        """Close what is held open."""
        self._folders.close()
        os.close(self.base)

    def refresh(self) -> None:
        """Forget which folder has which path: they may have moved."""
        self._folders.close()

    def is_gone(self) -> bool:
        """Whether the folder was removed, or is another now."""
        try:
            here, there = os.fstat(self.base), os.stat(self._path)
        except OSError:
            return True
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) or not here.st_nlink

    def look(self, path: bytes) -> Seen | None:
        """Look at a path; None: nothing is there."""
        if not path:
            return self._seen(self.base, b"")
        parent, _, name = path.rpartition(b"/")
        if self._marks_too and name.startswith(WHITEOUT_PREFIX):
            return None
        try:
            folder = self._open(parent)
        except OSError as error:
            self._failed(error)
            return None
        seen = self._seen(folder, name)
        if seen is None and self._form is Whiteouts.AUFS:
            with suppress(OSError):
                os.stat(WHITEOUT_PREFIX + name, dir_fd=folder, follow_symlinks=False)
                return WHITEOUT_SEEN
        return seen

    def scan(self, folder: bytes) -> Iterator[tuple[bytes, Seen]]:
        """Look at all that lies in a folder, each with its name, sorted."""
        try:
            fd = os.open(f"/proc/self/fd/{self._open(folder)}/.", OPEN_FOLDER)
        except OSError as error:
            self._failed(error)
            return
        try:
            names = self._names(fd)
            present = set(names)
            for name in names:
                if self._form is Whiteouts.AUFS and name.startswith(WHITEOUT_PREFIX):
                    shown = name[len(WHITEOUT_PREFIX) :]
                    if not shown.startswith(WHITEOUT_PREFIX) and shown not in present:
                        yield shown, WHITEOUT_SEEN
                    continue
                seen = self._seen(fd, name)
                if seen is not None:
                    yield name, seen
        finally:
            os.close(fd)

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names in a folder as they are on disk, sorted."""
        try:
            fd = os.open(f"/proc/self/fd/{self._open(folder)}/.", OPEN_FOLDER)
        except OSError as error:
            self._failed(error)
            return []
        try:
            return self._names(fd)
        finally:
            os.close(fd)

    def walk(self, folder: bytes = b"") -> Iterator[tuple[bytes, Seen]]:
        """Look at all that lies below a folder, each before what lies below it."""
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            start = at + b"/" if at else b""
            below = []
            for name, seen in self.scan(at):
                yield start + name, seen
                if seen.is_folder:
                    below.append(start + name)
            waiting.extend(reversed(below))

    def folders(self, folder: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """Yield a folder and those below it, each with a descriptor, before its content is read.

        What can't be opened is left out, with all that is below it.
        """
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            try:
                fd = os.open(f"/proc/self/fd/{self._open(at)}/.", OPEN_FOLDER)
            except OSError:
                continue
            try:
                yield at, fd
                waiting += self._folders_in(at, fd)
            finally:
                os.close(fd)

    def _folders_in(self, folder: bytes, fd: int) -> list[bytes]:
        start = folder + b"/" if folder else b""
        hides_marks = self._form is Whiteouts.AUFS or self._marks_too
        found = []
        with suppress(OSError), os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if not (hides_marks and name.startswith(WHITEOUT_PREFIX)) and entry.is_dir(
                    follow_symlinks=False
                ):
                    found.append(start + name)
        return found

    def read(self, path: bytes, size: int) -> bytes | None:
        """Read the start of a regular file; None where it can't be read."""
        parent, _, name = path.rpartition(b"/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._open(parent))
        except OSError:
            return None
        try:
            return os.pread(fd, size, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except OSError:
            return None
        finally:
            os.close(fd)

    def _names(self, folder: int) -> list[bytes]:
        try:
            names = sorted(map(os.fsencode, os.listdir(folder)))
        except OSError as error:
            self._failed(error)
            return []
        if self._marks_too:
            return [name for name in names if not name.startswith(WHITEOUT_PREFIX)]
        return names

    def _open(self, folder: bytes) -> int:
        if not folder:
            return self.base
        return self._folders.open(folder)

    def _failed(self, error: OSError) -> None:
        if error.errno not in GONE:
            self.missed += 1

    def _seen(self, folder: int, name: bytes) -> Seen | None:
        """Look at a name in a folder, or with none at the folder itself."""
        try:
            if name:
                state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            else:
                state = os.fstat(folder)
            if stat.S_ISCHR(state.st_mode) and not state.st_rdev and self._prefixes:
                return WHITEOUT_SEEN
            own = identity(folder, name, state)
        except OSError as error:
            self._failed(error)
            return None
        marks, origin, others = 0, b"", 0
        # There is no listxattrat(2) in most kernels: the folder is named through its descriptor.
        place = b"/proc/self/fd/%d/%s" % (folder, name)
        try:
            names = os.listxattr(place, follow_symlinks=not name)
        except OSError:
            names = []
        if names:
            marks, origin = self._marks(place, names, state, bool(name))
            others = _hash(place, names, bool(name))
        folded = self._form is Whiteouts.AUFS and stat.S_ISDIR(state.st_mode)
        if folded and self._is_opaque(place):
            marks |= OPAQUE
        mode = state.st_mode
        size = state.st_size if stat.S_ISREG(mode) or stat.S_ISLNK(mode) else 0
        return Seen(
            own,
            mode,
            state.st_uid,
            state.st_gid,
            size,
            state.st_mtime_ns,
            state.st_ctime_ns,
            state.st_nlink,
            marks,
            origin,
            others,
        )

    def _is_opaque(self, place: bytes) -> bool:
        try:
            os.lstat(place + b"/" + OPAQUE_MARKER)
        except OSError:
            return False
        return True

    def _marks(
        self, place: bytes, names: list[str], state: os.stat_result, named: bool
    ) -> tuple[int, bytes]:
        marks, origin = 0, b""
        for prefix in self._prefixes:
            for name in names:
                if not name.startswith(prefix):
                    continue
                what = name[len(prefix) :]
                if what == "origin":
                    marks |= ORIGIN
                    if prefix != _FUSE:
                        origin = _value(place, name, named)
                elif what == "opaque":
                    if _value(place, name, named) == b"y":
                        marks |= OPAQUE
                elif what == "metacopy":
                    marks |= METACOPY
                elif what == "whiteout" and stat.S_ISREG(state.st_mode) and not state.st_size:
                    marks |= WHITEOUT
        return marks, origin


def _value(place: bytes, name: str, named: bool) -> bytes:
    try:
        return os.getxattr(place, name, follow_symlinks=not named)
    except OSError:
        return b""


def _hash(place: bytes, names: list[str], named: bool) -> int:
    own = [name for name in names if not name.startswith(_OVERLAY)]
    if not own:
        return 0
    return hash(tuple((name, _value(place, name, named)) for name in sorted(own))) or 1
