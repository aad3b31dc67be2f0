"""Two programs that also know what layers mean together, asked as oracles.

The kernel's overlayfs over the layers extracted one by one, and `umoci unpack`. Every layer of a
stack gives its entries a modification time of its own, so that a path in either's tree says which
layer it came from. Nothing here uses layerview but `view_of`, which looks at what it shows.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from layerview.layer.kinds import Kind
from layerview.sources.loading import ImageContents, load_layers
from layerview.sources.resolve import open_image
from layerview.view import UnionView
from tests.support import archives, tars

FIRST_TIME = 1_600_000_000
"""Modification time of the base's entries (seconds); the next layer's is one more."""
_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One path as somebody shows it."""

    type: str
    mode: int | None = None
    owner: tuple[int, int] | None = None
    size: int = 0
    target: bytes | None = None
    content: str | None = None
    device: tuple[int, int] | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    first_name: bytes | None = None
    """The first path of the same inode, when that is another one."""
    layer: int | None = None


Tree = dict[bytes, Seen]


def difference(expected: Tree, found: Tree) -> list[str]:
    """Say how two trees differ, a line each."""
    lines = []
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            lines.append(f"{path!r}: {_words(expected.get(path), found.get(path))}")
    return lines


def _words(a: Seen | None, b: Seen | None) -> str:
    if a is None or b is None:
        return f"only {'layerview' if a is None else 'the oracle'} shows it: {a or b}"
    return ", ".join(
        f"{name}: oracle {getattr(a, name)!r}, layerview {getattr(b, name)!r}"
        for name in Seen.__slots__
        if getattr(a, name) != getattr(b, name)
    )


def without(tree: Tree, fields: Collection[str], paths: Collection[bytes]) -> Tree:
    """Leave fields of some paths out of a comparison."""
    blank: dict[str, Any] = {name: () if name == "xattrs" else None for name in fields}
    return {path: replace(seen, **blank) if path in paths else seen for path, seen in tree.items()}


# ---- layerview ------------------------------------------------------------------------------


def view_of(name: str) -> Tree:
    """What layerview's unified view shows of an image."""
    with open_image(name) as image:
        loaded = load_layers(image, cache=False)
        assert [layer.damage for layer in loaded] == [None] * len(loaded)
        view, contents = UnionView([layer.index for layer in loaded]), ImageContents(loaded)
        tree: Tree = {}
        nodes = list(view.walk())
        files: dict[int, list[int]] = {}
        for node in nodes:
            if node.kind == Kind.FILE:
                assert node.written is not None
                files.setdefault(node.written, []).append(node.inode)
        digests = {layer: contents.digests(layer, rows) for layer, rows in files.items()}
        assert [node.path for node in nodes] == sorted(
            (node.path for node in nodes), key=lambda path: path.split(b"/")
        )
        for node in [view.root(), *nodes]:
            content = None
            if node.kind == Kind.FILE:
                assert node.written is not None
                content = digests[node.written][node.inode].hex()
            tree[node.path] = Seen(
                node.type,
                None if node.type == "symlink" else node.mode,
                (node.uid, node.gid),
                node.size,
                node.target,
                content,
                node.device,
                tuple(sorted(node.xattrs.items())),
                node.hardlink,
                node.layer,
            )
        return tree


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- looking at a real tree -----------------------------------------------------------------


def tree_of(root: Path, times: bool = True) -> Tree:
    """What lies below a folder; a name that can't be looked up is no entry."""
    tree: Tree = {}
    inodes: dict[tuple[int, int], list[bytes]] = {}
    base = os.fsencode(root)
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        full = base + b"/" + path if path else base
        try:
            found = os.lstat(full)
        except FileNotFoundError:
            # A whiteout in a folder that merges with nothing: listed, but not there.
            continue
        seen = _look(full, found)
        if times:
            seen = replace(seen, layer=layer_of_time(int(found.st_mtime)))
        tree[path] = seen
        if seen.type == "dir":
            waiting += [path + b"/" + name if path else name for name in os.listdir(full)]
        elif found.st_nlink > 1:
            inodes.setdefault((found.st_dev, found.st_ino), []).append(path)
    for names in inodes.values():
        first, *others = sorted(names, key=lambda path: path.split(b"/"))
        for name in others:
            tree[name] = replace(tree[name], first_name=first)
    return tree


