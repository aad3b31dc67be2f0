"""How a view gets at the bytes of files: given by the sources, used by comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from layerview.progress import QUIET, Progress


class Contents(Protocol):
    """Gives the bytes of files by layer and row; see layer.contents.LayerContents."""

    def pieces(
        self, layer: int, row: int, offset: int = 0, limit: int | None = None
    ) -> Iterator[bytes]:
        """Yield a file's bytes from an offset on, at most `limit`."""

    def digests(
        self, layer: int, rows: Iterable[int], progress: Progress = QUIET
    ) -> dict[int, bytes]:
        """Hash the contents of files: sha256 by row."""

    def each(
        self, layer: int, rows: Iterable[int], progress: Progress = QUIET
    ) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """Yield rows with their files' data, pieces with their offsets; holes are left out."""

    def stored(self, layer: int, rows: Iterable[int]) -> int:
        """Sum the bytes of data that files hold, holes left out."""
