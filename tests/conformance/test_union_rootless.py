"""The union's core as an ordinary user: in a user namespace of theirs, and without one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_user, readable_site, user

pytestmark = pytest.mark.conformance

CASES = "tests/unionfs/test_union.py"
RUN = """
import sys
import pytest
from layerview.drivers.namespace import run_in_user_namespace
words = ["-q", "-p", "no:cacheprovider", "-rs", "--basetemp", *sys.argv[1:]]
sys.exit(run_in_user_namespace(lambda: int(pytest.main(words))))
"""
PLAIN = RUN.replace(
    "run_in_user_namespace(lambda: int(pytest.main(words)))", "int(pytest.main(words))"
)
TRY = """
import errno, os, sys
from layerview.drivers.namespace import run_in_user_namespace
from layerview.unionfs.node import Caller
from layerview.unionfs.union import Union

def attempt(what, do):
    try:
        do()
    except OSError as error:
        print(what, errno.errorcode[error.errno])
    else:
        print(what, "done")

def work():
    os.umask(0)
    fds = [os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in sys.argv[1:3]]
    union = Union(fds)
    root = union.root
    for name in (b"roots", b"lvusers"):
        node = union.lookup(root, name)
        attempt(f"read {name}", lambda: os.close(union.open(node, os.O_RDONLY)))
        attempt(f"write {name}", lambda: os.close(union.open(node, os.O_RDWR)))
    node, fd = union.create(root, b"new", 0o4755, os.O_RDWR, Caller(1000, 1001))
    os.close(fd)
    had = union.attributes(node)
    print("made", had.uid, had.gid, oct(had.mode))
    attempt("chown away", lambda: union.set_attributes(node, uid=10**6))
    attempt("trusted", lambda: union.set_xattr(node, b"trusted.x", b""))
    attempt("unlink", lambda: union.unlink(root, b"roots"))
    print(sorted(entry.name for entry in union.entries(root)))
    union.close()
    return 0

sys.exit(run_in_user_namespace(work))
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with readable_site() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the user, on a disk, that everybody may enter."""
    made = Path(f"/var/tmp/layerview-union-{os.getpid()}")
    made.mkdir(mode=0o755)
    subprocess.run(["chown", user("lvuser"), str(made)], check=True)
    yield made
    subprocess.run(["rm", "-rf", "--", str(made)], check=True)


@pytest.mark.parametrize("code", [RUN, PLAIN], ids=["namespace", "without"])
def test_every_case_holds_for_an_ordinary_user(site: Path, place: Path, code: str) -> None:
    done = as_user("lvuser", site, "-c", code, str(place / "tmp"), CASES)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 25


def test_what_a_namespace_has_no_number_for_is_said_and_nothing_is_changed(
    site: Path, place: Path
) -> None:
    for folder in ("top", "low"):
        (place / folder).mkdir()
        subprocess.run(["chown", "lvuser:", str(place / folder)], check=True)
    for name, owner in (("roots", "root"), ("lvusers", "lvuser")):
        (place / "low" / name).write_bytes(b"data")
        subprocess.run(["chown", f"{owner}:", str(place / "low" / name)], check=True)
    done = as_user("lvuser", site, "-c", TRY, str(place / "top"), str(place / "low"))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "read b'roots' done",
        "write b'roots' EOVERFLOW",
        "read b'lvusers' done",
        "write b'lvusers' done",
        "made 1000 1001 0o104755",
        "chown away EINVAL",
        "trusted EPERM",
        "unlink done",
        "[b'lvusers', b'new']",
    ]
