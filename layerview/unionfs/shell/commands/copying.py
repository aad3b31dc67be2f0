"""cp, and copying for mv."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from layerview.text import decode
from layerview.unionfs.shell.options import read_options
from layerview.unionfs.shell.places import Place, fail
from layerview.unionfs.shell.session import Session, off, text_of
from layerview.unionfs.shell.streams import pieces
from layerview.unionfs.union import Attributes


class How(NamedTuple):
    """How things are copied."""

    deep: bool = True
    """Folders with all that they hold."""
    keep: bool = True
    """Owner, mode and times stay."""
    links: bool = True
    """Symbolic links are copied themselves, and hard links stay links among the copies."""
    force: bool = False


class _Failed(Exception):
    """Something can't be copied; the message is the command's."""


def cp(session: Session, words: list[bytes]) -> int:
    """Copy files and folders."""
    given, paths = read_options(words, "rRapfdPLH")
    if len(paths) < 2:
        off("")
    archive = "a" in given
    deep = archive or bool(given.keys() & {"r", "R"})
    how = How(
        deep=deep,
        keep=archive or "p" in given,
        links="L" not in given and (deep or bool(given.keys() & {"d", "P"})),
        force="f" in given,
    )
    *sources, last = paths
    try:
        found: Place | None = session.find(last)
    except OSError:
        found = None
    into = len(sources) > 1 or (found is not None and found.is_folder)
    copier = Copier(session, "cp", how)
    status = 0
    for source in sources:
        path = last
        if into:
            path = last.rstrip(b"/") + b"/" + source.rstrip(b"/").rpartition(b"/")[2]
        status |= copier.copy(source, path)
    return status


class Copier:
    """Copies trees; a file that fails is complained of, and the others go on."""

    def __init__(self, session: Session, command: str, how: How) -> None:
        """Copy for a command."""
        self._session = session
        self._command = command
        self._how = how
        self._copied: dict[tuple[int, int], Place] = {}
        """Copies of files that have several names."""
        self._new: set[tuple[int, int]] = set()
        """Folders that were made here, so that none is copied into itself for ever."""

    def copy(self, source: bytes, path: bytes) -> int:
        """Copy what a path leads to; return the exit status."""
        session = self._session
        try:
            try:
                place = session.find(source, follow=not self._how.links)
            except OSError as error:
                raise _Failed(f"can't stat '{decode(source)}': {text_of(error)}") from None
            if place.is_folder and not self._how.deep:
                raise _Failed(f"omitting directory '{decode(source)}'")
            target, folder, name = self._target(path)
        except _Failed as failed:
            return session.complain(self._command, str(failed))
        status = 0
        waiting: list[Iterator[_Job]] = [iter([_Job(place, source, target, folder, name, path)])]
        # What each folder is given when all in it is done.
        finals: list[tuple[Place, Attributes] | None] = [None]
        while waiting:
            session.tick()
            job = next(waiting[-1], None)
            if job is None:
                waiting.pop()
                final = finals.pop()
                if final is not None:
                    self._finish(*final)
                continue
            try:
                made = self._one(job)
                if made is not None:
                    waiting.append(self._inside(job, made))
                    finals.append((made, job.place.attributes()))
            except _Failed as failed:
                status = session.complain(self._command, str(failed))
            except OSError as error:
                status = session.complain(
                    self._command, f"'{decode(job.source)}': {text_of(error)}"
                )
        return status

    def _target(self, path: bytes) -> tuple[Place | None, Place, bytes]:
        """Return what a path leads to, if anything, and the folder and name to make it under."""
        session = self._session
        try:
            if self._how.links:
                folder, name = session.above(path)
                return session.target(folder, name), folder, name
            place, new = session.tree.find_or_new(session.at, path)
            if new:
                return None, place, new
            return place, place.above or place, place.name
        except OSError as error:
            if error.errno == errno.EINVAL or error.errno == errno.EBUSY:
                # `.`, `..` and the root.
                place = session.find(path)
                return place, place.above or place, place.name
            raise _Failed(f"can't create '{decode(path)}': {text_of(error)}") from None

    def _inside(self, job: _Job, made: Place) -> Iterator[_Job]:
        tree = self._session.tree
        self._new.add((id(made.union), made.node.ino))
        for entry in tree.entries(job.place):
            place = tree.child(job.place, entry.name)
            source, path = job.source + b"/" + entry.name, job.path + b"/" + entry.name
            if not self._how.links and stat.S_ISLNK(place.attributes().mode):
                place = self._session.tree.find(job.place, entry.name)
            yield _Job(
                place, source, self._session.target(made, entry.name), made, entry.name, path
            )

    def _one(self, job: _Job) -> Place | None:
        """Copy one thing; return the folder whose inside is to follow."""
        state = job.place.attributes()
        shown = decode(job.path)
        if job.target is not None and job.place.same(job.target):
            raise _Failed(f"'{decode(job.source)}' and '{shown}' are the same file")
        if job.place.is_folder:
            return self._folder(job, state)
        many = (id(job.place.union), state.ino) if state.nlink > 1 and self._how.links else None
        known = self._copied.get(many) if many is not None else None
        try:
            if known is not None and known.union is job.folder.union and job.target is None:
                job.folder.union.link(known.node, job.folder.node, job.name, self._session.tree.by)
                return None
            if stat.S_ISREG(state.mode):
                made = self._file(job, state)
            elif not self._how.deep and not stat.S_ISLNK(state.mode):
                # cp would read it.
                text = os.strerror(errno.ENXIO)
                raise _Failed(f"can't open '{decode(job.source)}': {text}")
            else:
                made = self._special(job, state)
        except OSError as error:
            raise _Failed(f"can't create '{shown}': {text_of(error)}") from None
        if many is not None:
            self._copied[many] = made
        return None

    def _folder(self, job: _Job, state: Attributes) -> Place:
        if (id(job.place.union), state.ino) in self._new:
            raise _Failed(f"recursion detected, omitting directory '{decode(job.source)}'")
        if job.target is not None:
            if not job.target.is_folder:
                raise _Failed(f"target '{decode(job.path)}' is not a directory")
            return job.target
        try:
            mode = (state.mode & 0o7777 & ~self._session.umask) | 0o700
            node = job.folder.union.mkdir(job.folder.node, job.name, mode, self._session.tree.by)
        except OSError as error:
            raise _Failed(
                f"can't create directory '{decode(job.path)}': {text_of(error)}"
            ) from None
        return Place(job.folder.union, node, job.folder, job.name)

    def _finish(self, made: Place, state: Attributes) -> None:
        mode = state.mode & 0o7777
        if self._how.keep:
            self._keep(made, state)
        elif made.attributes().mode & 0o7777 == (mode & ~self._session.umask) | 0o700 != mode:
            wanted = mode & ~self._session.umask
            made.union.set_attributes(made.node, mode=wanted, by=self._session.tree.by)

    def _keep(self, made: Place, state: Attributes) -> None:
        is_link = stat.S_ISLNK(state.mode)
        union, by = made.union, self._session.tree.by
        now = made.attributes()
        if (now.uid, now.gid) != (state.uid, state.gid):
            try:
                union.set_attributes(made.node, uid=state.uid, gid=state.gid, by=by)
            except PermissionError as error:
                text = f"can't preserve ownership of '{decode(made.path)}': {text_of(error)}"
                self._session.complain(self._command, text)
        if not is_link:
            union.set_attributes(made.node, mode=state.mode & 0o7777, by=by)
        union.set_attributes(made.node, atime_ns=state.atime_ns, mtime_ns=state.mtime_ns, by=by)

    def _file(self, job: _Job, state: Attributes) -> Place:
        session = self._session
        source = session.open_file(job.place)
        try:
            target = job.target
            if target is not None and not stat.S_ISREG(target.attributes().mode):
                if not (self._how.links or self._how.force) or target.is_folder:
                    fail(errno.EISDIR if target.is_folder else errno.ENXIO)
                job.folder.union.unlink(job.folder.node, job.name, session.tree.by)
                target = None
            if target is None:
                mode = state.mode & 0o777 & ~session.umask
                sink = session.create(job.folder, job.name, mode)
            else:
                sink = session.open_place(target, os.O_WRONLY | os.O_TRUNC)
            try:
                for data in pieces(source, session.tick):
                    sink.write(data)
            finally:
                sink.close()
        finally:
            source.close()
        if self._how.keep:
            self._keep(sink.place, state)
        return sink.place

    def _special(self, job: _Job, state: Attributes) -> Place:
        """Make a link, a device or the like once more; what is there gives way."""
        union, by = job.folder.union, self._session.tree.by
        if job.target is not None:
            if job.target.is_folder:
                fail(errno.EISDIR)
            union.unlink(job.folder.node, job.name, by)
        if stat.S_ISLNK(state.mode):
            text = job.place.union.read_link(job.place.node)
            node = union.symlink(job.folder.node, job.name, text, by)
        else:
            node = union.mknod(job.folder.node, job.name, state.mode, state.rdev, by)
        made = Place(union, node, job.folder, job.name)
        if self._how.keep:
            self._keep(made, state)
        return made


class _Job(NamedTuple):
    """One thing to copy."""

    place: Place
    source: bytes
    """Its path, as it was named."""
    target: Place | None
    """What is there already."""
    folder: Place
    name: bytes
    path: bytes
    """The copy's, as it was named."""
