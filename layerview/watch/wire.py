"""Records and targets as lines of JSON between two of our own processes."""

from __future__ import annotations

import json
from typing import Any

from layerview.layer.whiteouts import Whiteouts
from layerview.text import decode, encode
from layerview.watch.events import Copying, CowEvent, Ended, Notice, Record
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

_KINDS: tuple[type[Any], ...] = (CowEvent, Copying, Notice, Ended)
_PATHS = ("path", "from_path")


def encode_records(records: list[Record]) -> bytes:
    """Return a batch's line."""
    said = []
    for record in records:
        fields = [decode(value) if isinstance(value, bytes) else value for value in record]
        said.append([_KINDS.index(type(record)), *fields])
    return json.dumps(said, separators=(",", ":")).encode("ascii") + b"\n"


def decode_records(line: bytes) -> list[Record]:
    """Return the batch of a line."""
    return [_record(*said) for said in json.loads(line)]


def _record(kind: int, *values: Any) -> Record:
    form = _KINDS[kind]
    fields = dict(zip(form._fields, values, strict=True))
    for name in _PATHS:
        if isinstance(fields.get(name), str):
            fields[name] = encode(fields[name])
    if "searched" in fields:
        fields["searched"] = tuple(fields["searched"])
    made: Record = form(**fields)
    return made


def encode_target(target: Target) -> bytes:
    """Return a target's line."""
    said = target._asdict()
    said["whiteouts"] = target.whiteouts.value
    said["volumes"] = [[v.name, v.source, decode(v.target), v.read_only] for v in target.volumes]
    return json.dumps(said).encode("ascii") + b"\n"


def decode_target(line: bytes) -> Target:
    """Return the target of a line."""
    said = json.loads(line)
    said["whiteouts"] = Whiteouts(said["whiteouts"])
    said["layers"] = tuple(WatchedLayer(*layer) for layer in said["layers"])
    said["volumes"] = tuple(
        WatchedVolume(name, source, encode(place), read_only)
        for name, source, place, read_only in said["volumes"]
    )
    return Target(**said)
