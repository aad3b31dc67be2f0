"""echo and printf."""

from __future__ import annotations

import re

from layerview.text import decode
from layerview.unionfs.shell.session import Session, off

_PLAIN = {
    ord("a"): b"\a",
    ord("b"): b"\b",
    ord("e"): b"\x1b",
    ord("f"): b"\f",
    ord("n"): b"\n",
    ord("r"): b"\r",
    ord("t"): b"\t",
    ord("v"): b"\v",
    ord("\\"): b"\\",
}
_NUMBER = {
    True: re.compile(rb"x([0-9a-fA-F]{1,2})|0([0-7]{1,3})|([0-7]{1,3})"),
    False: re.compile(rb"x([0-9a-fA-F]{1,2})|([0-7]{1,3})"),
}
"""What a backslash and a number look like; True: octal ones may begin with a 0 of their own."""
_CONVERSION = re.compile(rb"%([-+ 0#]*)(\*|\d{0,4})(?:\.(\*|\d{0,4}))?([a-zA-Z%])")
_MAX_WIDTH = 4096


class _End(Exception):
    """`\\c`: nothing more is printed."""

    def __init__(self, text: bytes) -> None:
        self.text = text


def _escapes(text: bytes, *, zero: bool) -> bytes:
    """Put in what backslashes stand for; `zero`: an octal number begins with a 0 of its own."""
    found = bytearray()
    at = 0
    while at < len(text):
        char = text[at]
        behind = text[at + 1] if at + 1 < len(text) else -1
        if char != ord("\\") or behind < 0:
            found.append(char)
            at += 1
        elif behind in _PLAIN:
            found += _PLAIN[behind]
            at += 2
        elif behind == ord("c") and zero:
            raise _End(bytes(found))
        else:
            number = _NUMBER[zero].match(text, at + 1)
            if number is None:
                found.append(char)
                at += 1
                continue
            digits = next(group for group in number.groups() if group is not None)
            base = 16 if number[1] is not None else 8
            found.append(int(digits, base) & 255)
            at = number.end()
    return bytes(found)


def echo(session: Session, words: list[bytes]) -> int:
    """Print words."""
    newline, escapes = True, False
    while words and re.fullmatch(rb"-[neE]+", words[0]):
        for letter in words.pop(0)[1:]:
            newline &= letter != ord("n")
            escapes = letter == ord("e") or (escapes and letter != ord("E"))
    text = b" ".join(words)
    if escapes:
        try:
            text = _escapes(text, zero=True)
        except _End as end:
            text, newline = end.text, False
    session.write(text + (b"\n" if newline else b""))
    return 0


def printf(session: Session, words: list[bytes]) -> int:
    """Print words in a form; it is used again while there are words left."""
    if not words:
        off("")
    form, waiting = words[0], words[1:]
    status = 0
    try:
        while True:
            before = len(waiting)
            more = _print_once(session, form, waiting)
            status = status or more
            if not waiting or len(waiting) == before:
                return status
            session.tick()
    except _End as end:
        session.write(end.text)
    return status


def _print_once(session: Session, form: bytes, waiting: list[bytes]) -> int:
    status = at = 0
    while at < len(form):
        sign = form.find(b"%", at)
        sign = len(form) if sign < 0 else sign
        if sign > at:
            session.write(_escapes(form[at:sign], zero=False))
        at = sign
        if at >= len(form):
            break
        found = _CONVERSION.match(form, at)
        if found is None:
            session.complain("sh", f"{decode(form[at:])}: invalid format")
            return 1
        at = found.end()
        text, code = _convert(session, found, waiting)
        status = status or code
        session.write(text)
    return status


def _convert(session: Session, found: re.Match[bytes], waiting: list[bytes]) -> tuple[bytes, int]:
    flags, letter = found[1].decode(), found[4].decode()
    if letter == "%":
        return b"%", 0
    status = 0

    def number(text: bytes) -> int:
        nonlocal status
        value = _number(text)
        if value is None:
            status = 1
            session.complain("sh", f"invalid number '{decode(text)}'")
        return value or 0

    def measure(text: bytes | None) -> int:
        if text == b"*":
            return number(waiting.pop(0) if waiting else b"")
        return int(text or b"0")

    width = measure(found[2])
    precision = measure(found[3]) if found[3] is not None else -1
    if width < 0:
        flags, width = flags + "-", -width
    if width > _MAX_WIDTH or precision > _MAX_WIDTH:
        off("too wide")
    word = waiting.pop(0) if waiting else b""
    if letter in "sbc":
        if letter == "b":
            word = _escapes(word, zero=True)
        if letter == "c":
            precision = 1
        if precision >= 0:
            word = word[:precision]
        return (word.ljust(width) if "-" in flags else word.rjust(width)), status
    if letter not in "diouxX":
        off(f"%{letter}: invalid format")
    value = number(word)
    if letter in "ouxX" and value < 0:
        value += 1 << 64
    given = f"%{flags}{width or ''}{'' if precision < 0 else f'.{precision}'}"
    return ((given + ("d" if letter in "diu" else letter)) % value).encode(), status


def _number(text: bytes) -> int | None:
    if not text:
        return 0
    if text[:1] in (b"'", b'"'):
        return text[1] if len(text) > 1 else 0
    found = re.fullmatch(rb"\s*([-+]?)(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,18})", text)
    if found is None:
        return None
    digits = found[2]
    base = 16 if digits[:2] in (b"0x", b"0X") else 8 if digits[:1] == b"0" else 10
    return int(digits, base) * (-1 if found[1] == b"-" else 1)
