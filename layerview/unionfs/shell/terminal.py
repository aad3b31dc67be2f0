"""Text on its way to a terminal: no control character of an image reaches it."""

from __future__ import annotations

import codecs

from layerview.text import printable

_KEPT = frozenset("\n\t")


class TerminalText:
    """Makes bytes, in whatever pieces they come, text that a terminal only shows."""

    def __init__(self) -> None:
        """Begin with nothing left over."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def feed(self, data: bytes) -> str:
        """Return what may be shown of some bytes; the rest of a cut character comes later."""
        text = self._decoder.decode(data)
        if text.isprintable():
            return text
        return "".join(char if char in _KEPT else printable(char) for char in text)
