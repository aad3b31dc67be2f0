"""What layers mean together, told once more: dicts of paths, one layer after the other.

Written from the words of the OCI image spec (layer.md, "Applying Changesets", "Whiteouts",
"Opaque Whiteout") and of json.md, over the entries that the tests write, without layerview. Slow
and plain: the oracle for stacks of any shape. Also the strategies that make such stacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.support import tars

OVERWRITTEN, DELETED, METADATA_ONLY, IDENTICAL = (
    "overwritten",
    "deleted",
    "metadata_only",
    "identical",
)


@dataclass(eq=False)
class Inode:
    """What a name leads to; two names of one inode have the same object."""

    layer: int | None
    """The layer that wrote it; None for a folder that no layer lists."""
    type: str
    attributes: tuple[object, ...] = (0o755, 0, 0, ())
    """Mode, owner and extended attributes."""
    content: bytes = b""
    target: bytes = b""
    nowhere: bool = False
    """A hard link to nothing."""
    name: Name | None = None
    """The name that it was written under, which it may have lost."""

    @property
    def size(self) -> int:
        return len(self.content) if self.type == "file" else 0


@dataclass
class Name:
    """A path in a tree: its inode, and the layer that gave it."""

    inode: Inode
    layer: int | None

    @property
    def is_dir(self) -> bool:
        return self.inode.type == "dir"


Tree = dict[bytes, Name]


@dataclass
class Own:
    """What one layer itself holds."""

    layer: int
    tree: Tree = field(default_factory=dict)
    whiteouts: set[bytes] = field(default_factory=set)
    opaque: set[bytes] = field(default_factory=set)

    def versions(self) -> Tree:
        """The paths that the layer lists."""
        return {path: name for path, name in self.tree.items() if name.layer is not None}


def parents(path: bytes) -> list[bytes]:
    """The folders above a path, the root first."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(len(parts))] if path else []


def remove(tree: Tree, path: bytes) -> None:
    """Take a path away with all below it."""
    for found in list(tree):
        if found == path or found.startswith(path + b"/"):
            del tree[found]


def imply(tree: Tree, path: bytes) -> None:
    """Make the folders above a path that are not there."""
    for folder in parents(path):
        if folder not in tree or not tree[folder].is_dir:
            remove(tree, folder)
            tree[folder] = Name(Inode(None, "dir"), None)


def own_tree(layer: int, entries: Sequence[tars.Entry], lower: Tree) -> Own:
    """Take a layer's entries one after the other."""
    own = Own(layer)
    own.tree[b""] = Name(Inode(None, "dir"), None)
    markers: list[tuple[str, bytes]] = []
    for entry in entries:
        path = entry.name.removeprefix(b"./").rstrip(b"/")
        folder, _, base = path.rpartition(b"/")
        if base == b".wh..wh..opq":
            markers.append(("opaque", folder))
        elif base.startswith(b".wh."):
            markers.append(("whiteout", (folder + b"/" if folder else b"") + base[4:]))
        else:
            _put(own, path, entry, lower)
    for kind, path in markers:
        inside = [*parents(path), path] if kind == "opaque" else parents(path)
        if any(at in own.tree and not own.tree[at].is_dir for at in inside):
            # Nothing of a lower layer shows there anyway.
            continue
        (own.opaque if kind == "opaque" else own.whiteouts).add(path)
        for at in inside:
            own.tree.setdefault(at, Name(Inode(None, "dir"), None))
    return own


def _put(own: Own, path: bytes, entry: tars.Entry, lower: Tree) -> None:
    attributes = (entry.mode, entry.uid, entry.gid, tuple(sorted(entry.xattrs.items())))
    if path:
        imply(own.tree, path)
    if entry.typeflag == b"5":
        there = own.tree.get(path)
        if there is not None and not there.is_dir:
            remove(own.tree, path)
        own.tree[path] = Name(Inode(own.layer, "dir", attributes), own.layer)
        return
    if entry.typeflag == b"1":
        linked = own.tree.get(entry.target) or lower.get(entry.target)
        inode = (
            linked.inode
            if linked is not None
            else Inode(own.layer, "file", attributes, nowhere=True)
        )
    elif entry.typeflag == b"2":
        inode = Inode(own.layer, "symlink", attributes, target=entry.target)
    elif entry.typeflag == b"6":
        inode = Inode(own.layer, "fifo", attributes)
    else:
        inode = Inode(own.layer, "file", attributes, content=entry.data)
    remove(own.tree, path)
    own.tree[path] = Name(inode, own.layer)
    inode.name = inode.name or own.tree[path]


