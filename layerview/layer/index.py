"""All entries of one layer in compact columns, sorted by folder: what everything above works on.

Rows of one folder stand together, in bytewise order of their names; the folders stand in path
order (by components), each with its range of rows. So all that lies below a folder is one
contiguous range of folders and, but for the folder's own row, one contiguous range of rows:
totals are differences of a running sum, and a subtree is deleted, counted or listed as a slice.

Rows behind the last folder's have no name of their own: inodes that a later entry of the same tar
replaced while a hard link to them stayed, and, as the very last, the root folder.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from layerview.layer.kinds import Kind

NO_DIR = 0xFFFFFFFF
"""In `LayerIndex.dir_of_row`: the row is no folder."""

UNRESOLVED = -1
"""In `LayerIndex.links`: the hard link's target is not in this layer."""


@dataclass(slots=True, eq=False)
class IndexColumns:
    """The raw columns of a LayerIndex; one item a row unless said otherwise."""

    names: bytes
    """Every row's name, each followed by a NUL."""
    name_starts: array[int]
    """Start of each row's name in `names`, and one end (rows + 1 items)."""
    kinds: bytes
    modes: array[int]
    """Permission bits, setuid, setgid and sticky included (12 bits)."""
    uids: array[int]
    gids: array[int]
    sizes: array[int]
    """Bytes of a file (a hard link has its inode's), length of a symbolic link's target, else 0."""
    mtimes: array[int]
    """Whole seconds since 1970, rounded down."""
    fractions: array[int] | None
    """Recorded decimals of each mtime: nanoseconds * 16 + their number; None: none had any."""
    offsets: array[int]
    """Where a file's bytes start in the plain tar (bytes); -1 where there are none."""
    dir_of_row: array[int]
    """The folder number of a folder's row, else NO_DIR."""
    dir_starts: array[int]
    """First row of each folder, and one end (folders + 1 items)."""
    dir_ends: array[int]
    """For each folder the number of the first folder that is not below it."""
    row_of_dir: array[int]
    """The row of each folder's attributes: the one that names it, the last for the root."""
    opaque: set[int] = field(default_factory=set)
    """Folders that hide what lower layers hold in them."""
    targets: dict[int, bytes] = field(default_factory=dict)
    """Symbolic links' targets, as recorded."""
    links: dict[int, int] = field(default_factory=dict)
    """Hard links: the row of the inode, or UNRESOLVED."""
    link_paths: dict[int, bytes] = field(default_factory=dict)
    """Hard links: the path they name."""
    xattrs: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    devices: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Major and minor number of device nodes."""
    sparse: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Sparse files: offset and length of each piece of data, which stand one behind the other."""
    warnings: tuple[str, ...] = ()
    """What is odd about this layer, a line each."""
    repeated_bytes: int = 0
    """Bytes of entries that a later entry of the same name replaced."""
    size: int | None = None
    """`LayerIndex.size`, where it was summed up before."""


