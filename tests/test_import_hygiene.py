"""What the quick commands must not import: seen in sys.modules of a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import archives, tars

SLOW = ["aiofiles", "asyncio", "click", "numpy", "pydantic", "rich", "textual", "watchfiles"]
RUN = """
import sys
from layerview.cli.main import main
status = main(sys.argv[1:])
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
