"""The layer between an image and a container's own: places to mount on (moby, initlayer.Setup)."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from io import BytesIO

from layerview.drivers.base import Driver

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
    missing = [
        _entry(path, kind, target)
        for (path, kind, target), state in zip(_places(), found, strict=True)
        if state is None or not _KINDS[kind](state.st_mode)
    ]
    if missing:
        driver.apply(id, parent, BytesIO(b"".join(missing) + bytes(2 * _BLOCK)))


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
