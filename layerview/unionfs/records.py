"""What a union knows beside its branches, kept in the top one from one start to the next.

The file is there only while nobody serves the union: one that was killed leaves none, and what it
would say is forgotten. Copied-up files then go by their own inode numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from layerview.unionfs.names import RECORDS

_FIRST = "layerview 1"
_MOST = 64 << 20
"""Bytes that are read."""


class Records(NamedTuple):
    """The numbers that can't be found out anew."""

    kept: dict[int, int]
    """Inodes on the top branch, and by which numbers they go."""
    gone: dict[tuple[int, int], int]
    """Device and inode of files below, and how many of their names were deleted."""


def save(branches: Sequence[int], devices: Sequence[int], records: Records) -> None:
    """Write records to the top branch, whose own times stay.

    Raises:
        OSError: when it can't be written.
    """
    if not records.kept and not records.gone:
        return
    lines = [_head(branches)]
    lines += [f"k {ino} {number}" for ino, number in records.kept.items()]
    lines += [
        f"g {devices.index(device)} {ino} {count}"
        for (device, ino), count in records.gone.items()
        if device in devices
    ]
    top = branches[0]
    before = os.fstat(top)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    # As bytes: a server that sees no files any more can't load another encoding.
    with open(os.open(RECORDS, flags, 0o600, dir_fd=top), "wb") as file:
        file.write("\n".join([*lines, "end\n"]).encode())
    os.utime(b".", ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=top)


def take(branches: Sequence[int], devices: Sequence[int]) -> Records:
    """Read what `save` wrote for these very branches, and remove it; nothing where it is torn."""
    records = Records({}, {})
    top = branches[0]
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        before = os.fstat(top)
        with open(os.open(RECORDS, flags, dir_fd=top), "rb") as file:
            lines = file.read(_MOST).decode().splitlines()
        os.unlink(RECORDS, dir_fd=top)
        os.utime(b".", ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=top)
    except (OSError, ValueError):
        return records
    if len(lines) < 2 or lines[0] != _head(branches) or lines[-1] != "end":
        return records
    with suppress(ValueError, IndexError):
        for line in lines[1:-1]:
            kind, *words = line.split()
            numbers = list(map(int, words))
            if kind == "k":
                ino, number = numbers
                records.kept[ino] = number
            else:
                branch, ino, count = numbers
                records.gone[devices[branch], ino] = count
        return records
    return Records({}, {})


def _head(branches: Sequence[int]) -> str:
    """Say which folders the branches are: copies of them have other numbers."""
    return " ".join([_FIRST, *(str(os.fstat(branch).st_ino) for branch in branches)])
