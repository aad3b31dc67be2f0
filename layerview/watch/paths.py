"""A mapping by path that knows which paths lie below which."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class PathMap(dict[bytes, T], Generic[T]):
    """A dict by path; it is changed by `put`, `take` and `move` alone."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[bytes, set[bytes]] = {}
        """By folder: the names in it at or below which there is something."""

    def put(self, path: bytes, value: T) -> None:
        """Set a path's value."""
        self[path] = value
        while path:
            folder, _, name = path.rpartition(b"/")
            names = self._names.setdefault(folder, set())
            if name in names:
                return
            names.add(name)
            path = folder

    def take(self, path: bytes) -> T | None:
        """Take a path's value out, if there is one; those below stay."""
        value = self.pop(path, None)
        while path and path not in self and path not in self._names:
            folder, _, name = path.rpartition(b"/")
            names = self._names.get(folder)
            if names is None:
                break
            names.discard(name)
            if names:
                break
            del self._names[folder]
            path = folder
        return value

    def names_in(self, folder: bytes) -> list[bytes]:
        """Return the names in a folder that have a value themselves."""
        start = folder + b"/" if folder else b""
        return [name for name in self._names.get(folder, ()) if start + name in self]

    def below(self, folder: bytes) -> list[bytes]:
        """Return the paths below a folder, each before those below it."""
        found = []
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            start = at + b"/" if at else b""
            for name in sorted(self._names.get(at, ()), reverse=True):
                waiting.append(start + name)
            if at != folder and at in self:
                found.append(at)
        return found

    def take_below(self, folder: bytes) -> list[tuple[bytes, T]]:
        """Take out what lies below a folder, each before what lies below it."""
        taken = [(path, self[path]) for path in self.below(folder)]
        for path, _ in reversed(taken):
            self.take(path)
        return taken

    def move(self, old: bytes, new: bytes) -> None:
        """Move a path and what lies below it; what was at the new one goes."""
        moved = self.take_below(old)
        value = self.take(old)
        self.take_below(new)
        self.take(new)
        if value is not None:
            self.put(new, value)
        for path, each in moved:
            self.put(new + path[len(old) :], each)
