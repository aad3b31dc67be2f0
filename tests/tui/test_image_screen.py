"""What a person does on the Image screen, and what the screen answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerview.tui.app import LayerviewApp
from layerview.tui.opened import Status
from layerview.tui.screens.waste import WasteScreen
from layerview.tui.widgets.chrome import Insight, PaneTitle
from layerview.tui.widgets.content import ContentView
from layerview.tui.widgets.details import LayerDetails
from layerview.tui.widgets.filter import FilterInput
from layerview.tui.widgets.stack import LayerStack
from tests.tui import specimens
from tests.tui.driving import go_to, image_screen, ready, settled, tree, until

SIZE = (140, 45)


@pytest.fixture
def shop(tmp_path):
    specimens.write_shop(tmp_path / "web.tar")
    return LayerviewApp(["web.tar"])


def screen_text(app) -> str:
    """The screen as plain text, a line a row."""
    height = app.size.height
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines[:height])


def paths(app) -> list[bytes]:
    rows = tree(app).rows
    return [rows.row(at).node.path for at in range(len(rows))]


async def test_the_frame_is_painted_before_the_image_is_open(shop, monkeypatch):
    monkeypatch.setattr("layerview.tui.screens.image_work.ImageWork.open_image", lambda self: None)
    async with shop.run_test(size=SIZE) as pilot:
        await pilot.pause()
        text = screen_text(shop)
        assert "Layers" in text
        assert "Opening" in text


async def test_the_search_column_says_where_the_file_under_the_cursor_comes_from(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/static/css/site.css")
        stack = image_screen(shop).query_one(LayerStack)
        assert stack.selected == 5
        assert stack.marks[5].state == "winner"
        assert stack.marks[5].mode == "0664"
        assert stack.marks[5].mode_differs
        assert stack.marks[4].reason == "hidden by 5"
        assert stack.marks[0].state == "absent"


async def test_a_symbolic_link_is_followed_and_its_target_shown(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"usr/bin/sh")
        text = screen_text(shop)
        assert "where sh → usr/bin/busybox comes from" in text
        assert image_screen(shop).query_one(LayerStack).marks[0].state == "winner"
        assert image_screen(shop).query_one(ContentView).hex


async def test_links_in_a_circle_are_called_that(shop):
    async with shop.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await go_to(pilot, b"usr/bin/loop")
        assert "circle" in image_screen(shop).query_one(Insight).text


async def test_moving_in_the_stack_shows_that_layer(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        image_screen(shop).query_one(LayerStack).focus()
        await pilot.press("end")
        await settled(pilot)
        assert (
            "ADD rootfs.tar.gz /"
            in image_screen(shop).query_one("#details-title", PaneTitle).name_after
        )
        await pilot.press("up")
        await settled(pilot)
        text = screen_text(shop)
        assert "3 added, 2 modified, 1 deleted" in text


async def test_l_shows_one_layers_changes_and_l_again_everything(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"usr/lib/libpython.so")
        await pilot.press("l")
        await settled(pilot)
        assert image_screen(shop).layer_only == 1
        found = tree(app := shop)
        assert found.rows is not None
        await go_to(pilot, b"var/cache/old.bin")
        assert tree(app).node.change == "deleted"
        assert tree(app).node.hides == 40_000
        assert "−" in screen_text(app)
        await pilot.press("l")
        await settled(pilot)
        assert image_screen(app).layer_only is None
        assert b"var/cache/old.bin" not in paths(app)


async def test_typing_a_filter_leaves_matches_and_the_folders_that_lead_there(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"css")
        await settled(pilot)
        above = [b"", b"srv", b"srv/app", b"srv/app/static", b"srv/app/static/css"]
        assert paths(shop)[:5] == above
        assert all(b"css" in path for path in paths(shop)[4:])
        assert "4 found" in screen_text(shop)
        await pilot.press("enter")
        await settled(pilot)
        assert tree(shop).has_focus
        await pilot.press("escape")
        await settled(pilot)
        assert not image_screen(shop).query(FilterInput)
        assert b"usr" in paths(shop)


async def test_a_matching_folder_shows_all_that_it_holds(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"fonts")
        await settled(pilot)
        await pilot.press("enter")
        await go_to(pilot, b"srv/app/static/fonts/Inter.var.woff2")
        assert tree(shop).path == b"srv/app/static/fonts/Inter.var.woff2"


async def test_s_sorts_by_size_and_keeps_the_cursor_on_its_file(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/static/css/print.css")
        await pilot.press("s")
        await settled(pilot)
        top = [path for path in paths(shop) if path and b"/" not in path]
        assert top == [b"usr", b"srv", b"var", b"etc", b"bin"]
        assert tree(shop).path == b"srv/app/static/css/print.css"


async def test_u_hides_what_the_base_brought(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("u")
        await settled(pilot)
        assert b"bin" not in paths(shop)
        await go_to(pilot, b"etc/hostname")
        assert b"etc/passwd" not in paths(shop)


async def test_left_closes_a_folder_and_then_goes_to_the_one_above(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/src/main.py")
        await pilot.press("left")
        assert tree(shop).path == b"srv/app/src"
        await pilot.press("left")
        assert b"srv/app/src/main.py" not in paths(shop)
        await pilot.press("right", "right")
        assert tree(shop).path == b"srv/app/src/main.py"
        await pilot.press("home")
        assert tree(shop).path == b""
        await pilot.press("end")
        assert tree(shop).cursor == len(paths(shop)) - 1


async def test_content_is_text_or_bytes_and_b_changes_between_them(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/static/css/site.css")
        content = image_screen(shop).query_one(ContentView)
        assert not content.hex
        assert "app:app" in screen_text(shop)
        await pilot.press("b")
        assert content.hex
        assert "40 66 6f 6e" in screen_text(shop)
        await go_to(pilot, b"srv/app/static/css/print.css")
        assert content.hex


async def test_in_a_small_window_enter_shows_content_in_the_trees_place(shop):
    async with shop.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/static/css/site.css")
        await pilot.press("enter")
        await settled(pilot)
        assert image_screen(shop).query_one(ContentView).has_focus
        assert "--radius: 6px;" in screen_text(shop)
        await pilot.press("escape")
        assert tree(shop).has_focus
        await pilot.press("l")
        assert image_screen(shop).query_one(LayerDetails).has_focus
        assert "why wasted" in screen_text(shop)


async def test_waste_is_listed_and_enter_goes_to_the_path(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("w")
        await pilot.pause()
        assert isinstance(shop.screen, WasteScreen)
        assert "srv/app/static/catalog/small.webp" in screen_text(shop)
        await pilot.press("enter")
        await settled(pilot)
        assert tree(shop).path == b"srv/app/static/catalog/small.webp"


async def test_extract_writes_the_file_to_the_target(shop, tmp_path):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/static/css/site.css")
        await pilot.press("x")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: shop.screen is image_screen(shop))
        assert (tmp_path / "site.css").read_bytes() == specimens.css(4120)


async def test_extract_refuses_a_file_that_is_there(shop, tmp_path):
    (tmp_path / "site.css").write_text("mine")
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await go_to(pilot, b"srv/app/static/css/site.css")
        await pilot.press("x")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert "is there already" in screen_text(shop)
        await pilot.press("escape")
    assert (tmp_path / "site.css").read_text() == "mine"


async def test_two_images_are_compared_in_layers_config_and_files(shop, tmp_path):
    specimens.write_worker(tmp_path / "worker")
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("d")
        await pilot.pause()
        await pilot.press("shift+tab", *"worker", "enter")
        await settled(pilot)
        text = screen_text(shop)
        assert "2 layers: 1 and 0" in text
        assert "worker.py" in text
        assert "removed" in text


async def test_a_layer_that_is_not_here_is_shown_as_that_and_the_rest_opens(tmp_path):
    specimens.write_missing(tmp_path / "missing")
    app = LayerviewApp(["missing"])
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        opened = image_screen(app).opened
        assert opened.layers[3].status is Status.MISSING
        await go_to(pilot, b"srv/app/src/main.py")
        marks = image_screen(app).query_one(LayerStack).marks
        assert marks[3].state == "unknown"
        assert marks[4].state == "winner"


async def test_a_damaged_layer_says_what_is_wrong(tmp_path):
    specimens.write_damaged(tmp_path / "damaged")
    app = LayerviewApp(["damaged"])
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        opened = image_screen(app).opened
        assert opened.layers[3].status is Status.FAILED
        image_screen(app).query_one(LayerStack).focus()
        await pilot.press("up", "up", "up", "up", "up", "up", "down", "down")
        await settled(pilot)
        assert "▲" in screen_text(app)


async def test_a_name_that_opens_nothing_is_one_line_in_the_pane(tmp_path):
    app = LayerviewApp(["nothing.tar"])
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        text = screen_text(app)
        assert "▲ nothing.tar: no such file or folder" in text
        assert "r tries again" in text
        specimens.write_shop(tmp_path / "nothing.tar")
        await pilot.press("r")
        await ready(pilot)
        assert "shop/web:7.2" in screen_text(app)


async def test_names_are_printed_escaped_and_never_parsed(tmp_path):
    specimens.write_odd_names(tmp_path / "odd.tar")
    app = LayerviewApp(["odd.tar"])
    async with app.run_test(size=(200, 45)) as pilot:
        await ready(pilot)
        await go_to(pilot, b"tmp/[bold]markup[bold]")
        text = screen_text(app)
        assert "[bold]markup[bold]" in text
        assert "[red]not markup[/red]" in text
        assert "\\x1b[31mred" in text
        assert "line\\nbreak" in text
        assert "\\xff" in text
        assert "\\u202e" in text
        assert "\x1b" not in text


async def test_escape_stops_reading_and_r_reads_on(shop, monkeypatch):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        screen = image_screen(shop)
        screen.opened.finished = False
        screen.opened.layers[2].status = Status.READING
        await pilot.press("escape")
        assert screen.opened.stopped
        assert "r reads on" in screen_text(shop)
        await pilot.press("r")
        await ready(pilot)
        assert not screen.opened.stopped


async def test_leaving_closes_the_image_and_ends_the_reading(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: image_screen(shop).opened is not None)
        image = image_screen(shop).opened.image
        closed = []
        original = image.close
        image.close = lambda: (closed.append(True), original())
        await pilot.press("1")
        await until(pilot, lambda: bool(closed))


async def test_an_opened_image_is_remembered(shop, tmp_path):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
    names = json.loads((tmp_path / "state/layerview/recent.json").read_text())
    assert names == [str(tmp_path / "web.tar")]


async def test_more_layers_than_rows_scroll_between_top_and_base(tmp_path):
    from tests.support import archives

    archives.docker_archive(tmp_path / "many.tar", specimens.many_layers())
    app = LayerviewApp(["many.tar"])
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        stack = image_screen(app).query_one(LayerStack)
        stack.focus()
        await pilot.press("home", *["down"] * 20)
        await settled(pilot)
        text = screen_text(app)
        assert stack.selected == 19
        assert "… " in text
        assert " more" in text
        rows = [row for row in stack._layout_rows() if row[0] == "row"]
        assert rows[0][1] == 39
        assert rows[-1][1] == 0
        assert ("row", 19) in rows


@pytest.mark.parametrize("size", [(60, 15), (66, 16), (99, 29), (100, 24), (130, 20), (220, 70)])
async def test_every_window_from_the_smallest_on_shows_layers_and_files(shop, size):
    async with shop.run_test(size=size) as pilot:
        await ready(pilot)
        text = screen_text(shop)
        assert "Layers" in text
        assert "Files" in text
        assert "usr/" in text
        assert "layerview" in text


async def test_below_the_smallest_window_a_message_stands_in_the_screens_place(shop):
    async with shop.run_test(size=(50, 12)) as pilot:
        await ready(pilot)
        assert "at least" in screen_text(shop)
        await pilot.resize_terminal(80, 24)
        await settled(pilot)
        assert "Files" in screen_text(shop)


async def test_the_palette_reaches_every_action_that_has_a_key(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        titles = {command.title for command in shop.get_system_commands(shop.screen)}
        assert {"Filter", "Sort", "Waste", "Extract", "Diff", "This layer only"} <= titles
        assert {"Dark or light", "Help", "Hide unchanged", "Text or bytes"} <= titles


async def test_every_key_has_an_id_and_a_description(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        for active in shop.screen.active_bindings.values():
            if type(active.node).__module__.startswith("layerview."):
                own = [
                    binding
                    for bindings in active.node._bindings.key_to_bindings.values()
                    for binding in bindings
                    if binding.id
                ]
                assert own
                assert all(binding.description for binding in own)


async def test_the_themes_change_with_one_key(shop):
    async with shop.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("T")
        assert shop.theme == "layerview-light"
        shop.theme = "nord"
        await pilot.pause()
        assert "Layers" in screen_text(shop)


def test_the_first_screen_imports_nothing_that_it_does_not_show():
    import subprocess
    import sys

    code = (
        "import sys, layerview.tui.app, layerview.tui.screens.image;"
        "late = ['pydantic', 'watchfiles', 'aiofiles', 'textual.widgets._data_table',"
        " 'textual.widgets._text_area',"
        " 'textual.widgets._markdown', 'layerview.tui.screens.waste'];"
        "print([name for name in late if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
