"""The Class view: a box for each container, and what happens lights up in one of them alone."""

from __future__ import annotations

from typing import Any

import pytest

from layerview.errors import LayerviewError
from layerview.tui.app import LayerviewApp
from layerview.tui.class_layout import lay_out
from layerview.tui.class_model import LANDED, RISE, ClassModel, Riser
from layerview.tui.class_work import sharing, start_words, volumes_of
from layerview.tui.screens.class_view import ClassScreen
from layerview.tui.screens.confirm import Confirm
from layerview.tui.widgets.class_board import ClassBoard
from layerview.watch.events import Copying, Ended
from tests.tui.classroom import (
    NOW,
    STACK,
    Classroom,
    class_on,
    copied,
    made,
    target,
    to_volume,
)
from tests.tui.driving import screen_text, until
from tests.tui.told import ToldWorker, app_on, container


def model_of(count: int) -> ClassModel:
    model = ClassModel()
    model.show([target(number) for number in range(count)])
    return model


def box(model: ClassModel, number: int) -> Any:
    return model.boxes[target(number).id]


# The model ------------------------------------------------------------------------------------


def test_a_copy_up_rises_in_its_own_box_alone_lands_and_fades() -> None:
    model = model_of(3)
    model.take(target(1).id, [copied("etc/hosts", 2)], 10.0)
    assert model.sources(10.0) == {2}
    shares = [box(model, 1).riser(10.0 + step * RISE / 6) for step in range(7)]
    assert shares == [Riser(2, step / 6) for step in range(7)]
    assert not box(model, 1).lit(10.0)
    assert box(model, 1).lit(10.0 + RISE)
    for other in (0, 2):
        assert box(model, other).riser(10.1) is None
        assert not box(model, other).lit(10.1)
    assert model.advance(10.0 + RISE)
    assert not model.advance(10.0 + RISE + LANDED + 0.1)
    assert model.sources(20.0) == set()


def test_a_large_file_rises_as_far_as_it_is_copied() -> None:
    model = model_of(2)
    model.take(target(0).id, [Copying(NOW, b"srv/big", 0, 25, 100)], 1.0)
    assert box(model, 0).riser(50.0) == Riser(0, 0.25)
    assert model.advance(50.0)
    model.take(target(0).id, [copied("srv/big", 0, 100)], 51.0)
    assert box(model, 0).riser(51.0) == Riser(0, 1.0)
    assert box(model, 0).lit(51.0)


def test_what_needs_no_copy_lights_up_briefly_without_a_riser() -> None:
    model = model_of(1)
    model.take(target(0).id, [made("tmp/x")], 1.0)
    assert box(model, 0).lit(1.1)
    assert box(model, 0).riser(1.1) is None
    assert not box(model, 0).lit(2.0)


def test_the_write_that_a_copy_up_was_for_does_not_hide_it() -> None:
    model = model_of(1)
    up = copied("etc/hosts", 0)
    model.take(target(0).id, [up, up._replace(kind="write", layer=None, bytes=None)], 1.0)
    assert box(model, 0).last == up
    assert model.count == 2
    model.take(target(0).id, [made("tmp/x")], 1.1)
    assert box(model, 0).last == made("tmp/x")


def test_what_was_there_before_lights_nothing_up_but_counts_in_its_size() -> None:
    model = model_of(1)
    model.take(target(0).id, [copied("etc/a", 1, 500)._replace(held=True)], 1.0)
    assert box(model, 0).size == 500
    assert (model.count, model.copy_ups) == (0, 0)
    assert box(model, 0).riser(1.0) is None


def test_a_write_to_a_shared_volume_is_told_once_and_lights_no_box() -> None:
    model = model_of(3)
    for number in range(3):
        model.take(target(number).id, [to_volume("data/a"), to_volume("data/b")], 1.0)
    assert [told.event.path for told in model.events] == [b"data/a", b"data/b"]
    assert {told.name for told in model.events} == {"volume shop-data"}
    assert not any(box(model, number).lit(1.0) for number in range(3))
    (shared,) = model.volumes.values()
    assert shared.written == 8000


def test_a_container_that_goes_takes_its_box_and_its_volume_stays() -> None:
    model = model_of(2)
    came, gone = model.show([target(1)])
    assert (came, gone) == ([], [target(0).id])
    assert list(model.boxes) == [target(1).id]
    model.show([])
    (shared,) = model.volumes.values()
    assert shared.users == set()
    model.take(target(0).id, [made("late")], 1.0)
    assert model.count == 0


def test_the_end_of_a_container_ends_its_rise() -> None:
    model = model_of(1)
    records = [Copying(NOW, b"a", 0, 1, 9), Ended(NOW, "it was removed")]
    model.take(target(0).id, records, 1.0)
    assert box(model, 0).riser(1.0) is None
    assert box(model, 0).ended == "it was removed"


@pytest.mark.parametrize("size", [(136, 30), (96, 20), (76, 14), (56, 9)], ids=str)
@pytest.mark.parametrize("boxes", [0, 1, 7, 40])
@pytest.mark.parametrize("layers", [1, 5, 30])
def test_the_board_fits_and_keeps_the_cursor_in_sight(
    size: tuple[int, int], boxes: int, layers: int
) -> None:
    for cursor in range(max(1, boxes)):
        board = lay_out(*size, boxes, layers, 1, cursor)
        assert len(board.places) <= size[1]
        assert board.gutter(board.columns - 1) + 2 + board.box <= size[0]
        assert board.row_of_box(cursor) is not None
        assert board.row_of_layer(0) is not None


