"""Which paths an inode has."""

from __future__ import annotations


class Identities:
    """The paths of each identity; most have one."""

    def __init__(self) -> None:
        self._first: dict[bytes, bytes] = {}
        self._more: dict[bytes, list[bytes]] = {}

    def add(self, id: bytes, path: bytes) -> None:
        """Add a path."""
        first = self._first.setdefault(id, path)
        if first != path:
            more = self._more.setdefault(id, [])
            if path not in more:
                more.append(path)

    def remove(self, id: bytes, path: bytes) -> None:
        """Remove a path; it need not be there."""
        more = self._more.get(id)
        if self._first.get(id) == path:
            if more:
                self._first[id] = more.pop(0)
            else:
                del self._first[id]
        elif more and path in more:
            more.remove(path)
        if more is not None and not more:
            del self._more[id]

    def path(self, id: bytes) -> bytes | None:
        """Return one path."""
        return self._first.get(id)

    def paths(self, id: bytes) -> list[bytes]:
        """Return all paths."""
        first = self._first.get(id)
        return [] if first is None else [first, *self._more.get(id, ())]

    def other(self, id: bytes, path: bytes) -> bytes | None:
        """Return a path that is not this one."""
        first = self._first.get(id)
        if first != path:
            return first
        more = self._more.get(id)
        return more[0] if more else None
