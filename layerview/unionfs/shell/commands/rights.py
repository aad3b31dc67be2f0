"""chmod and chown."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from layerview.text import decode
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place
from layerview.unionfs.shell.session import Session, off, text_of

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


def new_mode(text: bytes, mode: int, *, is_folder: bool, umask: int) -> int | None:
    """Return what a mode becomes (POSIX.1-2017, chmod); None where the text is none.

    Args:
        text: octal, or as `u+x,go-w`.
        mode: as it was.
        is_folder: of what; X and octal modes treat folders otherwise.
        umask: what a change without a `who` leaves alone.
    """
    words = decode(text)
    if re.fullmatch(r"[0-7]{1,5}", words):
        return int(words, 8) & 0o7777
    mode &= 0o7777
    for clause in words.split(","):
        found = re.fullmatch(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)", clause)
        if found is None:
            return None
        who = found[1].replace("a", "ugo") or "ugo"
        mask = 0
        for letter in who:
            mask |= _WHO[letter]
        if not found[1]:
            mask &= ~umask
        for sign, letters in re.findall(r"([-+=])([ugo]|[rwxXst]*)", found[2]):
            bits = 0
            for letter in letters:
                if letter in "ugo":
                    shift = {"u": 6, "g": 3, "o": 0}[letter]
                    bits |= (mode >> shift & 7) * 0o111
                elif letter == "X":
                    bits |= 0o111 if is_folder or mode & 0o111 else 0
                else:
                    bits |= _BITS[letter]
            bits &= mask
            if sign == "+":
                mode |= bits
            elif sign == "-":
                mode &= ~bits
            else:
                mode = mode & ~mask | bits
    return mode


def _all(session: Session, place: Place, path: bytes, deep: bool) -> Iterator[tuple[bytes, Place]]:
    if not deep:
        yield path, place
        return
    yield from session.tree.walk(place, path)


def chmod(session: Session, words: list[bytes]) -> int:
    """Change modes."""
    # A mode may begin with a minus.
    plain = [word for word in words if not re.fullmatch(rb"-[rwxXstugo,+=-]+", word)]
    wanted = [word for word in words if re.fullmatch(rb"-[rwxXstugo,+=-]+", word)]
    given, paths = read_options(plain, "R")
    if wanted:
        paths.insert(0, wanted[0])
    if len(paths) < 2:
        off("")
    text = paths.pop(0)
    if new_mode(text, 0, is_folder=False, umask=session.umask) is None:
        return session.complain("chmod", f"invalid mode '{decode(text)}'")
    status = 0
    for start in paths:
        try:
            top = session.find(start)
            for path, place in _all(session, top, start, "R" in given):
                session.tick()
                state = place.attributes()
                if stat.S_ISLNK(state.mode):
                    continue
                mode = new_mode(text, state.mode, is_folder=place.is_folder, umask=session.umask)
                try:
                    place.union.set_attributes(place.node, mode=mode, by=session.tree.by)
                except OSError as error:
                    status = session.complain("chmod", f"{decode(path)}: {text_of(error)}")
        except OSError as error:
            status = session.complain("chmod", f"{decode(start)}: {text_of(error)}")
    return status


def chown(session: Session, words: list[bytes]) -> int:
    """Change owners."""
    given, paths = read_options(words, "Rh")
    if len(paths) < 2:
        off("")
    user, colon, group = paths.pop(0).partition(b":")
    uid = gid = None
    if user:
        uid = session.user_number(user)
        if uid is None:
            return session.complain("chown", f"unknown user {decode(user)}")
    if group:
        gid = session.group_number(group)
        if gid is None:
            return session.complain("chown", f"unknown group {decode(group)}")
    elif colon and uid is not None:
        gid = session.main_group(uid)
    status = 0
    deep = "R" in given
    for start in paths:
        try:
            top = session.find(start, follow="h" not in given and not deep)
            for path, place in _all(session, top, start, deep):
                session.tick()
                try:
                    place.union.set_attributes(place.node, uid=uid, gid=gid, by=session.tree.by)
                except OSError as error:
                    status = session.complain("chown", f"{decode(path)}: {text_of(error)}")
        except OSError as error:
            status = session.complain("chown", f"{decode(start)}: {text_of(error)}")
    return status