def apply(lower: Tree, own: Own) -> Tree:
    """Put a layer on top of what shows below it."""
    tree = dict(lower)
    for path in own.opaque:
        for found in list(tree):
            if found != path and (not path or found.startswith(path + b"/")):
                del tree[found]
    for path in own.whiteouts:
        kept = tree.get(path)
        remove(tree, path)
        if kept is not None and kept.is_dir and own.tree.get(path, kept) is not kept:
            # Deleted and filled again; what is not listed keeps what it had.
            tree[path] = kept
    for path, name in sorted(own.tree.items(), key=lambda item: item[0].split(b"/")):
        there = tree.get(path)
        if name.is_dir and there is not None and there.is_dir:
            if name.layer is not None:
                tree[path] = name
            continue
        if there is not None:
            remove(tree, path)
        tree[path] = name
    return tree


class Model:
    """A stack of layers and what shows after each of them."""

    def __init__(self, stack: Sequence[Sequence[tars.Entry]]) -> None:
        self.owns: list[Own] = []
        self.trees: list[Tree] = []
        tree: Tree = {b"": Name(Inode(None, "dir"), None)}
        for number, entries in enumerate(stack):
            own = own_tree(number, entries, tree)
            tree = apply(tree, own)
            self.owns.append(own)
            self.trees.append(tree)
        self.tree = tree

    def total(self) -> int:
        """File bytes of all layers, each inode once in the layer that wrote it."""
        return sum(inode.size for inode in self.written())

    def written(self) -> set[Inode]:
        return {
            name.inode
            for own in self.owns
            for name in own.tree.values()
            if name.inode.layer == own.layer and name.inode.type == "file"
        }

    def live(self) -> set[Inode]:
        return {name.inode for name in self.tree.values() if name.inode.type == "file"}

    def first_names(self) -> dict[Inode, bytes]:
        """The first path of each visible inode."""
        first: dict[Inode, bytes] = {}
        for path in sorted(self.tree, key=lambda path: path.split(b"/")):
            first.setdefault(self.tree[path].inode, path)
        return first

    def counted_names(self) -> dict[Inode, bytes]:
        """Where each visible inode's bytes count: the name that wrote it, else the first."""
        own = {name.inode: at for at, name in self.tree.items() if name.inode.name is name}
        return self.first_names() | own

    def hidings(self) -> dict[Inode, list[tuple[bytes, int, set[str]]]]:
        """Names of files that do not show: by inode the path, the layer that hides it, and how."""
        found: dict[Inode, list[tuple[bytes, int, set[str]]]] = {}
        for own in self.owns:
            for path, name in own.versions().items():
                if name.inode.type != "file":
                    continue
                for above in range(own.layer + 1, len(self.owns)):
                    if self.trees[above].get(path) is not name:
                        kind = relation(name.inode, self.owns[above].tree.get(path))
                        found.setdefault(name.inode, []).append((path, above, {kind}))
                        break
        return found

    def wasted(self) -> dict[Inode, tuple[int, set[tuple[bytes, str]]]]:
        """Inodes that no name shows: the last layer to hide a name, and those names and kinds."""
        wasted = {}
        live = self.live()
        for inode, names in self.hidings().items():
            if inode in live or not inode.size:
                continue
            last = max(above for _, above, _ in names)
            ends = {(path, kind) for path, above, kinds in names if above == last for kind in kinds}
            wasted[inode] = (last, ends)
        return wasted


