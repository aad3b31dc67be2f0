"""What an entry of a container's layer is: copied, new, or hiding what lies below."""

from __future__ import annotations

import stat
from typing import NamedTuple

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.look import METACOPY, OPAQUE, ORIGIN, Seen, Upper
from layerview.watch.source import Source, Sources

_PROBE = 4096
"""Bytes that are compared to tell whether a file was made from another."""


class Kind(NamedTuple):
    """What an entry is, and what below it was made from or hides."""

    name: str
    """copy_up, create, opaque; implied: a folder that the engine made, with all below it shown."""
    source: Source | None = None


def classify(
    path: bytes,
    seen: Seen,
    below: Source | None,
    upper: Upper,
    sources: Sources,
    form: Whiteouts,
    *,
    sure: bool = False,
) -> Kind:
    """Say what an entry is, by its marks and by what lies below.

    overlayfs notes where a copy came from, but for files with several names (nlink > 1) and
    outside the machine's own user namespace, where it only notes that it is one; aufs notes
    nothing. There a file counts as a copy when it still has something of what lies below.

    Args:
        path: where it is.
        seen: its state; no whiteout.
        below: what would show there without it.
        upper: where it was seen.
        sources: the layers below.
        form: of the marks.
        sure: it is known that nothing was at the path before, and that it came in one piece.
    """
    if seen.is_folder:
        return _folder(seen, below, upper, sources)
    same = below is not None and stat.S_IFMT(below.state.st_mode) == stat.S_IFMT(seen.mode)
    if seen.marks & ORIGIN:
        if below is not None and same:
            told = sources.is_origin(below, seen.origin)
            if told or (told is None and _alike(path, seen, below, upper, sources)):
                return Kind("copy_up", below)
        found = sources.follow(seen.origin)
        if found is None and same and not seen.origin:
            found = below
        return Kind("copy_up", found)
    if (
        below is not None
        and same
        and (below.state.st_nlink > 1 or form is Whiteouts.AUFS or not upper.readable)
        and (sure or _alike(path, seen, below, upper, sources))
    ):
        return Kind("copy_up", below)
    return Kind("create")


def _folder(seen: Seen, below: Source | None, upper: Upper, sources: Sources) -> Kind:
    if seen.marks & OPAQUE:
        return Kind("opaque", below) if below is not None else Kind("create")
    if below is not None and below.is_folder:
        marked = seen.marks & ORIGIN or not upper.readable
        return Kind("copy_up" if marked else "implied", below)
    if seen.marks & ORIGIN and (found := sources.follow(seen.origin)) is not None:
        # Renamed, on an overlay with redirect_dir.
        return Kind("copy_up", found)
    return Kind("create")


def _alike(path: bytes, seen: Seen, below: Source, upper: Upper, sources: Sources) -> bool:
    """Whether a file can have been made from another of the same kind."""
    if not stat.S_ISREG(seen.mode):
        return True
    if seen.size == below.size and seen.mtime_ns == below.state.st_mtime_ns:
        return True
    return looks_copied(path, seen, below, upper, sources)


def looks_copied(path: bytes, seen: Seen, below: Source, upper: Upper, sources: Sources) -> bool:
    """Whether a regular file has at its start what another has, or most of that."""
    size = min(seen.size, below.size, _PROBE)
    if not size:
        return False
    new, old = upper.read(path, size), sources.read(below, size)
    if new is None or old is None or len(new) != size:
        return False
    if new == old:
        return True
    if len(new) != len(old):
        return False
    # XOR of the two as numbers has a byte that is 0 wherever they are the same.
    both = int.from_bytes(new, "little") ^ int.from_bytes(old, "little")
    return 2 * both.to_bytes(size, "little").count(0) >= size


def copied_bytes(
    path: bytes, seen: Seen, below: Source | None, upper: Upper, sources: Sources
) -> int | None:
    """Return how much data was copied to make an entry, as far as what is there now tells.

    A truncating open copies none: what is there then has nothing in common with what was.
    """
    if not stat.S_ISREG(seen.mode) or seen.marks & METACOPY:
        return 0
    if below is None:
        return None
    if not below.size:
        return 0
    if seen.size == below.size and seen.mtime_ns == below.state.st_mtime_ns:
        return below.size
    if seen.size < below.size or not looks_copied(path, seen, below, upper, sources):
        return 0
    return below.size
