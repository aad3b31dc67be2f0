"""The options of the shell's commands, read as getopt(3) reads them."""

from __future__ import annotations

from collections.abc import Sequence

from layerview.text import decode
from layerview.unionfs.shell.session import UsageError


def read_options(
    words: Sequence[bytes], letters: str, valued: str = ""
) -> tuple[dict[str, bytes], list[bytes]]:
    """Read a command's words.

    Args:
        words: behind the command's own.
        letters: options that are there or not.
        valued: options that have a value.

    Returns:
        The options, by letter, in their order, and what is none; both may be mixed.

    Raises:
        UsageError: for an option that is none.
    """
    options: dict[str, bytes] = {}
    operands: list[bytes] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == b"--":
            operands += waiting
            break
        if not word.startswith(b"-") or word == b"-":
            operands.append(word)
            continue
        rest = decode(word[1:])
        if rest.startswith("-"):
            raise UsageError(f"unrecognized option '{decode(word)}'")
        while rest:
            letter, rest = rest[0], rest[1:]
            if letter in valued:
                if not rest and not waiting:
                    raise UsageError(f"option requires an argument -- '{letter}'")
                value = rest.encode("utf-8", "surrogateescape") if rest else waiting.pop(0)
                options.pop(letter, None)
                options[letter] = value
                rest = ""
            elif letter in letters:
                options.pop(letter, None)
                options[letter] = b""
            else:
                raise UsageError(f"invalid option -- '{letter}'")
    return options, operands


def read_size(text: bytes) -> int | None:
    """Read a number of bytes with a suffix, as busybox does; None where it is none."""
    units = {b"": 1, b"c": 1, b"w": 2, b"b": 512, b"k": 1 << 10, b"K": 1 << 10, b"kB": 1000}
    units |= {b"M": 1 << 20, b"MB": 10**6, b"G": 1 << 30, b"GB": 10**9}
    digits = text[: len(text) - len(text.lstrip(b"0123456789"))]
    unit = units.get(text[len(digits) :])
    if not digits or len(digits) > 19 or unit is None:
        return None
    found = int(digits) * unit
    return found if found < 1 << 63 else None
