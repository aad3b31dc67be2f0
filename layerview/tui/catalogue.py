"""All that the Images screen lists: places and files, each as far as it has answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from layerview.tui.listing import Listed, is_of_area, is_of_engine, share
from layerview.tui.places import Place, waiting


class Catalogue:
    """Lines of places and of files; what was known stays until it is looked into again."""

    def __init__(self) -> None:
        self.total = 0
        """Bytes of all images, layers of one storage counted once."""
        self._places: list[Place] = []
        self._in_places: dict[tuple[str, str], list[Listed]] = {}
        self._silent: set[tuple[str, str]] = set()
        """Places that have not answered since they were asked last."""
        self._files: list[Listed] = []
        self._in_files: dict[str, list[Listed]] = {}
        self._given: frozenset[str] = frozenset()

    def begin(
        self, places: Sequence[Place], files: Sequence[Listed], given: Sequence[str] = ()
    ) -> None:
        """Begin to look at places and files, again or for the first time.

        Args:
            places: all there are.
            files: a line for each file, not yet looked into.
            given: the names of those files that a person named now.
        """
        self._places = list(places)
        self._silent = {_key(place) for place in places}
        self._files = list(files)
        self._given = frozenset(given)
        for known in set(self._in_places) - self._silent:
            del self._in_places[known]
        for name in set(self._in_files) - {line.name for line in files}:
            del self._in_files[name]
        self.total = share(self.lines)

    def place_answered(self, place: Place, found: list[Listed]) -> None:
        """Take in what a place holds."""
        key = _key(place)
        if key in {_key(known) for known in self._places}:
            self._in_places[key] = found
            self._silent.discard(key)
            self.total = share(self.lines)

    def file_looked_into(self, line: Listed, found: list[Listed]) -> None:
        """Take in what a file holds."""
        if any(line is known for known in self._files):
            self._in_files[line.name] = found
            self.total = share(self.lines)

    @property
    def is_begun(self) -> bool:
        """Whether anything was listed yet; the demo image always is."""
        return bool(self._files)

    def lacks(self, names: Iterable[str]) -> bool:
        """Whether one of these names is nowhere in the list."""
        known = {line.name for line in self._files} | {line.name for line in self.lines}
        return any(name not in known for name in names)

    @property
    def places(self) -> int:
        """How many places there are."""
        return len(self._places)

    @property
    def answered(self) -> int:
        """How many places have answered."""
        return len(self._places) - len(self._silent)

    @property
    def lines(self) -> list[Listed]:
        """All lines: the places' as they are known, then the files'."""
        lines = list(self._of_places())
        names = {line.name for line in lines if line.name}
        for file in self._files:
            for line in self._in_files.get(file.name, [file]):
                if line.name in names or self._is_stale(file, line):
                    continue
                lines.append(line)
        return lines

    def _of_places(self) -> Iterator[Listed]:
        seen: set[tuple[str, str, str, str]] = set()
        for place in self._places:
            for line in self._in_places.get(_key(place), ()) or self._asked(place):
                # An engine's own data root is a place too, and has the same images.
                key = (line.storage, line.image_id, line.title, line.tag)
                if line.storage and key in seen:
                    continue
                seen.add(key)
                yield line

    def _asked(self, place: Place) -> list[Listed]:
        return [waiting(place)] if _key(place) in self._silent else []

    def _is_stale(self, file: Listed, line: Listed) -> bool:
        """Whether a name opened lately says nothing: its place is listed, and has it no more."""
        if file.name in self._given:
            return False
        return is_of_area(file.name) or (bool(line.error) and is_of_engine(file.name))


def _key(place: Place) -> tuple[str, str]:
    return place.kind, place.where
