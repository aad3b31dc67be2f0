"""Real programs in a container on driver aufs: apt, dpkg, gcc, git, sqlite.

They are Debian's, from what the environment names: LAYERVIEW_DEBIAN_ROOT is a tar of a root file
system (as debootstrap makes it), LAYERVIEW_DEBIAN_PACKAGES a folder with the packages gcc,
libc6-dev, git and sqlite3 and all that they need. docs/conformance.md tells how to get both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.people import as_user, everybodys_fuse, readable_site, user
from tests.support import archives
from tests.support.container_lab import Lab

ROOT = os.environ.get("LAYERVIEW_DEBIAN_ROOT", "")
PACKAGES = os.environ.get("LAYERVIEW_DEBIAN_PACKAGES", "")
NAMES = "LAYERVIEW_DEBIAN_ROOT, LAYERVIEW_DEBIAN_PACKAGES"

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not (ROOT and PACKAGES), reason=f"{NAMES} do not name Debian's files"),
]

INSTALL = (
    "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends /debs/*.deb"
)
BUILD = r"""
cd /tmp
printf '#include <stdio.h>\nint main(void) { puts("built"); return 0; }\n' > a.c
gcc -O1 -o a a.c
./a
"""
GIT = """
mkdir /tmp/git && cd /tmp/git
git init -q one && cd one
git config user.email a@example.org && git config user.name A
for number in $(seq 500); do echo $number > file$number; done
git add . && git commit -qm all
cd .. && git clone -q one two && cd two
git status --short
echo changed >> file1
rm file2
git status --short
"""
SQLITE = """
cd /tmp
sqlite3 t.db 'pragma journal_mode=wal; create table t(number);'
for writer in 1 2 3 4; do
  (for number in $(seq 50); do
    sqlite3 -cmd '.timeout 20000' t.db "insert into t values($number)"
  done) &
done
wait
sqlite3 t.db 'select count(*), sum(number) from t; pragma integrity_check;'
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A container with the packages installed, whose files were all copied up or made anew."""
    made = Lab(tmp_path_factory.mktemp("debian") / "area", "aufs")
    archive = made.scratch / "image.tar"
    archives.docker_archive(archive, archives.image(Path(ROOT).read_bytes(), tags=["debian:1"]))
    loaded = made.call("load", "-q", "--driver", "aufs", "-i", archive)
    assert loaded.returncode == 0, loaded.stderr
    started = made.call(
        *("run", "-dit", "--name", "debian", "-v", f"{PACKAGES}:/debs:ro", "debian:1", "bash")
    )
    assert started.returncode == 0, started.stderr
    try:
        installed = made.call("exec", "debian", "sh", "-c", INSTALL, timeout=300)
        assert installed.returncode == 0, (installed.stdout + installed.stderr)[-2000:]
        yield made
    finally:
        made.call("rm", "-f", "-v", "debian")


def run(lab: Lab, script: str) -> list[str]:
    done = lab.call("exec", "debian", "sh", "-ec", script, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def test_what_apt_installed_is_whole(lab: Lab) -> None:
    # dpkg's own list: it read every file back and compared the sums.
    assert run(lab, "dpkg --audit; dpkg --verify gcc git sqlite3 libc6-dev") == []


def test_a_compiler_builds_a_program_that_runs(lab: Lab) -> None:
    assert run(lab, BUILD) == ["built"]


def test_a_clone_of_git_is_clean_until_something_is_changed(lab: Lab) -> None:
    assert run(lab, GIT) == [" M file1", " D file2"]


def test_four_writers_of_a_database_with_a_shared_log_lose_nothing(lab: Lab) -> None:
    assert run(lab, SQLITE) == ["wal", "200|5100", "ok"]


def test_packages_go_again(lab: Lab) -> None:
    remove = "apt-get remove -y -qq sqlite3 >/dev/null 2>&1; command -v sqlite3 || echo gone"
    assert run(lab, remove) == ["gone"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_all_this_holds_for_an_ordinary_user_with_ids_of_their_own() -> None:
    place = Path(f"/var/tmp/layerview-debian-{os.getpid()}")
    place.mkdir(mode=0o755)
    try:
        shutil.copy(ROOT, place / "root.tar")
        shutil.copytree(PACKAGES, place / "debs")
        own = place / "own"
        own.mkdir()
        subprocess.run(["chown", user("lvuser"), str(own)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
        words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", f"{own}/tmp"]
        with everybodys_fuse(), readable_site() as site:
            done = as_user(
                "lvuser",
                site,
                *words,
                "tests/conformance/test_union_real_programs.py",
                LAYERVIEW_DEBIAN_ROOT=str(place / "root.tar"),
                LAYERVIEW_DEBIAN_PACKAGES=str(place / "debs"),
            )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert "5 passed" in done.stdout
    finally:
        subprocess.run(["rm", "-rf", "--", str(place)], check=True)
