"""Files that are there whole or not at all, whatever ends the process or the machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress

from layerview.errors import LayerviewError, NotFoundError
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_SYNCS = 16
"""fsyncs at a time."""


def write_file(
    path: str, data: bytes, *, scratch: str, mode: int = 0o600, sync: bool = True
) -> None:
    """Put a file in place: written in `scratch`, fsynced, renamed, its folder fsynced.

    Args:
        path: where it belongs; a file that is there is replaced.
        data: its bytes.
        scratch: a folder on the same file system, whose leftovers may be thrown away.
        mode: its permissions.
        sync: False leaves the fsyncs to a later `sync_all`.
    """
    temporary = os.path.join(scratch, os.urandom(16).hex())
    try:
        with named(temporary):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, mode)
                file.write(data)
                if sync:
                    sync_file(file)
        with named(path):
            os.rename(temporary, path)
            if sync:
                sync_folder(os.path.dirname(path))
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_new(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file in a folder that is not in place yet; it is left to a later `sync_all`."""
    with named(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)


def sync_all(paths: Iterable[str]) -> None:
    """Flush files and folders to the disk, side by side: journals then commit them together."""
    from threading import Thread

    wanted = list(dict.fromkeys(paths))
    failed: list[BaseException] = []

    def sync() -> None:
        try:
            while wanted:
                _sync(wanted.pop())
        except IndexError:
            return  # another one took the last
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=sync) for _ in range(min(_SYNCS, len(wanted)) - 1)]
    for thread in threads:
        thread.start()
    sync()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _sync(path: str) -> None:
    with named(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def sync_file(file: IO[bytes]) -> None:
    """Flush a file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: str) -> None:
    """Flush a folder's list of names to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(path: str, mode: int = 0o700) -> None:
    """Make a folder and those above it, as far as they are missing.

    Raises:
        LayerviewError: when that is not possible.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_folders(parent, mode)
    with named(path), suppress(FileExistsError):
        os.mkdir(path, mode)
        sync_folder(parent)


def read_small(path: str, most: int = 16 << 20) -> bytes:
    """Read a small file whole; links, devices and the like are not followed or waited on.

    Raises:
        NotFoundError: when it is not there.
        LayerviewError: when it can't be read, or is larger than `most` bytes.
    """
    with named(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            data = file.read(most + 1)
    if len(data) > most:
        raise LayerviewError(f"{printable(path)} is larger than such a file ever is")
    return data


class named:
    """Turns what the system refuses into one line that names the file.

    Raises:
        NotFoundError: when the file is not there.
        LayerviewError: for everything else.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise refused(error, self._path) from None


def refused(error: OSError, path: str) -> LayerviewError:
    """Put a refusal of the system into one line that names the file and says what to do."""
    # Where a file was opened already, the name is its descriptor.
    said = error.filename if isinstance(error.filename, str | bytes) else ""
    where = printable(os.fsdecode(said or path))
    if error.errno == errno.ENOENT:
        return NotFoundError(f"{where} is not there")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"there is no room left on the disk of {where}")
    if error.errno == errno.EROFS:
        return LayerviewError(
            f"{where} is on a read-only file system; choose another place with --root"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return LayerviewError(f"{where}: no permission; choose another place with --root")
    return LayerviewError(f"{where}: {(error.strerror or str(error)).lower()}")


class DiskFull(LayerviewError):
    """There is no room left for what should be written."""
