"""Compressed layers: which form the bytes have, and their plain bytes as a stream.

The form is judged from the bytes alone (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1, the xz
and bzip2 formats' magic numbers): media types and file names are often wrong.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Protocol, cast

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

_GZIP_WBITS = 31
"""zlib's word for: a gzip header and trailer, the largest window."""
_PIECE = 1 << 16


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


class _Decoder(Protocol):
    """What the libraries' decompressing files have in common."""

    def read1(self, size: int, /) -> bytes:
        """Read up to `size` plain bytes, of one piece of the compressed ones; b"" at the end."""


class _Checked:
    """Turns every decoder's own errors into one, behind all bytes that came before it."""

    def __init__(self, stream: _Decoder, compression: str) -> None:
        self._stream = stream
        self._compression = compression

    def read(self, size: int, /) -> bytes:
        try:
            # `read` would go on until it has `size` bytes, and lose them all to an error.
            return self._stream.read1(size)
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


class _Gzip:
    """Decompresses gzip members, one behind the other (RFC 1952 section 2.2).

    The libraries' gzip files lose what they had decompressed when the data ends too early.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        library: Any = zlib
        with suppress(ImportError):  # no wheel for this machine: the slower standard library
            from isal import isal_zlib as library
        self._new: Callable[[], Any] = lambda: library.decompressobj(_GZIP_WBITS)
        self._raw = raw
        self._waiting = b""
        self._member = self._new()

    def read1(self, size: int, /) -> bytes:
        while True:
            if self._member.eof:
                # Zeros may pad the end, as on tapes; anything else must be a member.
                rest = self._member.unused_data.lstrip(b"\0")
                while not rest:
                    piece = self._raw.read(_PIECE)
                    if not piece:
                        return b""
                    rest = piece.lstrip(b"\0")
                self._member, self._waiting = self._new(), rest
            data = self._waiting or self._raw.read(_PIECE)
            if not data:
                raise EOFError
            plain: bytes = self._member.decompress(data, size)
            self._waiting = self._member.unconsumed_tail
            if plain:
                return plain


def _zstd(raw: IO[bytes]) -> _Decoder:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast(_Decoder, zstd.ZstdFile(raw))


def _bzip2(raw: IO[bytes]) -> _Decoder:
    import bz2

    return bz2.BZ2File(raw)


def _xz(raw: IO[bytes]) -> _Decoder:
    import lzma

    return lzma.LZMAFile(raw)


_OPENERS: dict[str, Callable[[IO[bytes]], _Decoder]] = {
    "gzip": _Gzip,
    "zstd": _zstd,
    "bzip2": _bzip2,
    "xz": _xz,
}
