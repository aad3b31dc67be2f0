"""Copying a file or folder out of an image, as the view shows it or as one layer holds it.

Names and links in an image are somebody else's. So nothing is opened by a path that the image
wrote: every entry is made by its single name in a folder whose descriptor is held, and that
folder was reached through real folders beneath the target alone (openat2(2)). Links are made as
they are and never followed; nothing that stands in the way is opened or overwritten.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from layerview.errors import DamageError, LayerviewError, LimitError, NotFoundError, UsageError
from layerview.layer.attributes import Attributes, AttributeSetter
from layerview.layer.beneath import (
    MAX_PATH,
    OPEN_FOLDER,
    Folders,
    file_data,
    is_component,
    open_beneath,
)
from layerview.layer.index import NO_DIR, LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.lines import Lines
from layerview.progress import QUIET, Progress
from layerview.sizes import format_size
from layerview.text import printable
from layerview.view.contents import Contents
from layerview.view.union import UnionView

ROOT_NAME = b"rootfs"
"""What the image's root folder is called inside an existing folder."""

_LEFT_OUT = (
    # The file system can't hold such a name, target, size or node; the rest is not concerned.
    errno.EFBIG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.ENOTSUP,
    errno.EPERM,
)
_CANT_LINK = (errno.EMLINK, errno.ENOENT, errno.ENOTSUP, errno.EPERM, errno.EXDEV)
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1


@dataclass(slots=True)
class Extracted:
    """What an extraction made."""

    target: str = ""
    """Where the entry was copied to."""
    files: int = 0
    folders: int = 0
    links: int = 0
    """Symbolic links, and further names of files (hard links)."""
    nodes: int = 0
    """Pipes and device nodes."""
    bytes: int = 0
    """Bytes of data written; holes are none."""
    skipped: list[str] = field(default_factory=list)
    """What was left out and why, a line each."""
    damage: list[str] = field(default_factory=list)
    """Files that are left out because their bytes are damaged, a line each."""


def extract(
    view: UnionView,
    contents: Contents,
    path: bytes,
    destination: str,
    *,
    layer: int | None = None,
    name: bytes | None = None,
    force: bool = False,
    progress: Progress = QUIET,
) -> Extracted:
    """Copy a file, or a folder with all below it, as `cp -a` would.

    Owners, device nodes, setuid bits and capabilities are kept for root alone.

    Args:
        view: all layers.
        contents: where the files' bytes are read.
        path: what to copy; links on the way are not followed.
        destination: an existing folder to copy into, else the new name, in an existing folder.
        layer: copy the versions that this layer itself holds, hidden or not.
        name: what to call the entry inside an existing folder, if not by its own name.
        force: replace files that are there already, and copy into folders that are.
        progress: told about the work.

    Raises:
        NotFoundError: when nothing is at the path, or the destination's folder is not there.
        LimitError: when the disk has not enough room; nothing was written.
        LayerviewError: when something is in the way or can't be written; what was written before
            stays, without the file in the middle.
    """
    plan = _plan(view, path, layer, progress)
    done = Extracted()
    with _placed(destination, plan, name) as place:
        done.target = place.shown
        work = _Work(view, contents, plan, place, force, progress, done)
        try:
            work.run()
        finally:
            work.close()
    return done


# -- what to copy ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    path: bytes
    top_is_folder: bool = False
    folders: list[tuple[bytes, Attributes | tuple[int, int]]] = field(default_factory=list)
    """Path, and attributes or the layer and row that have them; a folder before those in it."""
    files: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    """By the layer that holds the bytes: row of the inode, then layer and row of the name."""
    others: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)
    """By layer and row of the inode: its names; links, pipes and devices."""
    skipped: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, view: UnionView, layer: int, row: int, path: bytes) -> None:
        """Take in an entry that is no folder."""
        if view.is_unresolved(layer, row):
            self.skipped.append((path, "a hard link to a file that is not in the image"))
            return
        written, inode = view.source_of(layer, row)
        index = view.layers[written]
        assert index is not None
        if index.kinds[inode] == Kind.FILE:
            self.files.setdefault(written, []).append((inode, layer, row))
        else:
            self.others.setdefault((written, inode), []).append((layer, row))