class LayerIndex:
    """The entries of one layer, addressed by row or by path; read-only.

    Paths are bytes, relative, without a leading or trailing slash; b"" is the root.
    """

    def __init__(self, columns: IndexColumns) -> None:
        self.columns = columns
        self.names = columns.names
        self.name_starts = columns.name_starts
        self.kinds = columns.kinds
        self.modes = columns.modes
        self.uids = columns.uids
        self.gids = columns.gids
        self.sizes = columns.sizes
        self.mtimes = columns.mtimes
        self.offsets = columns.offsets
        self.dir_of_row = columns.dir_of_row
        self.dir_starts = columns.dir_starts
        self.dir_ends = columns.dir_ends
        self.row_of_dir = columns.row_of_dir
        self.opaque = columns.opaque
        self.targets = columns.targets
        self.links = columns.links
        self.link_paths = columns.link_paths
        self.xattrs = columns.xattrs
        self.warnings = columns.warnings

    def __len__(self) -> int:
        """Count the rows that have a name, implied folders included."""
        return self.dir_starts[-1]

    @cached_property
    def entry_count(self) -> int:
        """Entries that the layer's tar holds: the last of a repeated name, deletions included."""
        return len(self) - self.kinds.count(Kind.IMPLIED_DIR, 0, len(self))

    @cached_property
    def whiteout_count(self) -> int:
        """Entries that delete a path of the layers below."""
        return self.kinds.count(Kind.WHITEOUT)

    @cached_property
    def counted(self) -> array[int]:
        """Bytes that each row adds to the layer: a file's, each inode once, else 0."""
        if self.kinds.count(Kind.FILE) == len(self.kinds):
            counted = array("q", self.sizes)
        else:
            kinds = self.kinds
            counted = array(
                "q", [0 if kind else size for kind, size in zip(kinds, self.sizes, strict=True)]
            )
        for row in self.links:
            counted[row] = 0
        return counted

    @cached_property
    def running(self) -> array[int]:
        """Sum of `counted` over all rows before each row (rows + 1 items)."""
        return array("q", accumulate(self.counted, initial=0))

    @cached_property
    def size(self) -> int:
        """File bytes of the layer: the last entry of a repeated name, each inode once."""
        known = self.columns.size
        return self.running[-1] if known is None else known

    @cached_property
    def link_groups(self) -> dict[int, list[int]]:
        """Hard links by the row of their inode; the inode's own row is not listed."""
        groups: dict[int, list[int]] = {}
        for row, inode in self.links.items():
            if inode != UNRESOLVED:
                groups.setdefault(inode, []).append(row)
        return groups

    # -- rows ---------------------------------------------------------------------------------

    def name(self, row: int) -> bytes:
        """Return the name of a row, without its folder."""
        return self.names[self.name_starts[row] : self.name_starts[row + 1] - 1]

    def dir_number(self, row: int) -> int:
        """Return the number of the folder that a row stands in."""
        starts = self.dir_starts
        number = bisect_left(starts, row + 1) - 1
        # Empty folders share their start with the next one; the last of them owns the row.
        return number

    def path(self, row: int) -> bytes:
        """Return the path of a row; an inode without a name has that of a link to it."""
        if row >= len(self):
            links = self.link_groups.get(row)
            return self.path(links[0]) if links else b""
        parent = self.dir_path(self.dir_number(row))
        return parent + b"/" + self.name(row) if parent else self.name(row)

    def dir_path(self, number: int) -> bytes:
        """Return the path of a folder."""
        parts = []
        while number:
            row = self.row_of_dir[number]
            parts.append(self.name(row))
            number = self.dir_number(row)
        return b"/".join(reversed(parts))

    def inode(self, row: int) -> int:
        """Return the row of the inode behind a row; UNRESOLVED where it is in no row here."""
        return self.links.get(row, row)

    def fraction(self, row: int) -> int:
        """Return the decimals of a row's mtime, as IndexColumns.fractions has them."""
        fractions = self.columns.fractions
        return fractions[row] if fractions is not None else 0

    # -- folders ------------------------------------------------------------------------------

    def rows_in(self, number: int) -> range:
        """Return the rows of a folder, in bytewise order of their names."""
        return range(self.dir_starts[number], self.dir_starts[number + 1])

    def names_in(self, number: int) -> list[bytes]:
        """Return the names of a folder's rows."""
        starts = self.name_starts
        first, end = self.dir_starts[number], self.dir_starts[number + 1]
        if first == end:
            return []
        return self.names[starts[first] : starts[end] - 1].split(b"\0")

    def rows_below(self, number: int) -> range:
        """Return the rows of a folder and of all folders below it."""
        return range(self.dir_starts[number], self.dir_starts[self.dir_ends[number]])

    def bytes_below(self, number: int) -> int:
        """Sum the counted bytes of all rows below a folder."""
        rows = self.rows_below(number)
        return self.running[rows.stop] - self.running[rows.start]

    def find_in(self, number: int, name: bytes) -> int | None:
        """Find the row of a name in a folder."""
        low, end = self.dir_starts[number], self.dir_starts[number + 1]
        names, starts = self.names, self.name_starts
        high = end
        while low < high:
            middle = (low + high) // 2
            if names[starts[middle] : starts[middle + 1] - 1] < name:
                low = middle + 1
            else:
                high = middle
        if low < end and names[starts[low] : starts[low + 1] - 1] == name:
            return low
        return None

    def find_dir(self, path: bytes) -> int | None:
        """Find the number of a folder."""
        number = 0
        if path:
            for part in path.split(b"/"):
                row = self.find_in(number, part)
                if row is None or (number := self.dir_of_row[row]) == NO_DIR:
                    return None
        return number

    def find(self, path: bytes) -> int | None:
        """Find the row of a path; None for the root."""
        parent, _, name = path.rpartition(b"/")
        number = self.find_dir(parent)
        return None if number is None else self.find_in(number, name)

    def walk_rows(self, number: int = 0, prefix: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """Yield path and row of everything below a folder, in path order.

        Args:
            number: the folder to start in.
            prefix: that folder's path.
        """
        # An explicit stack: hostile images nest deeper than Python's own.
        start = prefix + b"/" if prefix else b""
        stack = [(start, iter(self.rows_in(number)), iter(self.names_in(number)))]
        dir_of_row = self.dir_of_row
        while stack:
            start, rows, names = stack[-1]
            for row, name in zip(rows, names, strict=True):
                path = start + name
                yield path, row
                below = dir_of_row[row]
                if below != NO_DIR:
                    stack.append(
                        (path + b"/", iter(self.rows_in(below)), iter(self.names_in(below)))
                    )
                    break
            else:
                stack.pop()
