"""What the words of a call without a command ask the terminal UI for."""

from __future__ import annotations

import pytest

from layerview.cli.tui import _parse
from layerview.errors import UsageError


def test_names_and_options_may_stand_in_any_order() -> None:
    call = _parse(["--ascii", "a.tar", "--theme", "light", "b.tar", "--platform=linux/arm64"])
    assert (call.names, call.theme, call.platform) == (["a.tar", "b.tar"], "light", "linux/arm64")
    assert (call.ascii, call.binary, call.no_cache) == (True, False, False)
    assert _parse(["--binary", "--no-cache"]).binary
    assert _parse(["--no-cache"]).no_cache


def test_standard_input_is_a_name_and_so_is_everything_behind_two_dashes() -> None:
    assert _parse(["-"]).names == ["-"]
    assert _parse(["a", "--", "--theme", "-x"]).names == ["a", "--theme", "-x"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--them", "dark"], "no option --them"),
        (["-x"], "no option -x"),
        (["--ascii=yes"], "no option --ascii"),
        (["--theme"], "--theme takes a value"),
        (["--theme", "blue"], "dark or light, not 'blue'"),
    ],
)
def test_what_is_not_known_is_said(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        _parse(words)
