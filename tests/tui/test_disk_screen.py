"""The Disk screen: going in and out, filling, stopping, growing, deleting; on a made-up root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from layerview.errors import LayerviewError
from layerview.oci.digest import Digest
from layerview.tui.app import LayerviewApp
from layerview.tui.disk_places import DiskRoot, merged
from layerview.tui.disk_told import read_images
from layerview.tui.screens.choose import ChooseImage
from layerview.tui.screens.confirm import Confirm
from layerview.tui.screens.disk import DiskScreen
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.screens.tell import Tell
from layerview.tui.widgets.disk_table import DiskTable
from tests.tui.disk_specimens import IMAGES, PARTS, ROOT, ToldReader, app_on, done, stock, told
from tests.tui.driving import screen_text, until
from tests.tui.told import ToldWorker

SIZE = (120, 40)


async def open_disk(pilot: Pilot[Any]) -> DiskScreen:
    """Go to the disk."""
    await pilot.press("3")
    await until(pilot, lambda: isinstance(pilot.app.screen, DiskScreen))
    screen = pilot.app.screen
    assert isinstance(screen, DiskScreen)
    return screen


async def read_disk(pilot: Pilot[Any]) -> tuple[DiskScreen, DiskTable]:
    """Go to the disk, and wait until the root is read."""
    screen = await open_disk(pilot)
    await until(pilot, lambda: not screen.busy)
    return screen, screen.query_one(DiskTable)


async def go_to(pilot: Pilot[Any], table: DiskTable, name: str) -> None:
    """Put the cursor on the row of a name."""
    table.cursor = next(at for at, row in enumerate(table.rows) if row.name == name)
    await pilot.pause()


def names(table: DiskTable) -> list[str]:
    """Return the names in the list."""
    return [row.name for row in table.rows]


async def test_enter_goes_from_an_image_to_its_layers_to_their_files_and_backspace_back() -> None:
    reader = ToldReader()
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen, table = await read_disk(pilot)
        assert names(table)[:3] == ["old-backup", "witty_curie", "shared layers"]
        await go_to(pilot, table, "shop/web:7.2")
        await pilot.press("enter")
        assert names(table)[1] == "COPY app/ /srv/app/"
        await pilot.press("down", "enter")
        await until(pilot, lambda: "static" in names(table))
        assert reader.asked[-1]["path"] == f"{ROOT}/overlay2/app"
        await pilot.press("enter")
        await until(pilot, lambda: reader.asked[-1]["path"] == f"{ROOT}/overlay2/app/static")
        assert "shop/web:7.2 ▸ COPY app/ /srv/app/ ▸ static" in screen_text(app)
        for key, expected in (
            ("backspace", "static"),
            ("left", "COPY app/ /srv/app/"),
            ("h", "shop/web:7.2"),
        ):
            await pilot.press(key)
            assert table.current is not None
            assert table.current.name == expected
        await pilot.press("backspace")
        assert not screen.way


async def test_a_folder_that_was_read_is_not_read_again_until_all_is() -> None:
    reader = ToldReader()
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        await read_disk(pilot)
        await pilot.press("enter", "backspace", "enter")
        assert [one["do"] for one in reader.asked].count("folder") == 1
        await pilot.press("R")
        await until(pilot, lambda: [one["do"] for one in reader.asked].count("folder") == 2)


async def test_it_fills_while_it_is_read_and_the_cursor_stays_on_its_row() -> None:
    reader = ToldReader(account=[stock()])
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_disk(pilot)
        table = screen.query_one(DiskTable)
        await until(pilot, lambda: "shop/worker:7.2" in names(table))
        number = screen._reading
        await go_to(pilot, table, "shop/worker:7.2")
        for at, part in enumerate(PARTS):
            answer = {"parts": [told(part)], "step": [at, len(PARTS)]}
            reader.tell(number, answer)
        await until(pilot, lambda: len(screen.disk.parts) == len(PARTS))
        assert f"folder {len(PARTS) - 1} of {len(PARTS)}" in screen_text(app)
        assert table.current is not None
        assert table.current.name == "shop/worker:7.2"
        assert table.rows[0].name == "old-backup"
        reader.tell(number, done())
        await until(pilot, lambda: not screen.reading)
        assert table.current.name == "shop/worker:7.2"


async def test_escape_stops_the_reading_and_what_was_read_stays() -> None:
    reader = ToldReader(account=[stock(), {"parts": [told(PARTS[12])]}])
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_disk(pilot)
        table = screen.query_one(DiskTable)
        await until(pilot, lambda: "old-backup" in names(table))
        number = screen._reading
        await pilot.press("escape")
        await until(pilot, lambda: "stopped; R reads again" in screen_text(app))
        assert reader.stopped == [number]
        reader.tell(number, done())
        await pilot.pause()
        assert "old-backup" in names(table)
        assert len(screen.disk.parts) == 1
        reader.answers["account"] = [stock(), done()]
        await pilot.press("R")
        await until(pilot, lambda: len(screen.disk.parts) == len(PARTS))
        assert "stopped" not in screen_text(app)


async def test_escape_stops_the_reading_of_a_folder() -> None:
    reader = ToldReader(folder=[{"found": []}])
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen, table = await read_disk(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: screen.busy)
        await pilot.press("escape")
        await until(pilot, lambda: names(table) == ["stopped here; R reads again"])
        assert reader.stopped


async def test_while_it_is_read_again_what_was_known_stays() -> None:
    reader = ToldReader()
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen, table = await read_disk(pilot)
        before = names(table)
        reader.answers["account"] = [stock()]
        await pilot.press("R")
        await until(pilot, lambda: screen.reading)
        assert names(table) == before
        reader.tell(screen._reading, done(PARTS[:12]))
        await until(pilot, lambda: not screen.reading)
        assert "old-backup" not in names(table)


async def test_what_can_not_be_read_says_why_and_r_tries_again() -> None:
    reader = ToldReader(account=[{"error": f"{ROOT}: may only be read by its owner"}])
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        await read_disk(pilot)
        assert "may only be read by its owner" in screen_text(app)
        assert "R tries again" in screen_text(app)
        reader.answers["account"] = [stock(), done()]
        await pilot.press("R")
        await until(pilot, lambda: "old-backup" in screen_text(app))


async def test_a_reading_that_breaks_off_says_why_beside_what_is_known() -> None:
    broken = [stock(), {"parts": [told(PARTS[12])]}, {"error": "the process has ended"}]
    app = app_on(ToldReader(account=broken))
    async with app.run_test(size=SIZE) as pilot:
        _, table = await read_disk(pilot)
        assert "▲ the process has ended" in screen_text(app)
        assert "old-backup" in names(table)


async def test_what_could_not_be_read_is_told_in_rows() -> None:
    problem = f"{ROOT}/overlay2/x may only be read by its owner"
    app = app_on(ToldReader(account=[stock(), done(problems=[problem])]))
    async with app.run_test(size=SIZE) as pilot:
        _, table = await read_disk(pilot)
        assert names(table)[-1] == problem
        assert "▲ 1 problem" in screen_text(app)
        await pilot.press("end", "enter", "delete")
        assert isinstance(app.screen, DiskScreen)


async def test_what_grows_while_one_looks_is_marked_and_counted() -> None:
    sizes: dict[str, int] = {}

    def measured(words: Mapping[str, Any]) -> list[dict[str, object]]:
        known = {part.path: part.bytes for part in PARTS} | sizes
        return [{"done": True, "sizes": {path: known[path] for path in words["paths"]}}]

    app = app_on(ToldReader(sizes=measured))
    async with app.run_test(size=SIZE) as pilot:
        screen, table = await read_disk(pilot)
        screen.look_at_growth()
        await until(pilot, lambda: not screen._growth)
        assert not any(row.grown for row in table.rows)
        sizes[PARTS[9].path] = PARTS[9].bytes + 5_000_000
        screen._look_again = 0
        screen.look_at_growth()
        await until(pilot, lambda: "+5.0 MB" in screen_text(app))
        grown = next(row for row in table.rows if row.name == "hopeful_turing")
        assert (grown.grown, grown.bytes) == (5_000_000, 57_061_376 + 5_000_000)
        assert "~ hopeful_turing" in screen_text(app)


async def test_growth_is_looked_at_less_often_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = ToldReader(sizes=[])
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen, _ = await read_disk(pilot)
        screen.look_at_growth()
        number = screen._growth
        screen.look_at_growth()
        assert [one["do"] for one in reader.asked].count("sizes") == 1
        screen._asked_at -= 5
        reader.tell(number, {"done": True, "sizes": {}})
        await until(pilot, lambda: not screen._growth)
        screen.look_at_growth()
        assert [one["do"] for one in reader.asked].count("sizes") == 1


async def test_orphans_of_the_own_area_are_deleted_only_after_a_yes() -> None:
    reader = ToldReader(account=[stock(own=True), done()])
    app = app_on(reader, kind="local")
    worker = ToldWorker(prune={"deleted": [PARTS[15].path], "kept": [], "bytes": 212_402_176})
    app._worker = worker  # type: ignore[assignment]
    async with app.run_test(size=SIZE) as pilot:
        _, table = await read_disk(pilot)
        await go_to(pilot, table, "orphans")
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "Delete 2 folders that belong to nobody?" in screen_text(app)
        assert "Frees 212.4 MB" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DiskScreen))
        assert not worker.asked
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: bool(worker.asked))
        assert worker.asked == [["prune", "--orphans", "--force", "--json", "--root", ROOT]]
        await until(pilot, lambda: "212.4 MB freed" in said(app))
        assert [one["do"] for one in reader.asked].count("account") == 2


async def test_a_deletion_that_failed_says_why() -> None:
    app = app_on(ToldReader(account=[stock(own=True), done()]), kind="local")
    app._worker = ToldWorker(prune=LayerviewError("another process is writing"))  # type: ignore[assignment]
    async with app.run_test(size=SIZE) as pilot:
        _, table = await read_disk(pilot)
        await go_to(pilot, table, "orphans")
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "Not deleted: another process is writing" in said(app))


async def test_on_an_engines_root_nothing_is_deleted_and_the_safe_way_is_said() -> None:
    app = app_on(ToldReader())
    worker = ToldWorker()
    app._worker = worker  # type: ignore[assignment]
    async with app.run_test(size=SIZE) as pilot:
        _, table = await read_disk(pilot)
        await go_to(pilot, table, "orphans")
        await pilot.press("enter", "delete")
        await until(pilot, lambda: isinstance(app.screen, Tell))
        assert "Stop the engine, run this again" in screen_text(app)
        assert "only read" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DiskScreen))
        assert not worker.asked


async def test_typing_filters_and_going_in_ends_the_filter() -> None:
    app = app_on(ToldReader())
    async with app.run_test(size=SIZE) as pilot:
        screen, table = await read_disk(pilot)
        await pilot.press("slash", *"web", "enter")
        await until(pilot, lambda: names(table) == ["hopeful_turing", "shop/web:7.2"][::-1])
        await pilot.press("slash", *"zz")
        await until(pilot, lambda: "Nothing matches." in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) > 5)
        await pilot.press("slash", *"orphan", "enter", "enter")
        await until(pilot, lambda: len(table.rows) == 2)
        assert not screen.needle


async def test_s_sorts_by_size_name_and_type() -> None:
    app = app_on(ToldReader())
    async with app.run_test(size=SIZE) as pilot:
        _, table = await read_disk(pilot)
        by_size = names(table)
        await pilot.press("s")
        assert names(table) == sorted(by_size, key=str.casefold)
        await pilot.press("s")
        kinds = [row.type for row in table.rows]
        assert kinds == sorted(kinds)
        await pilot.press("s")
        assert names(table) == by_size


async def test_another_root_is_chosen_from_the_list_and_remembered() -> None:
    reader = ToldReader()
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        screen, _ = await read_disk(pilot)
        screen.roots = merged(screen.roots, [DiskRoot("root", "/srv/old")])
        await pilot.press("enter", "p")
        await until(pilot, lambda: isinstance(app.screen, ChooseImage))
        assert "/srv/old" in screen_text(app)
        await pilot.press("down", "enter")
        await until(pilot, lambda: screen.root == DiskRoot("root", "/srv/old"))
        assert reader.asked[-1] == {"n": len(reader.asked), "do": "account", "root": "/srv/old"}
        assert not screen.way
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, ImagesScreen))
        again, _ = await read_disk(pilot)
        assert again.root == DiskRoot("root", "/srv/old")


async def test_another_root_is_typed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list has the keys at first; what is typed is a path all the same."""
    path = tmp_path / "q_root"
    path.mkdir()
    monkeypatch.chdir(tmp_path)
    app = app_on(ToldReader())
    async with app.run_test(size=SIZE) as pilot:
        screen, _ = await read_disk(pilot)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, ChooseImage))
        await pilot.press(*"none", "enter")
        await until(pilot, lambda: "no such file" in screen_text(app))
        await pilot.press(*["backspace"] * 4, *"q_root", "enter")
        await until(pilot, lambda: screen.root == DiskRoot("root", str(path)))


