"""Watching a container on our own union: its server tells each step that it does."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator

from layerview.layer.names import WHITEOUT_PREFIX
from layerview.text import encode
from layerview.unionfs.steps import Step, decode
from layerview.watch.compare import compare, held_events
from layerview.watch.events import Copying, CowEvent, Ended, Notice, Record
from layerview.watch.ledger import Held, Ledger
from layerview.watch.processes import Commands
from layerview.watch.target import Target

_TICK = 0.1
_GREETING = 0.2
"""Seconds in which a server that has nothing else to do says its first word."""
_GATHER = 0.005
"""Seconds after a step in which others are waited for: many come together."""
_PIECE = 1 << 18
_LONGEST = 1 << 20
"""Bytes of a step's line."""
_STATES = ("copy_up", "create", "whiteout", "opaque")


class NotServed(Exception):
    """No server tells steps: the container's layer is looked at instead."""


class Translator:
    """Makes records of steps."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._numbers = [layer.number for layer in target.layers]
        self._commands = Commands()

    def record(self, step: Step) -> Record:
        """Return what a step is told as."""
        path = encode(step.path).strip(b"/")
        layer = self._layer(step.found)
        if step.kind == "copying":
            return Copying(step.time, path, layer, step.bytes or 0, step.total)
        from_path = encode(step.from_path).strip(b"/") if step.from_path is not None else None
        disk = self._disk(path, step.kind)
        return CowEvent(
            step.time,
            step.kind,
            path,
            from_path=from_path,
            layer=layer,
            searched=self._searched(step),
            bytes=step.bytes,
            written=step.written,
            duration_ns=step.duration_ns,
            pid=step.pid,
            command=self._commands.of(step.pid),
            cause=step.cause,
            disk_path=disk,
            size=self._size(disk, step),
        )

    def _layer(self, branch: int | None) -> int | None:
        """Return the number of the layer that is a branch; None for the container's own."""
        if branch is None or not 0 < branch <= len(self._numbers):
            return None
        return self._numbers[branch - 1]

    def _searched(self, step: Step) -> tuple[int, ...]:
        found = self._layer(step.found)
        numbers = [self._layer(branch) for branch in step.searched]
        return tuple(n for n in numbers if n is not None and (n >= 0 or n == found))

    def _disk(self, path: bytes, kind: str) -> str:
        if kind == "whiteout":
            folder, slash, name = path.rpartition(b"/")
            path = folder + slash + WHITEOUT_PREFIX + name
        return self._target.upper + "/" + os.fsdecode(path) if path else self._target.upper

    def _size(self, disk: str, step: Step) -> int | None:
        if step.kind not in ("copy_up", "create", "write", "metadata", "rename", "link"):
            return None
        try:
            state = os.lstat(disk)
        except OSError:
            return None
        return 0 if stat.S_ISDIR(state.st_mode) else state.st_size


def observe(target: Target, stop: threading.Event, *, reads: bool) -> Iterator[list[Record]]:
    """Tell what the server tells; see observe.observe.

    Raises:
        NotServed: when there is no server.
    """
    with _connect(target) as server:
        if reads:
            server.sendall(json.dumps({"reads": True}).encode() + b"\n")
        server.setblocking(False)
        translator, ledger = Translator(target), Ledger()
        waiting = bytearray()
        # All steps are told once the server, which may be at work, has said its first word.
        early, open_ = _read(server, waiting, _GREETING)
        is_told_all = bool(early)
        held = held_events(target)
        looked = time.time_ns()
        ledger.add_all(held)
        yield list(held)
        while not stop.is_set():
            records: list[Record] = []
            lost, late = 0, False
            # The first at once, while who did it is still there to be asked for its name.
            for patience in (_TICK, _GATHER):
                lines = early
                if not early and open_:
                    lines, open_ = _read(server, waiting, patience)
                early = []
                late |= bool(lines) and not is_told_all
                is_told_all |= bool(lines)
                for line in lines:
                    told = _understood(line)
                    if isinstance(told, int):
                        lost += told
                    elif told is not None and not _is_held(told, looked, ledger):
                        records.append(translator.record(told))
                if not lines or not open_:
                    break
            ledger.add_all(records)
            if lost:
                records.append(_notice(f"{lost:,} steps went unheard: all was looked at"))
            if lost or late:
                found = missed(target, ledger)
                looked = time.time_ns()
                ledger.add_all(found)
                records += found
            if not open_:
                records.append(Ended(time.time_ns(), _why(target)))
            if records:
                yield records
            if not open_:
                return


def missed(target: Target, ledger: Ledger) -> list[CowEvent]:
    """Look at everything, and tell what a ledger lacks or has too much."""
    there = compare(target)
    now = time.time_ns()
    events = []
    for path in [path for path in ledger.holds if path not in there]:
        events.append(CowEvent(now, "delete", path))
    for path, held in there.items():
        known = ledger.holds.get(path)
        if known is None or not _same(known, held):
            events.append(_as_event(target, path, held, now))
        elif known.size != held.size:
            events.append(CowEvent(now, "write", path, size=held.size))
    return events


def _same(known: Held, held: Held) -> bool:
    files = ("copy_up", "create", "implied")
    return known.kind == held.kind or (known.kind in files and held.kind in files)


def _as_event(target: Target, path: bytes, held: Held, now: int) -> CowEvent:
    kind = "create" if held.kind == "implied" else held.kind
    disk = target.upper + "/" + os.fsdecode(path)
    return CowEvent(
        now,
        kind,
        path,
        from_path=held.source,
        layer=held.layer,
        disk_path=disk,
        size=held.size,
    )


def _is_held(step: Step, looked: int, ledger: Ledger) -> bool:
    """Whether a step was done before the layer was looked at, so that it is known already."""
    if step.time > looked or step.kind not in _STATES:
        return False
    held = ledger.holds.get(encode(step.path).strip(b"/"))
    return held is not None and held.kind == step.kind


def _connect(target: Target) -> socket.socket:
    assert target.steps is not None
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    folder, name = os.path.split(target.steps)
    try:
        # A socket's path has 107 bytes at most: its folder is named through its descriptor.
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            server.connect(f"/proc/self/fd/{fd}/{name}")
        finally:
            os.close(fd)
    except OSError as error:
        server.close()
        raise NotServed(str(error)) from None
    return server


def _read(server: socket.socket, waiting: bytearray, patience: float) -> tuple[list[bytes], bool]:
    """Wait some seconds at most for whole lines; also say whether more may come."""
    if not select.select([server], [], [], patience)[0]:
        return [], True
    open_ = True
    while len(waiting) < _LONGEST:
        try:
            piece = server.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            break
        except OSError:
            piece = b""
        if not piece:
            open_ = False
            break
        waiting += piece
    end = waiting.rfind(b"\n") + 1
    lines = bytes(waiting[:end]).splitlines()
    del waiting[:end]
    if not end and len(waiting) >= _LONGEST:
        open_ = False
    return lines, open_


def _understood(line: bytes) -> Step | int | None:
    try:
        return decode(line)
    except (ValueError, TypeError, KeyError):
        return None


def _why(target: Target) -> str:
    if not os.path.isdir(target.upper):
        return "the container ended and was removed"
    if target.pid is not None and os.path.exists(f"/proc/{target.pid}"):
        return "the union's server ended: the container reads errors from now on"
    return "the container ended"


def _notice(text: str) -> Notice:
    return Notice(time.time_ns(), text)
