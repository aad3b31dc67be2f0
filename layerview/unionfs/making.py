"""Making what is new in the union: all of it on the top branch."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from layerview.unionfs.copy_up import CopyUp
from layerview.unionfs.listing import Listing
from layerview.unionfs.names import OPAQUE_MARKER, WHITEOUT_PREFIX, check_new, failure
from layerview.unionfs.node import ROOT_CALLER, Caller, Node
from layerview.unionfs.steps import Step

_MAKE_MARK = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_KEPT_FLAGS = ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)


class Making(CopyUp):
    """A tree to which something can be added.

    A whiteout goes after what has its name again is there: between the two, what is on top wins.
    """

    def __init__(
        self,
        branches: Sequence[int],
        *,
        report: Callable[[Step], None] | None = None,
        writable: bool = True,
    ) -> None:
        super().__init__(branches, report=report, writable=writable)
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._ids = (os.geteuid(), os.getegid())

    # --- making ---

    def create(
        self,
        folder: Node,
        name: bytes,
        mode: int,
        flags: int = os.O_RDWR,
        by: Caller = ROOT_CALLER,
    ) -> tuple[Node, int]:
        """Make a file and open it; one that is there is opened, unless O_EXCL is among the flags.

        Raises:
            OSError: as open(2); EPERM for `.wh.` names.
        """
        listing = self._to_change(folder, name)
        if listing.shows(name):
            if flags & os.O_EXCL:
                raise failure(errno.EEXIST, name)
            node = self.lookup(folder, name)
            return node, self.open(node, flags & ~os.O_CREAT, by)
        at = self.copy_up_folder(folder, by, "open")
        mode = stat.S_IMODE(mode)
        wanted = flags & _KEPT_FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, wanted, mode, dir_fd=at)
        try:
            owned = self._own(folder, fd, by)
            if mode & self._umask or (owned and mode & _SET_IDS):
                os.fchmod(fd, mode)
            node = self._made(folder, listing, name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                os.unlink(name, dir_fd=at)
            raise
        self._uncover(listing, name, at)
        if self.report is not None:
            self._tell("create", self.path(node), pid=by.pid)
        return node, fd

    def open(self, node: Node, flags: int, by: Caller = ROOT_CALLER) -> int:
        """Open a node's file."""
        raise NotImplementedError

    def mkdir(self, folder: Node, name: bytes, mode: int, by: Caller = ROOT_CALLER) -> Node:
        """Make a folder; over a whiteout it hides all that is below.

        Raises:
            OSError: as mkdir(2); EPERM for `.wh.` names.
        """
        listing = self._to_make(folder, name)
        at = self.copy_up_folder(folder, by, "open")
        mode = stat.S_IMODE(mode)
        hides = name in listing.below
        where, as_name = (self._work(), self._new_name()) if hides else (at, name)
        os.mkdir(as_name, mode, dir_fd=where)
        try:
            if hides:
                make_mark(as_name + b"/" + OPAQUE_MARKER, where)
            set_group = self._sets_group(folder)
            owned = self._own_name(folder, as_name, where, by)
            if hides and set_group:
                os.chown(as_name, -1, os.fstat(at).st_gid, dir_fd=where)
                mode |= stat.S_ISGID
            if mode & (self._umask | 0o7000) or (hides and set_group) or (owned and mode & 0o6000):
                kept = stat.S_ISGID if set_group else 0
                os.chmod(as_name, mode | kept, dir_fd=where)
            state = os.stat(as_name, dir_fd=where)
            if hides:
                os.rename(as_name, name, src_dir_fd=where, dst_dir_fd=at)
        except BaseException:
            with suppress(OSError):
                os.unlink(as_name + b"/" + OPAQUE_MARKER, dir_fd=where)
            with suppress(OSError):
                os.rmdir(as_name, dir_fd=where)
            raise
        node = self._made(folder, listing, name, state)
        node.listing = Listing(is_opaque=hides)
        self._listed[node] = 0
        self._uncover(listing, name, at)
        if self.report is not None:
            path = self.path(node)
            self._tell("create", path, pid=by.pid)
            if hides:
                self._tell("opaque", path, found=listing.below[name].stack[0], pid=by.pid)
        return node

    def mknod(
        self, folder: Node, name: bytes, mode: int, rdev: int = 0, by: Caller = ROOT_CALLER
    ) -> Node:
        """Make a file, pipe, socket or device; the mode says which.

        Raises:
            OSError: as mknod(2); EPERM for `.wh.` names.
        """
        listing = self._to_make(folder, name)
        at = self.copy_up_folder(folder, by, "open")
        os.mknod(name, mode, rdev, dir_fd=at)
        try:
            owned = self._own_name(folder, name, at, by)
            if mode & self._umask or (owned and mode & _SET_IDS):
                os.chmod(name, stat.S_IMODE(mode), dir_fd=at)
        except BaseException:
            os.unlink(name, dir_fd=at)
            raise
        return self._new(folder, listing, name, at, by)

    def symlink(self, folder: Node, name: bytes, target: bytes, by: Caller = ROOT_CALLER) -> Node:
        """Make a symbolic link.

        Raises:
            OSError: as symlink(2); EPERM for `.wh.` names.
        """
        listing = self._to_make(folder, name)
        at = self.copy_up_folder(folder, by, "open")
        os.symlink(target, name, dir_fd=at)
        try:
            self._own_name(folder, name, at, by)
        except BaseException:
            os.unlink(name, dir_fd=at)
            raise
        return self._new(folder, listing, name, at, by)

    def link(self, node: Node, folder: Node, name: bytes, by: Caller = ROOT_CALLER) -> Node:
        """Give a file one more name; it is copied up first.

        Raises:
            OSError: as link(2); EPERM for folders and `.wh.` names.
        """
        if node.is_folder:
            raise failure(errno.EPERM, name)
        listing = self._to_make(folder, name)
        if node.parent is None:
            raise failure(errno.ENOENT, node.name)
        self.copy_up(node, by, "link")
        at = self.copy_up_folder(folder, by, "link")
        # It may have been forgotten and read again since.
        listing = self.listing(folder)
        old, old_at = self._place(node)
        from_path = "" if self.report is None else self.path(node)
        os.link(old, name, src_dir_fd=old_at, dst_dir_fd=at, follow_symlinks=False)
        state = os.stat(name, dir_fd=at, follow_symlinks=False)
        if node.real is None:
            node.real = (state.st_dev, state.st_ino)
            self._by_real[node.real] = node
        node.others.append((folder, name))
        folder.children[name] = node
        listing.top[name] = (node.kind, state.st_ino)
        self._uncover(listing, name, at)
        if self.report is not None:
            self._tell("create", self.path_in(folder, name), from_path=from_path, pid=by.pid)
        return node

    def _to_change(self, folder: Node, name: bytes) -> Listing:
        """Return a folder's listing, before a name in it is made or given away."""
        self._must_be_writable()
        check_new(name)
        if not folder.is_folder:
            raise failure(errno.ENOTDIR, folder.name)
        if folder.parent is None and folder is not self.root:
            raise failure(errno.ENOENT, name)
        return self.listing(folder)

    def _to_make(self, folder: Node, name: bytes) -> Listing:
        listing = self._to_change(folder, name)
        if listing.shows(name):
            raise failure(errno.EEXIST, name)
        return listing

    def _sets_group(self, folder: Node) -> bool:
        if folder.set_group is None:
            mode = os.fstat(self.descriptor(folder, 0)).st_mode
            folder.set_group = bool(mode & stat.S_ISGID)
        return folder.set_group

    def _own(self, folder: Node, fd: int, by: Caller) -> bool:
        """Give a new file to who made it; say whether that was to be done."""
        if not self._is_root or (by.uid, by.gid) == self._ids:
            return False
        os.fchown(fd, by.uid, -1 if self._sets_group(folder) else by.gid)
        return True

    def _own_name(self, folder: Node, name: bytes, at: int, by: Caller) -> bool:
        if not self._is_root or (by.uid, by.gid) == self._ids:
            return False
        group = -1 if self._sets_group(folder) else by.gid
        os.chown(name, by.uid, group, dir_fd=at, follow_symlinks=False)
        return True

    def _made(self, folder: Node, listing: Listing, name: bytes, state: os.stat_result) -> Node:
        """Remember what was made on the top branch."""
        kind = stat.S_IFMT(state.st_mode)
        # The number may have been another file's, of which nobody told us.
        self._kept.pop(state.st_ino, None)
        node = Node(folder, name, kind, self._number(0, state.st_ino), (0,))
        listing.top[name] = (kind, state.st_ino)
        return self._add(node)

    def _new(self, folder: Node, listing: Listing, name: bytes, at: int, by: Caller) -> Node:
        state = os.stat(name, dir_fd=at, follow_symlinks=False)
        node = self._made(folder, listing, name, state)
        self._uncover(listing, name, at)
        if self.report is not None:
            self._tell("create", self.path(node), pid=by.pid)
        return node

    def _uncover(self, listing: Listing, name: bytes, at: int) -> None:
        """Remove the whiteout of a name that is there again."""
        if name in listing.whiteouts:
            with suppress(FileNotFoundError):
                os.unlink(WHITEOUT_PREFIX + name, dir_fd=at)
            listing.whiteouts.discard(name)


def make_mark(name: bytes, at: int) -> None:
    """Make an empty file that says something."""
    with suppress(FileExistsError):
        os.close(os.open(name, _MAKE_MARK, 0o600, dir_fd=at))
