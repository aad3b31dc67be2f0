"""Scanning a tar for its entries: headers only, in the order of the tar.

Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax ("pax Interchange Format"), GNU tar (long names,
old sparse, base-256 numbers; "Basic Tar Format" and "Storing Sparse Files" of its manual), and
old V7 headers. What a layer may hold is said by the OCI image spec, layer.md.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct
from typing import Any
from zlib import adler32

from layerview.layer.kinds import Kind
from layerview.layer.windows import Window

BLOCK = 512
MAX_SPECIAL = 1 << 20
"""Bytes that one pax header, long name or sparse map may have; Go's archive/tar has the same."""
MAX_ENTRIES = 16_000_000
"""Entries of one layer; more are damage."""
MAX_NAME_BYTES = 1 << 29
"""Bytes of all names of one layer together."""
MAX_KEPT_BYTES = 1 << 28
"""Bytes that long link targets, extended attributes and sparse maps of one layer may take."""

_HEADER = Struct("100s24s12s12s8sc100s8s")
_ZERO_BLOCK = bytes(BLOCK)
_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"5": Kind.DIR,
    b"D": Kind.DIR,
    b"2": Kind.SYMLINK,
    b"6": Kind.FIFO,
    b"3": Kind.CHAR,
    b"4": Kind.BLOCK,
}
_SKIPPED = {b"V": "volume label", b"M": "multi-volume continuation", b"N": "old long names"}
_XATTR = b"SCHILY.xattr."
_NAMES = (b"path", b"linkpath", b"GNU.sparse.name")
_ITEM_BYTES = 200
"""What an object in a dict or tuple takes beside its bytes, roughly."""
_MAX_INT64 = (1 << 63) - 1
_MAX_SIZE = 1 << 61
"""Bytes that one entry can have, and that all sparse files can have together with their holes: so
no sum of sizes outgrows 64 bits."""


class TarDamage(Exception):
    """The tar can't be read on from here; what was read before stands."""


class TooManyEntries(TarDamage):
    """The tar has more entries than were asked for."""


class RawEntries:
    """Entries in the order of the tar: parallel columns, and dicts for what few entries have."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        """Names as recorded, not yet normalised."""
        self.kinds = bytearray()
        self.modes = array("H")
        self.uids = array("I")
        self.gids = array("I")
        self.sizes = array("q")
        self.mtimes = array("q")
        self.offsets = array("q")
        self.fractions: dict[int, int] = {}
        self.targets: dict[int, bytes] = {}
        self.links: dict[int, bytes] = {}
        self.xattrs: dict[int, dict[bytes, bytes]] = {}
        self.devices: dict[int, tuple[int, int]] = {}
        self.sparse: dict[int, tuple[tuple[int, int], ...]] = {}
        self.warnings: dict[str, int] = {}

    def warn(self, text: str) -> None:
        """Note something odd; the same text is counted, not repeated."""
        self.warnings[text] = self.warnings.get(text, 0) + 1

    def drop_unfinished(self) -> None:
        """Forget what was noted of an entry in whose midst damage was found."""
        row = len(self.kinds)
        for values in self._few():
            values.pop(row, None)

    def clear(self) -> None:
        """Forget all entries."""
        del self.paths[:], self.kinds[:], self.modes[:], self.uids[:], self.gids[:]
        del self.sizes[:], self.mtimes[:], self.offsets[:]
        for values in self._few():
            if values:
                values.clear()

    def _few(self) -> tuple[dict[int, Any], ...]:
        return (
            self.fractions,
            self.targets,
            self.links,
            self.xattrs,
            self.devices,
            self.sparse,
        )


def number(field: bytes) -> int:
    """Read a numeric header field: octal digits, or base-256 where its first bit is set.

    Raises:
        TarDamage: when it is neither.
    """
    if field and field[0] & 0x80:
        # Two's complement over all bits but the first (GNU tar manual, Extensions).
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value
    text = field.strip(b" \0")
    end = text.find(b"\0")
    if end >= 0:
        text = text[:end].rstrip(b" ")
    if not text:
        return 0
    try:
        if not text.isdigit():
            raise ValueError
        return int(text, 8)
    except ValueError:
        raise TarDamage(f"a number in a header is not octal: {text[:12]!r}") from None


def _checksum_holds(block: bytes, recorded: int) -> bool:
    field = sum(block[148:156])
    unsigned = sum(block) - field + 8 * 32
    if unsigned == recorded:
        return True
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 8 * 32
    return signed == recorded


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Read pax records, each "length keyword=value\\n" (POSIX.1-2001, pax, Extended Header).

    Raises:
        TarDamage: when a record does not have that form.
    """
    records: dict[bytes, bytes] = {}
    sparse_map: list[bytes] = []
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        try:
            length = int(data[at:space]) if space > at else 0
        except ValueError:
            length = 0
        end = at + length
        equals = data.find(b"=", space, end)
        if length < 5 or end > len(data) or data[end - 1 : end] != b"\n" or equals < 0:
            raise TarDamage("a pax record is malformed")
        key = data[space + 1 : equals]
        value = data[equals + 1 : end - 1]
        if not key or b"\0" in key or (b"\0" in value and key in _NAMES):
            raise TarDamage("a pax record has a NUL where none can be")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            # Format 0.0 repeats both keywords once a piece; their order is all there is.
            sparse_map.append(value)
        elif value:
            records[key] = value
        else:
            # An empty value takes back what was said before, in the header too: POSIX, pax,
            # and Go's archive/tar reads extended attributes so as well.
            records.pop(key, None)
        at = end
    if sparse_map:
        records[b"GNU.sparse.map"] = b",".join(sparse_map)
    return records