def _plan(view: UnionView, path: bytes, layer: int | None, progress: Progress) -> _Plan:
    plan = _Plan(path)
    if layer is not None:
        _plan_layer(plan, view, layer, progress)
        return plan
    stack = view.stack(path)
    if stack is None:
        node = view.node(path)
        if node is None or node.layer is None:
            raise NotFoundError(f"/{printable(path)} does not show in the image")
        plan.add(view, node.layer, node.row, path)
        return plan
    plan.top_is_folder = True
    plan.folders.append((path, _of_folder(view, path, stack)))
    for at, number, row, below in view.walk_rows(path):
        progress.check()
        if below is None:
            plan.add(view, number, row, at)
        else:
            plan.folders.append((at, _of_folder(view, at, below)))
    return plan


def _plan_layer(plan: _Plan, view: UnionView, layer: int, progress: Progress) -> None:
    path = plan.path
    index = view.layers[layer] if 0 <= layer < len(view.layers) else None
    if index is None:
        raise NotFoundError(f"layer {layer} is not here")
    row = index.find(path) if path else index.row_of_dir[0]
    if row is None or index.kinds[row] == Kind.WHITEOUT:
        verb = "holds no" if row is None else "deletes"
        raise NotFoundError(f"layer {layer} {verb} /{printable(path)}")
    number = index.dir_of_row[row] if path else 0
    if number == NO_DIR:
        plan.add(view, layer, row, path)
        return
    plan.top_is_folder = True
    plan.folders.append((path, (layer, row)))
    if number in index.opaque:
        plan.skipped.append((path, "all that lower layers hold in it is hidden here"))
    for at, row in index.walk_rows(number, path):
        progress.check()
        below = index.dir_of_row[row]
        if index.kinds[row] == Kind.WHITEOUT:
            plan.skipped.append((at, "deleted here"))
        elif index.kinds[row] in (Kind.DIR, Kind.IMPLIED_DIR):
            plan.folders.append((at, (layer, row)))
            if below in index.opaque:
                plan.skipped.append((at, "all that lower layers hold in it is hidden here"))
        else:
            plan.add(view, layer, row, at)


def _of_folder(
    view: UnionView, path: bytes, stack: Sequence[tuple[int, int]]
) -> Attributes | tuple[int, int]:
    node = view.folder_node(path, stack)
    return (node.layer, node.row) if node.layer is not None else Attributes()


# -- where to -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    folder: int
    """Descriptor of the folder in which the target stands or will stand."""
    name: bytes
    shown: str


@contextmanager
def _placed(destination: str, plan: _Plan, name: bytes | None) -> Iterator[_Place]:
    """Open the folder that a person named; their own links may lead there."""
    where = os.fsencode(destination)
    if not where or b"\0" in where:
        raise UsageError("the destination is no name of a file")
    try:
        if os.path.isdir(where):
            parent = where
            if not name or not is_component(name):
                name = plan.path.rpartition(b"/")[2] or ROOT_NAME
        else:
            if where.endswith(b"/") and not plan.top_is_folder:
                raise NotFoundError(f"{printable(where)}: no such folder")
            parent, _, name = where.rstrip(b"/").rpartition(b"/")
            parent = parent + b"/" if parent or where.startswith(b"/") else b"."
        if not is_component(name):
            raise UsageError(f"{printable(name)} is no name of a file")
        folder = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NotFoundError(f"{printable(where)}: {why}") from None
    try:
        yield _Place(folder, name, printable(os.path.join(parent, name)))
    finally:
        os.close(folder)


# -- the work -------------------------------------------------------------------------------------


class _Skip(Exception):
    """An entry is left out; str() says why."""