def relation(hidden: Inode, above: Name | None) -> str:
    """How what a layer has at a path hides a file."""
    if above is None:
        return DELETED
    if above.inode.type != "file" or above.inode.content != hidden.content:
        return OVERWRITTEN
    return IDENTICAL if above.inode.attributes == hidden.attributes else METADATA_ONLY


# ---- stacks ---------------------------------------------------------------------------------


class Stack(list[list[tars.Entry]]):
    """Layers, base first, each its entries; prints as few words as say it."""

    def __repr__(self) -> str:
        lines = []
        for number, layer in enumerate(self):
            lines.append(f"\nlayer {number}:")
            for entry in layer:
                kind = {b"0": "file", b"1": "link", b"2": "symlink", b"5": "dir"}
                words = [kind.get(entry.typeflag, "fifo"), repr(entry.name)]
                words += [repr(part) for part in (entry.data, entry.target) if part]
                words.append(f"{entry.mode:o} {entry.uid} {dict(entry.xattrs) or ''}")
                lines.append("  " + " ".join(words))
        return "\n".join(lines) + "\n"


_NAMES = st.sampled_from([b"a", b"b", b"c", b"a-b"])
_ATTRIBUTES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from([0o644, 0o755]),
        "uid": st.sampled_from([0, 0, 7]),
        "xattrs": st.sampled_from([{}, {}, {b"user.x": b"1"}]),
    }
)
_CONTENTS = st.sampled_from([b"", b"k" * 5, b"x" * 5, b"y" * 3])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(b"/".join)
_KINDS = st.sampled_from(
    ["file"] * 5 + ["dir"] * 4 + ["link"] * 2 + ["whiteout"] * 3 + ["opaque", "symlink", "fifo"]
)


@st.composite
def stacks(draw: st.DrawFn, most: int = 5, links: bool = True) -> Stack:
    """Layers of entries in any order: repeated names, conflicts, missing folders, links."""
    stack = Stack()
    lower: Tree = {b"": Name(Inode(None, "dir"), None)}
    for number in range(draw(st.integers(1, most))):
        entries: list[tars.Entry] = []
        for kind, path in draw(st.lists(st.tuples(_KINDS, _PATHS), max_size=9)):
            if kind == "link" and links:
                target = draw(st.sampled_from(_targets(number, entries, lower, path)))
                inode = own_tree(number, entries, lower).tree.get(target) or lower.get(target)
                if inode and inode.inode.type == "symlink":
                    path += b".l"
                mode, uid, _, xattrs = inode.inode.attributes if inode else (0o644, 0, 0, ())
                entries.append(tars.hardlink(path, target, mode=mode, uid=uid, xattrs=dict(xattrs)))
            elif kind == "whiteout":
                entries.append(tars.whiteout(path))
            elif kind == "opaque":
                entries.append(tars.opaque(draw(st.sampled_from([path, path, path, b""]))))
            elif kind == "symlink":
                # Never a name that could be a folder's: those lead elsewhere (see test_build).
                entries.append(tars.symlink(path + b".l", draw(_NAMES)))
            elif kind == "fifo":
                entries.append(tars.fifo(path, **draw(_ATTRIBUTES)))
            elif kind == "dir":
                entries.append(tars.folder(path, **draw(_ATTRIBUTES)))
            else:
                entries.append(tars.file(path, draw(_CONTENTS), **draw(_ATTRIBUTES)))
        stack.append(entries)
        lower = apply(lower, own_tree(number, entries, lower))
    return stack


def _targets(number: int, entries: list[tars.Entry], lower: Tree, path: bytes) -> list[bytes]:
    """What a hard link can lead to: files before it in the layer, or of lower layers alone."""
    own = own_tree(number, entries, lower).tree
    imply(own, path)
    mentioned = {entry.name.rstrip(b"/") for entry in entries}
    here = [found for found, name in own.items() if not (name.is_dir or name.inode.nowhere)]
    below = [
        found
        for found, name in lower.items()
        if not (name.is_dir or name.inode.nowhere)
        and found not in mentioned
        and found not in own
        and not any(at in own and not own[at].is_dir for at in parents(found))
    ]
    return sorted({*here, *below} - {path}) or [b"nowhere"]