def _decimal(value: bytes, what: str) -> int:
    if not value.isdigit() or len(value) > 19:
        raise TarDamage(f"pax {what} is not a number: {value[:20]!r}")
    return int(value)


def _pax_time(value: bytes) -> tuple[int, int]:
    """Return whole seconds, rounded down, and decimals as nanoseconds * 16 + digits."""
    whole, _, decimals = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if (
        not (digits.isdigit() or (not digits and decimals))
        or len(digits) > 15
        or (decimals and not decimals.isdigit())
    ):
        raise TarDamage(f"pax mtime is not a number: {value[:20]!r}")
    seconds = int(digits or b"0")
    count = min(len(decimals), 9)
    nanoseconds = int(decimals[:9].ljust(9, b"0")) if decimals else 0
    if negative:
        seconds = -seconds
        if nanoseconds:
            seconds -= 1
            nanoseconds = 1_000_000_000 - nanoseconds
    return seconds, nanoseconds * 16 + count


def scan(
    window: Window,
    entries: RawEntries,
    *,
    most: int = MAX_ENTRIES,
    seen: Callable[[int, int], object] | None = None,
) -> None:
    """Read all headers of a tar.

    Args:
        window: the tar's plain bytes.
        entries: filled as headers are read, so that what was read is there after damage.
        most: entries at which to stop.
        seen: told of each entry before its data is passed over: where that is, and how many bytes
            the tar has of it. Then `entries` holds that entry alone.

    Raises:
        TarDamage: when the tar is truncated or corrupt.
        TooManyEntries: when it has more than `most`.
    """
    try:
        _Scanner(window, entries, most, seen).run()
    finally:
        entries.drop_unfinished()


