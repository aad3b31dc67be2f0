"""How much lies below a folder of a view, and which layers hold it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Summary:
    """What lies below a folder of the view."""

    bytes: int = 0
    """File bytes, each inode once."""
    by_layer: dict[int, int] = field(default_factory=dict)
    """The same, by the layer that wrote them."""
    files: int = 0
    """Entries that are no folders."""

    def add(self, other: Summary) -> None:
        """Take in another folder's summary."""
        self.bytes += other.bytes
        self.files += other.files
        for layer, size in other.by_layer.items():
            self.by_layer[layer] = self.by_layer.get(layer, 0) + size
