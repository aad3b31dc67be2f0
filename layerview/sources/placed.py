"""Reading a layer that lies unpacked in a folder: a plain one, or a storage driver's."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from layerview.errors import DamageError, LimitError, NotFoundError
from layerview.layer.reading import ReadLayer
from layerview.progress import QUIET, Progress
from layerview.sources.image import LayerSource
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.layer.blob import Blob
    from layerview.layer.cache import IndexCache


def read_placed(
    source: LayerSource, cache: IndexCache | None = None, progress: Progress = QUIET
) -> ReadLayer:
    """Index a layer that lies in a folder.

    Where Docker kept the headers of the layer's tar they are read, and the folder is not walked:
    it is no slower, owners are the image's own where the disk has others (user namespaces), times
    have the digits that the tar has, and a full tree (vfs, btrfs) does not say which of its
    entries are this layer's.

    Raises:
        NotFoundError: when the folder can't be read.
    """
    from layerview.layer.folder import read_changes, read_folder

    folder = source.folder
    assert folder is not None
    damage = None
    if source.tar_split is not None:
        try:
            return _read_headers(source.tar_split, cache)
        except (DamageError, LimitError, NotFoundError) as error:
            damage = f"{error}; its folder is read instead"
    if source.lower is not None:
        return ReadLayer(read_changes(source.lower, folder, progress), damage=damage)
    return ReadLayer(read_folder(folder, progress, whiteouts=source.whiteouts), damage=damage)


def _read_headers(path: str, cache: IndexCache | None) -> ReadLayer:
    from layerview.layer.tar_split import read_headers

    mark = headers_mark(path)
    if cache is not None:
        known = cache.find(mark, unpacked=False)
        if known is not None:
            return known
    identity = mark.identity()
    fd = _open(path)
    try:
        with os.fdopen(fd, "rb") as file:
            read = ReadLayer(read_headers(file), identity=identity)
    except DamageError as error:
        raise DamageError(f"{printable(path)}: {error}") from None
    if cache is not None:
        cache.keep(mark, read)
    return read


def headers_mark(path: str) -> Blob:
    """Return what the index cache knows a layer by that is read from its headers."""
    from layerview.layer.blob import Blob

    # Without a length: never taken for the file itself, looked at as a layer.
    return Blob(path, length=0)


def hash_placed(source: LayerSource, progress: Progress = QUIET, what: str = "") -> str:
    """Make a layer's tar again and hash it: its DiffID ("sha256:…").

    Raises:
        DamageError: when a file is not the one that was unpacked; the message names it.
    """
    from layerview.layer.tar_split import open_in, rebuild

    assert source.folder is not None
    assert source.tar_split is not None
    hashed, done = hashlib.sha256(), 0
    fd = _open(source.tar_split)
    with os.fdopen(fd, "rb") as file:
        folder = os.open(source.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for piece in rebuild(file, open_in(folder)):
                hashed.update(piece)
                done += len(piece)
                progress.step(what, done, None)
        finally:
            os.close(folder)
    return f"sha256:{hashed.hexdigest()}"


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NotFoundError(f"{printable(path)}: {why}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DamageError(f"{printable(path)} is no file")
    return fd
