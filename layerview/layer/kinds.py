"""The kinds of entries that a layer holds."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What an entry of a layer is."""

    FILE = 0
    DIR = 1
    SYMLINK = 2
    FIFO = 3
    CHAR = 4
    BLOCK = 5
    WHITEOUT = 6
    """Deletes the path, and all below it, of the layers below (image spec, layer.md, Whiteouts)."""
    IMPLIED_DIR = 7
    """A folder that no entry names but that holds entries; it has no attributes of its own."""

    @property
    def label(self) -> str:
        """The word for it in layerview's output."""
        return KIND_LABELS[self]

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder, named or implied."""
        return self is Kind.DIR or self is Kind.IMPLIED_DIR


KIND_LABELS = ("file", "dir", "symlink", "fifo", "char", "block", "whiteout", "dir")
"""The word for each kind, by its number."""
