"""The Containers screen: with made-up containers for its ways, with real ones for what it does."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from layerview.errors import LayerviewError
from layerview.tui.app import LayerviewApp
from layerview.tui.container_lines import (
    ChangeLine,
    changes_words,
    loss_words,
    nanoseconds_words,
    read_changes,
    read_lines,
    short_time,
    with_sizes,
)
from layerview.tui.glyphs import ASCII, UNICODE
from layerview.tui.screens.ask import Ask
from layerview.tui.screens.changes import ChangesScreen
from layerview.tui.screens.containers import ContainersScreen
from layerview.tui.screens.disk import DiskScreen
from layerview.tui.screens.images import ImagesScreen
from layerview.tui.screens.run_container import RunContainer
from layerview.tui.screens.volumes import VolumesScreen
from layerview.tui.widgets.chrome import AreaBar
from layerview.tui.widgets.container_table import ContainerColumns, ContainerTable
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.terminal import TerminalPane
from tests.support.container_lab import BUSYBOX, Lab, changed_layers
from tests.tui.driving import screen_text, until
from tests.tui.told import ToldWorker, app_on, before, container, exited, mount

SIZE = (140, 45)


async def open_containers(pilot: Pilot[Any]) -> ContainersScreen:
    """Go to the containers, and wait until they are listed."""
    await pilot.press("2")
    await until(pilot, lambda: isinstance(pilot.app.screen, ContainersScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ContainersScreen)
    await until(pilot, lambda: screen.known and not screen.looking)
    return screen


def said(app: LayerviewApp) -> str:
    """Return what was notified."""
    return "\n".join(f"{note.title}: {note.message}" for note in app._notifications)


# Words -------------------------------------------------------------------------------------------


def test_what_ps_says_is_read_whatever_it_is() -> None:
    [line] = read_lines([[container("a\x1bb", "7", command=["sh", "-c", "a b"]), {}, 5, {"id": 7}]])
    assert line.name == "a\\x1bb"
    assert line.command == "sh -c 'a b'"
    assert line.mounts == ()
    assert read_lines([{"id": "x"}, 7, [[]]]) == []
    [odd] = read_lines([[{"id": "x", "mounts": [1], "command": "no", "size_rw": "1", "pid": True}]])
    assert (odd.size, odd.pid, odd.command) == (None, None, "")


@pytest.mark.parametrize(
    ("more", "sign", "words"),
    [
        ({}, "●", "up 2 min"),
        ({"status": "exited", "exit_code": 137}, "○", "exited 137"),
        ({"status": "created"}, "·", "created"),
        ({"status": "dead"}, "✕", "dead"),
        ({"status": "paused"}, "○", "paused"),
        ({"status": None}, "○", "unknown"),
    ],
)
def test_a_state_has_a_sign_and_a_word(more: dict[str, object], sign: str, words: str) -> None:
    [line] = read_lines([[container("a", "7", **more)]])
    assert line.state(time.time(), UNICODE) == (sign, words)
    assert line.state(time.time(), ASCII)[0].isascii()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (61, "1 min"),
        (3700, "1 h"),
        (200_000, "2 days"),
        (10**7, "115 days"),
    ],
)
def test_ages_take_few_letters(seconds: float, words: str) -> None:
    assert short_time(before(seconds), time.time()) == words
    assert short_time("nonsense", 0) == short_time(None, 0) == ""


def test_durations_have_three_digits() -> None:
    assert [nanoseconds_words(ns) for ns in (640_000, 6_240_000, 840_000_000, 1_300_000_000)] == [
        "0.6 ms",
        "6.2 ms",
        "840 ms",
        "1.3 s",
    ]


def test_sizes_of_before_stand_until_something_ran() -> None:
    old = read_lines([[container("a", "1", size_rw=5), exited("b", "2", 0, size_rw=7)]])
    new = read_lines(
        [[container("a", "1", size_rw=None), exited("b", "2", 0, size_rw=None)]],
    )
    assert [line.size for line in with_sizes(new, [], old)] == [5, 7]
    again = read_lines([[exited("b", "2", 0, size_rw=None, finished=before(1))]])
    assert [line.size for line in with_sizes(again, [], old)] == [None]
    measured = read_lines([[container("a", "1", size_rw=9)]])
    assert [line.size for line in with_sizes(new, measured, old)] == [9, 7]


def test_a_removal_says_what_is_lost_and_what_stays() -> None:
    changes = [ChangeLine("A", "/a"), ChangeLine("A", "/b"), ChangeLine("D", "/c")]
    assert changes_words(changes) == "2 new, 1 deleted"
    [line] = read_lines([[exited("a", "1", 0, size_rw=1234, mounts=[mount("data", "/data")])]])
    assert loss_words([line], changes, False) == (
        "1.2 kB in its own layer are lost: 2 new, 1 deleted."
        " What stays: the volume data, and the image."
    )
    assert "nothing was changed" in loss_words([line], [], False)
    [running] = read_lines([[container("a", "1", size_rw=None, mounts=[{"type": "bind"}])]])
    assert loss_words([running], None, False) == (
        "It runs, and is killed first. All that was changed in its own layer is lost."
        " The image stays."
    )
    both = loss_words([line, running], changes, False)
    assert "1 of them run" in both
    assert "their own layers" in both


@pytest.mark.parametrize("width", range(60, 220, 7))
def test_columns_fit_their_window(width: int) -> None:
    heads = ContainerColumns.for_width(width).heads()
    assert 3 + sum(cells + 2 for _, cells, _ in heads) - 2 <= width
    assert all(cells >= 6 for _, cells, _ in heads)


def test_changes_are_read() -> None:
    found = read_changes([[{"path": "/a\nb", "kind": "A"}, 7], "x"])
    assert found == [ChangeLine("A", "/a\\nb")]


# Made-up containers ------------------------------------------------------------------------------


def some() -> list[dict[str, object]]:
    """Return three containers."""
    return [
        container("one", "11a"),
        exited("two", "22b", 0, image="busybox:latest"),
        exited("three", "33c", 1),
    ]


async def test_what_runs_is_measured_again_and_what_rests_once() -> None:
    sizes = iter(range(100))
    known = some()

    def ps(words: Any) -> object:
        lines = known if "-a" in words else known[:1]
        if "-s" not in words:
            return [{**line, "size_rw": None} for line in lines]
        return [{**line, "size_rw": 1000 * next(sizes)} for line in lines]

    worker = ToldWorker(ps=ps)
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        assert len(worker.done("ps", "--json", "-a", "-s")) == 1
        first = screen.lines[0].size
        screen.look()
        await until(pilot, lambda: screen.lines[0].size != first)
        assert len(worker.done("ps", "--json", "-a", "-s")) == 1
        # It looks by itself, once a second.
        second = screen.lines[0].size
        await until(pilot, lambda: screen.lines[0].size != second)


async def test_space_marks_several_and_keys_do_it_to_all_that_they_can_be_done_to() -> None:
    worker = ToldWorker(ps=some())
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await pilot.press("space", "space", "space")
        await until(pilot, lambda: "3 marked" in screen_text(app))
        await pilot.press("S")
        await until(pilot, lambda: bool(worker.done("start")))
        assert [id[:3] for id in worker.done("start")[0][2:]] == ["22b", "33c"]
        await until(pilot, lambda: "Started: two, three" in said(app))
        await until(pilot, lambda: "marked" not in screen_text(app))
        await pilot.press("home", "K")
        await until(pilot, lambda: bool(worker.done("stop")))
        assert [id[:3] for id in worker.done("stop")[0][2:]] == ["11a"]


async def test_keys_that_do_nothing_to_what_is_chosen_are_dimmed() -> None:
    app = app_on(ToldWorker(ps=some()))
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        await pilot.pause()

        def enabled() -> dict[str, bool]:
            return {key.key: key.enabled for key in screen.query_one(Keys).shown()}

        assert (enabled()["S"], enabled()["K"], enabled()["Del"]) == (False, True, True)
        await pilot.press("down")
        await pilot.pause()
        assert (enabled()["S"], enabled()["K"]) == (True, False)


async def test_a_command_that_fails_says_why() -> None:
    problem = LayerviewError("container one does not end; its processes hang")
    app = app_on(ToldWorker(ps=some(), stop=problem))
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await pilot.press("K")
        await until(pilot, lambda: "its processes hang" in said(app))
        assert "Not stopped" in said(app)
        assert "stopping" not in screen_text(app)


async def test_a_container_that_does_not_run_has_no_shell() -> None:
    app = app_on(ToldWorker(ps=some()))
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "two does not run" in said(app))
        assert not screen.shell_is_open


async def test_typing_filters_and_a_hides_what_rests() -> None:
    app = app_on(ToldWorker(ps=some()))
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        await pilot.press("slash", *"busy", "enter")
        await until(pilot, lambda: [line.name for line in screen.table.rows] == ["two"])
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.rows) == 3)
        await pilot.press("a")
        await until(pilot, lambda: [line.name for line in screen.table.rows] == ["one"])
        assert "only those that run" in screen_text(app)
        await pilot.press("escape", "slash", *"nothing", "enter")
        await until(pilot, lambda: "No container matches." in screen_text(app))


async def test_what_can_not_be_listed_says_why_and_r_tries_again() -> None:
    worker = ToldWorker(ps=LayerviewError("the disk is gone"))
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        await until(pilot, lambda: "the disk is gone" in screen_text(app))
        worker.answers["ps"] = some()
        await pilot.press("r")
        await until(pilot, lambda: len(screen.table.rows) == 3)
        assert "the disk is gone" not in screen_text(app)


async def test_the_cursor_stays_on_its_container_when_others_come() -> None:
    worker = ToldWorker(ps=some())
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        await pilot.press("down")
        worker.answers["ps"] = [container("new", "44d"), *some()]
        screen.look()
        await until(pilot, lambda: len(screen.table.rows) == 4)
        current = screen.query_one(ContainerTable).current
        assert current is not None
        assert current.name == "two"


async def test_rename_and_commit_ask_for_their_words() -> None:
    worker = ToldWorker(ps=some(), commit={"image_id": "sha256:12", "references": ["shop/web:new"]})
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one("#name", Input).value = "other"
        await pilot.press("enter")
        await until(pilot, lambda: bool(worker.done("rename")))
        assert worker.done("rename")[0][2] == "other"
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press(*"shop:new", "tab", *"more", "enter")
        await until(pilot, lambda: "Committed: shop/web:new" in said(app))
        words = worker.done("commit")[0]
        assert words[:4] == ["commit", "--json", "--message", "more"]
        assert words[-1] == "shop:new"
        await pilot.press("R", "escape")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
        assert len(worker.done("rename")) == 1


async def test_the_dialog_makes_the_command_line_that_was_meant() -> None:
    worker = ToldWorker(ps=some(), run={"id": "11a" + "0" * 61})
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await pilot.press("n")
        dialog = app.screen
        assert isinstance(dialog, RunContainer)
        await until(pilot, lambda: dialog.images_asked)
        dialog._names = frozenset(["shop/web:7.2"])

        def fill(name: str, value: str) -> None:
            dialog.query_one(f"#{name}", Input).value = value

        fill("count", "0")
        await pilot.press("enter")
        await until(pilot, lambda: "how many: 1 to 100" in screen_text(app))
        fill("count", "3")
        fill("command", "sh -c 'unclosed")
        await pilot.press("enter")
        await until(pilot, lambda: "a quotation is not closed" in screen_text(app))
        fill("command", "sh -c 'echo a b'")
        fill("volumes", "data:/data '/a b:/c:ro'")
        fill("name", "x")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
        assert worker.done("run") == [
            [
                *("run", "--detach", "--json", "--interactive", "--tty", "--count", "3"),
                *("--name", "x", "--volume", "data:/data", "--volume", "/a b:/c:ro"),
                *("shop/web:7.2", "sh", "-c", "echo a b"),
            ]
        ]


async def test_the_dialog_stays_with_what_was_typed_when_the_start_fails() -> None:
    worker = ToldWorker(ps=some(), run=LayerviewError('exec: "x": not found'))
    app = app_on(worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await pilot.press("n")
        dialog = app.screen
        assert isinstance(dialog, RunContainer)
        await until(pilot, lambda: dialog.images_asked)
        dialog._names = frozenset(["shop/web:7.2"])
        await pilot.press("x", "enter")
        await until(pilot, lambda: "not found" in screen_text(app))
        assert app.screen is dialog
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))


async def test_digits_and_clicks_go_between_the_areas() -> None:
    app = app_on(ToldWorker(ps=some(), volume_ls=[]))
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, VolumesScreen))
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, ImagesScreen))
        await pilot.click(AreaBar, offset=(27, 0))
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
        await pilot.click(AreaBar, offset=(40, 0))
        await until(pilot, lambda: isinstance(app.screen, DiskScreen))
        await pilot.click(AreaBar, offset=(47, 0))
        await until(pilot, lambda: isinstance(app.screen, VolumesScreen))
        await pilot.click(AreaBar, offset=(17, 0))
        await until(pilot, lambda: isinstance(app.screen, ImagesScreen))
        assert len(app.screen_stack) == 1


# Real containers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give an area with a copy of the documentation's image."""
    if os.geteuid() != 0:
        pytest.skip("overlay mounts need root")
    if not Path(BUSYBOX).exists():
        pytest.skip(f"{BUSYBOX} is not installed")
    lab = Lab(tmp_path_factory.mktemp("area") / "root")
    lab.load("changed-ubuntu:latest", *changed_layers())
    yield lab
    lab.clear()
    lab.end_worker()
    shutil.rmtree(lab.root)


