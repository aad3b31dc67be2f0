"""What a container runs, out of its image and the call; the rules are Docker's."""

from __future__ import annotations

import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerview.containers.plan import MountWish, Options, StartError
from layerview.containers.spec import Settings, environment, settle, signal_number
from layerview.errors import UsageError
from layerview.oci.config import ImageConfig

ID = "ab" * 32


def settled(image: dict[str, object], **options: object) -> Settings:
    config = {"rootfs": {"type": "layers", "diff_ids": []}, "config": image}
    data = json.dumps(config).encode()
    return settle(ImageConfig.from_json(data), "image:1", ID, Options(**options))  # type: ignore[arg-type]


def words(image: dict[str, object], **options: object) -> list[str]:
    found = settled(image, **options)
    return [found.path, *found.args]


def test_words_of_the_call_take_the_place_of_cmd_and_follow_the_entry_point() -> None:
    both = {"Entrypoint": ["entry", "-e"], "Cmd": ["cmd"]}
    assert words(both) == ["entry", "-e", "cmd"]
    assert words(both, args=("mine", "-m")) == ["entry", "-e", "mine", "-m"]
    assert words({"Cmd": ["cmd", "-c"]}, args=("mine",)) == ["mine"]
    assert words({"Entrypoint": "one text"}) == ["one text"]


def test_another_entry_point_makes_the_image_s_cmd_count_no_more() -> None:
    both = {"Entrypoint": ["entry"], "Cmd": ["cmd"]}
    assert words(both, entrypoint=("mine",)) == ["mine"]
    assert words(both, entrypoint=("mine",), args=("a",)) == ["mine", "a"]
    with pytest.raises(StartError, match="names no program"):
        words(both, entrypoint=())


def test_without_a_program_nothing_is_started() -> None:
    for image in ({}, {"Cmd": []}, {"Cmd": [""]}, {"Entrypoint": None}):
        with pytest.raises(StartError, match="names no program") as caught:
            words(dict(image))
        assert caught.value.code == 125


def test_variables_of_the_call_go_above_the_image_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKEN", "over")
    monkeypatch.delenv("MISSING", raising=False)
    image = {"Env": ["A=image", "B=image", "MISSING=image"]}
    found = settled(image, args=("x",), env=("A=call", "TAKEN", "MISSING", "A=twice"))
    assert found.config["Env"] == ["A=twice", "TAKEN=over", "B=image"]


def test_docker_s_defaults_stand_where_nothing_else_is_said() -> None:
    config = settled({"Env": ["X=1"]}, args=("a",)).config
    assert environment(config, "host") == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=host",
        "X=1",
    )
    config = settled({"Env": ["PATH=/own", "TERM=mine"]}, args=("a",), tty=True).config
    assert environment(config, "host") == ("PATH=/own", "HOSTNAME=host", "TERM=mine")


@given(
    st.lists(st.text("AB=x", min_size=1).filter(lambda one: not one.startswith("="))),
    st.lists(st.text("AB=x", min_size=1).filter(lambda one: not one.startswith("="))),
)
def test_every_variable_stands_once(image: list[str], call: list[str]) -> None:
    config = settled({"Env": image}, env=tuple(call), args=("a",)).config
    found = environment(config, "h")
    keys = [entry.partition("=")[0] for entry in found]
    assert len(keys) == len(set(keys))
    assert all("=" in entry for entry in found)
    for entry in call:
        key, sign, _ = entry.partition("=")
        if sign:
            last = [other for other in call if other.startswith(f"{key}=")][-1]
            assert last in found


def test_the_image_s_volumes_are_mounted_where_the_call_says_nothing() -> None:
    image = {"Volumes": {"/a": {}, "/b/": {}, "relative": {}, "/": {}}}
    wish = MountWish("bind", "/src", "/b")
    assert settled(image, args=("x",), mounts=(wish,)).mounts == (
        MountWish("volume", "", "/a"),
        wish,
    )


def test_nothing_is_mounted_on_twice() -> None:
    twice = (MountWish("volume", "v", "/a"), MountWish("volume", "w", "/b/../a"))
    with pytest.raises(UsageError, match="twice"):
        settled({}, args=("x",), mounts=twice)


def test_signals_are_known_by_name_and_number() -> None:
    for word in ("TERM", "SIGTERM", "sigterm", "15"):
        assert signal_number(word) == signal.SIGTERM
    assert signal_number("RTMIN+3") == signal.SIGRTMIN + 3
    for word in ("", "0", "99", "SIGNONE", "RTMIN+99", "-9", "9 9", "１５"):
        with pytest.raises(UsageError, match="no signal"):
            signal_number(word)
