"""dd and truncate."""

from __future__ import annotations

import errno
import os

from layerview.text import decode
from layerview.unionfs.shell.options import read_options, read_size
from layerview.unionfs.shell.places import fail
from layerview.unionfs.shell.session import Session, close, off, text_of
from layerview.unionfs.shell.streams import OpenFile, Sink, Source

_MAX_BLOCK = 64 << 20


def dd(session: Session, words: list[bytes]) -> int:
    """Copy some bytes; with conv=notrunc, the others of the file stay."""
    given = {"bs": b"512", "conv": b"", "status": b""}
    for word in words:
        key, sign, value = decode(word).partition("=")
        if not sign or key not in ("if", "of", "bs", "count", "seek", "skip", "conv", "status"):
            off(f"invalid argument '{decode(word)}'" if sign else "")
        given[key] = os.fsencode(value)
    numbers = {}
    for key in ("bs", "count", "seek", "skip"):
        if key in given:
            found = read_size(given[key])
            if found is None or (key == "bs" and not 0 < found <= _MAX_BLOCK):
                off(f"invalid number '{decode(given[key])}'")
            numbers[key] = found
    conversions = set(given["conv"].split(b",")) - {b""}
    if unknown := conversions - {b"notrunc", b"fsync", b"noerror", b"sync"}:
        off(f"invalid argument '{decode(min(unknown))}' to 'conv'")
    source, sink = session.input, session.output
    path = b""
    try:
        if "if" in given:
            path = given["if"]
            source = session.open_to_read(path)
        if "of" in given:
            path = given["of"]
            sink = _target(session, path, numbers, keep=b"notrunc" in conversions)
        path = b""
        return _copy(session, source, sink, numbers, quiet=given["status"] == b"none")
    except OSError as error:
        if not path:
            raise
        return session.complain("dd", f"can't open '{decode(path)}': {text_of(error)}")
    finally:
        if source is not session.input:
            close(source)
        if sink is not session.output:
            close(sink)


def _target(session: Session, path: bytes, numbers: dict[str, int], *, keep: bool) -> Sink:
    offset = numbers.get("seek", 0) * numbers["bs"]
    sink = session.open_to_write(path, 0 if keep or offset else os.O_TRUNC)
    if offset and isinstance(sink, OpenFile):
        if not keep:
            sink.place.union.set_attributes(
                sink.place.node, size=offset, fd=sink.fd, by=session.tree.by
            )
        sink.seek(offset)
    return sink


def _copy(
    session: Session, source: Source, sink: Sink, numbers: dict[str, int], *, quiet: bool
) -> int:
    size = numbers["bs"]
    skipped = numbers.get("skip", 0)
    if skipped and isinstance(source, OpenFile):
        source.seek(skipped * size)
        skipped = 0
    whole = parts = done = 0
    while "count" not in numbers or done < numbers["count"]:
        session.tick()
        block = _block(source, size)
        if not block:
            break
        if skipped:
            skipped -= 1
            continue
        done += 1
        whole += len(block) == size
        parts += len(block) != size
        sink.write(block)
    if not quiet:
        for word in ("in", "out"):
            session.errors.write(f"{whole}+{parts} records {word}\n".encode())
    return 0


def _block(source: Source, size: int) -> bytes:
    block = source.read(size)
    while 0 < len(block) < size and (more := source.read(size - len(block))):
        block += more
    return block


def truncate(session: Session, words: list[bytes]) -> int:
    """Change files' sizes; what is new of them is a hole."""
    given, paths = read_options(words, "c", "s")
    if not paths or "s" not in given:
        off("")
    text = given["s"]
    sign = text[:1] if text[:1] in (b"+", b"-") else b""
    amount = read_size(text[len(sign) :])
    if amount is None:
        off(f"invalid number '{decode(text)}'")
    status = 0
    for path in paths:
        try:
            try:
                place = session.find(path)
            except FileNotFoundError:
                if "c" in given:
                    continue
                sink = session.open_to_write(path, 0)
                assert isinstance(sink, OpenFile)
                place = sink.place
                sink.close()
            if place.is_folder:
                fail(errno.EISDIR)
            before = place.attributes().size
            size = {b"": amount, b"+": before + amount, b"-": max(0, before - amount)}[sign]
            place.union.set_attributes(place.node, size=size, by=session.tree.by)
        except OSError as error:
            status = session.complain("truncate", f"{decode(path)}: open: {text_of(error)}")
    return status
