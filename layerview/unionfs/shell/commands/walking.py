"""cd and pwd."""

from __future__ import annotations

import posixpath

from layerview.text import decode
from layerview.unionfs.shell.session import Session, text_of


def cd(session: Session, words: list[bytes]) -> int:
    """Go to a folder; `..` takes back the name by which one came, as in every shell."""
    path = words[0] if words else session.home
    if path == b"-":
        path = session.before or session.shown_at
    shown = posixpath.normpath(posixpath.join(session.shown_at, path))
    # POSIX lets two slashes in front be something else.
    shown = b"/" + shown.lstrip(b"/")
    try:
        place = session.tree.find(session.tree.root, shown)
        problem = "" if place.is_folder else "Not a directory"
    except OSError as error:
        problem = text_of(error)
    if problem:
        session.complain("sh", f"cd: can't cd to {decode(path)}: {problem}")
        return 2
    session.go(place, shown)
    if words[:1] == [b"-"]:
        session.write(session.name(shown) + b"\n")
    return 0


def pwd(session: Session, words: list[bytes]) -> int:
    """Print where one is."""
    session.write(session.name(session.shown_at) + b"\n")
    return 0
