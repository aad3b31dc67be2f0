from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerview.errors import FormatError
from layerview.oci.reference import Reference
from tests.oci.attempts import attempt
from tests.oci.strategies import familiar_names

SHA = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "f" * 128
HEX64 = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"

# What was typed, the whole reference, and how Docker prints it.
NORMALISED = [
    ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
    ("ubuntu:15.04", "docker.io/library/ubuntu:15.04", "ubuntu:15.04"),
    ("library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
    ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
    ("docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
    ("index.docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
    ("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
    ("someone/tool", "docker.io/someone/tool:latest", "someone/tool:latest"),
    ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
    (f"ubuntu@{SHA}", f"docker.io/library/ubuntu@{SHA}", f"ubuntu@{SHA}"),
    (f"ubuntu:1@{SHA}", f"docker.io/library/ubuntu:1@{SHA}", f"ubuntu:1@{SHA}"),
    (f"a.io/b:T@{SHA512}", f"a.io/b:T@{SHA512}", f"a.io/b:T@{SHA512}"),
    ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
    ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
    ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
    ("localhost:5000/x/y:z", "localhost:5000/x/y:z", "localhost:5000/x/y:z"),
    ("host/x", "docker.io/host/x:latest", "host/x:latest"),
    ("host:80/x", "host:80/x:latest", "host:80/x:latest"),
    ("test-com:8080/foo", "test-com:8080/foo:latest", "test-com:8080/foo:latest"),
    ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", "127.0.0.1:5000/a:latest"),
    ("192.168.0.1:80", "docker.io/library/192.168.0.1:80", "192.168.0.1:80"),
    ("[fc00::1]:5000/a", "[fc00::1]:5000/a:latest", "[fc00::1]:5000/a:latest"),
    ("[2001:db8::1]/a:t", "[2001:db8::1]/a:t", "[2001:db8::1]/a:t"),
    ("xn--n3h.com/a:xn--n3h", "xn--n3h.com/a:xn--n3h", "xn--n3h.com/a:xn--n3h"),
    ("Foo/bar", "Foo/bar:latest", "Foo/bar:latest"),
    ("name:Upper_Case.1-2", "docker.io/library/name:Upper_Case.1-2", "name:Upper_Case.1-2"),
    ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest", "a__b/c---d.e_f:latest"),
    ("test_com/foo", "docker.io/test_com/foo:latest", "test_com/foo:latest"),
    # No host has an underscore: Docker takes all of it as a path without a domain.
    ("foo_bar.com/x", "foo_bar.com/x:latest", "foo_bar.com/x:latest"),
    (f"docker.io/{HEX64}", f"docker.io/library/{HEX64}:latest", f"{HEX64}:latest"),
    (HEX64[:63], f"docker.io/library/{HEX64[:63]}:latest", f"{HEX64[:63]}:latest"),
    ("a:" + "t" * 128, "docker.io/library/a:" + "t" * 128, "a:" + "t" * 128),
    (
        "a.io/" + "a/" * 127 + "a",
        "a.io/" + "a/" * 127 + "a:latest",
        "a.io/" + "a/" * 127 + "a:latest",
    ),
]

REFUSED = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ":tag",
    f"@{SHA}",
    SHA.replace("sha256:", ""),
    HEX64,
    "Ubuntu",
    "UBUNTU:latest",
    "docker/Docker",
    "docker.io/a/B",
    "test:5000/Upper/lower:tag",
    "https://example.com/a",
    "-a",
    "a-",
    "-a/b",
    "a-/b",
    "_a/_b",
    "____/____",
    "a..b/c",
    "a_.b/c",
    "a-.b/c",
    "a___b",
    "a$b",
    "a b",
    "a\n",
    "a:tag\n",
    "\u00fcbuntu",
    "a:\u0661",
    "a:-tag",
    "a:.tag",
    "a:",
    "a:b:c",
    "a:" + "t" * 129,
    "a@sha256:abc",
    "a@" + SHA.upper(),
    "a@sha256:" + "f" * 34,
    "a@unknown:" + "f" * 64,
    f"a@{SHA}@{SHA}",
    f"a@{SHA}:tag",
    "[fc00::1]",
    "[fc00::1]:5000",
    "fc00::1:5000/a",
    "[fe80::1%eth0]:5000/a",
    "[2001:db8::192.0.2.33]:5000/a",
    "host:port/a",
    "a.io/" + "a/" * 128 + "a",
    "a" * 256,
]


@pytest.mark.parametrize(("typed", "whole", "familiar"), NORMALISED)
def test_a_name_is_normalised_as_docker_does(typed: str, whole: str, familiar: str) -> None:
    reference = Reference.parse(typed)
    assert str(reference) == whole
    assert reference.familiar == familiar


@pytest.mark.parametrize("typed", REFUSED)
def test_a_name_that_docker_refuses_is_refused_in_one_line(typed: str) -> None:
    with pytest.raises(FormatError) as caught:
        Reference.parse(typed)
    assert str(caught.value).isprintable()
    assert "is not an image reference: " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_parts_of_a_reference_are_told_apart() -> None:
    reference = Reference.parse(f"host:5000/team/tool:1.2@{SHA}")
    assert (reference.domain, reference.path) == ("host:5000", "team/tool")
    assert (reference.tag, str(reference.digest)) == ("1.2", SHA)
    assert reference.name == reference.familiar_name == "host:5000/team/tool"


def test_a_digest_alone_brings_no_tag_with_it() -> None:
    assert Reference.parse(f"ubuntu@{SHA}").tag is None


@given(familiar_names)
@settings(deadline=None)
def test_a_whole_reference_is_its_own_normal_form(typed: str) -> None:
    reference = Reference.parse(typed)
    assert Reference.parse(str(reference)) == reference


@given(familiar_names)
@settings(deadline=None)
def test_a_familiar_reference_names_the_same_image(typed: str) -> None:
    reference = Reference.parse(typed)
    assert Reference.parse(reference.familiar) == reference


@given(st.text(max_size=80) | st.text("aB1./:@-_[]", max_size=80))
@settings(deadline=None)
def test_parsing_any_text_gives_a_reference_or_a_format_error(text: str) -> None:
    reference = attempt(Reference.parse, text)
    if isinstance(reference, Reference):
        assert reference.tag or reference.digest
        assert Reference.parse(str(reference)) == reference


_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_GRAMMAR = re.compile(
    rf"(?:({_HOST})/)?({_PART}(?:/{_PART})*)(?::(\w[\w.-]{{0,127}}))?(?:@(sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)
"""Of whole references, as distribution/reference has it."""
_PIECES = [
    *("a", "b1", "A", "t" * 128, "f" * 64, "localhost", "docker.io/", "host.io", "5000", "fc00::1"),
    *(
        "-",
        "--",
        "_",
        "__",
        "___",
        ".",
        "..",
        "/",
        ":",
        "@",
        "[",
        "]",
        "\n",
        " ",
        "\u0661",
        "$",
        SHA,
    ),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=7).map("".join))
@settings(deadline=None, max_examples=1000)
def test_a_whole_reference_is_taken_apart_as_the_grammar_has_it(text: str) -> None:
    reference = attempt(Reference.parse, f"host.io/{text}")
    match = _GRAMMAR.fullmatch(f"host.io/{text}")
    if match is None or match[2].lower() != match[2]:
        assert not isinstance(reference, Reference)
    elif isinstance(reference, Reference):
        tag = match[3] if match[3] or match[4] else "latest"
        digest = None if reference.digest is None else str(reference.digest)
        assert (reference.domain, reference.path, reference.tag, digest) == (
            *(match[1], match[2]),
            *(tag, match[4]),
        )
    else:
        assert len(match[2]) > 255


@pytest.mark.parametrize("unit", ["a-", "a.", "a_", "a/", "a:", "[:", "-"])
def test_a_very_long_name_is_refused_at_once(unit: str) -> None:
    with pytest.raises(FormatError):
        Reference.parse(unit * 50_000 + "!")


@pytest.mark.conformance
@pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker command")
def test_docker_accepts_and_refuses_the_same_names(tmp_path: Path) -> None:
    for typed in [typed for typed, _, _ in NORMALISED] + REFUSED:
        if not typed or typed.startswith("-"):
            continue  # no name to the command line
        # The name is judged before the engine is looked for, and there is none.
        said = subprocess.run(
            ["docker", "--host", f"unix://{tmp_path}/none", "pull", "--quiet", typed],
            check=False,
            capture_output=True,
            text=True,
        ).stderr
        accepted = "connect to the docker" in said.lower()
        assert isinstance(attempt(Reference.parse, typed), Reference) == accepted, typed
