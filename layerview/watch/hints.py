"""Hints: somewhere something happened. What it was, a look tells."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from layerview.watch.events import Record
from layerview.watch.inotify import ATTRIB, CREATE, MODIFY, MOVED_FROM, MOVED_TO

CREATED = 1
MOVED = 2
WRITTEN = 4
CHANGED = 8
"""Flags of a hint: the name appeared, was moved here or away, data was written, attributes set."""

_FLAGS = (
    (CREATE, CREATED),
    (MOVED_FROM | MOVED_TO, MOVED),
    (MODIFY, WRITTEN),
    (ATTRIB, CHANGED),
)


class Hint(NamedTuple):
    """What an observer has heard about a path."""

    flags: int = 0
    """0: nothing but that something happened."""
    pid: int | None = None
    command: str | None = None


NOTHING = Hint()


class Batch:
    """What was heard about some watched folders since the last time."""

    def __init__(self) -> None:
        self.paths: list[dict[bytes, Hint]] = []
        """By watched folder: by path, in the order heard."""
        self.names: dict[tuple[bytes, bytes], Hint] = {}
        """By a folder's identity and a name in it: what was heard of folders not known yet."""
        self.rescan = False
        """Something was missed: all must be looked at."""
        self.records: list[Record] = []
        """What else is to be told."""

    def add(self, at: int, path: bytes, hint: Hint) -> None:
        """Add a hint about a path of a watched folder."""
        while len(self.paths) <= at:
            self.paths.append({})
        known = self.paths[at]
        known[path] = merged(known[path], hint) if path in known else hint

    def __bool__(self) -> bool:
        return self.rescan or any(self.paths)

    def __len__(self) -> int:
        return sum(map(len, self.paths))


def merged(one: Hint, other: Hint) -> Hint:
    """Put two hints about one path into one; who was first is named."""
    return Hint(
        one.flags | other.flags,
        one.pid if one.pid is not None else other.pid,
        one.command if one.command is not None else other.command,
    )


@cache
def flags_of(mask: int) -> int:
    """Return the flags of what inotify(7) and fanotify(7) tell by the same bits."""
    return sum(flag for bits, flag in _FLAGS if mask & bits)
