"""Words of container commands are read as Docker reads them."""

from __future__ import annotations

import pytest

from layerview.cli.flags import Flags, Values, natural
from layerview.errors import UsageError


def flags() -> Flags:
    made = Flags("try", "IMAGE [ARG...]", "Try it.", example="layerview try x", short=False)
    made.switch("-i", "--interactive", about="input")
    made.switch("-t", "--tty", about="a terminal")
    made.switch("--sig-proxy", about="signals", default=True)
    made.value("-h", "--hostname", metavar="NAME", about="a name", default="")
    made.value("-n", "--last", metavar="N", about="a number", read=natural)
    made.values("-e", "--env", metavar="KEY=VALUE", about="variables that have a long explanation")
    return made


def parsed(*words: str, stop: bool = True) -> Values:
    return flags().parse(words, stop=stop)


def test_what_is_not_named_has_its_default() -> None:
    found = parsed()
    assert (found.interactive, found.tty, found.sig_proxy) == (False, False, True)
    assert (found.hostname, found.last, found.env, found.rest) == ("", None, [], [])


def test_letters_stand_together_and_the_last_one_may_have_a_value() -> None:
    found = parsed("-it", "-eA=1", "-e", "B=2", "-e=C=3", "--env=D=4", "--env", "E=5", "-tn7")
    assert (found.interactive, found.tty, found.last) == (True, True, 7)
    assert found.env == ["A=1", "B=2", "C=3", "D=4", "E=5"]


def test_switches_can_be_turned_off() -> None:
    found = parsed("--sig-proxy=false", "-i=true", "-t", "--tty=0", "--interactive=F")
    assert (found.sig_proxy, found.interactive, found.tty) == (False, False, False)


def test_a_list_is_one_call_s_alone() -> None:
    made = flags()
    assert made.parse(["-e", "A=1"]).env == ["A=1"]
    assert made.parse([]).env == []


def test_what_follows_the_image_is_the_container_s() -> None:
    assert parsed("-t", "image", "ls", "-i", "--", "--help").rest == [
        *("image", "ls", "-i", "--", "--help")
    ]
    assert parsed("--", "-image", "-i").rest == ["-image", "-i"]
    assert parsed("-").rest == ["-"]
    found = parsed("a", "-i", "b", "--", "-t", stop=False)
    assert (found.rest, found.interactive, found.tty) == (["a", "b", "-t"], True, False)


def test_a_value_may_begin_with_a_dash_or_be_empty() -> None:
    found = parsed("-h", "-i", "-e", "", "--hostname=")
    assert (found.hostname, found.interactive, found.env) == ("", False, [""])
    assert parsed("-h", "--tty", "x").hostname == "--tty"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nothing"], "there is no option --nothing"),
        (["--hostn", "x"], "there is no option --hostn"),
        (["-x"], "there is no option -x"),
        (["-ix"], "there is no option -x"),
        (["-e"], "-e needs KEY=VALUE"),
        (["-ie"], "-e needs KEY=VALUE"),
        (["--env"], "--env needs KEY=VALUE"),
        (["--tty=maybe"], "--tty is true or false, not 'maybe'"),
        (["-i="], "-i is true or false, not ''"),
        (["-n", "-1"], "'-1' is not a number"),
        (["-n", "x"], "'x' is not a number"),
        (["-n", "\u0661"], "is not a number"),
        (["--\x1b[31m"], "there is no option --\\x1b[31m"),
    ],
)
def test_words_that_are_off_are_said(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*words)
    assert said in str(caught.value)


def test_too_few_and_too_many_operands() -> None:
    with pytest.raises(UsageError, match=r"it takes IMAGE \[ARG...\]; see layerview try --help"):
        flags().parse(["-i"], least=1)
    with pytest.raises(UsageError):
        flags().parse(["a", "b"], most=1)


def test_the_help_names_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed("-i", "--help")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown == (
        "usage: layerview try [OPTIONS] IMAGE [ARG...]\n\nTry it.\n\noptions:\n"
        "  --help                    show this help\n"
        "  -i, --interactive         input\n"
        "  -t, --tty                 a terminal\n"
        "  --sig-proxy               signals\n"
        "  -h, --hostname NAME       a name\n"
        "  -n, --last N              a number\n"
        "  -e, --env KEY=VALUE       variables that have a long explanation\n"
        "\nexample: layerview try x\n"
    )


def test_there_is_nothing_but_what_was_asked_for() -> None:
    with pytest.raises(AttributeError):
        _ = parsed().colour
