"""Deleting and renaming in the union: all of it on the top branch."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time

from layerview.unionfs.descriptors import PATH_ONLY
from layerview.unionfs.listing import Listing
from layerview.unionfs.making import Making, make_mark
from layerview.unionfs.names import OPAQUE_MARKER, WHITEOUT_PREFIX, check_new, failure
from layerview.unionfs.node import ROOT_CALLER, Caller, Node

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


class Changes(Making):
    """A tree that can be changed.

    A whiteout comes before what it is for is deleted: between the two, what is on top wins.
    """

    # --- deleting ---

    def unlink(self, folder: Node, name: bytes, by: Caller = ROOT_CALLER) -> None:
        """Delete a name of what is no folder.

        Raises:
            OSError: as unlink(2); ENAMETOOLONG where no whiteout can be made for it.
        """
        self._must_be_writable()
        node = self.lookup(folder, name)
        if node.is_folder:
            raise failure(errno.EISDIR, name)
        listing = self.listing(folder)
        path = "" if self.report is None else self.path_in(folder, name)
        at = self._to_delete(listing, folder, name, by)
        covers = self._cover(listing, name, at)
        self._lose_name(node, folder, name)
        if name in listing.top:
            os.unlink(name, dir_fd=at)
            del listing.top[name]
        self._told_deleted(listing, name, path, covers, by)

    def rmdir(self, folder: Node, name: bytes, by: Caller = ROOT_CALLER) -> None:
        """Delete a folder that shows nothing.

        Raises:
            OSError: as rmdir(2); ENAMETOOLONG where no whiteout can be made for it.
        """
        self._must_be_writable()
        node = self.lookup(folder, name)
        if not node.is_folder:
            raise failure(errno.ENOTDIR, name)
        inside = self.listing(node)
        if not inside.is_empty:
            raise failure(errno.ENOTEMPTY, name)
        listing = self.listing(folder)
        path = "" if self.report is None else self.path(node)
        at = self._to_delete(listing, folder, name, by)
        covers = self._cover(listing, name, at)
        self._pin(node)
        if name in listing.top:
            if inside.whiteouts or inside.is_opaque:
                self._discard(name, at, inside)
            else:
                os.rmdir(name, dir_fd=at)
            del listing.top[name]
        self._removed_folder(node, folder, name)
        self._told_deleted(listing, name, path, covers, by)

    def _to_delete(self, listing: Listing, folder: Node, name: bytes, by: Caller) -> int:
        """Return the descriptor of a folder on top where a name is to go."""
        if name in listing.below and len(WHITEOUT_PREFIX + name) > 255:
            raise failure(errno.ENAMETOOLONG, name)
        return self.copy_up_folder(folder, by, "open")

    def _told_deleted(
        self, listing: Listing, name: bytes, path: str, covers: bool, by: Caller
    ) -> None:
        if covers:
            self._tell("whiteout", path, found=listing.below[name].stack[0], pid=by.pid)
        else:
            self._tell("delete", path, found=0, pid=by.pid)

    def _discard(self, name: bytes, at: int, inside: Listing) -> None:
        """Remove a folder of the top branch that holds nothing but marks."""
        work, gone = self._work(), self._new_name()
        os.rename(name, gone, src_dir_fd=at, dst_dir_fd=work)
        _remove_marks(gone, work, inside)
        os.rmdir(gone, dir_fd=work)

    def _pin(self, node: Node) -> None:
        """Keep what is held reachable once its last name is gone."""
        if not hasattr(os, "O_PATH") and node.kind not in (stat.S_IFREG, stat.S_IFDIR):
            return
        if node.held > 0 and node.pin < 0 and node.parent is not None:
            name, at = self._place(node)
            node.pin = os.open(name, PATH_ONLY, dir_fd=at)
            self._pinned.add(node)

    def _lose_name(self, node: Node, folder: Node, name: bytes) -> None:
        """Take a name from a node, just before it goes."""
        if not node.others:
            self._pin(node)
        if node.branch == 0:
            if not node.others:
                state = self._stat(node)
                if state.st_nlink == 1:
                    self._kept.pop(state.st_ino, None)
        elif node.real is not None:
            self._gone_links[node.real] = self._gone_links.get(node.real, 0) + 1
        del folder.children[name]
        if node.parent is folder and node.name == name:
            if node.others:
                node.parent, node.name = node.others.pop(0)
            elif node.held > 0:
                node.parent = None
            else:
                self._drop(node)
                node.parent = None
        else:
            node.others.remove((folder, name))

    def _removed_folder(self, node: Node, folder: Node, name: bytes) -> None:
        folder.children.pop(name, None)
        self._unlist(node)
        self._folders.forget(node)
        if node.held <= 0:
            self._drop(node)
        node.children.clear()
        node.parent = None

    def _cover(self, listing: Listing, name: bytes, at: int) -> bool:
        """Make a whiteout where something below has a name; say whether something has."""
        if name not in listing.below:
            return False
        if name not in listing.whiteouts:
            make_mark(WHITEOUT_PREFIX + name, at)
            listing.whiteouts.add(name)
        return True

    # --- renaming ---

    def rename(
        self,
        folder: Node,
        name: bytes,
        to_folder: Node,
        to_name: bytes,
        flags: int = 0,
        by: Caller = ROOT_CALLER,
    ) -> None:
        """Rename; files are copied up first.

        Args:
            folder: where it is.
            name: as it is.
            to_folder: where it goes.
            to_name: its new name.
            flags: RENAME_NOREPLACE or RENAME_EXCHANGE.
            by: who asks.

        Raises:
            OSError: as rename(2); EXDEV for a folder of which a part is below.
        """
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == 3:
            raise failure(errno.EINVAL)
        to_listing = self._to_change(to_folder, to_name)
        node = self.lookup(folder, name)
        listing = self.listing(folder)
        there = self.lookup(to_folder, to_name) if to_listing.shows(to_name) else None
        if there is None and flags & RENAME_EXCHANGE:
            raise failure(errno.ENOENT, to_name)
        if there is not None and flags & RENAME_NOREPLACE:
            raise failure(errno.EEXIST, to_name)
        if there is node:
            return
        self._check_folder(node, to_folder)
        if flags & RENAME_EXCHANGE:
            assert there is not None
            check_new(name)
            self._check_folder(there, folder)
            self._exchange(node, folder, name, there, to_folder, to_name, by)
            return
        if there is not None:
            if there.is_folder and not node.is_folder:
                raise failure(errno.EISDIR, to_name)
            if node.is_folder and not there.is_folder:
                raise failure(errno.ENOTDIR, to_name)
            if there.is_folder and not self.listing(there).is_empty:
                raise failure(errno.ENOTEMPTY, to_name)
        path = "" if self.report is None else self.path_in(folder, name)
        self._to_delete(listing, folder, name, by)
        self.copy_up_folder(to_folder, by, "rename")
        self.copy_up(node, by, "rename")
        # Both may have been forgotten since, by what else was looked at.
        listing, to_listing = self.listing(folder), self.listing(to_folder)
        at, to_at = self.descriptor(folder, 0), self.descriptor(to_folder, 0)
        covers = self._cover(listing, name, at)
        hides = node.is_folder and to_name in to_listing.below
        if hides:
            self._make_opaque(node)
        if there is not None:
            self._make_way(there, to_folder, to_listing, to_name, to_at)
        os.rename(name, to_name, src_dir_fd=at, dst_dir_fd=to_at)
        to_listing.top[to_name] = listing.top.pop(name)
        self._renamed(node, folder, name, to_folder, to_name)
        self._uncover(to_listing, to_name, to_at)
        if self.report is not None:
            now = self.path_in(to_folder, to_name)
            self._tell("rename", now, from_path=path, pid=by.pid)
            if covers:
                self._tell("whiteout", path, found=listing.below[name].stack[0], pid=by.pid)
            if hides:
                self._tell("opaque", now, found=to_listing.below[to_name].stack[0], pid=by.pid)

    def _check_folder(self, node: Node, to_folder: Node) -> None:
        """Refuse what can't be done with a folder."""
        if not node.is_folder:
            return
        at: Node | None = to_folder
        while at is not None:
            if at is node:
                raise failure(errno.EINVAL, node.name)
            at = at.parent
        self.listing(node)
        if node.stack != (0,):
            raise failure(errno.EXDEV, node.name)

    def _make_opaque(self, folder: Node) -> None:
        listing = self.listing(folder)
        if not listing.is_opaque:
            make_mark(OPAQUE_MARKER, self.descriptor(folder, 0))
            listing.is_opaque = True

    def _make_way(self, there: Node, folder: Node, listing: Listing, name: bytes, at: int) -> None:
        """Take away what a rename replaces, as far as the rename doesn't do it."""
        if not there.is_folder:
            self._lose_name(there, folder, name)
            return
        inside = self.listing(there)
        self._pin(there)
        if name in listing.top and (inside.whiteouts or inside.is_opaque):
            # Beside its whiteout a folder shows nothing of what is below, with marks or without.
            self._cover(listing, name, at)
            _remove_marks(name, at, inside)
        self._removed_folder(there, folder, name)

    def _renamed(
        self, node: Node, folder: Node, name: bytes, to_folder: Node, to_name: bytes
    ) -> None:
        """Remember a node under its new name."""
        folder.children.pop(name, None)
        to_folder.children[to_name] = node
        if node.parent is folder and node.name == name:
            node.parent, node.name = to_folder, to_name
        else:
            node.others.remove((folder, name))
            node.others.append((to_folder, to_name))

    def _exchange(
        self,
        node: Node,
        folder: Node,
        name: bytes,
        there: Node,
        to_folder: Node,
        to_name: bytes,
        by: Caller,
    ) -> None:
        self.copy_up(node, by, "rename")
        self.copy_up(there, by, "rename")
        listing, to_listing = self.listing(folder), self.listing(to_folder)
        hides = []
        for moved, goes_to, as_name in ((node, to_listing, to_name), (there, listing, name)):
            if moved.is_folder and as_name in goes_to.below:
                self._make_opaque(moved)
                hides.append(moved)
        at, to_at = self.descriptor(folder, 0), self.descriptor(to_folder, 0)
        _rename(name, at, to_name, to_at, RENAME_EXCHANGE)
        listing.top[name], to_listing.top[to_name] = to_listing.top[to_name], listing.top[name]
        self._renamed(node, folder, name, to_folder, to_name)
        if there.parent is to_folder and there.name == to_name:
            there.parent, there.name = folder, name
        else:
            there.others.remove((to_folder, to_name))
            there.others.append((folder, name))
        folder.children[name] = there
        if self.report is not None:
            path, to_path = self.path_in(folder, name), self.path_in(to_folder, to_name)
            # The same time says that these two are one.
            now = time.time_ns()
            self._tell("rename", to_path, from_path=path, pid=by.pid, when=now)
            self._tell("rename", path, from_path=to_path, pid=by.pid, when=now)
            for moved in hides:
                self._tell("opaque", self.path(moved), pid=by.pid)


def _remove_marks(name: bytes, at: int, inside: Listing) -> None:
    """Make a folder empty that shows nothing."""
    for mark in inside.whiteouts:
        os.unlink(name + b"/" + WHITEOUT_PREFIX + mark, dir_fd=at)
    if inside.is_opaque:
        os.unlink(name + b"/" + OPAQUE_MARKER, dir_fd=at)


def _rename(name: bytes, at: int, to_name: bytes, to_at: int, flags: int) -> None:
    """Rename by renameat2(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise failure(errno.EINVAL)
    if libc.renameat2(at, name, to_at, to_name, flags) < 0:
        raise failure(ctypes.get_errno(), name)
