"""mkdir, touch and ln."""

from __future__ import annotations

import errno
import re
import time

from layerview.text import decode
from layerview.unionfs.shell.commands.rights import new_mode
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place, fail
from layerview.unionfs.shell.session import Session, now_ns, off, text_of
from layerview.unionfs.shell.streams import OpenFile

_TIMES = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d",
    "%Y.%m.%d-%H:%M:%S",
    "%Y.%m.%d-%H:%M",
)


def mkdir(session: Session, words: list[bytes]) -> int:
    """Make folders."""
    given, paths = read_options(words, "p", "m")
    if not paths:
        off("")
    mode = 0o777 & ~session.umask
    if "m" in given:
        wanted = new_mode(given["m"], 0o777, is_folder=True, umask=session.umask)
        if wanted is None:
            off(f"invalid mode '{decode(given['m'])}'")
        mode = wanted
    status = 0
    for path in paths:
        try:
            if "p" in given:
                _with_parents(session, path, mode)
            else:
                folder, name = _new_name(session, path)
                _make(session, folder, name, mode)
        except OSError as error:
            shown = error.filename if isinstance(error.filename, bytes) else path
            status = session.complain(
                "mkdir", f"can't create directory '{decode(shown)}': {text_of(error)}"
            )
    return status


def _new_name(session: Session, path: bytes) -> tuple[Place, bytes]:
    if path.rstrip(b"/").rpartition(b"/")[2] in (b"", b".", b".."):
        session.find(path)
        fail(errno.EEXIST)
    return session.above(path)


def _make(session: Session, folder: Place, name: bytes, mode: int) -> Place:
    if session.target(folder, name) is not None:
        fail(errno.EEXIST)
    node = folder.union.mkdir(folder.node, name, mode, session.tree.by)
    return Place(folder.union, node, folder, name)


def _with_parents(session: Session, path: bytes, mode: int) -> None:
    done = b"/" if path.startswith(b"/") else b""
    names = [name for name in path.split(b"/") if name]
    for number, name in enumerate(names):
        done += name
        last = number + 1 == len(names)
        try:
            place = session.find(done)
            if not place.is_folder:
                raise OSError(
                    errno.EEXIST if last else errno.ENOTDIR, "", done if last else done + b"/"
                )
        except FileNotFoundError:
            folder, new = session.above(done)
            # Those on the way can be entered and written by who makes them.
            own = mode if last else 0o777 & ~session.umask | 0o300
            _make(session, folder, new, own)
        done += b"/"


def touch(session: Session, words: list[bytes]) -> int:
    """Make files, or set their times."""
    given, paths = read_options(words, "cfamh", "dtr")
    if not paths:
        off("")
    access = change = now_ns()
    if "r" in given:
        try:
            seen = session.find(given["r"]).attributes()
        except OSError as error:
            return session.complain("touch", f"{decode(given['r'])}: {text_of(error)}")
        access, change = seen.atime_ns, seen.mtime_ns
    elif "d" in given or "t" in given:
        text = decode(given.get("d", given.get("t", b"")))
        when = _read_time(text)
        if when is None:
            off(f"invalid date '{text}'")
        access = change = when
    status = 0
    for path in paths:
        try:
            try:
                place = session.find(path, follow="h" not in given)
            except FileNotFoundError:
                if given.keys() & {"c", "h"}:
                    continue
                file = session.open_to_write(path, 0)
                if not isinstance(file, OpenFile):
                    continue
                place = file.place
                file.close()
                if not given.keys() & {"d", "t", "r"}:
                    continue
            place.union.set_attributes(
                place.node,
                atime_ns=None if "m" in given and "a" not in given else access,
                mtime_ns=None if "a" in given and "m" not in given else change,
                by=session.tree.by,
            )
        except OSError as error:
            status = session.complain("touch", f"{decode(path)}: {text_of(error)}")
    return status


def _read_time(text: str) -> int | None:
    """Read a time of this place, as busybox's touch -d and -t do; nanoseconds since 1970."""
    if re.fullmatch(r"@\d{1,11}", text):
        return int(text[1:]) * 10**9
    found = re.fullmatch(r"(\d{2}|\d{4})?(\d{2})(\d{2})(\d{2})(\d{2})(?:\.(\d{2}))?", text)
    if found is not None:
        year = found[1] or str(time.localtime().tm_year)
        if len(year) == 2:
            year = ("19" if int(year) > 68 else "20") + year
        text = f"{year}-{found[2]}-{found[3]} {found[4]}:{found[5]}:{found[6] or '00'}"
    elif re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
        text = f"{time.strftime('%Y-%m-%d')} {text}"
    for form in _TIMES:
        try:
            return int(time.mktime((*time.strptime(text, form)[:8], -1))) * 10**9
        except (ValueError, OverflowError):
            continue
    return None


def ln(session: Session, words: list[bytes]) -> int:
    """Make links."""
    given, paths = read_options(words, "sfnT")
    if not paths:
        off("")
    *targets, last = paths if len(paths) > 1 else [paths[0], b"."]
    into: Place | None = None
    try:
        found = session.find(last, follow="n" not in given)
        into = found if found.is_folder and "T" not in given else None
    except OSError:
        pass
    if into is None and len(targets) > 1:
        off("")
    status = 0
    for target in targets:
        path = last
        if into is not None:
            name = target.rstrip(b"/").rpartition(b"/")[2]
            path = last.rstrip(b"/") + b"/" + name if last != b"." or len(paths) > 1 else name
        try:
            _link(session, target, path, symbolic="s" in given, force="f" in given)
        except OSError as error:
            # busybox names the target where a hard link has none.
            missing = "s" not in given and _is_missing(session, target)
            status = session.complain(
                "ln", f"{decode(target if missing else path)}: {text_of(error)}"
            )
    return status


def _is_missing(session: Session, path: bytes) -> bool:
    try:
        session.find(path, follow=False)
    except OSError:
        return True
    return False


def _link(session: Session, target: bytes, path: bytes, *, symbolic: bool, force: bool) -> None:
    source = None if symbolic else session.find(target, follow=False)
    folder, name = session.above(path)
    there = session.target(folder, name)
    if there is not None:
        if not force or there.is_folder:
            fail(errno.EEXIST)
        folder.union.unlink(folder.node, name, session.tree.by)
    if source is None:
        folder.union.symlink(folder.node, name, target, session.tree.by)
        return
    if source.is_folder:
        fail(errno.EPERM)
    if source.union is not folder.union:
        fail(errno.EXDEV)
    folder.union.link(source.node, folder.node, name, session.tree.by)
