"""The union as it is read: names looked up through the branches, and remembered."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from layerview.unionfs.descriptors import FolderDescriptors
from layerview.unionfs.listing import Listing, read
from layerview.unionfs.names import OPAQUE_MARKER, failure
from layerview.unionfs.node import ROOT_CALLER, Attributes, Caller, Entry, Node, attributes_of
from layerview.unionfs.steps import Step

_MOST_NAMES = 200_000
"""Names that listings remember, all together."""
_MOST_NODES = 50_000
"""Nodes that are remembered though nobody holds them."""
_DEVICE_BITS = 48


class Tree:
    """The union of branches, as far as it is looked at.

    A node stays known while somebody holds it. Who keeps one over many other calls must hold it.
    """

    def __init__(
        self,
        branches: Sequence[int],
        *,
        report: Callable[[Step], None] | None = None,
        writable: bool = True,
    ) -> None:
        """Look at branches.

        Args:
            branches: descriptors of their folders, the top one first; O_PATH is enough. They stay
                their owner's to close.
            report: told of each step.
            writable: whether the top branch may be written. The others never are.
        """
        self.report = report
        self.reads = False
        """Whether reads are reported as well."""
        self.writable = writable
        self._branches = tuple(branches)
        devices: list[int] = []
        offsets = []
        self._devices = []
        for branch in branches:
            device = os.fstat(branch).st_dev
            if device not in devices:
                devices.append(device)
            self._devices.append(device)
            # Inode numbers of other devices must not look like those of the top one.
            offsets.append(devices.index(device) << _DEVICE_BITS)
        self._offsets = tuple(offsets)
        self._listed: OrderedDict[Node, int] = OrderedDict()
        """Folders with a listing, and how many names that has."""
        self._names = 0
        self._by_real: dict[tuple[int, int], Node] = {}
        self._kept: dict[int, int] = {}
        """Inodes on the top branch whose files were copied up, and the numbers they go by."""
        self._gone_links: dict[tuple[int, int], int] = {}
        """How many names of a file below were deleted."""
        self._pinned: set[Node] = set()
        self._nodes = 0
        self._sweep_at = _MOST_NODES
        everywhere = tuple(range(len(self._branches)))
        # Its number is that of the first read-only branch, as a folder's is.
        first = min(1, len(everywhere) - 1)
        ino = self._number(first, os.fstat(self._branches[first]).st_ino)
        self.root = Node(None, b"", stat.S_IFDIR, ino, everywhere)
        self.root.held = 1
        self._folders = FolderDescriptors(self.root, self._branches)
        self.descriptor = self._folders.open

    # --- looking up ---

    def lookup(self, folder: Node, name: bytes, by: Caller = ROOT_CALLER) -> Node:
        """Return what has a name in a folder.

        Raises:
            OSError: ENOENT when there is nothing, ENOTDIR.
        """
        node = folder.children.get(name)
        return node if node is not None else self._enter(folder, name)[0]

    def look(self, folder: Node, name: bytes) -> tuple[Node, os.stat_result]:
        """Look up a name, and return what stat(2) says on its branch, with the least of calls.

        Raises:
            OSError: as lookup.
        """
        node = folder.children.get(name)
        state = None
        if node is None:
            node, state = self._enter(folder, name)
        return node, self._stat(node) if state is None else state

    def _enter(self, folder: Node, name: bytes) -> tuple[Node, os.stat_result | None]:
        if not folder.is_folder:
            raise failure(errno.ENOTDIR, folder.name)
        listing = folder.listing or self.listing(folder)
        here = listing.top.get(name)
        below = None if name in listing.whiteouts else listing.below.get(name)
        if here is not None:
            kind, ino = here
            stack: tuple[int, ...] = (0,)
            if kind != stat.S_IFDIR:
                below = None
            elif below is not None and below.kind == stat.S_IFDIR:
                if self._is_opaque(folder, name):
                    below = None
                else:
                    stack += below.stack
                    ino = below.ino
            else:
                below = None
        elif below is not None:
            kind, ino, stack = below.kind, below.ino, below.stack
        else:
            raise failure(errno.ENOENT, name)
        if kind == stat.S_IFDIR:
            number = self._number(0 if below is None else below.stack[0], ino)
            return self._add(Node(folder, name, kind, number, stack)), None
        branch = stack[0]
        state = os.stat(name, dir_fd=self.descriptor(folder, branch), follow_symlinks=False)
        real = (state.st_dev, state.st_ino)
        if state.st_nlink > 1:
            node = self._by_real.get(real)
            if node is not None and node.branch == branch:
                self._name(node, folder, name)
                return node, state
        number = self._number(branch, state.st_ino)
        node = Node(folder, name, stat.S_IFMT(state.st_mode), number, (branch,))
        if state.st_nlink > 1:
            node.real = real
            self._by_real[real] = node
        return self._add(node), state

    def _add(self, node: Node) -> Node:
        folder = node.parent
        assert folder is not None
        self._nodes += 1
        if self._nodes > self._sweep_at:
            self._sweep(folder)
        folder.children[node.name] = node
        return node

    def _name(self, node: Node, folder: Node, name: bytes) -> None:
        """Note one more name of a node; it may have lost all that were known."""
        folder.children[name] = node
        if node.parent is not None:
            node.others.append((folder, name))
            return
        node.parent, node.name = folder, name
        self._unpin(node)

    def _number(self, branch: int, ino: int) -> int:
        """Return the union's number for an inode of a branch."""
        if branch == 0 and ino in self._kept:
            return self._kept[ino]
        return ino + self._offsets[branch]

    def _is_opaque(self, folder: Node, name: bytes) -> bool:
        """Whether a folder on the top branch hides what is below."""
        try:
            os.stat(
                name + b"/" + OPAQUE_MARKER,
                dir_fd=self.descriptor(folder, 0),
                follow_symlinks=False,
            )
        except FileNotFoundError:
            return False
        return True

    def listing(self, folder: Node) -> Listing:
        """Return what a folder holds.

        Raises:
            OSError: when it can't be read.
        """
        had = folder.listing
        if had is not None:
            return had
        if folder.parent is None and folder is not self.root:
            return Listing()
        found, folder.stack = read(folder.stack, lambda branch: self.descriptor(folder, branch))
        folder.listing = found
        size = self._listed[folder] = found.size
        self._names += size
        while self._names > _MOST_NAMES and len(self._listed) > 1:
            self._unlist(next(iter(self._listed)))
        return found

    def _unlist(self, folder: Node) -> None:
        self._names -= self._listed.pop(folder, 0)
        folder.listing = None

    # --- what is known ---

    def hold(self, node: Node) -> None:
        """Keep a node known until `forget`; also once nothing has its name any more."""
        node.held += 1

    def forget(self, node: Node) -> None:
        """Take back one `hold`."""
        node.held -= 1
        if node.held <= 0 and node is not self.root:
            self._drop(node)

    def _drop(self, node: Node) -> None:
        """Forget what is known of a node, and of what is in it, as far as nobody holds it."""
        found = _beneath(node) if node.children else [node]
        for each in reversed(found):
            if each.held <= 0 and not each.children:
                self._drop_one(each)

    def _drop_one(self, node: Node) -> None:
        self._nodes -= 1
        if node.is_folder:
            self._unlist(node)
            self._folders.forget(node)
        for folder, name in self._names_of(node):
            if folder.children.get(name) is node:
                del folder.children[name]
        if node.real is not None and self._by_real.get(node.real) is node:
            del self._by_real[node.real]
        self._unpin(node)

    def _unpin(self, node: Node) -> None:
        if node.pin >= 0:
            os.close(node.pin)
            node.pin = -1
            self._pinned.discard(node)

    def _sweep(self, spared: Node) -> None:
        """Forget nodes that nobody holds, but those on the way to one."""
        keep: set[Node] = set()
        at: Node | None = spared
        while at is not None:
            keep.add(at)
            at = at.parent
        for node in reversed(_beneath(self.root)):
            if node.held <= 0 and not node.children and node not in keep:
                self._drop_one(node)
        self._sweep_at = max(_MOST_NODES, 2 * self._nodes)

    @staticmethod
    def _names_of(node: Node) -> list[tuple[Node, bytes]]:
        if node.parent is None:
            return []
        return [(node.parent, node.name), *node.others]

    def path(self, node: Node) -> str:
        """Return a node's path (one of them), with surrogateescape; what it was, once deleted."""
        parts = []
        at: Node | None = node
        while at is not None:
            parts.append(at.name)
            at = at.parent
        return os.fsdecode(b"/".join(reversed(parts))).lstrip("/")

    def path_in(self, folder: Node, name: bytes) -> str:
        """Return the path of a name in a folder, with surrogateescape."""
        above = self.path(folder)
        return f"{above}/{os.fsdecode(name)}" if above else os.fsdecode(name)

    # --- attributes and content ---

    def attributes(self, node: Node, fd: int = -1) -> Attributes:
        """Return a node's attributes.

        Args:
            node: whose.
            fd: the file, open where the node lies now; -1: none.

        Raises:
            OSError: ENOENT when it is deleted and was not held.
        """
        state = self.state(node, fd)
        return attributes_of(node.ino, state, self.link_count(node, state))

    def state(self, node: Node, fd: int = -1) -> os.stat_result:
        """Return what stat(2) says of a node on its branch; see `attributes`."""
        return os.fstat(fd) if fd >= 0 else self._stat(node)

    def link_count(self, node: Node, state: os.stat_result) -> int:
        """Return how many names a node has, by what its branch says."""
        nlink = state.st_nlink
        if node.is_folder:
            if node.parent is None and node is not self.root:
                nlink = 0
            elif len(node.stack) > 1:
                # As overlayfs: nobody should count its folders by it.
                nlink = 1
        elif node.branch and node.parent is None and node.real is None:
            nlink = 0
        elif node.branch and self._gone_links:
            nlink -= self._gone_links.get((state.st_dev, state.st_ino), 0)
        return nlink

    def _stat(self, node: Node) -> os.stat_result:
        if node.pin >= 0:
            return os.fstat(node.pin)
        if node.parent is None:
            if node is self.root:
                return os.fstat(self._branches[0])
            raise failure(errno.ENOENT, node.name)
        fd = self.descriptor(node.parent, node.branch)
        return os.stat(node.name, dir_fd=fd, follow_symlinks=False)

    def _place(self, node: Node) -> tuple[bytes, int | None]:
        """Return by which name, in which folder's descriptor, a node is reached on its branch.

        Raises:
            OSError: ENOENT when it is deleted and was not held.
        """
        if node.pin >= 0:
            return b"/proc/self/fd/%d" % node.pin, None
        if node.parent is None:
            if node is self.root:
                return b".", self._branches[0]
            raise failure(errno.ENOENT, node.name)
        return node.name, self.descriptor(node.parent, node.branch)

    def read_link(self, node: Node) -> bytes:
        """Return a symbolic link's target.

        Raises:
            OSError: EINVAL when it is none.
        """
        if node.kind != stat.S_IFLNK:
            raise failure(errno.EINVAL, node.name)
        if node.pin >= 0:
            return os.fsencode(os.readlink("", dir_fd=node.pin))
        name, fd = self._place(node)
        return os.readlink(name, dir_fd=fd)

    def entries(self, folder: Node) -> list[Entry]:
        """List a folder, in no order, without `.` and `..`.

        Raises:
            OSError: ENOTDIR, or when it can't be read.
        """
        if not folder.is_folder:
            raise failure(errno.ENOTDIR, folder.name)
        listing = folder.listing or self.listing(folder)
        children, whiteouts, below = folder.children, listing.whiteouts, listing.below
        found = []
        for name, (kind, ino) in listing.top.items():
            child = children.get(name)
            if child is None and kind == stat.S_IFDIR and name in below:
                child = self.lookup(folder, name)
            number = self._number(0, ino) if child is None else child.ino
            found.append(Entry(name, number, kind))
        for name, entry in below.items():
            if name in listing.top or name in whiteouts:
                continue
            child = children.get(name)
            number = self._number(entry.stack[0], entry.ino) if child is None else child.ino
            found.append(Entry(name, number, entry.kind))
        return found

    def get_xattr(self, node: Node, name: bytes) -> bytes:
        """Return an extended attribute.

        Raises:
            OSError: ENODATA when there is none.
        """
        if not hasattr(os, "getxattr"):
            raise failure(errno.ENOTSUP)
        place, follow = self._xattr_place(node)
        return os.getxattr(place, name, follow_symlinks=follow)

    def list_xattrs(self, node: Node) -> list[bytes]:
        """Return the names of extended attributes."""
        if not hasattr(os, "listxattr"):
            return []
        place, follow = self._xattr_place(node)
        return list(map(os.fsencode, os.listxattr(place, follow_symlinks=follow)))

    def _xattr_place(self, node: Node) -> tuple[bytes, bool]:
        name, fd = self._place(node)
        if fd is None:
            return name, True
        return b"/proc/self/fd/%d/%s" % (fd, name), False

    # --- telling ---

    def _tell(
        self,
        kind: str,
        path: str,
        *,
        from_path: str | None = None,
        found: int | None = None,
        copied: int | None = None,
        total: int | None = None,
        written: int | None = None,
        started: int = 0,
        pid: int = 0,
        cause: str | None = None,
        when: int = 0,
    ) -> None:
        """Report a step; `started` is of time.perf_counter_ns."""
        if self.report is None:
            return
        self.report(
            Step(
                when or time.time_ns(),
                kind,
                path,
                from_path,
                found,
                () if found is None else tuple(range(found + 1)),
                copied,
                total,
                written,
                time.perf_counter_ns() - started if started else None,
                pid or None,
                cause,
            )
        )


def _beneath(node: Node) -> list[Node]:
    """Return a node and all that is known in it, folders before their content."""
    found = [node]
    # Not by recursion: a container may nest folders as deep as it likes.
    for each in found:
        found += each.children.values()
    return found