class _Reading(Progress):
    """Shows how far a layer was read until its first file's data comes."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self.silent = False

    def check(self) -> None:
        """See Progress."""
        self._progress.check()

    def step(self, what: str, done: int, total: int | None) -> None:
        """See Progress."""
        if self.silent:
            self._progress.check()
        else:
            self._progress.step(what, done, total)


class _Work:
    def __init__(
        self,
        view: UnionView,
        contents: Contents,
        plan: _Plan,
        place: _Place,
        force: bool,
        progress: Progress,
        done: Extracted,
    ) -> None:
        self.layers = view.layers
        self.contents = contents
        self.plan = plan
        self.place = place
        self.force = force
        self.progress = progress
        self.done = done
        self.left = Lines(done.skipped)
        self.damage = Lines(done.damage)
        self.about = b""
        """The entry that is being made."""
        self.setter = AttributeSetter(lambda why: self.left.say(self.about, why))
        self.root = os.geteuid() == 0
        self.lost: set[bytes] = set()
        """Folders that could not be made."""
        self.target = -1
        self.folders: Folders | None = None
        self.total = 0

    def run(self) -> None:
        """Do it all."""
        self._check_room()
        for path, why in self.plan.skipped:
            self.left.say(path, why)
        self._make_folders()
        self._make_others()
        self._write_files()
        self._finish_folders()
        self.left.finish()
        self.damage.finish()
        done = self.done
        if not (done.files or done.folders or done.links or done.nodes):
            raise LayerviewError((done.damage or done.skipped)[0])

    def close(self) -> None:
        """Close what is held open."""
        if self.folders is not None:
            self.folders.close()
        if self.target >= 0:
            os.close(self.target)

    def _index(self, layer: int) -> LayerIndex:
        index = self.layers[layer]
        assert index is not None
        return index

    def _shown(self, path: bytes) -> str:
        rest = path[len(self.plan.path) :].lstrip(b"/")
        return f"{self.place.shown}/{printable(rest)}" if rest else self.place.shown

    def _check_room(self) -> None:
        plan = self.plan
        for layer, names in plan.files.items():
            inodes = {inode for inode, _, _ in names}
            self.total += self.contents.stored(layer, inodes)
        disk = os.fstatvfs(self.place.folder)
        free = (disk.f_bfree if self.root else disk.f_bavail) * disk.f_frsize
        if self.total > free:
            raise LimitError(
                f"{self.place.shown}: the disk has room for {format_size(free)},"
                f" not for the {format_size(self.total)} of /{printable(plan.path)}"
            )
        entries = len(plan.folders) + len(plan.others) + sum(map(len, plan.files.values()))
        if disk.f_files and entries > disk.f_ffree:
            raise LimitError(
                f"{self.place.shown}: the file system has room for {disk.f_ffree:,} files,"
                f" not for {entries:,}"
            )

    # -- one entry ----------------------------------------------------------------------------

    @contextmanager
    def _entry(self, path: bytes) -> Iterator[None]:
        """Turn what goes wrong with an entry into a line, or into the end of the work."""
        self.progress.check()
        self.about = path
        try:
            yield
        except _Skip as skip:
            self.left.say(path, str(skip))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            if error.errno not in _LEFT_OUT:
                raise LayerviewError(f"{self._shown(path)}: {why}") from None
            self.left.say(path, why)

    def _locate(self, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of an entry's folder, and its single name in it."""
        top = self.plan.path
        if path == top:
            return self.place.folder, self.place.name
        parent, _, name = path.rpartition(b"/")
        rest = path[len(top) + 1 :] if top else path
        if parent in self.lost:
            raise _Skip("its folder is left out")
        if not is_component(name):
            raise _Skip("its name is no name of a file")
        if len(rest) > MAX_PATH:
            raise _Skip("its path is longer than any program could open")
        assert self.folders is not None
        return self.folders.open(rest.rpartition(b"/")[0]), name

    def _clear(self, folder: int, name: bytes, path: bytes) -> None:
        """Remove what stands in the way of an entry, if that was asked for; links themselves."""
        shown = self._shown(path)
        if not self.force:
            raise LayerviewError(f"{shown} is there already; --force replaces it")
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise LayerviewError(f"{shown} is a folder: it is not replaced by something else")
        os.unlink(name, dir_fd=folder)

    # -- folders ------------------------------------------------------------------------------

    def _make_folders(self) -> None:
        for path, _ in self.plan.folders:
            self.lost.add(path)
            with self._entry(path):
                folder, name = self._locate(path)
                self._make_folder(folder, name, path)
                if path == self.plan.path:
                    self.target = open_beneath(folder, name, OPEN_FOLDER)
                    self.folders = Folders(self.target)
                self.lost.discard(path)
                self.done.folders += 1

    def _make_folder(self, folder: int, name: bytes, path: bytes) -> None:
        # Nobody else may look in before all attributes are given.
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not (self.force and stat.S_ISDIR(there.st_mode)):
                self._clear(folder, name, path)
                os.mkdir(name, 0o700, dir_fd=folder)

    def _finish_folders(self) -> None:
        # From the deepest up, so that a folder's mode and time are not needed or touched again.
        for path, source in reversed(self.plan.folders):
            if path in self.lost:
                continue
            with self._entry(path):
                if not isinstance(source, Attributes):
                    source = Attributes.of(self._index(source[0]), source[1])
                assert self.folders is not None
                rest = path[len(self.plan.path) :].lstrip(b"/")
                self.setter.apply(self.folders.open(rest), Kind.DIR, source)

    # -- links, pipes and devices -------------------------------------------------------------

    def _make_others(self) -> None:
        for (written, inode), names in self.plan.others.items():
            index = self._index(written)
            first = -1
            try:
                for layer, row in names:
                    path = self._index(layer).path(row)
                    with self._entry(path):
                        folder, name = self._locate(path)
                        if first >= 0 and self._link(first, folder, name, path):
                            continue
                        made = self._make_other(index, inode, folder, name, path)
                        if first >= 0:
                            os.close(first)
                        first = made
            finally:
                if first >= 0:
                    os.close(first)

    def _make_other(
        self, index: LayerIndex, inode: int, folder: int, name: bytes, path: bytes
    ) -> int:
        """Make a link, pipe or device; return an O_PATH descriptor of it."""
        kind = index.kinds[inode]
        try:
            self._make_node(index, inode, folder, name)
        except FileExistsError:
            self._clear(folder, name, path)
            self._make_node(index, inode, folder, name)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            state = os.fstat(fd)
            if stat.S_IFMT(state.st_mode) != _FORMATS[kind] or state.st_nlink != 1:
                raise LayerviewError(f"{self._shown(path)} was replaced by somebody meanwhile")
            self.setter.apply(fd, kind, Attributes.of(index, inode))
        except BaseException:
            os.close(fd)
            raise
        if kind == Kind.SYMLINK:
            self.done.links += 1
        else:
            self.done.nodes += 1
        return fd

    def _make_node(self, index: LayerIndex, inode: int, folder: int, name: bytes) -> None:
        kind = index.kinds[inode]
        if kind == Kind.SYMLINK:
            target = index.targets.get(inode, b"")
            if not target or b"\0" in target:
                raise _Skip("a symbolic link without a target that could be written")
            os.symlink(target, name, dir_fd=folder)
        elif kind == Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
        else:
            major, minor = index.columns.devices.get(inode, (0, 0))
            if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
                raise _Skip(f"a device node with the impossible number {major}:{minor}")
            if kind == Kind.CHAR and major == minor == 0:
                raise _Skip("a device node 0:0, which overlayfs would take for a deletion")
            if not self.root:
                raise _Skip("a device node, which only root can make")
            os.mknod(name, _FORMATS[kind] | 0o600, os.makedev(major, minor), dir_fd=folder)

    # -- files --------------------------------------------------------------------------------

    def _write_files(self) -> None:
        for written, names in self.plan.files.items():
            index = self._index(written)
            groups: dict[int, list[tuple[int, int]]] = {}
            for inode, layer, row in names:
                groups.setdefault(inode, []).append((layer, row))
            reading = _Reading(self.progress)
            for inode, data in self.contents.each(written, groups, reading):
                reading.silent = True
                paths = (self._index(layer).path(row) for layer, row in groups[inode])
                self._write_file(index, inode, paths, data)

    def _write_file(
        self,
        index: LayerIndex,
        inode: int,
        paths: Iterator[bytes],
        data: Iterator[tuple[int, bytes]],
    ) -> None:
        fd, size, attributes = -1, index.sizes[inode], Attributes.of(index, inode)
        for path in paths:
            with self._entry(path):
                folder, name = self._locate(path)
                fd = self._create(folder, name, path)
            if fd >= 0:
                break
        else:
            return
        try:
            if not self._fill(fd, folder, name, path, data, size, attributes):
                return
            self.done.files += 1
            for path in paths:
                with self._entry(path):
                    folder, name = self._locate(path)
                    if not self._link(fd, folder, name, path):
                        fd = self._copy(fd, folder, name, path, size, attributes)
        finally:
            os.close(fd)

    def _create(self, folder: int, name: bytes, path: bytes) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, 0o600, dir_fd=folder)
        except FileExistsError:
            self._clear(folder, name, path)
            return os.open(name, flags, 0o600, dir_fd=folder)

    def _fill(
        self,
        fd: int,
        folder: int,
        name: bytes,
        path: bytes,
        data: Iterator[tuple[int, bytes]],
        size: int,
        attributes: Attributes,
    ) -> bool:
        """Give a new file its content and attributes; when that fails, there is no file."""
        whole = False
        try:
            with self._entry(path):
                os.ftruncate(fd, size)
                for offset, piece in data:
                    self._write(fd, piece, offset)
                self.setter.apply(fd, Kind.FILE, attributes)
                whole = True
        except DamageError as error:
            self.damage.say(path, str(error))
        finally:
            if not whole:
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
        return whole

    def _write(self, fd: int, piece: bytes, offset: int) -> None:
        left = memoryview(piece)
        while left:
            count = os.pwrite(fd, left, offset)
            left, offset = left[count:], offset + count
        self.done.bytes += len(piece)
        self.progress.step("extracting", self.done.bytes, max(self.total, self.done.bytes))

    def _link(self, fd: int, folder: int, name: bytes, path: bytes) -> bool:
        """Give an entry a further name, by its descriptor: whatever its first name is by now."""
        source = f"/proc/self/fd/{fd}"
        try:
            try:
                os.link(source, name, dst_dir_fd=folder, follow_symlinks=True)
            except FileExistsError:
                self._clear(folder, name, path)
                os.link(source, name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError as error:
            if error.errno not in _CANT_LINK:
                raise
            return False
        self.done.links += 1
        return True

    def _copy(
        self, fd: int, folder: int, name: bytes, path: bytes, size: int, attributes: Attributes
    ) -> int:
        """Copy a file that can have no more hard links; return what further names link to."""
        disk = os.fstatvfs(fd)
        if os.fstat(fd).st_blocks * 512 > disk.f_bfree * disk.f_frsize:
            raise LimitError(f"{self._shown(path)}: no space for one more copy of a linked file")
        copy = self._create(folder, name, path)
        whole = False
        try:
            whole = self._fill(copy, folder, name, path, file_data(fd, size), size, attributes)
        finally:
            os.close(fd if whole else copy)
        if not whole:
            return fd
        self.done.files += 1
        self.left.say(path, "a copy, for the file can have no more hard links there")
        return copy


_FORMATS: dict[int, int] = {
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHAR: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
}
