"""Copying a tree as it is: links, holes, owners, times, attributes; blocks shared where they can.

A folder is entered beneath a descriptor, so that no link in the tree leads out of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Protocol

from layerview.layer.beneath import OPEN_FOLDER, Folders

FICLONE = 0x40049409
"""Share a whole file's blocks (ioctl_ficlone(2))."""
_NO_CLONES = (
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.EACCES,
)
_PIECE = 1 << 30
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Source(Protocol):
    """A tree that is copied. Descriptors are good until many others are asked for."""

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names in a folder."""

    def lies_in(self, folder: bytes, name: bytes) -> int:
        """Return the descriptor of the folder on disk where an entry lies."""

    def open(self, folder: bytes) -> int:
        """Return a descriptor that tells a folder's own attributes, open for reading."""

    def close(self) -> None:
        """Close what is held open."""


class FolderSource:
    """A folder on disk as such a tree."""

    def __init__(self, folder: int) -> None:
        """Read beneath a folder's descriptor, which stays its owner's to close."""
        self._folders = Folders(folder)
        self.open = self._folders.open
        self.close = self._folders.close

    def names(self, folder: bytes) -> list[bytes]:
        """See Source."""
        return list(map(os.fsencode, os.listdir(self.open(folder))))

    def lies_in(self, folder: bytes, name: bytes) -> int:
        """See Source."""
        return self.open(folder)


class TreeCopy:
    """One copy of a tree's content into an empty folder."""

    def __init__(self, source: Source, target: int) -> None:
        """Copy a tree, which is closed after it, into a descriptor's folder."""
        self._from, self._to = source, Folders(target)
        self._links: dict[tuple[int, int], bytes] = {}
        """The first copy of each file with several names."""
        self._clones = True
        self._ranges = True

    def run(self) -> None:
        """Copy all.

        Raises:
            OSError: what could not be copied, with its path in the tree.
        """
        # Folders get their times last: what is made in them would set these anew.
        done: list[tuple[bytes, os.stat_result]] = []
        waiting = [b""]
        try:
            done.append((b"", os.fstat(self._from.open(b""))))
            while waiting:
                folder = waiting.pop()
                for name in self._from.names(folder):
                    path = folder + b"/" + name if folder else name
                    try:
                        state = self._copy(folder, name, path)
                    except OSError as error:
                        code = error.errno or errno.EIO
                        raise OSError(code, os.strerror(code), os.fsdecode(path)) from None
                    if state is not None:
                        waiting.append(path)
                        done.append((path, state))
            for path, state in reversed(done):
                to = self._to.open(path)
                self._attributes(self._from.open(path), to)
                os.fchown(to, state.st_uid, state.st_gid)
                os.fchmod(to, stat.S_IMODE(state.st_mode))
                os.utime(to, ns=(state.st_atime_ns, state.st_mtime_ns))
        finally:
            self._from.close()
            self._to.close()

    def _copy(self, folder: bytes, name: bytes, path: bytes) -> os.stat_result | None:
        """Copy one entry; return a folder's state, whose content is copied later."""
        source, target = self._from.lies_in(folder, name), self._to.open(folder)
        state = os.lstat(name, dir_fd=source)
        if stat.S_ISDIR(state.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            return state
        if state.st_nlink > 1:
            first = self._links.setdefault((state.st_dev, state.st_ino), path)
            if first != path:
                above, _, last = first.rpartition(b"/")
                os.link(
                    last,
                    name,
                    src_dir_fd=self._to.open(above),
                    dst_dir_fd=self._to.open(folder),
                    follow_symlinks=False,
                )
                return None
        if stat.S_ISREG(state.st_mode):
            self._file(source, target, name, state)
            return None
        if stat.S_ISLNK(state.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, stat.S_IFMT(state.st_mode) | 0o600, state.st_rdev, dir_fd=target)
        self._entry_attributes(source, target, name)
        os.chown(name, state.st_uid, state.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(state.st_mode):
            # The entry was made here just now, in a folder that nobody else writes to.
            os.chmod(name, stat.S_IMODE(state.st_mode), dir_fd=target)
        times = (state.st_atime_ns, state.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        return None

    def _file(self, source: int, target: int, name: bytes, state: os.stat_result) -> None:
        read = os.open(name, _OPEN_FILE, dir_fd=source)
        try:
            write = os.open(name, _MAKE_FILE, 0o600, dir_fd=target)
            try:
                if state.st_size:
                    self._data(read, write, state.st_size)
                os.fchown(write, state.st_uid, state.st_gid)
                # After the owner, which takes setuid and capabilities away.
                os.fchmod(write, stat.S_IMODE(state.st_mode))
                self._attributes(read, write)
                os.utime(write, ns=(state.st_atime_ns, state.st_mtime_ns))
            finally:
                os.close(write)
        finally:
            os.close(read)

    def _data(self, read: int, write: int, size: int) -> None:
        if self._clones:
            try:
                fcntl.ioctl(write, FICLONE, read)
                return
            except OSError as error:
                if error.errno not in _NO_CLONES:
                    raise
                # Here and for the other files: what the file system cannot do it never can.
                self._clones = False
        at = 0
        while at < size:
            try:
                at = os.lseek(read, at, os.SEEK_DATA)
                end = min(os.lseek(read, at, os.SEEK_HOLE), size)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                if error.errno != errno.EINVAL:
                    raise
                end = size
            if end <= at or not (at := self._piece(read, write, at, end)):
                break
        os.ftruncate(write, size)

    def _piece(self, read: int, write: int, at: int, end: int) -> int:
        """Copy up to an offset; return how far it came, 0 when the file became shorter."""
        while at < end:
            done = 0
            if self._ranges:
                try:
                    done = os.copy_file_range(read, write, min(end - at, _PIECE), at, at)
                except OSError as error:
                    if error.errno not in _NO_CLONES:
                        raise
                    self._ranges = False
            if not self._ranges:
                done = os.pwrite(write, os.pread(read, min(end - at, 1 << 20), at), at)
            if not done:
                return 0
            at += done
        return at

    def _attributes(self, read: int, write: int) -> None:
        """Copy a file's or folder's extended attributes, capabilities and ACLs among them."""
        try:
            names = os.listxattr(read)
        except OSError:
            return
        for name in names:
            _set(write, name, os.getxattr(read, name))

    def _entry_attributes(self, source: int, target: int, name: bytes) -> None:
        """Copy those of what cannot be opened, by a path that goes through a descriptor."""
        read, write = (b"/proc/self/fd/%d/%s" % (fd, name) for fd in (source, target))
        try:
            names = os.listxattr(read, follow_symlinks=False)
        except OSError:
            return
        for attribute in names:
            _set(write, attribute, os.getxattr(read, attribute, follow_symlinks=False), False)


def _set(place: int | bytes, name: str, value: bytes, follow: bool = True) -> None:
    try:
        os.setxattr(place, name, value, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EACCES):
            raise


def copy_tree(source: str, target: str) -> None:
    """Copy a folder's content and its own attributes into an empty folder.

    Raises:
        OSError: what could not be copied, with its path.
    """
    read = os.open(source, OPEN_FOLDER)
    try:
        write = os.open(target, OPEN_FOLDER)
        try:
            TreeCopy(FolderSource(read), write).run()
        except OSError as error:
            code = error.errno or errno.EIO
            name = os.path.join(target, str(error.filename or ""))
            raise OSError(code, os.strerror(code), name) from None
        finally:
            os.close(write)
    finally:
        os.close(read)
