"""What the Images screen looks like with places; snapshots/tui/test_looks_places/."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.errors import LayerviewError
from layerview.tui.app import LayerviewApp
from layerview.tui.listing import Listed, ListedLayer
from layerview.tui.places import Place
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.widgets.file_list import FileList
from tests.tui import specimens
from tests.tui.driving import listed, until

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "140x45": (140, 45)}
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
both_themes = pytest.mark.parametrize("theme", ["dark", "light"])

ROOTFS = ListedLayer("rootfs", 78_100_000, "ADD rootfs.tar.gz /")
PYTHON = ListedLayer("python", 143_600_000, "RUN apt-get update && apt-get install -y python3")
NEEDS = ListedLayer("needs", 1_400, "COPY requirements.txt /srv/app/")
PIP = ListedLayer("pip", 74_900_000, "RUN pip install -r /srv/app/requirements.txt")
APP = ListedLayer("app", 61_400_000, "COPY app/ /srv/app/")
MODES = ListedLayer("modes", 48_200_000, "RUN chmod -R a+rX /srv/app")
JOBS = ListedLayer("jobs", 18_700_000, "COPY jobs/ /srv/jobs/")


def local(name: str, tag: str, image_id: str, *layers: ListedLayer) -> Listed:
    """Make a line of the local area."""
    line = Listed(f"local:{name}:{tag}", name, tag, image_id, layers, "local", "overlay2")
    line.storage, line.removable = "area", True
    return line


def area() -> list[Listed]:
    """List three images on one base, one of them with two names."""
    return [
        local("shop/web", "7.2", "3f7bcee56709", ROOTFS, PYTHON, NEEDS, PIP, APP, MODES),
        local("shop/worker", "7.2", "e2a6608f19c3", ROOTFS, PYTHON, NEEDS, PIP, JOBS),
        local("ubuntu", "24.04", "c8be1ac8145a", ROOTFS),
        local("ubuntu", "latest", "c8be1ac8145a", ROOTFS),
    ]


def engine() -> list[Listed]:
    """List two images, one without a name, of whose layers nothing is known."""
    lines = [
        Listed("docker-daemon:shop/web:7.1", "shop/web", "7.1", "b1e09cc47d52"),
        Listed("docker-daemon:a90b1cc77e3d", "<none>", "<none>", "a90b1cc77e3d"),
    ]
    for line, told, unique in zip(
        lines, (355_800_000, 403_700_000), (134_100_000, 403_700_000), strict=True
    ):
        line.place, line.location, line.storage = "docker", "/var/run/docker.sock", "engine"
        line.told, line.unique = told, unique
    return lines


def root() -> list[Listed]:
    """List an image of a data root."""
    layers = [ListedLayer("redis", 33_300_000, "COPY redis /"), ROOTFS]
    line = Listed("data-root:/srv/old:cache/redis:7.4", "cache/redis", "7.4", "77aa20be94d1")
    line.layers, line.place, line.location, line.storage = layers, "root", "/srv/old", "root"
    return [line]


def dead() -> list[Listed]:
    """Fail as an engine does that is not running."""
    raise LayerviewError(
        "the engine at unix:///run/user/1000/docker.sock: nobody answers there; is it running?"
    )


PLACES = [
    Place("local", "local area", "/home/me/.local/share/layerview", area),
    Place("docker", "Docker Engine", "/var/run/docker.sock", engine),
    Place("docker", "rootless Docker", "/run/user/1000/docker.sock", dead),
    Place("root", "data root", "/srv/old", root),
]

Found = Callable[[list[Place]], None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Say which places are found."""

    def find(places: list[Place]) -> None:
        monkeypatch.setattr("layerview.tui.screens.images_work.find_places", lambda: places)

    find(PLACES)
    return find


