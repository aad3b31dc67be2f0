"""Changing inputs: bytes anywhere, and tars, pax records and JSON by their structure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.support import tars
from tests.support.archives import compress

BLOCK = tars.BLOCK
MOST = 1 << 17
"""Bytes of the largest input that is made."""

NAMES: Sequence[bytes] = (
    b"", b".", b"..", b"/", b"a", b"a/", b"a/b", b"a/b/c", b"./a", b"a//b", b"a/../b", b"../a",
    b"../../outside/evil", b"/outside/evil", b".wh.a", b".wh.", b".wh..", b".wh...", b".wh..wh.",
    b".wh..wh..opq", b"a/.wh..wh..opq", b"a/.wh.b", b".wh..wh.plnk/x", b"a\0b", b"a\nb", b"\xff",
    b"n" * 100, b"n" * 255, b"n" * 300, b"a/" * 60 + b"x", b"manifest.json", b"index.json",
    b"oci-layout", b"repositories", b"blobs/sha256/", b"layer.tar", b"\xe2\x80\xae", b"-",
)  # fmt: skip
NUMBERS: Sequence[int] = (
    0, 1, -1, 2, 7, 8, 255, 256, 511, 512, 513, 1023, 1024, 4095, 4096, 65535, 1 << 20, 1 << 31,
    (1 << 31) - 1, 1 << 32, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63),
    (1 << 63) - 512, (1 << 63) - 1024, (1 << 64) - 1, 8**11 - 1,
)  # fmt: skip
TYPES = b"01234567\0xgXLKSVMND5555000012"
PAX_KEYS: Sequence[bytes] = (
    b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"hdrcharset",
    b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.map", b"GNU.sparse.size",
    b"GNU.sparse.realsize", b"GNU.sparse.name", b"GNU.sparse.offset", b"GNU.sparse.numbytes",
    b"GNU.sparse.numblocks", b"SCHILY.xattr.user.x", b"SCHILY.xattr.", b"SCHILY.xattr.user.\0",
    b"SCHILY.xattr.security.capability", b"SCHILY.devmajor", b"comment", b"",
)  # fmt: skip
PAX_VALUES: Sequence[bytes] = (
    b"", b"0", b"1", b"-1", b"1.5", b"-1.5", b".5", b"1.", b"-", b".", b"1e9", b"0x10", b" 1",
    b"0,512", b"0,1,2", b"512,512,0,512", b"0,9223372036854775807", b"9" * 19, b"9" * 20,
    b"1.123456789012345678901234567890", b"\xd9\xa1\xd9\xa2", b"a=b", b"a\nb", b"a\0b", b"\xff",
    b"BINARY", b"x" * 300, b"9" * 400, b"+1",
)  # fmt: skip
VALUES: Sequence[Any] = (
    None, True, False, 0, -1, 1 << 70, 1e308, 0.5, "", "a", "sha256:", "sha256:" + "0" * 64,
    "sha256:../../x", "\ud800", "\0", "\x1b[2J", [], {}, [[]], [None], {"": None}, "x" * 5000,
    "2024-01-01T00:00:00Z", "linux/amd64", [{}] * 3,
)  # fmt: skip

Random = random.Random


def mutate(rng: Random, data: bytes, others: Sequence[bytes], how: str) -> bytes:
    """Change an input a few times, as suits its form: "tar", "json", "pax" or "bytes"."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if how == "tar" and rng.random() < 0.85:
            data = _tar(rng, data, others)
        elif how == "json" and rng.random() < 0.8:
            data = _json(rng, data)
        elif how == "pax" and rng.random() < 0.8:
            data = _pax(rng, data)
        else:
            data = _bytes(rng, data, others)
    return data[:MOST]


# ---- bytes --------------------------------------------------------------------------------------


