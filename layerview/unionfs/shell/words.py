"""A shell's line taken apart (POSIX.1-2017, XCU 2.2 to 2.10): words, redirections, lists."""

from __future__ import annotations

from typing import NamedTuple

MAX_LINE = 64 << 10
"""Bytes of a line."""
_BLANKS = b" \t\r"
_META = b"|&;<>()\n"
_ESCAPED = b'$`"\\\n'
"""What a backslash takes its meaning from between double quotes."""
_SPECIAL = b"?*@#!$-0123456789"
"""Variables of one character (XCU 2.5.2)."""
_NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class LineError(Exception):
    """A line that makes no sense; the message is the shell's."""


class Piece(NamedTuple):
    """A part of a word."""

    kind: str
    """plain, quoted, or variable (of the name that `text` is)."""
    text: bytes
    quoted: bool = False
    """Of a variable: it stands between double quotes."""


Word = tuple[Piece, ...]


class Redirection(NamedTuple):
    """Where an input or output of a command goes."""

    fd: int
    how: bytes
    """`<`, `>`, `>>` or `>&`."""
    word: Word


class Command(NamedTuple):
    """A simple command."""

    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...] = ()


class Step(NamedTuple):
    """Commands with pipes between them, and what stands in front of them."""

    when: bytes
    """`;`, `&&` or `||`."""
    commands: tuple[Command, ...]
    negated: bool = False
    """`!` stands in front of them."""


def parse(line: bytes) -> list[Step]:
    """Take a line apart.

    Raises:
        LineError: when it makes no sense, or asks for what this shell has not.
    """
    if len(line) > MAX_LINE:
        raise LineError("line too long")
    return _Parser(_tokens(line)).steps()


class _Operator(NamedTuple):
    text: bytes
    fd: int = -1
    """The number in front of a redirection; -1 for none."""


_Token = _Operator | Word


def _tokens(line: bytes) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(line):
        char = line[at]
        if char in _BLANKS:
            at += 1
        elif char == ord("#"):
            end = line.find(b"\n", at)
            at = len(line) if end < 0 else end
        elif char in _META:
            operator, at = _operator(line, at)
            found.append(operator)
        else:
            word, at = _word(line, at)
            number = word[0].text if len(word) == 1 and word[0].kind == "plain" else b""
            if number in (b"0", b"1", b"2") and line[at : at + 1] in (b"<", b">"):
                operator, at = _operator(line, at)
                found.append(operator._replace(fd=int(number)))
            else:
                found.append(word)
    return found


def _operator(line: bytes, at: int) -> tuple[_Operator, int]:
    for text in (b"&&", b"||", b";;", b">>", b">&", b"<<", b"<&", b"<>", b">|"):
        if line.startswith(text, at):
            return _Operator(text), at + 2
    return _Operator(line[at : at + 1]), at + 1


def _word(line: bytes, at: int) -> tuple[Word, int]:
    pieces: list[Piece] = []
    plain = bytearray()

    def end_plain() -> None:
        if plain:
            pieces.append(Piece("plain", bytes(plain)))
            plain.clear()

    while at < len(line) and line[at] not in _BLANKS and line[at] not in _META:
        char = line[at]
        if char == ord("'"):
            end = line.find(b"'", at + 1)
            if end < 0:
                raise LineError("syntax error: unterminated quoted string")
            end_plain()
            pieces.append(Piece("quoted", line[at + 1 : end]))
            at = end + 1
        elif char == ord('"'):
            end_plain()
            at = _double(line, at + 1, pieces)
        elif char == ord("\\"):
            if line[at + 1 : at + 2] != b"\n":
                end_plain()
                # A lone one at the end is itself.
                pieces.append(Piece("quoted", line[at + 1 : at + 2] or b"\\"))
            at += 2
        elif char == ord("$") or char == ord("`"):
            if line[at : at + 2] == b"$'":
                raise LineError("no $'' in the built-in shell")
            name, end = _variable(line, at)
            if name:
                end_plain()
                pieces.append(Piece("variable", name))
            else:
                plain += b"$"
            at = end
        else:
            plain.append(char)
            at += 1
    end_plain()
    return tuple(pieces), at