def layer_of_time(seconds: int) -> int | None:
    """The layer that a modification time stands for; None for any other time."""
    layer = seconds - FIRST_TIME
    return layer if 0 <= layer < 1000 else None


def _look(full: bytes, found: os.stat_result) -> Seen:
    kind = _TYPES[stat.S_IFMT(found.st_mode)]
    xattrs = []
    for name in os.listxattr(full, follow_symlinks=False):
        if not name.startswith(("trusted.overlay.", "user.umoci.", "user.rootlesscontainers")):
            xattrs.append((os.fsencode(name), os.getxattr(full, name, follow_symlinks=False)))
    content = sha256(Path(os.fsdecode(full)).read_bytes()) if kind == "file" else None
    is_device = kind in ("char", "block")
    return Seen(
        kind,
        None if kind == "symlink" else stat.S_IMODE(found.st_mode),
        (found.st_uid, found.st_gid),
        found.st_size if kind in ("file", "symlink") else 0,
        os.readlink(full) if kind == "symlink" else None,
        content,
        (os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else None,
        tuple(sorted(xattrs)),
        None,
        None,
    )


# ---- the kernel -----------------------------------------------------------------------------


def extract(data: bytes, root: Path) -> None:
    """Extract one layer by itself in the form that overlayfs reads.

    A deletion is a character device 0/0, an opaque folder has `trusted.overlay.opaque`; what
    the layer itself has at a deleted path stays, and hides all that is below.
    """
    base = os.fsencode(root)
    deleted: list[bytes] = []
    opaque: list[bytes] = []
    folders: dict[bytes, tarfile.TarInfo] = {}
    implied: set[bytes] = {base}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as tar:
        for member in tar:
            path = os.fsencode(os.path.normpath(member.name))
            full = base if path == b"." else base + b"/" + path
            parent, _, name = full.rpartition(b"/")
            if name == b".wh..wh..opq":
                opaque.append(parent)
                make_folders(parent, implied)
                continue
            if name.startswith(b".wh..wh."):
                continue
            if name.startswith(b".wh."):
                deleted.append(parent + b"/" + name[4:])
                make_folders(parent, implied)
                continue
            if full != base:
                make_folders(parent, implied)
                _clear(full, keep_folder=member.isdir())
            implied.discard(full)
            if member.isdir():
                if not os.path.isdir(full):
                    os.mkdir(full)
                folders[full] = member
                continue
            folders.pop(full, None)
            _make(tar, member, full, base)
    for full in deleted:
        if not os.path.lexists(full):
            os.mknod(full, stat.S_IFCHR, os.makedev(0, 0))
        elif os.path.isdir(full) and not os.path.islink(full):
            opaque.append(full)
    for full in opaque:
        if os.path.isdir(full) and not os.path.islink(full):
            os.setxattr(full, "trusted.overlay.opaque", b"y")
    for full, member in sorted(folders.items(), reverse=True):
        if os.path.isdir(full):
            _attributes(full, member)
    for full in implied:
        if os.path.isdir(full):
            os.utime(full, (0, 0))


def make_folders(full: bytes, implied: set[bytes]) -> None:
    missing = []
    while not os.path.isdir(full):
        missing.append(full)
        full = full.rpartition(b"/")[0]
    for path in reversed(missing):
        if os.path.lexists(path):
            os.unlink(path)
        os.mkdir(path, 0o755)
        implied.add(path)


def _clear(full: bytes, *, keep_folder: bool) -> None:
    if os.path.isdir(full) and not os.path.islink(full):
        if not keep_folder:
            shutil.rmtree(full)
    elif os.path.lexists(full):
        os.unlink(full)


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, full: bytes, base: bytes) -> None:
    if member.islnk():
        os.link(
            base + b"/" + os.fsencode(os.path.normpath(member.linkname)),
            full,
            follow_symlinks=False,
        )
        return
    if member.issym():
        os.symlink(os.fsencode(member.linkname), full)
    elif member.isfifo():
        os.mkfifo(full)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(full, kind, os.makedev(member.devmajor, member.devminor))
    else:
        content = tar.extractfile(member)
        assert content is not None
        with open(full, "wb") as out:
            shutil.copyfileobj(content, out)
    _attributes(full, member)


