"""find."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from typing import ClassVar

from layerview.text import decode
from layerview.unionfs.shell.globbing import fnmatch_pattern
from layerview.unionfs.shell.places import Place
from layerview.unionfs.shell.session import Session, off, text_of
from layerview.unionfs.union import Attributes

_Test = Callable[[bytes, Attributes], bool]
_KINDS = {
    b"f": stat.S_ISREG,
    b"d": stat.S_ISDIR,
    b"l": stat.S_ISLNK,
    b"c": stat.S_ISCHR,
    b"b": stat.S_ISBLK,
    b"p": stat.S_ISFIFO,
    b"s": stat.S_ISSOCK,
}
_UNITS = {b"": 512, b"b": 512, b"c": 1, b"k": 1024}


def find(session: Session, words: list[bytes]) -> int:
    """Look for names in folders."""
    starts: list[bytes] = []
    waiting = list(words)
    while waiting and not waiting[0].startswith((b"-", b"!", b"(")):
        starts.append(waiting.pop(0))
    looked_for = _Expression(session, waiting)
    status = 0
    for start in starts or [b"."]:
        try:
            place = session.find(start, follow=False)
        except OSError as error:
            status = session.complain("find", f"{decode(start)}: {text_of(error)}")
            continue
        _look(session, start, place, looked_for)
    return status


def _look(session: Session, start: bytes, place: Place, looked_for: _Expression) -> None:
    waiting = [(start, place, 0)]
    while waiting:
        session.tick()
        path, place, depth = waiting.pop()
        try:
            if depth >= looked_for.least and looked_for.fits(path, place.attributes()):
                session.write(session.name(path) + looked_for.end)
            if not place.is_folder or depth >= looked_for.most:
                continue
            base = path if path.endswith(b"/") else path + b"/"
            for entry in reversed(session.tree.entries(place)):
                child = session.tree.child(place, entry.name)
                waiting.append((base + entry.name, child, depth + 1))
        except FileNotFoundError:
            continue


class _Expression:
    """What is looked for: tests that all must hold, or others behind -o."""

    def __init__(self, session: Session, words: list[bytes]) -> None:
        self.least, self.most = 0, 1 << 30
        self.end = b"\n"
        self._session = session
        self._choices: list[list[_Test]] = [[]]
        negated = False
        while words:
            word = words.pop(0)
            if word in (b"!", b"-not"):
                negated = not negated
            elif word == b"-o":
                self._choices.append([])
            elif word in (b"-a", b"-print"):
                continue
            elif word == b"-print0":
                self.end = b"\0"
            else:
                if not words or word not in self._READERS:
                    known = word in self._READERS or word in (b"-maxdepth", b"-mindepth")
                    if not (known and words):
                        needs = f"'{decode(word)}' requires an argument" if known else ""
                        off(needs or f"unrecognized: {decode(word)}")
                test = self._test(word, words.pop(0))
                if test is not None:
                    self._choices[-1].append(_not(test) if negated else test)
                negated = False

    def fits(self, path: bytes, state: Attributes) -> bool:
        return any(all(test(path, state) for test in tests) for tests in self._choices)

    def _test(self, word: bytes, value: bytes) -> _Test | None:
        if word in (b"-maxdepth", b"-mindepth"):
            if not value.isdigit() or len(value) > 9:
                off(f"invalid number '{decode(value)}'")
            if word == b"-maxdepth":
                self.most = int(value)
            else:
                self.least = int(value)
            return None
        return self._READERS[word](self, value)

    def _name(self, value: bytes) -> _Test:
        pattern = fnmatch_pattern(value)
        return lambda path, state: pattern.fits(path.rstrip(b"/").rpartition(b"/")[2] or b"/")

    def _iname(self, value: bytes) -> _Test:
        pattern = fnmatch_pattern(value.lower())
        return lambda path, state: pattern.fits(path.rstrip(b"/").rpartition(b"/")[2].lower())

    def _path(self, value: bytes) -> _Test:
        pattern = fnmatch_pattern(value)
        return lambda path, state: pattern.fits(path)

    def _type(self, value: bytes) -> _Test:
        kind = _KINDS.get(value)
        if kind is None:
            off(f"invalid argument '{decode(value)}' to '-type'")
        return lambda path, state: kind(state.mode)

    def _size(self, value: bytes) -> _Test:
        found = re.fullmatch(rb"([-+]?)(\d{1,15})([bck]?)", value)
        if found is None:
            off(f"invalid number '{decode(value.lstrip(b'+-'))}'")
        size = int(found[2]) * _UNITS[found[3]]
        if found[1] == b"+":
            return lambda path, state: state.size > size
        if found[1] == b"-":
            return lambda path, state: state.size < size
        unit = _UNITS[found[3]]
        return lambda path, state: -(-state.size // unit) * unit == size

    def _newer(self, value: bytes) -> _Test:
        try:
            than = self._session.find(value).attributes().mtime_ns
        except OSError as error:
            off(f"{decode(value)}: {text_of(error)}")
        return lambda path, state: state.mtime_ns > than

    _READERS: ClassVar[Mapping[bytes, Callable[[_Expression, bytes], _Test]]] = {
        b"-name": _name,
        b"-iname": _iname,
        b"-path": _path,
        b"-type": _type,
        b"-size": _size,
        b"-newer": _newer,
    }


def _not(test: _Test) -> _Test:
    return lambda path, state: not test(path, state)
