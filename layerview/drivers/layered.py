"""What drivers share that keep of each layer only what it changes, in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from layerview.drivers.base import Driver, naive_changes, naive_diff, need
from layerview.drivers.below import Below, copy_attributes, is_opaque
from layerview.errors import NotFoundError
from layerview.layer.beneath import OPEN_FOLDER, open_beneath
from layerview.layer.override import OVERRIDE
from layerview.layer.whiteouts import Whiteouts
from layerview.progress import Progress
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from layerview.layer.apply import Applied
    from layerview.layer.tar_split import TarSplitWriter
    from layerview.layer.tree_changes import Change
    from layerview.layer.windows import Readable
else:
    Protocol = object


class Layered(Driver, Protocol):
    """A driver that stacks folders."""

    def lowers(self, id: str) -> list[str]:
        """Return the IDs of the layers below, nearest first.

        Raises:
            DamageError: when what is noted of them is not as it should be.
        """


def parent_of(driver: Layered, id: str) -> str | None:
    """Return the ID of the layer right below."""
    lowers = driver.lowers(id)
    return lowers[0] if lowers else None


def shown_below(driver: Layered, id: str) -> list[str]:
    """Return those of the layers below that show; all that are noted must be there.

    A mark on a layer's root hides all below it: overlayfs passes over that (and so does Docker),
    the image specification does not (layer.md, Opaque Whiteout).

    Raises:
        NotFoundError: when one is not there.
    """
    lowers = driver.lowers(need(driver, id))
    for lower in lowers:
        need(driver, lower)
    for at, each in enumerate([id, *lowers]):
        if is_opaque(driver.layer_folder(each), driver.whiteouts):
            return lowers[:at]
    return lowers


def apply_layered(
    driver: Layered,
    id: str,
    parent: str | None,
    tar: Readable,
    *,
    tar_split: TarSplitWriter | None,
    progress: Progress,
) -> Applied:
    """Unpack a layer's tar; see Driver.

    A hard link to what a layer below holds becomes a copy of that, and a folder that the
    layer implies is what it is below: both as when the tar is unpacked over all layers below
    (umoci, Docker's vfs). Docker's overlay2 refuses such links, and gives such folders 0755.
    """
    from layerview.drivers.namespace import mapped_owners
    from layerview.layer.apply import apply

    lowers = driver.lowers(need(driver, id))
    owners = mapped_owners()
    if parent == (lowers[0] if lowers else None):
        fd = os.open(driver.layer_folder(id), OPEN_FOLDER)
        folders = [driver.layer_folder(lower) for lower in lowers]
        try:
            with closing(Below(folders, driver.whiteouts)) as below:
                return apply(
                    tar,
                    fd,
                    whiteouts=driver.whiteouts,
                    tar_split=tar_split,
                    owners=owners,
                    lower=below.open if lowers else None,
                    progress=progress,
                )
        finally:
            os.close(fd)
    with driver.mounted(id) as merged:
        fd = os.open(merged, OPEN_FOLDER)
        try:
            return apply(
                tar,
                fd,
                whiteouts=Whiteouts.NONE,
                tar_split=tar_split,
                owners=owners,
                progress=progress,
            )
        finally:
            os.close(fd)


def diff_layered(driver: Layered, id: str, parent: str | None, *, alone: bool) -> Iterator[bytes]:
    """Pack what a layer changes; its folder alone tells that, or the whole trees do."""
    if alone:
        from layerview.layer.pack import pack_folder

        return pack_folder(driver.layer_folder(id), driver.whiteouts)
    return naive_diff(driver, id, parent)


def changes_layered(driver: Layered, id: str, parent: str | None, *, alone: bool) -> list[Change]:
    """Say what a layer changes, told in the same way."""
    if alone:
        from layerview.layer.tree_changes import folder_changes

        below = [driver.layer_folder(lower) for lower in driver.lowers(id)]
        return folder_changes(driver.layer_folder(id), below, driver.whiteouts)
    return naive_changes(driver, id, parent)


def look_layered(driver: Layered, id: str, paths: Sequence[bytes]) -> list[os.stat_result | None]:
    """Look at paths of a layer with all below it; see Driver."""
    found: list[os.stat_result | None] = []
    folders = [driver.layer_folder(each) for each in (id, *driver.lowers(need(driver, id)))]
    with closing(Below(folders, driver.whiteouts)) as below:
        for path in paths:
            fd = below.open(path)
            if fd is None:
                found.append(None)
                continue
            try:
                found.append(os.fstat(fd))
            finally:
                os.close(fd)
    return found


def imply_layered(driver: Layered, id: str, path: bytes) -> None:
    """Have a folder of the layers below in a layer's own folder as well; see Driver."""
    folders = [driver.layer_folder(each) for each in driver.lowers(need(driver, id))]
    with closing(Below(folders, driver.whiteouts)) as below:
        source = below.open(path)
    if source is None:
        raise NotFoundError(f"{driver.layer_folder(id)}: no layer below has {printable(path)}")
    above, _, name = path.rpartition(b"/")
    base = os.open(driver.layer_folder(id), OPEN_FOLDER)
    try:
        folder = open_beneath(base, above, OPEN_FOLDER)
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
            made = os.open(name, OPEN_FOLDER, dir_fd=folder)
            try:
                copy_attributes(source, made)
            finally:
                os.close(made)
        finally:
            os.close(folder)
    finally:
        os.close(base)
        os.close(source)


def take_over(source: str, target: str) -> None:
    """Give a new layer's folder the owner and mode of the one below.

    Where the layer says nothing of the root, it stays what it is.
    """
    state = os.lstat(source)
    with suppress(PermissionError):
        os.chown(target, state.st_uid, state.st_gid)
    with suppress(OSError):
        os.setxattr(target, OVERRIDE, os.getxattr(source, OVERRIDE))
    os.chmod(target, state.st_mode & 0o7777)


def write_file(path: str, text: str, mode: int) -> None:
    """Write a small file of a driver's own, in place of what it says."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
