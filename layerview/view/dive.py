"""The figures that dive prints, under its names and by its formulas, over layerview's tree.

Where dive's own tree is wrong (opaque folders, folders deleted whole, whiteouts of nothing), its
printed figures differ from these; its rules of counting are kept: every copy of a repeated path
counts, the one that shows too, and a deletion counts what it deletes only when that is a folder.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerview.layer.index import LayerIndex
from layerview.layer.kinds import Kind
from layerview.view.union import UnionView


@dataclass(frozen=True, slots=True)
class DiveFigures:
    """dive's figures for an image."""

    efficiency_score: float
    """Sum of each path's smallest version, divided by the sum of all its versions."""
    inefficient_bytes: int
    """All versions of the paths that more than one layer lists."""
    wasted_bytes: int
    user_wasted_percent: float
    """wasted_bytes by the bytes of all layers but the base, as a fraction; 0 without such bytes."""


class DiveTally:
    """Counts the leaves of each layer's tree as the waste survey passes them."""

    def __init__(self, view: UnionView) -> None:
        self._view = view
        self._smallest = 0
        self._all = 0
        self._inefficient = 0
        self._names: dict[bytes, list[int]] = {}

    def add_alone(self, size: int) -> None:
        """Take in bytes of paths that one layer lists."""
        self._smallest += size
        self._all += size

    def add_leaf(self, prefix: bytes, name: bytes, layer: int, index: LayerIndex, row: int) -> None:
        """Take in an entry of a folder that several layers have."""
        if index.kinds[row] != Kind.WHITEOUT:
            size = index.counted[row]
        else:
            # dive sums a deleted folder, and takes a deleted file for nothing.
            lower = self._view.below(layer)
            path = prefix + name
            size = lower.summary(path).bytes if lower.stack(path) is not None else 0
        self._add(name, size)

    def add_folder(self, prefix: bytes, name: bytes, index: LayerIndex, number: int) -> None:
        """Take in a folder; one without children in its layer is a leaf."""
        if not index.rows_in(number):
            self._add(name, 0)

    def _add(self, name: bytes, size: int) -> None:
        sizes = self._names.get(name)
        if sizes is None:
            self._names[name] = [size]
        else:
            sizes.append(size)

    def close_folder(self) -> None:
        """Count the names of the folder that was taken in."""
        for sizes in self._names.values():
            total = sum(sizes)
            self._smallest += min(sizes)
            self._all += total
            if len(sizes) > 1:
                self._inefficient += total
        self._names = {}

    def figures(self) -> DiveFigures:
        """Put the figures together."""
        user = sum(index.size for index in self._view.layers[1:] if index is not None)
        return DiveFigures(
            self._smallest / self._all if self._all else 1.0,
            self._inefficient,
            self._inefficient,
            self._inefficient / user if user else 0.0,
        )
