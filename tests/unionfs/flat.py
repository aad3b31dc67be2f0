"""A plain folder beside a union: what layers make of it, and how the two are compared."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple

from layerview.unionfs.node import Node
from layerview.unionfs.union import Union

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPAQUE = b".wh..wh..opq"


def flatten(layers: list[Path], target: Path) -> None:
    """Unpack layers on one another, the lowest first, as a plain reading of AUFS has it."""
    target.mkdir()
    for layer in layers:
        links: dict[int, bytes] = {}
        _lay(os.fsencode(layer), os.fsencode(target), links)


def _lay(source: bytes, target: bytes, links: dict[int, bytes]) -> None:
    names = os.listdir(source)
    if OPAQUE in names:
        for name in os.listdir(target):
            _remove(target + b"/" + name)
    for name in names:
        if name.startswith(b".wh.") and not name.startswith(b".wh..wh."):
            _remove(target + b"/" + name[4:])
    for name in names:
        if name.startswith(b".wh."):
            continue
        here, there = source + b"/" + name, target + b"/" + name
        state = os.lstat(here)
        if stat.S_ISDIR(state.st_mode):
            if not os.path.isdir(there) or os.path.islink(there):
                _remove(there)
                os.mkdir(there)
            _lay(here, there, links)
            continue
        _remove(there)
        if state.st_ino in links and os.path.lexists(links[state.st_ino]):
            os.link(links[state.st_ino], there, follow_symlinks=False)
            continue
        links[state.st_ino] = there
        if stat.S_ISREG(state.st_mode):
            shutil.copyfile(here, there)
        elif stat.S_ISLNK(state.st_mode):
            os.symlink(os.readlink(here), there)
        else:
            os.mknod(there, state.st_mode, state.st_rdev)
        _dress(here, there)
    _dress(source, target)


def _dress(source: bytes, target: bytes) -> None:
    state = os.lstat(source)
    os.chown(target, state.st_uid, state.st_gid, follow_symlinks=False)
    for name in os.listxattr(target, follow_symlinks=False):
        os.removexattr(target, name, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        value = os.getxattr(source, name, follow_symlinks=False)
        os.setxattr(target, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(state.st_mode):
        os.chmod(target, stat.S_IMODE(state.st_mode))
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns), follow_symlinks=False)


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


class Seen(NamedTuple):
    """What can be seen of an entry, but for its number and its count of names."""

    mode: int
    uid: int
    gid: int
    rdev: int
    size: int
    mtime: int
    content: Any
    xattrs: dict[bytes, bytes]


class Look(NamedTuple):
    seen: dict[bytes, Seen]
    inodes: dict[bytes, int]
    nlinks: dict[bytes, int]


def look_flat(top: Path) -> Look:
    look = Look({}, {}, {})
    _look_flat(os.fsencode(top), b"", look)
    return look


def _look_flat(top: bytes, path: bytes, look: Look) -> None:
    full = top + b"/" + path if path else top
    state = os.lstat(full)
    content: Any = None
    if stat.S_ISREG(state.st_mode):
        with open(full, "rb") as file:
            content = _digest(file.read())
    elif stat.S_ISLNK(state.st_mode):
        content = os.readlink(full)
    elif stat.S_ISDIR(state.st_mode):
        content = sorted(os.listdir(full))
        for name in content:
            _look_flat(top, path + b"/" + name if path else name, look)
    xattrs = {
        os.fsencode(name): os.getxattr(full, name, follow_symlinks=False)
        for name in os.listxattr(full, follow_symlinks=False)
    }
    size = 0 if stat.S_ISDIR(state.st_mode) else state.st_size
    look.seen[path] = Seen(
        state.st_mode,
        state.st_uid,
        state.st_gid,
        state.st_rdev,
        size,
        state.st_mtime_ns,
        content,
        xattrs,
    )
    look.inodes[path] = state.st_ino
    look.nlinks[path] = state.st_nlink


def look_union(union: Union) -> Look:
    look = Look({}, {}, {})
    _look_union(union, union.root, b"", look)
    return look


def _look_union(union: Union, node: Node, path: bytes, look: Look) -> None:
    had = union.attributes(node)
    content: Any = None
    size = had.size
    if stat.S_ISREG(had.mode):
        fd = union.open(node, os.O_RDONLY)
        with open(fd, "rb") as file:
            content = _digest(file.read())
    elif stat.S_ISLNK(had.mode):
        content = union.read_link(node)
    elif stat.S_ISDIR(had.mode):
        size = 0
        entries = union.entries(node)
        content = sorted(entry.name for entry in entries)
        for entry in sorted(entries):
            child, state = union.look(node, entry.name)
            assert child is union.lookup(node, entry.name)
            assert entry.ino == child.ino, entry
            assert entry.kind == child.kind == stat.S_IFMT(state.st_mode)
            _look_union(union, child, path + b"/" + entry.name if path else entry.name, look)
    xattrs = {name: union.get_xattr(node, name) for name in union.list_xattrs(node)}
    look.seen[path] = Seen(
        had.mode, had.uid, had.gid, had.rdev, size, had.mtime_ns, content, xattrs
    )
    look.inodes[path] = had.ino
    look.nlinks[path] = had.nlink


def _digest(data: bytes) -> bytes:
    return data if len(data) < 200 else hashlib.sha256(data).digest()


def compare(flat: Look, union: Look, *, since: int) -> None:
    """Hold two looks against each other; times since a moment only have to be later."""
    assert flat.seen.keys() == union.seen.keys()
    for path, wanted in flat.seen.items():
        got = union.seen[path]
        if wanted.mtime >= since:
            assert got.mtime >= since, path
            got = got._replace(mtime=wanted.mtime)
        assert got == wanted, path
    assert links(flat) == links(union)


def links(look: Look) -> set[frozenset[bytes]]:
    """Return which paths are the same file's."""
    by_inode: dict[int, set[bytes]] = {}
    for path, ino in look.inodes.items():
        by_inode.setdefault(ino, set()).add(path)
    return {frozenset(paths) for paths in by_inode.values()}


def contents(top: Path) -> dict[bytes, tuple[Any, ...]]:
    """Return all that a folder holds on disk, marks and times included."""
    found = look_flat(top)
    return {
        path: (*seen, found.inodes[path], found.nlinks[path]) for path, seen in found.seen.items()
    }


def rename(name: bytes, at: int, to_name: bytes, to_at: int, flags: int) -> None:
    """Rename as renameat2(2) does."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at, name, to_at, to_name, flags) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