def _double(line: bytes, at: int, pieces: list[Piece]) -> int:
    """Read up to the closing quote; return what lies behind it."""
    text = bytearray()
    while at < len(line):
        char = line[at]
        if char == ord('"'):
            pieces.append(Piece("quoted", bytes(text)))
            return at + 1
        if char == ord("\\"):
            behind = line[at + 1 : at + 2]
            if behind and behind in _ESCAPED:
                if behind != b"\n":
                    text += behind
                at += 2
                continue
        elif char in b"$`":
            name, end = _variable(line, at)
            if name:
                pieces.append(Piece("quoted", bytes(text)))
                pieces.append(Piece("variable", name, quoted=True))
                text.clear()
                at = end
                continue
        text.append(char)
        at += 1
    raise LineError("syntax error: unterminated quoted string")


def _variable(line: bytes, at: int) -> tuple[bytes, int]:
    """Read what a dollar sign stands in front of: a name, or none, and where it ends."""
    if line[at : at + 1] == b"`" or line[at : at + 2] == b"$(":
        raise LineError("no command substitution in the built-in shell")
    at += 1
    if line[at : at + 1] and line[at : at + 1] in _SPECIAL:
        return line[at : at + 1], at + 1
    if line[at : at + 1] == b"{":
        end = line.find(b"}", at)
        name = line[at + 1 : end]
        if end < 0 or not (name == b"?" or (name and _NAME.issuperset(name))):
            raise LineError("syntax error: bad substitution")
        return name, end + 1
    end = at
    while end < len(line) and line[end] in _NAME:
        end += 1
    return line[at:end], end


_NOT: Word = (Piece("plain", b"!"),)
_RESERVED = frozenset(b"if then else elif fi for while until do done case esac { }".split())


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def _next(self) -> bytes | None:
        """Return the operator that comes next; None for a word, b"" for the end."""
        if self._at >= len(self._tokens):
            return b""
        token = self._tokens[self._at]
        return token.text if isinstance(token, _Operator) else None

    def _unexpected(self) -> LineError:
        found = self._next()
        if not found or found == b"\n":
            what = "newline" if found else "end of file"
            return LineError(f"syntax error: unexpected {what}")
        return LineError(f'syntax error: unexpected "{found.decode("ascii")}"')

    def steps(self) -> list[Step]:
        found: list[Step] = []
        when = b";"
        while True:
            while when == b";" and self._next() == b"\n":
                self._at += 1
            if not self._next() and self._next() is not None:
                if when == b";":
                    return found
                raise self._unexpected()
            negated = False
            while self._tokens[self._at] == _NOT:
                negated = not negated
                self._at += 1
                if self._at >= len(self._tokens):
                    raise self._unexpected()
            found.append(Step(when, self._pipeline(), negated))
            operator = self._next()
            if operator == b"&":
                raise LineError("nothing runs in the background in the built-in shell")
            if operator == b"":
                return found
            if operator not in (b";", b"&&", b"||", b"\n"):
                raise self._unexpected()
            self._at += 1
            when = b";" if operator == b"\n" else operator
            while when != b";" and self._next() == b"\n":
                self._at += 1

    def _pipeline(self) -> tuple[Command, ...]:
        found = [self._command()]
        while self._next() == b"|":
            self._at += 1
            found.append(self._command())
        return tuple(found)

    def _command(self) -> Command:
        words: list[Word] = []
        redirections: list[Redirection] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if not isinstance(token, _Operator):
                words.append(token)
                self._at += 1
                continue
            how = token.text
            if how in (b"<<", b"<&", b"<>"):
                raise LineError(f"no {how.decode('ascii')} in the built-in shell")
            if how not in (b"<", b">", b">>", b">&", b">|"):
                break
            self._at += 1
            if self._next() is not None:
                raise self._unexpected()
            word = self._tokens[self._at]
            assert not isinstance(word, _Operator)
            self._at += 1
            fd = token.fd if token.fd >= 0 else int(how != b"<")
            redirections.append(Redirection(fd, b">" if how == b">|" else how, word))
        if not words and not redirections:
            raise self._unexpected()
        first = words[0] if words else ()
        if len(first) == 1 and first[0].kind == "plain" and first[0].text in _RESERVED:
            reserved = first[0].text.decode("ascii")
            raise LineError(f"syntax error: no {reserved} in the built-in shell")
        return Command(tuple(words), tuple(redirections))
