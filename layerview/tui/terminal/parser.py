"""Takes a program's output apart: text, control characters, escape and control sequences.

The states are those of DEC's VT500 series (https://vt100.net/emu/dec_ansi_parser), on characters
instead of bytes. What is kept of an unfinished sequence is bounded; strings (titles, clipboard
writes, device controls, graphics) are read past and never kept.
"""

from __future__ import annotations

import codecs
import re
from typing import Protocol

MOST_PARAMETERS = 256
"""Characters of parameters; a sequence with more is read past."""

_GROUND, _ESCAPE, _BETWEEN, _ENTRY, _PARAMETERS, _INTERMEDIATE, _IGNORE, _TITLE, _STRING = range(9)

_NOTHING, _EXECUTE, _COLLECT, _PARAMETER, _ESCAPE_DONE, _CONTROL_DONE = range(6)

_Step = tuple[int, int]
"""An action, and the state after it."""


class Listener(Protocol):
    """What is told of the parts."""

    def text(self, text: str) -> None:
        """Take text without control characters."""

    def control(self, character: str) -> None:
        """Take a control character, 0x00 to 0x1f."""

    def escape(self, between: str, final: str) -> None:
        """Take an escape sequence: ESC, intermediate characters, a final one."""

    def sequence(self, function: str, parameters: str) -> None:
        """Take a control sequence.

        Args:
            function: the private marker, the intermediate characters and the final one.
            parameters: digits, `;` and `:`; at most `MOST_PARAMETERS`.
        """


def _table() -> list[dict[str, _Step]]:
    """Return for each state what each character does; others do nothing and change nothing."""

    def characters(first: int, last: int) -> str:
        return "".join(map(chr, range(first, last + 1)))

    controls = characters(0x00, 0x17) + characters(0x1C, 0x1F) + "\x19"
    between = characters(0x20, 0x2F)
    finals = characters(0x40, 0x7E)
    table: list[dict[str, _Step]] = [{} for _ in range(9)]

    def step(state: int, which: str, action: int, after: int) -> None:
        table[state].update(dict.fromkeys(which, (action, after)))

    for state in (_GROUND, _ESCAPE, _BETWEEN, _ENTRY, _PARAMETERS, _INTERMEDIATE, _IGNORE):
        step(state, controls, _EXECUTE, state)
    step(_ESCAPE, between, _COLLECT, _BETWEEN)
    step(_ESCAPE, characters(0x30, 0x7E), _ESCAPE_DONE, _GROUND)
    step(_ESCAPE, "[", _NOTHING, _ENTRY)
    step(_ESCAPE, "]", _NOTHING, _TITLE)
    step(_ESCAPE, "PX^_", _NOTHING, _STRING)
    step(_BETWEEN, between, _COLLECT, _BETWEEN)
    step(_BETWEEN, characters(0x30, 0x7E), _ESCAPE_DONE, _GROUND)
    for state in (_ENTRY, _PARAMETERS):
        step(state, between, _COLLECT, _INTERMEDIATE)
        step(state, "0123456789:;", _PARAMETER, _PARAMETERS)
        step(state, "<=>?", _NOTHING, _IGNORE)
        step(state, finals, _CONTROL_DONE, _GROUND)
    step(_ENTRY, "<=>?", _COLLECT, _PARAMETERS)
    step(_INTERMEDIATE, between, _COLLECT, _INTERMEDIATE)
    step(_INTERMEDIATE, characters(0x30, 0x3F), _NOTHING, _IGNORE)
    step(_INTERMEDIATE, finals, _CONTROL_DONE, _GROUND)
    step(_IGNORE, finals, _NOTHING, _GROUND)
    step(_TITLE, "\x07", _NOTHING, _GROUND)
    for state in range(9):
        # These end whatever was begun.
        step(state, "\x18\x1a", _NOTHING, _GROUND)
        step(state, "\x1b", _NOTHING, _ESCAPE)
    return table


_TABLE = _table()

_PRINTED = r"[ -~\xa0-\U0010ffff]+"
_WHOLE = re.compile(
    rf"({_PRINTED})"
    r"|\x1b\[([<-?]?)([0-9:;]{0,%d})([ -/]{0,2})([@-~])"
    % MOST_PARAMETERS
    + r"|([\x00-\x17\x19\x1c-\x1f])"
)
"""What comes whole while nothing is begun: most of what programs write, and read in one go."""

_TEXT, _FINAL, _CONTROL = 1, 5, 6

_END_OF_TITLE = re.compile(r"[\x07\x18\x1a\x1b]")
_END_OF_STRING = re.compile(r"[\x18\x1a\x1b]")


class Parser:
    """Reads output in pieces that may end anywhere."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _GROUND
        self._collected = ""
        self._parameters = ""

    def feed(self, data: bytes) -> None:
        """Take in what came."""
        text = self._decoder.decode(data)
        listener = self._listener
        at, end = 0, len(text)
        while at < end:
            if self._state == _GROUND:
                whole = _WHOLE.match(text, at)
                if whole is not None:
                    at = whole.end()
                    kind = whole.lastindex
                    if kind == _TEXT:
                        listener.text(whole[1])
                    elif kind == _CONTROL:
                        listener.control(whole[6])
                    else:
                        listener.sequence(whole[2] + whole[4] + whole[5], whole[3])
                    continue
            elif self._state >= _TITLE:
                pattern = _END_OF_TITLE if self._state == _TITLE else _END_OF_STRING
                found = pattern.search(text, at)
                if found is None:
                    return
                at = found.start()
            self._step(text[at])
            at += 1

    def _step(self, character: str) -> None:
        """Take one character through the table."""
        before = self._state
        action, after = _TABLE[before].get(character, (_NOTHING, before))
        self._state = after
        if action == _EXECUTE:
            self._listener.control(character)
        elif action == _COLLECT:
            # With more than four it is no function that anybody knows.
            if len(self._collected) <= 4:
                self._collected += character
        elif action == _PARAMETER:
            self._parameters += character
            if len(self._parameters) > MOST_PARAMETERS:
                self._state = _IGNORE
        elif action == _ESCAPE_DONE:
            self._listener.escape(self._collected, character)
        elif action == _CONTROL_DONE:
            self._listener.sequence(self._collected + character, self._parameters)
        if after in (_GROUND, _ESCAPE) and action != _EXECUTE:
            self._collected = self._parameters = ""
