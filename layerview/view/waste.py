"""Bytes that an image carries and nobody sees: which layer wrote them, and which one hid them."""

from __future__ import annotations

from dataclasses import dataclass, field

from layerview.layer.index import NO_DIR, UNRESOLVED, LayerIndex
from layerview.layer.kinds import Kind
from layerview.progress import QUIET, Progress
from layerview.view.compare import ContentComparer, Version, could_be_same, same_attributes
from layerview.view.contents import Contents
from layerview.view.dive import DiveFigures, DiveTally
from layerview.view.union import UnionView

OVERWRITTEN = "overwritten"
DELETED = "deleted"
METADATA_ONLY = "metadata_only"
IDENTICAL = "identical"
KINDS = (OVERWRITTEN, DELETED, METADATA_ONLY, IDENTICAL)

_WHITEOUT = int(Kind.WHITEOUT)


@dataclass(frozen=True, slots=True)
class WastedVersion:
    """A version of a file that a higher layer hides."""

    layer: int
    """The layer that wrote it."""
    bytes: int
    kind: str
    hidden_by: int
    """The lowest layer that hides it."""


@dataclass(slots=True)
class WastedPath:
    """All hidden versions of one path."""

    path: bytes
    bytes: int = 0
    versions: list[WastedVersion] = field(default_factory=list)


@dataclass(slots=True)
class LayerWaste:
    """What one layer carries in vain."""

    layer: int
    bytes: int = 0
    by_kind: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))


@dataclass(slots=True)
class Waste:
    """What an image carries, shows and wastes (bytes)."""

    total_bytes: int
    live_bytes: int
    by_kind: dict[str, int]
    by_layer: list[LayerWaste]
    paths: list[WastedPath]
    """Most bytes first."""
    dive: DiveFigures

    @property
    def wasted_bytes(self) -> int:
        """Bytes in layers that do not show."""
        return self.total_bytes - self.live_bytes

    @property
    def efficiency(self) -> float:
        """Share of the layers' bytes that shows; 1 for an image without bytes."""
        return self.live_bytes / self.total_bytes if self.total_bytes else 1.0


@dataclass(slots=True)
class _Hidden:
    """A name of a file that does not show."""

    path: bytes
    inode: Version
    hidden_by: int
    kind: str | None
    """None: the version that hides it decides."""
    above: Version = (-1, -1)


Entry = tuple[int, int, int]
"""A layer's part of a folder: layer, folder number, and the layer that hides it (-1: none)."""


def measure(view: UnionView, contents: Contents | None = None, progress: Progress = QUIET) -> Waste:
    """Find all hidden versions.

    Args:
        view: all layers of an image.
        contents: where file contents are compared; without, equal sizes count as overwritten.
        progress: told about reading.

    Raises:
        DamageError: when contents must be compared and can't be read.
    """
    return _Survey(view, ContentComparer(contents), progress).run()


