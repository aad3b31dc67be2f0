"""Compressed layers: which form the bytes have, and their plain bytes as a stream.

The form is judged from the bytes alone (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1, the xz
and bzip2 formats' magic numbers): media types and file names are often wrong.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import IO, cast

from layerview.errors import DamageError
from layerview.layer.windows import Readable

_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
}
MAGIC_LENGTH = 6
"""Bytes that `sniff` wants to see."""


def sniff(start: bytes) -> str:
    """Name the compression of a blob by its first bytes: none, gzip, zstd, bzip2 or xz."""
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return name
    # A zstd stream may begin with a skippable frame (RFC 8878 section 3.1.2).
    if len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F:
        return "zstd"
    return "none"


def open_plain(raw: IO[bytes], compression: str) -> Readable:
    """Open the plain bytes of a compressed stream; each read is bounded by its size.

    Raises:
        DamageError: from `read`, when the stream is truncated or corrupt.
    """
    if compression == "none":
        return raw
    return _Checked(_OPENERS[compression](raw), compression)


class _Checked:
    """Turns every decoder's own errors into one."""

    def __init__(self, stream: Readable, compression: str) -> None:
        self._stream = stream
        self._compression = compression

    def read(self, size: int, /) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError:
            raise DamageError(f"the {self._compression} data is truncated") from None
        except MemoryError:
            raise DamageError(f"the {self._compression} data asks for too much memory") from None
        except (OSError, zlib.error, ValueError) as error:
            raise DamageError(f"the {self._compression} data is corrupt: {error}") from None
        except Exception as error:
            # isal, lzma and zstd have error classes of their own, imported late.
            if type(error).__name__ not in ("IsalError", "LZMAError", "ZstdError"):
                raise
            raise DamageError(f"the {self._compression} data is corrupt: {error}") from None


def _gzip(raw: IO[bytes]) -> Readable:
    try:
        from isal import igzip
    except ImportError:  # no wheel for this machine: the slower standard library
        import gzip

        return gzip.GzipFile(fileobj=raw, mode="rb")
    return cast(Readable, igzip.IGzipFile(fileobj=raw, mode="rb"))  # type: ignore[no-untyped-call]


def _zstd(raw: IO[bytes]) -> Readable:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast(Readable, zstd.ZstdFile(raw))


def _bzip2(raw: IO[bytes]) -> Readable:
    import bz2

    return bz2.BZ2File(raw)


def _xz(raw: IO[bytes]) -> Readable:
    import lzma

    return lzma.LZMAFile(raw)


_OPENERS: dict[str, Callable[[IO[bytes]], Readable]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "bzip2": _bzip2,
    "xz": _xz,
}
