"""The terminal pane with real programs at the other end."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from textual import events
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Button

from layerview.tui.app import LayerviewApp
from layerview.tui.shells import AttachedWire, Latest
from layerview.tui.terminal.wires import DescriptorWire, FramedWire, Wire
from layerview.tui.widgets.chrome import Pane, PaneTitle
from layerview.tui.widgets.keys import Keys
from layerview.tui.widgets.terminal import TerminalPane
from tests.tui.driving import screen_text, until
from tests.tui.programs import running

SHELL = ["busybox", "sh"]

needs_busybox = pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox")


class PaneScreen(Screen[None]):
    """A terminal, and something else that can have the focus."""

    def __init__(self, wire: Wire | None) -> None:
        super().__init__()
        self.wire = wire
        self.heard: list[TerminalPane.Left] = []

    def compose(self) -> ComposeResult:
        yield Button("other", compact=True)
        with Pane():
            yield PaneTitle("Shell")
            yield TerminalPane(self.wire)
        yield Keys()

    def on_mount(self) -> None:
        self.query_one(TerminalPane).focus()

    def on_terminal_pane_left(self, message: TerminalPane.Left) -> None:
        self.heard.append(message)
        self.query_one(Button).focus()

    def on_terminal_pane_ended(self, message: TerminalPane.Ended) -> None:
        self.heard.append(message)


def app_with(wire: Wire | None, **options: Any) -> LayerviewApp:
    """Return the app with a terminal as its first screen."""
    app = LayerviewApp(**options)
    app._first_screen = lambda: cast("Screen[object]", PaneScreen(wire))  # type: ignore[method-assign]
    return app


def pane(app: LayerviewApp) -> TerminalPane:
    """Return the terminal pane."""
    return app.screen.query_one(TerminalPane)


def text(app: LayerviewApp) -> str:
    """Return what the terminal holds."""
    return pane(app).emulator.screen.text()


async def typed(pilot: Pilot[Any], words: str) -> None:
    """Type words and press Enter."""
    names = {" ": "space", "/": "slash", ".": "full_stop", "-": "minus", ";": "semicolon"}
    await pilot.press(*(names.get(letter, letter) for letter in words), "enter")


async def shows(pilot: Pilot[Any], app: LayerviewApp, words: str) -> None:
    """Wait until the terminal shows words."""
    try:
        await until(pilot, lambda: words in text(app))
    except AssertionError:
        raise AssertionError(f"{words!r} is not in:\n{text(app)}") from None


@needs_busybox
async def test_a_shell_gets_every_key_and_f2_leaves_it() -> None:
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, app, "#")
            await typed(pilot, "echo hello there")
            await shows(pilot, app, "\nhello there")
            # Keys that the app or Textual would take elsewhere.
            await typed(pilot, "stty -echo -ixon; cat -vt")
            await shows(pilot, app, "cat -vt")
            await pilot.press("q", "1", "question_mark", "T", "escape", "ctrl+p", "ctrl+q", "tab")
            await pilot.press("f1", "up", "ctrl+underscore", "enter")
            await shows(pilot, app, "q1?T^[^P^Q^I^[OP^[[A^_")
            await pilot.press("ctrl+c")
            await typed(pilot, "stty echo; sleep 100")
            await pilot.press("ctrl+z")
            await shows(pilot, app, "Stopped")
            assert pane(app).has_focus
            await pilot.press("f2")
            await pilot.pause()
            assert not pane(app).has_focus
            before = text(app)
            await pilot.press("x", "tab")
            assert text(app) == before
            assert pane(app).has_focus


@needs_busybox
async def test_the_footer_names_only_what_works_in_the_shell() -> None:
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, app, "#")
            keys = [key.key for key in app.screen.query_one(Keys).shown()]
            assert keys == ["F2", "Shift+PgUp"]


@needs_busybox
async def test_vi_of_busybox_edits_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one\ntwo\nthree\n")
    with running(["busybox", "vi", "file"]) as (master, program):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, app, "three\n~")
            await pilot.press("down", "i", "X", "escape")
            # What follows an escape at once would be a key of its own.
            await shows(pilot, app, "\n- ")
            await pilot.press("G", "o", "e", "escape")
            await shows(pilot, app, "4/4")
            await shows(pilot, app, "\n- ")
            await pilot.press("1", "G", "d", "d")
            await shows(pilot, app, "Xtwo\nthree\ne")
            assert screen_text(app).count("~") > 10
            await typed(pilot, ":wq")
            await until(pilot, lambda: program.poll() is not None)
            await until(pilot, lambda: not pane(app).connected)
    assert file.read_text() == "Xtwo\nthree\ne\n"


@pytest.mark.skipif(shutil.which("vim.tiny") is None, reason="needs vim.tiny")
async def test_vim_uses_the_alternate_screen_and_its_own_cursor_keys(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("".join(f"line {number}\n" for number in range(200)))
    with running(["sh"]) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await typed(pilot, "vim.tiny -u NONE file")
            await shows(pilot, app, "line 5\n")
            assert pane(app).emulator.screen.alternate
            assert pane(app).emulator.application_cursor
            await pilot.press("pagedown", "down", "up", "end", "a", "!", "escape")
            await shows(pilot, app, "!\nline")
            await typed(pilot, ":q!")
            await until(pilot, lambda: not pane(app).emulator.screen.alternate)
            await shows(pilot, app, "vim.tiny")
            assert "line 5" not in text(app)


@pytest.mark.parametrize("program", [["top"], ["busybox", "top"]], ids=["procps", "busybox"])
async def test_top_fills_the_window_and_follows_its_size(program: list[str]) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"needs {program[0]}")
    with running(program) as (master, child):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(100, 30)) as pilot:
            await shows(pilot, app, "PID")
            assert os.get_terminal_size(master) == (98, pane(app).size.height)
            await pilot.resize_terminal(70, 20)
            await until(pilot, lambda: os.get_terminal_size(master) == (68, pane(app).size.height))
            await pilot.press("space")
            await shows(pilot, app, "PID")
            await pilot.press("q")
            await until(pilot, lambda: child.poll() is not None)


@needs_busybox
async def test_the_program_hears_of_the_window_s_size() -> None:
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await typed(pilot, "stty size")
            await shows(pilot, app, f"{pane(app).size.height} 78")
            await pilot.resize_terminal(61, 17)
            await pilot.pause()
            await typed(pilot, "stty size")
            await shows(pilot, app, f"{pane(app).size.height} 59")


@needs_busybox
async def test_pastes_and_the_wheel() -> None:
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await typed(pilot, "i=0; while [ $i != 99 ]; do i=$((i+1)); echo line$i; done".strip())
            await shows(pilot, app, "line99")
            app.post_message(events.Paste("echo pas\x1bted\nls /none\n"))
            await shows(pilot, app, "\npasted")
            await shows(pilot, app, "/none:")
            await pilot.press("shift+pageup", "shift+pageup")
            assert pane(app).looking_back == 2 * (pane(app).size.height - 1)
            await pilot.pause()
            assert "line99" not in screen_text(app)
            assert "line50" in screen_text(app)
            await pilot._post_mouse_events([events.MouseScrollDown], TerminalPane)
            assert pane(app).looking_back == 2 * (pane(app).size.height - 1) - 3
            # What is typed shows the newest again.
            await pilot.press("x")
            await until(pilot, lambda: pane(app).looking_back == 0)


@needs_busybox
async def test_what_is_looked_back_at_stays_while_more_comes() -> None:
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await typed(pilot, "yes | head -n 100; sleep 1; seq 50; echo E''ND")
            await until(pilot, lambda: len(pane(app).emulator.screen.history) > 70)
            await pilot.press("shift+pageup")
            before = screen_text(app)
            await shows(pilot, app, "END")
            await pilot.pause(0.1)
            assert screen_text(app) == before
            assert pane(app).looking_back > 50


@needs_busybox
async def test_a_flood_of_output_leaves_the_screen_alive(tmp_path: Path) -> None:
    file = tmp_path / "much"
    line = b"".join(b"\x1b[3%dmword%d\x1b[0m " % (number % 8, number) for number in range(8))
    file.write_bytes((line + b"\n") * (10_000_000 // len(line)))
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, app, "#")
            pane(app).send(f"cat {file}; echo E''ND\r".encode())
            painted = 0
            frame = pane(app)._frame

            def counted() -> None:
                nonlocal painted
                painted += 1
                frame()

            pane(app)._frame = counted  # type: ignore[method-assign]
            longest = 0.0
            start = before = time.monotonic()
            while "END" not in text(app):
                await asyncio.sleep(0)
                now = time.monotonic()
                longest, before = max(longest, now - before), now
                assert now - start < 60
            took = time.monotonic() - start
            # The loop never waits long for the terminal, and paints about thirty times a second.
            assert longest < 0.5
            assert painted <= 31 * took + 2


@needs_busybox
async def test_a_key_gets_through_a_flood() -> None:
    with running(SHELL) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, app, "#")
            pane(app).send(b"yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r")
            await until(pilot, lambda: len(pane(app).emulator.screen.history) > 1000)
            app.simulate_key("ctrl+c")
            await shows(pilot, app, "^C")
            await typed(pilot, "echo still here")
            await shows(pilot, app, "\nstill here")


async def test_the_end_of_the_program_is_told_and_what_it_wrote_stays() -> None:
    with running(["sh", "-c", "echo last words"]) as (master, _):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: not pane(app).connected)
            await shows(pilot, app, "last words")
            assert isinstance(app.screen, PaneScreen)
            heard = app.screen.heard
            await until(pilot, lambda: bool(heard))
            assert isinstance(heard[0], TerminalPane.Ended)
            # Nobody takes the keys any more: they are the app's again.
            await pilot.press("q")
            await until(pilot, lambda: not app.is_running or app._exit)


async def test_leaving_the_app_hangs_up_on_the_program() -> None:
    with running(["sh", "-c", "trap 'exit 7' HUP; while :; do sleep 0.05; done"]) as (
        master,
        child,
    ):
        app = app_with(DescriptorWire(master))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.3)
        assert child.wait(10) == 7
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(master)


async def test_without_a_program_a_message_says_what_to_do() -> None:
    app = app_with(None)
    async with app.run_test(size=(80, 24)) as pilot:
        pane(app).say("It does not run.", "s starts it")
        await pilot.pause()
        assert "It does not run." in screen_text(app)
        assert "s starts it" in screen_text(app)


# Attached containers -----------------------------------------------------------------------------


def frame(stream: int, data: bytes) -> bytes:
    """Return a frame as a container's keeper sends it."""
    return struct.pack(">B3xI", stream, len(data)) + data


