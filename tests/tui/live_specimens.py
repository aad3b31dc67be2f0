"""A container that is made up, and what happens in it: for Live views without a container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.events import INIT, Copying, CowEvent, Record
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

BEGUN = 1_795_727_637_000_000_000
"""2026-11-26 21:13:57 UTC, in nanoseconds."""

_STACK = (
    ("ADD rootfs.tar.gz /", 78_100_000, "1ba8ac955b97"),
    ("RUN apt-get update && apt-get install -y nginx", 143_600_000, "f157c4e5ede7"),
    ("COPY requirements.txt /srv/app/", 1_400, "0b7e98f84c4c"),
    ("RUN pip install --no-cache-dir -r requirements.txt", 74_900_000, "a3d41c07be95"),
    ("COPY app/ /srv/app/", 61_400_000, "c1f0a7739be2"),
    ("RUN chmod -R g+rX /srv/app/static", 48_200_000, "7d20c4e91b3a"),
)


def layers(count: int = 6) -> tuple[WatchedLayer, ...]:
    """Return layers, top first; more than six repeat themselves."""
    made = []
    for number in range(count):
        words, size, digits = _STACK[number % len(_STACK)]
        chain = f"sha256:{digits}{number:052x}"
        made.append(WatchedLayer(number, f"/lv/overlay2/l{number}/diff", chain, words, size))
    return tuple(made[::-1])


def target(**more: Any) -> Target:
    """Return a container of six layers, with a volume."""
    below = more.pop("layers", layers())
    fields: dict[str, Any] = {
        "engine": "layerview",
        "id": "75bab0d54f3c" + "0" * 52,
        "name": "hopeful_turing",
        "image": "shop/web:7.2",
        "driver": "overlay2",
        "whiteouts": Whiteouts.TRUSTED,
        "upper": "/lv/overlay2/upper/diff",
        "layers": (WatchedLayer(INIT, "/lv/overlay2/init/diff"), *below),
        "volumes": (WatchedVolume("data", "/lv/volumes/data/_data", b"var/lib/shop"),),
        "pid": None,
    }
    return Target(**{**fields, **more})


def event(kind: str, path: str, at: float = 0.0, **more: Any) -> CowEvent:
    """Return what happened so many seconds after the beginning."""
    fields: dict[str, Any] = {
        "time": BEGUN + round(at * 1e9),
        "disk_path": f"/lv/overlay2/upper/diff/{path}",
    }
    return CowEvent(kind=kind, path=path.encode(), **{**fields, **more})


def copy_up(path: str, layer: int, size: int, at: float = 0.0, **more: Any) -> CowEvent:
    """Return a copy-up out of one of six layers."""
    fields: dict[str, Any] = {
        "layer": layer,
        "searched": tuple(range(5, layer - 1, -1)),
        "bytes": size,
        "size": size,
        "duration_ns": 800_000,
        "cause": "open",
        "pid": 4121,
        "command": "sh",
    }
    return event("copy_up", path, at, **{**fields, **more})


BIG = "usr/share/GeoIP/GeoLite2-City.mmdb"


def morning() -> list[CowEvent]:
    """Return what the picture of the Live view tells, the big file's copy-up left out."""
    took = 100_000
    return [
        event("create", "var/log/nginx/access.log", 0.61, size=0, bytes=0, duration_ns=took),
        copy_up("etc/nginx/nginx.conf", 1, 2400, 0.944, duration_ns=900_000, command="nginx"),
        event("create", "run/nginx.pid", 1.002, size=3, bytes=3, duration_ns=took),
        copy_up("etc/hosts.allow", 0, 411, 6.118),
        event("write", "etc/hosts.allow", 6.119, written=15, size=426, layer=0, duration_ns=took),
        event("whiteout", "usr/share/doc/nginx/README", 23.417, layer=1, duration_ns=200_000),
        event(
            "write",
            "var/lib/shop/seed.json",
            35.88,
            written=3_400_000,
            size=3_400_000,
            volume=True,
            disk_path="/lv/volumes/data/_data/seed.json",
        ),
    ]


def big_copying(done: int, total: int = 38_700_000) -> Copying:
    """Return how far the big file is."""
    return Copying(BEGUN + 44_306_000_000, BIG.encode(), 1, done, total)


def big_copied() -> CowEvent:
    """Return the big file's copy-up."""
    return copy_up(BIG, 1, 38_700_000, 44.4, duration_ns=96_000_000, command="dd")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        """Seconds since 1970."""
        return BEGUN / 1e9 + self.now - 1000.0


class Script:
    """A source that gives what it is told to."""

    def __init__(self, watched: Target, records: Sequence[Record] = ()) -> None:
        self.target = watched
        self.waiting: asyncio.Queue[list[Record] | Exception | None] = asyncio.Queue()
        self.taken = 0
        self.closed = False
        if records:
            self.waiting.put_nowait(list(records))

    def give(self, *records: Record) -> None:
        """Give records in one batch."""
        self.waiting.put_nowait(list(records))

    def fail(self, error: Exception) -> None:
        """Fail."""
        self.waiting.put_nowait(error)

    async def batches(self) -> AsyncIterator[list[Record]]:
        """Give them as they come."""
        try:
            while (batch := await self.waiting.get()) is not None:
                if isinstance(batch, Exception):
                    raise batch
                yield batch
                self.taken += 1
        finally:
            self.closed = True


def after(clock: Clock, milliseconds: float, tick: Callable[[], None]) -> None:
    """Let time go by in steps of a frame, as the screen's own timer would."""
    while milliseconds > 0:
        clock.now += min(100.0, milliseconds) / 1000
        milliseconds -= 100
        tick()
