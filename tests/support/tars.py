"""A tar writer that writes exactly what it is told, byte for byte, hostile things included.

Nothing is checked, sorted, merged or completed: entries stand in the order in which they are
given, a repeated name is written twice, a missing parent stays missing. The same call gives the
same bytes.

    K = b"k" * 1000
    base = layer(folder("a"), file("a/f1", K), file("a/f2", K))
    top = layer(folder("a"), opaque("a"), whiteout("b"), file("a/f3", K), form="gnu")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

BLOCK = 512
EPOCH = 1_700_000_000
USTAR_MAGIC = b"ustar\x0000"
GNU_MAGIC = b"ustar  \x00"
V7_MAGIC = b"\x00" * 8

Text = str | bytes
Number = int | bytes
"""A header number; bytes go into the field as they are."""
Records = Mapping[Any, Text] | Iterable[tuple[Text, Text]]


def raw_text(text: Text) -> bytes:
    """Encode a name; text is UTF-8 with surrogates standing for raw bytes."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def padded(data: bytes) -> bytes:
    """Fill data up to whole blocks with zeros."""
    return data + bytes(-len(data) % BLOCK)


def number_field(value: Number, width: int, base256: bool = False) -> bytes:
    """Write a number as octal digits, or as base-256 when told to or when it does not fit.

    The two forms are those of POSIX ustar and of GNU tar (the high bit of the first byte set).
    """
    if isinstance(value, bytes):
        return value[:width].ljust(width, b"\x00")
    if base256 or value < 0 or value >= 8 ** (width - 1):
        body = (value & ((1 << (8 * width)) - 1)).to_bytes(width, "big")
        return bytes([0xFF if value < 0 else 0x80 | body[0]]) + body[1:]
    return b"%0*o\x00" % (width - 1, value)


def header(
    name: bytes = b"",
    *,
    typeflag: bytes = b"0",
    mode: Number = 0o644,
    uid: Number = 0,
    gid: Number = 0,
    size: Number = 0,
    mtime: Number = EPOCH,
    linkname: bytes = b"",
    magic: bytes = USTAR_MAGIC,
    uname: bytes = b"",
    gname: bytes = b"",
    major: Number = 0,
    minor: Number = 0,
    prefix: bytes = b"",
    tail: bytes | None = None,
    base256: Iterable[str] = (),
    checksum: Number | None = None,
) -> bytes:
    """Build one 512-byte header block.

    Args:
        tail: the 167 bytes from offset 345 on, in place of the prefix (GNU uses them otherwise).
        base256: names of the number fields to write in GNU's base-256 form.
        checksum: what to write in place of the right sum.
    """
    wide = frozenset(base256)
    block = b"".join(
        (
            name[:100].ljust(100, b"\x00"),
            number_field(mode, 8, "mode" in wide),
            number_field(uid, 8, "uid" in wide),
            number_field(gid, 8, "gid" in wide),
            number_field(size, 12, "size" in wide),
            number_field(mtime, 12, "mtime" in wide),
            b" " * 8,
            typeflag[:1].ljust(1, b"\x00"),
            linkname[:100].ljust(100, b"\x00"),
            magic[:8].ljust(8, b"\x00"),
            uname[:32].ljust(32, b"\x00"),
            gname[:32].ljust(32, b"\x00"),
            number_field(major, 8, "major" in wide),
            number_field(minor, 8, "minor" in wide),
            (prefix if tail is None else tail)[:167].ljust(167, b"\x00"),
        )
    )
    if checksum is None:
        total = b"%06o\x00 " % sum(block)
    else:
        total = checksum if isinstance(checksum, bytes) else b"%06o\x00 " % checksum
    return block[:148] + total[:8].ljust(8, b"\x00") + block[156:]


