"""The file dialog: folders and archives beside a path that is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from layerview.tui.app import LayerviewApp
from layerview.tui.file_rows import FileKind, begin_at, joined, list_folder, matching
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.screens.open_file import OpenFile
from layerview.tui.widgets.file_list import FileList
from tests.tui import specimens
from tests.tui.driving import image_screen, listed, ready, screen_text, until


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Make a folder with a folder, a layout, an archive, another file, and what is not listed."""
    folder = tmp_path / "build"
    (folder / "Sub").mkdir(parents=True)
    specimens.write_worker(folder / "worker")
    specimens.write_shop(folder / "web.tar")
    (folder / "notes").write_text("no image")
    (folder / ".hidden.tar").touch()
    (folder / "bad\nname.tar").touch()
    (folder / "dangling").symlink_to("nowhere")
    return folder


def test_folders_come_before_images_and_images_before_other_files(build: Path) -> None:
    rows = matching(list_folder(str(build)), "build/")
    assert [(row.kind, row.name) for row in rows[1:]] == [
        (FileKind.UP, ".."),
        (FileKind.FOLDER, "Sub"),
        (FileKind.LAYOUT, "worker"),
        (FileKind.ARCHIVE, "web.tar"),
        (FileKind.FILE, "notes"),
    ]
    assert rows[begin_at(rows)].name == "Sub"


def test_a_dot_shows_hidden_names(build: Path) -> None:
    rows = matching(list_folder(str(build)), "build/.")
    assert [row.name for row in rows] == [".hidden.tar"]


@pytest.mark.parametrize(
    ("value", "above"),
    [
        ("", "../"),
        ("a/", "./"),
        ("a/b/", "a/"),
        ("a/b/ty", "a/"),
        ("/", "/"),
        ("/a/", "/"),
        ("./", "../"),
        ("../", "../../"),
        ("../../", "../../../"),
        ("a/../", "a/../../"),
    ],
)
def test_the_folder_above_is_written_as_the_path_is(value: str, above: str) -> None:
    (up,) = [row for row in list_folder(".") if row.kind is FileKind.UP]
    assert joined(value, up) == above


async def test_a_file_is_chosen_by_going_through_folders(build: Path) -> None:
    app = LayerviewApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await listed(pilot)
        await pilot.press("o")
        files = app.screen.query_one(FileList)
        await until(pilot, lambda: len(files.rows) > 0)
        current = files.current
        assert current is not None
        assert current.name == "build"
        await pilot.press("enter")
        assert app.screen.query_one(Input).value == "build/"
        await until(pilot, lambda: len(files.rows) == 6)
        await pilot.press("down", "down", "enter")
        await ready(pilot)
        assert image_screen(app).opened.name == "shop/web:7.2"  # type: ignore[union-attr]


async def test_typing_narrows_the_list_and_a_wrong_name_is_told(build: Path) -> None:
    app = LayerviewApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await listed(pilot)
        await pilot.press("o", *"build/w")
        files = app.screen.query_one(FileList)
        await until(pilot, lambda: [row.name for row in files.rows] == ["worker", "web.tar"])
        await pilot.press("x", "enter")
        await until(pilot, lambda: "no such file or folder" in screen_text(app))
        await pilot.press("escape")
        assert isinstance(app.screen, ImagesScreen)


async def test_a_folder_that_cannot_be_read_says_so() -> None:
    app = LayerviewApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await listed(pilot)
        await pilot.press("o", *"none/")
        await until(pilot, lambda: "there is no such folder" in screen_text(app))
        assert isinstance(app.screen, OpenFile)


async def test_the_dialog_fits_the_smallest_window(build: Path) -> None:
    app = LayerviewApp()
    async with app.run_test(size=(60, 15)) as pilot:
        await listed(pilot)
        await pilot.press("o", *"build/")
        files = app.screen.query_one(FileList)
        await until(pilot, lambda: len(files.rows) == 6)
        text = screen_text(app)
        assert "Open an image" in text
        assert "Sub" in text
        assert files.size.height >= 3