def _bytes(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if not data:
        return rng.randbytes(rng.randrange(1, 600))
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice((1, 2, 8, 100, 512, 5000)))
    kind = rng.randrange(8)
    if kind == 0:
        flipped = data[at] ^ (1 << rng.randrange(8))
        return data[:at] + bytes([flipped]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[end:]
    if kind == 3:
        return data[:at] + data[at:end] * 2 + data[end:]
    if kind == 4:
        return data[:at] + bytes(end - at) + data[end:]
    if kind == 5:
        return data[:at] + rng.randbytes(end - at) + data[end:]
    if kind == 6:
        return data[:at] + rng.choice(NAMES + PAX_VALUES) + data[end:]
    other = rng.choice(others) if others else b""
    return data[:at] + other[rng.randrange(len(other) + 1) :]


# ---- tars ---------------------------------------------------------------------------------------


def split(data: bytes) -> list[list[bytes]]:
    """Cut a tar into members, each a header and its payload; what is no header is a payload."""
    members = []
    at = 0
    while at < len(data):
        block = data[at : at + BLOCK]
        try:
            size = int(block[124:136].strip(b" \0") or b"0", 8) if block.strip(b"\0") else 0
        except ValueError:
            size = 0
        end = min(len(data), at + BLOCK + size + (-size % BLOCK))
        members.append([block, data[at + BLOCK : end]])
        at = max(end, at + BLOCK)
    return members


def sealed(block: bytes) -> bytes:
    """Give a header the right checksum."""
    if len(block) < BLOCK:
        return block
    clean = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(clean) + block[156:]


def _tar(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if data[:3] in _OPENERS and rng.random() < 0.7:
        return _payload(rng, bytes(BLOCK), data, others)
    members = split(data)
    if not members:
        return _bytes(rng, data, others)
    at = rng.randrange(len(members))
    kind = rng.randrange(10)
    if kind == 0:
        members.insert(rng.randrange(len(members)), members.pop(at))
    elif kind == 1:
        members.insert(at, list(members[at]))
    elif kind == 2:
        del members[at]
    elif kind == 3 and others:
        more = split(rng.choice(others))
        members[at:at] = more[: rng.randrange(1, 4)]
    elif kind == 4:
        records = _pax(rng, b"")
        size = len(records) if rng.random() < 0.9 else rng.choice(NUMBERS)
        typeflag = rng.choice((b"x", b"x", b"x", b"g", b"X"))
        head = tars.header(b"PaxHeaders/x", typeflag=typeflag, size=size)
        members.insert(at, [head, tars.padded(records)])
    elif kind == 5:
        text = rng.choice(NAMES) * rng.choice((1, 1, 5))
        head = tars.header(b"././@LongLink", typeflag=rng.choice((b"L", b"K")), size=len(text))
        members.insert(at, [head, tars.padded(text)])
    elif kind == 6:
        head, payload = members[at]
        members[at][1] = _payload(rng, head, payload, others)
        if rng.random() < 0.9:
            size = tars.number_field(len(members[at][1]), 12)
            members[at][0] = sealed(head[:124] + size + head[136:])
            members[at][1] = tars.padded(members[at][1])
    else:
        head = _header(rng, members[at][0])
        members[at][0] = sealed(head) if rng.random() < 0.95 else head
    return b"".join(head + payload for head, payload in members)


_FIELDS = ((100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8), (386, 12),
           (398, 12), (483, 12))  # fmt: skip


def _header(rng: Random, head: bytes) -> bytes:
    if len(head) < BLOCK:
        return head
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(NAMES)[:100].ljust(100, b"\0") + head[100:]
    if kind == 1:
        return head[:157] + rng.choice(NAMES)[:100].ljust(100, b"\0") + head[257:]
    if kind == 2:
        return head[:156] + bytes([rng.choice(TYPES)]) + head[157:]
    if kind == 3:
        start, width = rng.choice(_FIELDS)
        value = rng.choice(NUMBERS)
        if rng.random() < 0.2:
            field = rng.choice(PAX_VALUES)[:width].ljust(width, b" ")
        else:
            field = tars.number_field(value, width, rng.random() < 0.3)
        return head[:start] + field + head[start + width :]
    if kind == 4:
        magic = rng.choice((tars.USTAR_MAGIC, tars.GNU_MAGIC, tars.V7_MAGIC, b"ustar 00"))
        return head[:257] + magic + head[265:]
    at = rng.randrange(BLOCK)
    return head[:at] + bytes([rng.randrange(256)]) + head[at + 1 :]


def _payload(rng: Random, head: bytes, payload: bytes, others: Sequence[bytes]) -> bytes:
    """Change what a member holds by what it looks like."""
    try:
        data = payload[: int(head[124:136].strip(b" \0"), 8)]
    except ValueError:
        data = payload
    if head[156:157] in b"xgX":
        return _pax(rng, data)
    if data.lstrip()[:1] in (b"{", b"["):
        return _json(rng, data)
    opener = _OPENERS.get(data[:3])
    if opener is not None and rng.random() < 0.7:
        name, opened = opener
        try:
            plain = opened(data)
        except Exception:  # spoilt before: only bytes are left
            return _bytes(rng, data, others)
        return compress(_tar(rng, plain[:MOST], others), rng.choice((name, "none", "zstd")))
    if len(data) >= 2 * BLOCK and len(data) % BLOCK == 0:
        return _tar(rng, data, others)
    return _bytes(rng, data, others)


def _gunzip(data: bytes) -> bytes:
    import zlib

    return zlib.decompressobj(31).decompress(data, MOST)


def _unzstd(data: bytes) -> bytes:
    from tests.support.archives import zstd

    return bytes(zstd.ZstdDecompressor().decompress(data, MOST))


_OPENERS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b\x08": ("gzip", _gunzip),
    b"\x28\xb5\x2f": ("zstd", _unzstd),
}


# ---- pax records and JSON -----------------------------------------------------------------------


def _pax(rng: Random, data: bytes) -> bytes:
    kind = rng.randrange(4)
    if data and kind == 0:
        return _bytes(rng, data, ())
    made = b"".join(
        tars.pax_record(
            rng.choice(PAX_KEYS),
            rng.choice(PAX_VALUES + NAMES) if rng.random() < 0.8 else b"%d" % rng.choice(NUMBERS),
        )
        for _ in range(rng.choice((1, 1, 2, 5)))
    )
    return data + made if kind < 3 else made


def _json(rng: Random, data: bytes) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(rng, data, ())
    if rng.random() < 0.03:
        return rng.choice((b"[" * 5000, b'{"a":' * 5000, b"[" * 500 + b"]" * 500, b"1" * 5000))
    for _ in range(rng.choice((1, 1, 2))):
        document = _changed(rng, document)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _changed(rng: Random, value: Any) -> Any:
    if rng.random() < 0.15 or not value or not isinstance(value, (dict, list)):
        return rng.choice(VALUES)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        kind = rng.randrange(6)
        if kind == 0:
            return {name: one for name, one in value.items() if name != key}
        if kind == 1:
            return {**value, rng.choice(("", "x", "layers", "mediaType")): rng.choice(VALUES)}
        return {**value, key: _changed(rng, value[key])}
    at = rng.randrange(len(value))
    kind = rng.randrange(6)
    if kind == 0:
        return value[:at] + value[at + 1 :]
    if kind == 1:
        return value[:at] + [value[at]] * rng.choice((2, 3, 50)) + value[at:]
    return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]
