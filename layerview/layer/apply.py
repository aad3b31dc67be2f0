"""Unpacking a layer's tar into the folder that a driver keeps it in, in one pass.

Names and links in a tar are somebody else's: every entry is made by its single name in a folder
whose descriptor was reached through real folders beneath the target alone (see beneath.py), and
nothing is ever written through a link. What several entries of one tar mean together is what
build.py and replay.py say: the last of a repeated name counts, names lead through symbolic links
that the same tar made (inside the root), and deletions concern the layers below, never an entry
of the same tar, wherever they stand. So they are carried out when all entries are there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from layerview.errors import DamageError, LayerviewError, LimitError
from layerview.layer.attributes import Attributes, AttributeSetter, Owners, nanoseconds
from layerview.layer.beneath import MAX_PATH, file_data, is_component
from layerview.layer.kinds import Kind
from layerview.layer.lines import Lines
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX, is_aufs_metadata, normalise
from layerview.layer.tar import RawEntries, TarDamage, scan
from layerview.layer.tar_split import TarSplitWriter
from layerview.layer.unpacked_tree import (
    IMPLIED,
    PASSED,
    LeftOut,
    UnpackedTree,
    copy_attributes,
    drop_xattrs,
    times_of,
    write_all,
)
from layerview.layer.unpacking_window import UnpackingWindow
from layerview.layer.whiteouts import Whiteouts
from layerview.layer.windows import Readable
from layerview.progress import QUIET, Progress
from layerview.text import printable

__all__ = ["Applied", "Owners", "apply"]

_MAX_PLINKS = 200
_PLINK_FOLDER = b".wh..wh.plnk"
_OPAQUE_XATTRS = {
    Whiteouts.TRUSTED: "trusted.overlay.opaque",
    Whiteouts.USER: "user.overlay.opaque",
}
_LEFT_OUT = (
    # The file system can't hold such a name, target or node; the rest is not concerned.
    errno.EILSEQ,
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.ENOTSUP,
    errno.EPERM,
)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1
_FORMATS: dict[int, int] = {Kind.CHAR: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}

_NO_XATTRS: dict[bytes, bytes] = {}


@dataclass(slots=True)
class Applied:
    """What unpacking a layer gave."""

    diff_id: str
    """sha256 of all plain bytes, "sha256:…"; padding behind the end included."""
    size: int
    """Bytes as Docker counts them: all that are no folders, each inode once. In a full tree, what
    the tar's entries have."""
    entries: int
    notes: list[str] = field(default_factory=list)
    """What could not be kept, a line each; bounded."""


def apply(
    tar: Readable,
    folder: int,
    *,
    whiteouts: Whiteouts,
    tar_split: TarSplitWriter | None = None,
    owners: Owners | None = None,
    lower: Callable[[bytes], int | None] | None = None,
    progress: Progress = QUIET,
    what: str = "",
) -> Applied:
    """Unpack a plain tar stream beneath a folder's descriptor.

    After an error what was written stays, for the caller to remove.

    Args:
        tar: the stream.
        folder: empty, or the full tree of the layers below where `whiteouts` is NONE.
        whiteouts: how to write down what the layer deletes.
        tar_split: filled, and closed when all is well.
        owners: what to make of owners; None: as they are for root, else noted in OVERRIDE.
        lower: opens a path of the layers below, with O_PATH or for reading, without following a
            link (None: nothing is there): for hard links to what this layer does not hold, and
            for folders that it does not name.
        progress: told about the work.
        what: what that is, in progress and errors.

    Raises:
        DamageError: when the tar is truncated or corrupt.
        LimitError: when the disk is full, or the layer is larger than can be held.
        LayerviewError: when something else can't be written.
    """
    work = _Unpacking(folder, whiteouts, tar_split, owners, lower)
    window = UnpackingWindow(tar, tar_split, progress, what)
    work.window = window
    try:
        try:
            scan(window, work.entries, seen=work.entry)
            window.drain()
            work.finish(progress)
        except TarDamage as error:
            raise DamageError(f"{what}: {error}" if what else str(error)) from None
        except OSError as error:
            raise work.failure(error) from None
        if tar_split is not None:
            tar_split.close()
        return Applied(window.diff_id(), work.size, work.count, work.notes)
    finally:
        window.close()
        work.close()


# -- the entries ----------------------------------------------------------------------------------


