"""Views of stacks that stand in memory, with their contents."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence

from layerview.layer.build import build_index
from layerview.layer.index import LayerIndex
from layerview.layer.tar import RawEntries, scan
from layerview.layer.windows import StreamWindow
from layerview.progress import QUIET, Progress
from layerview.view import UnionView
from tests.support import tars


def index_of(data: bytes) -> LayerIndex:
    """Index a plain tar."""
    raw = RawEntries()
    scan(StreamWindow(io.BytesIO(data)), raw)
    return build_index(raw)


class Memory:
    """The contents of layers that stand in memory (no sparse files)."""

    def __init__(self, layers: Sequence[bytes], indexes: Sequence[LayerIndex]) -> None:
        self.layers, self.indexes = layers, indexes

    def pieces(
        self, layer: int, row: int, offset: int = 0, limit: int | None = None
    ) -> Iterator[bytes]:
        index = self.indexes[layer]
        start = index.offsets[row]
        data = self.layers[layer][start : start + index.sizes[row]]
        yield data[offset : None if limit is None else offset + limit]

    def digests(
        self, layer: int, rows: Iterable[int], progress: Progress = QUIET
    ) -> dict[int, bytes]:
        return {row: hashlib.sha256(b"".join(self.pieces(layer, row))).digest() for row in rows}


def view_of(stack: Sequence[Sequence[tars.Part]]) -> tuple[UnionView, Memory]:
    """View layers, each given as its entries, base first."""
    data = [tars.layer(*layer) for layer in stack]
    indexes = [index_of(layer) for layer in data]
    return UnionView(indexes), Memory(data, indexes)
