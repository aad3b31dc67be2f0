"""Looking driver aufs's files through: its lists of layers, and the servers of its trees."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError
from layerview.store.durable import read_small, write_file
from layerview.store.layout import Layout, is_driver_id
from layerview.store.liveness import kill, start_time
from layerview.store.locks import flock, process_name
from layerview.store.volumes import delete_tree

if TYPE_CHECKING:
    from layerview.store.area import Area
    from layerview.store.data_root import LayerRecord
    from layerview.store.writing import Writing

Repair = Callable[["Writing"], None]
Say = Callable[[str, str, str, Repair | None], None]
"""Takes what a finding is about, what was found, what helps, and what puts it right."""

LISTS = "aufs: lists of layers"
_LEFT = "leftovers of containers"
_MOMENT = 0.3
"""Seconds in which a server ends whose tree is gone."""
_REPAIR = "`layerview doctor --repair`"
_REMOVING = "-removing"


def check_lists(
    layout: Layout, records: Sequence[LayerRecord], held: Collection[str], problem: Say
) -> int:
    """Compare what `aufs/layers` says with the records of layers; return how many are right.

    Args:
        layout: of driver aufs.
        records: of all layers.
        held: IDs that are being made or removed.
        problem: told what is wrong.
    """
    by_chain = {record.chain_id: record for record in records}
    right = 0
    for record in records:
        wanted: list[str] = []
        at = record.parent
        while at is not None and at in by_chain and len(wanted) <= len(records):
            wanted.append(by_chain[at].cache_id)
            at = by_chain[at].parent
        text = "".join(f"{id}\n" for id in wanted)
        path = os.path.join(layout.home, "layers", record.cache_id)
        try:
            if read_small(path, 65_536).decode("utf-8", "replace") == text:
                right += 1
                continue
            found = f"{path} does not list the layers below"
        except LayerviewError as error:
            found = str(error)
        remedy = f"{_REPAIR} writes it again"
        problem(LISTS, found, remedy, _writing(path, text) if at is None else None)
    for id in sorted(_left(layout) - set(held)):
        problem(
            LISTS,
            f"{layout.home}: layer {id[:12]} is half made or half removed",
            f"{_REPAIR} deletes what is left of it",
            _discarding(id),
        )
    return right


def _left(layout: Layout) -> set[str]:
    """Return the IDs of which there is something, but no folder of files."""
    there = set(_listed(os.path.join(layout.home, "diff")))
    named = {id for kind in ("layers", "mnt") for id in _listed(os.path.join(layout.home, kind))}
    removed = {name.removesuffix(_REMOVING) for name in there if name.endswith(_REMOVING)}
    return {id for id in (named - there) | (removed - there) if is_driver_id(id)}


def is_half_removed(name: str) -> bool:
    """Whether a folder of a layer's files has the name that it gets before it is removed."""
    return name.endswith(_REMOVING) and is_driver_id(name.removesuffix(_REMOVING))


def check_servers(
    area: Area,
    containers: Mapping[str, str],
    busy: Collection[str],
    problem: Say,
    note: Say,
) -> None:
    """Find servers without a tree that is in use, trees without a server, and stale sockets.

    Args:
        area: which.
        containers: whose each of the driver's IDs is.
        busy: the driver's IDs that are being made or removed.
        problem: told what is wrong.
        note: told what is no harm.
    """
    base = os.path.join(area.own, "union")
    for id in _listed(base):
        if not is_driver_id(id) or id in busy:
            continue
        folder, layer = os.path.join(base, id), os.path.join(area.root, "aufs/diff", id)
        found = _state(folder, layer)
        if found is not None:
            # A server begins before its tree is used, and ends after it.
            time.sleep(_MOMENT)
            found = _state(folder, layer)
        if found is None:
            continue
        used, server = found
        if used:
            whose = containers.get(id)
            problem(
                _LEFT,
                f"the server of the union of {f'container {whose[:12]}' if whose else folder} was"
                " killed: what is not in memory can't be read",
                f"`layerview restart {whose[:12]}` starts it anew" if whose else "end who uses it",
                None,
            )
        elif server is not None:
            problem(
                _LEFT,
                f"{process_name(server)} serves the union of layer {id[:12]}, which no container"
                " uses",
                f"{_REPAIR} ends it",
                _ending(server),
            )
        else:
            note(
                _LEFT,
                f"{folder} is left of a union that is served no more",
                f"the layer's next use or its removal deletes it, or {_REPAIR}",
                _deleting(folder),
            )


def _state(folder: str, layer: str) -> tuple[bool, int | None] | None:
    """Return whether a tree is in use, and its server; None where all is well."""
    used, server = is_used(layer), server_at(folder)
    if used and server is not None:
        return None
    idle = not used and server is None and os.path.isdir(layer)
    if idle and not os.path.lexists(os.path.join(folder, "steps")):
        return None
    return used, server


def server_at(folder: str) -> int | None:
    """Return the process that tells of a union's steps there; None when nobody does."""
    with suppress(OSError):
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.setblocking(False)
                line.connect(f"/proc/self/fd/{fd}/steps")
                said = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                pid: int = struct.unpack("3i", said)[0]
                return pid
        finally:
            os.close(fd)
    return None


def is_used(folder: str) -> bool:
    """Whether a process uses a layer's tree; see drivers.mounted_trees."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def _ending(pid: int) -> Repair:
    began = start_time(pid)

    def end(writing: Writing) -> None:
        if began is not None:
            kill(pid, began)

    return end


def _writing(path: str, text: str) -> Repair:
    # Not to be written: it is an image's layer.
    return lambda writing: write_file(path, text.encode(), scratch=writing.area.scratch, mode=0o444)


def _discarding(id: str) -> Repair:
    return lambda writing: writing.driver("aufs").remove(id)


def _deleting(path: str) -> Repair:
    return lambda writing: delete_tree(path)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
