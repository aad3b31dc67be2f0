"""tar-split: a layer's tar without its files' bytes, from which it is put together again.

The form is that of github.com/vbatts/tar-split, which Docker keeps beside each layer: gzip'ed lines
of JSON, in the order of the tar. `{"type":2,"payload":BASE64,"position":N}` are bytes of the tar;
`{"type":1,"name":NAME,"size":N,"payload":BASE64,"position":N}` stands for the bytes of a file, with
their CRC-64 (ISO 3309, as Go's hash/crc64 has it; big endian). Every entry has its line of type 1,
with neither size nor sum where the tar has no bytes for it. A name that is not UTF-8 is in
`name_raw`, as base64. Readers refuse two such lines for one name.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import stat
import tempfile
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from layerview.errors import DamageError, LimitError
from layerview.layer.beneath import open_beneath
from layerview.layer.build import TooDeep, build_index
from layerview.layer.compression import open_plain
from layerview.layer.index import LayerIndex
from layerview.layer.names import normalise
from layerview.layer.tar import RawEntries, TarDamage, scan
from layerview.layer.windows import Readable
from layerview.text import printable

MAX_SEGMENT = 1 << 20
"""Bytes of the tar that one line holds; Docker cuts them so as well."""

_MAX_LINE = 1 << 25
"""Bytes that a line may have: Docker puts all headers between two files' bytes in one."""
_PIECE = 1 << 20
_BATCH = 1 << 17
_GZIP_WBITS = 31
_PLAIN_NAME = re.compile(rb"[ !#-%'-;=?-\[\]-~]*")
"""Names that stand in JSON as they are, in Go's too."""
_SEGMENT_START = b'{"type":2,"payload":"'
_FILE_START = b'{"type":1'
_SEEN_BITS = 1 << 24


def _gzip() -> Any:
    library: Any = zlib
    level = 4
    with suppress(ImportError):  # no wheel for this machine: the slower standard library
        from isal import isal_zlib as library

        level = 1
    return library.compressobj(level, zlib.DEFLATED, _GZIP_WBITS)