# Which containers -----------------------------------------------------------------------------


def test_only_containers_over_the_same_folders_share_a_stack() -> None:
    ours, other = target(0), target(2, image="jobs:1")
    elsewhere = target(1, driver="aufs")
    bare = other._replace(layers=tuple(one._replace(chain_id="") for one in other.layers))
    assert sharing([ours, elsewhere], STACK, "shop/web:7.2") == [ours]
    assert sharing([ours], STACK[:2], "shop/web:7.2") == []
    assert sharing([bare], STACK, "jobs:1") == [bare]
    assert sharing([bare], STACK, "shop/web:7.2") == []
    assert sharing([], STACK, "") == []


def test_more_containers_get_the_same_volumes() -> None:
    assert volumes_of(target(0)) == ["shop-data:/data"]
    words = start_words("local:a:1", 3, ["d:/data"])
    assert words[-5:] == ["--count", "3", "--volume", "d:/data", "local:a:1"]


# The screen -----------------------------------------------------------------------------------


async def test_boxes_stand_over_the_stack_and_tell_what_happened_last() -> None:
    room = Classroom(3)
    async with LayerviewApp().run_test(size=(140, 45)) as pilot:
        await class_on(pilot, room)
        room.happens(1, copied("etc/hosts.allow", 0))
        await until(pilot, lambda: "hosts.allow" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "3 running" in text
        assert text.count("nothing yet") == 2
        assert "quiet_hopper          copy-up" in text
        assert "once for 3 containers" in text


async def test_the_cursor_moves_among_boxes_and_stays_on_its_own_when_others_go() -> None:
    room = Classroom(9)
    async with LayerviewApp().run_test(size=(140, 45)) as pilot:
        screen = await class_on(pilot, room)
        board = screen.query_one(ClassBoard)
        columns = board.board().columns
        await pilot.press("right", "down")
        assert board.cursor == 1 + columns
        chosen = board.current
        assert chosen is not None
        gone = room.targets.pop(0)
        screen._look()
        await until(pilot, lambda: len(board.boxes) == 8)
        assert board.current is chosen
        await until(pilot, lambda: room.sources[gone.id].closed)
        await pilot.press("end", "up", "left", "home")
        assert board.cursor == 0


async def test_when_all_containers_are_gone_the_volume_is_still_there() -> None:
    room = Classroom(1)
    async with LayerviewApp().run_test(size=(100, 30)) as pilot:
        screen = await class_on(pilot, room)
        room.targets.clear()
        screen._look()
        await until(
            pilot, lambda: "no container has it mounted; it stays" in screen_text(pilot.app)
        )
        assert "shop-data" in screen_text(pilot.app)


async def test_without_containers_it_says_how_to_start_some() -> None:
    async with LayerviewApp().run_test(size=(80, 24)) as pilot:
        await class_on(pilot, Classroom(0))
        await until(pilot, lambda: "No container of it runs." in screen_text(pilot.app))
        assert "n starts some" in screen_text(pilot.app)


async def test_a_reason_why_they_cannot_be_listed_is_told() -> None:
    def fails() -> list[Any]:
        raise LayerviewError("the area can't be read; use sudo")

    async with LayerviewApp().run_test(size=(80, 24)) as pilot:
        await pilot.app.push_screen(ClassScreen("a:1", find=fails))
        await until(pilot, lambda: "use sudo" in screen_text(pilot.app))


async def test_a_container_that_cannot_be_watched_says_why_in_its_box() -> None:
    class Refusing:
        def __init__(self, target: Any) -> None:
            self.target = target

        async def batches(self) -> Any:
            raise LayerviewError("permission denied")
            yield []

    async with LayerviewApp().run_test(size=(100, 30)) as pilot:
        find = Classroom(1).find
        screen = ClassScreen("shop/web:7.2", find=find, open_source=Refusing)
        await pilot.app.push_screen(screen)
        await until(pilot, lambda: "permission denied" in screen_text(pilot.app))


async def test_more_are_started_with_the_volumes_of_those_that_run() -> None:
    worker = ToldWorker(run={"id": "b" * 64})
    async with app_on(worker).run_test(size=(100, 30)) as pilot:
        await class_on(pilot, Classroom(1))
        await pilot.press("n", "backspace", "2", "enter")
        await until(pilot, lambda: bool(worker.done("run")))
        (words,) = worker.done("run")
        assert words[5:7] == ["--count", "2"]
        assert words[-3:] == ["--volume", "shop-data:/data", "shop/web:7.2"]


async def test_one_is_removed_after_saying_what_is_lost() -> None:
    room = Classroom(2)
    line = container("hopeful_turing", "0")
    line["id"] = room.targets[0].id
    worker = ToldWorker(ps=[line])
    async with app_on(worker).run_test(size=(100, 30)) as pilot:
        await class_on(pilot, room)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "in its own layer are lost" in screen_text(pilot.app)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: ["rm", "--json", "--force", line["id"]] in worker.asked)


async def test_esc_leaves_and_nothing_is_watched_any_more() -> None:
    room = Classroom(2)
    async with LayerviewApp().run_test(size=(100, 30)) as pilot:
        await class_on(pilot, room)
        await pilot.press("escape")
        await until(pilot, lambda: all(source.closed for source in room.sources.values()))
        assert not isinstance(pilot.app.screen, ClassScreen)
