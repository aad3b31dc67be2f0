"""Packing a layer's folder into a tar: the same folder gives the same bytes, whenever it is packed.

Entries stand in path order; the headers are ustar's, with pax records (POSIX.1-2001) for what they
can't hold alone. Deletions take the form that tars have (OCI image-spec, layer.md, Whiteouts).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing

from layerview.errors import DamageError
from layerview.layer.beneath import file_data
from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.tree import CAPABILITY, Look, Tree
from layerview.layer.tree_changes import Change
from layerview.layer.whiteouts import Whiteouts
from layerview.text import printable

_BLOCK = 512
_ZEROS = bytes(1 << 20)
_END = bytes(2 * _BLOCK)
_OWN_XATTRS = (b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs.", b"system.")
_FLAGS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_MAX_NAME, _MAX_PREFIX = 100, 155


def pack_folder(folder: str, whiteouts: Whiteouts) -> Iterator[bytes]:
    """Pack all that a layer's own folder holds; sockets are left out.

    Args:
        folder: where it is.
        whiteouts: how it says what it deletes of the layers below.

    Raises:
        NotFoundError: when it is not there.
        DamageError: when a file became shorter meanwhile.
        LayerviewError: when something in it can't be read.
    """
    with closing(Tree(folder, whiteouts)) as tree:
        packing = _Packing(tree)
        if whiteouts is not Whiteouts.AUFS and tree.is_opaque(b""):
            yield packing.marker(OPAQUE_MARKER, 0)
        waiting = [(b"", iter(tree.names(b"")))]
        while waiting:
            path, names = waiting[-1]
            for name in names:
                look = tree.look(path, name)
                if look is None:
                    continue
                yield from packing.entry(path, name, look)
                if look.is_folder and not _is_reserved(name):
                    below = path + b"/" + name if path else name
                    waiting.append((below, iter(tree.names(below))))
                    break
            else:
                waiting.pop()
    yield _END


def pack_changes(lower: str | None, upper: str, changes: Sequence[Change]) -> Iterator[bytes]:
    """Pack what a full tree changes of the one below it.

    Args:
        lower: that one; all that is needed of it is in `changes`.
        upper: the tree.
        changes: what differs, in path order, as compare_trees lists it.

    Raises:
        NotFoundError: when the tree is not there.
        DamageError: when a file became shorter meanwhile.
        LayerviewError: when something in it can't be read.
    """
    with closing(Tree(upper)) as tree:
        packing = _Packing(tree)
        for change in changes:
            folder, _, name = change.path.rpartition(b"/")
            if change.kind == "D":
                start = folder + b"/" if folder else b""
                yield packing.marker(start + WHITEOUT_PREFIX + name, 0)
                continue
            look = tree.look(folder, name)
            if look is not None:
                yield from packing.entry(folder, name, look)
    yield _END


def _is_reserved(name: bytes) -> bool:
    """Whether a name means a deletion in tars, and can't be packed."""
    return name.startswith(WHITEOUT_PREFIX)


class _Packing:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._inodes: dict[tuple[int, int], bytes] = {}

    def entry(self, folder: bytes, name: bytes, look: Look) -> Iterator[bytes]:
        """Pack what stands under a name."""
        tree = self._tree
        start = folder + b"/" if folder else b""
        path = start + name
        hidden = tree.deletes(name, look)
        if hidden is not None:
            if hidden:
                yield self.marker(start + WHITEOUT_PREFIX + hidden, look.mtime)
            elif name == OPAQUE_MARKER:
                yield self.marker(path, look.mtime)
            return
        form = stat.S_IFMT(look.mode)
        if form not in _FLAGS or _is_reserved(name):
            return
        if form == stat.S_IFDIR:
            yield _header(path + b"/", look, b"5")
            if tree.whiteouts is not Whiteouts.AUFS and tree.is_opaque(path):
                yield self.marker(path + b"/" + OPAQUE_MARKER, look.mtime)
            return
        if look.links > 1:
            first = self._inodes.setdefault(look.inode, path)
            if first != path:
                yield _header(path, look, b"1", link=first)
                return
        if form == stat.S_IFREG:
            yield _header(path, look, b"0", size=look.size)
            yield from self._data(folder, name, look.size)
        elif form == stat.S_IFLNK:
            yield _header(path, look, b"2", link=tree.target(folder, name))
        else:
            yield _header(path, look, _FLAGS[form])

    def _data(self, folder: bytes, name: bytes, size: int) -> Iterator[bytes]:
        if not size:
            return
        fd = self._tree.open_file(folder, name)
        try:
            if os.fstat(fd).st_size < size:
                shown = printable(folder + b"/" + name if folder else name)
                raise DamageError(f"/{shown} became shorter while it was read")
            at = 0
            for offset, piece in file_data(fd, size):
                yield from _zeros(offset - at)
                yield piece
                at = offset + len(piece)
            yield from _zeros(size - at)
        finally:
            os.close(fd)
        if size % _BLOCK:
            yield bytes(-size % _BLOCK)

    def marker(self, path: bytes, mtime: int) -> bytes:
        """Pack a whiteout."""
        return _header(path, Look(stat.S_IFREG | 0o600, 0, 0, 0, 0, mtime, 1, (0, 0), {}), b"0")


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        piece = _ZEROS[:count] if count < len(_ZEROS) else _ZEROS
        yield piece
        count -= len(piece)


