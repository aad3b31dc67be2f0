"""The running totals of what a container has copied, made and hidden."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from layerview.watch.events import CowEvent, Record, is_exchange
from layerview.watch.lines import path_fields
from layerview.watch.paths import PathMap

TOP = 20
"""Paths and processes that a summary names."""
_MOST_PROCESSES = 1000

N = TypeVar("N", bytes, str)


class Held(NamedTuple):
    """What a container's layer has at a path."""

    kind: str
    """copy_up, create, whiteout, opaque; implied: a folder that the engine made for what is in it.

    In a full tree (vfs) only what differs from the one it was copied from is held: create, write,
    metadata or delete.
    """
    layer: int | None = None
    """Where it was copied from, or what it hides."""
    size: int = 0
    """Bytes."""
    source: bytes | None = None
    """The path that it was copied from, when that is another."""


@dataclass(slots=True)
class Tally:
    """What a layer, path or process has to do with."""

    events: int = 0
    copy_ups: int = 0
    bytes_copied: int = 0
    bytes_written: int | None = None

    def add(self, event: CowEvent) -> None:
        """Count an event."""
        self.events += 1
        if event.kind == "copy_up":
            self.copy_ups += 1
            self.bytes_copied += event.bytes or 0
        if event.written is not None:
            self.bytes_written = (self.bytes_written or 0) + event.written