class _Survey:
    def __init__(self, view: UnionView, comparer: ContentComparer, progress: Progress) -> None:
        self.view = view
        self.comparer = comparer
        self.progress = progress
        self.hidden: list[_Hidden] = []
        self.tally = DiveTally(view)

    def run(self) -> Waste:
        view = self.view
        waiting: list[tuple[bytes, list[Entry]]] = [(b"", self._root())]
        while waiting:
            path, entries = waiting.pop()
            if not entries:
                continue
            if len(entries) == 1:
                self._single(path, *entries[0])
                continue
            self.progress.check()
            waiting.extend(self._shared(path, entries))
        return self._sum_up(view.total_bytes, self._by_inode(), self.tally.figures())

    def _root(self) -> list[Entry]:
        entries: list[Entry] = []
        hidden_by = -1
        for layer in range(len(self.view.layers) - 1, -1, -1):
            index = self.view.layers[layer]
            if index is None:
                continue
            entries.append((layer, 0, hidden_by))
            if 0 in index.opaque:
                hidden_by = layer
        return entries

    def _index(self, layer: int) -> LayerIndex:
        index = self.view.layers[layer]
        assert index is not None
        return index

    def _single(self, path: bytes, layer: int, number: int, hidden_by: int) -> None:
        """Take in a folder that only one layer has."""
        index = self._index(layer)
        self.tally.add_alone(index.bytes_below(number))
        if hidden_by < 0:
            return
        kinds = index.kinds
        for below, row in index.walk_rows(number, path):
            if kinds[row] == Kind.FILE:
                self._hide(below, layer, row, hidden_by, DELETED)

    def _hide(
        self,
        path: bytes,
        layer: int,
        row: int,
        hidden_by: int,
        kind: str | None,
        above: Version = (-1, -1),
    ) -> None:
        index = self._index(layer)
        inode = index.links.get(row, row)
        version = (layer, inode) if inode != UNRESOLVED else self.view.source_of(layer, row)
        self.hidden.append(_Hidden(path, version, hidden_by, kind, above))

    def _shared(self, path: bytes, entries: list[Entry]) -> list[tuple[bytes, list[Entry]]]:
        """Take in the names of a folder that several layers have; return its folders."""
        # By name: the nearest layer above with anything there, its row (-1: a whiteout), and the
        # lowest layer so far that hides what lower layers hold below the name.
        above: dict[bytes, tuple[int, int, int]] = {}
        folders: dict[bytes, list[Entry]] = {}
        prefix = path + b"/" if path else b""
        for layer, number, hidden_by in entries:
            index = self._index(layer)
            kinds, dir_of_row, opaque = index.kinds, index.dir_of_row, index.opaque
            for row, name in enumerate(index.names_in(number), index.dir_starts[number]):
                kind = kinds[row]
                nearest = above.get(name)
                below = dir_of_row[row]
                if below != NO_DIR:
                    cover = nearest[2] if nearest is not None else -1
                    hider = (
                        cover
                        if hidden_by < 0
                        else hidden_by
                        if cover < 0
                        else min(cover, hidden_by)
                    )
                    folders.setdefault(name, []).append((layer, below, hider))
                    above[name] = (layer, row, layer if below in opaque else cover)
                    self.tally.add_folder(prefix, name, index, below)
                    continue
                above[name] = (layer, -1 if kind == _WHITEOUT else row, layer)
                self.tally.add_leaf(prefix, name, layer, index, row)
                if kind == _WHITEOUT:
                    continue
                if nearest is None and hidden_by < 0:
                    continue
                if kind != Kind.FILE:
                    continue
                self._cover(prefix + name, layer, row, hidden_by, nearest)
        self.tally.close_folder()
        return [(prefix + name, found) for name, found in folders.items()]

    def _cover(
        self,
        path: bytes,
        layer: int,
        row: int,
        hidden_by: int,
        nearest: tuple[int, int, int] | None,
    ) -> None:
        """Decide which layer hides a version first, and how."""
        if nearest is None or 0 <= hidden_by < nearest[0]:
            self._hide(path, layer, row, hidden_by, DELETED)
            return
        hider, above_row, _ = nearest
        if above_row < 0:
            self._hide(path, layer, row, hider, DELETED)
        elif self._index(hider).dir_of_row[above_row] != NO_DIR:
            self._hide(path, layer, row, hider, OVERWRITTEN)
        else:
            self._hide(path, layer, row, hider, None, self.view.source_of(hider, above_row))

    def _by_inode(self) -> list[_Hidden]:
        """Keep one hidden name an inode, the one hidden last, where no name shows."""
        view = self.view
        last: dict[Version, _Hidden] = {}
        for hidden in self.hidden:
            layer, row = hidden.inode
            if self._index(layer).counted[row] == 0 or view.is_kept(layer, row):
                continue
            before = last.get(hidden.inode)
            if before is None or hidden.hidden_by > before.hidden_by:
                last[hidden.inode] = hidden
        return list(last.values())

    def _sum_up(self, total: int, hidden: list[_Hidden], dive: DiveFigures) -> Waste:
        view = self.view
        unsure = []
        for item in hidden:
            if item.kind is None:
                item.kind, needs_reading = self._relation(item)
                if needs_reading:
                    unsure.append(item)
        self.comparer.prepare(((item.inode, item.above) for item in unsure), self.progress)
        for item in unsure:
            if not self.comparer.same(item.inode, item.above):
                item.kind = OVERWRITTEN
        by_layer = [LayerWaste(layer) for layer in range(len(view.layers))]
        by_kind = dict.fromkeys(KINDS, 0)
        paths: dict[bytes, WastedPath] = {}
        for item in hidden:
            assert item.kind is not None
            layer, row = item.inode
            size = self._index(layer).sizes[row]
            by_kind[item.kind] += size
            by_layer[layer].bytes += size
            by_layer[layer].by_kind[item.kind] += size
            wasted = paths.get(item.path)
            if wasted is None:
                wasted = paths[item.path] = WastedPath(item.path)
            wasted.bytes += size
            wasted.versions.append(WastedVersion(layer, size, item.kind, item.hidden_by))
        for wasted in paths.values():
            wasted.versions.sort(key=lambda version: version.layer)
        ordered = sorted(paths.values(), key=lambda item: (-item.bytes, item.path))
        return Waste(total, total - sum(by_kind.values()), by_kind, by_layer, ordered, dive)

    def _relation(self, item: _Hidden) -> tuple[str, bool]:
        """Compare a hidden version with the one above; say also whether bytes must be read."""
        a, b = self._index(item.inode[0]), self._index(item.above[0])
        same = could_be_same(a, item.inode[1], b, item.above[1])
        if same is False:
            return OVERWRITTEN, False
        if same_attributes(a, item.inode[1], b, item.above[1]):
            return IDENTICAL, same is None
        return METADATA_ONLY, same is None
