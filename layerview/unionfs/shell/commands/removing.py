"""rm and rmdir."""

from __future__ import annotations

import errno

from layerview.text import decode
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place, fail
from layerview.unionfs.shell.session import Session, off, text_of


def rm(session: Session, words: list[bytes]) -> int:
    """Remove files, and folders with all beneath them."""
    given, paths = read_options(words, "rRf")
    if not paths and "f" not in given:
        off("")
    status = 0
    for path in paths:
        if path.rstrip(b"/").rpartition(b"/")[2] in (b".", b".."):
            status = session.complain("rm", "can't remove '.' or '..'")
            continue
        try:
            folder, name = session.above(path)
            place = session.tree.child(folder, name)
            if path.endswith(b"/") and not place.is_folder:
                fail(errno.ENOTDIR)
        except FileNotFoundError as error:
            if "f" not in given:
                status = _cannot(session, path, error)
            continue
        except OSError as error:
            status = _cannot(session, path, error)
            continue
        if place.is_folder and not given.keys() & {"r", "R"}:
            status = session.complain("rm", f"'{decode(path)}' is a directory")
            continue
        status = remove_all(session, "rm", place, path) or status
    return status


def _cannot(session: Session, path: bytes, error: OSError, command: str = "rm") -> int:
    return session.complain(command, f"can't remove '{decode(path)}': {text_of(error)}")


def remove_all(session: Session, command: str, place: Place, path: bytes) -> int:
    """Remove what lies somewhere, with all beneath it; complain of what can't be removed."""
    status = 0
    # Each folder twice: on the way in, and when all in it is gone.
    waiting = [(place, path, False)]
    while waiting:
        session.tick()
        place, path, emptied = waiting.pop()
        assert place.above is not None
        try:
            if place.is_folder and not emptied:
                waiting.append((place, path, True))
                start = path if path.endswith(b"/") else path + b"/"
                waiting += [
                    (session.tree.child(place, entry.name), start + entry.name, False)
                    for entry in reversed(session.tree.entries(place))
                ]
            elif session.tree.is_mount(place):
                fail(errno.EBUSY)
            elif place.is_folder:
                place.above.union.rmdir(place.above.node, place.name, session.tree.by)
            else:
                place.above.union.unlink(place.above.node, place.name, session.tree.by)
        except OSError as error:
            status = _cannot(session, path, error, command)
    return status


def rmdir(session: Session, words: list[bytes]) -> int:
    """Remove empty folders."""
    given, paths = read_options(words, "p")
    if not paths:
        off("")
    status = 0
    for path in paths:
        while True:
            try:
                folder, name = session.above(path)
                place = session.tree.child(folder, name)
                if not place.is_folder:
                    fail(errno.ENOTDIR)
                if session.tree.is_mount(place):
                    fail(errno.EBUSY)
                folder.union.rmdir(folder.node, name, session.tree.by)
            except OSError as error:
                status = session.complain("rmdir", f"'{decode(path)}': {text_of(error)}")
                break
            path = path.rstrip(b"/").rpartition(b"/")[0].rstrip(b"/")
            if "p" not in given or path in (b"", b"."):
                break
    return status
