"""The mounted union once more as an ordinary user, within a user namespace of theirs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_user, readable_site, user

pytestmark = pytest.mark.conformance

DEVICE = "/dev/fuse"
CASES = ["tests/conformance/test_union_mount.py", "tests/conformance/test_union_server.py"]
RUN = """
import sys
import pytest
from layerview.drivers.namespace import run_in_user_namespace
words = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", sys.argv[1], *sys.argv[2:]]
sys.exit(run_in_user_namespace(lambda: int(pytest.main(words))))
"""
ASK = """
from layerview.drivers.namespace import run_in_user_namespace
from layerview.unionfs.serve import can_serve
run_in_user_namespace(lambda: print(can_serve()) or 0)
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with readable_site() as made:
        yield made


@pytest.fixture
def device() -> Iterator[str]:
    """The device as udev has it: everybody's."""
    if not os.path.exists(DEVICE):
        pytest.skip(f"there is no {DEVICE}")
    before = stat.S_IMODE(os.stat(DEVICE).st_mode)
    os.chmod(DEVICE, 0o666)
    yield DEVICE
    os.chmod(DEVICE, before)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk, not in memory, that everybody may enter."""
    made = Path(f"/var/tmp/layerview-rootless-union-{os.getpid()}")
    made.mkdir(mode=0o755)
    yield made
    subprocess.run(["rm", "-rf", "--", str(made)], check=True)


def test_every_case_holds_for_an_ordinary_user(device: str, site: Path, place: Path) -> None:
    own = place / "lvuser"
    own.mkdir()
    subprocess.run(["chown", user("lvuser"), str(own)], check=True)
    done = as_user("lvuser", site, "-c", RUN, str(own / "tmp"), *CASES, "-k", "served or not pass")
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 40


def test_who_may_not_open_the_device_is_told_the_remedy(site: Path) -> None:
    if not os.path.exists(DEVICE):
        pytest.skip(f"there is no {DEVICE}")
    before = stat.S_IMODE(os.stat(DEVICE).st_mode)
    os.chmod(DEVICE, 0o600)
    try:
        done = as_user("lvuser", site, "-c", ASK)
    finally:
        os.chmod(DEVICE, before)
    assert "chmod 666 /dev/fuse" in done.stdout, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1