class _Lines:
    """Writes numbered lines, compressed."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._pack = _gzip()
        self._waiting: list[bytes] = []
        self._size = 0
        self.count = 0

    def add(self, start: bytes) -> int:
        """Write a line up to its position, which comes last; return that."""
        position = self.count
        self.count += 1
        line = b'%s,"position":%d}\n' % (start, position)
        self._waiting.append(line)
        self._size += len(line)
        if self._size > _BATCH:
            self._flush()
        return position

    def segment(self, data: bytes) -> None:
        """Write bytes of the tar."""
        for at in range(0, len(data), MAX_SEGMENT):
            piece = data[at : at + MAX_SEGMENT] if len(data) > MAX_SEGMENT else data
            self.add(_SEGMENT_START + b2a_base64(piece, newline=False) + b'"')

    def _flush(self) -> None:
        self._out.write(self._pack.compress(b"".join(self._waiting)))
        self._waiting.clear()
        self._size = 0

    def close(self) -> None:
        """Write the end."""
        self._flush()
        self._out.write(self._pack.flush())


class _Seen:
    """Tells whether a name may have been there before, in a memory that does not grow."""

    def __init__(self) -> None:
        self._bits = bytearray(_SEEN_BITS >> 3)

    def add(self, name: bytes) -> bool:
        """Note a name; False: it was not there. True: it was, or, rarely, one like it."""
        bits, number = self._bits, hash(name)
        one, other = number & (_SEEN_BITS - 1), (number >> 32) & (_SEEN_BITS - 1)
        first, second = 1 << (one & 7), 1 << (other & 7)
        one, other = one >> 3, other >> 3
        if bits[one] & first and bits[other] & second:
            return True
        bits[one] |= first
        bits[other] |= second
        return False


@dataclass(slots=True)
class _Line:
    """A line of a name that may have several."""

    position: int
    size: int
    kept: tuple[int, int] | None = None
    """Where the bytes are of a file that is there no more."""


class TarSplitWriter:
    """Writes a tar-split while a tar is unpacked, in a memory that does not grow with it.

    A tar may name a file twice, which no reader of a tar-split understands: then the bytes of the
    one that is replaced (see `replace`) take the place of its line, when all is known.
    """

    def __init__(self, out: IO[bytes]) -> None:
        """Write from where a file stands; one that can't be read and sought is written at close."""
        self._out = out
        self._own = not (out.readable() and out.seekable())
        self._spool: IO[bytes] = tempfile.TemporaryFile() if self._own else out  # noqa: SIM115
        self._start = self._spool.tell()
        self._lines = _Lines(self._spool)
        self._seen = _Seen()
        self._again: set[bytes] = set()
        """Names that may have more than one line."""
        self._gone: dict[bytes, list[tuple[int, int, int]]] = {}
        """By name: where the lines stood when its file was replaced, and the part of `_old`."""
        self._old: IO[bytes] | None = None

    def segment(self, data: bytes) -> None:
        """Add bytes of the tar."""
        self._lines.segment(data)

    def file(self, name: bytes, size: int, crc: int | None) -> None:
        """Add the line of an entry.

        Args:
            name: as the tar records it.
            size: bytes of a file that are left to the file; 0 for all else.
            crc: of these bytes; None where there are none.
        """
        clean = _clean(name)
        if self._seen.add(clean):
            self._again.add(clean)
        if _PLAIN_NAME.fullmatch(name):
            start = b'{"type":1,"name":"%s"' % name if name else b'{"type":1'
        else:
            start = b'{"type":1,' + _named(name)
        if size:
            start += b',"size":%d' % size
        if crc is None:
            start += b',"payload":null'
        else:
            start += b',"payload":"%s"' % b2a_base64(crc.to_bytes(8, "big"), newline=False)
        self._lines.add(start)

    def replace(self, name: bytes, data: Iterable[bytes]) -> None:
        """Take in the bytes of a file that will not be there any more.

        They are left aside where no line of that name leaves its bytes to the file.
        """
        clean = _clean(name)
        if self._old is None:
            self._old = tempfile.TemporaryFile()  # noqa: SIM115
        start = self._old.seek(0, os.SEEK_END)
        for piece in data:
            self._old.write(piece)
        self._again.add(clean)
        self._gone.setdefault(clean, []).append((self._lines.count, start, self._old.tell()))

    def close(self) -> None:
        """Write what is left; the file itself stays open.

        Raises:
            ValueError: when a file's bytes are lost: it was replaced, and `replace` not called.
        """
        self._lines.close()
        if self._again:
            replaced = self._replaced()
            if replaced:
                self._rewrite(replaced)
        if self._own:
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, self._out, _PIECE)
            self._spool.close()
        if self._old is not None:
            self._old.close()

    def abandon(self) -> None:
        """Give up: what was written is of no use."""
        if self._own:
            self._spool.close()
        if self._old is not None:
            self._old.close()

    def _written(self) -> Iterator[bytes]:
        self._spool.flush()
        self._spool.seek(self._start)
        return _read_lines(self._spool)

    def _replaced(self) -> dict[int, tuple[int, int]]:
        """Return what takes the place of which lines: a part of the old bytes, or nothing."""
        found: dict[bytes, list[_Line]] = {}
        for position, line in enumerate(self._written()):
            if line.startswith(_FILE_START):
                item = _item(line, position)
                clean = _clean(item.name)
                if clean in self._again:
                    found.setdefault(clean, []).append(_Line(position, item.size))
        replaced: dict[int, tuple[int, int]] = {}
        for clean, lines in found.items():
            sized = [line for line in lines if line.size]
            positions = [line.position for line in sized]
            for count, start, end in self._gone.get(clean, ()):
                # The last line that was there when the file was replaced.
                at = bisect_left(positions, count) - 1
                if at >= 0 and sized[at].kept is None:
                    sized[at].kept = (start, end)
            live = [line for line in sized if line.kept is None]
            if len(live) > 1:
                raise ValueError(f"the bytes of {clean!r} would be lost")
            stays = live[0] if live else lines[-1]
            for one in lines:
                if one.kept is not None:
                    replaced[one.position] = one.kept
                elif one is not stays:
                    replaced[one.position] = (0, 0)
        return replaced

    def _rewrite(self, replaced: dict[int, tuple[int, int]]) -> None:
        spool = self._spool
        with tempfile.TemporaryFile() as changed:
            lines = _Lines(changed)
            for position, line in enumerate(self._written()):
                if position in replaced:
                    start, end = replaced[position]
                    for at in range(start, end, MAX_SEGMENT):
                        assert self._old is not None
                        self._old.seek(at)
                        lines.segment(self._old.read(min(MAX_SEGMENT, end - at)))
                else:
                    lines.add(line.rpartition(b",")[0])
            lines.close()
            changed.seek(0)
            spool.seek(self._start)
            spool.truncate()
            shutil.copyfileobj(changed, spool, _PIECE)


