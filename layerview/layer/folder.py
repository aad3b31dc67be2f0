"""A folder on disk looked at as one layer."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from layerview.errors import DamageError, NotFoundError
from layerview.layer.beneath import file_data, open_beneath
from layerview.layer.build import build_index
from layerview.layer.contents import PIECE
from layerview.layer.index import UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.tar import MAX_ENTRIES, RawEntries
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


def read_folder(path: str, progress: Progress = QUIET) -> LayerIndex:
    """Index everything below a folder, other file systems included.

    Sockets are left out: no layer can hold one. What can't be read is left out with a warning.

    Raises:
        NotFoundError: when the folder itself can't be read.
    """
    raw = RawEntries()
    inodes: dict[tuple[int, int], bytes] = {}
    base = os.fsencode(path)
    try:
        _add(raw, b".", base, os.stat(base), inodes)
        os.scandir(base).close()
    except OSError as error:
        raise NotFoundError(f"{path}: {(error.strerror or '').lower()}") from None
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        progress.step(f"reading {path}", len(raw.kinds), None)
        try:
            with os.scandir(base + b"/" + folder if folder else base) as found:
                children = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raw.warn(f"/{printable(folder)}: {(error.strerror or '').lower()}")
            continue
        for child in children:
            below = folder + b"/" + child.name if folder else child.name
            try:
                state = child.stat(follow_symlinks=False)
                _add(raw, below, child.path, state, inodes)
            except OSError as error:
                raw.drop_unfinished()
                raw.warn(f"/{printable(below)}: {(error.strerror or '').lower()}")
                continue
            if stat.S_ISDIR(state.st_mode):
                waiting.append(below)
        if len(raw.kinds) > MAX_ENTRIES:
            raw.warn(f"more than {MAX_ENTRIES:,} entries: the rest is left out")
            break
    return build_index(raw)


def _add(
    raw: RawEntries,
    path: bytes,
    full: bytes,
    state: os.stat_result,
    inodes: dict[tuple[int, int], bytes],
) -> None:
    kind = _KINDS.get(stat.S_IFMT(state.st_mode))
    if kind is None:
        return
    row = len(raw.kinds)
    size = state.st_size if kind is Kind.FILE else 0
    if kind is Kind.SYMLINK:
        target = os.readlink(full)
        raw.targets[row] = target
        size = len(target)
    elif kind in (Kind.CHAR, Kind.BLOCK):
        raw.devices[row] = (os.major(state.st_rdev), os.minor(state.st_rdev))
    if kind is Kind.FILE and state.st_nlink > 1:
        first = inodes.setdefault((state.st_dev, state.st_ino), path)
        if first != path:
            raw.links[row] = first
    try:
        names = os.listxattr(full, follow_symlinks=False)
        if names:
            raw.xattrs[row] = {
                os.fsencode(name): os.getxattr(full, name, follow_symlinks=False) for name in names
            }
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA):
            raise
    seconds, nanoseconds = divmod(state.st_mtime_ns, 1_000_000_000)
    if nanoseconds:
        raw.fractions[row] = nanoseconds * 16 + 9
    raw.paths.append(path)
    raw.kinds.append(kind)
    raw.modes.append(stat.S_IMODE(state.st_mode))
    raw.uids.append(state.st_uid)
    raw.gids.append(state.st_gid)
    raw.sizes.append(size)
    raw.mtimes.append(seconds)
    raw.offsets.append(0 if kind is Kind.FILE else -1)


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
