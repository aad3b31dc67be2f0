"""Layers unpacked for the tests of this folder, and what lies on disk then."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from layerview.layer.apply import Applied, apply
from layerview.layer.tar_split import TarSplitWriter, open_in, rebuild
from layerview.layer.whiteouts import Whiteouts
from layerview.layer.windows import Readable


@contextmanager
def opened(folder: Path | str) -> Iterator[int]:
    """Open a folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for one example; tmp_path is one for all of a test's."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="layerview-test-", dir=memory))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@dataclass(frozen=True)
class Unpacked:
    folder: Path
    applied: Applied
    tar_split: bytes

    def rebuilt(self) -> bytes:
        """Put the tar together again."""
        with opened(self.folder) as fd:
            return b"".join(rebuild(io.BytesIO(self.tar_split), open_in(fd)))


def unpack(
    folder: Path,
    data: bytes | Readable,
    whiteouts: Whiteouts = Whiteouts.TRUSTED,
    lower: Path | None = None,
) -> Unpacked:
    """Unpack a layer, which may be below what `lower` shows."""
    folder.mkdir(exist_ok=True, mode=0o755)
    out = io.BytesIO()

    def below(path: bytes) -> int | None:
        try:
            return os.open(os.fsencode(str(lower)) + b"/" + path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return None

    with opened(folder) as fd:
        applied = apply(
            io.BytesIO(data) if isinstance(data, bytes) else data,
            fd,
            whiteouts=whiteouts,
            tar_split=TarSplitWriter(out),
            lower=below if lower is not None else None,
        )
    return Unpacked(folder, applied, out.getvalue())


@dataclass(frozen=True, slots=True)
class Entry:
    """What is under a path, without what differs from one disk to the next."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


def entries_on_disk(top: Path) -> tuple[dict[bytes, Entry], set[frozenset[bytes]]]:
    """Read a tree; also the names of each file that has several."""
    base = os.fsencode(str(top))
    found: dict[bytes, Entry] = {}
    names: dict[int, set[bytes]] = {}
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        full = base + b"/" + path
        try:
            state = os.lstat(full)
        except FileNotFoundError:
            # The kernel lists whiteouts in folders that no lower layer has.
            continue
        kind = _KINDS[stat.S_IFMT(state.st_mode)]
        content = b""
        if kind == "file":
            content = Path(os.fsdecode(full)).read_bytes()
        elif kind == "symlink":
            content = os.readlink(full)
        xattrs = []
        if kind in ("file", "dir"):
            xattrs = [
                (os.fsencode(name), os.getxattr(full, name))
                for name in sorted(os.listxattr(full))
                if not name.startswith(("security.selinux", "trusted.overlay."))
            ]
        found[path] = Entry(
            kind,
            stat.S_IMODE(state.st_mode),
            (state.st_uid, state.st_gid),
            content,
            tuple(xattrs),
        )
        if kind == "dir":
            waiting += [path + b"/" + n if path else n for n in map(os.fsencode, os.listdir(full))]
        else:
            names.setdefault(state.st_ino, set()).add(path)
    return found, {frozenset(paths) for paths in names.values() if len(paths) > 1}


@contextmanager
def merged(folders: Sequence[Path], at: Path) -> Iterator[Path]:
    """Mount layers' folders, base first, as one read-only overlay of the kernel's."""
    at.mkdir()
    empty = at.with_name(at.name + ".empty")
    empty.mkdir(mode=0o755)
    lowers = [*map(str, reversed(folders)), str(empty)]
    if len(lowers) == 1:
        yield empty
        return
    libc = ctypes.CDLL(None, use_errno=True)
    options = "index=off,lowerdir=" + ":".join(lowers)
    if libc.mount(b"overlay", bytes(at), b"overlay", 1, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    try:
        yield at
    finally:
        libc.umount2(bytes(at), 2)
