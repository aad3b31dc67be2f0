"""A folder that is watched: what was seen of it, and what happened when it is seen anew."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX
from layerview.layer.whiteouts import Whiteouts
from layerview.watch.classify import Kind, classify, copied_bytes
from layerview.watch.events import CowEvent, is_exchange
from layerview.watch.hints import CHANGED, CREATED, MOVED, NOTHING, WRITTEN, Hint
from layerview.watch.identities import Identities
from layerview.watch.look import METACOPY, OPAQUE, ORIGIN, Seen, Upper
from layerview.watch.paths import PathMap
from layerview.watch.source import Source, Sources

_JUST_NOW = 2_000_000_000
"""Nanoseconds: a modification time that is younger was set by a write."""


class _Left:
    """An entry that is no longer where it was; it may yet be found elsewhere."""

    def __init__(self, path: bytes, seen: Seen | None, hint: Hint, hidden: bool) -> None:
        self.path = path
        self.seen = seen
        """None: it was never seen on top, only the whiteout that it left."""
        self.hint = hint
        self.hidden = hidden
        """A whiteout is there now."""
        self.below: list[tuple[bytes, Seen]] = []
        self.events: list[CowEvent] | None = None
        """What has become of it, once that is known."""


class Place(NamedTuple):
    """Where a watched folder is."""

    disk: str
    """On the machine, absolute."""
    start: bytes = b""
    """In the container."""
    volume: bool = False


class Made:
    """How a file was made, in overlayfs's work folder."""

    duration_ns: int | None = None
    """How long it took, where that is longer than hearing of it."""
    told = False
    """It was told how it grew: its data were copied."""


