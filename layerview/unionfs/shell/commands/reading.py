"""cat, head, tail and wc."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from layerview.text import decode
from layerview.unionfs.shell.options import read_options, read_size
from layerview.unionfs.shell.session import Session, close, off, text_of
from layerview.unionfs.shell.streams import OpenFile, Source, lines, pieces

_MAX_TAIL = 16 << 20
"""Bytes that tail keeps."""


def _each(
    session: Session,
    command: str,
    paths: list[bytes],
    work: Callable[[bytes, Source], None],
    cannot: str = "can't open '{}': {}",
) -> int:
    """Do something with each of some files, or with the input where there are none."""
    status = 0
    for path in paths or [b"-"]:
        try:
            source = session.input if path == b"-" else session.open_to_read(path)
        except IsADirectoryError as error:
            status = session.complain(command, f"read error: {text_of(error)}")
            continue
        except OSError as error:
            status = session.complain(command, cannot.format(decode(path), text_of(error)))
            continue
        try:
            work(path, source)
        finally:
            if source is not session.input:
                close(source)
    return status


def cat(session: Session, words: list[bytes]) -> int:
    """Print files."""
    _, paths = read_options(words, "u")

    def copy(path: bytes, source: Source) -> None:
        for data in pieces(source, session.tick):
            session.write(data)

    return _each(session, "cat", paths, copy)


def _count(text: bytes) -> int:
    found = read_size(text)
    if found is None:
        off(f"invalid number '{decode(text)}'")
    return found


def _old_form(words: list[bytes]) -> list[bytes]:
    """Put -n in front of a number that stands alone, as in `head -5`."""
    found: list[bytes] = []
    for word in words:
        if word[:1] in (b"-",) and word[1:2].isdigit():
            found += [b"-n", word[1:]]
        else:
            found.append(word)
    return found


def _heads(
    session: Session, paths: list[bytes], given: dict[str, bytes]
) -> Callable[[bytes], None]:
    shown = (len(paths) > 1 or "v" in given) and "q" not in given
    first = True

    def head(path: bytes) -> None:
        nonlocal first
        if shown:
            name = b"standard input" if path == b"-" else session.name(path)
            session.write((b"" if first else b"\n") + b"==> " + name + b" <==\n")
        first = False

    return head


def head(session: Session, words: list[bytes]) -> int:
    """Print how files begin."""
    given, paths = read_options(_old_form(words), "qv", "nc")
    count = _count(given.get("c", given.get("n", b"10")))
    title = _heads(session, paths, given)

    def show(path: bytes, source: Source) -> None:
        title(path)
        left = count
        if "c" in given:
            while left > 0:
                session.tick()
                data = source.read(min(left, 1 << 20))
                if not data:
                    return
                session.write(data)
                left -= len(data)
            return
        if not left:
            return
        for line in lines(source, session.tick):
            session.write(line)
            left -= line.endswith(b"\n")
            if not left:
                return

    return _each(session, "head", paths, show, "{}: {}")


def tail(session: Session, words: list[bytes]) -> int:
    """Print how files end."""
    given, paths = read_options(_old_form(words), "qv", "nc")
    text = given.get("c", given.get("n", b"10"))
    from_start = text.startswith(b"+")
    count = _count(text.lstrip(b"+-"))
    title = _heads(session, paths, given)
    opened = 0

    def show(path: bytes, source: Source) -> None:
        nonlocal opened
        opened += 1
        title(path)
        if from_start:
            _from_start(session, source, count, in_bytes="c" in given)
        elif "c" in given:
            _last_bytes(session, source, count)
        else:
            _last_lines(session, source, count)

    status = _each(session, "tail", paths, show)
    if not opened:
        session.complain("tail", "no files")
    return status


def _from_start(session: Session, source: Source, count: int, *, in_bytes: bool) -> None:
    left = max(0, count - 1)
    if in_bytes:
        for data in pieces(source, session.tick):
            session.write(data[left:])
            left = max(0, left - len(data))
        return
    for line in lines(source, session.tick):
        if left:
            left -= line.endswith(b"\n")
        else:
            session.write(line)


def _last_bytes(session: Session, source: Source, count: int) -> None:
    if isinstance(source, OpenFile):
        source.seek(max(0, source.size - count))
        for data in pieces(source, session.tick):
            session.write(data)
        return
    count = min(count, _MAX_TAIL)
    kept = b""
    for data in pieces(source, session.tick):
        kept = (kept + data)[-count:] if count else b""
    session.write(kept)


def _last_lines(session: Session, source: Source, count: int) -> None:
    kept: deque[bytes] = deque()
    size = whole = 0
    for line in lines(source, session.tick):
        kept.append(line)
        size += len(line)
        whole += 1
        while kept and (whole > count or size > _MAX_TAIL):
            size -= len(kept.popleft())
            whole -= 1
    for line in kept:
        session.write(line)


def wc(session: Session, words: list[bytes]) -> int:
    """Count lines, words and bytes."""
    given, paths = read_options(words, "lwc")
    wanted = [letter for letter in "lwc" if letter in given] or list("lwc")
    width = 9 if len(wanted) > 1 or len(paths) > 1 else 0
    totals = dict.fromkeys("lwc", 0)

    def line(counts: dict[str, int], name: bytes) -> None:
        numbers = " ".join(f"{counts[letter]:{width or 1}}" for letter in wanted)
        session.write(numbers.encode() + (b" " + session.name(name) if name else b"") + b"\n")

    def count(path: bytes, source: Source) -> None:
        found = dict.fromkeys("lwc", 0)
        between = True
        for data in pieces(source, session.tick):
            found["l"] += data.count(b"\n")
            found["c"] += len(data)
            here = len(data.split())
            if here and not between and not data[:1].isspace():
                here -= 1
            found["w"] += here
            between = data[-1:].isspace()
        for letter in totals:
            totals[letter] += found[letter]
        line(found, path if paths else b"")

    status = _each(session, "wc", paths, count, "{}: {}")
    if len(paths) > 1:
        line(totals, b"total")
    return status
