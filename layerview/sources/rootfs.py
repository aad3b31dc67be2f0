"""A plain root file system, as a tar or as a folder, looked at as an image of one layer."""

from __future__ import annotations

import os

from layerview.sources.archive import Archive
from layerview.sources.image import Image, LayerSource


def open_rootfs_tar(archive: Archive) -> Image:
    """Look at a tar as an image of one layer."""
    layer = LayerSource(0, blob=archive.whole(), compressed_size=archive.length)
    return Image(
        None,
        [layer],
        name=_name(archive.name),
        place="rootfs",
        location=archive.name,
        close=archive.close,
    )


def open_rootfs_folder(path: str) -> Image:
    """Look at a folder as an image of one layer."""
    layer = LayerSource(0, folder=path)
    return Image(None, [layer], name=_name(path), place="directory", location=path)


def _name(path: str) -> str:
    return path if path in ("-", "/") else os.path.basename(path.rstrip("/")) or path
