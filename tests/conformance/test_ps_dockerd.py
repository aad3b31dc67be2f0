"""`layerview ps` and `volume ls` print of an engine's data root what Docker's client prints."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import archives
from tests.support.commands import Command
from tests.support.container_lab import BUSYBOX, busybox_layer
from tests.support.dockerd import Dockerd

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
]
COMMANDS: dict[str, list[str]] = {
    "zero": ["true"],
    "seven": ["sh", "-c", "exit 7"],
    "quotes": ["echo", 'a "b"', "c'd", "back\\slash"],
    "lines": ["echo", "one\ntwo\tthree"],
    "twenty": ["echo", "x" * 15],
    "twentyone": ["echo", "x" * 16],
    "wide": ["echo", "häßlich", "ñandú ßtreet"],
    "empty": ["echo", "", " "],
    "runs": ["sleep", "1000"],
}
CALLED = {"runs": "docker.io/library/bb:1", "twenty": "bb"}
"""What the image is called where it is not called bb:1."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    folder = tmp_path_factory.mktemp("image")
    spec = archives.image(busybox_layer(), tags=["bb:1"], config={"Cmd": ["sh"]})
    with Dockerd("overlay2", folder / "data") as made:
        made.docker("load", "-i", archives.docker_archive(folder / "bb.tar", spec))
        made.docker("tag", "bb:1", "gone:1")
        made.docker("tag", "bb:1", "bb:latest")
        image = made.docker("images", "-q", "bb:1").decode().strip()
        CALLED["lines"] = image[:5]
        CALLED["empty"] = made.inspect("bb:1")["Id"]
        for name, command in COMMANDS.items():
            words = ["create", "--network", "none", "--name", name, "-l", f"of={name}"]
            named = {"seven": image, "quotes": "gone:1", **CALLED}.get(name, "bb:1")
            made.docker(*words, "-v", f"{name}-data:/data", named, *command)
        made.docker("rmi", "gone:1")
        made.docker("start", "zero", "seven", "runs")
        made.docker("wait", "zero", "seven")
        yield made


@pytest.mark.parametrize(
    "words",
    [
        "ps",
        "ps -a",
        "ps -aq",
        "ps -a --no-trunc",
        "ps -aq --no-trunc",
        "ps -l",
        "ps -n 3",
        "ps -a -f status=created",
        "ps -a -f exited=7 -f exited=0",
        "ps -f exited=7",
        "ps -a -f name=t",
        "ps -a -f label=of=wide",
        "ps -a -f ancestor=bb:1",
        "ps -a -f before=wide",
        "ps -a -f since=wide",
        "ps -a -f volume=empty-data",
        "ps -a -f volume=/data",
        "volume ls",
        "volume ls -q",
        "volume ls -f name=t",
        "volume ls -f dangling=true",
    ],
)
def test_the_same_is_printed(
    engine: Dockerd, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(capsys)
    # An age may become another one between the two.
    for _ in range(20):
        theirs = engine.docker(*words.split()).decode()
        ours = run(*words.split(), "--root", Path(engine.data))
        if ours.out == theirs:
            break
        time.sleep(0.3)
    assert (ours.status, ours.errors) == (0, "")
    assert ours.out == theirs
