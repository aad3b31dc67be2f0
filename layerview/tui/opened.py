"""An image that is open on the screen: its layers as they come in, and the view over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError
from layerview.oci.instruction import instruction
from layerview.sizes import format_size
from layerview.text import printable
from layerview.tui.palette import HueBook
from layerview.tui.words import CausedWaste, count_of, waste_by_cause
from layerview.view.union import UnionView

if TYPE_CHECKING:
    from layerview.layer.index import LayerIndex
    from layerview.sources.image import Image, LayerSource
    from layerview.sources.loading import ImageContents, LoadedLayer
    from layerview.view.changes import LayerChanges
    from layerview.view.nodes import Node
    from layerview.view.waste import Waste


NAMES_LIMIT = 1 << 20
"""Bytes of etc/passwd and etc/group that are read for names."""


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

    def __init__(self, image: Image, hues: HueBook) -> None:
        self.image = image
        self._loaded: dict[int, LoadedLayer] = {}
        self._contents: ImageContents | None = None
        stack = [
            (
                source.chain_id or (image.image_id, source.number),
                source.compressed_size or source.size or 0,
            )
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
        self.summed = False
        """The sizes of the view's folders are summed up."""
        self.waste: Waste | None = None
        self.causes: dict[int, CausedWaste] = {}
        self.changes: dict[int, LayerChanges] = {}
        self._names: tuple[dict[int, str], dict[int, str]] | None = None

    def make_view(self) -> UnionView:
        """Lay the layers that are loaded over one another."""
        return UnionView([layer.index for layer in self.layers])

    @property
    def name(self) -> str:
        """The image's name, as short as people write it."""
        return self.image.name

    @property
    def contents(self) -> ImageContents:
        """The bytes of files in the layers that are loaded."""
        from layerview.sources.loading import ImageContents

        if self._contents is None:
            self._contents = ImageContents(list(self._loaded.values()))
        return self._contents

    def take_layer(self, loaded: LoadedLayer) -> None:
        """Take in what was read of a layer."""
        self._loaded[loaded.source.number] = loaded
        self._contents = None
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
    def all_in(self) -> bool:
        """Whether no layer is still to be read."""
        return all(x.status not in (Status.WAITING, Status.READING) for x in self.layers)

    @property
    def total_size(self) -> int | None:
        """The bytes of all layers; None while a layer that can be read is unread."""
        if not self.all_in:
            return None
        return sum(layer.size or 0 for layer in self.layers)

    def slabs_sizes(self) -> int:
        """The bytes of the layers known so far."""
        return sum(layer.size or 0 for layer in self.layers)

    @property
    def is_reading(self) -> bool:
        """Whether layers are still to come."""
        return not self.finished and not self.stopped

    def reading(self) -> str:
        """Say which layer is being read; empty when none is."""
        current = next((x for x in self.layers if x.status is Status.READING), None)
        if current is None:
            return "reading the layers"
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

    def read(self, node: Node, limit: int) -> bytes:
        """Return the first bytes of a file.

        Raises:
            DamageError: when the layer ends inside it.
        """
        if node.written is None or node.inode < 0:
            return b""
        return b"".join(self.contents.pieces(node.written, node.inode, 0, limit))

    def owner_names(self, node: Node) -> str:
        """Return owner and group by the names that the image's own etc/passwd and group have."""
        if self._names is None:
            self._names = (self._read_names(b"etc/passwd"), self._read_names(b"etc/group"))
        users, groups = self._names
        owner, group = users.get(node.uid, str(node.uid)), groups.get(node.gid, str(node.gid))
        return f"{owner}:{group}"

    def _read_names(self, path: bytes) -> dict[int, str]:
        node = self.view.node(path)
        if node is None or node.type != "file" or not 0 < node.size <= NAMES_LIMIT:
            return {}
        names: dict[int, str] = {}
        try:
            data = self.read(node, NAMES_LIMIT)
        except (LayerviewError, OSError):
            return {}
        for line in data.split(b"\n"):
            fields = line.split(b":")
            if len(fields) > 2 and fields[0] and fields[2].isdigit() and len(fields[2]) < 11:
                names.setdefault(int(fields[2]), printable(fields[0])[:32])
        return names

    def change_words(self, number: int) -> str:
        """Say what a layer changed; empty while that is not known."""
        changes = self.changes.get(number)
        if changes is None:
            return ""
        counts = changes.counts
        words = [f"{counts[kind]:,} {kind}" for kind in ("added", "modified", "deleted")]
        if counts["metadata"]:
            words.append(f"{counts['metadata']:,} metadata only")
        if counts["identical"]:
            words.append(f"{counts['identical']:,} identical")
        return ", ".join(words)

    def mode_change(self, number: int) -> tuple[int, int] | None:
        """Return the modes before and after, where the layer's largest copies agree on both."""
        cause = self.causes.get(number)
        if cause is None:
            return None
        found = set()
        for _, path in cause.largest:
            below, above = (
                self.view.below(number).node(path),
                self.view.below(number + 1).node(path),
            )
            if below is None or above is None or below.is_dir or above.is_dir:
                return None
            if (below.uid, below.gid) != (above.uid, above.gid):
                return None
            found.add((below.mode, above.mode))
        if len(found) != 1:
            return None
        before, after = found.pop()
        return None if before == after else (before, after)
