"""The Images screen and the places it finds: a storage area that is really loaded and changed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from textual.widgets import Input

from layerview.cli.main import main
from layerview.errors import LayerviewError
from layerview.sources.docker_context import Endpoint
from layerview.sources.engine import look_at
from layerview.sources.resolve import open_image
from layerview.tui.app import LayerviewApp
from layerview.tui.catalogue import Catalogue
from layerview.tui.errands import Errand, names_loaded
from layerview.tui.glyphs import UNICODE
from layerview.tui.image_rows import ImageColumns, RowPainter
from layerview.tui.listing import Listed, ListedLayer, share
from layerview.tui.places import Place, find_places, look
from layerview.tui.screens.confirm import Confirm
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.themes import Paint
from tests.support import archives, tars
from tests.tui.driving import screen_text, until

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


def test_a_data_root_that_an_engine_lists_too_is_listed_once() -> None:
    engine = Place("docker", "Docker Engine", "/run/x.sock", list)
    root = Place("root", "data root", "/data", list)
    catalogue = Catalogue()
    catalogue.begin([engine, root], [])
    same = {"image_id": "x", "storage": "/data"}
    older = Listed("b", "b", image_id="y", storage="/data")
    catalogue.place_answered(root, [Listed("data-root:a", "a", **same), older])  # type: ignore[arg-type]
    catalogue.place_answered(engine, [Listed("a", "a", **same)])  # type: ignore[arg-type]
    assert [line.name for line in catalogue.lines] == ["a", "b"]


def test_what_was_known_of_a_place_stays_until_it_answers_again() -> None:
    place = Place("docker", "Docker Engine", "/run/x.sock", list)
    catalogue = Catalogue()
    catalogue.begin([place], [])
    assert [(line.title, line.asking) for line in catalogue.lines] == [("Docker Engine", True)]
    catalogue.place_answered(place, [Listed("a", "a")])
    catalogue.begin([place], [])
    assert [line.title for line in catalogue.lines] == ["a"]
    assert catalogue.answered == 0
    catalogue.place_answered(place, [])
    assert catalogue.lines == []
    catalogue.begin([], [])
    catalogue.place_answered(place, [Listed("late", "late")])
    assert catalogue.lines == []


def test_a_recent_name_of_an_image_that_its_place_lists_is_not_listed_again() -> None:
    place = Place("local", "local area", "/area", list)
    recent = [Listed(name, name) for name in ("local:one", "local:gone", "docker-daemon:far")]
    catalogue = Catalogue()
    catalogue.begin([place], recent)
    catalogue.place_answered(place, [Listed("local:one", "one")])
    assert [line.name for line in catalogue.lines] == ["local:one", "docker-daemon:far"]
    gone = Listed("docker-daemon:far", "far", error="no such image")
    catalogue.file_looked_into(recent[2], [gone])
    assert [line.name for line in catalogue.lines] == ["local:one"]
    # What a person asks for now is told of in any case.
    catalogue.begin([place], recent, ["local:gone"])
    assert [line.name for line in catalogue.lines] == ["local:one", "local:gone"]


def test_a_data_root_without_an_engine_is_found(
    area: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("layerview.tui.places.usual_roots", lambda: [str(area)])
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "none"))
    (place,) = find_places()
    lines = look(place)
    assert {line.title for line in lines} == {"one", "two"}
    assert not any(line.removable for line in lines)
    with open_image(lines[0].name) as image:
        assert image.references == ("one:1",)


def test_a_bug_in_one_place_is_that_places_line() -> None:
    def fail() -> list[Listed]:
        raise KeyError("surprise")

    (line,) = look(Place("docker", "Docker Engine", "/run/x.sock", fail))
    assert line.error == "KeyError: 'surprise'"
    assert not line.asking


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


def test_a_row_that_failed_has_the_reason_and_not_the_address_twice() -> None:
    paint = Paint({"foreground": "#ffffff", "error": "#ff0000"}, dark=True)
    line = Listed("", "far", place="docker", location="/run/x.sock")
    for error in ("the engine at unix:///run/x.sock (DOCKER_HOST): gone", "gone"):
        line.error = error
        painter = RowPainter(ImageColumns.for_width(80), paint, UNICODE, False, 0)
        row = "".join(cell.plain for cell in painter.cells(line))
        assert "▲ gone  " in row
        assert row.count("/run/x.sock") == 1


async def test_a_slow_place_holds_up_none_of_the_others(
    area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def wait() -> list[Listed]:
        answer.wait(30)
        return []

    places = [Place("docker", "far away", "tcp://far", wait), *find_places()]
    monkeypatch.setattr("layerview.tui.screens.images_work.find_places", lambda: places)
    app = LayerviewApp()
    async with app.run_test(size=(120, 30)) as pilot:
        try:
            await until(pilot, lambda: "one:1" in shown(app))
            assert shown(app)["far away:"].asking
            assert "1 of 2 places answered" in screen_text(app)
            assert app.screen.looking  # type: ignore[attr-defined]
        finally:
            answer.set()
        await until(pilot, lambda: "far away:" not in shown(app))
        assert "answered" not in screen_text(app)


def test_an_engine_that_hangs_does_not_hold_up_another(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(tmp_path / "hangs"))
        hangs.listen()
        far = Endpoint("far", f"unix://{tmp_path / 'hangs'}")
        threading.Thread(target=look_at, args=(far,), daemon=True).start()
        connection, _ = hangs.accept()
        start = time.monotonic()
        assert look_at(Endpoint("dead", f"unix://{tmp_path / 'none'}")).error
        connection.close()
        assert time.monotonic() - start < 2


def test_a_place_that_does_not_answer_does_not_hold_up_leaving(tmp_path: Path) -> None:
    code = """
