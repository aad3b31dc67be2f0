"""A folder on disk with all below it, looked at entry by entry, for comparing and packing."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from layerview.errors import LayerviewError, NotFoundError
from layerview.layer.beneath import Folders
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.override import OVERRIDE
from layerview.layer.whiteouts import Whiteouts
from layerview.text import printable

CAPABILITY = b"security.capability"
_OVERRIDDEN = re.compile(
    rb"(\d{1,10}):(\d{1,10}):([0-7]{1,7})(?::([a-z]+)(?:-(\d{1,9})-(\d{1,9}))?)?"
)
_OVERRIDDEN_KINDS = {b"block": stat.S_IFBLK, b"char": stat.S_IFCHR, b"pipe": stat.S_IFIFO}
_NO_XATTRS = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.ENOENT)
_OPAQUE = {
    Whiteouts.TRUSTED: b"trusted.overlay.opaque",
    Whiteouts.USER: b"user.overlay.opaque",
}
_WHITEOUT = {
    Whiteouts.TRUSTED: b"trusted.overlay.whiteout",
    Whiteouts.USER: b"user.overlay.whiteout",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What stands under a name."""

    mode: int
    """Type and permission bits."""
    uid: int
    gid: int
    device: int
    """The number of a device node."""
    size: int
    mtime: int
    """Nanoseconds since 1970."""
    links: int
    inode: tuple[int, int]
    """Device and number of its inode."""
    xattrs: dict[bytes, bytes]

    @property
    def is_folder(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.mode)


class Tree:
    """A folder; nothing below it is reached through a link."""

    def __init__(self, path: str, whiteouts: Whiteouts = Whiteouts.NONE, *, most: int = 64) -> None:
        """Open it.

        Args:
            path: where it is.
            whiteouts: how it says what it deletes of the layers below.
            most: folders to hold open.

        Raises:
            NotFoundError: when it can't be read.
        """
        self.whiteouts = whiteouts
        self._shown = path
        try:
            self._base = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFoundError(f"{path}: {_why(error)}") from None
        self._folders = Folders(self._base, most)

    def close(self) -> None:
        """Close it."""
        self._folders.close()
        os.close(self._base)

    @contextmanager
    def _said(self, path: bytes) -> Iterator[None]:
        """Turn what can't be read into a line."""
        try:
            yield
        except OSError as error:
            where = os.path.join(self._shown, printable(path))
            raise LayerviewError(f"{where}: {_why(error)}") from None

    def names(self, folder: bytes) -> list[bytes]:
        """List the names in a folder, sorted; none when it is gone."""
        with self._said(folder):
            try:
                return sorted(map(os.fsencode, os.listdir(self._folders.open(folder))))
            except FileNotFoundError:
                return []

    def look(self, folder: bytes, name: bytes) -> Look | None:
        """Look at a name in a folder; None when nothing is there."""
        with self._said(folder + b"/" + name if folder else name):
            try:
                fd = self._folders.open(folder)
                state = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return _overridden(
                Look(
                    state.st_mode,
                    state.st_uid,
                    state.st_gid,
                    state.st_rdev,
                    state.st_size if not stat.S_ISDIR(state.st_mode) else 0,
                    state.st_mtime_ns,
                    state.st_nlink,
                    (state.st_dev, state.st_ino),
                    _xattrs(fd, name),
                )
            )

    def target(self, folder: bytes, name: bytes) -> bytes:
        """Read a symbolic link."""
        with self._said(folder + b"/" + name if folder else name):
            return os.readlink(name, dir_fd=self._folders.open(folder))

    def open_file(self, folder: bytes, name: bytes) -> int:
        """Open a file for reading."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._said(folder + b"/" + name if folder else name):
            return os.open(name, flags, dir_fd=self._folders.open(folder))

    # -- marks of what is deleted -------------------------------------------------------------

    def deletes(self, name: bytes, look: Look) -> bytes | None:
        """Return the name that an entry deletes; None when it is no whiteout.

        b"" stands for a mark that deletes no name: an opaque marker, or aufs's own.
        """
        if self.whiteouts is Whiteouts.NONE:
            return None
        if self.whiteouts is Whiteouts.AUFS:
            if not name.startswith(WHITEOUT_PREFIX):
                return None
            if name.startswith(WHITEOUT_PREFIX * 2):
                return b""
            return name[len(WHITEOUT_PREFIX) :]
        if stat.S_ISCHR(look.mode) and look.device == 0:
            return name
        if not look.size and stat.S_ISREG(look.mode) and _WHITEOUT[self.whiteouts] in look.xattrs:
            return name
        return None

    def is_opaque(self, path: bytes) -> bool:
        """Whether a folder hides what lower layers hold in it."""
        if self.whiteouts is Whiteouts.NONE:
            return False
        if self.whiteouts is Whiteouts.AUFS:
            return self.look(path, OPAQUE_MARKER) is not None
        with self._said(path):
            try:
                fd = self._folders.open(path)
                return os.getxattr(fd, _OPAQUE[self.whiteouts]) == b"y"
            except OSError as error:
                if error.errno in _NO_XATTRS:
                    return False
                raise


def _xattrs(folder: int, name: bytes) -> dict[bytes, bytes]:
    # There is no listxattrat(2) in most kernels: the folder is named through its descriptor.
    path = b"/proc/self/fd/%d/%s" % (folder, name)
    found: dict[bytes, bytes] = {}
    try:
        for text in os.listxattr(path, follow_symlinks=False):
            found[os.fsencode(text)] = os.getxattr(path, text, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_XATTRS:
            raise
    return found


def _overridden(look: Look) -> Look:
    """Put back the owner and mode that could not be kept on disk."""
    if OVERRIDE not in look.xattrs:
        return look
    said = _OVERRIDDEN.fullmatch(look.xattrs.pop(OVERRIDE))
    if said is None:
        return look
    form, size, device = stat.S_IFMT(look.mode), look.size, look.device
    other = _OVERRIDDEN_KINDS.get(said[4] or b"") if form == stat.S_IFREG else None
    if other is not None:
        form, size = other, 0
        device = os.makedev(int(said[5] or 0), int(said[6] or 0))
    mode = form | int(said[3], 8) & 0o7777
    uid, gid = (min(int(said[at]), (1 << 32) - 1) for at in (1, 2))
    return replace(look, mode=mode, uid=uid, gid=gid, size=size, device=device)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