def pax_record(key: Text, value: Text) -> bytes:
    """Write one PAX record: its own length in decimal, the key, the value (POSIX pax, 4.18)."""
    body = b" " + raw_text(key) + b"=" + raw_text(value) + b"\n"
    length = len(body) + 1
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def pax_records(records: Records) -> bytes:
    """Write PAX records in the order given; pairs may repeat a key."""
    pairs = records.items() if isinstance(records, Mapping) else records
    return b"".join(pax_record(key, value) for key, value in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a layer and all that may be said or lied about it."""

    name: bytes = b""
    typeflag: bytes = b"0"
    data: bytes = b""
    target: bytes = b""
    mode: Number = 0o644
    uid: Number = 0
    gid: Number = 0
    mtime: int | str = EPOCH
    """Seconds; text such as "1700000000.123456789" goes into a PAX record."""
    uname: bytes = b""
    gname: bytes = b""
    major: Number = 0
    minor: Number = 0
    xattrs: Mapping[Text, bytes] = field(default_factory=dict)
    records: tuple[tuple[Text, Text], ...] = ()
    """Further PAX records, written after those that the entry needs."""
    form: str | None = None
    """ustar, gnu or pax, when it is not the layer's."""
    claimed_size: Number | None = None
    """The size field, when it lies."""
    base256: frozenset[str] = frozenset()
    checksum: Number | None = None
    tail: bytes | None = None

    def encode(self, layer_form: str) -> bytes:
        """Return the entry's blocks: extension headers, header, data."""
        form = self.form or layer_form
        before, fields = _FORMATS[form](self)
        size = len(self.data) if self.claimed_size is None else self.claimed_size
        block = header(
            **{
                "typeflag": self.typeflag,
                "mode": self.mode,
                "uid": self.uid,
                "gid": self.gid,
                "size": size,
                "uname": self.uname,
                "gname": self.gname,
                "major": self.major,
                "minor": self.minor,
                "tail": self.tail,
                "base256": self.base256,
                "checksum": self.checksum,
                **fields,
            }
        )
        return before + block + padded(self.data)


Part = Entry | bytes
"""What a layer is made of: entries, and raw bytes that stand between them."""


def layer(*parts: Part, form: str = "pax", end: int = 2 * BLOCK) -> bytes:
    """Build a layer tar from its parts, in their order.

    Args:
        form: ustar, gnu or pax: how long names, large numbers and xattrs are written.
        end: bytes of zeros at the end (two blocks by the standard; 0 leaves the end out).
    """
    blocks = [part if isinstance(part, bytes) else part.encode(form) for part in parts]
    return b"".join(blocks) + bytes(end)


def _meta(options: dict[str, Any]) -> dict[str, Any]:
    for key in ("uname", "gname"):
        if key in options:
            options[key] = raw_text(options[key])
    if "records" in options:
        records = options["records"]
        options["records"] = tuple(records.items() if isinstance(records, Mapping) else records)
    if "base256" in options:
        options["base256"] = frozenset(options["base256"])
    return options


def file(name: Text, data: Text = b"", **options: Any) -> Entry:
    """A regular file; the options are Entry's fields."""
    return Entry(name=raw_text(name), data=raw_text(data), **_meta(options))


def folder(name: Text = "", **options: Any) -> Entry:
    """A directory, written with the trailing slash as Docker does; "" is the root, `./`."""
    raw = raw_text(name) or b"."
    options.setdefault("mode", 0o755)
    return Entry(name=raw.rstrip(b"/") + b"/", typeflag=b"5", **_meta(options))


def symlink(name: Text, target: Text, **options: Any) -> Entry:
    """A symbolic link."""
    options.setdefault("mode", 0o777)
    return Entry(name=raw_text(name), target=raw_text(target), typeflag=b"2", **_meta(options))


def hardlink(name: Text, target: Text, **options: Any) -> Entry:
    """A hard link; the target is the path of a member, from the layer's root."""
    return Entry(name=raw_text(name), target=raw_text(target), typeflag=b"1", **_meta(options))


def fifo(name: Text, **options: Any) -> Entry:
    """A named pipe."""
    return Entry(name=raw_text(name), typeflag=b"6", **_meta(options))


def char(name: Text, major: int, minor: int, **options: Any) -> Entry:
    """A character device."""
    return Entry(name=raw_text(name), typeflag=b"3", major=major, minor=minor, **_meta(options))


def block(name: Text, major: int, minor: int, **options: Any) -> Entry:
    """A block device."""
    return Entry(name=raw_text(name), typeflag=b"4", major=major, minor=minor, **_meta(options))


def whiteout(path: Text, **options: Any) -> Entry:
    """The marker that deletes `path` (image-spec, layer.md, "Whiteouts")."""
    head, slash, name = raw_text(path).rpartition(b"/")
    options.setdefault("mode", 0)
    return Entry(name=head + slash + b".wh." + name, **_meta(options))


def opaque(path: Text = "", **options: Any) -> Entry:
    """The marker that hides all that lower layers have below `path` ("": the root)."""
    raw = raw_text(path)
    options.setdefault("mode", 0)
    return Entry(name=(raw + b"/" if raw else b"") + b".wh..wh..opq", **_meta(options))


def global_header(records: Records | None = None) -> bytes:
    """A PAX global extended header, as `git archive` writes one at the start."""
    body = pax_records({"comment": "0" * 40} if records is None else records)
    return header(b"pax_global_header", typeflag=b"g", size=len(body)) + padded(body)


def extended_header(records: Records | bytes, **options: Any) -> bytes:
    """A PAX extended header by itself; bytes are taken as its body, right or wrong."""
    body = records if isinstance(records, bytes) else pax_records(records)
    options.setdefault("size", len(body))
    return header(b"PaxHeaders/x", typeflag=b"x", **options) + padded(body)


def gnu_long(kind: bytes, text: Text, **options: Any) -> bytes:
    """A GNU long-name (`L`) or long-link (`K`) member by itself."""
    body = raw_text(text) + b"\x00"
    options.setdefault("size", len(body))
    return header(
        b"././@LongLink", typeflag=kind, magic=GNU_MAGIC, mode=0, mtime=0, **options
    ) + padded(body)


Chunks = Sequence[tuple[int, bytes]]


def sparse(name: Text, size: int, chunks: Chunks, style: str = "gnu", **options: Any) -> Entry:
    """A sparse file of `size` bytes whose data is `chunks`, each an offset and bytes.

    Args:
        style: gnu (type `S`), or pax-0.0, pax-0.1, pax-1.0 (GNU tar manual, "Sparse Formats").
    """
    raw = raw_text(name)
    stored = b"".join(data for _, data in chunks)
    spans = [(offset, len(data)) for offset, data in chunks]
    # GNU tar closes the map with an empty span at the end when the file ends in a hole.
    if not spans or sum(spans[-1]) < size:
        spans.append((size, 0))
    options = _meta(options)
    extra = tuple(options.pop("records", ()))
    if style == "gnu":
        return _OldSparse(name=raw, typeflag=b"S", data=stored, **options).with_map(size, spans)
    head, slash, base = raw.rpartition(b"/")
    disguised = head + slash + b"GNUSparseFile.0/" + base
    records: list[tuple[Text, Text]]
    if style == "pax-0.0":
        records = [("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", str(len(spans)))]
        for offset, length in spans:
            records += [("GNU.sparse.offset", str(offset)), ("GNU.sparse.numbytes", str(length))]
        disguised = raw
    elif style == "pax-0.1":
        flat = ",".join(f"{offset},{length}" for offset, length in spans)
        records = [
            ("GNU.sparse.size", str(size)),
            ("GNU.sparse.numblocks", str(len(spans))),
            ("GNU.sparse.map", flat),
            ("GNU.sparse.name", raw),
        ]
    elif style == "pax-1.0":
        records = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", raw),
            ("GNU.sparse.realsize", str(size)),
        ]
        lines = [len(spans), *(value for span in spans for value in span)]
        stored = padded(b"".join(b"%d\n" % value for value in lines)) + stored
    else:
        raise ValueError(f"no such sparse style: {style}")
    return Entry(name=disguised, data=stored, form="pax", records=(*records, *extra), **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OldSparse(Entry):
    """An old GNU sparse member: four spans in the header, 21 in each block that follows it."""

    extension: bytes = b""

    def with_map(self, size: int, spans: Sequence[tuple[int, int]]) -> _OldSparse:
        packed = [number_field(offset, 12) + number_field(length, 12) for offset, length in spans]
        tail = bytes(41) + b"".join(packed[:4]).ljust(96, b"\x00")
        tail += bytes([len(packed) > 4]) + number_field(size, 12)
        rest, extension = packed[4:], b""
        while rest:
            extension += (
                b"".join(rest[:21]).ljust(504, b"\x00") + bytes([len(rest) > 21]) + bytes(7)
            )
            rest = rest[21:]
        return replace(self, tail=tail, extension=extension, form="gnu")

    def encode(self, layer_form: str) -> bytes:
        # No super(): slots=True makes another class than the one that super() would look up.
        encoded = Entry.encode(self, layer_form)
        data = padded(self.data)
        split = len(encoded) - len(data)
        return encoded[:split] + self.extension + data


def _ustar(entry: Entry) -> tuple[bytes, dict[str, Any]]:
    name, prefix = entry.name, b""
    if len(name) > 100:
        cut = name.find(b"/", len(name) - 101)
        if cut <= 0 or cut > 155:
            raise ValueError(f"the name does not fit a ustar header: {name!r}")
        prefix, name = name[:cut], name[cut + 1 :]
    if len(entry.target) > 100:
        raise ValueError(f"the link target does not fit a ustar header: {entry.target!r}")
    before = b""
    if entry.xattrs or entry.records:
        raise ValueError("a ustar entry has no PAX records; put an extended_header before it")
    return before, {
        "name": name,
        "prefix": prefix,
        "linkname": entry.target,
        "mtime": _seconds(entry.mtime),
    }


def _gnu(entry: Entry) -> tuple[bytes, dict[str, Any]]:
    before = b""
    if entry.xattrs or entry.records:
        before += extended_header((*_xattr_records(entry), *entry.records))
    if len(entry.target) > 100:
        before += gnu_long(b"K", entry.target)
    if len(entry.name) > 100:
        before += gnu_long(b"L", entry.name)
    return before, {
        "name": entry.name,
        "linkname": entry.target,
        "magic": GNU_MAGIC,
        "mtime": _seconds(entry.mtime),
    }


def _pax(entry: Entry) -> tuple[bytes, dict[str, Any]]:
    records: list[tuple[Text, Text]] = []
    fields: dict[str, Any] = {"mtime": _seconds(entry.mtime)}
    for key, record, value in (
        ("name", "path", entry.name),
        ("linkname", "linkpath", entry.target),
    ):
        fields[key] = value
        if len(value) > 100 or not value.isascii():
            records.append((record, value))
            fields[key] = value.decode("ascii", "ignore").encode()[:100]
    numbers: tuple[tuple[str, Number, int], ...] = (
        ("uid", entry.uid, 7),
        ("gid", entry.gid, 7),
        ("size", len(entry.data) if entry.claimed_size is None else entry.claimed_size, 11),
    )
    for key, number, digits in numbers:
        forced = key in entry.base256
        if isinstance(number, int) and not forced and not 0 <= number < 8**digits:
            records.append((key, str(number)))
            fields[key] = 0
    if isinstance(entry.mtime, str) or not 0 <= entry.mtime < 8**11:
        records.append(("mtime", str(entry.mtime)))
        fields["mtime"] = max(0, min(_seconds(entry.mtime), 8**11 - 1))
    records += [*_xattr_records(entry), *entry.records]
    return extended_header(records) if records else b"", fields


_FORMATS = {"ustar": _ustar, "gnu": _gnu, "pax": _pax}


def _xattr_records(entry: Entry) -> list[tuple[Text, Text]]:
    return [(b"SCHILY.xattr." + raw_text(key), value) for key, value in entry.xattrs.items()]


def _seconds(mtime: int | str) -> int:
    return mtime if isinstance(mtime, int) else int(float(mtime) // 1)
