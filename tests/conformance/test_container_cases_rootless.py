"""The containers' cases once more as ordinary users, who need no right but a user namespace."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_each, everybodys_fuse, readable_site, user

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


def test_every_case_holds_for_ordinary_users(site: Path, place: Path) -> None:
    def words(name: str) -> list[str]:
        own = place / name
        own.mkdir()
        subprocess.run(["chown", user(name), str(own)], check=True)
        how = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", f"{own}/tmp"]
        return ["-m", "pytest", *how, CASES]

    for done in as_each(["lvuser", "lvplain"], site, words, timeout=1200):
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed is not None
        assert int(passed[1]) >= 60