class _Unpacking(UnpackedTree):
    window: UnpackingWindow

    def __init__(
        self,
        folder: int,
        whiteouts: Whiteouts,
        tar_split: TarSplitWriter | None,
        owners: Owners | None,
        lower: Callable[[bytes], int | None] | None,
    ) -> None:
        from fastcrc import crc64

        self.crc: Callable[[bytes | memoryview, int], int] = crc64.go_iso
        super().__init__(folder, whiteouts is Whiteouts.NONE, tar_split)
        self.whiteouts = whiteouts
        self.lower = lower
        self.entries = RawEntries()
        """The entry that is unpacked, alone."""
        self.count = 0
        self.notes: list[str] = []
        self.lines = Lines(self.notes)
        self.about = b""
        self.setter = AttributeSetter(
            lambda why: self.lines.say(self.about, why), squash=True, owners=owners
        )
        self.deleted: dict[bytes, Attributes] = {}
        """Paths of the layers below that are deleted, and the entry that says so."""
        self.opaque: dict[bytes, Attributes] = {}
        self.plinks: dict[bytes, int] = {}
        """Files that aufs kept for hard links, without a name here."""

    def close(self) -> None:
        """Close what is held open."""
        self.opened.close()
        for fd in self.plinks.values():
            os.close(fd)
        self.plinks.clear()
        # It leads back here: without it all is freed at once, not when the collector comes by.
        del self.setter

    def failure(self, error: OSError) -> LayerviewError:
        """Say in one line what stopped the work."""
        where = f"/{printable(self.about)}"
        if error.errno in _NO_ROOM:
            return LimitError(f"no room is left on the disk for {where} of the layer")
        return LayerviewError(f"{where}: {(error.strerror or str(error)).lower()}")

    # -- one entry ----------------------------------------------------------------------------

    def entry(self, data: int, stored: int) -> None:
        """Unpack the last entry that was scanned."""
        entries = self.entries
        self.count += 1
        name = path = entries.paths[0]
        self.window.header(data)
        if path.endswith(b"/"):
            path = path.rstrip(b"/")
        escaped = False
        if not path or path[0] in b"./" or b"//" in path or b"/." in path:
            path, escaped = normalise(path)
            if escaped:
                self.lines.say(path, "its name climbs out of the root with '..'; it is clamped")
        self.about = path
        if self.full:
            self.size += entries.sizes[0] if not entries.targets else 0
        attributes = Attributes(
            entries.modes[0],
            entries.uids[0],
            entries.gids[0],
            nanoseconds(entries.mtimes[0], entries.fractions.get(0, 0)),
            entries.xattrs.get(0, _NO_XATTRS),
        )
        try:
            kept = self._place(attributes, path, data, stored, not escaped)
        except LeftOut as skip:
            kept = None
            self._leave_out(path, str(skip))
        except OSError as error:
            if error.errno not in _LEFT_OUT:
                raise
            kept = None
            self._leave_out(path, f"left out: {(error.strerror or '').lower()}")
        if self.tar_split is not None:
            if kept is None:
                self.tar_split.file(name, 0, None)
            else:
                self.tar_split.file(name, stored, kept)

    def _leave_out(self, recorded: bytes, why: str) -> None:
        """Say why an entry is not made; one of the same name before it is gone nevertheless."""
        path = self.about
        self.lines.say(recorded, why)
        if path and (path in self.folders or self.holds(path)):
            parent, _, name = path.rpartition(b"/")
            self.clear(path, self.opened.open(parent), name)

    def _place(
        self, attributes: Attributes, path: bytes, data: int, stored: int, faithful: bool
    ) -> int | None:
        """Make an entry; return the sum of its bytes, or None when they are not its file's."""
        if not path:
            if self.entries.kinds[0] != Kind.DIR:
                raise LeftOut("an entry that is no folder names the root; it is left out")
            self.folders[b""] = attributes
            return None
        if len(path) > MAX_PATH:
            raise LeftOut("its path is longer than any program could open; it is left out")
        parent, _, name = path.rpartition(b"/")
        if b".wh." in path and self._is_marker(attributes, path, data, stored):
            return None
        if not is_component(name):
            raise LeftOut("its name is no name of a file; it is left out")
        if parent not in self.folders:
            real = self.resolved(parent)
            faithful = faithful and real == parent
            if real not in self.folders:
                self.enter(real)
            parent = real
            self.about = path = parent + b"/" + name if parent else name
        kind = self.entries.kinds[0]
        if kind == Kind.DIR:
            self._make_folder(attributes, path, parent, name)
            return None
        if self.entries.links:
            self._link(path, parent, name)
            return None
        fd = self.opened.open(parent)
        if kind == Kind.FILE:
            return self._write_file(attributes, path, fd, name, data, stored, faithful)
        self._make_other(attributes, kind, path, fd, name)
        return None

    def _make_folder(self, attributes: Attributes, path: bytes, parent: bytes, name: bytes) -> None:
        if path not in self.folders:
            self.mkdir(path, self.opened.open(parent), name)
        self.add_folder(path, attributes)

    def _write_file(
        self,
        attributes: Attributes,
        path: bytes,
        folder: int,
        name: bytes,
        data: int,
        stored: int,
        faithful: bool,
    ) -> int | None:
        entries, window = self.entries, self.window
        size = entries.sizes[0]
        fd = self.create(path, folder, name)
        try:
            sparse = entries.sparse.get(0)
            if sparse is not None:
                self._write_pieces(fd, size, sparse, data)
                crc = None
            elif stored == 0:
                crc = None
            else:
                crc = 0
                for piece in window.data(data, stored):
                    crc = self.crc(piece, crc)
                    write_all(fd, piece)
                    if not faithful and self.tar_split is not None:
                        self.tar_split.segment(bytes(piece))
                if not faithful:
                    crc = None
            self.setter.apply(fd, Kind.FILE, attributes)
        except OSError as error:
            # Its bytes are gone: no leaving it out.
            raise self.failure(error) from None
        finally:
            os.close(fd)
        self.made(path, size)
        return crc

    def _write_pieces(
        self, fd: int, size: int, sparse: tuple[tuple[int, int], ...], data: int
    ) -> None:
        """Write a sparse file; its bytes in the tar go to the tar-split."""
        os.ftruncate(fd, size)
        for offset, length in sparse:
            for piece in self.window.data(data, length):
                if self.tar_split is not None:
                    self.tar_split.segment(bytes(piece))
                os.lseek(fd, offset, os.SEEK_SET)
                write_all(fd, piece)
                offset += len(piece)
            data += length

    def _make_other(
        self, attributes: Attributes, kind: int, path: bytes, folder: int, name: bytes
    ) -> None:
        entries = self.entries
        make: Callable[[], None]
        if kind == Kind.SYMLINK:
            target = entries.targets[0]
            if not target or b"\0" in target:
                raise LeftOut("a symbolic link without a target that could be written; left out")
            make = lambda: os.symlink(target, name, dir_fd=folder)  # noqa: E731
        elif kind == Kind.FIFO:
            make = lambda: os.mkfifo(name, 0o600, dir_fd=folder)  # noqa: E731
        else:
            major, minor = entries.devices[0]
            if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
                raise LeftOut(f"a device node with the impossible number {major}:{minor}; left out")
            if kind == Kind.CHAR and major == minor == 0:
                raise LeftOut("a device node 0:0, which would be taken for a deletion; left out")
            mode, device = _FORMATS[kind] | 0o600, os.makedev(major, minor)
            make = lambda: os.mknod(name, mode, device, dir_fd=folder)  # noqa: E731
        try:
            make()
        except FileExistsError:
            self.clear(path, folder, name)
            make()
        except PermissionError as error:
            if kind in _FORMATS and error.errno == errno.EPERM:
                raise LeftOut("a device node, which this user may not make; left out") from None
            raise
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self.setter.apply(fd, kind, attributes)
        finally:
            os.close(fd)
        if kind == Kind.SYMLINK:
            self.symlinks[path] = target
            self.made(path, len(target))
        else:
            self.made(path)

    # -- hard links ---------------------------------------------------------------------------

    def _link(self, path: bytes, parent: bytes, name: bytes) -> None:
        target, _ = normalise(self.entries.links[0])
        if is_aufs_metadata(target):
            self._link_plink(path, self.opened.open(parent), name, target)
            return
        above, _, last = target.rpartition(b"/")
        above = above if above in self.folders else self.resolved(above)
        target = above + b"/" + last if above else last
        if target == path and self.holds(path):
            return
        try:
            source = self._source(target, above, last)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                raise
            source = None
        if source is None:
            self._copy_lower(path, parent, name, target)
            return
        try:
            # To itself, in a full tree: the file of the layers below becomes this layer's.
            if target != path:
                self._give_name(source, path, self.opened.open(parent), name)
        finally:
            os.close(source)
        self.made(path)
        if target in self.symlinks:
            self.symlinks[path] = self.symlinks[target]

    def _source(self, target: bytes, above: bytes, last: bytes) -> int | None:
        """Open what a hard link leads to; None when this folder does not hold it."""
        fd = self.opened.open(above)
        source = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        if stat.S_ISDIR(os.fstat(source).st_mode):
            os.close(source)
            return None
        return source

    def _give_name(self, source: int, path: bytes, folder: int, name: bytes) -> None:
        """Give what a descriptor stands for one more name."""
        there = f"/proc/self/fd/{source}"
        try:
            try:
                os.link(there, name, dst_dir_fd=folder, follow_symlinks=True)
            except FileExistsError:
                self.clear(path, folder, name)
                os.link(there, name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.ENOENT):
                raise
            # Or its last name was in the folder that this one replaces.
            self._copy(source, path, path.rpartition(b"/")[0], name)
            if error.errno == errno.EMLINK:
                self.lines.say(path, "a copy, for its file can have no more hard links")

    def _copy_lower(self, path: bytes, parent: bytes, name: bytes, target: bytes) -> None:
        """Make what a hard link names from the layers below."""
        shown = printable(target)
        source = self.lower(target) if self.lower is not None else None
        if source is None:
            raise LeftOut(f"a hard link to /{shown}, which is not there; left out")
        try:
            self._copy(source, path, parent, name)
        finally:
            os.close(source)
        self.lines.say(path, f"a copy of /{shown} of a layer below, which it is a hard link to")

    def _copy(self, source: int, path: bytes, parent: bytes, name: bytes) -> None:
        """Copy a file, with its attributes as they are on disk."""
        state = os.fstat(source)
        if not stat.S_ISREG(state.st_mode):
            self._copy_node(source, state, path, parent, name)
            return
        there = f"/proc/self/fd/{source}"
        reading = os.open(there, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fd = self.create(path, self.opened.open(parent), name)
            try:
                os.ftruncate(fd, state.st_size)
                for offset, piece in file_data(reading, state.st_size):
                    os.lseek(fd, offset, os.SEEK_SET)
                    write_all(fd, piece)
                copy_attributes(reading, fd, state)
            finally:
                os.close(fd)
        finally:
            os.close(reading)
        self.made(path, state.st_size)

    def _copy_node(
        self, source: int, state: os.stat_result, path: bytes, parent: bytes, name: bytes
    ) -> None:
        form = stat.S_IFMT(state.st_mode)
        if form not in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            raise LeftOut("a hard link to a folder or socket; left out")
        if form == stat.S_IFCHR and state.st_rdev == 0:
            raise LeftOut("a hard link to what is deleted; left out")
        target = os.readlink(b"", dir_fd=source) if form == stat.S_IFLNK else b""
        folder = self.opened.open(parent)

        def make() -> None:
            if target:
                os.symlink(target, name, dir_fd=folder)
            else:
                os.mknod(name, state.st_mode, state.st_rdev, dir_fd=folder)

        try:
            make()
        except FileExistsError:
            self.clear(path, folder, name)
            make()
        with suppress(PermissionError):
            os.chown(name, state.st_uid, state.st_gid, dir_fd=folder, follow_symlinks=False)
        if target:
            self.symlinks[path] = target
        else:
            os.chmod(name, stat.S_IMODE(state.st_mode), dir_fd=folder)
        os.utime(name, ns=times_of(state), dir_fd=folder, follow_symlinks=False)
        self.made(path, len(target))

    def _link_plink(self, path: bytes, folder: int, name: bytes, target: bytes) -> None:
        kept = self.plinks.get(target)
        if kept is None:
            raise LeftOut("a hard link to one of aufs's own files, which is not there; left out")
        self._give_name(kept, path, folder, name)
        self.made(path)

    def _keep_plink(self, attributes: Attributes, path: bytes, data: int, stored: int) -> None:
        """Keep a file that aufs had for hard links, which follow."""
        if stored and len(self.plinks) < _MAX_PLINKS and not self.entries.sparse:
            flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
            fd = os.open(".", flags, 0o600, dir_fd=self.target)
            try:
                for piece in self.window.data(data, stored):
                    write_all(fd, piece)
                    if self.tar_split is not None:
                        self.tar_split.segment(bytes(piece))
                self.setter.apply(fd, Kind.FILE, attributes)
            except BaseException:
                os.close(fd)
                raise
            if path in self.plinks:
                os.close(self.plinks[path])
            self.plinks[path] = fd

    # -- deletions ----------------------------------------------------------------------------

    def _is_marker(self, attributes: Attributes, path: bytes, data: int, stored: int) -> bool:
        """Take in a whiteout, or what aufs alone understands; say whether it was one."""
        parent, _, name = path.rpartition(b"/")
        if name == OPAQUE_MARKER:
            self.opaque[self.resolved(parent)] = attributes
            return True
        if is_aufs_metadata(path):
            if path.startswith(_PLINK_FOLDER + b"/") and self.entries.kinds[0] == Kind.FILE:
                self._keep_plink(attributes, path, data, stored)
            return True
        if not name.startswith(WHITEOUT_PREFIX):
            return False
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise LeftOut("this whiteout names no entry; it is left out")
        real = self.resolved(parent)
        self.deleted[real + b"/" + hidden if real else hidden] = attributes
        return True

    def finish(self, progress: Progress) -> None:
        """Carry out or mark the deletions; give the folders their attributes."""
        # The folders first: one that holds a deletion is this layer's, and not deleted itself.
        places = []
        for path, attributes in self.deleted.items():
            self.about = path
            progress.check()
            parent = path.rpartition(b"/")[0]
            if self.can_hold(parent) and not self.holds(path):
                self.enter(parent)
                places.append((path, attributes))
        for path in list(self.opaque):
            self.about = path
            progress.check()
            if self.can_hold(path):
                self.enter(path)
            else:
                del self.opaque[path]
        for path, attributes in places:
            self.about = path
            progress.check()
            if path in self.folders:
                self.opaque.setdefault(path, attributes)
                continue
            parent, _, name = path.rpartition(b"/")
            try:
                self._delete(path, self.opened.open(parent), name, attributes)
            except OSError as error:
                if error.errno not in _LEFT_OUT or error.errno == errno.EPERM:
                    raise
                self.lines.say(path, f"not deleted: {(error.strerror or '').lower()}")
        for path, attributes in self.opaque.items():
            self.about = path
            progress.check()
            self._hide(path, attributes)
        for path, attributes in self.folders.items():
            self.about = path
            progress.check()
            self._finish_folder(path, attributes)
        self.lines.finish()

    def _delete(self, path: bytes, folder: int, name: bytes, attributes: Attributes) -> None:
        if self.full:
            with suppress(FileNotFoundError):
                self.clear(path, folder, name)
        elif self.whiteouts is Whiteouts.AUFS:
            self._make_marker(folder, WHITEOUT_PREFIX + name, attributes)
        else:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
            with suppress(OSError):
                # Nobody asks for them, but they are what the tar says.
                if self.setter.keeps_owners:
                    os.chown(name, attributes.uid, attributes.gid, dir_fd=folder)
                os.chmod(name, attributes.mode, dir_fd=folder)
            times = (attributes.mtime or 0, attributes.mtime or 0)
            with suppress(OSError, OverflowError):
                os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _make_marker(self, folder: int, name: bytes, attributes: Attributes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            self.setter.apply(fd, Kind.FILE, attributes)
        finally:
            os.close(fd)

    def _hide(self, path: bytes, attributes: Attributes) -> None:
        """Make a folder opaque."""
        if self.full:
            self.remove_others(path)
        elif self.whiteouts is Whiteouts.AUFS:
            self._make_marker(self.opened.open(path), OPAQUE_MARKER, attributes)
        else:
            os.setxattr(self.opened.open(path), _OPAQUE_XATTRS[self.whiteouts], b"y")

    def _is_cut(self, path: bytes) -> bool:
        """Whether a folder above hides what lower layers have at a path."""
        while path and self.opaque:
            path = path.rpartition(b"/")[0]
            if path in self.opaque:
                return True
        return False

    def _finish_folder(self, path: bytes, attributes: Attributes) -> None:
        fd = self.opened.open(path)
        if attributes is not PASSED and path in self.times:
            drop_xattrs(fd)
        if attributes is not PASSED and attributes is not IMPLIED:
            self.setter.apply(fd, Kind.DIR, attributes)
        elif attributes is IMPLIED:
            source = None
            if self.lower is not None and not self._is_cut(path):
                source = self.lower(path)
            if source is None:
                self.setter.apply(fd, Kind.IMPLIED_DIR, Attributes())
                return
            try:
                state = os.fstat(source)
                if stat.S_ISDIR(state.st_mode):
                    copy_attributes(source, fd, state)
                else:
                    self.setter.apply(fd, Kind.IMPLIED_DIR, Attributes())
            finally:
                os.close(source)
        elif self.full:
            os.utime(fd, ns=self.times[path])
