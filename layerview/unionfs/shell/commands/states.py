"""du and stat."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from layerview.text import decode, encode
from layerview.unionfs.shell.commands.forms import full_time, human, kind, mode_text
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place
from layerview.unionfs.shell.session import Session, off, text_of
from layerview.unionfs.union import Attributes


def du(session: Session, words: list[bytes]) -> int:
    """Sum up what files take on the disk."""
    given, paths = read_options(words, "sahkc")
    status = total = 0
    seen: set[tuple[int, int]] = set()

    def show(blocks: int, path: bytes) -> None:
        size = human(blocks * 512) if "h" in given else str((blocks + 1) // 2)
        session.write(size.encode() + b"\t" + session.name(path) + b"\n")

    for path in paths or [b"."]:
        try:
            place = session.find(path, follow=False)
            total += _sum(session, place, path, given, seen, show)
        except OSError as error:
            status = session.complain("du", f"{decode(path)}: {text_of(error)}")
    if "c" in given:
        show(total, b"total")
    return status


def _sum(
    session: Session,
    top: Place,
    path: bytes,
    given: dict[str, bytes],
    seen: set[tuple[int, int]],
    show: Callable[[int, bytes], None],
) -> int:
    """Return the blocks of a place and all beneath it, each file once; show them on the way."""
    # Each folder twice: on the way in, and when all in it is counted.
    waiting = [(top, path, False)]
    sums = [0]
    while waiting:
        session.tick()
        place, path, counted = waiting.pop()
        if counted:
            blocks = sums.pop()
            sums[-1] += blocks
            if "s" not in given or place is top:
                show(blocks, path)
            continue
        state = place.attributes()
        blocks = state.blocks
        if place.is_folder:
            waiting.append((place, path, True))
            sums.append(blocks)
            base = path if path.endswith(b"/") else path + b"/"
            for entry in reversed(session.tree.entries(place)):
                waiting.append((session.tree.child(place, entry.name), base + entry.name, False))
            continue
        if state.nlink > 1:
            if (id(place.union), state.ino) in seen:
                continue
            seen.add((id(place.union), state.ino))
        sums[-1] += blocks
        if place is top or ("a" in given and "s" not in given):
            show(blocks, path)
    return sums[0]


def stat_(session: Session, words: list[bytes]) -> int:
    """Print all about files."""
    given, paths = read_options(words, "Lt", "c")
    if not paths:
        off("")
    status = 0
    for path in paths:
        try:
            place = session.find(path, follow="L" in given)
            state = place.attributes()
        except OSError as error:
            status = session.complain("stat", f"can't stat '{decode(path)}': {text_of(error)}")
            continue
        if "c" in given:
            text = _formatted(session, given["c"], path, place, state) + b"\n"
        else:
            text = _whole(session, path, place, state)
        session.write(text)
    return status


def _whole(session: Session, path: bytes, place: Place, state: Attributes) -> bytes:
    name = session.name(path)
    if stat.S_ISLNK(state.mode):
        name += b" -> " + session.name(place.union.read_link(place.node))
    device = ""
    if stat.S_ISCHR(state.mode) or stat.S_ISBLK(state.mode):
        device = f" Device type: {os.major(state.rdev):x},{os.minor(state.rdev):x}"
    user, group = decode(session.user(state.uid)), decode(session.group(state.gid))
    lines = [
        f"  Size: {state.size:<10}\tBlocks: {state.blocks:<10} IO Block: 4096   {kind(state)}",
        f"Branch: {place.node.branch:<11}\tInode: {state.ino:<10}  Links: {state.nlink:<5}{device}",
        f"Access: ({state.mode & 0o7777:04o}/{mode_text(state.mode)})"
        f"  Uid: ({state.uid:5}/{user:>8})   Gid: ({state.gid:5}/{group:>8})",
        f"Access: {full_time(state.atime_ns)}",
        f"Modify: {full_time(state.mtime_ns)}",
        f"Change: {full_time(state.ctime_ns)}",
    ]
    return b"  File: " + name + b"\n" + encode("\n".join(lines)) + b"\n"


def _formatted(
    session: Session, form: bytes, path: bytes, place: Place, state: Attributes
) -> bytes:
    values = {
        "n": path,
        "N": path,
        "s": b"%d" % state.size,
        "b": b"%d" % state.blocks,
        "B": b"512",
        "a": b"%o" % (state.mode & 0o7777),
        "A": mode_text(state.mode).encode(),
        "f": b"%x" % state.mode,
        "u": b"%d" % state.uid,
        "g": b"%d" % state.gid,
        "U": session.user(state.uid),
        "G": session.group(state.gid),
        "F": kind(state).encode(),
        "h": b"%d" % state.nlink,
        "i": b"%d" % state.ino,
        "t": b"%x" % os.major(state.rdev),
        "T": b"%x" % os.minor(state.rdev),
        "X": b"%d" % (state.atime_ns // 10**9),
        "Y": b"%d" % (state.mtime_ns // 10**9),
        "Z": b"%d" % (state.ctime_ns // 10**9),
        "x": full_time(state.atime_ns).encode(),
        "y": full_time(state.mtime_ns).encode(),
        "z": full_time(state.ctime_ns).encode(),
        "%": b"%",
    }
    found = b""
    first, *others = decode(form).split("%")
    found += encode(first)
    literal = False
    for part in others:
        if literal:
            found += encode(part)
            literal = False
        elif not part:
            found += b"%"
            literal = True
        else:
            found += values.get(part[0], b"?") + encode(part[1:])
    return session.name(found)
