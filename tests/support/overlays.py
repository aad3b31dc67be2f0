"""Overlays mounted by hand, and what random work in them does."""

from __future__ import annotations

import os
import random
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from layerview.drivers import mounts
from layerview.layer.whiteouts import Whiteouts
from layerview.watch import by_fanotify, by_inotify
from layerview.watch.events import Record
from layerview.watch.ledger import Held, Ledger
from layerview.watch.observe import observe
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

NAMES = [b"a", b"b", b"c", b"d", b"new\nline", b"not\xffutf-8", b"x" * 200]


@contextmanager
def overlay(
    place: Path,
    *fills: Callable[[Path], None],
    user: bool = False,
    pid: int | None = None,
    volumes: Sequence[WatchedVolume] = (),
    volatile: bool = True,
) -> Iterator[tuple[Target, Path]]:
    """Mount an overlay over layers, the base first; give what to watch and where it shows."""
    place.mkdir()
    layers = []
    for number, fill in enumerate(fills):
        folder = place / f"l{number}"
        folder.mkdir()
        fill(folder)
        layers.insert(0, WatchedLayer(number, str(folder)))
    for name in ("upper", "work", "merged"):
        (place / name).mkdir()
    lowers = [os.path.basename(layer.folder) for layer in layers]
    mounts.mount_overlay(
        str(place), lowers, "upper", "work", "merged", user=user, volatile=volatile
    )
    try:
        yield (
            Target(
                "layerview",
                "a" * 64,
                "name",
                "image",
                "overlay2",
                Whiteouts.USER if user else Whiteouts.TRUSTED,
                str(place / "upper"),
                tuple(layers),
                tuple(volumes),
                pid=pid,
                work=str(place / "work"),
            ),
            place / "merged",
        )
    finally:
        mounts.detach(str(place / "merged"))


class Watching:
    """Watches in a thread, and keeps all that is told."""

    def __init__(self, target: Target) -> None:
        self.records: list[Record] = []
        self.ledger = Ledger()
        self.failure: BaseException | None = None
        self._target = target
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for batch in observe(self._target, self._stop):
                for record in batch:
                    self.ledger.add(record)
                self.records += batch
                self._ready.set()
        except BaseException as error:
            self.failure = error
        finally:
            self._ready.set()

    def __enter__(self) -> Watching:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        if self.failure is not None:
            raise self.failure

    def quiet(self, seconds: float = 0.25, most: float = 60.0) -> None:
        """Wait until nothing more is told."""
        end = time.monotonic() + most
        count = -1
        while time.monotonic() < end and count != len(self.records):
            count = len(self.records)
            time.sleep(seconds)


def hear_by(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have changes heard by one of the ways: fanotify, inotify or watchfiles."""

    def refuse(*_: object) -> None:
        raise PermissionError

    if way != "fanotify":
        monkeypatch.setattr(by_fanotify, "Fanotify", refuse)
    if way == "watchfiles":
        monkeypatch.setattr(by_inotify, "Inotify", refuse)


def fill(seed: int) -> Callable[[Path], None]:
    """Return what makes a layer with some files, the same for the same seed."""

    def make(folder: Path) -> None:
        dice = random.Random(seed)
        base = os.fsencode(folder)
        for _ in range(25):
            path = b"/".join([base, *(dice.choice(NAMES) for _ in range(dice.randint(1, 3)))])
            with suppress(OSError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if dice.random() < 0.2:
                    os.symlink(b"somewhere", path)
                else:
                    with open(path, "xb") as file:
                        file.write(dice.randbytes(dice.choice([0, 1, 100, 9000])))
                    os.utime(path, ns=(10**18, 10**18 + dice.randrange(10**9)))

    return make


def work(merged: Path, seed: int, count: int, *, moves: bool = True) -> None:
    """Do random things in a tree."""
    dice = random.Random(seed)
    base = os.fsencode(merged)

    def some(folders: bool = False) -> bytes:
        found = [
            os.path.join(at, name)
            for at, below, files in os.walk(base)
            for name in (below if folders else below + files)
        ]
        return dice.choice(sorted(found)) if found else base

    def new() -> bytes:
        folder = some(folders=True) if dice.random() < 0.7 else base
        return folder + b"/" + dice.choice(NAMES)

    for _ in range(count):
        with suppress(OSError):
            _do(dice, some, new, moves)


def _do(
    dice: random.Random, some: Callable[..., bytes], new: Callable[[], bytes], moves: bool
) -> None:
    kind = dice.randrange(13)
    if kind == 0:
        with open(some(), "ab") as file:
            file.write(b"more")
    elif kind == 1:
        with open(some(), "wb") as file:
            file.write(b"other" * dice.randrange(3))
    elif kind == 2:
        os.chmod(some(), dice.choice([0o600, 0o755, 0o700]))
    elif kind == 3:
        path = some()
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    elif kind == 4:
        os.mkdir(new())
    elif kind == 5:
        os.makedirs(new() + b"/deep/er")
    elif kind == 6 and moves:
        os.rename(some(), new())
    elif kind == 7:
        os.symlink(b"elsewhere", new())
    elif kind == 8:
        path = some(folders=True)
        shutil.rmtree(path)
        os.mkdir(path)
    elif kind == 9:
        os.unlink(some())
    elif kind == 10:
        os.utime(some(), (1, dice.randrange(10**6)))
    elif kind == 11 and moves:
        os.link(some(), new())
    else:
        with open(new(), "xb") as file:
            file.write(dice.randbytes(dice.choice([0, 10, 5000])))


def differences(
    ledger: dict[bytes, Held], compared: dict[bytes, Held]
) -> dict[bytes, tuple[Held | None, Held | None]]:
    """Return where a ledger and a full comparison differ.

    A look at the disk alone may know less than who watched: where the kernel leaves no mark, the
    layer that something was copied from is not known any more.
    """
    found = {}
    for path in ledger.keys() | compared.keys():
        one, other = ledger.get(path), compared.get(path)
        if one == other:
            continue
        if one is None or other is None or other.layer is not None or one[::2] != other[::2]:
            found[path] = (one, other)
    return found