class Tree:
    """What is known of a watched folder; each look at it tells what has happened.

    `first` takes in what is there. After that `look` takes hints, as often as there are some,
    and `events` gives what they led to. Between the two an entry that was found to be gone may
    turn up elsewhere, so that who has more hints at hand gives them first.
    """

    def __init__(self, place: Place, upper: Upper, sources: Sources, form: Whiteouts) -> None:
        """Watch a folder whose layers below are `sources`; a volume has none of them."""
        self.place = place
        self.upper = upper
        self.sources = sources
        self.known: PathMap[Seen] = PathMap()
        self._form = form
        self._layered = not place.volume and form is not Whiteouts.NONE
        self._root = upper.look(b"")
        self._ids = Identities()
        self._out: list[CowEvent | _Left] = []
        self._left: dict[bytes, _Left] = {}
        """By identity."""
        self._hidden: dict[bytes, _Left] = {}
        """By path: whiteouts of what was not seen on top."""
        self._replaced: dict[bytes, _Left] = {}
        """By path: what was there last."""
        self._last = 0
        self._start = len(place.start) + 1 if place.start else 0
        self._heard: Mapping[tuple[bytes, bytes], Hint] = {}
        self._who: dict[bytes, Hint] = {}
        """By path: who was heard to do something to it, perhaps after it was looked at."""
        self._put_off: dict[bytes, Hint] = {}
        """Names of files with several, which wait for the others to be looked at."""
        self.new_folders: list[bytes] = []
        """Folders that have appeared; who listens takes them out."""
        self.made: dict[bytes, Made] = {}
        """By identity: what was heard of how a file was made."""

    @property
    def waits(self) -> bool:
        """Whether something is gone that may turn up elsewhere."""
        return bool(self._left or self._hidden)

    def path_of(self, id: bytes, name: bytes = b"") -> bytes | None:
        """Return the path of a name in what has an identity, if that is known."""
        if self._root is not None and id == self._root.id:
            path = name
        else:
            folder = self._ids.path(id)
            if folder is None:
                return None
            path = folder + b"/" + name if name else folder
        return self.shown(path)

    def shown(self, path: bytes) -> bytes | None:
        """Return the path that a path on disk is about; None: of something that isn't shown."""
        if self._form is not Whiteouts.AUFS:
            return path
        parent, slash, name = path.rpartition(b"/")
        if name == OPAQUE_MARKER:
            return parent
        if name.startswith(WHITEOUT_PREFIX):
            name = name[len(WHITEOUT_PREFIX) :]
        if any(part.startswith(WHITEOUT_PREFIX) for part in [name, *parent.split(b"/")]):
            return None
        return parent + slash + name

    def unknown_in(self, folder: bytes) -> list[bytes]:
        """Return the paths of what lies in a folder and is not known yet."""
        self.upper.refresh()
        return [path for path in self.paths_in(folder) if path not in self.known]

    def paths_in(self, folder: bytes) -> Iterator[bytes]:
        """Yield the paths that the names in a folder on disk are about."""
        start = folder + b"/" if folder else b""
        for name in self.upper.names(folder):
            path = self.shown(start + name)
            if path is not None and path != folder:
                yield path

    def first(self) -> list[CowEvent]:
        """Take in all that is there; tell what of it is the container's."""
        linked: list[tuple[bytes, Seen]] = []
        for path, seen in self.upper.walk():
            self._know(path, seen)
            if self.place.volume:
                continue
            if not self._layered:
                self._tell_differing(path, seen)
            elif seen.nlink > 1 and not seen.is_folder and not seen.is_whiteout:
                linked.append((path, seen))
            else:
                self._tell_held(path, seen)
        self._tell_linked(linked)
        if not self.place.volume and not self._layered:
            self._tell_missing()
        return self.events()

    def look(
        self,
        hints: Iterable[tuple[bytes, Hint]],
        heard: Mapping[tuple[bytes, bytes], Hint] | None = None,
    ) -> None:
        """Look at paths that something is said to have happened at.

        Args:
            hints: the paths, in the order heard.
            heard: by a folder's identity and a name in it: of folders that are not known yet.
        """
        self.upper.refresh()
        self._heard = heard or {}
        self._put_off.clear()
        todo = dict(hints)
        for path, hint in todo.items():
            if hint.pid is not None:
                self._who.setdefault(path, hint)
        for path in list(todo):
            for each in [*_parents(path), path]:
                given = todo.pop(each, None)
                if given is not None or each not in self.known:
                    self._settle_all(each, given or NOTHING)
        for path, hint in self._put_off.items():
            self._settle_all(path, hint)

    def _settle_all(self, path: bytes, hint: Hint) -> None:
        """Look at a path, and at all others that this leads to."""
        waiting = deque([(path, hint)])
        while waiting:
            self._settle(*waiting.popleft(), waiting)

    def rescan(self) -> None:
        """Look at everything."""
        self.upper.refresh()
        there = set()
        changed = [b""]
        for path, seen in self.upper.walk():
            there.add(path)
            if self.known.get(path) != seen:
                changed.append(path)
        changed += [path for path in self.known if path not in there]
        self.look((path, NOTHING) for path in changed)

    def events(self) -> list[CowEvent]:
        """Return what has happened since this was last asked."""
        for left in [*self._left.values(), *self._hidden.values()]:
            left.events = list(self._gone(left))
        self._left.clear()
        self._hidden.clear()
        self._replaced.clear()
        found: list[CowEvent] = []
        for each in self._out:
            if isinstance(each, CowEvent):
                found.append(each)
            else:
                found.extend(each.events or ())
        self._out = []
        timed = list(self._timed(found))
        self._who.clear()
        return timed

    def _timed(self, events: Iterable[CowEvent]) -> Iterator[CowEvent]:
        """Give each event a time of its own, but for the two of an exchange."""
        last = None
        for event in events:
            if event.held:
                yield event
                continue
            who = self._who.get(event.path[self._start :]) if event.pid is None else None
            if who is not None:
                event = event._replace(pid=who.pid, command=who.command)
            if not (last is not None and is_exchange(last, event)):
                self._last = max(self._last + 1, time.time_ns())
            last = event
            # As _replace does it, which takes its time.
            yield CowEvent(self._last, *event[1:])

    def _find(self, path: bytes) -> Source | None:
        """Return what shows at a path below, unless a folder on top hides it."""
        for parent in _parents(path):
            seen = self.known.get(parent)
            if seen is not None and seen.marks & OPAQUE:
                return None
        return self.sources.find(path)

    def _classify(self, path: bytes, seen: Seen, *, sure: bool = False) -> Kind:
        below = self._find(path)
        return classify(path, seen, below, self.upper, self.sources, self._form, sure=sure)

    # --- what is there at first ---

    def _tell_held(self, path: bytes, seen: Seen) -> None:
        if seen.is_whiteout:
            below = self._find(path)
            if below is not None:
                self._say_held("whiteout", path, seen, layer=below.layer)
            return
        kind = self._classify(path, seen)
        self._say_kind(path, seen, kind, NOTHING, held=True)

    def _tell_linked(self, names: list[tuple[bytes, Seen]]) -> None:
        """Tell of files with several names: first the one that was copied up, if there is one."""
        files: dict[bytes, list[tuple[bytes, Seen, Kind]]] = {}
        for path, seen in names:
            kind = self._classify(path, seen)
            files.setdefault(seen.id, []).append((path, seen, kind))
        for file in files.values():
            file.sort(key=lambda name: (_rank(name[0], name[2]), name[0]))
            first, seen, kind = file[0]
            self._say_kind(first, seen, kind, NOTHING, held=True)
            for path, other, _ in file[1:]:
                self._say_held("create", path, other, from_path=first)

    def _tell_differing(self, path: bytes, seen: Seen) -> None:
        """Tell how an entry of a full tree differs from the tree that it was copied from."""
        below = self._find(path)
        if below is None or stat.S_IFMT(below.state.st_mode) != stat.S_IFMT(seen.mode):
            self._say_held("create", path, seen)
        elif stat.S_ISREG(seen.mode) and (
            seen.size != below.size or seen.mtime_ns != below.state.st_mtime_ns
        ):
            self._say_held("write", path, seen, layer=below.layer)
        elif _owned(seen) != _owned_below(below):
            self._say_held("metadata", path, seen, layer=below.layer)

    def _tell_missing(self) -> None:
        for folder in [b"", *(path for path, seen in self.known.items() if seen.is_folder)]:
            start = folder + b"/" if folder else b""
            for name in sorted(self.sources.names(folder)):
                path = start + name
                if path not in self.known and (below := self._find(path)) is not None:
                    self._say("delete", path, NOTHING, layer=below.layer, held=True)

    # --- what has happened ---

    def _settle(self, path: bytes, hint: Hint, waiting: deque[tuple[bytes, Hint]]) -> None:
        after = self.upper.look(path)
        if not path:
            if self._root is not None and after is not None and self._root.id == after.id:
                self._tell_change(path, self._root, after, hint)
                self._root = after
            return
        before = self.known.get(path)
        if before == after:
            return
        if before is not None and after is not None and before.id == after.id:
            for name in self._ids.paths(after.id):
                # It is told once, whatever names it has.
                self.known.put(name, after)
            self._know(path, after)
            if not after.is_whiteout:
                self._tell_change(path, before, after, hint)
            return
        hidden = after is not None and after.is_whiteout
        if before is not None:
            for id in self._leave(path, before, hint, hidden):
                other = self._ids.path(id)
                if other is not None:
                    # What was written under this name shows under the others.
                    waiting.append((other, NOTHING))
        if after is None:
            return
        if not hidden:
            self._appear(path, before, after, hint, waiting)
            return
        self._know(path, after)
        if (before is None or before.is_whiteout) and path not in self._hidden:
            left = self._hidden[path] = _Left(path, None, hint, True)
            self._out.append(left)

    def _leave(self, path: bytes, before: Seen, hint: Hint, hidden: bool) -> list[bytes]:
        """Take an entry out that is no longer at its path, with all below it.

        Returns:
            The identities of what may have other names.
        """
        below = self.known.take_below(path)
        gone = [before.id, *(seen.id for _, seen in below if seen.nlink > 1 and seen.id)]
        self.known.take(path)
        for each, seen in below:
            self._ids.remove(seen.id, each)
        self._ids.remove(before.id, path)
        if before.is_whiteout:
            old = self._hidden.pop(path, None)
            if old is not None:
                old.events = list(self._gone(old))
            return gone
        left = _Left(path, before, hint, hidden)
        left.below = below
        earlier = self._left.pop(before.id, None)
        if earlier is not None:
            earlier.events = list(self._gone(earlier))
        self._left[before.id] = self._replaced[path] = left
        self._out.append(left)
        return gone

    def _appear(
        self,
        path: bytes,
        before: Seen | None,
        after: Seen,
        hint: Hint,
        waiting: deque[tuple[bytes, Hint]],
    ) -> None:
        left = self._left.pop(after.id, None)
        other = self._ids.other(after.id, path) if left is None else None
        if left is None and other is None and self._waits_for_name(path, after):
            self._put_off[path] = hint
            return
        if other is not None:
            there = self.upper.look(other)
            if there is None or there.id != after.id:
                # It was moved from there.
                waiting.extendleft([(path, hint), (other, hint)])
                return
            if not after.is_folder:
                self._know(path, after)
                self._say("create", path, hint, from_path=other, size=after.size)
                return
        if left is not None and left.seen is not None:
            self._moved(left, path, after, hint)
        elif not self._moved_unseen(path, after, hint):
            self._know(path, after)
            self._tell_new(path, before, after, hint)
        if after.is_folder:
            self.new_folders.append(path)
            if left is not None:
                # What came into it before it was moved was said of paths that are no more.
                paths = {below for below, _ in self.upper.walk(path)} | set(self.known.below(path))
            else:
                paths = set(self.paths_in(path))
            waiting.extendleft((below, self._hint_of(below)) for below in sorted(paths)[::-1])

    def _hint_of(self, path: bytes) -> Hint:
        """Return what was heard of a path while its folder was not known."""
        folder, _, name = path.rpartition(b"/")
        seen = self.known.get(folder)
        return self._heard.get((seen.id, name), NOTHING) if seen is not None else NOTHING

    def _waits_for_name(self, path: bytes, after: Seen) -> bool:
        """Whether a file with several names may have come under another one first."""
        if after.nlink < 2 or after.is_folder or path in self._put_off or not self._layered:
            return False
        below = self._find(path)
        return below is None or stat.S_IFMT(below.state.st_mode) != stat.S_IFMT(after.mode)

    def _moved(self, left: _Left, path: bytes, after: Seen, hint: Hint) -> None:
        """Tell of an entry that was found under another path, and take what lay below along."""
        assert left.seen is not None
        self._know(path, after)
        for old, seen in left.below:
            self._know(path + old[len(left.path) :], seen)
        below = None if self._layered or self.place.volume else self._find(left.path)
        if below is not None:
            # A full tree keeps no track of where its parts came from.
            left.events = [self._event("delete", left.path, hint, layer=below.layer)]
            for new in [path, *self.known.below(path)]:
                self._tell_in_full(new, self.known[new], hint)
            return
        hidden = self._find(path) if after.marks & OPAQUE and after.is_folder else None
        renamed = self._event(
            "rename",
            path,
            hint,
            from_path=left.path,
            layer=hidden.layer if hidden is not None else None,
            size=after.size,
        )
        self._say_moved(left, [renamed])
        replaced = self._replaced.pop(path, None)
        gone = replaced.seen if replaced is not None else None
        if replaced is not None and gone is not None and self._left.get(gone.id) is replaced:
            # What it was moved onto needs no word of its own.
            del self._left[gone.id]
            replaced.events = []
        self._tell_change(path, left.seen._replace(marks=after.marks), after, hint)

    def _moved_unseen(self, path: bytes, after: Seen, hint: Hint) -> bool:
        """Tell of what was copied up and moved before it was looked at; say whether it was."""
        if not self._hidden or after.is_folder or not self._layered:
            return False
        source = self._origin_among_hidden(path, after)
        if source is None:
            return False
        left = self._hidden.pop(source.path)
        self._know(path, after)
        searched = self.sources.searched(source)
        copied = copied_bytes(path, after, source, self.upper, self.sources)
        told = [
            self._event(
                "copy_up",
                source.path,
                hint,
                layer=source.layer,
                searched=searched,
                copied=copied,
                cause="rename",
                size=after.size,
            ),
            self._event("rename", path, hint, from_path=source.path, size=after.size),
        ]
        self._say_moved(left, told)
        self._tell_change(path, _as_copied(after, source), after, hint)
        return True

    def _say_moved(self, left: _Left, told: list[CowEvent]) -> None:
        """Tell of a move: now, or before what has come to the old path since."""
        if left.hidden:
            told.append(self._whiteout(left))
        there = self.known.get(left.path)
        if there is not None and not there.is_whiteout:
            left.events = told
        else:
            left.events = []
            self._out += told

    def _origin_among_hidden(self, path: bytes, after: Seen) -> Source | None:
        """Find what an entry was copied from among what has just been hidden."""
        if after.origin:
            source = self.sources.follow(after.origin)
            if source is not None and source.path != path and source.path in self._hidden:
                return source
        candidates = []
        for hidden in self._hidden:
            below = self._find(hidden)
            if below is None or stat.S_IFMT(below.state.st_mode) != stat.S_IFMT(after.mode):
                continue
            if not after.marks & ORIGIN and below.state.st_nlink < 2:
                continue
            if _alike(after, below):
                candidates.append(below)
        return candidates[0] if len(candidates) == 1 else None

    def _tell_new(self, path: bytes, before: Seen | None, after: Seen, hint: Hint) -> None:
        if not self._layered:
            self._tell_in_full(path, after, hint)
            return
        sure = before is None and bool(hint.flags & CREATED) and not hint.flags & MOVED
        kind_of = self._classify(path, after, sure=sure)
        self._say_kind(path, after, kind_of, hint)

    def _tell_in_full(self, path: bytes, after: Seen, hint: Hint) -> None:
        """Tell of what is new in a full tree, or in a volume."""
        below = self._find(path) if not self.place.volume else None
        if below is None:
            self._say("create", path, hint, size=after.size)
            return
        kind = "metadata" if below.is_folder and after.is_folder else "write"
        self._say(kind, path, hint, layer=below.layer, size=after.size)
        if kind == "metadata":
            there = set(self.upper.names(path))
            for name in sorted(self.sources.names(path) - there):
                self._say("delete", path + b"/" + name, hint, layer=below.layer)

    def _say_kind(
        self,
        path: bytes,
        seen: Seen,
        kind: Kind,
        hint: Hint,
        *,
        held: bool = False,
        whole: bool = False,
    ) -> None:
        say = self._say_held if held else self._say_seen
        source = kind.source
        if kind.name == "copy_up":
            began = self.made.pop(seen.id, None)
            size: int | None
            if source is not None and (whole or (began is not None and began.told)):
                size = source.size
            else:
                size = copied_bytes(path, seen, source, self.upper, self.sources)
            truncated = size == 0 and source is not None and source.size > 0
            say(
                "copy_up",
                path,
                seen,
                hint,
                from_path=source.path if source is not None and source.path != path else None,
                layer=source.layer if source is not None else None,
                searched=self.sources.searched(source) if source is not None else (),
                copied=size,
                duration_ns=began.duration_ns if began is not None else None,
                cause=None if held else _cause(seen, source, hint, truncated),
            )
            if source is not None and not held:
                if source.state.st_nlink > 1 and not source.is_folder and not whole:
                    self._say("link", path, hint, layer=source.layer)
                self._tell_change(path, _as_copied(seen, source), seen, hint)
        elif kind.name == "implied":
            say("create", path, seen, hint, layer=source.layer if source else None)
        else:
            say(kind.name, path, seen, hint, layer=source.layer if source else None)

    def _tell_change(self, path: bytes, before: Seen, after: Seen, hint: Hint) -> None:
        """Tell what differs between two states of one inode."""
        new = after.marks & ~before.marks
        if before.marks & METACOPY and not after.marks & METACOPY:
            kind = self._classify(path, after)
            if kind.name == "copy_up" and kind.source is not None:
                self._say_kind(path, after, kind, hint, whole=True)
                return
        if new & OPAQUE and self._layered:
            below = self._find(path)
            if below is not None:
                self._say("opaque", path, hint, layer=below.layer, size=0)
        regular = stat.S_ISREG(after.mode)
        dated = before.mtime_ns != after.mtime_ns and not after.is_folder
        data = regular and (before.size != after.size or (dated and _was_write(after, hint)))
        layer = None
        if not self._layered and not self.place.volume:
            below = self._find(path)
            layer = below.layer if below is not None else None
        if data:
            self._say("write", path, hint, layer=layer, size=after.size)
        if _owned(before) != _owned(after) or before.xattrs != after.xattrs or (dated and not data):
            self._say("metadata", path, hint, layer=layer, size=after.size)

    def _gone(self, left: _Left) -> Iterator[CowEvent]:
        """Tell of an entry that was found nowhere else."""
        for path, seen in reversed(left.below):
            if not seen.is_whiteout:
                yield self._event("delete", path, left.hint, layer=self._parents(path))
        if left.hidden:
            yield self._whiteout(left)
        elif left.seen is not None:
            yield self._event("delete", left.path, left.hint, layer=self._parents(left.path))

    def _parents(self, path: bytes) -> int | None:
        """Return the number of the tree that a deleted entry of a full tree was copied from."""
        if self._layered or self.place.volume:
            return None
        below = self._find(path)
        return below.layer if below is not None else None

    def _whiteout(self, left: _Left) -> CowEvent:
        below = self._find(left.path)
        layer = below.layer if below is not None else None
        return self._event("whiteout", left.path, left.hint, layer=layer, size=0)

    # --- saying it ---

    def _know(self, path: bytes, seen: Seen) -> None:
        self.known.put(path, seen)
        if seen.id:
            self._ids.add(seen.id, path)

    def _say_seen(self, kind: str, path: bytes, seen: Seen, hint: Hint, **fields: Any) -> None:
        self._say(kind, path, hint, size=seen.size, **fields)

    def _say_held(
        self, kind: str, path: bytes, seen: Seen, hint: Hint = NOTHING, **fields: Any
    ) -> None:
        self._say(kind, path, hint, size=seen.size, held=True, time=seen.ctime_ns, **fields)

    def _say(self, kind: str, path: bytes, hint: Hint, **fields: Any) -> None:
        self._out.append(self._event(kind, path, hint, **fields))

    def _event(
        self,
        kind: str,
        path: bytes,
        hint: Hint,
        *,
        time: int = 0,
        from_path: bytes | None = None,
        layer: int | None = None,
        searched: tuple[int, ...] = (),
        copied: int | None = None,
        duration_ns: int | None = None,
        cause: str | None = None,
        held: bool = False,
        size: int | None = None,
    ) -> CowEvent:
        place = self.place
        disk = place.disk + "/" + os.fsdecode(path) if path else place.disk
        if place.start:
            path = place.start + b"/" + path if path else place.start
            from_path = place.start + b"/" + from_path if from_path is not None else None
        # By position, which takes a third of the time: many thousands are made in a burst.
        return CowEvent(
            time,
            kind,
            path,
            from_path,
            layer,
            searched,
            copied,
            None,
            duration_ns,
            hint.pid,
            hint.command,
            cause,
            disk,
            place.volume,
            held,
            size,
        )