def _header(path: bytes, look: Look, flag: bytes, *, size: int = 0, link: bytes = b"") -> bytes:
    """Make the header of an entry, behind pax records where it needs some."""
    records: dict[bytes, bytes] = {}
    prefix, name = _split(path)
    if not name:
        records[b"path"] = path
        name = _ascii(path)[:_MAX_NAME]
    if len(link) > _MAX_NAME or not link.isascii():
        records[b"linkpath"] = link
        link = _ascii(link)[:_MAX_NAME]
    seconds, nanoseconds = divmod(look.mtime, 1_000_000_000)
    if nanoseconds or not 0 <= seconds < 1 << 33:
        records[b"mtime"] = _time(look.mtime)
    fields = {}
    for key, value, most in (
        (b"uid", look.uid, 1 << 21),
        (b"gid", look.gid, 1 << 21),
        (b"size", size, 1 << 33),
    ):
        if value >= most:
            records[key] = b"%d" % value
        fields[key] = value if value < most else 0
    if flag != b"1":
        for xattr, data in look.xattrs.items():
            if (kept := _xattr(xattr, data)) is not None:
                records[b"SCHILY.xattr." + xattr] = kept
    device = look.device if flag in b"34" else 0
    block = _block(
        name,
        stat.S_IMODE(look.mode),
        fields[b"uid"],
        fields[b"gid"],
        fields[b"size"],
        min(max(seconds, 0), (1 << 33) - 1),
        flag,
        link,
        os.major(device),
        os.minor(device),
        prefix,
    )
    if not records:
        return block
    payload = b"".join(_record(key, value) for key, value in sorted(records.items()))
    special = _block(
        b"PaxHeaders.0/" + _ascii(path.rstrip(b"/").rpartition(b"/")[2])[:80],
        0o644,
        0,
        0,
        len(payload),
        0,
        b"x",
    )
    return special + payload + bytes(-len(payload) % _BLOCK) + block


def _block(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    flag: bytes,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
    prefix: bytes = b"",
) -> bytes:
    start = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(_MAX_NAME, b"\0"),
        mode,
        uid,
        gid,
        size,
        mtime,
    )
    end = b"%s%sustar\x0000%s%07o\0%07o\0%s" % (
        flag,
        link.ljust(_MAX_NAME, b"\0"),
        bytes(64),
        major,
        minor,
        prefix.ljust(_MAX_PREFIX + 12, b"\0"),
    )
    return start + b"%06o\0 " % (sum(start) + sum(end) + 8 * 32) + end


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Put a path into the header's two fields; both are empty when it does not fit."""
    if not path.isascii():
        return b"", b""
    if len(path) <= _MAX_NAME:
        return b"", path
    at = path.find(b"/", max(0, len(path) - _MAX_NAME - 1), _MAX_PREFIX + 1)
    if at <= 0 or at == len(path) - 1:
        return b"", b""
    return path[:at], path[at + 1 :]


def _ascii(text: bytes) -> bytes:
    """Put something for a name where the name itself is in a record."""
    return bytes(byte for byte in text if byte < 128)


def _time(mtime: int) -> bytes:
    """Write a time as pax has it: a decimal number of seconds."""
    sign, mtime = (b"-", -mtime) if mtime < 0 else (b"", mtime)
    seconds, nanoseconds = divmod(mtime, 1_000_000_000)
    decimals = b".%09d" % nanoseconds if nanoseconds else b""
    return sign + b"%d" % seconds + decimals.rstrip(b"0")


def _xattr(name: bytes, value: bytes) -> bytes | None:
    """Return an extended attribute's value as it is packed; None when it is left out."""
    if name == CAPABILITY:
        if len(value) == 24 and value[3] == 3:
            # Revision 3 has the root of a user namespace, which means nothing elsewhere.
            return value[:3] + b"\2" + value[4:20]
        return value
    if name.startswith((*_OWN_XATTRS, b"security.")) or b"=" in name or not value:
        return None
    return value


def _record(key: bytes, value: bytes) -> bytes:
    body = b" %s=%s\n" % (key, value)
    length = len(body) + 1
    while length != len(body) + len(b"%d" % length):
        length = len(body) + len(b"%d" % length)
    return b"%d%s" % (length, body)
