"""What a tree changes of the tree below it, by the rules of Docker's `diff` and `commit`.

The rules are moby's (pkg/archive/changes.go, changes_unix.go): what differs in mode, owner, device
number or capabilities is changed; what is no folder also by its size or time. A change in a folder
makes the folder itself changed, but for the root. Other extended attributes do not count, nor does
a file with the old time and size. Docker takes both trees whole; a layer's own folder tells the
same with a look at what it holds alone.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from layerview.layer.tree import CAPABILITY, Look, Tree
from layerview.layer.whiteouts import Whiteouts

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A path that differs."""

    path: bytes
    """Relative, without a leading slash."""
    kind: str
    """`A` added, `C` changed, `D` deleted, as `docker diff` prints it."""


_Waiting = tuple[bytes, Sequence[Tree], bool]
"""A folder to compare: its path, the layers below whose folder it would show, and whether it or one
above hides all that they hold."""


class _Found:
    def __init__(self) -> None:
        self._kinds: dict[bytes, str] = {}

    def add(self, path: bytes, kind: str) -> None:
        """Note a change, and the folders that it changes."""
        self._kinds[path] = kind
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            if path in self._kinds:
                break
            self._kinds[path] = "C"

    def all(self) -> list[Change]:
        """Return the changes by path, a folder before what it holds."""
        found = [Change(path, kind) for path, kind in self._kinds.items()]
        return sorted(found, key=lambda change: change.path.replace(b"/", b"\0"))


def compare_trees(lower: str | None, upper: str) -> list[Change]:
    """List what a full tree has changed of another.

    Args:
        lower: the older one; None is empty.
        upper: the newer one.

    Returns:
        The changes in path order.

    Raises:
        NotFoundError: when a tree is not there.
        LayerviewError: when something in them can't be read.
    """
    found = _Found()
    with ExitStack() as held:
        new = held.enter_context(closing(Tree(upper)))
        old = held.enter_context(closing(Tree(lower))) if lower is not None else None
        waiting = [(b"", old)]
        while waiting:
            folder, old = waiting.pop()
            names = new.names(folder)
            gone = set(old.names(folder)) if old is not None else set()
            for name in names:
                path = folder + b"/" + name if folder else name
                now = new.look(folder, name)
                if now is None:
                    continue
                before = old.look(folder, name) if old is not None and name in gone else None
                gone.discard(name)
                if before is not None and before.inode == now.inode:
                    continue
                if before is None or _differ(before, now):
                    found.add(path, "A" if before is None else "C")
                if now.is_folder:
                    waiting.append((path, old if before is not None and before.is_folder else None))
            for name in gone:
                # An overlay lists whiteouts of nothing, which are not there otherwise.
                if old is not None and old.look(folder, name) is not None:
                    found.add(folder + b"/" + name if folder else name, "D")
    return found.all()


def folder_changes(folder: str, lowers: Sequence[str], whiteouts: Whiteouts) -> list[Change]:
    """List what a layer's own folder changes of the layers below it.

    Args:
        folder: the layer's own.
        lowers: the folders of the layers below, the nearest first.
        whiteouts: the form of all of them; with NONE, `folder` and the first of `lowers` are full
            trees.

    Returns:
        What compare_trees gives for the mounted trees.

    Raises:
        NotFoundError: when a folder is not there.
        LayerviewError: when something in them can't be read.
    """
    if whiteouts is Whiteouts.NONE:
        return compare_trees(lowers[0] if lowers else None, folder)
    found = _Found()
    with ExitStack() as held:
        new = held.enter_context(closing(Tree(folder, whiteouts)))
        below = [
            # There may be 128 layers, and 1024 open files.
            held.enter_context(closing(Tree(path, whiteouts, most=2)))
            for path in lowers
        ]
        waiting: list[_Waiting] = [(b"", _showing(below, b""), False)]
        while waiting:
            _compare_folder(found, new, waiting.pop(), waiting)
    return found.all()


def _compare_folder(found: _Found, new: Tree, this: _Waiting, waiting: list[_Waiting]) -> None:
    folder, old, hidden_all = this
    hidden_all = bool(old) and (hidden_all or new.is_opaque(folder))
    start = folder + b"/" if folder else b""
    kept: set[bytes] = set()
    deleted: set[bytes] = set()
    for name in new.names(folder):
        now = new.look(folder, name)
        if now is None:
            continue
        hidden = new.deletes(name, now)
        if hidden is not None:
            if hidden:
                deleted.add(hidden)
            continue
        kept.add(name)
        path = start + name
        before, at = _look_below(old, folder, name)
        if before is None or _differ(before, now):
            found.add(path, "A" if before is None else "C")
        if now.is_folder:
            merged = before is not None and before.is_folder
            waiting.append((path, _showing(old[at:], path) if merged else (), hidden_all))
    if hidden_all:
        deleted = _names_below(old, folder)
    for name in deleted - kept:
        if _look_below(old, folder, name)[0] is not None:
            found.add(start + name, "D")


def _look_below(old: Sequence[Tree], folder: bytes, name: bytes) -> tuple[Look | None, int]:
    """Find what shows under a name in the layers below, and which of them has it."""
    for at, tree in enumerate(old):
        if _hides(tree, folder, name):
            break
        look = tree.look(folder, name)
        if look is not None:
            return (None if tree.deletes(name, look) is not None else look), at
    return None, 0


def _hides(tree: Tree, folder: bytes, name: bytes) -> bool:
    """Whether a layer deletes a name by a file of another name."""
    return tree.whiteouts is Whiteouts.AUFS and tree.look(folder, b".wh." + name) is not None


def _showing(trees: Sequence[Tree], path: bytes) -> list[Tree]:
    """Pick the layers whose folder at a path shows, from one that has it on down."""
    folder, _, name = path.rpartition(b"/")
    found: list[Tree] = []
    for tree in trees:
        if path:
            if found and _hides(tree, folder, name):
                break
            look = tree.look(folder, name)
            if look is None:
                continue
            if not look.is_folder:
                break
        found.append(tree)
        if tree.is_opaque(path):
            break
    return found


def _names_below(old: Sequence[Tree], folder: bytes) -> set[bytes]:
    """List the names that layers have in a folder, those that do not show included."""
    return {name for tree in old for name in tree.names(folder)}


def _differ(before: Look, now: Look) -> bool:
    if (
        before.mode != now.mode
        or (before.uid, before.gid) != (now.uid, now.gid)
        or before.device != now.device
        or before.xattrs.get(CAPABILITY) != now.xattrs.get(CAPABILITY)
    ):
        return True
    if now.mode & stat.S_IFDIR:
        # As moby has it: block devices and sockets have that bit, too.
        return False
    return before.size != now.size or not _same_time(before.mtime, now.mtime)


def _same_time(one: int, other: int) -> bool:
    """Whether times are equal, as far as a tar kept them."""
    if one == other:
        return True
    return one // _SECOND == other // _SECOND and not (one % _SECOND and other % _SECOND)