@pytest.fixture
def lab(made: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Give that area as the one that the screens are about, without containers."""
    monkeypatch.setenv("LAYERVIEW_ROOT", str(made.root))
    yield made
    made.clear()
    made.nothing_left()


def pane(app: LayerviewApp) -> TerminalPane:
    """Return the terminal pane."""
    return app.screen.query_one(TerminalPane)


async def shows(pilot: Pilot[Any], words: str) -> None:
    """Wait until the terminal shows words."""
    app = pilot.app
    assert isinstance(app, LayerviewApp)
    try:
        await until(pilot, lambda: words in pane(app).emulator.screen.text())
    except AssertionError:
        raise AssertionError(f"{words!r} is not in:\n{screen_text(app)}\n{said(app)}") from None


def live(screen: ContainersScreen) -> list[str]:
    """Return the names of those that run."""
    return [line.name for line in screen.lines if line.runs]


@pytest.mark.conformance
async def test_an_image_is_run_and_its_shell_used_and_its_layer_seen_growing(lab: Lab) -> None:
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "changed-ubuntu" in screen_text(app))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, RunContainer))
        dialog = app.screen
        assert isinstance(dialog, RunContainer)
        await until(pilot, lambda: dialog.images_asked)
        dialog.query_one("#volumes", Input).value = "data:/data"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ContainersScreen))
        screen = app.screen
        assert isinstance(screen, ContainersScreen)
        await until(pilot, lambda: len(live(screen)) == 1)
        await until(pilot, lambda: screen.lines[0].size == 0)
        assert screen.lines[0].start_ns
        await pilot.press("enter")
        # What the shell has said before anybody looked is there.
        await shows(pilot, "/ #")
        rows, columns = pane(app).size.height, pane(app).size.width
        pane(app).send(b"stty size; cat /tmp/newfile; tty\r")
        await shows(pilot, f"{rows} {columns}")
        await shows(pilot, "Hello world")
        await pilot.resize_terminal(100, 40)
        await pilot.pause()
        pane(app).send(b"clear; sleep 0.3; stty size\r")
        await shows(pilot, f"{pane(app).size.height} {pane(app).size.width}\n")
        pane(app).send(b"head -c 300000 /dev/zero > /big; rm /tmp/newfile; echo x > /data/kept\r")
        await until(pilot, lambda: (screen.lines[0].size or 0) >= 300_000)
        pane(app).send(b"vi /etc/passwd\r")
        await shows(pilot, "demo:x:1000")
        pane(app).send(b":q\r")
        pane(app).send(b"top\r")
        await shows(pilot, "PID")
        pane(app).send(b"q")
        await pilot.press("f2")
        await until(pilot, lambda: screen.query_one(ContainerTable).has_focus)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ChangesScreen))
        await until(pilot, lambda: "/big" in screen_text(app))
        assert screen_text(app).count("layerview") == 1
        assert "/tmp/newfile" in screen_text(app)
        assert "kept" not in screen_text(app)
        await pilot.press("escape")
        # Back in the shell, which is left by its own word.
        await pilot.press("f2")
        await until(pilot, lambda: pane(app).has_focus)
        pane(app).send(b"exit 3\r")
        await until(pilot, lambda: not live(screen))
        assert screen.lines[0].exit_code == 3
        # The list may know of it before the terminal does.
        await until(pilot, lambda: screen.query_one(ContainerTable).has_focus)
        await pilot.press("escape", "delete")
        await until(pilot, lambda: "are lost" in screen_text(app))
        text = screen_text(app)
        assert "300" in text
        assert "deleted" in text
        assert "the volume data" in text
        await pilot.press("tab", "enter")
        await until(pilot, lambda: not screen.lines)
        await pilot.press("4")
        await until(pilot, lambda: "no container" in screen_text(app))
    assert (lab.root / "volumes/data/_data/kept").read_text() == "x\n"


@pytest.mark.conformance
async def test_five_are_started_at_once_stopped_and_removed_together(lab: Lab) -> None:
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        assert "No containers yet." in screen_text(app)
        await pilot.press("n")
        dialog = app.screen
        assert isinstance(dialog, RunContainer)
        await until(pilot, lambda: dialog.images_asked)
        for name, value in (("image", "changed-ubuntu"), ("command", "sleep 600"), ("count", "5")):
            dialog.query_one(f"#{name}", Input).value = value
        await pilot.press("enter")
        await until(pilot, lambda: len(live(screen)) == 5)
        await until(pilot, lambda: "read-only for 5" in screen_text(app))
        await pilot.press(*["home", *["space"] * 5, "X"])
        await until(pilot, lambda: not live(screen))
        assert {line.exit_code for line in screen.lines} == {137}
        await pilot.press("home", *["space"] * 5, "S")
        await until(pilot, lambda: len(live(screen)) == 5)
        await pilot.press("home", *["space"] * 5, "delete")
        await until(pilot, lambda: "5 of them run" in screen_text(app))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: screen.known and not screen.lines)


@pytest.mark.conformance
async def test_a_container_without_a_terminal_gets_a_shell_of_its_own(lab: Lab) -> None:
    id = lab.out("run", "-d", "--name", "talker", "changed-ubuntu", "sh", "-c", TALKS)
    app = LayerviewApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_containers(pilot)
        await pilot.press("enter")
        await shows(pilot, "/ #")
        pane(app).send(b"echo $$ is not 1; stty size; exit\r")
        await shows(pilot, "is not 1")
        # Its shell's end closes the pane; the container goes on.
        await until(pilot, lambda: not screen.shell_is_open)
        assert live(screen) == ["talker"]
        await pilot.press("l")
        await shows(pilot, "said 3")
        assert pane(app).has_focus
        await pilot.press("escape")
        await until(pilot, lambda: not screen.shell_is_open)
        await pilot.press("enter")
        await shows(pilot, "/ #")
        # The container goes down under its shell.
        lab.out("kill", id)
        await until(pilot, lambda: not pane(app).connected)
        await until(pilot, lambda: not live(screen))


TALKS = "i=0; while :; do i=$((i+1)); echo said $i; sleep 0.1; done"


@pytest.mark.conformance
async def test_an_image_without_a_shell_says_so(lab: Lab) -> None:
    lab.out("run", "-d", "--name", "bare", "changed-ubuntu", "sh", "-c", "rm /bin/sh; sleep 600")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        await open_containers(pilot)
        await until(pilot, lambda: lab.call("exec", "bare", "sh").returncode == 127)
        await pilot.press("enter")
        await until(pilot, lambda: "not found" in screen_text(app))
        assert "l shows what it wrote" in screen_text(app)
        await pilot.press("escape")
        assert isinstance(app.screen, ContainersScreen)
        assert not app.screen.shell_is_open


@pytest.mark.conformance
async def test_leaving_lets_containers_run_and_ends_the_shells_beside_them(lab: Lab) -> None:
    lab.out("run", "-d", "-it", "--name", "own", "changed-ubuntu")
    lab.out("run", "-d", "--name", "beside", "changed-ubuntu", "sleep", "600")
    app = LayerviewApp()
    async with app.run_test(size=SIZE) as pilot:
        screen = await open_containers(pilot)
        await pilot.press("enter")
        await shows(pilot, "/ #")
        pane(app).send(b"echo $((40+2))\r")
        await shows(pilot, "42")
        await pilot.press("f2", "down", "enter")
        await shows(pilot, "/ #")
        assert sorted(live(screen)) == ["beside", "own"]
    names = {one["name"] for one in lab.json("ps")}
    assert names == {"own", "beside"}
    assert "sh" not in lab.out("exec", "beside", "ps").split()
