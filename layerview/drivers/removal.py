"""Removing trees beneath descriptors: no link is followed, however deep it goes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from layerview.drivers.mounts import mount_points
from layerview.errors import LayerviewError
from layerview.layer.beneath import OPEN_FOLDER

_OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(parent: str, name: str) -> None:
    """Remove an entry of a folder and all below it; what is not there is no error.

    Args:
        parent: a real path (links resolved).
        name: one component.

    Raises:
        LayerviewError: when something is mounted below, which is somebody's files.
        OSError: what could not be removed, with its path.
    """
    place = os.path.join(parent, name)
    mounted = mount_points(place)
    if mounted:
        raise LayerviewError(f"{mounted[0]} is mounted: unmount it first")
    try:
        base = os.open(parent, OPEN_FOLDER)
    except FileNotFoundError:
        return
    try:
        _remove(base, os.fsencode(name))
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, os.strerror(code), place) from None
    finally:
        os.close(base)


def _remove(base: int, name: bytes) -> None:
    """Remove depth first, by one descriptor: down by name, up by `..`, which is checked."""
    if _unlinked(base, name):
        return
    here = _open_folder(base, name)
    if here is None:
        return
    # By level: its name, the folder that `..` must lead to, and the sub-folders that wait.
    names, above, waiting = [name], [_identity(base)], [_emptied(here)]
    try:
        while True:
            below = None
            while waiting[-1] and below is None:
                inner = waiting[-1].pop()
                below = _open_folder(here, inner)
            if below is not None:
                names.append(inner)
                above.append(_identity(here))
                os.close(here)
                here = below
                waiting.append(_emptied(here))
                continue
            up = os.open(b"..", OPEN_FOLDER, dir_fd=here)
            os.close(here)
            here = up
            if _identity(here) != above.pop():
                raise OSError(errno.ESTALE, "moved while it was removed")
            waiting.pop()
            with suppress(FileNotFoundError):
                os.rmdir(names.pop(), dir_fd=here)
            if not names:
                return
    finally:
        os.close(here)


def _emptied(here: int) -> list[bytes]:
    """Unlink all files of a folder; return the names of its sub-folders."""
    folders = []
    with os.scandir(here) as found:
        for entry in found:
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=here)
    return folders


def _unlinked(folder: int, name: bytes) -> bool:
    """Unlink what is no folder; say whether nothing is there now."""
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            return False
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    return True


def _open_folder(folder: int, name: bytes) -> int | None:
    """Open a folder to remove what is in it, rights or not; None when it is gone."""
    try:
        return _writable(os.open(name, OPEN_FOLDER, dir_fd=folder))
    except FileNotFoundError:
        return None
    except PermissionError:
        # One's own folder that forbids its owner to look: allowed by a descriptor, so no link.
        pinned = os.open(name, _OPEN_PATH | os.O_DIRECTORY, dir_fd=folder)
        try:
            os.chmod(f"/proc/self/fd/{pinned}", 0o700)
        finally:
            os.close(pinned)
        return os.open(name, OPEN_FOLDER, dir_fd=folder)


def _writable(fd: int) -> int:
    """Let the owner change a folder that is about to go, where the owner is no root."""
    if os.geteuid() != 0:
        with suppress(OSError):
            mode = os.fstat(fd).st_mode
            if mode & 0o300 != 0o300:
                os.fchmod(fd, 0o700)
    return fd


def _identity(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino
