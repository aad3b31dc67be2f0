"""The rows of a file tree: a rope of opened folders, so that what is closed costs nothing.

A folder's children are never copied: a branch holds the folder, the order of its children (a range
when sorted by name) and only those of its children that are open. A row is found by bisection.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

SortKey = Literal["name", "size"]


class NodeLike(Protocol):
    """What the rows need to know of a file or folder."""

    @property
    def path(self) -> bytes:
        """The path inside the image."""

    @property
    def name(self) -> bytes:
        """The last component of the path."""

    @property
    def is_dir(self) -> bool:
        """Whether it can have children."""


class FolderLike(Protocol):
    """The children of one folder, in path order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NodeLike: ...

    def find(self, name: bytes) -> int | None:
        """Find the position of a child by its name."""

    def order(self, key: str = "name", *, reverse: bool = False) -> Sequence[int]:
        """Return the children's positions in another order; "size" is the largest first."""


@dataclass(slots=True, eq=False)
class Branch:
    """One open folder: its children in display order, and the open ones among them."""

    path: bytes
    folder: FolderLike
    order: Sequence[int]
    depth: int
    """How deep its children stand; the root's children have depth 1."""
    parent: Branch | None = None
    position: int = 0
    """Where it stands among its parent's children, in display order."""
    opened: list[int] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """For each open child, the row it has inside this branch."""
    rows: int = 0
    """How many rows the branch takes, without its own folder's row."""

    def recount(self) -> None:
        """Bring `starts` and `rows` in step with the open children."""
        extra = 0
        starts = []
        for position, branch in zip(self.opened, self.branches, strict=True):
            starts.append(position + extra)
            extra += branch.rows
        self.starts = starts
        self.rows = len(self.order) + extra


class Row(NamedTuple):
    """One row to show."""

    node: NodeLike
    depth: int
    expanded: bool
    branch: Branch | None
    """The branch that the row stands in; None for the root's own row."""
    position: int = 0


