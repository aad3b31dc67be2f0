"""How a cell is drawn: its two colours, and what else is said by "select graphic rendition"."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

DEFAULT = -1
"""The colour of whoever shows the cell."""

TRUE_COLOR = 1 << 24
"""Set in a colour that is 24 bits of red, green and blue, not a number of the palette."""

BOLD, DIM, ITALIC, UNDERLINE, REVERSE, HIDDEN, STRIKE = (1 << bit for bit in range(7))

_ON = {1: BOLD, 2: DIM, 3: ITALIC, 4: UNDERLINE, 7: REVERSE, 8: HIDDEN, 9: STRIKE, 21: UNDERLINE}
_OFF = {22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 27: REVERSE, 28: HIDDEN, 29: STRIKE}


class Pen(NamedTuple):
    """Colours and attributes."""

    front: int = DEFAULT
    """`DEFAULT`, a number of the palette (0 to 255), or 24 bits with `TRUE_COLOR`."""
    back: int = DEFAULT
    flags: int = 0

    def erasing(self) -> Pen:
        """Return the pen of cells that are erased: only the background stays."""
        return PLAIN if self.back == DEFAULT else Pen(back=self.back)


PLAIN = Pen()


@lru_cache(maxsize=4096)
def numbers(parameters: str) -> tuple[int, ...]:
    """Return a sequence's numbers, at least one; a missing one is 0, a huge one 65535."""
    return tuple(_number(part.partition(":")[0]) for part in parameters.split(";"))


def _number(digits: str) -> int:
    return min(int(digits), 65535) if digits else 0


@lru_cache(maxsize=4096)
def dipped(pen: Pen, parameters: str) -> Pen:
    """Return the pen after "select graphic rendition" (ECMA-48, 8.3.117; ISO 8613-6 colours)."""
    front, back, flags = pen
    parts = parameters.split(";")
    at = 0
    while at < len(parts):
        head, *subs = parts[at].split(":")
        code = _number(head)
        at += 1
        if code == 0:
            front, back, flags = PLAIN
        elif code == 4 and subs:
            flags = flags | UNDERLINE if _number(subs[0]) else flags & ~UNDERLINE
        elif code in _ON:
            flags |= _ON[code]
        elif code in _OFF:
            flags &= ~_OFF[code]
        elif 30 <= code <= 37:
            front = code - 30
        elif 40 <= code <= 47:
            back = code - 40
        elif 90 <= code <= 97:
            front = code - 82
        elif 100 <= code <= 107:
            back = code - 92
        elif code == 39:
            front = DEFAULT
        elif code == 49:
            back = DEFAULT
        elif code in (38, 48, 58):
            if subs:
                color = _color([_number(sub) for sub in subs], colons=True)
            else:
                rest = [_number(part.partition(":")[0]) for part in parts[at : at + 4]]
                color = _color(rest, colons=False)
                at += {2: 4, 5: 2}.get(rest[0] if rest else 0, 0)
            if color is not None and code == 38:
                front = color
            elif color is not None and code == 48:
                back = color
    return Pen(front, back, flags)


def _color(values: list[int], *, colons: bool) -> int | None:
    """Read an extended colour: `5;N`, `2;R;G;B`, or with colons also `2::R:G:B`."""
    if len(values) >= 2 and values[0] == 5:
        return values[1] if values[1] < 256 else None
    if values[:1] == [2]:
        channels = values[2:5] if colons and len(values) >= 5 else values[1:4]
        if len(channels) == 3 and max(channels) < 256:
            red, green, blue = channels
            return TRUE_COLOR | red << 16 | green << 8 | blue
    return None
