"""Containers of one image whose records a test makes up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from textual.pilot import Pilot

from layerview.layer.whiteouts import Whiteouts
from layerview.tui.screens.class_view import ClassScreen
from layerview.watch.events import INIT, CowEvent, Record
from layerview.watch.target import Target, WatchedLayer, WatchedVolume
from tests.tui.driving import until

NOW = 1_790_000_000_000_000_000
STACK = ("sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64, "sha256:" + "d" * 64)
SHOP = (
    ("ADD rootfs.tar.gz /", 78_100_000),
    ("RUN apt-get update && apt-get install -y python3", 143_600_000),
    ("COPY requirements.txt /srv/app/", 1_400),
    ("COPY app/ /srv/app/", 61_400_000),
)
NAMES = (
    "hopeful_turing",
    "quiet_hopper",
    "witty_curie",
    "plain_wu",
    "frosty_chandrasekhar",
    "brave_noether",
    "calm_lovelace",
    "eager_euler",
)


def target(number: int, *, driver: str = "overlay2", image: str = "shop/web:7.2") -> Target:
    """Return a container; the first one is hopeful_turing."""
    name = NAMES[number] if number < len(NAMES) else f"student_{number}"
    layers = [
        WatchedLayer(at, f"/area/{driver}/{at}", STACK[at], words, size)
        for at, (words, size) in enumerate(SHOP)
    ]
    return Target(
        engine="layerview",
        id=f"{number:064x}",
        name=name,
        image=image,
        driver=driver,
        whiteouts=Whiteouts.TRUSTED,
        upper=f"/area/{driver}/{name}",
        layers=(WatchedLayer(INIT, f"/area/{driver}/{name}-init"), *reversed(layers)),
        volumes=(WatchedVolume("shop-data", "/area/volumes/shop-data", b"data"),),
        pid=4000 + number,
    )


def copied(path: str, layer: int, size: int = 411) -> CowEvent:
    """Return a copy-up."""
    searched = tuple(range(len(SHOP) - 1, layer - 1, -1))
    return CowEvent(
        NOW, "copy_up", path.encode(), layer=layer, searched=searched, bytes=size,
        duration_ns=800_000, cause="open", size=size,
    )  # fmt: skip


def made(path: str, size: int = 12) -> CowEvent:
    """Return a new file."""
    return CowEvent(NOW, "create", path.encode(), size=size)


def to_volume(path: str, size: int = 4_000) -> CowEvent:
    """Return a write that passes the driver by."""
    return CowEvent(NOW, "create", path.encode(), volume=True, size=size)


class Scripted:
    """A container whose records the test hands out."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.queue: asyncio.Queue[list[Record]] = asyncio.Queue()
        self.closed = False

    async def batches(self) -> AsyncIterator[list[Record]]:
        """Give them as they come."""
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.closed = True


class Classroom:
    """Which containers run, and what happens in them."""

    def __init__(self, count: int) -> None:
        self.targets = [target(number) for number in range(count)]
        self.sources: dict[str, Scripted] = {}

    def find(self) -> list[Target]:
        """Return those that run."""
        return list(self.targets)

    def open(self, target: Target) -> Scripted:
        """Return what a container's records come from."""
        self.sources[target.id] = Scripted(target)
        return self.sources[target.id]

    def screen(self) -> ClassScreen:
        """Return the screen over it."""
        return ClassScreen("shop/web:7.2", stack=STACK, find=self.find, open_source=self.open)

    def happens(self, number: int, *records: Record) -> None:
        """Let something happen in a container."""
        self.sources[self.targets[number].id].queue.put_nowait(list(records))


async def class_on(pilot: Pilot[None], room: Classroom) -> ClassScreen:
    """Show the Class view, and wait until all its containers are watched."""
    screen = room.screen()
    await pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.looked and len(room.sources) >= len(room.targets))
    return screen
