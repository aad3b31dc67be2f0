"""Operations at random, on a union and on a mounted folder alike."""

from __future__ import annotations

import os
import random
import stat
from contextlib import suppress
from typing import NamedTuple

from layerview.unionfs.node import Node
from layerview.unionfs.union import Union
from tests.unionfs.random_layers import NAMES, TOO_LONG


class Operation(NamedTuple):
    what: str
    path: tuple[bytes, ...]
    to: tuple[bytes, ...]
    data: bytes
    number: int


_WHAT = ["create", "write", "append", "overwrite", "truncate", "mkdir", "symlink", "link"]
_WHAT += ["unlink", "unlink", "rmdir", "rename", "rename", "chmod", "chown", "touch", "xattr"]
_WHAT += ["remove_all"]


def operations(seed: int, count: int) -> list[Operation]:
    """Make up operations."""
    chance = random.Random(seed)

    def path() -> tuple[bytes, ...]:
        names = [*NAMES[:3], *NAMES, TOO_LONG]
        return tuple(chance.choice(names) for _ in range(chance.choice([1, 2, 2, 3])))

    return [
        Operation(
            chance.choice(_WHAT),
            path(),
            path(),
            chance.randbytes(chance.choice([0, 1, 30, 9000])),
            chance.randrange(4),
        )
        for _ in range(count)
    ]


MODES = [0o644, 0o600, 0o4755, 0o711]


def on_union(union: Union, operation: Operation) -> None:
    """Do one; what can't be done is left."""
    with suppress(OSError):
        _on_union(union, *operation)


def _on_union(
    union: Union, what: str, path: tuple[bytes, ...], to: tuple[bytes, ...], data: bytes, n: int
) -> None:
    folder, name = _folder(union, path), path[-1]
    if what == "create":
        node, fd = union.create(folder, name, 0o640, os.O_WRONLY | os.O_EXCL)
        union.wrote(node, os.write(fd, data))
        os.close(fd)
    elif what == "mkdir":
        union.mkdir(folder, name, 0o755)
    elif what == "symlink":
        union.symlink(folder, name, b"somewhere")
    elif what == "unlink":
        union.unlink(folder, name)
    elif what == "rmdir":
        union.rmdir(folder, name)
    elif what == "rename":
        union.rename(folder, name, _folder(union, to), to[-1])
    elif what == "remove_all":
        _remove_all(union, folder, name)
    else:
        node = union.lookup(folder, name)
        if what == "link":
            union.link(node, _folder(union, to), to[-1])
        elif what == "chmod" and node.kind != stat.S_IFLNK:
            union.set_attributes(node, mode=MODES[n])
        elif what == "chown":
            union.set_attributes(node, uid=n, gid=n)
        elif what == "touch":
            union.set_attributes(node, atime_ns=n * 10**9, mtime_ns=n * 10**9)
        elif node.kind != stat.S_IFREG:
            return
        elif what == "xattr":
            union.set_xattr(node, b"user.a", data[:50])
        elif what == "truncate":
            union.set_attributes(node, size=n * 5000)
        else:
            flags = {"write": 0, "append": os.O_APPEND, "overwrite": os.O_TRUNC}[what]
            fd = union.open(node, os.O_WRONLY | flags)
            union.wrote(node, os.write(fd, data))
            os.close(fd)


def _folder(union: Union, path: tuple[bytes, ...]) -> Node:
    node = union.root
    for name in path[:-1]:
        node = union.lookup(node, name)
    return node


def _remove_all(union: Union, folder: Node, name: bytes) -> None:
    node = union.lookup(folder, name)
    if not node.is_folder:
        union.unlink(folder, name)
        return
    for entry in union.entries(node):
        with suppress(OSError):
            _remove_all(union, node, entry.name)
    union.rmdir(folder, name)


def on_folder(top: bytes, operation: Operation) -> None:
    """Do one on what is mounted; what can't be done is left."""
    with suppress(OSError):
        _on_folder(top, *operation)


def _on_folder(
    top: bytes, what: str, path: tuple[bytes, ...], to: tuple[bytes, ...], data: bytes, n: int
) -> None:
    name = b"/".join([top, *path])
    if any(os.path.islink(b"/".join([top, *path[:end]])) for end in range(1, len(path))):
        return
    if what == "create":
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        os.write(fd, data)
        os.close(fd)
    elif what == "mkdir":
        os.mkdir(name)
    elif what == "symlink":
        os.symlink(b"somewhere", name)
    elif what == "unlink":
        os.unlink(name)
    elif what == "rmdir":
        os.rmdir(name)
    elif what == "rename":
        os.rename(name, b"/".join([top, *to]))
    elif what == "remove_all":
        _remove_plain(name)
    elif what == "link":
        if not stat.S_ISDIR(os.lstat(name).st_mode):
            os.link(name, b"/".join([top, *to]), follow_symlinks=False)
    elif what == "chown":
        os.chown(name, n, n, follow_symlinks=False)
    elif what == "touch":
        os.utime(name, ns=(n * 10**9,) * 2, follow_symlinks=False)
    elif what == "chmod":
        if not os.path.islink(name):
            os.chmod(name, MODES[n])
    elif not stat.S_ISREG(os.lstat(name).st_mode):
        return
    elif what == "xattr":
        os.setxattr(name, b"user.a", data[:50])
    elif what == "truncate":
        os.truncate(name, n * 5000)
    else:
        flags = {"write": 0, "append": os.O_APPEND, "overwrite": os.O_TRUNC}[what]
        fd = os.open(name, os.O_WRONLY | flags)
        os.write(fd, data)
        os.close(fd)


def _remove_plain(name: bytes) -> None:
    if os.path.islink(name) or not os.path.isdir(name):
        os.unlink(name)
        return
    for child in os.listdir(name):
        with suppress(OSError):
            _remove_plain(name + b"/" + child)
    os.rmdir(name)