@pytest.fixture
def attached() -> Any:
    """Give both ends of a socket, and a list of the sizes that were told."""
    mine, other = socket.socketpair()
    sizes: list[tuple[int, int]] = []
    wire = FramedWire(mine, lambda rows, columns: sizes.append((rows, columns)))
    yield wire, other, sizes
    wire.close()
    other.close()


Attached = tuple[FramedWire, socket.socket, list[tuple[int, int]]]


async def test_frames_of_an_attached_container_are_shown_and_keys_go_bare(
    attached: Attached,
) -> None:
    wire, other, sizes = attached
    app = app_with(wire)
    async with app.run_test(size=(80, 24)) as pilot:
        for byte in frame(1, b"# hel") + frame(2, b"lo") + frame(1, b"") + frame(1, "é".encode()):
            other.send(bytes([byte]))
        await shows(pilot, app, "# helloé")
        await pilot.press("x", "up")
        assert other.recv(100) == b"x\x1b[A"
        await pilot.resize_terminal(66, 20)
        await until(pilot, lambda: sizes[-1:] == [(pane(app).size.height, 64)])
        other.send(frame(1, b"bye") + frame(3, json.dumps({"exit": 42}).encode()) + b"more")
        await until(pilot, lambda: not pane(app).connected)
        assert "bye" in text(app)
        assert "more" not in text(app)
        assert isinstance(app.screen, PaneScreen)
        heard = app.screen.heard
        await until(pilot, lambda: bool(heard))
        last = heard[-1]
        assert isinstance(last, TerminalPane.Ended)
        assert last.status == 42