class TreeRows:
    """Which rows a tree of files shows, from row 0, the root."""

    def __init__(
        self,
        root: NodeLike,
        folder: Callable[[bytes], FolderLike],
        *,
        sort: SortKey = "name",
        reverse: bool = False,
        expanded: Iterable[bytes] = (b"",),
    ) -> None:
        """Open the folders named in `expanded`; a folder below a closed one stays closed."""
        self.root = root
        self.sort: SortKey = sort
        self.reverse = reverse
        self._fetch = folder
        wanted: dict[bytes, list[bytes]] = {}
        is_open = False
        for path in expanded:
            if path == b"":
                is_open = True
            else:
                parent, _, name = path.rpartition(b"/")
                wanted.setdefault(parent, []).append(name)
        self._top = self._open(b"", 1, None, 0, wanted) if is_open else None

    # Reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return 1 + (self._top.rows if self._top else 0)

    def row(self, index: int) -> Row:
        """Return a row.

        Raises:
            IndexError: when there is no such row.
        """
        if index == 0:
            return Row(self.root, 0, self._top is not None, None)
        branch, position, child = self._locate(index)
        node = branch.folder[branch.order[position]]
        return Row(node, branch.depth, child is not None, branch, position)

    def _locate(self, index: int) -> tuple[Branch, int, Branch | None]:
        branch = self._top
        offset = index - 1
        if branch is None or not 0 <= offset < branch.rows:
            raise IndexError(index)
        while True:
            slot = bisect_right(branch.starts, offset) - 1
            if slot < 0:
                return branch, offset, None
            child = branch.branches[slot]
            inside = offset - branch.starts[slot]
            if inside == 0:
                return branch, branch.opened[slot], child
            if inside <= child.rows:
                branch, offset = child, inside - 1
            else:
                return branch, branch.opened[slot] + inside - child.rows, None

    def row_of(self, branch: Branch, position: int) -> int:
        """Return the row of a branch's child."""
        row = 0
        place: Branch | None = branch
        while place is not None:
            slot = bisect_left(place.opened, position)
            row += 1 + position + sum(child.rows for child in place.branches[:slot])
            position = place.position
            place = place.parent
        return row

    def parent_row(self, index: int) -> int:
        """Return the row of the folder that a row stands in; the root is its own parent."""
        if index == 0:
            return 0
        branch, _, _ = self._locate(index)
        return 0 if branch.parent is None else self.row_of(branch.parent, branch.position)

    def find(self, path: bytes) -> int | None:
        """Return the row of a path, or None when it is not among the rows now."""
        if path == b"":
            return 0
        branch = self._top
        parts = path.split(b"/")
        for depth, name in enumerate(parts):
            if branch is None:
                return None
            position = self._position(branch, name)
            if position is None:
                return None
            if depth == len(parts) - 1:
                return self.row_of(branch, position)
            branch = self._child(branch, position)
        return None

    def nearest(self, path: bytes) -> int:
        """Return the row of a path, or of the closest folder above it that has one."""
        while path:
            row = self.find(path)
            if row is not None:
                return row
            path = path.rpartition(b"/")[0]
        return 0

    def expanded(self) -> Iterator[bytes]:
        """Iterate over the paths of the open folders, each before those inside it."""
        waiting = [self._top] if self._top else []
        while waiting:
            branch = waiting.pop()
            yield branch.path
            waiting.extend(reversed(branch.branches))

    # Opening and closing ---------------------------------------------------------------------

    def expand(self, index: int) -> int:
        """Open a folder's row; return how many rows that brought."""
        if index == 0:
            if self._top is None:
                self._top = self._open(b"", 1, None, 0, {})
                return self._top.rows
            return 0
        branch, position, child = self._locate(index)
        if child is not None:
            return 0
        node = branch.folder[branch.order[position]]
        if not node.is_dir:
            return 0
        child = self._open(node.path, branch.depth + 1, branch, position, {})
        slot = bisect_left(branch.opened, position)
        branch.opened.insert(slot, position)
        branch.branches.insert(slot, child)
        self._recount(branch)
        return child.rows

    def collapse(self, index: int) -> int:
        """Close a folder's row; return how many rows went."""
        if index == 0:
            gone = self._top.rows if self._top else 0
            self._top = None
            return gone
        branch, position, child = self._locate(index)
        if child is None:
            return 0
        slot = bisect_left(branch.opened, position)
        del branch.opened[slot]
        del branch.branches[slot]
        self._recount(branch)
        return child.rows

    def toggle(self, index: int) -> bool:
        """Open a closed folder or close an open one; return whether anything changed."""
        row = self.row(index)
        if not row.node.is_dir:
            return False
        if row.expanded:
            self.collapse(index)
        else:
            self.expand(index)
        return True

    def reveal(self, path: bytes) -> int | None:
        """Open the folders above a path and return its row; None when there is no such path."""
        parts = path.split(b"/") if path else []
        at = 0
        for depth in range(len(parts)):
            self.expand(at)
            found = self.find(b"/".join(parts[: depth + 1]))
            if found is None:
                return None
            at = found
        return at

    # Inside ----------------------------------------------------------------------------------

    def _open(
        self,
        path: bytes,
        depth: int,
        parent: Branch | None,
        position: int,
        wanted: dict[bytes, list[bytes]],
    ) -> Branch:
        folder = self._fetch(path)
        branch = Branch(path, folder, self._order(folder), depth, parent, position)
        places = []
        for name in wanted.get(path, ()):
            place = self._position(branch, name)
            if place is not None and folder[branch.order[place]].is_dir:
                places.append(place)
        for place in sorted(set(places)):
            inner = folder[branch.order[place]].path
            branch.opened.append(place)
            branch.branches.append(self._open(inner, depth + 1, branch, place, wanted))
        branch.recount()
        return branch

    def _order(self, folder: FolderLike) -> Sequence[int]:
        count = len(folder)
        if self.sort == "name":
            return range(count - 1, -1, -1) if self.reverse else range(count)
        return folder.order(self.sort, reverse=self.reverse)

    def _position(self, branch: Branch, name: bytes) -> int | None:
        """Find a child's display position by its name."""
        at = branch.folder.find(name)
        return None if at is None else branch.order.index(at)

    @staticmethod
    def _child(branch: Branch, position: int) -> Branch | None:
        slot = bisect_left(branch.opened, position)
        if slot < len(branch.opened) and branch.opened[slot] == position:
            return branch.branches[slot]
        return None

    @staticmethod
    def _recount(branch: Branch | None) -> None:
        while branch is not None:
            branch.recount()
            branch = branch.parent
