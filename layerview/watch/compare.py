"""A container's layer compared wholly with the layers below it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from layerview.errors import LayerviewError, NotFoundError
from layerview.layer.beneath import open_beneath
from layerview.text import printable
from layerview.watch.events import CowEvent
from layerview.watch.ledger import Held, Ledger
from layerview.watch.look import Upper
from layerview.watch.source import Sources
from layerview.watch.target import Target
from layerview.watch.tree import Place, Tree

_PIECE = 1 << 20


def open_tree(target: Target, held: ExitStack) -> Tree:
    """Open a container's layer to look at.

    Args:
        target: the container.
        held: closes what is open in the end.

    Raises:
        NotFoundError: when the layer is gone.
        LayerviewError: when it can't be read.
    """
    try:
        fuse = target.driver == "fuse-overlayfs"
        upper = held.enter_context(closing(Upper(target.upper, target.whiteouts, marks_too=fuse)))
    except OSError as error:
        raise unreadable(target, error) from None
    sources = held.enter_context(closing(Sources(target.layers, target.whiteouts)))
    return Tree(Place(target.upper), upper, sources, target.whiteouts)


def unreadable(target: Target, error: OSError) -> LayerviewError:
    """Say in a line why a container's layer can't be looked at."""
    place = printable(os.fsencode(target.upper))
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"{place}: the layer of {target.id[:12]} is gone")
    reason = (error.strerror or "").lower()
    remedy = "; only its owner and root may read it" if error.errno == errno.EACCES else ""
    return LayerviewError(f"{place}: {reason}{remedy}")


def held_events(target: Target) -> list[CowEvent]:
    """Tell what a container's layer holds already.

    Raises:
        LayerviewError: when it can't be read.
    """
    with ExitStack() as held:
        try:
            return open_tree(target, held).first()
        except OSError as error:
            raise unreadable(target, error) from None


def compare(target: Target) -> dict[bytes, Held]:
    """Say what a container's layer holds, by looking at all of it.

    Raises:
        LayerviewError: when it can't be read.
    """
    ledger = Ledger()
    ledger.add_all(held_events(target))
    return ledger.holds


def changed_bytes(target: Target, holds: Mapping[bytes, Held]) -> int:
    """Count the bytes in which the files of a container's layer differ from their sources.

    What a file has more than its source counts, and all of a file that has none; of what is cut
    off nothing does.

    Raises:
        LayerviewError: when the layer can't be read.
    """
    folders = {layer.number: layer.folder for layer in target.layers}
    total = 0
    seen: set[tuple[int, int]] = set()
    with ExitStack() as held:
        try:
            upper = os.open(target.upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(target, error) from None
        held.callback(os.close, upper)
        below: dict[int, int] = {}
        for path, one in holds.items():
            if one.kind not in ("copy_up", "create", "write"):
                continue
            with _passing_over(target), ExitStack() as files:
                new = open_beneath(upper, path, os.O_RDONLY | os.O_NONBLOCK)
                files.callback(os.close, new)
                state = os.fstat(new)
                if not stat.S_ISREG(state.st_mode) or (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                if one.layer is None or one.layer not in folders:
                    total += state.st_size
                    continue
                if one.layer not in below:
                    base = os.open(folders[one.layer], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                    held.callback(os.close, base)
                    below[one.layer] = base
                old = open_beneath(
                    below[one.layer], one.source or path, os.O_RDONLY | os.O_NONBLOCK
                )
                files.callback(os.close, old)
                if stat.S_ISREG(os.fstat(old).st_mode):
                    total += _differing(new, old, state.st_size)
    return total


@contextmanager
def _passing_over(target: Target) -> Iterator[None]:
    """Pass over what has gone, or is no file; but what may not be read would make it too few."""
    try:
        yield
    except PermissionError as error:
        raise unreadable(target, error) from None
    except OSError:
        pass


def _differing(new: int, old: int, size: int) -> int:
    """Count the bytes up to a size that differ between two files."""
    common = min(size, os.fstat(old).st_size)
    total = size - common
    for at in range(0, common, _PIECE):
        length = min(_PIECE, common - at)
        one, other = os.pread(new, length, at), os.pread(old, length, at)
        if one == other:
            continue
        least = min(len(one), len(other))
        # XOR of the two as numbers has a byte that is not 0 wherever they differ.
        both = int.from_bytes(one[:least], "little") ^ int.from_bytes(other[:least], "little")
        total += least - both.to_bytes(least, "little").count(0)
    return total
