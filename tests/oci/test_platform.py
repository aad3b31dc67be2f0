from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import FormatError
from layerview.oci.platform import Platform
from tests.oci.attempts import attempt
from tests.oci.strategies import json_values, platforms


@pytest.fixture
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))


@pytest.mark.usefixtures("amd64")
@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/X86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm64/8", "linux/arm64/v8"),
        ("linux/arm64/v9.2", "linux/arm64/v9.2"),
        ("linux/arm", "linux/arm"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("plan10/vax", "plan10/vax"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("x86-64", "linux/amd64"),
        ("armhf", "linux/arm"),
        ("linux", "linux/amd64"),
        ("freebsd", "freebsd/amd64"),
    ],
)
def test_a_platform_is_parsed_as_docker_does(typed: str, whole: str) -> None:
    assert str(Platform.parse(typed)) == whole


@pytest.mark.parametrize(
    "typed",
    ["", "/", "linux/", "/amd64", "vax", "linux/amd64/v1/x", "*", "linux/*", "linux/a b", "a\n"],
)
def test_what_is_no_platform_is_refused(typed: str) -> None:
    with pytest.raises(FormatError, match="is not a platform"):
        Platform.parse(typed)


@given(st.text(max_size=40) | st.text("linuxarm64/v8().*", max_size=20))
@settings(deadline=None)
def test_parsing_any_text_gives_a_platform_or_a_format_error(text: str) -> None:
    platform = attempt(Platform.parse, text)
    if isinstance(platform, Platform):
        assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("i686", "linux/386"),
        ("ppc64le", "linux/ppc64le"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_the_kernel_name_of_a_machine_gives_its_platform(
    machine: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    assert str(Platform.host()) == platform


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Platform("linux", "arm64"), Platform("linux", "arm64", "v8")),
        (Platform("linux", "aarch64"), Platform("Linux", "arm64", "8")),
        (Platform("linux", "arm"), Platform("linux", "arm", "v7")),
        (Platform("linux", "x86_64"), Platform("linux", "amd64", "v1")),
        (
            Platform("windows", "amd64", os_version="10.0.17763"),
            Platform("windows", "amd64", os_version="10.0.17763.1234"),
        ),
        (Platform("windows", "amd64"), Platform("windows", "amd64", os_version="10.0.1")),
    ],
)
def test_two_spellings_of_a_platform_match(one: Platform, other: Platform) -> None:
    assert one.matches(other)
    assert other.matches(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6")),
        (Platform("linux", "amd64"), Platform("linux", "386")),
        (Platform("linux", "amd64"), Platform("windows", "amd64")),
        (Platform("linux", "arm64"), Platform("linux", "arm", "v8")),
        (
            Platform("windows", "amd64", os_version="10.0.17763"),
            Platform("windows", "amd64", os_version="10.0.20348"),
        ),
    ],
)
def test_different_platforms_do_not_match(one: Platform, other: Platform) -> None:
    assert not one.matches(other)
    assert not other.matches(one)


@given(platforms)
@settings(deadline=None)
def test_the_normal_form_matches_and_is_final(platform: Platform) -> None:
    normal = platform.normalised()
    assert normal.normalised() == normal
    assert platform.matches(normal)


@pytest.mark.parametrize(
    ("platform", "runs"),
    [
        ("linux/amd64", "linux/amd64 linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"),
        ("linux/arm", "linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm/v6", "linux/arm/v6 linux/arm/v5"),
        (
            "linux/arm64",
            "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
        ),
        (
            "linux/arm64/v8.2",
            "linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 "
            "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
        ),
        (
            "linux/arm64/v9.1",
            "linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6 linux/arm64/v8.5 linux/arm64/v8.4 "
            "linux/arm64/v8.3 linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 "
            "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
        ),
        ("linux/s390x", "linux/s390x"),
        ("linux/riscv64/odd", "linux/riscv64/odd"),
    ],
)
def test_a_platform_also_runs_what_is_older_of_its_kind(platform: str, runs: str) -> None:
    assert [str(this) for this in Platform.parse(platform).fallbacks()] == runs.split()


@given(platforms)
@settings(deadline=None)
def test_a_platform_runs_itself_first_and_nothing_twice(platform: Platform) -> None:
    runs = platform.fallbacks()
    assert runs[0].matches(platform)
    assert len(set(runs)) == len(runs)


def test_a_platform_without_an_os_is_printed_as_unknown() -> None:
    assert str(Platform("", "")) == "unknown"
    assert Platform("unknown", "unknown").is_unknown


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "platform: must be an object, not an array"),
        ({"os": "linux"}, "platform: architecture is missing"),
        ({"architecture": "arm64"}, "platform: os is missing"),
        ({"os": 1, "architecture": "a"}, "platform: os must be a string, not a number"),
        (
            {"os": "linux", "architecture": "arm", "variant": ["v7"]},
            "platform: variant must be a string, not an array",
        ),
    ],
)
def test_a_faulty_platform_names_its_field(value: object, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        Platform.from_json(value)
    assert str(caught.value) == message


@given(
    st.fixed_dictionaries(
        {"os": json_values, "architecture": json_values},
        optional={"variant": json_values, "os.version": json_values},
    )
)
@settings(deadline=None)
def test_any_platform_object_gives_a_platform_or_a_format_error(value: dict[str, object]) -> None:
    platform = attempt(Platform.from_json, value)
    if isinstance(platform, Platform):
        assert platform.os == value["os"]
        assert platform.normalised() == platform.normalised().normalised()
