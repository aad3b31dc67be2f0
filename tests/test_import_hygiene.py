"""What the quick commands must not import: seen in sys.modules of a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import archives, tars
from tests.support.container_lab import BUSYBOX, Lab, busybox_layer

SLOW = ["aiofiles", "asyncio", "click", "numpy", "pydantic", "rich", "textual", "watchfiles"]
HEAVY = [*SLOW, "argparse", "dataclasses", "inspect", "shutil", "subprocess", "tempfile"]
"""What the start of a container, and what tells of one, does not wait for."""
NOT_AT_A_START = [*HEAVY, "importlib", "selectors", "socket", "threading", "typing", "warnings"]
"""What stands between the words and a new container's first instruction is counted in all."""
RUN = """
import sys
from layerview.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print(status, *sorted(set(sys.modules) & set({slow!r})), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two small layers, the upper of which changes the lower's file."""
    base = tars.layer(tars.folder("a"), tars.file("a/f", b"one\n"))
    top = tars.layer(tars.folder("a"), tars.file("a/f", b"two\n"))
    place = tmp_path_factory.mktemp("image") / "demo.tar"
    return str(archives.docker_archive(place, archives.image(base, top, compression="gzip")))


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["layers", "IMAGE", "--json"],
        ["layers", "IMAGE"],
        ["history", "IMAGE", "--json"],
        ["inspect", "IMAGE", "--json"],
        ["files", "IMAGE", "--json"],
        ["files", "IMAGE"],
        ["which", "IMAGE", "/a/f", "--json"],
        ["cat", "IMAGE", "/a/f"],
        ["waste", "IMAGE", "--json"],
        ["diff", "IMAGE", "IMAGE", "--json"],
    ],
    ids=" ".join,
)
def test_a_command_imports_nothing_slow(words: list[str], image: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(slow=SLOW)]
        + [image if word == "IMAGE" else word for word in words],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert done.stderr.splitlines()[-1:] == ["0"]


def test_the_demo_image_is_found_without_them(tmp_path: Path) -> None:
    code = (
        "import sys; from layerview.sources.demo import demo_image; demo_image();"
        f"print(*sorted(set(sys.modules) & set({SLOW!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        timeout=60,
        check=True,
    )
    assert done.stdout == "\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An area with an image, and a container that has ended."""
    if os.geteuid() != 0:
        pytest.skip("the overlay driver needs root")
    if not os.path.exists(BUSYBOX):
        pytest.skip("busybox-static is not installed")
    made = Lab(tmp_path_factory.mktemp("lab") / "area")
    made.load("bb:1", busybox_layer())
    made.out("run", "-d", "--name", "ended", "bb:1", "true")
    yield made
    made.clear()
    made.end_worker()
    made.nothing_left()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--help"],
        ["run", "--rm", "bb:1", "true"],
        ["run", "-d", "--rm", "bb:1", "true"],
        ["create", "--rm", "bb:1", "true"],
    ],
    ids=" ".join,
)
def test_a_new_container_waits_for_little(words: list[str], lab: Lab) -> None:
    imports_none(NOT_AT_A_START, words, lab)


@pytest.mark.parametrize(
    "words",
    [
        ["start", "-a", "ended"],
        ["wait", "ended"],
        ["stop", "ended"],
        ["logs", "ended"],
        ["watch", "--help"],
    ],
    ids=" ".join,
)
def test_a_container_waits_for_nothing_heavy(words: list[str], lab: Lab) -> None:
    imports_none(HEAVY, words, lab)


@pytest.mark.parametrize(
    "words", [["ps", "-a"], ["ps", "--json"], ["ps", "-s"], ["volume", "ls"]], ids=" ".join
)
def test_lists_of_containers_import_nothing_slow(words: list[str], lab: Lab) -> None:
    imports_none([*SLOW, "argparse", "subprocess"], words, lab)


def test_watching_imports_nothing_slow_as_root(lab: Lab) -> None:
    imports_none(SLOW, ["watch", "ended", "--summary", "--json"], lab)


def imports_none(slow: list[str], words: list[str], lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN.format(slow=slow), *words],
        capture_output=True,
        text=True,
        env=lab.environment,
        timeout=60,
        check=False,
    )
    assert done.stderr.splitlines()[-1:] == ["0"]
