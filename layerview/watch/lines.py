"""What is told of a container as JSON: `watch --json`'s names, and a recording's lines."""

from __future__ import annotations

import os
from base64 import b64encode

from layerview.text import decode, printable
from layerview.times import rfc3339
from layerview.watch.events import CowEvent, Ended, Notice, Record
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

Fields = dict[str, object]

NANOSECOND = 1_000_000_000


def time_text(time: int) -> str | None:
    """Write a time of nanoseconds since 1970; None where RFC 3339 has no word for it."""
    seconds, rest = divmod(time, NANOSECOND)
    return rfc3339(seconds, rest * 16 + 9)


def path_fields(path: bytes | None, key: str = "path") -> Fields:
    """Return the fields of a path in a container: its bytes beside it when they are not UTF-8."""
    return _raw_fields(None if path is None else b"/" + path, key)


def disk_fields(path: str, key: str = "disk_path") -> Fields:
    """Return the fields of a path on the machine; null where it is not known."""
    return _raw_fields(os.fsencode(path) if path else None, key)


def _raw_fields(raw: bytes | None, key: str) -> Fields:
    if raw is None:
        return {key: None}
    fields: Fields = {key: decode(raw)}
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        fields[f"{key}_bytes"] = b64encode(raw).decode("ascii")
    return fields


def event_fields(event: CowEvent) -> Fields:
    """Return an event's fields as `watch --json` prints them, but for the container's."""
    fields: Fields = {"time": time_text(event.time), "kind": event.kind}
    fields |= path_fields(event.path)
    fields |= path_fields(event.from_path, "from")
    fields |= {
        "layer": event.layer,
        "searched": list(event.searched),
        "bytes": event.bytes,
        "written": event.written,
        "duration_ns": event.duration_ns,
        "pid": event.pid,
        "command": None if event.command is None else printable(event.command),
        "cause": event.cause,
    }
    fields |= disk_fields(event.disk_path)
    fields["volume"] = event.volume
    fields |= {"held": event.held, "size": event.size}
    return fields


def record_fields(record: Record) -> Fields:
    """Return a recording's line of a record: `record` says which it is."""
    if isinstance(record, CowEvent):
        return {"record": "event", **event_fields(record)}
    time = time_text(record.time)
    if isinstance(record, Notice):
        return {"record": "notice", "time": time, "text": printable(record.text)}
    if isinstance(record, Ended):
        return {"record": "ended", "time": time, "reason": printable(record.reason)}
    fields: Fields = {"record": "copying", "time": time}
    fields |= path_fields(record.path)
    return fields | {"layer": record.layer, "done": record.done, "total": record.total}


def target_fields(target: Target) -> Fields:
    """Return what a recording's first line says of the container."""
    fields: Fields = {
        "engine": target.engine,
        "id": target.id,
        "name": printable(target.name),
        "image": printable(target.image),
        "driver": target.driver,
        "whiteouts": target.whiteouts.value,
    }
    fields |= disk_fields(target.upper, "upper")
    fields["layers"] = [_layer_fields(layer) for layer in target.layers]
    fields["volumes"] = [_volume_fields(volume) for volume in target.volumes]
    fields["pid"] = target.pid
    fields |= disk_fields(target.steps or "", "steps")
    fields |= disk_fields(target.work or "", "work")
    fields["copied_at_start"] = target.copied_at_start
    return fields


def _layer_fields(layer: WatchedLayer) -> Fields:
    return {
        "layer": layer.number,
        **disk_fields(layer.folder, "directory"),
        "chain_id": layer.chain_id,
        "instruction": printable(layer.instruction),
        "size": layer.size,
    }


def _volume_fields(volume: WatchedVolume) -> Fields:
    return {
        "name": printable(volume.name),
        **disk_fields(volume.source, "source"),
        **path_fields(volume.target, "target"),
        "read_only": volume.read_only,
    }