async def test_leaving_the_screen_ends_the_process() -> None:
    reader = ToldReader(account=[stock()])
    app = app_on(reader)
    async with app.run_test(size=SIZE) as pilot:
        await open_disk(pilot)
        await pilot.press("1")
        await until(pilot, lambda: reader.closed)


async def test_without_any_root_it_says_what_helps() -> None:
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        await open_disk(pilot)
        await until(pilot, lambda: "Nothing is kept here yet." in screen_text(app))
        assert "layerview load" in screen_text(app)
        await pilot.press("R", "delete", "enter", "backspace")
        assert isinstance(app.screen, DiskScreen)


async def test_a_layer_keeps_its_hue_here() -> None:
    app = app_on(ToldReader())
    chains = [layer.chain_id for layer in read_images(IMAGES)[0].layers]
    known = app.hues.assign([(Digest.parse(chain), 1) for chain in reversed(chains)])
    async with app.run_test(size=SIZE) as pilot:
        screen, table = await read_disk(pilot)
        await go_to(pilot, table, "shop/web:7.2")
        await pilot.press("enter")
        assert [screen._hues()[chain] for chain in reversed(chains)] == known


def said(app: LayerviewApp) -> str:
    """Return what was notified."""
    return "\n".join(f"{note.title}: {note.message}" for note in app._notifications)
