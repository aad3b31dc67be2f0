"""The built-in shell and busybox's, given the same line in the same tree."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from layerview.unionfs.shell.places import Tree
from layerview.unionfs.shell.shell import Shell
from layerview.unionfs.steps import Step
from layerview.unionfs.union import Caller, Union

BUSYBOX = next((p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), "")
APPLETS = (
    *("cat", "chmod", "chown", "cp", "dd", "du", "echo", "false", "find", "head", "ln", "ls"),
    *("mkdir", "mv", "printf", "rm", "rmdir", "sh", "stat", "tail", "touch", "true", "truncate"),
    "wc",
)
BY = Caller(os.geteuid(), os.getegid())
LONG_AGO = 1_500_000_000


class Said(NamedTuple):
    """What came of a line."""

    out: bytes
    errors: bytes
    status: int


class Place:
    """A union of an empty top branch and a lower one, and a shell over it."""

    def __init__(self, top: Path, *below: Path, columns: int = 0) -> None:
        """Open the branches; `close` lets go of them."""
        self.steps: list[Step] = []
        self.out = bytearray()
        self.errors = bytearray()
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self._fds = [os.open(path, flags) for path in (top, *below)]
        self.union = Union(self._fds, report=self.steps.append)
        self.tree = Tree(self.union, by=BY)
        self.shell = Shell(self.tree, self.out.extend, self.errors.extend, columns=columns)

    def run(self, line: bytes | str) -> Said:
        """Have the shell do what a line says."""
        self.out.clear()
        self.errors.clear()
        status = self.shell.run(line)
        return Said(bytes(self.out), bytes(self.errors), status)

    def close(self) -> None:
        """Let go of all."""
        self.union.close()
        for fd in self._fds:
            os.close(fd)


def applets(folder: Path) -> Path:
    """Make a folder of busybox's commands, for PATH."""
    folder.mkdir()
    for name in APPLETS:
        (folder / name).symlink_to(BUSYBOX)
    return folder


def by_busybox(line: bytes | str, folder: Path, commands: Path) -> Said:
    """Have busybox do what a line says, in a flat folder."""
    done = subprocess.run(
        [BUSYBOX, "sh", "-c", line],
        cwd=folder,
        env={"PATH": str(commands), "LC_ALL": "C", "HOME": "/"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    return Said(done.stdout, done.stderr, done.returncode)


def fill(root: Path) -> None:
    """Make the tree that lines work on; all of it is old."""
    for folder in ("d", "d/e", "etc", "empty"):
        (root / folder).mkdir()
    files = {
        "f": b"one\ntwo\nthree\n",
        "d/g": b"gg\n",
        "d/e/h": b"no newline",
        "none": b"",
        "with space": b"s\n",
        ".hidden": b"h\n",
        "a1": b"1",
        "a2": b"22",
        "b1": b"b" * 1500,
        "big": b"x" * 70_000,
        "d/run": b"#!\n",
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:\nbin:x:2:2::/:\n",
        "etc/group": b"root:x:0:\ndaemon:x:1:\nbin:x:2:\n",
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    (root / "d/run").chmod(0o755)
    (root / "link").symlink_to("f")
    (root / "dlink").symlink_to("d")
    (root / "dead").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.link(root / "f", root / "d/same")
    with open(root / "hole", "wb") as file:
        file.truncate(300_000)
    for path, folders, names in os.walk(root, topdown=False):
        for name in (*folders, *names):
            when = (LONG_AGO, LONG_AGO)
            os.utime(os.path.join(path, name), when, follow_symlinks=False)


Tree_ = dict[bytes, tuple[object, ...]]


def flat_tree(root: Path) -> Tree_:
    """Return all that is in a folder: kinds, modes, owners, contents, hard links."""
    found: Tree_ = {}
    inodes: dict[int, bytes] = {}
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        full = os.path.join(os.fsencode(root), path)
        state = os.lstat(full)
        content: object = None
        if stat.S_ISDIR(state.st_mode):
            waiting += sorted((path + b"/" + name).lstrip(b"/") for name in os.listdir(full))
        elif stat.S_ISLNK(state.st_mode):
            content = os.readlink(full)
        elif stat.S_ISREG(state.st_mode):
            with open(full, "rb") as file:
                content = file.read()
        found[path] = _entry(state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns, content)
        _same(found, inodes, path, state.st_ino, state.st_mode)
    return found


def union_tree(place: Place) -> Tree_:
    """Return the same of a union."""
    found: Tree_ = {}
    inodes: dict[int, bytes] = {}
    union = place.union
    waiting = [(b"", union.root)]
    while waiting:
        path, node = waiting.pop()
        state = union.attributes(node)
        content: object = None
        if node.is_folder:
            waiting += [
                ((path + b"/" + entry.name).lstrip(b"/"), union.lookup(node, entry.name))
                for entry in sorted(union.entries(node))
            ]
        elif stat.S_ISLNK(state.mode):
            content = union.read_link(node)
        elif stat.S_ISREG(state.mode):
            with os.fdopen(union.open(node, os.O_RDONLY, BY), "rb") as file:
                content = file.read()
        found[path] = _entry(state.mode, state.uid, state.gid, state.mtime_ns, content)
        _same(found, inodes, path, state.ino, state.mode)
    return found


def _entry(mode: int, uid: int, gid: int, mtime_ns: int, content: object) -> tuple[object, ...]:
    # What is new has another time in each of the two.
    old = mtime_ns // 10**9 if mtime_ns < 1_700_000_000 * 10**9 else None
    return mode, uid, gid, content, None if stat.S_ISDIR(mode) else old


def _same(found: Tree_, inodes: dict[int, bytes], path: bytes, ino: int, mode: int) -> None:
    """Note under which other name a file is known already."""
    if not stat.S_ISDIR(mode):
        found[path] += (inodes.setdefault(ino, path),)
