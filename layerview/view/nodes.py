"""One path of a view: what stands there, and which layer it resolves from."""

from __future__ import annotations

from layerview.layer.index import LayerIndex
from layerview.layer.kinds import KIND_LABELS, Kind
from layerview.times import rfc3339


class Node:
    """One path of the unified view."""

    __slots__ = ("certain", "hardlink", "index", "inode", "kind", "layer", "path", "row", "written")

    def __init__(
        self,
        path: bytes,
        kind: int,
        layer: int | None,
        row: int,
        index: LayerIndex | None,
        inode: int,
        *,
        certain: bool = True,
        hardlink: bytes | None = None,
        written: int | None = None,
    ) -> None:
        """Describe a path.

        Args:
            path: relative; b"" is the root.
            kind: a `Kind`, as a number.
            layer: the layer it resolves from; None for a folder that no layer lists.
            row: its row in that layer's index; -1 for none.
            index: where its attributes stand; None for none.
            inode: the row there.
            certain: whether all layers above are here.
            hardlink: the first path of the same inode, where that is another one.
            written: the layer that holds its bytes, where that is another than `layer`.
        """
        self.path = path
        self.kind = kind
        self.layer = layer
        self.row = row
        self.index = index
        self.inode = inode
        self.certain = certain
        self.hardlink = hardlink
        self.written = layer if written is None else written

    def __repr__(self) -> str:
        return f"Node({self.path!r}, {self.type}, layer={self.layer}, row={self.row})"

    @property
    def name(self) -> bytes:
        """The last part of the path."""
        return self.path.rpartition(b"/")[2]

    @property
    def type(self) -> str:
        """The word for its kind: file, dir, symlink, fifo, char, block or whiteout."""
        return KIND_LABELS[self.kind]

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.kind == Kind.DIR or self.kind == Kind.IMPLIED_DIR

    @property
    def size(self) -> int:
        """Bytes of a file, length of a symbolic link's target, else 0."""
        return self.index.sizes[self.inode] if self.index is not None else 0

    @property
    def mode(self) -> int:
        """Permission bits, setuid, setgid and sticky included."""
        return self.index.modes[self.inode] if self.index is not None else 0o755

    @property
    def uid(self) -> int:
        """The owner's number."""
        return self.index.uids[self.inode] if self.index is not None else 0

    @property
    def gid(self) -> int:
        """The group's number."""
        return self.index.gids[self.inode] if self.index is not None else 0

    @property
    def mtime(self) -> str | None:
        """Time of the last change of its content (RFC 3339, UTC); None when not recorded."""
        if self.index is None:
            return None
        return rfc3339(self.index.mtimes[self.inode], self.index.fraction(self.inode))

    @property
    def target(self) -> bytes | None:
        """A symbolic link's target, as recorded."""
        return self.index.targets.get(self.inode) if self.index is not None else None

    @property
    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes."""
        return self.index.xattrs.get(self.inode, {}) if self.index is not None else {}

    @property
    def device(self) -> tuple[int, int] | None:
        """Major and minor number of a device node."""
        return self.index.columns.devices.get(self.inode) if self.index is not None else None


class ChangedNode(Node):
    """One path that a layer itself holds, and what it does to the layers below."""

    __slots__ = ("change", "hides")

    change: str
    """added, modified, metadata, identical or deleted."""
    hides: int
    """Bytes of lower layers that a deletion or an opaque folder hides."""
