"""What keys and pastes send to a program in the terminal pane."""

from __future__ import annotations

import pytest
from textual._xterm_parser import XTermParser
from textual.events import Key

from layerview.tui.terminal.keyboard import pasted, sent_by


@pytest.mark.parametrize(
    ("key", "character", "sent"),
    [
        ("a", "a", b"a"),
        ("A", "A", b"A"),
        ("space", " ", b" "),
        ("eacute", "é", "é".encode()),
        ("plus", "+", b"+"),
        ("enter", "\r", b"\r"),
        ("tab", "\t", b"\t"),
        ("shift+tab", None, b"\x1b[Z"),
        ("escape", "\x1b", b"\x1b"),
        ("backspace", "\x7f", b"\x7f"),
        ("ctrl+backspace", None, b"\x08"),
        ("ctrl+c", "\x03", b"\x03"),
        ("ctrl+z", "\x1a", b"\x1a"),
        ("ctrl+q", "\x11", b"\x11"),
        ("ctrl+p", "\x10", b"\x10"),
        ("ctrl+@", "\x00", b"\x00"),
        ("ctrl+space", None, b"\x00"),
        ("ctrl+backslash", "\x1c", b"\x1c"),
        ("ctrl+right_square_bracket", "\x1d", b"\x1d"),
        ("ctrl+circumflex_accent", "\x1e", b"\x1e"),
        ("ctrl+underscore", "\x1f", b"\x1f"),
        ("ctrl+j", "\n", b"\n"),
        ("alt+x", "x", b"\x1bx"),
        ("alt+shift+x", "X", b"\x1bX"),
        ("alt+ctrl+x", None, b"\x1b\x18"),
        ("alt+enter", None, b"\x1b\r"),
        ("up", None, b"\x1b[A"),
        ("ctrl+left", None, b"\x1b[1;5D"),
        ("alt+shift+end", None, b"\x1b[1;4F"),
        ("home", None, b"\x1b[H"),
        ("delete", None, b"\x1b[3~"),
        ("shift+insert", None, b"\x1b[2;2~"),
        ("pagedown", None, b"\x1b[6~"),
        ("f1", None, b"\x1bOP"),
        ("f4", None, b"\x1bOS"),
        ("f5", None, b"\x1b[15~"),
        ("f12", None, b"\x1b[24~"),
        ("f13", None, b"\x1b[1;2P"),
        ("f17", None, b"\x1b[15;2~"),
        ("ctrl+f3", None, b"\x1b[1;5R"),
        ("shift+f5", None, b"\x1b[15;2~"),
        ("left_shift", None, b""),
        ("ctrl+left_control", None, b""),
    ],
)
def test_a_key_sends_what_xterms_does(key: str, character: str | None, sent: bytes) -> None:
    assert sent_by(key, character) == sent


def test_programs_that_ask_for_it_get_other_cursor_keys() -> None:
    assert sent_by("up", None, application_cursor=True) == b"\x1bOA"
    assert sent_by("end", None, application_cursor=True) == b"\x1bOF"
    assert sent_by("shift+up", None, application_cursor=True) == b"\x1b[1;2A"
    assert sent_by("delete", None, application_cursor=True) == b"\x1b[3~"


@pytest.mark.parametrize(
    "typed",
    [bytes([code]) for code in range(1, 0x7F) if code not in (0x08, 0x1B)]
    + [b"\x1b[A", b"\x1b[H", b"\x1b[5~", b"\x1bOP", b"\x1b[15~", b"\x1b[24~", b"\x1b[1;2P"]
    + [b"\x1b[1;5C", b"\x1b[1;2D", b"\x1b[3;5~", b"\x1b[Z", b"\x7f", "ß".encode(), "中".encode()],
)
def test_what_is_typed_arrives_as_it_was_typed(typed: bytes) -> None:
    keys = [event for event in XTermParser().feed(typed.decode()) if isinstance(event, Key)]
    assert b"".join(sent_by(event.key, event.character) for event in keys) == typed


def test_a_paste_is_marked_for_programs_that_ask_and_presses_no_keys() -> None:
    text = "rm\x1b[201~ -r\x03\r\nfé\x7f\x9b31m\tx\n"
    assert pasted(text, bracketed=False) == "rm[201~ -r\rfé31m\tx\r".encode()
    assert pasted(text, bracketed=True) == (
        b"\x1b[200~" + "rm[201~ -r\rfé31m\tx\r".encode() + b"\x1b[201~"
    )
