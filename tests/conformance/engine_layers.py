"""What keeps the bytes of a packed layer from being those of an engine, put right for a test."""

from __future__ import annotations

import grp
import io
import os
import pwd
import re
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator

_TYPES = {
    b"0": stat.S_IFREG,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}


def as_docker_20_10(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put into a packed layer what engines before 24 and 23 put there, and layerview does not.

    That is all in which its bytes differ: the kind of file in `mode` (as Go 1.8 had it), and the
    names that this machine has for users and groups. Deletions have no kind; those that a full
    tree's driver writes have no owner either.
    """
    kinds: dict[bytes, int] = {}
    records = b""
    source = _Pieces(pieces)
    while block := source.take(512):
        if not any(block):
            yield block
            continue
        flag, size = block[156:157], int(block[124:135], 8)
        if flag == b"x":
            records = source.take(size + -size % 512)
            yield block + records
            continue
        said = dict(re.findall(rb"\d+ (path|linkpath|size|uid|gid)=([^\n]*)\n", records))
        records = b""
        prefix, name, link = (
            part.rstrip(b"\0") for part in (block[345:500], block[:100], block[157:257])
        )
        path = said.get(b"path", b"/".join(part for part in (prefix, name) if part))
        mode = int(block[100:107], 8)
        kind = 0
        if not path.rpartition(b"/")[2].startswith(b".wh."):
            kind = kinds[said.get(b"linkpath", link)] if flag == b"1" else _TYPES[flag]
            kinds[path] = kind
        header = bytearray(block)
        header[100:107] = b"%07o" % (mode | kind)
        if kind or mode:
            for at, key, find in ((265, b"uid", _user), (297, b"gid", _group)):
                start = 108 if key == b"uid" else 116
                number = int(said.get(key, b"%d" % int(block[start : start + 7], 8)))
                header[at : at + 32] = find(number).encode().ljust(32, b"\0")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        yield bytes(header)
        yield from source.pass_on(int(said.get(b"size", b"%d" % size)))


class _Pieces:
    """A stream of bytes, taken in blocks."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""

    def take(self, size: int) -> bytes:
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        found, self._held = self._held[:size], self._held[size:]
        return found

    def pass_on(self, size: int) -> Iterator[bytes]:
        left = size + -size % 512
        while left:
            piece = self.take(min(left, 1 << 20))
            left -= len(piece)
            yield piece


def _user(number: int) -> str:
    return _name(lambda: pwd.getpwuid(number).pw_name)


def _group(number: int) -> str:
    return _name(lambda: grp.getgrgid(number).gr_name)


def _name(find: Callable[[], str]) -> str:
    try:
        return find()
    except (KeyError, OverflowError):
        return ""


def without_times_of_deletions(layer: bytes) -> bytes:
    """Set the time of whiteouts to 0, and the checksum with it."""
    data = bytearray(layer)
    with tarfile.open(fileobj=io.BytesIO(layer)) as opened:
        for member in opened:
            if os.path.basename(member.name).startswith(".wh."):
                # Behind pax records tarfile says where these start.
                at = member.offset_data - 512
                data[at + 136 : at + 147] = b"0" * 11
                data[at + 148 : at + 156] = b" " * 8
                data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)