def _named(name: bytes) -> bytes:
    try:
        text = json.dumps(name.decode(), ensure_ascii=False)
    except UnicodeDecodeError:
        return b'"name_raw":"%s"' % b2a_base64(name, newline=False)
    # Go writes these five so.
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return b'"name":' + text.encode()


def _clean(name: bytes) -> bytes:
    """Shorten a name as Go's filepath.Clean does, by which readers tell repeated names.

    And without a slash at its start: with and without it names the same file.
    """
    if b"/." not in name and b"//" not in name and name[:1] not in (b".", b"", b"/"):
        return name[:-1] if name[-1] == 0x2F else name
    return posixpath.normpath(name).lstrip(b"/")


# -- reading --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Item:
    """A line: bytes of the tar, or a file's name, size and sum."""

    data: bytes | None
    name: bytes = b""
    size: int = 0
    crc: bytes = b""


def _read_lines(tar_split: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines without their ends."""
    plain: Readable = open_plain(tar_split, "gzip")
    waiting: list[bytes] = []
    size = 0
    while data := plain.read(_BATCH):
        if b"\n" not in data:
            waiting.append(data)
            size += len(data)
            if size > _MAX_LINE:
                raise DamageError("the tar-split has a line that is too long")
            continue
        waiting.append(data)
        *whole, rest = b"".join(waiting).split(b"\n")
        yield from whole
        waiting, size = [rest], len(rest)
    if rest := b"".join(waiting):
        yield rest


def _items(tar_split: IO[bytes]) -> Iterator[_Item]:
    """Yield what the lines say.

    Raises:
        DamageError: when that is nothing which a tar-split says.
    """
    try:
        for number, line in enumerate(_read_lines(tar_split)):
            yield _item(line, number)
    except DamageError as error:
        text = str(error)
        raise DamageError(text if "tar-split" in text else f"the tar-split: {text}") from None


def _item(line: bytes, number: int) -> _Item:
    start = len(_SEGMENT_START)
    try:
        if line.startswith(_SEGMENT_START) and (end := line.find(b'"', start)) > 0:
            return _Item(a2b_base64(memoryview(line)[start:end], strict_mode=True))
        fields = json.loads(line)
        kind, payload = fields["type"], fields.get("payload")
        data = b64decode(payload, validate=True) if payload is not None else b""
        if kind == 2:
            return _Item(data)
        size = fields.get("size", 0)
        if kind != 1 or type(size) is not int or size < 0:
            raise ValueError
        raw = fields.get("name_raw")
        name = b64decode(raw, validate=True) if raw else fields.get("name", "").encode()
        if size and len(data) != 8:
            raise ValueError
        return _Item(None, name, size, data)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        Base64Error,
    ):
        raise DamageError(f"line {number + 1} of the tar-split makes no sense") from None


def open_in(folder: int) -> Callable[[bytes], int]:
    """Return what opens a name of a tar beneath a folder's descriptor, following no links."""

    def open_file(name: bytes) -> int:
        path, _ = normalise(name)
        return open_beneath(folder, path, os.O_RDONLY | os.O_NONBLOCK)

    return open_file


def rebuild(tar_split: IO[bytes], open_file: Callable[[bytes], int]) -> Iterator[bytes]:
    """Give back the very bytes of a layer's tar.

    Args:
        tar_split: as TarSplitWriter or Docker wrote it.
        open_file: given a name as the tar records it, opens that file; see open_in.

    Raises:
        DamageError: when a file is not there, or its bytes are not those of the tar (the error
            names it, and comes behind its bytes), or the tar-split itself is damaged.
    """
    from fastcrc import crc64

    for item in _items(tar_split):
        if item.data is not None:
            if item.data:
                yield item.data
            continue
        if not item.size:
            continue
        shown = printable(item.name)
        try:
            fd = open_file(item.name)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise DamageError(f"/{shown.lstrip('/')}: {why}") from None
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                raise DamageError(f"/{shown.lstrip('/')} is no regular file any more")
            if state.st_size != item.size:
                raise DamageError(
                    f"/{shown.lstrip('/')} has {state.st_size:,} bytes, not {item.size:,}"
                )
            crc, at = 0, 0
            while at < item.size and (data := os.pread(fd, min(_PIECE, item.size - at), at)):
                crc = crc64.go_iso(data, crc)
                at += len(data)
                yield data
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise DamageError(f"/{shown.lstrip('/')}: {why}") from None
        finally:
            os.close(fd)
        if at != item.size or crc.to_bytes(8, "big") != item.crc:
            raise DamageError(
                f"/{shown.lstrip('/')}: its bytes are not those that were unpacked (CRC-64)"
            )


class _HeaderWindow:
    """A tar's headers, at the offsets that they have in the tar; see windows.Window."""

    def __init__(self, tar_split: IO[bytes]) -> None:
        self._items = _items(tar_split)
        self._chunk = b""
        self._start = 0
        self._next = 0
        """Where the next item begins."""

    def _hold(self, offset: int, size: int) -> None:
        """Hold the bytes from an offset on, as far as they are there."""
        end = self._start + len(self._chunk)
        if offset + size <= end:
            return
        self._chunk = self._chunk[max(0, offset - self._start) :] if offset < end else b""
        self._start = min(offset, end) if self._chunk else self._next
        while self._start + len(self._chunk) < offset + size:
            item = next(self._items, None)
            if item is None:
                break
            if item.data is None:
                self._next += item.size
                if offset < self._next:
                    if item.size:
                        raise TarDamage("the tar-split leaves a header to a file")
                else:
                    self._chunk, self._start = b"", self._next
                continue
            self._next += len(item.data)
            if self._next > offset:
                self._chunk += item.data
            else:
                self._chunk, self._start = b"", self._next

    def at(self, offset: int) -> tuple[bytes, int]:
        """See Window."""
        self._hold(offset, 512)
        return self._chunk, self._start

    def read(self, offset: int, size: int) -> bytes:
        """See Window."""
        self._hold(offset, size)
        at = offset - self._start
        return self._chunk[at : at + size]

    def skip_to(self, offset: int) -> int:
        """See Window."""
        while self._next < offset:
            item = next(self._items, None)
            if item is None:
                break
            if item.data is None:
                self._next += item.size
                self._chunk, self._start = b"", self._next
            elif self._next + len(item.data) > offset:
                self._chunk, self._start = item.data, self._next
                self._next += len(item.data)
            else:
                self._next += len(item.data)
                self._chunk, self._start = b"", self._next
        return min(offset, self._next)


def read_headers(tar_split: IO[bytes]) -> LayerIndex:
    """Index a layer by the headers of its tar: what reading the tar itself gives.

    Raises:
        DamageError: when the tar-split is damaged, or what it holds is no tar.
        LimitError: when the layer's folders would fill the memory.
    """
    raw = RawEntries()
    try:
        scan(_HeaderWindow(tar_split), raw)
        return build_index(raw)
    except TarDamage as error:
        raise DamageError(str(error)) from None
    except TooDeep:
        raise LimitError("its folders are nested so deep that they would fill the memory") from None
