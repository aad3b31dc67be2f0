"""Whom a container's process runs as, by the container's own files (runc, GetExecUser)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from layerview.containers.plan import StartError
from layerview.text import printable

_MOST = 16 << 20
"""Bytes of a passwd or group file that are read."""
_MAX_ID = (1 << 31) - 1


class User:
    """A user's IDs, as the container counts."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...] = (), home: str = "/") -> None:
        """Keep the IDs.

        Args:
            uid: the user.
            gid: the group.
            groups: the supplementary ones.
            home: what HOME becomes where nobody said.
        """
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def find(user: str) -> User:
    """Look up `USER[:GROUP]`, names or numbers, in the files of what is this process's root.

    Raises:
        StartError: when there is no such one.
    """
    name, _, group = user.partition(":")
    wanted = _number(name)
    uid, gid, home, known = wanted or 0, 0, "/", ""
    for entry in _entries("/etc/passwd", 7):
        own, primary = _number(entry[2]), _number(entry[3])
        if own is None or primary is None:
            continue
        if (entry[0] == name) if name and wanted is None else (own == uid):
            uid, gid, home, known = own, primary, entry[5] or "/", entry[0]
            break
    else:
        if name and wanted is None:
            raise StartError(
                f"unable to find user {printable(name)}: no matching entries in passwd file"
            )
    if max(uid, gid) > _MAX_ID:
        raise StartError(f"user {printable(name)}: uids and gids must be in range 0-{_MAX_ID}")
    if not group:
        groups = tuple(_groups_of(known)) if known else ()
        return User(uid, gid, tuple(dict.fromkeys((gid, *groups))), home)
    gid = _group(group)
    return User(uid, gid, (gid,), home)


def _group(group: str) -> int:
    wanted = _number(group)
    if wanted is not None:
        if wanted > _MAX_ID:
            raise StartError(
                f"group {printable(group)}: uids and gids must be in range 0-{_MAX_ID}"
            )
        return wanted
    for entry in _entries("/etc/group", 4):
        gid = _number(entry[2])
        if entry[0] == group and gid is not None and gid <= _MAX_ID:
            return gid
    raise StartError(f"unable to find group {printable(group)}: no matching entries in group file")


def _groups_of(name: str) -> Iterator[int]:
    for entry in _entries("/etc/group", 4):
        gid = _number(entry[2])
        if gid is not None and gid <= _MAX_ID and name in entry[3].split(","):
            yield gid


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _entries(path: str, fields: int) -> Iterator[list[str]]:
    """Yield the lines of a passwd or group file, missing fields empty; none without the file."""
    try:
        # The image may have a pipe or a device there, which must not be waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            return
        if state.st_size > _MOST:
            raise StartError(f"{path} of the container is larger than {_MOST >> 20} MiB")
        data = os.read(fd, state.st_size)
    finally:
        os.close(fd)
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        words = line.strip().split(":")
        if words[0]:
            yield words + [""] * (fields - len(words))


def with_home(env: Sequence[str], user: User) -> dict[str, str]:
    """Return an environment by name, with HOME where it is missing."""
    found = {}
    for entry in env:
        key, _, value = entry.partition("=")
        found[key] = value
    found.setdefault("HOME", user.home)
    return found
