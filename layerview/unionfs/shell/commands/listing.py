"""ls."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from layerview.text import decode
from layerview.unionfs.shell.commands.forms import human, list_time, mode_text
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place
from layerview.unionfs.shell.session import Session, now_ns, text_of
from layerview.unionfs.union import Attributes


class _Item(NamedTuple):
    name: bytes
    place: Place
    attributes: Attributes


class _Options(NamedTuple):
    long: bool
    hidden: bool
    all: bool
    """Also . and .. themselves."""
    human: bool
    inodes: bool
    numbers: bool
    columns: int


def ls(session: Session, words: list[bytes]) -> int:
    """List folders and files."""
    given, operands = read_options(words, "laARihd1nrtSF")
    options = _Options(
        long="l" in given or "n" in given,
        hidden="a" in given or "A" in given,
        all="a" in given,
        human="h" in given,
        inodes="i" in given,
        numbers="n" in given,
        columns=0 if "1" in given else session.columns if session.on_screen else 0,
    )
    status = 0
    files: list[_Item] = []
    folders: list[tuple[bytes, Place]] = []
    for path in operands or [b"."]:
        try:
            follow = not (options.long or "d" in given) or path.endswith(b"/")
            place = session.find(path, follow=follow)
            if place.is_folder and "d" not in given:
                folders.append((path, place))
            else:
                files.append(_Item(path, place, place.attributes()))
        except OSError as error:
            status = session.complain("ls", f"{decode(path)}: {text_of(error)}")
    order = _Order(given)
    if files:
        _print(session, order(files), options)
    heads = bool(files) or len(folders) > 1 or "R" in given or len(operands) > 1
    first = not files
    waiting = sorted(folders, reverse=True)
    while waiting:
        session.tick()
        path, place = waiting.pop()
        if heads:
            session.write((b"" if first else b"\n") + session.name(path) + b":\n")
        first = False
        try:
            items = order(_items(session, place, options))
        except OSError as error:
            status = session.complain("ls", f"{decode(path)}: {text_of(error)}")
            continue
        if options.long:
            blocks = sum(item.attributes.blocks for item in items)
            session.write(f"total {blocks // 2}\n")
        _print(session, items, options)
        if "R" in given:
            start = path if path.endswith(b"/") else path + b"/"
            waiting += [
                (start + item.name, item.place)
                for item in reversed(items)
                if item.place.is_folder and item.name not in (b".", b"..")
            ]
    return status


def _items(session: Session, folder: Place, options: _Options) -> list[_Item]:
    found = []
    names = [entry.name for entry in session.tree.entries(folder)]
    for name in [b".", b"..", *names] if options.all else names:
        if name.startswith(b".") and not options.hidden:
            continue
        try:
            place = session.tree.child(folder, name)
            found.append(_Item(name, place, place.attributes()))
        except FileNotFoundError:
            continue
    return found


class _Order:
    """The order that the options ask for."""

    def __init__(self, given: dict[str, bytes]) -> None:
        self._by = next((letter for letter in reversed(given) if letter in "tS"), "")
        self._reverse = "r" in given

    def __call__(self, items: list[_Item]) -> list[_Item]:
        found = sorted(items, key=lambda item: item.name)
        if self._by == "t":
            found.sort(key=lambda item: -item.attributes.mtime_ns)
        elif self._by == "S":
            found.sort(key=lambda item: -item.attributes.size)
        return found[::-1] if self._reverse else found


def _print(session: Session, items: list[_Item], options: _Options) -> None:
    now = now_ns()
    if options.columns and not options.long:
        _in_columns(session, items, options)
        return
    for item in items:
        session.tick()
        line = _number(item, options)
        if options.long:
            line += _long(session, item, options, now)
        line += session.name(item.name)
        if options.long and stat.S_ISLNK(item.attributes.mode):
            line += b" -> " + session.name(item.place.union.read_link(item.place.node))
        session.write(line + b"\n")


def _number(item: _Item, options: _Options) -> bytes:
    return b"%7d " % item.attributes.ino if options.inodes else b""


def _long(session: Session, item: _Item, options: _Options, now: int) -> bytes:
    state = item.attributes
    user = b"%d" % state.uid if options.numbers else session.user(state.uid)
    group = b"%d" % state.gid if options.numbers else session.group(state.gid)
    if stat.S_ISCHR(state.mode) or stat.S_ISBLK(state.mode):
        size = f"{os.major(state.rdev):4},{os.minor(state.rdev):4}"
    elif options.human:
        size = f"{human(state.size):>7}"
    else:
        size = f"{state.size:9}"
    owners = b"%-8.8s %-8.8s " % (session.name(user), session.name(group))
    mode = mode_text(state.mode).encode()
    when = list_time(state.mtime_ns, now).encode()
    return b"%s %4d %s%s %s " % (mode, state.nlink, owners, size.encode(), when)


def _in_columns(session: Session, items: list[_Item], options: _Options) -> None:
    names = [_number(item, options) + session.name(item.name) for item in items]
    width = max((len(decode(name)) for name in names), default=0) + 2
    many = max(1, options.columns // width)
    rows = -(-len(names) // many)
    for row in range(rows):
        line = [decode(name) for name in names[row::rows]]
        session.write("".join(f"{name:<{width}}" for name in line).rstrip() + "\n")
