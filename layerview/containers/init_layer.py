"""The layer between an image and a container's own: places to mount on (moby, initlayer.Setup)."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from io import BytesIO

from layerview.drivers.base import Driver
from layerview.layer.beneath import OPEN_FOLDER, open_beneath

_FOLDERS = (b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys")
_FILES = (b".dockerenv", b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf")
_LINKS = {b"etc/mtab": b"/proc/mounts"}

_BLOCK = 512
_FOLDER, _FILE, _LINK = b"5", b"0", b"2"
_KINDS: dict[bytes, Callable[[int], bool]] = {
    _FOLDER: stat.S_ISDIR,
    _FILE: stat.S_ISREG,
    _LINK: stat.S_ISLNK,
}


def fill(driver: Driver, id: str, parent: str | None) -> None:
    """Make a container's first layer: what the image lacks of the places that it is mounted on.

    What stands there as another kind of file is replaced, and never followed.

    Args:
        driver: of the image.
        id: of the new layer, ending with `-init`.
        parent: the image's top layer.

    Raises:
        LayerviewError: when it can't be made.
    """
    driver.create_writable(id, parent)
    paths = [path for path, *_ in _places()]
    found = driver.look(parent, paths) if parent is not None else [None] * len(paths)
    states = dict(zip(paths, found, strict=True))
    missing = [
        (path, kind, target)
        for path, kind, target in _places()
        if (state := states[path]) is None or not _KINDS[kind](state.st_mode)
    ]
    if all(states[path] is None for path, *_ in missing):
        _make(driver, id, missing, {path for path, *_ in missing})
        return
    # Something has to give way: unpacking a layer knows how.
    entries = b"".join(_entry(*place) for place in missing)
    driver.apply(id, parent, BytesIO(entries + bytes(2 * _BLOCK)))


def _make(
    driver: Driver, id: str, places: list[tuple[bytes, bytes, bytes]], new: set[bytes]
) -> None:
    """Make places where nothing is, in folders that are there or new."""
    implied: set[bytes] = set()
    base = os.open(driver.layer_folder(id), OPEN_FOLDER)
    try:
        for path, kind, target in places:
            above, _, name = path.rpartition(b"/")
            if above and above not in new and above not in implied:
                driver.imply(id, above)
                implied.add(above)
            folder = open_beneath(base, above, OPEN_FOLDER)
            try:
                _make_one(folder, name, kind, target)
            finally:
                os.close(folder)
    finally:
        os.close(base)


def _make_one(folder: int, name: bytes, kind: bytes, target: bytes) -> None:
    if kind == _LINK:
        os.symlink(target, name, dir_fd=folder)
    elif kind == _FOLDER:
        os.mkdir(name, 0o755, dir_fd=folder)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o755, dir_fd=folder))
    # Whatever the umask, and the folder's set-group-ID bit; nobody else is in this layer yet.
    if os.geteuid() == 0:
        os.chown(name, 0, 0, dir_fd=folder, follow_symlinks=False)
    if kind != _LINK:
        os.chmod(name, 0o755, dir_fd=folder)


def _places() -> Iterator[tuple[bytes, bytes, bytes]]:
    for path in _FOLDERS:
        yield path, _FOLDER, b""
    for path in _FILES:
        yield path, _FILE, b""
    for path, target in _LINKS.items():
        yield path, _LINK, target


def _entry(path: bytes, kind: bytes, target: bytes) -> bytes:
    """Write an entry of a tar: of root's, 0755, without content."""
    mode = b"0000777" if kind == _LINK else b"0000755"
    parts = [
        path.ljust(100, b"\0"),
        *(number + b"\0" for number in (mode, b"0000000", b"0000000")),
        b"%011o\0" % 0,
        b"%011o\0" % int(time.time()),
        b" " * 8,
        kind,
        target.ljust(100, b"\0"),
        b"ustar\x0000",
    ]
    block = b"".join(parts).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