def _rank(path: bytes, kind: Kind) -> int:
    if kind.name != "copy_up":
        return 2
    return 0 if kind.source is not None and kind.source.path == path else 1


def _parents(path: bytes) -> list[bytes]:
    """Return the folders that a path lies in, the outermost first, without the root."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


def _owned(seen: Seen) -> tuple[int, int, int]:
    return seen.mode, seen.uid, seen.gid


def _owned_below(source: Source) -> tuple[int, int, int]:
    return source.state.st_mode, source.state.st_uid, source.state.st_gid


def _as_copied(after: Seen, source: Source) -> Seen:
    """Return what a copy looked like before anything was done to it."""
    mode, uid, gid = _owned_below(source)
    size = source.size if stat.S_ISREG(mode) else after.size
    return after._replace(mode=mode, uid=uid, gid=gid, size=size, mtime_ns=source.state.st_mtime_ns)


def _alike(after: Seen, source: Source) -> bool:
    return (after.size, after.mtime_ns) == (source.size, source.state.st_mtime_ns) or (
        not stat.S_ISREG(after.mode) and after.mtime_ns == source.state.st_mtime_ns
    )


def _was_write(after: Seen, hint: Hint) -> bool:
    """Whether a file got its new time by a write."""
    if hint.flags & (WRITTEN | CHANGED):
        return bool(hint.flags & WRITTEN)
    return abs(after.ctime_ns - after.mtime_ns) < _JUST_NOW


def _cause(seen: Seen, source: Source | None, hint: Hint, truncated: bool) -> str | None:
    """Say why something was copied up, as far as what is there now tells."""
    if source is None:
        return None
    if truncated:
        return "truncate"
    changed = _owned(seen) != _owned_below(source)
    if not stat.S_ISREG(seen.mode):
        return "metadata" if changed else None
    if hint.flags & WRITTEN or seen.size != source.size:
        return "open"
    if seen.nlink > 1:
        return "link"
    if changed or hint.flags & CHANGED:
        return "metadata"
    if seen.mtime_ns != source.state.st_mtime_ns:
        return "open" if _was_write(seen, hint) else "metadata"
    return "open"
