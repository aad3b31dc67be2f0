"""The containers' cases once more as ordinary users, who need no right but a user namespace."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_user, everybodys_fuse, readable_site, user

pytestmark = pytest.mark.conformance

CASES = "tests/conformance/test_container_cases.py"


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with everybodys_fuse(), readable_site() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk, not in memory, that everybody may enter."""
    made = Path(f"/var/tmp/layerview-containers-{os.getpid()}")
    made.mkdir(mode=0o755)
    yield made
    subprocess.run(["rm", "-rf", "--", str(made)], check=True)


@pytest.mark.parametrize("name", ["lvuser", "lvplain"])
def test_every_case_holds_for_an_ordinary_user(name: str, site: Path, place: Path) -> None:
    own = place / name
    own.mkdir()
    subprocess.run(["chown", user(name), str(own)], check=True)
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-rs",
        "--basetemp",
        f"{own}/tmp",
        CASES,
    ]
    done = as_user(name, site, *words, timeout=1200)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 60
