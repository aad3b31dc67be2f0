"""Whether two versions of a path are the same, read only where they could be."""

from __future__ import annotations

from collections.abc import Iterable

from layerview.layer.index import LayerIndex
from layerview.layer.kinds import Kind
from layerview.progress import QUIET, Progress
from layerview.view.contents import Contents

Version = tuple[int, int]
"""Layer and row of an inode."""

IDENTICAL, METADATA, MODIFIED = "identical", "metadata", "modified"


def same_attributes(a: LayerIndex, row_a: int, b: LayerIndex, row_b: int) -> bool:
    """Whether mode, owner and extended attributes are equal; times may differ."""
    return (
        a.modes[row_a] == b.modes[row_b]
        and a.uids[row_a] == b.uids[row_b]
        and a.gids[row_a] == b.gids[row_b]
        and a.xattrs.get(row_a) == b.xattrs.get(row_b)
    )


def could_be_same(a: LayerIndex, row_a: int, b: LayerIndex, row_b: int) -> bool | None:
    """Whether two versions have the same type and content; None when the bytes must be read."""
    kind = a.kinds[row_a]
    if kind != b.kinds[row_b]:
        return {kind, b.kinds[row_b]} <= {Kind.DIR, Kind.IMPLIED_DIR}
    if kind == Kind.FILE:
        if a.sizes[row_a] != b.sizes[row_b]:
            return False
        return None if a.sizes[row_a] else True
    if kind == Kind.SYMLINK:
        return a.targets.get(row_a) == b.targets.get(row_b)
    if kind in (Kind.CHAR, Kind.BLOCK):
        return a.columns.devices.get(row_a) == b.columns.devices.get(row_b)
    return True


class ContentComparer:
    """Compares the contents of many pairs of files, reading each layer once."""

    def __init__(self, contents: Contents | None) -> None:
        """Compare with the help of contents; without, equal sizes count as different content."""
        self._contents = contents
        self._digests: dict[Version, bytes] = {}

    def prepare(self, pairs: Iterable[tuple[Version, Version]], progress: Progress = QUIET) -> None:
        """Hash all files of some pairs, one layer after the other."""
        if self._contents is None:
            return
        wanted: dict[int, set[int]] = {}
        for pair in pairs:
            for layer, row in pair:
                if (layer, row) not in self._digests:
                    wanted.setdefault(layer, set()).add(row)
        for number, layer in enumerate(sorted(wanted)):
            progress.step("comparing contents", number, len(wanted))
            for row, digest in self._contents.digests(layer, wanted[layer], progress).items():
                self._digests[layer, row] = digest

    def same(self, a: Version, b: Version) -> bool:
        """Whether two prepared files have the same content."""
        if a == b:
            return True
        digest = self._digests.get(a)
        return digest is not None and digest == self._digests.get(b)
