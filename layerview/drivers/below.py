"""Looking paths up in layers as a union of them would show them, without mounting anything."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from layerview.layer.beneath import OPEN_FOLDER, Folders, open_beneath
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.whiteouts import Whiteouts

_OPAQUE = {
    Whiteouts.TRUSTED: "trusted.overlay.opaque",
    Whiteouts.USER: "user.overlay.opaque",
}
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV)
_OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_KEPT = 10_000


def is_opaque(folder: int | str, whiteouts: Whiteouts) -> bool:
    """Whether a folder of a layer hides what layers below have in it.

    Args:
        folder: its descriptor or path.
        whiteouts: the form of the layer.
    """
    if whiteouts is Whiteouts.AUFS:
        place = folder if isinstance(folder, str) else f"/proc/self/fd/{folder}"
        return os.path.lexists(os.path.join(os.fsencode(place), OPAQUE_MARKER))
    try:
        return os.getxattr(folder, _OPAQUE[whiteouts]) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT):
            return False
        raise


def look_beneath(folder: int, path: bytes) -> os.stat_result | None:
    """Look at a path beneath a folder's descriptor through real folders; None: nothing is there.

    Raises:
        OSError: when it can't be looked at.
    """
    try:
        fd = open_beneath(folder, path, _OPEN_PATH)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def copy_attributes(source: int, folder: int) -> None:
    """Give a folder another's owner, mode, times and extended attributes, but overlayfs's own.

    Args:
        source: descriptor of the other one, which O_PATH is enough for.
        folder: descriptor of the folder.
    """
    state, path = os.fstat(source), f"/proc/self/fd/{source}"
    os.fchown(folder, state.st_uid, state.st_gid)
    for name in os.listxattr(path):
        if not name.startswith(_OVERLAY):
            os.setxattr(folder, name, os.getxattr(path, name))
    os.fchmod(folder, stat.S_IMODE(state.st_mode))
    os.utime(folder, ns=(state.st_atime_ns, state.st_mtime_ns))


class Below:
    """Some layers as the one tree that they show; a mark on a layer's root counts as well."""

    def __init__(self, folders: Sequence[str], whiteouts: Whiteouts) -> None:
        """Look through layers' folders, the nearest first; none is opened before it is needed."""
        self._paths = list(folders)
        self._whiteouts = whiteouts
        self._opened: dict[int, tuple[int, Folders]] = {}
        self._showing: dict[bytes, tuple[int, ...]] = {}
        """By folder: the layers that show in it, nearest first."""

    def close(self) -> None:
        """Close what is held open."""
        for base, folders in self._opened.values():
            folders.close()
            os.close(base)
        self._opened.clear()

    def open(self, path: bytes) -> int | None:
        """Open what shows at a path, with O_PATH, without following a link.

        Returns:
            A descriptor, the caller's to close; None when nothing is there.

        Raises:
            OSError: when it can't be looked at.
        """
        if not path:
            return open_beneath(self._folders(0).open(b""), b"", _OPEN_PATH)
        parent, _, name = path.rpartition(b"/")
        for layer in self._stack(parent):
            fd = self._look(layer, parent, name)
            if fd is None:
                if self._hides(layer, parent, name):
                    return None
                continue
            state = os.fstat(fd)
            if self._is_mark(name, state):
                os.close(fd)
                return None
            return fd
        return None

    def _is_mark(self, name: bytes, state: os.stat_result) -> bool:
        """Whether an entry is not of the tree, but says something of it."""
        if self._whiteouts is Whiteouts.AUFS:
            return name.startswith(WHITEOUT_PREFIX)
        return stat.S_ISCHR(state.st_mode) and state.st_rdev == 0

    def _hides(self, layer: int, folder: bytes, name: bytes) -> bool:
        """Whether a layer deletes a name by a file of another name."""
        if self._whiteouts is not Whiteouts.AUFS:
            return False
        fd = self._look(layer, folder, WHITEOUT_PREFIX + name)
        if fd is None:
            return False
        os.close(fd)
        return True

    def _folders(self, layer: int) -> Folders:
        if layer not in self._opened:
            base = os.open(self._paths[layer], OPEN_FOLDER)
            # There may be 128 layers, and 1024 open files.
            self._opened[layer] = base, Folders(base, most=2)
        return self._opened[layer][1]

    def _look(self, layer: int, folder: bytes, name: bytes) -> int | None:
        try:
            return os.open(name, _OPEN_PATH, dir_fd=self._folders(layer).open(folder))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def _stack(self, path: bytes) -> tuple[int, ...]:
        """Pick the layers that show in a folder; none when none does."""
        known = self._showing
        if len(known) > _KEPT:
            known.clear()
        missing = []
        while path and path not in known:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        if path not in known:
            known[path] = self._shown_at_root()
        stack = known[path]
        for below in reversed(missing):
            stack = known[below] = self._shown_in(below, stack)
        return stack

    def _shown_at_root(self) -> tuple[int, ...]:
        for layer in range(len(self._paths)):
            if is_opaque(self._folders(layer).open(b""), self._whiteouts):
                return tuple(range(layer + 1))
        return tuple(range(len(self._paths)))

    def _shown_in(self, path: bytes, above: tuple[int, ...]) -> tuple[int, ...]:
        parent, _, name = path.rpartition(b"/")
        found = []
        for layer in above:
            fd = self._look(layer, parent, name)
            if fd is None:
                if self._hides(layer, parent, name):
                    break
                continue
            try:
                state = os.fstat(fd)
                if not stat.S_ISDIR(state.st_mode) or self._is_mark(name, state):
                    break
                found.append(layer)
                if is_opaque(f"/proc/self/fd/{fd}", self._whiteouts):
                    break
                if self._hides(layer, parent, name):
                    break
            finally:
                os.close(fd)
        return tuple(found)
