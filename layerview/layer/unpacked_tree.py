"""The folder that a layer is unpacked into: what of it is this layer's, made and replaced by name.

Where the folder is the layer's own, it starts empty, and the disk itself knows what the layer has
so far. Where it is the full tree of the layers below, what is this layer's has to be remembered.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from layerview.errors import LimitError
from layerview.layer.attributes import Attributes
from layerview.layer.beneath import MAX_PATH, Folders, is_component
from layerview.layer.tar_split import TarSplitWriter

IMPLIED = Attributes()
"""Of a folder that no entry names, made here."""
PASSED = Attributes()
"""Of a folder that was there before, and holds entries of this layer."""

_PIECE = 1 << 20
_MAX_LINKS = 40
_MAX_FOLDER_BYTES = 1 << 29
"""Bytes of all folder paths of a layer together, as in build.py."""
_STEERING = ("trusted.overlay.", "user.overlay.", "system.")
"""Extended attributes that are no copy's."""


class LeftOut(Exception):
    """An entry is left out; str() says why."""


class UnpackedTree:
    """What a layer has unpacked so far; paths are relative, with no link in them."""

    def __init__(self, folder: int, full: bool, tar_split: TarSplitWriter | None) -> None:
        """Begin.

        Args:
            folder: a descriptor, which stays its owner's to close.
            full: whether it holds the tree of the layers below.
            tar_split: given the bytes of files that are replaced.
        """
        self.target = folder
        self.full = full
        self.tar_split = tar_split
        self.opened = Folders(folder)
        self.size = 0
        """Bytes of all that is no folder, each inode once; counted where the tree is not full."""
        self.folders: dict[bytes, Attributes] = {b"": PASSED}
        """This layer's folders, with what the entry says that names each; IMPLIED or PASSED."""
        self.folder_bytes = 0
        self.files: set[bytes] = set()
        """In a full tree, what of this layer is no folder; else the disk knows."""
        self.symlinks: dict[bytes, bytes] = {}
        self.times: dict[bytes, tuple[int, int]] = {b"": times_of(os.fstat(folder))}
        """What folders had that were there before."""

    def holds(self, path: bytes) -> bool:
        """Whether this layer has something at a path that is no folder."""
        if self.full:
            return path in self.files
        parent, _, name = path.rpartition(b"/")
        if parent not in self.folders or path in self.folders or not is_component(name):
            return False
        try:
            os.stat(name, dir_fd=self.opened.open(parent), follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
                raise
            return False
        return True

    def can_hold(self, path: bytes) -> bool:
        """Whether nothing but folders stands on a path, as far as this layer has it."""
        while path and path not in self.folders:
            if self.holds(path):
                return False
            path = path.rpartition(b"/")[0]
        return True

    def resolved(self, path: bytes) -> bytes:
        """Follow the symbolic links of this layer on a path to a folder, inside the root."""
        if not self.symlinks:
            return path
        done: list[bytes] = []
        waiting = path.split(b"/")[::-1]
        followed = 0
        while waiting:
            part = waiting.pop()
            if part == b"..":
                if done:
                    done.pop()
                continue
            if part in (b"", b"."):
                continue
            done.append(part)
            if followed < _MAX_LINKS:
                target = self.symlinks.get(b"/".join(done))
                if target is not None:
                    followed += 1
                    done.pop()
                    if target.startswith(b"/"):
                        done = []
                    waiting.extend(reversed(target.split(b"/")))
        if sum(map(len, done)) + len(done) > MAX_PATH:
            raise LeftOut("its path is longer than any program could open; it is left out")
        return b"/".join(done)

    def enter(self, path: bytes) -> None:
        """Make the folders on a path that are not there yet."""
        missing = []
        while path not in self.folders:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for path in reversed(missing):
            parent, _, name = path.rpartition(b"/")
            fd = self.opened.open(parent)
            kept = self.mkdir(path, fd, name)
            self.add_folder(path, PASSED if kept else IMPLIED)

    def add_folder(self, path: bytes, attributes: Attributes) -> None:
        """Note a folder as this layer's.

        Raises:
            LimitError: when all paths together are absurdly long.
        """
        if path not in self.folders:
            self.folder_bytes += len(path) + 200
            if self.folder_bytes > _MAX_FOLDER_BYTES:
                raise LimitError("its folders are nested so deep that they would fill the memory")
        self.folders[path] = attributes

    def mkdir(self, path: bytes, fd: int, name: bytes) -> bool:
        """Make a folder, or keep the one that is there; say whether one was."""
        # Nobody else may look in before all attributes are given.
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
        except FileExistsError:
            state = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(state.st_mode):
                self.times[path] = times_of(state)
                return True
            self.clear(path, fd, name)
            os.mkdir(name, 0o700, dir_fd=fd)
        return False

    def create(self, path: bytes, folder: int, name: bytes) -> int:
        """Make an empty file, for writing, in place of what is there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, 0o600, dir_fd=folder)
        except FileExistsError:
            self.clear(path, folder, name)
            return os.open(name, flags, 0o600, dir_fd=folder)

    def made(self, path: bytes, size: int = 0) -> None:
        """Note that this layer has something at a path that is no folder."""
        if self.full:
            self.files.add(path)
        else:
            self.size += size

    def clear(self, path: bytes, folder: int, name: bytes) -> None:
        """Remove what stands in the way, with all below it."""
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode):
            self.remove_tree(path)
        else:
            self.remove(path, folder, name, state)

    def remove(self, path: bytes, folder: int, name: bytes, state: os.stat_result) -> None:
        """Remove what is no folder."""
        if not self.full or path in self.files:
            self.files.discard(path)
            self.symlinks.pop(path, None)
            if stat.S_ISREG(state.st_mode) and state.st_size and self.tar_split is not None:
                self.rescue(path, folder, name)
            if state.st_nlink == 1 and not self.full:
                self.size -= state.st_size
        os.unlink(name, dir_fd=folder)

    def rescue(self, path: bytes, folder: int, name: bytes) -> None:
        """Give the bytes of a file that is replaced to the tar-split."""
        assert self.tar_split is not None
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self.tar_split.replace(path, iter(lambda: os.read(fd, _PIECE), b""))
        finally:
            os.close(fd)

    def remove_tree(self, top: bytes) -> None:
        """Remove a folder with all below it."""
        folders = [top]
        for path in folders:
            fd = self.opened.open(path)
            with os.scandir(fd) as found:
                children = list(found)
            for child in children:
                name = os.fsencode(child.name)
                below = path + b"/" + name
                state = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    folders.append(below)
                else:
                    self.remove(below, fd, name, state)
        for path in reversed(folders):
            self.opened.forget(path)
            self.folders.pop(path, None)
            self.times.pop(path, None)
            parent, _, name = path.rpartition(b"/")
            os.rmdir(name, dir_fd=self.opened.open(parent))

    def remove_others(self, top: bytes) -> None:
        """Remove what is below a folder but not this layer's."""
        waiting = [top]
        while waiting:
            path = waiting.pop()
            with os.scandir(self.opened.open(path)) as found:
                names = [os.fsencode(child.name) for child in found]
            for name in names:
                below = path + b"/" + name if path else name
                if below in self.folders:
                    waiting.append(below)
                    if self.folders[below] is PASSED:
                        # What it was went with the rest; the marked folder itself stays.
                        self.folders[below] = IMPLIED
                elif below not in self.files:
                    self.clear(below, self.opened.open(path), name)


def times_of(state: os.stat_result) -> tuple[int, int]:
    """Return the times of the last access and change, in nanoseconds, as os.utime takes them."""
    return state.st_atime_ns, state.st_mtime_ns


def write_all(fd: int, piece: bytes | memoryview) -> None:
    """Write all of some bytes."""
    count = os.write(fd, piece)
    while count < len(piece):
        piece = memoryview(piece)[count:]
        count = os.write(fd, piece)


def drop_xattrs(fd: int) -> None:
    """Take extended attributes away, but for labels of the machine's own."""
    for name in os.listxattr(fd):
        if not name.startswith("security.selinux"):
            with suppress(OSError):
                os.removexattr(fd, name)


def copy_attributes(original: int, to: int, state: os.stat_result) -> None:
    """Give a copy what its original has on disk."""
    source = f"/proc/self/fd/{original}"
    with suppress(PermissionError):
        os.chown(to, state.st_uid, state.st_gid)
    for name in os.listxattr(source):
        if not name.startswith(_STEERING):
            with suppress(OSError):
                os.setxattr(to, name, os.getxattr(source, name))
    os.chmod(to, stat.S_IMODE(state.st_mode))
    os.utime(to, ns=times_of(state))
