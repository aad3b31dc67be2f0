"""What the kernel knows of the union: its numbers for nodes, and what it has open of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from layerview.unionfs.fuse.protocol import (
    HEAD_AND_ATTR,
    HEAD_AND_ENTRY,
    ROOT_ID,
    encode_device,
)

if TYPE_CHECKING:
    from layerview.unionfs.node import Node
    from layerview.unionfs.union import Union

VALID = 86_400
"""Seconds for which the kernel need not ask again: nobody but this server changes the union."""
_BLOCK = 4096
_DEFAULT_LIST = b"system.posix_acl_default"


class Known:
    """A node under one of the kernel's numbers, which is never used for another one.

    All that is open of it under this number shares one descriptor.
    """

    __slots__ = (
        "backing",
        "branch",
        "fd",
        "gives_lists",
        "id",
        "lookups",
        "node",
        "opens",
        "parted",
        "plain",
        "seen",
        "writable",
    )

    def __init__(self, id: int, node: Node) -> None:
        self.id = id
        self.node = node
        self.lookups = 0
        self.opens = 0
        self.fd = -1
        """Of the file, where it lay when it was opened; open for writing where that is on top."""
        self.branch = -1
        self.writable = False
        self.backing = 0
        """The file's number with the kernel that reads and writes it itself; 0: we do."""
        self.parted = False
        """The node goes by another number now, and this one's readers keep what they had."""
        self.gives_lists: bool | None = None
        """Whether what is made in a folder gets an access list from it; None: not looked at."""
        self.plain = False
        """It was made here, and nobody gave it an attribute."""
        self.seen = (0, 0, 0)
        """What the file was when writes were told last, when the kernel writes."""


class Table:
    """All that the kernel knows."""

    def __init__(self, union: Union) -> None:
        self.union = union
        self.root = Known(ROOT_ID, union.root)
        self.root.lookups = 1
        # What is about no node, as a batch of forgotten ones, comes under 0.
        self.by_id: dict[int, Known] = {0: self.root, ROOT_ID: self.root}
        self._by_node: dict[Node, Known] = {union.root: self.root}
        self._last = ROOT_ID
        self.on_forget: Callable[[Known], None] | None = None
        """Told of what the kernel forgets and is open still."""

    def enter(self, node: Node) -> Known:
        """Return what goes to the kernel for a node that it asked for: it knows it once more."""
        known = self._by_node.get(node)
        if known is None:
            self._last += 1
            known = self._by_node[node] = self.by_id[self._last] = Known(self._last, node)
            self.union.hold(node)
        known.lookups += 1
        return known

    def part(self, known: Known) -> None:
        """Have the node go by another number from now on.

        The kernel reads one file for all that is open under a number: who opened it before it was
        copied up keeps that, and the next one comes under the new number.
        """
        known.parted = True
        if self._by_node.get(known.node) is known:
            del self._by_node[known.node]

    def forget(self, id: int, count: int) -> None:
        """Take back what `enter` said so many times."""
        known = self.by_id.get(id)
        if known is None or known is self.root:
            return
        known.lookups -= count
        if known.lookups > 0:
            return
        del self.by_id[id]
        if self._by_node.get(known.node) is known:
            del self._by_node[known.node]
        if known.fd >= 0 and self.on_forget is not None:
            self.on_forget(known)
        self.union.forget(known.node)

    def masked(self, folder: Known, mode: int, mask: int) -> int:
        """Return the mode of what is made in a folder: an access list comes in a mask's place."""
        if folder.gives_lists is None:
            try:
                self.union.get_xattr(folder.node, _DEFAULT_LIST)
            except OSError:
                folder.gives_lists = False
            else:
                folder.gives_lists = True
        return mode if folder.gives_lists else mode & ~mask

    def state(self, known: Known) -> os.stat_result:
        """Return what stat(2) says of a node on its branch."""
        node, fd = known.node, known.fd
        if fd >= 0 and known.branch == node.branch:
            return os.fstat(fd)
        return self.union.state(node)

    def entry(self, unique: int, node: Node) -> bytes:
        """Answer a request with a node, which the kernel knows from then on."""
        return self.entered(unique, node, self.union.state(node))

    def entered(self, unique: int, node: Node, state: os.stat_result) -> bytes:
        """Answer a request with a node of which is known what stat(2) says."""
        known = self.enter(node)
        valid = 0 if known.parted else VALID
        said = self.fields(node, state)
        return HEAD_AND_ENTRY.pack(_ENTRY_SIZE, 0, unique, known.id, 0, VALID, valid, 0, 0, *said)

    def said(self, unique: int, known: Known, state: os.stat_result) -> bytes:
        """Answer a request with attributes."""
        valid = 0 if known.parted else VALID
        said = self.fields(known.node, state)
        return HEAD_AND_ATTR.pack(_ATTR_SIZE, 0, unique, valid, 0, 0, *said)

    def fields(self, node: Node, state: os.stat_result) -> tuple[int, ...]:
        """Return a node's attributes in the protocol's order (struct fuse_attr)."""
        # As a sequence it has whole seconds, which its stub calls floats.
        whole: tuple[int, ...] = state  # type: ignore[assignment]
        mode, _, _, nlink, uid, gid, size, atime, mtime, ctime = whole
        if node.branch or node.is_folder:
            nlink = self.union.link_count(node, state)
        rdev = state.st_rdev
        return (
            node.ino,
            size,
            state.st_blocks,
            atime,
            mtime,
            ctime,
            state.st_atime_ns % 1_000_000_000,
            state.st_mtime_ns % 1_000_000_000,
            state.st_ctime_ns % 1_000_000_000,
            mode,
            nlink,
            uid,
            gid,
            encode_device(rdev) if rdev else 0,
            _BLOCK,
            0,
        )


_ENTRY_SIZE = HEAD_AND_ENTRY.size
_ATTR_SIZE = HEAD_AND_ATTR.size