async def test_what_was_shown_before_comes_first_and_is_not_answered_again() -> None:
    mine, other = socket.socketpair()
    wire = AttachedWire(mine, lambda rows, columns: None, b"hello\r\n# \x1b[6n\x1b[c")
    app = app_with(wire)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, app, "hello\n#")
        other.send(frame(1, b"\x1b[5n"))
        await until(pilot, lambda: bool(select.select([other], [], [], 0)[0]))
        assert other.recv(100) == b"\x1b[0n"
    other.close()


def test_of_sizes_that_come_fast_only_the_last_one_must_arrive() -> None:
    told: list[tuple[int, int]] = []
    go = threading.Event()

    def tell(size: tuple[int, int]) -> None:
        go.wait(10)
        told.append(size)

    latest = Latest(tell)
    for number in range(1, 50):
        latest(number, number)
    go.set()
    end = time.monotonic() + 10
    while told[-1:] != [(49, 49)]:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert len(told) <= 3


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x03\0\0\0\xff\xff\xff\xff",
        frame(3, b"no json"),
        frame(3, b'{"exit":"x"}'),
        b"\x01\0",
    ],
    ids=["nothing", "huge end", "no json", "no status", "half a head"],
)
async def test_whatever_a_keeper_sends_the_end_is_the_end(attached: Attached, sent: bytes) -> None:
    wire, other, _ = attached
    app = app_with(wire)
    async with app.run_test(size=(80, 24)) as pilot:
        other.send(sent)
        other.shutdown(socket.SHUT_WR)
        await until(pilot, lambda: not pane(app).connected)
        assert wire.status is None


async def test_what_a_program_does_not_read_is_bounded(attached: Attached) -> None:
    wire, other, _ = attached
    app = app_with(wire)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        other.send(frame(1, b"\x1b[c" * 200_000)[:8] + b"\x1b[c" * 20_000)
        await until(pilot, lambda: wire.waiting > 1000)
        await pilot.pause(0.2)
        assert wire.waiting < 1 << 16
        pane(app).send(b"x" * (1 << 19))
        pane(app).send(b"y" * (1 << 20))
        assert wire.waiting < 1 << 20
