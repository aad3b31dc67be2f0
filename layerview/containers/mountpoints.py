"""Where in a container's tree something is mounted: links lead nowhere out of it."""

from __future__ import annotations

import errno
import os
import stat

from layerview.containers.calls import OPEN_PATH

_MOST_LINKS = 40
"""As many as the kernel follows in one path."""


def open_place(root: int, path: bytes, *, folder: bool) -> tuple[int, bool]:
    """Open what a path leads to in a tree, as if the tree's root were `/`; make what is missing.

    Every part is opened by its single name in a folder that is held open, and what a link says is
    gone through in the same way: neither a link nor `..` nor somebody who moves folders meanwhile
    leads out of the tree.

    Args:
        root: the tree's descriptor.
        path: of the container, absolute or not.
        folder: whether a folder is made at the end, or an empty file.

    Returns:
        A descriptor (O_PATH) of what is there, the caller's to close; whether it was made.

    Raises:
        OSError: as open(2) has it; ELOOP for more than 40 links.
    """
    waiting = path.split(b"/")[::-1]
    held: list[int] = []
    links, made = 0, False
    try:
        while waiting:
            name = waiting.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if held:
                    os.close(held.pop())
                continue
            here = held[-1] if held else root
            try:
                fd = os.open(name, OPEN_PATH, dir_fd=here)
            except FileNotFoundError:
                last = not any(part not in (b"", b".") for part in waiting)
                _make(here, name, folder or not last)
                made = True
                fd = os.open(name, OPEN_PATH, dir_fd=here)
            held.append(fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(b"", dir_fd=fd)
                os.close(held.pop())
                if target.startswith(b"/"):
                    while held:
                        os.close(held.pop())
                waiting += target.split(b"/")[::-1]
            elif waiting and not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return (held.pop() if held else os.open(".", OPEN_PATH, dir_fd=root)), made
    finally:
        for fd in held:
            os.close(fd)


def _make(here: int, name: bytes, folder: bool) -> None:
    """Make what is missing, as runc does: folders 0755, files empty."""
    if folder:
        os.mkdir(name, 0o755, dir_fd=here)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o755, dir_fd=here))


def open_real(folder: int, name: str) -> int:
    """Open a folder in a folder, with O_PATH.

    Raises:
        OSError: ENOTDIR where a link or a file stands there.
    """
    return os.open(name, OPEN_PATH | os.O_DIRECTORY, dir_fd=folder)
