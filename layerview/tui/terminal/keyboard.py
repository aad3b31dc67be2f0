"""What keys send to a program: as xterm's do, in the normal and in the application mode."""

from __future__ import annotations

import re

_CURSOR = {
    "up": "A",
    "down": "B",
    "right": "C",
    "left": "D",
    "home": "H",
    "end": "F",
}
_FUNCTION_LETTERS = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_NUMBERED = {
    "insert": 2,
    "delete": 3,
    "pageup": 5,
    "pagedown": 6,
    "f5": 15,
    "f6": 17,
    "f7": 18,
    "f8": 19,
    "f9": 20,
    "f10": 21,
    "f11": 23,
    "f12": 24,
}
_PLAIN = {
    "enter": "\r",
    "tab": "\t",
    "escape": "\x1b",
    "backspace": "\x7f",
    "space": " ",
    "newline": "\n",
}
_CONTROLLED = {
    "space": "\0",
    "at": "\0",
    "@": "\0",
    "2": "\0",
    "left_square_bracket": "\x1b",
    "3": "\x1b",
    "backslash": "\x1c",
    "4": "\x1c",
    "right_square_bracket": "\x1d",
    "5": "\x1d",
    "circumflex_accent": "\x1e",
    "6": "\x1e",
    "underscore": "\x1f",
    "slash": "\x1f",
    "minus": "\x1f",
    "7": "\x1f",
    "question_mark": "\x7f",
    "8": "\x7f",
    "backspace": "\x08",
}

_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def sent_by(key: str, character: str | None, *, application_cursor: bool = False) -> bytes:
    """Return what a key sends; nothing for one that no terminal has.

    Args:
        key: its name, as Textual has it: `a`, `ctrl+c`, `shift+f5`, `alt+up`.
        character: what it types, where it types something.
        application_cursor: whether the program asked for the other cursor keys.
    """
    *modifiers, name = key.split("+") if key != "+" else [key]
    shift, alt, control = (word in modifiers for word in ("shift", "alt", "ctrl"))
    if name.startswith("f") and name[1:].isdigit() and 13 <= int(name[1:]) <= 24:
        # The upper function keys are the lower ones with shift.
        name, shift = f"f{int(name[1:]) - 12}", True
    modifier = 1 + shift + 2 * alt + 4 * control
    if name in _CURSOR or name in _FUNCTION_LETTERS:
        letter = _CURSOR.get(name) or _FUNCTION_LETTERS[name]
        if modifier > 1:
            return f"\x1b[1;{modifier}{letter}".encode()
        single_shift = application_cursor or name in _FUNCTION_LETTERS
        return f"\x1b{'O' if single_shift else '['}{letter}".encode()
    if name in _NUMBERED:
        rest = f";{modifier}" if modifier > 1 else ""
        return f"\x1b[{_NUMBERED[name]}{rest}~".encode()
    if name == "tab" and shift:
        return b"\x1b[Z"
    text = _typed(name, character, control=control, alt=alt, shift=shift)
    return ("\x1b" + text if alt and text else text).encode("utf-8", "replace")


def _typed(name: str, character: str | None, *, control: bool, alt: bool, shift: bool) -> str:
    if control:
        if len(name) == 1 and "a" <= name.lower() <= "z":
            return chr(ord(name.upper()) - 0x40)
        if name in _CONTROLLED:
            return _CONTROLLED[name]
        if name not in _PLAIN:
            return character if character is not None and character.isprintable() else ""
    if name in _PLAIN:
        return _PLAIN[name]
    if character is not None and (len(character) == 1 or character.isprintable()):
        return character.upper() if shift and alt else character
    if len(name) == 1:
        return name.upper() if shift else name
    return ""


def pasted(text: str, *, bracketed: bool) -> bytes:
    """Return what pasting a text sends; control characters in it press no keys."""
    text = _UNSAFE.sub("", text.replace("\r\n", "\r").replace("\n", "\r"))
    text = text if not bracketed else f"\x1b[200~{text}\x1b[201~"
    return text.encode("utf-8", "replace")