class _Scanner:
    def __init__(
        self,
        window: Window,
        entries: RawEntries,
        most: int,
        seen: Callable[[int, int], object] | None,
    ) -> None:
        self.window = window
        self.entries = entries
        self.most = most
        self.seen = seen
        self.pax: dict[bytes, bytes] = {}
        self.sparse_bytes = 0
        self.kept_bytes = 0
        self.long_name: bytes | None = None
        self.long_link: bytes | None = None

    def run(self) -> None:
        """Scan to the end of the tar."""
        entries, window, seen = self.entries, self.window, self.seen
        unpack = _HEADER.unpack_from
        add_path = entries.paths.append
        add_kind = entries.kinds.append
        add_mode, add_uid = entries.modes.append, entries.uids.append
        add_gid, add_size = entries.gids.append, entries.sizes.append
        add_mtime, add_offset = entries.mtimes.append, entries.offsets.append
        owners: dict[bytes, tuple[int, int, int]] = {}
        times: dict[bytes, int] = {}
        name_bytes = count = 0
        position = 0
        chunk, start, end = b"", 0, 0
        while True:
            at = position - start
            if position + BLOCK > end or at < 0:
                chunk, start = window.at(position)
                end = start + len(chunk)
                at = position - start
                if end - position < BLOCK:
                    if end > position:
                        raise TarDamage(f"truncated inside a header at byte {position}")
                    self._expect_nothing(position)
                    return
            raw_name, owner, raw_size, raw_time, raw_sum, kind_flag, raw_link, magic = unpack(
                chunk, at
            )
            if not raw_name[0] and chunk[at : at + BLOCK] == _ZERO_BLOCK:
                self._expect_nothing(position)
                self._check_end(position + BLOCK)
                return

            # adler32's low half is 1 + the sum of the bytes, modulo 65521: a fast first check.
            block = chunk[at : at + BLOCK]
            try:
                recorded = int(raw_sum[:6], 8)
            except ValueError:
                recorded = number(raw_sum)
            total = (adler32(block) & 0xFFFF) - (adler32(raw_sum) & 0xFFFF) + 256
            if (total - recorded) % 65521 and not _checksum_holds(block, recorded):
                raise TarDamage(f"the checksum of a header is wrong at byte {position}")

            digits = raw_size[:11]
            try:
                plain = digits.isdigit() and raw_size[11] in b" \0"
                size = int(digits, 8) if plain else number(raw_size)
            except ValueError:
                size = number(raw_size)
            if size < 0 or size > _MAX_SIZE - position:
                raise TarDamage(f"an entry's size is absurd at byte {position}: {size}")
            data = position + BLOCK

            kind = _KINDS.get(kind_flag)
            if kind is None and kind_flag in b"xgXLK":
                position = self._special(kind_flag, data, size)
                continue
            if kind_flag in _SKIPPED:
                entries.warn(f"{_SKIPPED[kind_flag]} entries are passed over")
                self._clear()
                position = self._skip(data, size)
                continue

            nul = raw_name.find(0)
            name = raw_name[:nul] if nul >= 0 else raw_name
            if magic[:6] == b"ustar\0" and block[345]:
                name = block[345:500].partition(b"\0")[0] + b"/" + name
            try:
                mode, uid, gid = owners[owner]
            except KeyError:
                mode, uid, gid = owners[owner] = self._owner(owner)
                if len(owners) > 10_000:
                    owners.clear()
            try:
                mtime = times[raw_time]
            except KeyError:
                mtime = times[raw_time] = _clamp(number(raw_time))
                if len(times) > 10_000:
                    times.clear()

            row = len(entries.kinds)
            stored = size
            sparse: tuple[tuple[int, int], ...] | None = None
            if self.pax or self.long_name is not None or self.long_link is not None:
                pax = self.pax
                if self.long_name is not None:
                    name = self.long_name
                if b"path" in pax:
                    name = pax[b"path"]
                if b"GNU.sparse.name" in pax:
                    name = pax[b"GNU.sparse.name"]
                link = self.long_link
                if b"linkpath" in pax:
                    link = pax[b"linkpath"]
                if link is not None:
                    self._keep(len(link))
                if b"size" in pax:
                    stored = size = _decimal(pax[b"size"], "size")
                    if size > _MAX_SIZE - position:
                        raise TarDamage(f"an entry's size is absurd at byte {position}: {size}")
                if b"uid" in pax:
                    uid = _clamp_id(_decimal(pax[b"uid"], "uid"))
                if b"gid" in pax:
                    gid = _clamp_id(_decimal(pax[b"gid"], "gid"))
                if b"mtime" in pax:
                    mtime, fraction = _pax_time(pax[b"mtime"])
                    if fraction:
                        entries.fractions[row] = fraction
                self._take_xattrs(row, pax)
                if any(key.startswith(b"GNU.sparse.") for key in pax):
                    sparse, size, data, stored = self._pax_sparse(pax, data, size, stored)
                self._clear()
            else:
                link = None

            if kind is None:
                if kind_flag == b"1":
                    if link is None:
                        nul = raw_link.find(0)
                        link = raw_link[:nul] if nul >= 0 else raw_link
                    entries.links[row] = link
                    kind = Kind.FILE
                    size = stored = 0
                elif kind_flag == b"S":
                    kind = Kind.FILE
                    sparse, size, data = self._old_sparse(block, data)
                else:
                    kind = Kind.FILE
                    entries.warn(
                        f"entries of the unknown type {kind_flag!r} are taken for files;"
                        " engines refuse them"
                    )
            elif kind is not Kind.FILE:
                size = stored = 0
                if kind is Kind.SYMLINK:
                    if link is None:
                        nul = raw_link.find(0)
                        link = raw_link[:nul] if nul >= 0 else raw_link
                    entries.targets[row] = link
                    size = len(link)
                elif kind is Kind.CHAR or kind is Kind.BLOCK:
                    entries.devices[row] = (number(block[329:337]), number(block[337:345]))
            elif kind_flag == b"\0" and name.endswith(b"/"):
                # V7 tars have no type for folders.
                kind = Kind.DIR
                size = stored = 0

            add_path(name)
            add_kind(kind)
            add_mode(mode)
            add_uid(uid)
            add_gid(gid)
            add_size(size)
            add_mtime(mtime)
            add_offset(data if kind is Kind.FILE and kind_flag != b"1" else -1)
            if sparse is not None:
                entries.sparse[row] = sparse
            name_bytes += len(name)
            if count >= self.most:
                raise TooManyEntries(f"more than {self.most:,} entries")
            if name_bytes > MAX_NAME_BYTES:
                raise TarDamage(f"more than {MAX_NAME_BYTES >> 20} MiB of names")
            count += 1
            if seen is not None:
                seen(data, stored)
                entries.clear()
            if stored:
                position = data + stored + (-stored % BLOCK)
                if position > end:
                    self._skip_checked(data + stored)
            else:
                position = data

    def _owner(self, field: bytes) -> tuple[int, int, int]:
        mode = number(field[:8]) & 0o7777
        return mode, _clamp_id(number(field[8:16])), _clamp_id(number(field[16:24]))

    def _keep(self, size: int, items: int = 1) -> None:
        self.kept_bytes += size + items * _ITEM_BYTES
        if self.kept_bytes > MAX_KEPT_BYTES:
            raise TarDamage(f"more than {MAX_KEPT_BYTES >> 20} MiB of links and attributes")

    def _clear(self) -> None:
        self.pax = {}
        self.long_name = self.long_link = None

    def _skip(self, data: int, size: int) -> int:
        self._skip_checked(data + size)
        return data + size + (-size % BLOCK)

    def _skip_checked(self, offset: int) -> None:
        reached = self.window.skip_to(offset)
        if reached < offset:
            raise TarDamage(f"truncated: the tar ends at byte {reached}, inside an entry's data")

    def _expect_nothing(self, position: int) -> None:
        if self.pax or self.long_name is not None or self.long_link is not None:
            raise TarDamage(f"the tar ends at byte {position} where an entry should follow")

    def _check_end(self, position: int) -> None:
        block = self.window.read(position, BLOCK)
        if block.strip(b"\0"):
            raise TarDamage(f"a block of zeros stands inside the tar before byte {position}")

    def _special(self, flag: bytes, data: int, size: int) -> int:
        """Take in a pax header or a GNU long name; return where the next header is."""
        if size > MAX_SPECIAL:
            raise TarDamage(f"a special header of {size} bytes at byte {data - BLOCK}")
        payload = self.window.read(data, size)
        if len(payload) < size:
            raise TarDamage(f"truncated inside a special header at byte {data - BLOCK}")
        if flag in b"xX":
            self.pax = parse_pax(payload)
        elif flag == b"L":
            self.long_name = payload.partition(b"\0")[0]
        elif flag == b"K":
            self.long_link = payload.partition(b"\0")[0]
        else:
            # Engines pass over global headers (git archive writes one): so does the view.
            parse_pax(payload)
        return data + size + (-size % BLOCK)

    def _take_xattrs(self, row: int, pax: dict[bytes, bytes]) -> None:
        for key, value in pax.items():
            if key.startswith(_XATTR):
                self._keep(len(key) + len(value))
                self.entries.xattrs.setdefault(row, {})[key[len(_XATTR) :]] = value

    def _pax_sparse(
        self, pax: dict[bytes, bytes], data: int, size: int, stored: int
    ) -> tuple[tuple[tuple[int, int], ...], int, int, int]:
        """Read a pax sparse map; return it, the real size, and where the data is."""
        real = _decimal(
            pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size") or b"%d" % size,
            "sparse size",
        )
        if pax.get(b"GNU.sparse.major") == b"1":
            # Format 1.0: the map stands before the data, a decimal number a line.
            lines: list[bytes] = []
            used = 0
            text = b""
            wanted = 1
            while len(lines) < wanted:
                piece = self.window.read(data + used, BLOCK)
                used += BLOCK
                if len(piece) < BLOCK or used > MAX_SPECIAL:
                    raise TarDamage("a sparse map is truncated or too long")
                *whole, text = (text + piece).split(b"\n")
                lines += whole
                if lines:
                    wanted = 1 + 2 * _decimal(lines[0], "sparse map")
            numbers = [_decimal(line, "sparse map") for line in lines[1:wanted]]
            pieces = list(zip(numbers[::2], numbers[1::2], strict=True))
            return self._checked_map(pieces, real, stored - used), real, data + used, stored - used
        numbers = [
            _decimal(part, "sparse map")
            for part in pax.get(b"GNU.sparse.map", b"").split(b",")
            if part
        ]
        if len(numbers) % 2:
            raise TarDamage("a sparse map has an odd number of items")
        pieces = list(zip(numbers[::2], numbers[1::2], strict=True))
        return self._checked_map(pieces, real, stored), real, data, stored

    def _old_sparse(self, block: bytes, data: int) -> tuple[tuple[tuple[int, int], ...], int, int]:
        """Read an old GNU sparse map (GNU tar manual, Old GNU Format)."""
        real = number(block[483:495])
        stored = number(block[124:136])
        pieces: list[tuple[int, int]] = []
        at, slots, area, more = 386, 4, block, block[482]
        while True:
            for slot in range(slots):
                place = at + 24 * slot
                if not area[place]:
                    break
                pieces.append(
                    (number(area[place : place + 12]), number(area[place + 12 : place + 24]))
                )
            if not more:
                break
            if len(pieces) > MAX_SPECIAL // 24:
                raise TarDamage("a sparse map is too long")
            area = self.window.read(data, BLOCK)
            if len(area) < BLOCK:
                raise TarDamage("truncated inside a sparse map")
            data += BLOCK
            at, slots, more = 0, 21, area[504]
        return self._checked_map(pieces, real, stored), real, data

    def _checked_map(
        self, pieces: list[tuple[int, int]], real: int, stored: int
    ) -> tuple[tuple[int, int], ...]:
        end = total = 0
        for offset, length in pieces:
            if offset < end or length < 0 or offset + length > real:
                raise TarDamage("a sparse map does not fit its file")
            end = offset + length
            total += length
        if total > stored or real < 0:
            raise TarDamage("a sparse map does not fit its file")
        self._keep(0, len(pieces))
        self.sparse_bytes += real
        if self.sparse_bytes > _MAX_SIZE:
            raise TarDamage(f"a sparse file's size is absurd: {real}")
        return tuple((offset, length) for offset, length in pieces if length)


def _clamp(value: int) -> int:
    return max(-_MAX_INT64, min(value, _MAX_INT64))


def _clamp_id(value: int) -> int:
    """Keep an owner within what Linux has: 32 bits."""
    return max(0, min(value, 0xFFFFFFFF))
