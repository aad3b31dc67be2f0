"""The list of images: given, opened lately, the demo; nobody waits for it."""

from __future__ import annotations

import json

from layerview.tui.app import LayerviewApp
from layerview.tui.listing import Listed, ListedLayer, names_to_list, share
from layerview.tui.recent import recent, remember
from layerview.tui.screens.image import ImageScreen
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.screens.open_file import complete_path
from tests.support import archives
from tests.tui import specimens
from tests.tui.driving import image_screen, listed, ready, screen_text, until

SIZE = (140, 45)


async def test_given_images_are_listed_with_what_they_share(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")
    specimens.write_worker(tmp_path / "worker")
    app = LayerviewApp(["web.tar", "worker"])
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        text = screen_text(app)
        assert "shop/web" in text
        assert "shop/worker" in text
        assert "demo image" in text
        assert "base left, top right" in text


async def test_a_folder_stands_for_the_archives_in_it(tmp_path):
    folder = tmp_path / "build"
    folder.mkdir()
    specimens.write_shop(folder / "web.tar")
    specimens.write_worker(folder / "worker")
    (folder / "notes.txt").write_text("no image")
    app = LayerviewApp(["build"])
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        titles = [line.title for line in app.screen.lines]
        assert titles == ["shop/web", "shop/worker", "demo image"]


async def test_a_file_that_is_no_image_says_so_in_its_line(tmp_path):
    (tmp_path / "broken.tar").write_bytes(b"no tar")
    app = LayerviewApp(["broken.tar", "gone.tar"])
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        assert "▲" in screen_text(app)
        assert app.screen.lines[0].error
        assert "no such file" in app.screen.lines[1].error


async def test_an_archive_of_several_images_gives_a_line_each(tmp_path):
    archives.docker_archive(tmp_path / "both.tar", specimens.shop_web(), specimens.shop_worker())
    app = LayerviewApp(["both.tar", "none"])
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        assert [line.title for line in app.screen.lines][:2] == ["shop/web", "shop/worker"]
        await pilot.press("down", "enter")
        await ready(pilot)
        assert image_screen(app).opened.name.startswith("shop/worker")


async def test_opening_an_archive_of_several_images_asks_which(tmp_path):
    archives.docker_archive(tmp_path / "both.tar", specimens.shop_web(), specimens.shop_worker())
    app = LayerviewApp(["both.tar"])
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "Which image?" in screen_text(app))
        await pilot.press("down", "enter")
        await ready(pilot)
        assert image_screen(app).opened.name.startswith("shop/worker")


async def test_typing_filters_and_escape_shows_all(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")
    specimens.write_worker(tmp_path / "worker")
    app = LayerviewApp(["web.tar", "worker"])
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        await pilot.press("slash", *"worker")
        await pilot.pause()
        assert [line.title for line in app.screen.table.shown] == ["shop/worker"]
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen.table.shown) == 3


async def test_enter_opens_and_escape_comes_back(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")
    app = LayerviewApp(["web.tar", "web.tar"])
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        await pilot.press("enter")
        await ready(pilot)
        assert isinstance(app.screen, ImageScreen)
        # Nothing of the list shows through.
        assert screen_text(app).count("layerview") == 1
        await pilot.press("escape")
        await listed(pilot)
        assert isinstance(app.screen, ImagesScreen)


async def test_with_nothing_given_recent_images_and_the_demo_are_listed(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")
    remember("web.tar")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        assert [line.title for line in app.screen.lines] == ["shop/web", "demo image"]


async def test_o_opens_a_file_by_its_name_with_completion(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        await listed(pilot)
        await pilot.press("o")
        await pilot.pause()
        await pilot.press(*"we", "tab", "enter")
        await ready(pilot)
        assert image_screen(app).opened.name == "shop/web:7.2"


def test_a_path_is_completed_by_the_first_that_fits(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "web.tar").touch()
    assert complete_path("im") == "images/"
    assert complete_path("images/w") == "images/web.tar"
    assert complete_path("nothing") is None
    assert complete_path("") is None


def test_recent_names_are_kept_newest_first_and_bounded(tmp_path):
    for number in range(30):
        remember(f"image{number}.tar")
    remember("image25.tar")
    remember("-")
    names = recent()
    assert len(names) == 20
    assert names[0] == str(tmp_path / "image25.tar")
    assert len(set(names)) == len(names)


def test_a_spoilt_file_of_recent_names_is_as_none(tmp_path):
    remember("a.tar")
    (tmp_path / "state/layerview/recent.json").write_text("{")
    assert recent() == []
    (tmp_path / "state/layerview/recent.json").write_text(json.dumps({"a": 1}))
    assert recent() == []


def test_the_same_file_is_listed_once(tmp_path):
    (tmp_path / "a.tar").touch()
    lines = names_to_list(["a.tar", "./a.tar"], [str(tmp_path / "a.tar")])
    assert [line.name for line in lines] == ["a.tar", "demo:"]


def test_shared_layers_count_once_and_are_nobodys_own():
    base, top = ListedLayer("base", 10, ""), ListedLayer("top", 5, "")
    lines = [Listed("a", "a", layers=[base, top]), Listed("b", "b", layers=[base])]
    assert share(lines) == 15
    assert [line.unique for line in lines] == [5, 0]