def _attributes(full: bytes, member: tarfile.TarInfo) -> None:
    os.chown(full, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.chmod(full, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            name = key.removeprefix("SCHILY.xattr.")
            os.setxattr(full, name, os.fsencode(value), follow_symlinks=False)
    os.utime(full, (member.mtime, member.mtime), follow_symlinks=False)


def overlay_tree(layers: Sequence[bytes], work: Path, times: bool = True) -> Tree:
    """What the kernel shows over layers (plain tars, base first)."""
    with tempfile.TemporaryDirectory(dir=work) as place:
        # overlayfs wants two folders at least.
        lower = [Path(place, "none")]
        lower[0].mkdir()
        for number, data in enumerate(layers):
            lower.append(Path(place, str(number)))
            lower[-1].mkdir()
            extract(data, lower[-1])
        merged = Path(place, "merged")
        merged.mkdir()
        with mounted(lower, merged):
            return tree_of(merged, times)


@contextlib.contextmanager
def mounted(lower: Sequence[Path], merged: Path) -> Iterator[None]:
    """Mount folders (base first) as one overlay, read-only."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = "lowerdir=" + ":".join(map(str, reversed(lower)))
    read_only, detach = 1, 2
    if libc.mount(b"overlay", os.fsencode(merged), b"overlay", read_only, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(merged))
    try:
        yield
    finally:
        libc.umount2(os.fsencode(merged), detach)


# ---- umoci ----------------------------------------------------------------------------------


def umoci_tree(layout: Path, tag: str, work: Path, times: bool = True) -> Tree:
    """What umoci unpacks of an image in an OCI layout."""
    with tempfile.TemporaryDirectory(dir=work) as place:
        bundle = Path(place, "bundle")
        done = subprocess.run(
            ["umoci", "unpack", "--image", f"{layout}:{tag}", str(bundle)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"umoci: {done.stderr.strip()}")
        return tree_of(bundle / "rootfs", times)


# ---- stacks ---------------------------------------------------------------------------------


def stamped(entries: Sequence[tars.Part], layer: int) -> list[tars.Part]:
    """Give a layer's entries the time that tells the layer."""
    return [
        replace(entry, mtime=FIRST_TIME + layer) if isinstance(entry, tars.Entry) else entry
        for entry in entries
    ]


def below(prefix: bytes, entries: Sequence[tars.Part]) -> list[tars.Part]:
    """Move a layer's entries into a folder."""
    moved: list[tars.Part] = []
    for entry in entries:
        assert isinstance(entry, tars.Entry)
        target = prefix + b"/" + entry.target if entry.typeflag == b"1" else entry.target
        moved.append(replace(entry, name=prefix + b"/" + entry.name, target=target))
    return moved


Stack = Sequence[Sequence[tars.Part]]
"""Layers, base first, each its entries."""


def together(stacks: Sequence[Stack]) -> list[bytes]:
    """Put several stacks side by side into one, each in a folder of its own; return the tars."""
    layers = []
    for number in range(max(map(len, stacks), default=0)):
        entries: list[tars.Part] = [tars.folder("")]
        for at, stack in enumerate(stacks):
            if number < len(stack):
                name = b"s%02d" % at
                entries += [tars.folder(name), *below(name, stack[number])]
        layers.append(tars.layer(*stamped(entries, number)))
    return layers


def written(layers: Sequence[bytes], work: Path, **options: Any) -> Path:
    """Write an image of layers as an OCI layout tagged `t`."""
    place = work / "layout"
    if place.exists():
        shutil.rmtree(place)
    return archives.oci_layout(place, archives.image(*layers, tags=["t"]), **options)


def scratch() -> Path:
    """A folder for trees with every kind of entry: in memory where there is such a place."""
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
