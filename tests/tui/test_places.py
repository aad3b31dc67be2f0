"""The Images screen and the places it finds: a storage area that is really loaded and changed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual.widgets import Input

from layerview.cli.main import main
from layerview.errors import LayerviewError
from layerview.tui.app import LayerviewApp
from layerview.tui.errands import Errand
from layerview.tui.listing import Listed, ListedLayer, share
from layerview.tui.places import Place, find_places, look
from layerview.tui.screens.confirm import Confirm
from layerview.tui.screens.images import ImagesScreen
from tests.support import archives, tars
from tests.tui.driving import until

BASE = tars.layer(tars.file("base", b"b" * 5000))


@pytest.fixture
def area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Load two images that share their base into an area of full copies."""
    monkeypatch.setenv("LAYERVIEW_DRIVER", "vfs")
    for name in ("one", "two"):
        file = tmp_path / "files" / f"{name}.tar"
        file.parent.mkdir(exist_ok=True)
        top = tars.layer(tars.file(name, name.encode() * 100))
        archives.docker_archive(file, archives.image(BASE, top, tags=(f"{name}:1",)))
        assert main(["load", "-q", str(file)]) == 0
    return tmp_path / "area"


def shown(app: LayerviewApp) -> dict[str, Listed]:
    screen = app.screen
    assert isinstance(screen, ImagesScreen)
    return {f"{line.title}:{line.tag}": line for line in screen.lines}


def test_the_area_is_found_and_its_images_say_what_only_they_have(area: Path) -> None:
    (place,) = find_places()
    lines = look(place)
    share(lines)
    assert {(f"{line.title}:{line.tag}", line.size, line.unique) for line in lines} == {
        ("one:1", 5300, 300),
        ("two:1", 5300, 300),
    }
    assert all(line.removable and line.place == "local" for line in lines)


def test_two_names_of_one_image_do_not_make_its_layers_shared(area: Path) -> None:
    assert main(["tag", "one:1", "again:1"]) == 0
    (place,) = find_places()
    lines = look(place)
    share(lines)
    assert {line.unique for line in lines} == {300}


def test_layers_of_two_storages_lie_on_the_disk_twice() -> None:
    lines = [
        Listed("a", "a", image_id="x", layers=[ListedLayer("k", 7, "")], storage=storage)
        for storage in ("here", "there")
    ]
    assert share(lines) == 14
    assert [line.unique for line in lines] == [7, 7]


def test_a_place_that_fails_is_one_line_that_says_why() -> None:
    def fail() -> list[Listed]:
        raise LayerviewError("nobody listens\x1b[2J")

    (line,) = look(Place("docker", "Docker Engine", "/run/x.sock", fail))
    assert (line.title, line.location) == ("Docker Engine", "/run/x.sock")
    assert line.error.startswith("nobody listens")
    assert "\x1b" not in line.error


async def test_a_slow_place_holds_up_none_of_the_others(
    area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def wait() -> list[Listed]:
        answer.wait(30)
        return []

    places = [Place("docker", "far away", "tcp://far", wait), *find_places()]
    monkeypatch.setattr("layerview.tui.screens.images.find_places", lambda: places)
    app = LayerviewApp()
    async with app.run_test(size=(120, 30)) as pilot:
        try:
            await until(pilot, lambda: "one:1" in shown(app))
            assert "far away:" in shown(app)
            assert app.screen.looking  # type: ignore[attr-defined]
        finally:
            answer.set()
        await until(pilot, lambda: "far away:" not in shown(app))


async def test_an_image_is_removed_only_after_a_yes(area: Path) -> None:
    app = LayerviewApp()
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "two:1" in shown(app))
        await pilot.press("slash", *"two", "enter")
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        # The harmless button has the focus.
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ImagesScreen))
        assert not app.screen._errand  # type: ignore[attr-defined]
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "two:1" not in shown(app))
        assert "one:1" in shown(app)


async def test_a_file_is_loaded_into_the_area(area: Path, tmp_path: Path) -> None:
    file = tmp_path / "three.tar"
    archives.docker_archive(file, archives.image(BASE, tags=("three:1",)))
    app = LayerviewApp()
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "one:1" in shown(app))
        await pilot.press("L")
        await pilot.pause()
        app.screen.query_one(Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: "three:1" in shown(app))
        assert shown(app)["three:1"].place == "local"


async def test_what_is_not_in_the_area_is_not_removed(tmp_path: Path) -> None:
    archives.docker_archive(tmp_path / "f.tar", archives.image(BASE, tags=("f:1",)))
    app = LayerviewApp([str(tmp_path / "f.tar"), "demo:"])
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "f:1" in shown(app))
        await pilot.press("delete")
        await pilot.pause()
        assert isinstance(app.screen, ImagesScreen)
        assert any("local area" in note.message for note in app._notifications)


def test_an_errand_tells_what_its_command_complained_about(tmp_path: Path) -> None:
    with pytest.raises(LayerviewError, match="no such file"):
        Errand(["load", "--json", str(tmp_path / "none.tar")]).finish(lambda *_: None)


def test_an_errand_can_be_stopped() -> None:
    errand = Errand(["layers", "--json", "-"])
    errand.stop()
    with pytest.raises(LayerviewError):
        errand.finish(lambda *_: None)
