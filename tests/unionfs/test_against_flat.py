"""The union against a plain folder: the same operations at random, and the same seen after each."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from layerview.unionfs.node import Caller, Node
from layerview.unionfs.steps import Step
from layerview.unionfs.union import RENAME_EXCHANGE, RENAME_NOREPLACE, Union
from tests.unionfs import flat
from tests.unionfs.random_layers import NAMES, TOO_LONG, make
from tests.unionfs.told import Told

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others: needs root")

_NAMES = st.sampled_from([*NAMES[:3], *NAMES, TOO_LONG])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(tuple)
_FOLDERS = st.lists(st.sampled_from(NAMES[:3]), max_size=2).map(tuple)
_MODES = st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o000])
_CALLERS = st.sampled_from([Caller(), Caller(1000, 1001, 7), Caller(5, 0, 8)])
_DATA = st.sampled_from([b"", b"x", b"some data", b"much" * 3000])

Path_ = tuple[bytes, ...]


@dataclass
class Opened:
    node: Node
    union: int
    flat: int
    branch: int
    writes: bool


class AgainstFlat(RuleBasedStateMachine):
    @initialize(
        seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=3),
        umask=st.sampled_from([0, 0o022]),
    )
    def start(self, seeds: list[int], umask: int) -> None:
        self.umask = os.umask(0)
        self.base = Path(tempfile.mkdtemp(prefix="union-"))
        layers = [self.base / f"layer{number}" for number in range(len(seeds))]
        for layer, seed in zip(layers, seeds, strict=True):
            make(layer, seed)
        (self.base / "top").mkdir()
        flat.flatten(layers, self.base / "flat")
        shutil.copystat(layers[-1], self.base / "top")
        state = layers[-1].stat()
        os.chown(self.base / "top", state.st_uid, state.st_gid)
        self.before = {layer: flat.contents(layer) for layer in layers}
        self.branches = [
            os.open(folder, flat.FOLDER) for folder in (self.base / "top", *reversed(layers))
        ]
        self.flat = os.open(self.base / "flat", flat.FOLDER)
        self.since = time.time_ns() - 50_000_000
        self.opened: list[Opened] = []
        self.told = Told()
        self.numbers: dict[int, int] = {}
        os.umask(umask)
        self.open_union()
        found, wanted = flat.look_union(self.union), flat.look_flat(self.base / "flat")
        # Names of a file that a layer above hides count where it lies.
        self.hidden = {
            ino: found.nlinks[path] - wanted.nlinks[path]
            for path, ino in found.inodes.items()
            if not stat.S_ISDIR(found.seen[path].mode)
        }

    def open_union(self) -> None:
        self.steps: list[Step] = []
        self.union = Union(self.branches, report=self.steps.append)

    def teardown(self) -> None:
        if not hasattr(self, "union"):
            return
        os.umask(self.umask)
        for opened in self.opened:
            self.close_one(opened)
        self.union.close()
        assert not os.path.lexists(self.base / "top/.wh..wh.orph")
        for layer, before in self.before.items():
            assert flat.contents(layer) == before
        for fd in (*self.branches, self.flat):
            os.close(fd)
        shutil.rmtree(self.base)

    # --- the same on both ---

    def on_both(
        self,
        union: Callable[[], Any],
        plain: Callable[[], Any],
        *names: bytes,
    ) -> tuple[Any, Any] | None:
        """Do something on the union, and on the folder unless the union may not do it."""
        got = wanted = None
        code = want = 0
        self.error: OSError | None = None
        try:
            got = union()
        except OSError as error:
            code = error.errno or -1
            self.error = error
        if code == errno.EXDEV:
            return None
        if code == errno.ENAMETOOLONG:
            assert TOO_LONG in names
            return None
        try:
            wanted = plain()
        except OSError as error:
            want = error.errno or -1
        if code != want:
            wrong = (errno.errorcode.get(code), errno.errorcode.get(want))
            raise AssertionError(wrong) from self.error
        return None if code else (got, wanted)

    def folder(self, way: Path_) -> Node:
        node = self.union.root
        for name in way:
            node = self.union.lookup(node, name)
        if not node.is_folder:
            raise OSError(errno.ENOTDIR, "")
        return node

    def node(self, path: Path_) -> Node:
        return self.union.lookup(self.folder(path[:-1]), path[-1])

    def plain(self, way: Path_) -> int:
        """Open a plain folder; it is closed when the next is opened."""
        fd = self.flat
        for name in way:
            below = os.open(name, flat.FOLDER, dir_fd=fd)
            if fd != self.flat:
                os.close(fd)
            fd = below
        return fd

    def at_plain(self, path: Path_, do: Callable[[bytes, int], Any]) -> Any:
        fd = self.plain(path[:-1])
        try:
            return do(path[-1], fd)
        finally:
            if fd != self.flat:
                os.close(fd)

    def kind(self, path: Path_) -> int:
        try:
            return self.node(path).kind
        except OSError:
            return 0

    # --- making ---

    @rule(path=_PATHS, mode=_MODES, data=_DATA, by=_CALLERS, only_new=st.booleans())
    def create(self, path: Path_, mode: int, data: bytes, by: Caller, only_new: bool) -> None:
        if self.kind(path) not in (0, stat.S_IFREG):
            return
        flags = os.O_CREAT | os.O_WRONLY | (os.O_EXCL if only_new else os.O_APPEND)

        def plain(name: bytes, at: int) -> int:
            had = os.path.lexists(b"/proc/self/fd/%d/%s" % (at, name))
            fd = os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=at)
            if not had:
                shared = os.fstat(at).st_mode & stat.S_ISGID
                os.fchown(fd, by.uid, -1 if shared else by.gid)
                os.fchmod(fd, mode)
            return fd

        both = self.on_both(
            lambda: self.union.create(self.folder(path[:-1]), path[-1], mode, flags, by)[1],
            lambda: self.at_plain(path, plain),
            *path,
        )
        if both is not None:
            for fd in both:
                os.write(fd, data)
                os.close(fd)

    @rule(path=_PATHS, mode=st.sampled_from([0o755, 0o700, 0o1777, 0o2770]), by=_CALLERS)
    def mkdir(self, path: Path_, mode: int, by: Caller) -> None:
        def plain(name: bytes, at: int) -> None:
            os.mkdir(name, dir_fd=at)
            shared = os.fstat(at).st_mode & stat.S_ISGID
            os.chown(name, by.uid, -1 if shared else by.gid, dir_fd=at)
            os.chmod(name, mode | shared, dir_fd=at)

        self.on_both(
            lambda: self.union.mkdir(self.folder(path[:-1]), path[-1], mode, by),
            lambda: self.at_plain(path, plain),
            *path,
        )

    @rule(path=_PATHS, by=_CALLERS)
    def symlink(self, path: Path_, by: Caller) -> None:
        def plain(name: bytes, at: int) -> None:
            os.symlink(b"to/\xff", name, dir_fd=at)
            shared = os.fstat(at).st_mode & stat.S_ISGID
            owner = (by.uid, -1 if shared else by.gid)
            os.chown(name, *owner, dir_fd=at, follow_symlinks=False)

        self.on_both(
            lambda: self.union.symlink(self.folder(path[:-1]), path[-1], b"to/\xff", by),
            lambda: self.at_plain(path, plain),
            *path,
        )

    @rule(path=_PATHS, device=st.booleans())
    def mknod(self, path: Path_, device: bool) -> None:
        mode, rdev = (0o020640, os.makedev(1, 5)) if device else (0o010604, 0)

        def plain(name: bytes, at: int) -> None:
            os.mknod(name, mode, rdev, dir_fd=at)
            os.chmod(name, stat.S_IMODE(mode), dir_fd=at)

        self.on_both(
            lambda: self.union.mknod(self.folder(path[:-1]), path[-1], mode, rdev),
            lambda: self.at_plain(path, plain),
            *path,
        )

    @rule(old=_PATHS, path=_PATHS)
    def link(self, old: Path_, path: Path_) -> None:
        if self.kind(old) == stat.S_IFDIR:
            return

        def plain() -> None:
            above, at = self.plain(old[:-1]), self.plain(path[:-1])
            os.link(old[-1], path[-1], src_dir_fd=above, dst_dir_fd=at, follow_symlinks=False)

        def union() -> None:
            above, at = self.folder(old[:-1]), self.folder(path[:-1])
            self.union.link(self.union.lookup(above, old[-1]), at, path[-1])

        self.on_both(union, plain, *path)

    # --- deleting and renaming ---

    @rule(path=_PATHS)
    def unlink(self, path: Path_) -> None:
        self.on_both(
            lambda: self.union.unlink(self.folder(path[:-1]), path[-1]),
            lambda: self.at_plain(path, lambda name, at: os.unlink(name, dir_fd=at)),
            *path,
        )

    @rule(path=_PATHS)
    def rmdir(self, path: Path_) -> None:
        self.on_both(
            lambda: self.union.rmdir(self.folder(path[:-1]), path[-1]),
            lambda: self.at_plain(path, lambda name, at: os.rmdir(name, dir_fd=at)),
            *path,
        )

    @rule(path=_PATHS)
    def remove_all(self, path: Path_) -> None:
        """As `rm -rf`: only names that no whiteout can hide stay."""
        if self.kind(path) != stat.S_IFDIR:
            return
        for name in [entry.name for entry in self.union.entries(self.folder(path))]:
            self.remove_all((*path, name))
            self.unlink_quietly((*path, name))
        self.rmdir_quietly(path)

    def unlink_quietly(self, path: Path_) -> None:
        if self.kind(path) != stat.S_IFDIR:
            AgainstFlat.unlink(self, path)

    def rmdir_quietly(self, path: Path_) -> None:
        AgainstFlat.rmdir(self, path)

    @rule(path=_PATHS, to=_PATHS, flags=st.sampled_from([0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE]))
    def rename(self, path: Path_, to: Path_, flags: int) -> None:
        def plain() -> None:
            above, at = self.plain(path[:-1]), self.plain(to[:-1])
            flat.rename(path[-1], above, to[-1], at, flags)

        def union() -> None:
            above, at = self.folder(path[:-1]), self.folder(to[:-1])
            self.union.rename(above, path[-1], at, to[-1], flags)

        self.on_both(union, plain, *path, *to)

    # --- content ---

    @rule(path=_PATHS, at=st.sampled_from([0, 3, 5000, 200_000]), data=_DATA)
    def write(self, path: Path_, at: int, data: bytes) -> None:
        self.with_file(path, os.O_RDWR, lambda fd: os.pwrite(fd, data, at))

    @rule(path=_PATHS, data=_DATA)
    def append(self, path: Path_, data: bytes) -> None:
        self.with_file(path, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, data))

    @rule(path=_PATHS, data=_DATA)
    def overwrite(self, path: Path_, data: bytes) -> None:
        self.with_file(path, os.O_WRONLY | os.O_TRUNC, lambda fd: os.write(fd, data))

    @rule(path=_PATHS)
    def open_for_nothing(self, path: Path_) -> None:
        self.with_file(path, os.O_RDWR, lambda fd: None)

    @rule(path=_PATHS)
    def map(self, path: Path_) -> None:
        def write(fd: int) -> None:
            if os.fstat(fd).st_size:
                with mmap.mmap(fd, 0) as shared:
                    shared[0] = shared[0] ^ 0xFF
                os.utime(fd)

        self.with_file(path, os.O_RDWR, write)

    def with_file(self, path: Path_, flags: int, do: Callable[[int], Any]) -> None:
        if self.kind(path) not in (0, stat.S_IFREG):
            return

        def union() -> None:
            fd = self.union.open(self.node(path), flags)
            do(fd)
            os.close(fd)

        def plain(name: bytes, at: int) -> None:
            fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=at)
            do(fd)
            os.close(fd)

        self.on_both(union, lambda: self.at_plain(path, plain), *path)

    @rule(path=_PATHS, size=st.sampled_from([0, 1, 4096, 300_000]))
    def truncate(self, path: Path_, size: int) -> None:
        if self.kind(path) not in (0, stat.S_IFREG):
            return

        def plain(name: bytes, at: int) -> None:
            fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=at)
            os.ftruncate(fd, size)
            os.close(fd)

        self.on_both(
            lambda: self.union.set_attributes(self.node(path), size=size),
            lambda: self.at_plain(path, plain),
            *path,
        )

    # --- attributes ---

    @rule(path=_PATHS, mode=_MODES)
    def chmod(self, path: Path_, mode: int) -> None:
        if self.kind(path) == stat.S_IFLNK:
            return
        self.on_both(
            lambda: self.union.set_attributes(self.node(path), mode=mode),
            lambda: self.at_plain(path, lambda name, at: os.chmod(name, mode, dir_fd=at)),
            *path,
        )

    @rule(path=_PATHS, uid=st.sampled_from([0, 9]))
    def chown(self, path: Path_, uid: int) -> None:
        self.on_both(
            lambda: self.union.set_attributes(self.node(path), uid=uid),
            lambda: self.at_plain(
                path,
                lambda name, at: os.chown(name, uid, -1, dir_fd=at, follow_symlinks=False),
            ),
            *path,
        )

    @rule(path=_PATHS, moment=st.integers(0, 10**18))
    def touch(self, path: Path_, moment: int) -> None:
        def plain(name: bytes, at: int) -> None:
            os.utime(name, ns=(moment, moment), dir_fd=at, follow_symlinks=False)

        self.on_both(
            lambda: self.union.set_attributes(self.node(path), atime_ns=moment, mtime_ns=moment),
            lambda: self.at_plain(path, plain),
            *path,
        )

    @rule(path=_PATHS, value=_DATA, flags=st.sampled_from([0, os.XATTR_CREATE, os.XATTR_REPLACE]))
    def set_xattr(self, path: Path_, value: bytes, flags: int) -> None:
        self.on_both(
            lambda: self.union.set_xattr(self.node(path), b"trusted.\xff", value[:100], flags),
            lambda: self.at_plain(
                path,
                lambda name, at: os.setxattr(
                    b"/proc/self/fd/%d/%s" % (at, name),
                    b"trusted.\xff",
                    value[:100],
                    flags,
                    follow_symlinks=False,
                ),
            ),
            *path,
        )

    @rule(path=_PATHS, name=st.sampled_from([b"user.\xff", b"trusted.\xff"]))
    def remove_xattr(self, path: Path_, name: bytes) -> None:
        if self.kind(path) not in (0, stat.S_IFREG):
            return
        self.on_both(
            lambda: self.union.remove_xattr(self.node(path), name),
            lambda: self.at_plain(
                path,
                lambda last, at: os.removexattr(
                    b"/proc/self/fd/%d/%s" % (at, last), name, follow_symlinks=False
                ),
            ),
            *path,
        )

    # --- open files, memory, another start ---

    @precondition(lambda self: len(self.opened) < 4)
    @rule(path=_PATHS, writes=st.booleans())
    def open(self, path: Path_, writes: bool) -> None:
        if self.kind(path) not in (0, stat.S_IFREG):
            return
        flags = os.O_RDWR if writes else os.O_RDONLY
        both = self.on_both(
            lambda: self.union.open(self.node(path), flags),
            lambda: self.at_plain(
                path, lambda name, at: os.open(name, flags | os.O_NOFOLLOW, dir_fd=at)
            ),
            *path,
        )
        if both is not None:
            node = self.node(path)
            self.union.hold(node)
            self.opened.append(Opened(node, *both, node.branch, writes))

    @precondition(lambda self: self.opened)
    @rule(which=st.integers(0, 3), size=st.sampled_from([None, 7]), mode=_MODES)
    def change_open(self, which: int, size: int | None, mode: int) -> None:
        """Change a file that is open, and may have no name any more."""
        opened = self.opened[which % len(self.opened)]
        if opened.writes:
            for fd in (opened.union, opened.flat):
                os.write(fd, b"written while open")
        if size is not None:
            fd = opened.union if opened.writes else -1
            self.union.set_attributes(opened.node, size=size, fd=fd)
            with open(f"/proc/self/fd/{opened.flat}", "r+b") as file:
                file.truncate(size)
        os.fchmod(opened.flat, mode)
        assert stat.S_IMODE(self.union.set_attributes(opened.node, mode=mode).st_mode) == mode

    @precondition(lambda self: self.opened)
    @rule(which=st.integers(0, 3))
    def close(self, which: int) -> None:
        self.close_one(self.opened.pop(which % len(self.opened)))

    def close_one(self, opened: Opened) -> None:
        os.close(opened.union)
        os.close(opened.flat)
        self.union.forget(opened.node)

    @rule()
    def reopen(self) -> None:
        for opened in self.opened:
            self.close_one(opened)
        self.opened.clear()
        self.union.close()
        self.told.see(self.steps)
        self.open_union()

    @rule()
    def sweep(self) -> None:
        self.union._sweep(self.union.root)

    # --- what must hold ---

    @invariant()
    def is_the_same(self) -> None:
        wanted, got = flat.look_flat(self.base / "flat"), flat.look_union(self.union)
        flat.compare(wanted, got, since=self.since)
        for path, count in wanted.nlinks.items():
            if not stat.S_ISDIR(wanted.seen[path].mode):
                extra = self.hidden.get(got.inodes[path], 0)
                assert got.nlinks[path] in (count, count + extra), path
        # Numbers stay what they were, whatever is copied up or renamed, also over another start.
        numbers = {wanted.inodes[path]: got.inodes[path] for path in wanted.seen}
        for ino, number in numbers.items():
            assert self.numbers.get(ino, number) == number
        self.numbers = numbers

    @invariant()
    def open_files_are_the_same(self) -> None:
        for opened in self.opened:
            if opened.branch != opened.node.branch:
                # It was copied up since: this one goes on reading what it had.
                continue
            union, plain = os.fstat(opened.union), os.fstat(opened.flat)
            assert union.st_size == plain.st_size
            size = plain.st_size
            assert os.pread(opened.union, size, 0) == os.pread(opened.flat, size, 0)
            had = self.union.attributes(opened.node)
            assert had.nlink - plain.st_nlink in (0, self.hidden.get(had.ino, 0))
            assert had.size == size

    @invariant()
    def what_was_told_is_on_disk(self) -> None:
        self.told.see(self.steps)
        self.steps.clear()
        self.told.compare(self.base / "top")


TestAgainstFlat = AgainstFlat.TestCase
TestAgainstFlat.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
