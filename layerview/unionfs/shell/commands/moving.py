"""mv."""

from __future__ import annotations

import errno

from layerview.text import decode
from layerview.unionfs.shell.commands.copying import Copier, How
from layerview.unionfs.shell.commands.removing import remove_all
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place, fail
from layerview.unionfs.shell.session import Session, off, text_of


def mv(session: Session, words: list[bytes]) -> int:
    """Move and rename; a folder of a layer below is copied, as the union answers EXDEV."""
    given, paths = read_options(words, "fn")
    if len(paths) < 2:
        off("")
    *sources, last = paths
    try:
        found: Place | None = session.find(last)
    except OSError:
        found = None
    into = len(sources) > 1 or (found is not None and found.is_folder)
    status = 0
    for source in sources:
        session.tick()
        path = last
        if into:
            path = last.rstrip(b"/") + b"/" + source.rstrip(b"/").rpartition(b"/")[2]
        try:
            status = _move(session, source, path, keep="n" in given) or status
        except OSError as error:
            status = session.complain("mv", f"can't rename '{decode(source)}': {text_of(error)}")
    return status


def _move(session: Session, source: bytes, path: bytes, *, keep: bool) -> int:
    folder, name = session.above(source)
    place = session.tree.child(folder, name)
    if source.endswith(b"/") and not place.is_folder:
        fail(errno.ENOTDIR)
    to, new = session.above(path)
    target = session.target(to, new)
    if keep and target is not None:
        return 0
    if session.tree.is_mount(place) or (target is not None and session.tree.is_mount(target)):
        fail(errno.EBUSY)
    if target is not None and target.same(place):
        return 0
    if place.is_folder:
        if to.is_in(place):
            fail(errno.EINVAL)
        if target is not None and not target.is_folder:
            fail(errno.ENOTDIR)
    elif path.endswith(b"/") and (target is None or not target.is_folder):
        fail(errno.ENOTDIR)
    elif target is not None and target.is_folder:
        fail(errno.EISDIR)
    try:
        if folder.union is not to.union:
            fail(errno.EXDEV)
        folder.union.rename(folder.node, name, to.node, new, 0, session.tree.by)
        return 0
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if target is not None:
        if target.is_folder:
            to.union.rmdir(to.node, new, session.tree.by)
        else:
            to.union.unlink(to.node, new, session.tree.by)
    status = Copier(session, "mv", How()).copy(source, path)
    return status or remove_all(session, "mv", place, source)
