"""What a recording's lines must be: everything that a file says is checked here."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from calendar import timegm
from collections.abc import Mapping
from functools import lru_cache
from time import strptime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from layerview.layer.whiteouts import Whiteouts
from layerview.text import printable
from layerview.watch.events import INIT, KINDS, Copying, CowEvent, Ended, Notice, Record
from layerview.watch.lines import NANOSECOND
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

LONGEST_PATH = 1 << 16
"""Bytes of a path; Linux takes 4096 at once, a deep tree has longer ones."""
MOST_LAYERS = 512

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)


@lru_cache(maxsize=256)
def _seconds(text: str) -> int:
    return timegm(strptime(text, "%Y-%m-%dT%H:%M:%S"))


def _time(text: str | None) -> int:
    if text is None:
        # A time that RFC 3339 has no word for.
        return 0
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no time of RFC 3339 in UTC")
    return _seconds(found[1]) * NANOSECOND + int((found[2] or "").ljust(9, "0"))


def _in_container(raw: bytes) -> bytes:
    parts = raw.split(b"/")
    if raw == b"/":
        return b""
    if parts[0] or not all(parts[1:]) or b"\0" in raw or {b".", b".."} & set(parts):
        raise ValueError("no absolute path")
    return raw[1:]


def _on_disk(raw: bytes) -> str:
    if not raw.startswith(b"/") or b"\0" in raw:
        raise ValueError("no absolute path")
    return os.fsdecode(raw)


_Raw = Annotated[bytes, Field(max_length=LONGEST_PATH)]
Time = Annotated[str | None, AfterValidator(_time)]
Inside = Annotated[_Raw, AfterValidator(_in_container)]
OnDisk = Annotated[_Raw, AfterValidator(_on_disk)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Layer = Annotated[int, Field(ge=INIT, lt=MOST_LAYERS)]
Words = Annotated[str, Field(max_length=1 << 16), AfterValidator(printable)]
"""Text for people, on one line and without control characters, whoever wrote it."""
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}\z")]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    paths: ClassVar[tuple[str, ...]] = ()
    """Fields that are paths: text, or base64 under the name with `_bytes`."""

    @model_validator(mode="before")
    @classmethod
    def _decode_paths(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            raise ValueError("no JSON object")
        decoded = dict(fields)
        for key in cls.paths:
            encoded, text = decoded.get(f"{key}_bytes"), decoded.get(key)
            if isinstance(encoded, str):
                decoded[key] = b64decode(encoded, validate=True)
            elif isinstance(text, str):
                decoded[key] = text.encode("utf-8")
        return decoded


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError("no kind of event")
    return kind


class EventLine(_Line):
    """A line of an event."""

    paths = ("path", "from", "disk_path")

    time: Time
    kind: Annotated[str, AfterValidator(_known)]
    path: Inside
    from_path: Annotated[Inside | None, Field(alias="from")] = None
    layer: Layer | None = None
    searched: Annotated[list[Layer], Field(max_length=MOST_LAYERS)] = []
    copied: Annotated[Count | None, Field(alias="bytes")] = None
    written: Count | None = None
    duration_ns: Count | None = None
    pid: Count | None = None
    command: Words | None = None
    cause: Word | None = None
    disk_path: OnDisk | None = None
    volume: bool = False
    held: bool = False
    size: Count | None = None

    def record(self) -> Record:
        """Return the event."""
        return CowEvent(
            self.time,  # type: ignore[arg-type]  # a validator made a number of it
            self.kind,
            self.path,
            self.from_path,
            self.layer,
            tuple(self.searched),
            self.copied,
            self.written,
            self.duration_ns,
            self.pid,
            self.command,
            self.cause,
            self.disk_path or "",  # type: ignore[arg-type]
            self.volume,
            self.held,
            self.size,
        )


class CopyingLine(_Line):
    """A line of a copy-up under way."""

    paths = ("path",)

    time: Time
    path: Inside
    layer: Layer | None
    done: Count
    total: Count | None

    def record(self) -> Record:
        """Return what it says."""
        return Copying(self.time, self.path, self.layer, self.done, self.total)  # type: ignore[arg-type]


class NoticeLine(_Line):
    """A line of a notice."""

    time: Time
    text: Words

    def record(self) -> Record:
        """Return the notice."""
        return Notice(self.time, self.text)  # type: ignore[arg-type]


class EndedLine(_Line):
    """The line of the end."""

    time: Time
    reason: Words

    def record(self) -> Record:
        """Return the end."""
        return Ended(self.time, self.reason)  # type: ignore[arg-type]


LINES: Mapping[object, type[EventLine | CopyingLine | NoticeLine | EndedLine]] = {
    "event": EventLine,
    "copying": CopyingLine,
    "notice": NoticeLine,
    "ended": EndedLine,
}


class _LayerFields(_Line):
    paths = ("directory",)

    layer: Layer
    directory: OnDisk
    chain_id: Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?\z")] = ""
    instruction: Words = ""
    size: Count | None = None


class _VolumeFields(_Line):
    paths = ("source", "target")

    name: Words = ""
    source: OnDisk
    target: Inside
    read_only: bool = False


class TargetFields(_Line):
    """The container, as the first line says it."""

    paths = ("upper", "steps", "work")

    engine: Word
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}\z")]
    name: Words
    image: Words
    driver: Word
    whiteouts: Literal["overlay", "overlay-user", "aufs", "none"]
    upper: OnDisk
    layers: Annotated[list[_LayerFields], Field(max_length=MOST_LAYERS)]
    volumes: Annotated[list[_VolumeFields], Field(max_length=MOST_LAYERS)] = []
    pid: Count | None = None
    steps: OnDisk | None = None
    work: OnDisk | None = None
    copied_at_start: Count | None = None

    def target(self) -> Target:
        """Return the container."""
        layers = (
            WatchedLayer(
                item.layer, str(item.directory), item.chain_id, item.instruction, item.size
            )
            for item in self.layers
        )
        # What validators have made of bytes is text by now.
        volumes = (
            WatchedVolume(item.name, str(item.source), item.target, item.read_only)
            for item in self.volumes
        )
        return Target(
            self.engine,
            self.id,
            self.name,
            self.image,
            self.driver,
            Whiteouts(self.whiteouts),
            str(self.upper),
            tuple(layers),
            tuple(volumes),
            self.pid,
            None if self.steps is None else str(self.steps),
            None if self.work is None else str(self.work),
            self.copied_at_start,
        )


class Header(_Line):
    """A recording's first line, of a version that this program reads."""

    layerview: Words
    """The version of the program that recorded it."""
    recorded: Time
    """When it began."""
    container: TargetFields