import asyncio, threading
from layerview.tui import places
from layerview.tui.app import LayerviewApp
from layerview.tui.screens import images
hangs = places.Place("docker", "far", "tcp://far", threading.Event().wait)
images.find_places = lambda: [hangs]
async def main():
    async with LayerviewApp().run_test() as pilot:
        await pilot.pause()
        await pilot.press("q")
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


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


def test_an_errand_that_prints_much_is_read_whole(tmp_path: Path) -> None:
    layer = tars.layer(*[tars.file(f"a-file-with-a-long-name-{n}", b"x") for n in range(3000)])
    archives.docker_archive(tmp_path / "f.tar", archives.image(layer))
    back = Errand(["files", "--json", str(tmp_path / "f.tar")]).finish(lambda *_: None)
    assert len(back.said) >= 3000


def test_progress_of_nothing_in_particular_is_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    code = r"import sys; sys.stderr.write('\t46\t\nhashing\t5\t10\nlayerview: a note\n')"
    monkeypatch.setattr("layerview.tui.errands.COMMAND", (sys.executable, "-c", code))
    told: list[tuple[str, int, int | None]] = []
    back = Errand([]).finish(lambda *step: told.append(step))
    assert told == [("", 46, None), ("hashing", 5, 10)]
    assert back.notes == ("a note",)


def test_the_names_of_all_loaded_images_are_told(tmp_path: Path) -> None:
    one = archives.image(BASE, tags=("a:1", "a:2"))
    other = archives.image(BASE, tars.layer(tars.file("x", b"x")), tags=("b:1",))
    archives.docker_archive(tmp_path / "f.tar", one, other)
    back = Errand(["load", "--json", str(tmp_path / "f.tar")]).finish(lambda *_: None)
    assert back.notes == ()
    assert names_loaded(back) == ["a:1", "a:2", "b:1"]


async def test_leaving_in_the_middle_of_a_load_ends_it_and_leaves_nothing_behind(
    area: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big = tars.layer(tars.file("big", bytes(300_000_000)))
    archives.docker_archive(tmp_path / "big.tar", archives.image(big, tags=("big:1",)))
    app = LayerviewApp()
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "one:1" in shown(app))
        screen = app.screen
        assert isinstance(screen, ImagesScreen)
        screen.send(["load", "--json", str(tmp_path / "big.tar")], "Loaded", "loading")
        await until(pilot, lambda: len(os.listdir(area / "vfs" / "dir")) > 3)
        errand = screen._errand
        assert errand is not None
    assert errand._child.wait(20)
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 0
    assert "interrupted" not in capsys.readouterr().out


async def test_escape_shows_all_images_again(area: Path) -> None:
    app = LayerviewApp()
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: "two:1" in shown(app))
        await pilot.press("slash", *"two", "enter", "escape")
        await pilot.pause()
        assert isinstance(app.screen, ImagesScreen)
        assert "one" in {line.title for line in app.screen.table.shown}


def test_the_program_ends_in_good_order_when_it_is_told_to() -> None:
    code = """
import asyncio, os, signal
from layerview.tui.app import LayerviewApp
async def main():
    app = LayerviewApp()
    async with app.run_test() as pilot:
        await pilot.pause()
        os.kill(os.getpid(), signal.SIGTERM)
        while app.is_running and app.return_code != 143:
            await asyncio.sleep(0.01)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_an_errand_can_be_stopped() -> None:
    errand = Errand(["layers", "--json", "-"])
    errand.stop()
    with pytest.raises(LayerviewError):
        errand.finish(lambda *_: None)
