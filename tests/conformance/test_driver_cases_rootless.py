"""The drivers' cases once more as ordinary users, within a user namespace of theirs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_each, everybodys_fuse, readable_site, user

pytestmark = pytest.mark.conformance

CASES = "tests/conformance/test_driver_cases.py"
RUN = """
import sys
import pytest
from layerview.drivers.namespace import run_in_user_namespace
words = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", sys.argv[1], *sys.argv[2:]]
sys.exit(run_in_user_namespace(lambda: int(pytest.main(words))))
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with everybodys_fuse(), readable_site() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk, not in memory, that everybody may enter."""
    made = Path(f"/var/tmp/layerview-rootless-{os.getpid()}")
    made.mkdir(mode=0o755)
    yield made
    subprocess.run(["rm", "-rf", "--", str(made)], check=True)


def test_every_case_holds_for_ordinary_users(site: Path, place: Path) -> None:
    def words(name: str) -> list[str]:
        own = place / name
        own.mkdir()
        subprocess.run(["chown", user(name), str(own)], check=True)
        return ["-c", RUN, str(own / "tmp"), CASES]

    for done in as_each(["lvuser", "lvplain"], site, words):
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        passed = re.search(r"(\d+) passed", done.stdout)
        # No more than a few are skipped, each with its reason.
        assert passed is not None
        assert int(passed[1]) >= 50
        assert "test_driver_cases.py" not in done.stderr
