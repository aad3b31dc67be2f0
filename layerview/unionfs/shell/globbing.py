"""Patterns of names (POSIX.1-2017, XCU 2.13): `*`, `?` and `[...]`."""

from __future__ import annotations

import re
from functools import lru_cache

from layerview.text import decode

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    "space": " \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Pattern:
    """A pattern of one name; characters of it may be quoted, and then stand for themselves."""

    def __init__(self, parts: list[tuple[bytes, bool]]) -> None:
        """Join parts, each with whether it was quoted."""
        self._chars: list[tuple[str, bool]] = []
        for text, quoted in parts:
            self._chars += [(char, quoted) for char in decode(text)]
        self.special = any(char in "*?[" and not quoted for char, quoted in self._chars)
        self._hidden = bool(self._chars) and self._chars[0][0] == "."
        self._atoms = _atoms(self._chars)

    def matches(self, name: bytes) -> bool:
        """Whether it is the pattern of a folder's entry: a leading dot must be named."""
        if name.startswith(b".") and not self._hidden:
            return False
        return self.fits(name)

    def fits(self, name: bytes) -> bool:
        """Whether a name fits, with or without a dot."""
        text, atoms = decode(name), self._atoms
        at = mine = 0
        star, tried = -1, 0
        # Only the last star is ever tried again: no pattern takes longer than its length times
        # the name's.
        while at < len(text):
            if mine < len(atoms) and atoms[mine] is None:
                star, tried = mine, at
                mine += 1
            elif mine < len(atoms) and _fits(atoms[mine], text[at]):
                mine += 1
                at += 1
            elif star >= 0:
                tried += 1
                mine, at = star + 1, tried
            else:
                return False
        return all(atom is None for atom in atoms[mine:])


@lru_cache(64)
def fnmatch_pattern(text: bytes) -> Pattern:
    """Return the pattern of `find -name`: a backslash quotes what follows."""
    parts: list[tuple[bytes, bool]] = []
    at = 0
    while at < len(text):
        if text[at : at + 1] == b"\\" and at + 1 < len(text):
            parts.append((text[at + 1 : at + 2], True))
            at += 2
        else:
            end = text.find(b"\\", at + 1)
            end = len(text) if end < 0 else end
            parts.append((text[at:end], False))
            at = end
    return Pattern(parts)


def _fits(atom: re.Pattern[str] | None, char: str) -> bool:
    return atom is not None and atom.fullmatch(char) is not None


def _atoms(chars: list[tuple[str, bool]]) -> list[re.Pattern[str] | None]:
    """Return what each character of a name must be; None stands for any number of them."""
    found: list[re.Pattern[str] | None] = []
    at = 0
    while at < len(chars):
        char, quoted = chars[at]
        at += 1
        text = re.escape(char)
        if not quoted and char == "*":
            found.append(None)
            continue
        if not quoted and char == "?":
            text = "."
        elif not quoted and char == "[":
            bracket, end = _bracket(chars, at)
            if bracket:
                text, at = bracket, end
        found.append(re.compile(text, re.DOTALL))
    return found


def _bracket(chars: list[tuple[str, bool]], at: int) -> tuple[str, int]:
    """Translate what stands between brackets; "" where they are not closed."""
    negated = at < len(chars) and chars[at] in (("!", False), ("^", False))
    at += negated
    start = at
    parts: list[str] = []
    while at < len(chars):
        char, quoted = chars[at]
        if char == "]" and not quoted and at > start:
            if not parts:
                # An empty range, as [z-a]: nothing fits, or all does.
                return (r"[\s\S]" if negated else r"(?!)"), at + 1
            return f"[{'^' if negated else ''}{''.join(parts)}]", at + 1
        if char == "/":
            break
        word = "".join(c for c, _ in chars[at : at + 12])
        named = re.match(r"\[:([a-z]+):\]", word) if not quoted else None
        if named is not None and named[1] in _CLASSES:
            parts.append(_CLASSES[named[1]])
            at += named.end()
            continue
        if at + 2 < len(chars) and chars[at + 1] == ("-", False) and chars[at + 2] != ("]", False):
            low, high = char, chars[at + 2][0]
            if low <= high:
                parts.append(f"{re.escape(low)}-{re.escape(high)}")
            at += 3
            continue
        parts.append(re.escape(char))
        at += 1
    return "", at