class Ledger:
    """Adds records up. Once all is quiet, what it holds is what a full comparison finds."""

    def __init__(self) -> None:
        self.holds: PathMap[Held] = PathMap()
        """What the container's layer has, by path; only read by others."""
        self.events = 0
        self.copy_ups = 0
        self.bytes_copied = 0
        self.bytes_written: int | None = None
        """None where the driver can't know."""
        self.bytes_changed: int | None = None
        """What differs from the sources; measured by compare.changed_bytes when it is asked for."""
        self.created = 0
        self.whiteouts = 0
        self.deleted = 0
        self.renamed = 0
        self.volume_bytes = 0
        """Bytes of the files in volumes that were made or written to."""
        self.container_layer_size = 0
        """Bytes of the files in the container's layer, each file once."""
        self.by_layer: dict[int, Tally] = {}
        self.by_path: dict[bytes, Tally] = {}
        self.by_process: dict[str, Tally] = {}
        self._writes_known = True
        self._names: dict[bytes, set[bytes]] = {}
        """By path, of files with several: all of them; a set that these share."""
        self._volumes: dict[bytes, int] = {}
        self._last: CowEvent | None = None
        self._displaced: list[tuple[bytes, Held]] = []

    def add(self, record: Record) -> None:
        """Count a record."""
        if not isinstance(record, CowEvent):
            return
        self._count(record)
        if record.volume:
            self._keep_volume(record)
        else:
            self._keep(record)
        self._last = record

    def add_all(self, records: Iterable[Record]) -> None:
        """Count records."""
        for record in records:
            self.add(record)

    def summary(self) -> dict[str, object]:
        """Return the totals as `watch --summary --json` prints them."""
        return {
            "copy_ups": self.copy_ups,
            "bytes_copied": self.bytes_copied,
            "bytes_written": self.bytes_written,
            "bytes_changed": self.bytes_changed,
            "created": self.created,
            "whiteouts": self.whiteouts,
            "deleted": self.deleted,
            "renamed": self.renamed,
            "volume_bytes": self.volume_bytes,
            "container_layer_size": self.container_layer_size,
            "by_layer": [
                {"layer": layer, **_totals(tally)} for layer, tally in sorted(self.by_layer.items())
            ],
            "by_path": [
                {**path_fields(path), **_totals(tally)} for path, tally in top(self.by_path)
            ],
            "by_process": [
                {"command": command, **_totals(tally)} for command, tally in top(self.by_process)
            ],
        }

    # --- counting ---

    def _count(self, event: CowEvent) -> None:
        self.events += 1
        kind = event.kind
        if kind == "copy_up":
            self.copy_ups += 1
            self.bytes_copied += event.bytes or 0
        elif kind == "create" and not event.volume:
            self.created += event.layer is None
        elif kind == "opaque":
            self.created += 1
        elif kind == "whiteout":
            self.whiteouts += 1
        elif kind == "delete" and not event.volume:
            self.deleted += 1
        elif kind == "rename" and not event.volume:
            self.renamed += 1
        if kind == "write" and not event.volume:
            # One write of unknown size, and the sum is unknown.
            self._writes_known &= event.written is not None
            written = (self.bytes_written or 0) + (event.written or 0)
            self.bytes_written = written if self._writes_known else None
        if kind == "copy_up" and event.layer is not None:
            self.by_layer.setdefault(event.layer, Tally()).add(event)
        if not event.volume:
            self.by_path.setdefault(event.path, Tally()).add(event)
        if event.command is not None and (
            event.command in self.by_process or len(self.by_process) < _MOST_PROCESSES
        ):
            self.by_process.setdefault(event.command, Tally()).add(event)

    # --- what is held ---

    def _keep(self, event: CowEvent) -> None:
        kind, path = event.kind, event.path
        if not path:
            return
        if kind == "copy_up":
            old = self.holds.get(path)
            if old is not None and old.kind == "copy_up":
                # Its data follow, where first only the entry was copied.
                self._resize(path, event.size)
                return
            self._replace(path)
            self._put(path, Held("copy_up", event.layer, event.size or 0, event.from_path))
        elif kind == "create":
            self._replace(path)
            if event.from_path is not None:
                self._link(event.from_path, path, event.size)
            elif event.layer is not None:
                self._put(path, Held("implied", event.layer))
            else:
                self._put(path, Held("create", None, event.size or 0))
        elif kind in ("write", "metadata"):
            old = self.holds.get(path)
            if event.layer is not None and (
                old is None or old.kind == "delete" or (old.kind, kind) == ("metadata", "write")
            ):
                self._replace(path)
                self._put(path, Held(kind, event.layer, event.size or 0))
            else:
                self._resize(path, event.size)
        elif kind == "opaque":
            self._replace(path)
            self._put(path, Held(kind, event.layer))
        elif kind == "whiteout":
            self._drop(path)
            self._put(path, Held(kind, event.layer))
        elif kind == "delete":
            self._drop(path)
            if event.layer is not None:
                self._put(path, Held("delete", event.layer))
        elif kind == "rename" and event.from_path is not None:
            self._move(event.from_path, path, event)

    def _put(self, path: bytes, held: Held) -> None:
        self.holds.put(path, held)
        self.container_layer_size += held.size

    def _drop(self, path: bytes) -> list[tuple[bytes, Held]]:
        """Take a path out, with all below it; return what was there."""
        taken = self.holds.take_below(path)
        for each, one in taken:
            self._forget(each, one)
        held = self._replace(path)
        return taken if held is None else [(path, held), *taken]

    def _replace(self, path: bytes) -> Held | None:
        """Take a path out, but not what is below it: that may have come there first."""
        held = self.holds.take(path)
        if held is not None:
            self._forget(path, held)
        return held

    def _forget(self, path: bytes, held: Held) -> None:
        names = self._names.pop(path, None)
        if names is None:
            self.container_layer_size -= held.size
            return
        names.discard(path)
        if len(names) == 1:
            del self._names[next(iter(names))]

    def _link(self, old: bytes, new: bytes, size: int | None) -> None:
        """Give what is at one path another name."""
        held = self.holds.get(old)
        if held is None:
            self._put(new, Held("create", None, size or 0))
            return
        names = self._names.setdefault(old, {old})
        names.add(new)
        self._names[new] = names
        source = (held.source or old) if held.kind == "copy_up" else None
        self.holds.put(new, held._replace(source=source if source != new else None))
        self._resize(new, size)

    def _resize(self, path: bytes, size: int | None) -> None:
        held = self.holds.get(path)
        if held is None or size is None or held.size == size:
            return
        if held.kind not in ("copy_up", "create", "write", "metadata"):
            return
        self.container_layer_size += size - held.size
        for name in self._names.get(path, (path,)):
            if name in self.holds:
                self.holds.put(name, self.holds[name]._replace(size=size))

    def _move(self, old: bytes, new: bytes, event: CowEvent) -> None:
        last = self._last
        if last is not None and last.time == event.time and is_exchange(last, event):
            # What the first of the two took away comes to where that came from.
            back = [(new + path[len(old) :], path, held) for path, held in self._displaced]
            for path, was, held in back:
                self._put(path, _moved(held, was, path))
            self._hide(new, event.layer)
            self._displaced = []
            return
        self._displaced = self._drop(new)
        moved = [old, *self.holds.below(old)] if old in self.holds else self.holds.below(old)
        self.holds.move(old, new)
        for was in moved:
            path = new + was[len(old) :]
            if path in self.holds:
                self.holds.put(path, _moved(self.holds[path], was, path))
            names = self._names.pop(was, None)
            if names is not None:
                names.discard(was)
                names.add(path)
                self._names[path] = names
        self._hide(new, event.layer)
        self._resize(new, event.size)

    def _hide(self, path: bytes, layer: int | None) -> None:
        """Note what a folder hides where it was moved to."""
        if layer is not None and path in self.holds:
            self.holds.put(path, Held("opaque", layer))

    def _keep_volume(self, event: CowEvent) -> None:
        if event.held:
            return
        if event.kind == "delete":
            self._volumes.pop(event.path, None)
        elif event.kind == "rename" and event.from_path is not None:
            self._volumes.pop(event.from_path, None)
        if event.kind in ("create", "write", "rename") and event.size is not None:
            before = self._volumes.get(event.path, 0)
            self._volumes[event.path] = event.size
            self.volume_bytes += max(event.size - before, 0)


def top(tallies: Mapping[N, Tally]) -> list[tuple[N, Tally]]:
    """Return those that copied the most, then those with the most events."""
    return heapq.nlargest(
        TOP, tallies.items(), key=lambda item: (item[1].bytes_copied, item[1].events)
    )


def _moved(held: Held, old: bytes, new: bytes) -> Held:
    """Return what is held after a rename: below a new folder nothing is hidden."""
    if held.kind == "opaque":
        return Held("create")
    if held.kind != "copy_up":
        return held
    source = held.source if held.source is not None else old
    return held._replace(source=source if source != new else None)


def _totals(tally: Tally) -> dict[str, int | None]:
    return {
        "events": tally.events,
        "copy_ups": tally.copy_ups,
        "bytes_copied": tally.bytes_copied,
        "bytes_written": tally.bytes_written,
    }
