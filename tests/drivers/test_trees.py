"""What a container's start asks of drivers: a look without a mount, and trees mounted nowhere."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerview.drivers import mounts
from layerview.drivers.base import Driver
from layerview.drivers.overlay2 import Overlay2
from layerview.drivers.vfs import Vfs
from layerview.errors import LayerviewError, NotFoundError
from tests.support import tars

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

A, B, C, D = (letter * 64 for letter in "abcd")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[Overlay2, Vfs])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    make: Callable[[str], Driver] = request.param
    yield make(str(tmp_path / "root"))
    left = mounts.mount_points(os.path.realpath(tmp_path))
    for place in left:
        mounts.detach(place)
    assert left == []


def stack(driver: Driver) -> None:
    layers = {
        A: (
            tars.folder("d"),
            tars.file("d/f", b"one"),
            tars.folder("gone"),
            tars.file("gone/f", b"x"),
            tars.folder("shut"),
            tars.file("shut/f", b"x"),
            tars.symlink("link", "/etc"),
            tars.folder("was"),
            tars.file("was/f", b"x"),
        ),
        B: (
            tars.file("d/g", b"three"),
            tars.whiteout("gone"),
            tars.opaque("shut"),
            tars.file("shut/g", b"yy"),
            tars.symlink("was", "d"),
        ),
        C: (tars.folder("d", mode=0o700),),
    }
    parent = None
    for id, entries in layers.items():
        driver.create(id, parent)
        driver.apply(id, parent, io.BytesIO(tars.layer(*entries)))
        parent = id


def test_a_look_shows_what_the_tree_has(driver: Driver) -> None:
    stack(driver)
    paths = "|d|d/f|d/g|gone|gone/f|shut|shut/f|shut/g|link|link/passwd|was|was/f|no|d/f/x|../d"
    asked = [path.encode() for path in paths.split("|")]
    found = dict(zip(asked, driver.look(C, asked), strict=True))
    there = {path for path, state in found.items() if state is not None}
    # No link is gone through, neither in the layers nor by `..`.
    assert there == {b"", b"d", b"d/f", b"d/g", b"shut", b"shut/g", b"link", b"was"}
    sizes = {path: state.st_size for path, state in found.items() if state is not None}
    assert (sizes[b"d/f"], sizes[b"d/g"], sizes[b"shut/g"]) == (3, 5, 2)
    folder, link, was = found[b"d"], found[b"link"], found[b"was"]
    assert folder is not None
    assert link is not None
    assert was is not None
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert stat.S_ISLNK(link.st_mode)
    assert stat.S_ISLNK(was.st_mode)
    with driver.mounted(C) as tree:
        for path in asked[1:-1]:
            if b"link/" not in path and b"was/" not in path:
                assert os.path.lexists(os.path.join(os.fsencode(tree), path)) == (path in there)
    with pytest.raises(NotFoundError):
        driver.look(D, [b""])


def show(tree: int, script: str) -> str:
    """Attach a tree in another process's mount namespace; return what a script says there."""
    code = (
        "import os, sys, subprocess\n"
        "from layerview.drivers import mounts\n"
        "mounts.unshare(0x20000)\n"
        "mounts.mount('none', '/', '', mounts.MS_REC | mounts.MS_SLAVE)\n"
        "place = os.open('/mnt', os.O_PATH | os.O_DIRECTORY)\n"
        "mounts.attach(int(sys.argv[1]), place)\n"
        "os.chdir('/mnt')\n"
        "sys.exit(subprocess.run(['sh', '-c', sys.argv[2]]).returncode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tree), script],
        cwd=ROOT,
        pass_fds=[tree],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tree_can_be_attached_by_whoever_has_it(driver: Driver) -> None:
    stack(driver)
    driver.create_writable(D, C)
    with driver.detached(D) as tree:
        assert tree is not None
        assert mounts.mount_points(driver.home) == []
        assert show(tree, "ls d; echo new > d/new; rm d/f") == "f\ng\n"
        # What another process attached, and left, is still this one's.
    with driver.mounted(D) as path:
        assert sorted(os.listdir(f"{path}/d")) == ["g", "new"]
    assert [state is None for state in driver.look(C, [b"d/f", b"d/new"])] == [False, True]


def test_a_tree_is_in_use_for_as_long_as_somebody_has_its_descriptors(tmp_path: Path) -> None:
    driver = Overlay2(str(tmp_path / "root"))
    stack(driver)
    driver.create_writable(D, C)
    with driver.detached(D) as tree:
        assert tree is not None
        kept = [os.dup(fd) for fd in driver.descriptors(D)]
    assert len(kept) == 1
    assert driver.descriptors(D) == []
    for call in (driver.mounted(D).__enter__, lambda: driver.remove(D)):
        with pytest.raises(LayerviewError, match="in use"):
            call()
    with driver.detached(D) as tree:
        assert tree is None
    os.close(kept[0])
    with driver.mounted(D):
        assert len(driver.descriptors(D)) == 1
    driver.remove(D)


def test_a_layer_that_others_lie_on_is_detached_for_nobody(tmp_path: Path) -> None:
    driver = Overlay2(str(tmp_path / "root"))
    stack(driver)
    with driver.detached(B) as tree:
        assert tree is None
    # A base layer is a folder, which nothing need be made of.
    driver.create(D, None)
    with driver.detached(D) as tree:
        assert tree is None


def test_a_mount_that_was_left_is_taken_away_first(tmp_path: Path) -> None:
    driver = Overlay2(str(tmp_path / "root"))
    stack(driver)
    driver.create_writable(D, C)
    place = f"{driver.home}/{D}/merged"
    os.mkdir(place)
    mounts.mount("tmpfs", place, "tmpfs")
    with driver.detached(D) as tree:
        assert tree is not None
    assert mounts.mount_points(driver.home) == []


@pytest.mark.parametrize("way", ["mounted", "detached"])
def test_a_volatile_tree_can_be_used_again(way: str, tmp_path: Path) -> None:
    driver = Overlay2(str(tmp_path / "root"))
    stack(driver)
    driver.create_writable(D, C)
    for volatile in (True, False, True, True, False):
        if way == "mounted":
            with driver.mounted(D, volatile=volatile) as path:
                table = Path("/proc/mounts").read_text().splitlines()
                line = next(each for each in table if path in each)
                (Path(path) / "f").write_text("f")
        else:
            with driver.detached(D, volatile=volatile) as tree:
                assert tree is not None
                line = show(tree, "echo f > f; grep ' /mnt ' /proc/mounts")
        words = line.split()[3].split(",")
        assert ("volatile" in words or "fsync=volatile" in words) == volatile


def test_a_kernel_without_volatile_mounts_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mounts._mount_overlay

    def old(*place: object) -> None:
        if "volatile" in place[-1]:  # type: ignore[operator]
            raise OSError(22, "invalid argument")
        real(*place)  # type: ignore[arg-type]

    monkeypatch.setattr(mounts, "_mount_overlay", old)
    driver = Overlay2(str(tmp_path / "root"))
    stack(driver)
    driver.create_writable(D, C)
    with driver.mounted(D, volatile=True) as path:
        assert os.path.isdir(f"{path}/d")
