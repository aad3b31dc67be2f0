"""The launcher's tests once more as ordinary users, within a user namespace of theirs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.drivers.people import PYTHON, as_each, readable_site, user

FILES = ["launch", "rootfs", "hostile", "users", "privileges", "init_layer"]
FEWEST = 370
"""Tests that have to pass for each user: no more than a few are skipped, each with its reason."""
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
    with readable_site() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk, not in memory, that everybody may enter."""
    made = Path(f"/var/tmp/layerview-rootless-{os.getpid()}")
    made.mkdir(mode=0o755)
    yield made
    subprocess.run(["rm", "-rf", "--", str(made)], check=True)


def test_every_case_holds_for_ordinary_users(site: Path, place: Path) -> None:
    files = [f"tests/containers/test_{file}.py" for file in FILES]

    def words(name: str) -> list[str]:
        own = place / name
        own.mkdir()
        subprocess.run(["chown", user(name), str(own)], check=True)
        return ["-c", RUN, str(own / "tmp"), *files]

    for done in as_each(["lvuser", "lvplain"], site, words):
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed is not None
        assert int(passed[1]) >= FEWEST
    assert living(place) == []


HIDDEN = """
import sys
from pathlib import Path
from layerview.containers.plan import StartError
from layerview.drivers.namespace import run_in_user_namespace
from tests.containers.starting import lab

def work():
    with lab("vfs", Path(sys.argv[1])) as made:
        try:
            made.run("true")
        except StartError as error:
            print(error.code, error)
    return 0

sys.exit(run_in_user_namespace(work))
"""


def test_a_machine_that_hides_its_proc_is_named(site: Path, place: Path) -> None:
    """As a container does, in which an ordinary user starts one."""
    own = place / "own"
    own.mkdir()
    subprocess.run(["chown", user("lvplain"), str(own)], check=True)
    words = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc/acpi && exec "$@"', "sh"]
    words += ["setpriv", "--reuid", "lvplain", "--regid", "lvplain", "--init-groups"]
    words += ["env", "-i", f"PYTHONPATH={site}", "PATH=/usr/bin:/bin", PYTHON, "-c", HIDDEN]
    done = subprocess.run(
        [*words, str(own / "root")], capture_output=True, text=True, check=False, cwd=site
    )
    assert done.stderr == ""
    assert done.stdout == (
        "125 /proc: not permitted: parts of this machine's own /proc are hidden, as in a"
        " container; give that an unmasked /proc, or be root\n"
    )


def living(place: Path) -> list[str]:
    """Return the processes that have to do with a folder, by their words or their mounts."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if str(place).encode() in words + (process / "mountinfo").read_bytes():
                found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found
