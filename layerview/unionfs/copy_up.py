"""Copy-up: bringing what lies on a read-only branch to the top one, as it is."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from layerview.unionfs import records
from layerview.unionfs.copying import DataCopier, copy_attributes, copy_file_attributes
from layerview.unionfs.descriptors import OPEN_FOLDER, PATH_ONLY
from layerview.unionfs.links import several_names
from layerview.unionfs.listing import Below
from layerview.unionfs.names import WORK, failure
from layerview.unionfs.node import ROOT_CALLER, Caller, Node
from layerview.unionfs.steps import Step
from layerview.unionfs.tree import Tree

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_DENSE = 1 << 20
"""Bytes of the largest file whose blocks are counted, in place of a search for its holes."""
_TELL_EACH = 20_000_000
"""Nanoseconds between steps that tell how far a copy is."""


class CopyUp(Tree):
    """A tree whose nodes can be brought to the top branch.

    A copy is made beside, in WORK, and put into its place when it is whole: whenever this ends,
    the union shows either the old file or the new one.
    """

    def __init__(
        self,
        branches: Sequence[int],
        *,
        report: Callable[[Step], None] | None = None,
        writable: bool = True,
    ) -> None:
        super().__init__(branches, report=report, writable=writable)
        self.before_set_ids: Callable[[], object] = bool
        """Called before a copy gets a mode with setuid or setgid."""
        self._work_fd = -1
        self._last_name = 0
        self._is_root = os.geteuid() == 0
        self._copier = DataCopier()
        self._links: dict[int, dict[int, list[bytes]]] = {}
        """For each branch that was looked through: its files with several names."""
        if writable:
            marks = self._clean()
            self._kept, self._gone_links = records.take(self._branches, self._devices)
            for mark in marks:
                self._finish(mark)

    def _clean(self) -> list[bytes]:
        """Remove what a process left in WORK that was killed; return marks of files with names."""
        marks = []
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            work = os.open(WORK, flags, dir_fd=self._branches[0])
        except OSError:
            return []
        import shutil

        try:
            for name in os.listdir(work):
                state = os.stat(name, dir_fd=work, follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    shutil.rmtree(name, dir_fd=work)
                elif "." in name:
                    marks.append(os.fsencode(name))
                else:
                    os.unlink(name, dir_fd=work)
        finally:
            os.close(work)
        return marks

    def _work(self) -> int:
        """Return the descriptor of WORK."""
        if self._work_fd < 0:
            top = self._branches[0]
            before = os.fstat(top)
            with suppress(FileExistsError):
                os.mkdir(WORK, 0o700, dir_fd=top)
                self._set_times(top, before)
            self._work_fd = os.open(WORK, OPEN_FOLDER, dir_fd=top)
        return self._work_fd

    def _new_name(self) -> bytes:
        """Return a name that nothing in WORK has."""
        self._last_name += 1
        return b"%d" % self._last_name

    @staticmethod
    def _set_times(folder: int, state: os.stat_result) -> None:
        os.utime(b".", ns=(state.st_atime_ns, state.st_mtime_ns), dir_fd=folder)

    def _put(self, name: bytes, folder: Node, to_name: bytes) -> None:
        """Move something out of WORK to its place; the folder's times stay."""
        fd = self.descriptor(folder, 0)
        before = os.fstat(fd)
        os.rename(name, to_name, src_dir_fd=self._work(), dst_dir_fd=fd)
        self._set_times(fd, before)

    def _must_be_writable(self) -> None:
        if not self.writable:
            raise failure(errno.EROFS)

    def copy_up_folder(self, folder: Node, by: Caller, cause: str) -> int:
        """Bring a folder and those above it to the top; return its descriptor there.

        Raises:
            OSError: ENOENT when it is deleted, EROFS; as making it.
        """
        self._must_be_writable()
        missing = []
        at = folder
        while at.branch:
            missing.append(at)
            if at.parent is None:
                raise failure(errno.ENOENT, at.name)
            at = at.parent
        if folder.parent is None and folder is not self.root:
            raise failure(errno.ENOENT, folder.name)
        for at in reversed(missing):
            self._copy_folder(at, by, cause)
        return self.descriptor(folder, 0)

    def _copy_folder(self, folder: Node, by: Caller, cause: str) -> None:
        started = time.perf_counter_ns()
        parent = folder.parent
        assert parent is not None
        found = folder.branch
        source = self.descriptor(folder, found)
        state = os.fstat(source)
        if state.st_mode & _SET_IDS:
            self.before_set_ids()
        work, name = self._work(), self._new_name()
        os.mkdir(name, 0o700, dir_fd=work)
        try:
            original = b"/proc/self/fd/%d/." % source
            copy_attributes(original, state, name, work, root=self._is_root)
            ino = os.stat(name, dir_fd=work).st_ino
            self._put(name, parent, folder.name)
        except BaseException:
            os.rmdir(name, dir_fd=work)
            raise
        folder.branch = 0
        folder.stack = (0, *folder.stack)
        if parent.listing is not None:
            parent.listing.top[folder.name] = (stat.S_IFDIR, ino)
        self._tell(
            "copy_up",
            self.path(folder),
            found=found,
            copied=0,
            started=started,
            pid=by.pid,
            cause=cause,
        )

    def copy_up(
        self,
        node: Node,
        by: Caller,
        cause: str,
        size: int | None = None,
        *,
        keep: bool = False,
    ) -> int:
        """Bring a node to the top branch, its parents first.

        Args:
            node: it may lie there already.
            by: who asked for it.
            cause: open, truncate, metadata, rename or link.
            size: how many bytes of its data are wanted; None: all.
            keep: whether the copy's descriptor is of use, open for reading and writing.

        Returns:
            The copy's descriptor, the caller's to close, where it is of use and was opened; or -1.

        Raises:
            OSError: as what it is made of; EROFS. Then nothing is changed.
        """
        self._must_be_writable()
        if node.branch == 0:
            return -1
        if node.is_folder:
            self.copy_up_folder(node, by, cause)
            return -1
        started = time.perf_counter_ns()
        found = node.branch
        if node.parent is None and node.real is not None:
            self._find_name(node)
        if node.parent is None:
            self._copy_nameless(node, size)
            return -1
        path = "" if self.report is None else self.path(node)
        self.copy_up_folder(node.parent, by, cause)
        source = self.descriptor(node.parent, found)
        state = os.stat(node.name, dir_fd=source, follow_symlinks=False)
        work, name = self._work(), self._new_name()
        if state.st_mode & _SET_IDS:
            self.before_set_ids()
        # Should this be killed before all names are the copy's, the next start sees to them.
        mark = b"%d.%d" % (found, state.st_ino) if state.st_nlink > 1 else None
        opened = -1
        try:
            if node.kind == stat.S_IFREG:
                # Who is not root writes no attributes to what it may not write.
                mode = state.st_mode & 0o777 | 0o600
                opened = os.open(name, _MAKE, mode, dir_fd=work)
                copied, made = self._copy_file(node, state, source, name, opened, path, size)
            else:
                copied, made = 0, self._copy_other(node, state, source, name)
            if mark is not None:
                os.link(name, mark, src_dir_fd=work, dst_dir_fd=work, follow_symlinks=False)
            self._put(name, node.parent, node.name)
        except BaseException:
            if opened >= 0:
                os.close(opened)
            for each in (name, mark or name):
                with suppress(FileNotFoundError):
                    os.unlink(each, dir_fd=work)
            raise
        if not keep and opened >= 0:
            os.close(opened)
            opened = -1
        node.branch = 0
        node.stack = (0,)
        self._kept[made.st_ino] = node.ino
        if node.parent.listing is not None:
            node.parent.listing.top[node.name] = (node.kind, made.st_ino)
        self._tell(
            "copy_up",
            path,
            found=found,
            copied=copied,
            started=started,
            pid=by.pid,
            cause=cause,
        )
        if mark is not None:
            try:
                self._bring_names(node, found, state, made, by, cause)
                os.unlink(mark, dir_fd=work)
            except BaseException:
                if opened >= 0:
                    os.close(opened)
                raise
        return opened

    def _copy_file(
        self,
        node: Node,
        state: os.stat_result,
        source: int,
        name: bytes,
        to: int,
        path: str,
        size: int | None,
    ) -> tuple[int, os.stat_result]:
        """Fill the copy in WORK; return how many bytes of data were copied, and its state."""
        original = b"/proc/self/fd/%d/%s" % (source, node.name)
        wanted = state.st_size if size is None else min(size, state.st_size)
        copied, read = 0, -1
        try:
            if wanted:
                read = os.open(node.name, _READ, dir_fd=source)
                is_dense = state.st_size <= min(_DENSE, state.st_blocks * 512)
                told = self._progress(path, wanted)
                copied = self._copier.copy(read, to, wanted, told, is_dense=is_dense)
            made = copy_file_attributes(
                original, read, state, name, self._work(), to, root=self._is_root
            )
        finally:
            if read >= 0:
                os.close(read)
        return copied, made

    def _copy_other(
        self, node: Node, state: os.stat_result, source: int, name: bytes
    ) -> os.stat_result:
        """Make a copy in WORK of what is no regular file, and return its state."""
        work = self._work()
        if node.kind == stat.S_IFLNK:
            os.symlink(os.readlink(node.name, dir_fd=source), name, dir_fd=work)
        else:
            os.mknod(name, node.kind | 0o600, state.st_rdev, dir_fd=work)
        original = b"/proc/self/fd/%d/%s" % (source, node.name)
        copy_attributes(original, state, name, work, root=self._is_root)
        return os.stat(name, dir_fd=work, follow_symlinks=False)

    def _progress(self, path: str, total: int) -> Callable[[int], None] | None:
        if self.report is None:
            return None
        told = time.perf_counter_ns()

        def moved(done: int) -> None:
            nonlocal told
            if done < total and time.perf_counter_ns() - told >= _TELL_EACH:
                told = time.perf_counter_ns()
                self._tell("copying", path, copied=done, total=total)

        return moved

    def _copy_nameless(self, node: Node, size: int | None) -> None:
        """Copy what is deleted and still held; the copy has no name either."""
        if node.pin < 0:
            raise failure(errno.ENOENT, node.name)
        work, name = self._work(), self._new_name()
        original = b"/proc/self/fd/%d" % node.pin
        state = os.fstat(node.pin)
        if state.st_mode & _SET_IDS:
            self.before_set_ids()
        if node.kind != stat.S_IFREG:
            raise failure(errno.EROFS, node.name)
        to = os.open(name, _MAKE, 0o600, dir_fd=work)
        try:
            read = os.open(original, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._copier.copy(read, to, state.st_size if size is None else size)
            finally:
                os.close(read)
            os.fchmod(to, stat.S_IMODE(state.st_mode))
            if self._is_root:
                os.fchown(to, state.st_uid, state.st_gid)
            pin = os.open(name, PATH_ONLY, dir_fd=work)
        finally:
            os.close(to)
            os.unlink(name, dir_fd=work)
        os.close(node.pin)
        node.pin = pin
        node.branch, node.stack = 0, (0,)

    # --- hard links ---

    def _names_below(self, branch: int, ino: int) -> list[bytes]:
        """Return all paths of a file on a branch that has several."""
        if branch not in self._links:
            self._links[branch] = several_names(self._branches[branch])
        return self._links[branch].get(ino, [])

    def _find_name(self, node: Node) -> None:
        """Look for another name of what lost all that were known."""
        assert node.real is not None
        for path in self._names_below(node.branch, node.real[1]):
            folder = self.root
            *way, name = path.split(b"/")
            with suppress(OSError):
                for part in way:
                    folder = self.lookup(folder, part)
                if self.lookup(folder, name) is node:
                    return

    def _bring_names(
        self,
        node: Node,
        found: int,
        state: os.stat_result,
        made: os.stat_result,
        by: Caller,
        cause: str,
    ) -> None:
        """Give all other names of a file that was copied up to the copy: it stays one file."""
        if node.real is not None and self._by_real.get(node.real) is node:
            del self._by_real[node.real]
        node.real = (made.st_dev, made.st_ino)
        self._by_real[node.real] = node
        for folder, name in self._names_to_bring(found, state.st_ino, node.kind):
            self._bring_name(node, folder, name, found, by, cause)

    def _names_to_bring(self, branch: int, ino: int, kind: int) -> Iterator[tuple[Node, bytes]]:
        """Yield the names of a file on a branch that show there still."""
        wanted = Below((branch,), kind, ino)
        for path in self._names_below(branch, ino):
            *way, name = path.split(b"/")
            folder = self.root
            try:
                for part in way:
                    folder = self.lookup(folder, part)
                listing = self.listing(folder)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                raise
            if (
                branch in folder.stack
                and name not in listing.top
                and name not in listing.whiteouts
                and listing.below.get(name) == wanted
            ):
                yield folder, name

    def _finish(self, mark: bytes) -> None:
        """Give the names to a copy that a killed process did not come to."""
        work = self._work()
        state = os.stat(mark, dir_fd=work, follow_symlinks=False)
        with suppress(ValueError):
            branch, ino = map(int, mark.split(b"."))
            # Else it was killed before there was any.
            if state.st_nlink > 1 and 0 < branch < len(self._branches):
                for folder, name in self._names_to_bring(branch, ino, stat.S_IFMT(state.st_mode)):
                    self._link(mark, work, folder, name, ROOT_CALLER, "open")
        os.unlink(mark, dir_fd=work)

    def _link(
        self, source: bytes, at: int | None, folder: Node, name: bytes, by: Caller, cause: str
    ) -> None:
        """Link a name on top; the folder's times stay."""
        fd = self.copy_up_folder(folder, by, cause)
        before = os.fstat(fd)
        os.link(source, name, src_dir_fd=at, dst_dir_fd=fd, follow_symlinks=False)
        self._set_times(fd, before)
        if folder.listing is not None:
            state = os.stat(name, dir_fd=fd, follow_symlinks=False)
            folder.listing.top[name] = (stat.S_IFMT(state.st_mode), state.st_ino)

    def _bring_name(
        self, node: Node, folder: Node, name: bytes, found: int, by: Caller, cause: str
    ) -> None:
        started = time.perf_counter_ns()
        from_path = "" if self.report is None else self.path(node)
        self.copy_up_folder(folder, by, cause)
        source, at = self._place(node)
        self._link(source, at, folder, name, by, cause)
        if folder.children.get(name) is not node:
            folder.children[name] = node
            node.others.append((folder, name))
        # Nothing is copied for it: on top it is one more name of what was.
        self._tell(
            "create",
            self.path_in(folder, name),
            from_path=from_path,
            found=found,
            started=started,
            pid=by.pid,
            cause=cause,
        )
