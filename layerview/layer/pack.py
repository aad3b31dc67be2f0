"""Packing a layer's folder into a tar: one folder gives the same bytes whenever it is packed.

They are the bytes that the Docker Engine (24 and later) makes of it, so that a layer gets the
DiffID that it has there: what an engine writes is the rule wherever POSIX.1-2001 leaves a choice.
Headers are ustar's, behind pax records for what these can't hold; times are whole seconds; of
extended attributes only capabilities are packed. Deletions take the form that tars have (OCI
image-spec, layer.md, Whiteouts).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

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
_FLAGS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_MAX_NAME, _MAX_PREFIX = 100, 155
_MARK = Look(stat.S_IFREG | 0o600, 0, 0, 0, 0, 0, 1, (0, 0), {})


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
            # An engine loses this one, without which the layer would say something else.
            yield _header(OPAQUE_MARKER, _MARK, b"0")
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
        changes: what differs, in path order, as compare_trees lists it. Where there is a lower
            tree, entries stand in the order of their paths' bytes, as an engine has it.

    Raises:
        NotFoundError: when the tree is not there.
        DamageError: when a file became shorter meanwhile.
        LayerviewError: when something in it can't be read.
    """
    with closing(Tree(upper)) as tree:
        packing = _Packing(tree)
        if lower is not None:
            changes = sorted(changes, key=lambda change: change.path)
        for change in changes:
            folder, _, name = change.path.rpartition(b"/")
            if change.kind == "D":
                start = folder + b"/" if folder else b""
                # An engine puts the time of packing here.
                yield _header(start + WHITEOUT_PREFIX + name, replace(_MARK, mode=0), b"0")
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
            mark = replace(look, mode=stat.S_IFREG | 0o600, device=0, xattrs={})
            if hidden:
                # The kernel makes one inode of whiteouts: they name the first, files all the same.
                first = self._first(path, look) if tree.whiteouts is not Whiteouts.AUFS else None
                yield _header(start + WHITEOUT_PREFIX + hidden, mark, b"0", link=first or b"")
            elif name == OPAQUE_MARKER:
                yield _header(path, mark, b"0")
            return
        form = stat.S_IFMT(look.mode)
        if form not in _FLAGS or _is_reserved(name):
            return
        if form == stat.S_IFDIR:
            yield _header(path + b"/", look, b"5")
            if tree.whiteouts is not Whiteouts.AUFS and tree.is_opaque(path):
                mark = replace(look, mode=look.mode & 0o777, device=0, mtime=0, xattrs={})
                yield _header(path + b"/" + OPAQUE_MARKER, mark, b"0")
            return
        first = self._first(path, look)
        if first is not None:
            yield _header(path, look, b"1", link=first)
        elif form == stat.S_IFREG:
            yield _header(path, look, b"0", size=look.size)
            yield from self._data(folder, name, look.size)
        elif form == stat.S_IFLNK:
            yield _header(path, look, b"2", link=tree.target(folder, name))
        else:
            yield _header(path, look, _FLAGS[form])

    def _first(self, path: bytes, look: Look) -> bytes | None:
        """Return the path that an inode was packed by before, if it was."""
        if look.links < 2:
            return None
        first = self._inodes.setdefault(look.inode, path)
        return first if first != path else None

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


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        piece = _ZEROS[:count] if count < len(_ZEROS) else _ZEROS
        yield piece
        count -= len(piece)


def _header(path: bytes, look: Look, flag: bytes, *, size: int = 0, link: bytes = b"") -> bytes:
    """Make the header of an entry, behind pax records where it needs some."""
    records: dict[bytes, bytes] = {}
    if capability := look.xattrs.get(CAPABILITY):
        records[b"SCHILY.xattr." + CAPABILITY] = _capability(capability)
    if len(link) > _MAX_NAME or not link.isascii():
        records[b"linkpath"] = link
    numbers = []
    for key, value, digits in (
        (b"uid", look.uid, 7),
        (b"gid", look.gid, 7),
        (b"size", size, 11),
        (b"mtime", look.mtime // 1_000_000_000, 11),
    ):
        fits = 0 <= value < 1 << 3 * digits
        if not fits:
            records[key] = b"%d" % value
        numbers.append(value if fits else 0)
    prefix = b""
    name = path
    if len(path) > _MAX_NAME or not path.isascii():
        # Both fields of the header are used only where there are no records at all.
        prefix, name = _split(path)
        if records or not name:
            records[b"path"] = path
            prefix, name = b"", path
    is_device = stat.S_ISCHR(look.mode) or stat.S_ISBLK(look.mode)
    device = look.device if is_device else 0
    block = _block(
        name,
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (stat.S_IMODE(look.mode), *numbers),
        flag,
        link,
        b"%07o\0%07o\0" % (os.major(device), os.minor(device)),
        prefix,
    )
    if not records:
        return block
    payload = b"".join(_record(key, value) for key, value in sorted(records.items()))
    folder, _, file = path.rpartition(b"/")
    about = b"/".join(part for part in (folder, b"PaxHeaders.0", file) if part)
    special = _block(
        _ascii(about)[:_MAX_NAME].rstrip(b"/"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0, 0, 0, len(payload), 0),
        b"x",
        b"",
        bytes(16),
        b"",
    )
    return special + payload + bytes(-len(payload) % _BLOCK) + block


def _block(
    name: bytes, numbers: bytes, flag: bytes, link: bytes, device: bytes, prefix: bytes
) -> bytes:
    start = _field(name) + numbers
    end = b"%s%sustar\x0000%s%s%s" % (
        flag,
        _field(link),
        bytes(64),
        device,
        prefix.ljust(_MAX_PREFIX + 12, b"\0"),
    )
    return start + b"%06o\0 " % (sum(start) + sum(end) + 8 * 32) + end


def _field(text: bytes) -> bytes:
    """Put a name into a header's field, or what goes of it: then a record has it whole."""
    text = _ascii(text)
    if len(text) > _MAX_NAME:
        # Readers of the field alone would take it for a folder.
        text = text[:_MAX_NAME].rstrip(b"/")
    return text.ljust(_MAX_NAME, b"\0")


def _ascii(text: bytes) -> bytes:
    return text if text.isascii() else bytes(byte for byte in text if byte < 128)


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Put a long path into the header's two fields; both are empty when it does not fit."""
    if not path.isascii():
        return b"", b""
    at = path[: min(len(path.rstrip(b"/")), _MAX_PREFIX + 1)].rfind(b"/")
    name = path[at + 1 :]
    if at <= 0 or len(name) > _MAX_NAME:
        return b"", b""
    return path[:at], name


def _capability(value: bytes) -> bytes:
    """Return a file's capabilities as they are packed."""
    if len(value) == 24 and value[3] == 3:
        # Revision 3 has the root of a user namespace, which means nothing elsewhere.
        return value[:3] + b"\2" + value[4:20]
    return value


def _record(key: bytes, value: bytes) -> bytes:
    body = b" %s=%s\n" % (key, value)
    length = len(body) + 1
    while length != len(body) + len(b"%d" % length):
        length = len(body) + len(b"%d" % length)
    return b"%d%s" % (length, body)