@every_size
@both_themes
@pytest.mark.usefixtures("found")
def test_places(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The local area, an engine, one that is dead, and a data root."""
    app = LayerviewApp(theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=listed)


@every_size
@both_themes
@pytest.mark.usefixtures("found")
def test_dead_place(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    """The cursor on the engine that is dead: all of why, and what helps."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        await pilot.press(*["down"] * 6)

    app = LayerviewApp(theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
def test_asking(snap_compare: Any, size: tuple[int, int], theme: str, found: Found) -> None:
    """One place has not answered yet; the others are there."""
    answer = threading.Event()

    def hang() -> list[Listed]:
        answer.wait(30)
        return []

    far = Place("docker", "context far", "tcp://far:2375", hang)
    found([PLACES[0], far, *PLACES[2:]])

    async def prepare(pilot: Pilot[Any]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, ImagesScreen)
        await until(pilot, lambda: screen.answered == 3)

    app = LayerviewApp(theme=theme)
    try:
        assert snap_compare(app, terminal_size=size, run_before=prepare)
    finally:
        answer.set()


@every_size
@both_themes
@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("row", [0, 2], ids=["freed", "name-only"])
def test_remove(snap_compare: Any, size: tuple[int, int], theme: str, row: int) -> None:
    """The dialog before an image is removed, and before one of its names is."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        await pilot.press(*["down"] * row, "delete")

    app = LayerviewApp(theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("found")
def test_load_dialog(snap_compare: Any, size: tuple[int, int], theme: str, tmp_path: Path) -> None:
    """The file dialog in a folder with folders, a layout, archives and another file."""
    build = tmp_path / "build"
    (build / "cache").mkdir(parents=True)
    specimens.write_worker(build / "worker")
    for name, length in (("app.tar", 88_000_000), ("base.tar.gz", 29_700_000), ("notes.txt", 120)):
        with (build / name).open("wb") as file:
            file.truncate(length)

    async def prepare(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        await pilot.press("L", *"build/")
        files = pilot.app.screen.query_one(FileList)
        await until(pilot, lambda: len(files.rows) == 7)

    app = LayerviewApp(theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


class Told:
    """An errand that tells what it is told to."""

    def __init__(self, *progress: tuple[str, int, int], error: str = "") -> None:
        self._progress = progress
        self._error = error
        self._ended = threading.Event()

    def finish(self, progress: Callable[[str, int, int | None], object]) -> None:
        """Tell the progress, then wait or fail."""
        for step in self._progress:
            progress(*step)
        if not self._error:
            self._ended.wait(30)
        raise LayerviewError(self._error or "it was stopped")

    def stop(self) -> None:
        """End it."""
        self._ended.set()


@pytest.fixture
def errand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Told], None]]:
    """Say what the next command does."""
    sent: list[Told] = []

    def send(told: Told) -> None:
        sent.append(told)
        monkeypatch.setattr("layerview.tui.screens.images_work.Errand", lambda words: told)

    yield send
    for told in sent:
        told.stop()


@every_size
@both_themes
@pytest.mark.usefixtures("found")
def test_loading(
    snap_compare: Any, size: tuple[int, int], theme: str, errand: Callable[[Told], None]
) -> None:
    """While a file is loaded: how far it is, and how to stop it."""
    errand(Told(("loading", 36_000_000, 88_000_000)))

    async def prepare(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ImagesScreen)
        screen.send(["load", "build/app.tar"], "Loaded", "loading build/app.tar")
        await until(pilot, lambda: "%" in screen.doing)

    app = LayerviewApp(theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@every_size
@both_themes
@pytest.mark.usefixtures("found")
def test_not_loaded(
    snap_compare: Any, size: tuple[int, int], theme: str, errand: Callable[[Told], None]
) -> None:
    """A command that failed says why."""
    errand(Told(error="/var/lib/layerview: no space left on the device; nothing was loaded"))

    async def prepare(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ImagesScreen)
        screen.send(["load", "build/app.tar"], "Loaded", "loading build/app.tar")
        await until(pilot, lambda: not screen.doing and len(pilot.app._notifications) == 1)
        await listed(pilot)

    app = LayerviewApp(theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=["80x24", "140x45"])
@pytest.mark.usefixtures("found")
def test_places_without_colour(
    snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and ASCII: signs and words carry every meaning."""
    monkeypatch.setenv("NO_COLOR", "1")
    app = LayerviewApp(ascii=True)
    assert snap_compare(app, terminal_size=size, run_before=listed)
