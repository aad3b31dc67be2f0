"""Names from images made safe to print: no control character reaches a terminal."""

from __future__ import annotations

HEX_DIGITS = "0123456789abcdef"
LOWER_CASE = "abcdefghijklmnopqrstuvwxyz"


def decode(raw: bytes) -> str:
    """Decode a name so that every byte survives: bytes that are not UTF-8 become surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Undo `decode`."""
    return text.encode("utf-8", "surrogateescape")


def printable(name: bytes | str) -> str:
    """Return a name as one line of printable text.

    Control characters, bidirectional overrides and bytes that are not UTF-8 become escapes
    (`\\n`, `\\x1b`, `\\u202e`, `\\xff`); everything else stays as it is.
    """
    text = decode(name) if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def consists_of(text: str, characters: str) -> bool:
    """Whether a text has characters of a set only; a start waits for no pattern to be compiled."""
    return not text.strip(characters)


def is_hex(text: str, digits: int) -> bool:
    """Whether a text is a number of so many lower-case hexadecimal digits."""
    return len(text) == digits and consists_of(text, HEX_DIGITS)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
