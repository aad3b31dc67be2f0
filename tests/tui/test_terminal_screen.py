"""What a terminal shows after what was written to it; tmux is asked too, where it is installed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import get_character_cell_size

from layerview.tui.palette import GREYS_DARK, GREYS_LIGHT, TERMINAL_DARK, TERMINAL_LIGHT, contrast
from layerview.tui.terminal.cells import NARROW
from layerview.tui.terminal.emulator import Emulator
from layerview.tui.terminal.painting import RowPainter
from layerview.tui.terminal.pens import (
    BOLD,
    DEFAULT,
    REVERSE,
    TRUE_COLOR,
    UNDERLINE,
    Pen,
    dipped,
)
from layerview.tui.themes import Paint, own_variables

ROWS, COLUMNS = 5, 10


def after(*written: bytes, rows: int = ROWS, columns: int = COLUMNS) -> Emulator:
    """Return a terminal that this was written to."""
    emulator = Emulator(rows, columns)
    for data in written:
        emulator.feed(data)
    return emulator


def lines(emulator: Emulator) -> list[str]:
    """Return its rows without trailing blanks, and without the empty ones below."""
    return emulator.screen.text().rstrip("\n").split("\n")


def place(emulator: Emulator) -> tuple[int, int]:
    """Return where the cursor is."""
    return emulator.screen.cursor.row, emulator.screen.cursor.column


FILL = b"\x1b[Haaa\r\nbbb\r\nccc\r\nddd\r\neee"

RECORDED: dict[str, tuple[bytes, list[str], tuple[int, int]]] = {
    "text and new lines": (b"one\r\ntwo", ["one", "two"], (1, 3)),
    "a line feed alone keeps the column": (b"one\ntwo", ["one", "   two"], (1, 6)),
    "wrapping": (b"0123456789ab", ["0123456789", "ab"], (1, 2)),
    "the last column does not wrap by itself": (b"0123456789", ["0123456789"], (0, 9)),
    "a return after the last column stays": (b"0123456789\rX", ["X123456789"], (0, 1)),
    "no wrapping": (b"\x1b[?7l0123456789abc", ["012345678c"], (0, 9)),
    "scrolling at the bottom": (FILL + b"\r\nfff", ["bbb", "ccc", "ddd", "eee", "fff"], (4, 3)),
    "backspace": (b"abc\b\bX", ["aXc"], (0, 2)),
    "tabs": (b"a\tb\tc", ["a       bc"], (0, 9)),
    "own tab stops": (b"\x1b[3g\x1b[4G\x1bH\r\tx\x1b[Zy", ["   y"], (0, 4)),
    "cursor up": (b"\n\n\x1b[Ax", ["", "x"], (1, 1)),
    "movements stop at the edges": (b"\x1b[99B\x1b[99C\x1b[99A\x1b[99Dx", ["x"], (0, 1)),
    "absolute places": (b"\x1b[2;3Hx\x1b[4Gy\x1b[4dz", ["", "  xy", "", "    z"], (3, 5)),
    "next and previous rows": (b"ab\x1b[2Ecd\x1b[Fef", ["ab", "ef", "cd"], (1, 2)),
    "erase to the end of the row": (b"abcdef\x1b[3G\x1b[K", ["ab"], (0, 2)),
    "erase from the start of the row": (b"abcdef\x1b[3G\x1b[1K", ["   def"], (0, 2)),
    "erase the row": (b"abcdef\x1b[2K", [""], (0, 6)),
    "erase below": (FILL + b"\x1b[3;2H\x1b[J", ["aaa", "bbb", "c"], (2, 1)),
    "erase above": (FILL + b"\x1b[3;2H\x1b[1J", ["", "", "  c", "ddd", "eee"], (2, 1)),
    "erase all": (FILL + b"\x1b[2J", [""], (4, 3)),
    "erase cells": (b"abcdef\x1b[2G\x1b[3X", ["a   ef"], (0, 1)),
    "insert cells": (b"abcdefghij\x1b[3G\x1b[2@", ["ab  cdefgh"], (0, 2)),
    "delete cells": (b"abcdef\x1b[2G\x1b[2P", ["adef"], (0, 1)),
    "insert mode": (b"abcd\x1b[2G\x1b[4hXY\x1b[4lZ", ["aXYZcd"], (0, 4)),
    "insert rows": (FILL + b"\x1b[2;3H\x1b[2L", ["aaa", "", "", "bbb", "ccc"], (1, 0)),
    "delete rows": (FILL + b"\x1b[2;3H\x1b[2M", ["aaa", "ddd", "eee"], (1, 0)),
    "margins: scrolling inside": (
        FILL + b"\x1b[2;4r\x1b[4;1H\nX",
        ["aaa", "ccc", "ddd", "X", "eee"],
        (3, 1),
    ),
    "margins: reverse index": (
        FILL + b"\x1b[2;4r\x1b[2;1H\x1bMX",
        ["aaa", "X", "bbb", "ccc", "eee"],
        (1, 1),
    ),
    "margins: rows outside are not inserted": (
        FILL + b"\x1b[2;4r\x1b[1;1H\x1b[L",
        ["aaa", "bbb", "ccc", "ddd", "eee"],
        (0, 0),
    ),
    "margins: scroll up and down": (
        FILL + b"\x1b[2;4r\x1b[2S\x1b[T",
        ["aaa", "", "ddd", "", "eee"],
        (0, 0),
    ),
    "margins: origin mode": (b"\x1b[2;4r\x1b[?6h\x1b[1;1Hx\x1b[99;1Hy", ["", "x", "", "y"], (3, 1)),
    "margins upside down are ignored": (b"\x1b[4;2rab", ["ab"], (0, 2)),
    "save and restore": (b"ab\x1b7\x1b[4;4Hcd\x1b8X", ["abX", "", "", "   cd"], (0, 3)),
    "restore without save goes home": (b"abc\r\ndef\x1b8X", ["Xbc", "def"], (0, 1)),
    "line drawing": (b"\x1b(0lqk\x1b(Bq", ["┌─┐q"], (0, 4)),
    "line drawing in G1": (b"\x1b)0\x0ex\x0fx", ["│x"], (0, 2)),
    "repeat": (b"ab\x1b[3b", ["abbbb"], (0, 5)),
    "alignment test": (b"\x1b#8", ["E" * 10] * 5, (0, 0)),
    "wide characters": ("中文a".encode(), ["中文a"], (0, 5)),
    "a wide character does not fit the last column": (
        "123456789中".encode(),
        ["123456789", "中"],
        (1, 2),
    ),
    "half of a wide character overwritten": ("中文\x1b[2Gx".encode(), [" x文"], (0, 2)),
    "the other half": ("中文\x1b[3Gx".encode(), ["中x"], (0, 3)),
    "half of a wide character deleted": ("中文a\x1b[2G\x1b[P".encode(), [" 文a"], (0, 1)),
    "combining marks": ("e\u0301x".encode(), ["e\u0301x"], (0, 2)),
    "what has no width is not shown": ("a\u202eb\u200dc\ufeff".encode(), ["abc"], (0, 3)),
    "bytes that are no UTF-8": (b"a\xffb\xc3", ["a\ufffdb"], (0, 3)),
    "eight-bit controls are none": ("a\x9b2Cb\x90c".encode(), ["a2Cbc"], (0, 5)),
    "a control inside a sequence": (b"ab\x1b[1\rCX", ["aX"], (0, 2)),
    "a cancelled sequence": (b"ab\x1b[3\x18C\x1b[3\x1aD", ["abCD"], (0, 4)),
    "a sequence begun anew": (b"ab\x1b[5\x1b[2GX", ["aX"], (0, 2)),
    "unknown sequences": (
        b"a\x1b[>4;2m\x1b[=1u\x1b[1 q\x1b[?25$p\x1b[5$zb\x1b%Gc",
        ["abc"],
        (0, 3),
    ),
    "too many parameters": (b"a\x1b[" + b"1;" * 3000 + b"5Cb", ["ab"], (0, 2)),
    "a huge number": (b"a\x1b[" + b"9" * 200 + b"Cb", ["a        b"], (0, 9)),
    "a title": (b"a\x1b]0;title \xc3\xa9\x07b\x1b]2;other\x1b\\c", ["abc"], (0, 3)),
    "a clipboard write": (b"a\x1b]52;c;cm0gLXJmCg==\x07b", ["ab"], (0, 2)),
    "a device control string": (b"a\x1bP1$r0;1m\x1b\\b\x1b_Gf=100;AAAA\x1b\\c", ["abc"], (0, 3)),
    "a string without an end": (b"a\x1b]0;" + b"x" * 5000, ["a"], (0, 1)),
    "a string ended by a cancel": (b"a\x1bPxyz\x18b", ["ab"], (0, 2)),
    "reset": (FILL + b"\x1b[2;3r\x1b[?6h\x1bcX", ["X"], (0, 1)),
    "soft reset": (
        FILL + b"\x1b[2;3r\x1b[4h\x1b[!p\x1b[5;1H\nX",
        ["bbb", "ccc", "ddd", "eee", "X"],
        (4, 1),
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_recorded_gives_the_screen_it_should(name: str) -> None:
    written, expected, cursor = RECORDED[name]
    emulator = after(written)
    assert lines(emulator) == expected
    assert place(emulator) == cursor


@pytest.mark.parametrize("name", RECORDED)
def test_it_does_not_matter_where_the_output_is_cut(name: str) -> None:
    written, _, _ = RECORDED[name]
    whole = after(written)
    cut = after(*(written[at : at + 1] for at in range(len(written))))
    assert same(whole, cut)


def same(one: Emulator, other: Emulator) -> bool:
    """Whether two terminals are alike in all that is to be seen."""
    return (
        [(row.chars, row.pens) for row in one.screen.lines]
        == [(row.chars, row.pens) for row in other.screen.lines]
        and one.screen.cursor == other.screen.cursor
        and one.screen.alternate == other.screen.alternate
        and [row.text() for row in one.screen.history]
        == [row.text() for row in other.screen.history]
    )


# The alternate screen and the history ------------------------------------------------------------


def test_the_alternate_screen_leaves_the_other_as_it_was() -> None:
    emulator = after(FILL, b"\x1b[2;2H\x1b[?1049h\x1b[Hvi\x1b[?1049lX")
    assert lines(emulator) == ["aaa", "bXb", "ccc", "ddd", "eee"]


def test_the_alternate_screen_is_blank_each_time_and_has_no_history() -> None:
    emulator = after(b"\x1b[?1049hold\x1b[?1049l\x1b[?1049h" + b"\r\n" * 20)
    assert lines(emulator) == [""]
    assert not emulator.screen.history


def test_what_leaves_at_the_top_is_in_the_history_up_to_a_limit() -> None:
    emulator = Emulator(3, 10, history=4)
    emulator.feed(b"".join(b"%d\r\n" % number for number in range(20)))
    assert [row.text().strip() for row in emulator.screen.history] == ["14", "15", "16", "17"]
    assert emulator.screen.scrolled == 18
    assert [row.text().strip() for row in emulator.screen.shown(2)] == ["16", "17", "18"]
    emulator.feed(b"\x1b[3J")
    assert not emulator.screen.history


def test_rows_that_scroll_between_margins_are_not_history() -> None:
    emulator = after(FILL, b"\x1b[2;4r\x1b[4;1H\n\n\n")
    assert not emulator.screen.history


def test_a_lower_screen_gives_its_top_rows_to_the_history_and_gets_them_back() -> None:
    emulator = after(FILL)
    emulator.resize(2, 10)
    assert lines(emulator) == ["ddd", "eee"]
    assert place(emulator) == (1, 3)
    emulator.resize(5, 10)
    assert lines(emulator) == ["aaa", "bbb", "ccc", "ddd", "eee"]
    assert place(emulator) == (4, 3)


def test_a_lower_screen_loses_blank_rows_first() -> None:
    emulator = after(b"aaa\r\nbbb")
    emulator.resize(2, 10)
    assert lines(emulator) == ["aaa", "bbb"]
    assert not emulator.screen.history


def test_both_screens_take_another_size() -> None:
    emulator = after(FILL, b"\x1b[?1049h\x1b[5;10Hx")
    emulator.resize(3, 4)
    assert len(emulator.screen.lines) == 3
    emulator.feed(b"\x1b[?1049l!")
    assert lines(emulator) == ["ccc", "ddd", "eee!"]


# Colours and attributes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("1;4;7", Pen(flags=BOLD | UNDERLINE | REVERSE)),
        ("1;22;4;24;7;27", Pen()),
        ("31;42", Pen(1, 2)),
        ("91;107", Pen(9, 15)),
        ("38;5;200;48;5;16", Pen(200, 16)),
        ("38;2;1;2;3", Pen(TRUE_COLOR | 0x010203)),
        ("38:2::1:2:3;48:5:7", Pen(TRUE_COLOR | 0x010203, 7)),
        ("38:2:1:2:3", Pen(TRUE_COLOR | 0x010203)),
        ("4:3", Pen(flags=UNDERLINE)),
        ("4:3;4:0", Pen()),
        ("58;2;9;9;9;31", Pen(1)),
        ("31;39;42;49", Pen()),
        ("31;1;0", Pen()),
        ("31;;", Pen()),
        ("38;5;256;1", Pen(flags=BOLD)),
        ("38;2;300;0;0;1", Pen(flags=BOLD)),
        ("38;5", Pen()),
        ("38", Pen()),
        ("5;6;10;73;999;1", Pen(flags=BOLD)),
    ],
)
def test_a_rendition_gives_the_pen_it_should(parameters: str, expected: Pen) -> None:
    assert dipped(Pen(), parameters) == expected


def test_erasing_keeps_the_background_and_nothing_else() -> None:
    emulator = after(b"\x1b[1;31;44mab\x1b[K\r\n\x1b[J")
    row = emulator.screen.lines[0]
    assert row.pens[0] == Pen(1, 4, BOLD)
    assert row.pens[5] == Pen(DEFAULT, 4)
    assert emulator.screen.lines[3].pens[0] == Pen(DEFAULT, 4)


@pytest.mark.parametrize(
    ("colors", "background"),
    [(TERMINAL_DARK[1:], GREYS_DARK), (TERMINAL_LIGHT, GREYS_LIGHT)],
    ids=["dark", "light"],
)
def test_every_colour_can_be_read_on_the_background(
    colors: tuple[str, ...], background: dict[str, str]
) -> None:
    assert all(contrast(color, background["background"]) >= 4.5 for color in colors)


def painter(*, ascii: bool = False) -> RowPainter:
    """Return a painter in the dark theme."""
    variables = {**own_variables(True), "foreground": "#e4e8ed", "background": "#101317"}
    return RowPainter(Paint(variables, True), ascii=ascii)


def test_the_256_colours_are_those_of_xterm() -> None:
    paints = painter()
    assert paints.color(16, "") == "#000000"
    assert paints.color(196, "") == "#ff0000"
    assert paints.color(67, "") == "#5f87af"
    assert paints.color(231, "") == "#ffffff"
    assert paints.color(232, "") == "#080808"
    assert paints.color(255, "") == "#eeeeee"


def test_in_ascii_lines_stay_lines_and_every_cell_keeps_its_width() -> None:
    row = after("┌─┐│中é".encode()).screen.lines[0]
    assert painter(ascii=True).strip(row, 10, None, False).text == "+-+|???   "


def test_narrow_text_is_narrow() -> None:
    narrow = [chr(code) for code in range(0x20, 0x3000) if NARROW.fullmatch(chr(code))]
    assert len(narrow) > 1000
    assert {get_character_cell_size(char) for char in narrow} == {1}


# Questions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (b"\x1b[c", b"\x1b[?62;22c"),
        (b"\x1b[0c", b"\x1b[?62;22c"),
        (b"\x1b[>c", b"\x1b[>1;0;0c"),
        (b"\x1b[5n", b"\x1b[0n"),
        (b"ab\x1b[6n", b"\x1b[1;3R"),
        (b"\x1b[2;4r\x1b[?6h\x1b[2;2H\x1b[6n", b"\x1b[2;2R"),
        (b"\x1b[21t\x1b[18t\x1b[x\x05\x1bZ", b""),
        (b"\x1b]10;?\x07\x1b]52;c;?\x07\x1b]0;x\x07\x1b[21t", b""),
        (b"\x1bP$qm\x1b\\\x1bP+q544e\x1b\\", b""),
        (b"\x1b[>q\x1b[?2026$p\x1b[=c\x1b[?6c", b""),
    ],
)
def test_only_attributes_status_and_place_are_reported(asked: bytes, told: bytes) -> None:
    answers: list[bytes] = []
    Emulator(ROWS, COLUMNS, answer=answers.append).feed(asked)
    assert b"".join(answers) == told


# Anything at all ---------------------------------------------------------------------------------

PARTS = st.sampled_from(
    [b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b", b"\x9b", b";", b":", b"?", b">", b"!", b"$", b" "]
    + [b"\x07", b"\x1b\\", b"\n", b"\r", b"\t", b"\b", b"a", "中".encode(), "e\u0301".encode()]
    + ["🇩🇪".encode(), "👩\u200d🚀".encode(), "❤\ufe0f".encode(), b"\xff", b"\x0e", b"\x0f", b"\x18"]
    + [b"0", b"1", b"2", b"5", b"99999999999999999999", b"38;5;", b"48;2;1;2;3", b"#8", b"(0"]
    + [bytes([code]) for code in range(0x40, 0x7F)]
    + [b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?6h", b"\x1b[?7l", b"\x1b[4h", b"\x1b[2;3r", b"\x1bc"]
)
OUTPUT = st.lists(st.one_of(PARTS, st.binary(max_size=8)), max_size=80).map(b"".join)
SIZE = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(OUTPUT, SIZE), min_size=1, max_size=4))
def test_no_output_breaks_the_screen(pieces: list[tuple[bytes, tuple[int, int]]]) -> None:
    answers: list[bytes] = []
    emulator = Emulator(4, 7, answer=answers.append, history=5)
    paints = painter()
    for output, (rows, columns) in pieces:
        emulator.feed(output)
        emulator.resize(rows, columns)
        screen = emulator.screen
        assert len(screen.lines) == rows
        assert 0 <= screen.cursor.row < rows
        assert 0 <= screen.cursor.column < columns
        assert 0 <= screen.top <= screen.bottom < rows
        assert len(screen.history) <= 5
        for row in (*screen.lines, *screen._other):
            assert len(row.chars) == len(row.pens) == columns
            assert row.chars[0] != ""
        for row in screen.shown(3):
            for cursor in (None, 0, columns - 1):
                strip = paints.strip(row, columns, cursor, True)
                assert sum(segment.cell_length for segment in strip) == columns
                assert not {category(char) for char in strip.text} & {"Cc", "Cf", "Zl", "Zp"}
    assert all(answer.startswith(b"\x1b[") for answer in answers)


@settings(max_examples=300, deadline=None)
@given(OUTPUT, st.lists(st.integers(0, 400), max_size=6))
def test_any_output_gives_the_same_screen_however_it_is_cut(output: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(output)), len(output)]
    whole = after(output)
    assert same(whole, after(*(output[a:b] for a, b in pairwise(edges))))
    assert same(whole, after(*(output[at : at + 1] for at in range(len(output)))))


# Another terminal's opinion ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tmux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], str]]:
    """Give a function that returns what tmux shows after some output, and its cursor."""
    program = shutil.which("tmux")
    if program is None:
        pytest.skip("tmux is not installed")
    folder = tmp_path_factory.mktemp("tmux")
    settings_file = folder / "conf"
    settings_file.write_text("set -g status off\n")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    environment.pop("TMUX", None)

    def call(*words: str) -> str:
        return subprocess.run(
            [program, "-S", str(folder / "socket"), "-f", str(settings_file), *words],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
            timeout=30,
        ).stdout

    count = 0

    def show(output: bytes) -> str:
        nonlocal count
        count += 1
        written: Path = folder / f"{count}"
        written.write_bytes(output)
        name = f"s{count}"
        # Asked where the cursor is, it has read all that came before.
        asked = "printf '\\033[6n'; head -c 6 >/dev/null"
        tell = f"{program} -S {folder}/socket wait-for -S {name}"
        call(
            *("new-session", "-d", "-s", name, "-x", str(2 * COLUMNS), "-y", str(2 * ROWS)),
            f"stty raw -echo; cat {written}; {asked}; {tell}; sleep 60",
        )
        call("wait-for", name)
        shown = call("capture-pane", "-t", name, "-p")
        cursor = call("display-message", "-t", name, "-p", "#{cursor_y} #{cursor_x}")
        call("kill-session", "-t", name)
        return "\n".join(line.rstrip() for line in shown.split("\n")).rstrip("\n") + "\n" + cursor

    call("new-session", "-d", "-s", "first", "sleep 600")
    yield show
    call("kill-server")


def composed(seed: int) -> bytes:
    """Make up output on which terminals agree: sequences at known places inside the margins."""
    choose = random.Random(seed)
    parts = []
    top, bottom = 1, 2 * ROWS
    for _ in range(choose.randint(3, 25)):
        kind = choose.random()
        there = f"\x1b[{choose.randint(top, bottom)};{choose.randint(1, 2 * COLUMNS)}H"
        number = choose.choice(["", "1", "2", "3", "7"])
        if kind < 0.5:
            letters = choose.choices("abcdefghijklmnopqrstuvwxyzé", k=choose.randint(1, 30))
            parts.append(choose.choice([there, "", "\r\n"]) + "".join(letters))
        elif kind < 0.6:
            top = choose.randint(1, ROWS)
            bottom = choose.randint(top + 1, 2 * ROWS)
            parts.append(f"\x1b[{top};{bottom}r")
        elif kind < 0.75:
            parts.append(there + choose.choice(["\x1bD", "\x1bE", "\x1bM", "\n", "\t"]))
        elif kind < 0.8:
            parts.append(there + f"\r\x1b[{number}{choose.choice('LM')}")
        elif kind < 0.85:
            parts.append(there + f"\x1b[{choose.choice(['', '0', '1', '2'])}{choose.choice('JK')}")
        else:
            parts.append(there + f"\x1b[{number}{choose.choice('ABCDEFGPSTXdZ')}")
    return "".join([*parts, "\x1b[1;1H"]).encode()


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_tmux_shows_the_same(tmux: Callable[[bytes], str], start: int) -> None:
    for seed in range(start, start + 50):
        output = composed(seed)
        emulator = after(output, rows=2 * ROWS, columns=2 * COLUMNS)
        row, column = place(emulator)
        mine = "\n".join(lines(emulator)) + f"\n{row} {column}\n"
        assert tmux(output) == mine, (seed, output)
