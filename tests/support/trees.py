"""What a tree on disk is, entry by entry, to say that it is still the same or is what it should be.

before = snapshot(outside)
...
assert snapshot(outside) == before
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    """One entry on disk, by lstat; nothing is followed."""

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    """Nanoseconds; 0 where it was not asked for."""
    size: int
    inode: int
    links: int
    device: int
    content: bytes
    """A file's bytes, a symbolic link's target; of large files the start."""
    xattrs: tuple[tuple[str, bytes], ...]


def look(path: bytes, most: int = 1 << 20) -> Found:
    """Look at one entry."""
    state = os.lstat(path)
    kind = stat.S_IFMT(state.st_mode)
    content = b""
    if kind == stat.S_IFREG:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            content = os.pread(fd, min(state.st_size, most), 0)
        finally:
            os.close(fd)
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return Found(
        kind,
        stat.S_IMODE(state.st_mode),
        state.st_uid,
        state.st_gid,
        state.st_mtime_ns,
        state.st_size if kind != stat.S_IFDIR else 0,
        state.st_ino,
        state.st_nlink if kind != stat.S_IFDIR else 0,
        state.st_rdev,
        content,
        tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
    )


def snapshot(top: Path | str) -> dict[bytes, Found]:
    """Look at a folder (b"") and everything below it, by relative path; without recursion."""
    base = os.fsencode(str(top))
    found = {b"": look(base)}
    waiting = [b""] if found[b""].kind == stat.S_IFDIR else []
    while waiting:
        folder = waiting.pop()
        for name in os.listdir(base + b"/" + folder):
            path = folder + b"/" + name if folder else name
            found[path] = look(base + b"/" + path)
            if found[path].kind == stat.S_IFDIR:
                waiting.append(path)
    return found


def remove(top: Path | str) -> None:
    """Remove a tree, however deep."""
    if os.path.lexists(top):
        subprocess.run([shutil.which("rm") or "/bin/rm", "-rf", "--", str(top)], check=True)
