"""A folder on disk looked at as one layer."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from layerview.errors import DamageError, NotFoundError
from layerview.layer.beneath import OPEN_FOLDER, file_data, open_beneath
from layerview.layer.build import build_index
from layerview.layer.contents import PIECE
from layerview.layer.index import UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.override import OVERRIDE
from layerview.layer.tar import MAX_ENTRIES, RawEntries
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import QUIET, Progress
from layerview.text import printable

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIR,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
}
_OVERLAY = {
    Whiteouts.TRUSTED: b"trusted.overlay.",
    Whiteouts.USER: b"user.overlay.",
}
_OVERRIDDEN = re.compile(
    rb"(\d{1,10}):(\d{1,10}):([0-7]{1,7})(?::([a-z]+)(?:-(\d{1,9})-(\d{1,9}))?)?"
)
_OVERRIDDEN_KINDS = {b"block": Kind.BLOCK, b"char": Kind.CHAR, b"pipe": Kind.FIFO}
_NO_XATTRS = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.ENOENT)
"""What reading extended attributes may fail with, /proc not being there included."""
_LARGEST_ID = (1 << 32) - 1


@dataclass(slots=True)
class _Found:
    """What stands under a name."""

    name: bytes
    state: os.stat_result
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    target: bytes | None = None


def read_folder(
    path: str, progress: Progress = QUIET, *, whiteouts: Whiteouts = Whiteouts.NONE
) -> LayerIndex:
    """Index everything below a folder, other file systems included.

    Sockets are left out: no layer can hold one. What can't be read is left out with a warning.
    The attributes in an extended attribute `user.containers.override_stat` count for more than
    those on disk (containers/storage; fuse-overlayfs).

    Args:
        path: of the folder.
        progress: told about each folder.
        whiteouts: how the folder says what it deletes of the layers below.

    Raises:
        NotFoundError: when the folder itself can't be read.
    """
    try:
        base = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFoundError(f"{path}: {_why(error)}") from None
    try:
        walk = _Walk(base, whiteouts)
        walk.take_root()
        walk.go(path, progress)
    finally:
        os.close(base)
    return build_index(walk.raw)


def read_changes(lower: str | None, upper: str, progress: Progress = QUIET) -> LayerIndex:
    """Index what a full tree has changed of the tree below it.

    Args:
        lower: the tree of the layers below; None when there is none.
        upper: the tree with this layer's changes.
        progress: asked whether to go on.

    Raises:
        NotFoundError: when the upper folder can't be read.
    """
    from layerview.layer.tree_changes import compare_trees

    if lower is None:
        return read_folder(upper, progress)
    progress.check()
    try:
        base = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFoundError(f"{upper}: {_why(error)}") from None
    try:
        walk = _Walk(base, Whiteouts.NONE)
        changes = compare_trees(lower, upper)
        for change in sorted(changes, key=lambda change: change.path.replace(b"/", b"\0")):
            if change.kind == "D":
                walk.take_deletion(change.path)
            else:
                walk.take_path(change.path)
    finally:
        os.close(base)
    return build_index(walk.raw)


class _Walk:
    """Goes through a folder, in path order as Docker's tars have it, and takes its entries."""

    def __init__(self, base: int, whiteouts: Whiteouts) -> None:
        self.raw = RawEntries()
        self._base = base
        self._overlay = _OVERLAY.get(whiteouts)
        self._inodes: dict[tuple[int, int], bytes] = {}
        if whiteouts is Whiteouts.TRUSTED and not _reads_trusted():
            self.raw.warn(
                "only root can read which folders are opaque; some of what lies below may be hidden"
            )

    def take_root(self) -> None:
        """Take the folder itself, for its attributes."""
        self._take(b"", b".", self._look(self._base, b"."))

    def take_path(self, path: bytes) -> None:
        """Take one path below."""
        parent, _, name = path.rpartition(b"/")
        try:
            folder = open_beneath(self._base, parent, OPEN_FOLDER)
            try:
                self._take(parent, path, self._look(folder, name))
            finally:
                os.close(folder)
        except OSError as error:
            self._warn(path, error)

    def take_deletion(self, path: bytes) -> None:
        """Take note that a path was deleted."""
        parent, _, name = path.rpartition(b"/")
        marker = WHITEOUT_PREFIX + name
        self._add(parent + b"/" + marker if parent else marker, Kind.FILE, None)

    def go(self, shown: str, progress: Progress) -> None:
        """Take all that lies below."""
        raw = self.raw
        waiting = [(b"", iter(self._scan(b"")))]
        while waiting:
            folder, children = waiting[-1]
            for child in children:
                below = folder + b"/" + child.name if folder else child.name
                if self._take(folder, below, child) and stat.S_ISDIR(child.state.st_mode):
                    progress.step(f"reading {shown}", len(raw.kinds), None)
                    waiting.append((below, iter(self._scan(below))))
                    break
            else:
                waiting.pop()
            if len(raw.kinds) > MAX_ENTRIES:
                raw.warn(f"more than {MAX_ENTRIES:,} entries: the rest is left out")
                break

    def _scan(self, folder: bytes) -> list[_Found]:
        """Look at all names in a folder; those that can't be looked at are left out."""
        found = []
        try:
            fd = open_beneath(self._base, folder, OPEN_FOLDER)
        except OSError as error:
            self._warn(folder, error)
            return []
        try:
            for name in sorted(map(os.fsencode, os.listdir(fd))):
                try:
                    found.append(self._look(fd, name))
                except OSError as error:
                    self._warn(folder + b"/" + name if folder else name, error)
        except OSError as error:
            self._warn(folder, error)
        finally:
            os.close(fd)
        return found

    def _look(self, folder: int, name: bytes) -> _Found:
        found = _Found(name, os.stat(name, dir_fd=folder, follow_symlinks=False))
        if stat.S_ISLNK(found.state.st_mode):
            found.target = os.readlink(name, dir_fd=folder)
        # There is no listxattrat(2) in most kernels: the folder is named through its descriptor.
        path = b"/proc/self/fd/%d/%s" % (folder, name)
        try:
            for text in os.listxattr(path, follow_symlinks=False):
                found.xattrs[os.fsencode(text)] = os.getxattr(path, text, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_XATTRS:
                raise
        return found

    def _take(self, folder: bytes, path: bytes, found: _Found) -> bool:
        """Take an entry; say whether it is one, and no mark."""
        state, xattrs = found.state, found.xattrs
        kind = _KINDS.get(stat.S_IFMT(state.st_mode))
        if kind is None:
            return False
        prefix = self._overlay
        opaque = False
        if prefix is not None:
            own = {
                name.removeprefix(prefix): xattrs.pop(name)
                for name in list(xattrs)
                if name.startswith(prefix)
            }
            if (kind is Kind.CHAR and state.st_rdev == 0) or (
                kind is Kind.FILE and not state.st_size and b"whiteout" in own
            ):
                marker = WHITEOUT_PREFIX + found.name
                self._add(folder + b"/" + marker if folder else marker, Kind.FILE, state)
                return False
            if found.name.startswith(WHITEOUT_PREFIX):
                self.raw.warn("names that begin with .wh. stand for deletions in tars; left out")
                return False
            if kind is Kind.DIR:
                opaque = own.get(b"opaque") == b"y"
                if b"redirect" in own:
                    self.raw.warn("a folder was renamed in place; what it had below is not shown")
            elif b"metacopy" in own:
                self.raw.warn("files whose data is in the layer below (metacopy) are shown empty")
        self._add(path, kind, state, found)
        if opaque:
            self._add(path + b"/" + OPAQUE_MARKER, Kind.FILE, None)
        return True

    def _add(
        self, path: bytes, kind: Kind, state: os.stat_result | None, found: _Found | None = None
    ) -> None:
        raw = self.raw
        row = len(raw.kinds)
        mode = uid = gid = size = seconds = 0
        if state is not None:
            mode, uid, gid = stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid
            seconds, nanoseconds = divmod(state.st_mtime_ns, 1_000_000_000)
            if nanoseconds:
                raw.fractions[row] = _fraction(nanoseconds)
        if state is not None and found is not None:
            if kind is Kind.FILE:
                size = state.st_size
                if state.st_nlink > 1:
                    first = self._inodes.setdefault((state.st_dev, state.st_ino), path)
                    if first != path:
                        raw.links[row] = first
            elif found.target is not None:
                raw.targets[row] = found.target
                size = len(found.target)
            elif kind in (Kind.CHAR, Kind.BLOCK):
                raw.devices[row] = (os.major(state.st_rdev), os.minor(state.st_rdev))
            override = _OVERRIDDEN.fullmatch(found.xattrs.pop(OVERRIDE, b""))
            if override is not None:
                kind, size, mode, uid, gid = self._overridden(override, row, kind, size)
            if found.xattrs:
                raw.xattrs[row] = found.xattrs
        raw.paths.append(path)
        raw.kinds.append(kind)
        raw.modes.append(mode)
        raw.uids.append(uid)
        raw.gids.append(gid)
        raw.sizes.append(size)
        raw.mtimes.append(seconds)
        raw.offsets.append(0 if kind is Kind.FILE else -1)

    def _overridden(
        self, said: re.Match[bytes], row: int, kind: Kind, size: int
    ) -> tuple[Kind, int, int, int, int]:
        """Read what an entry was before its owner could not be kept."""
        other = _OVERRIDDEN_KINDS.get(said[4] or b"") if kind is Kind.FILE else None
        if other is not None:
            kind, size = other, 0
            self.raw.links.pop(row, None)
            if kind is not Kind.FIFO:
                self.raw.devices[row] = (int(said[5] or 0), int(said[6] or 0))
        uid, gid = min(int(said[1]), _LARGEST_ID), min(int(said[2]), _LARGEST_ID)
        return kind, size, int(said[3], 8) & 0o7777, uid, gid

    def _warn(self, path: bytes, error: OSError) -> None:
        self.raw.drop_unfinished()
        self.raw.warn(f"/{printable(path)}: {_why(error)}")


def _fraction(nanoseconds: int) -> int:
    """Put nanoseconds as tars record them: without zeros at the end."""
    digits, value = 9, nanoseconds
    while value % 10 == 0:
        digits, value = digits - 1, value // 10
    return nanoseconds * 16 + digits


def _reads_trusted() -> bool:
    """Whether this process sees extended attributes `trusted.*` (xattr(7))."""
    if os.geteuid() != 0:
        return False
    with suppress(OSError), open("/proc/self/uid_map", "rb") as file:
        return file.read(100).split()[:2] == [b"0", b"0"]
    return True


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class FolderContents:
    """The files of a folder that is looked at as a layer; see contents.LayerContents."""

    def __init__(self, path: str, index: LayerIndex) -> None:
        self._path = path
        self._index = index

    @contextmanager
    def _opened(self, row: int) -> Iterator[int]:
        """Give a descriptor of a file; what goes wrong with it is damage."""
        path = self._index.path(row)
        shown = printable(path)
        try:
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = open_beneath(folder, path, os.O_RDONLY | os.O_NONBLOCK)
            finally:
                os.close(folder)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise DamageError(f"/{shown} is no regular file any more")
                yield fd
            finally:
                os.close(fd)
        except OSError as error:
            raise DamageError(f"/{shown}: {(error.strerror or '').lower()}") from None

    def pieces(self, row: int, offset: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """See LayerContents.

        Raises:
            DamageError: when the file is gone or became another kind.
        """
        with self._opened(row) as fd:
            left = limit if limit is not None else 1 << 62
            while left > 0 and (data := os.pread(fd, min(left, PIECE), offset)):
                yield data
                offset += len(data)
                left -= len(data)

    def each(
        self, rows: Iterable[int], progress: Progress = QUIET
    ) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """See LayerContents."""
        for row in rows:
            yield row, self._data(row)

    def _data(self, row: int) -> Iterator[tuple[int, bytes]]:
        size = self._index.sizes[row]
        with self._opened(row) as fd:
            if os.fstat(fd).st_size < size:
                shown = printable(self._index.path(row))
                raise DamageError(f"/{shown} became shorter while it was read")
            yield from file_data(fd, size)

    def stored(self, rows: Iterable[int]) -> int:
        """See LayerContents."""
        total = 0
        for row in rows:
            with suppress(DamageError), self._opened(row) as fd:
                state = os.fstat(fd)
                total += min(state.st_size, state.st_blocks * 512)
        return total

    def digests(self, rows: Iterable[int], progress: Progress = QUIET) -> dict[int, bytes]:
        """See LayerContents."""
        found = {}
        for row in rows:
            if self._index.inode(row) == UNRESOLVED:
                continue
            progress.check()
            hashed = hashlib.sha256()
            for piece in self.pieces(row):
                hashed.update(piece)
            found[row] = hashed.digest()
        return found
