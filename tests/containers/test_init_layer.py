"""The layer under a container's own: what is made in it, and what is left alone."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from layerview.containers.init_layer import fill
from layerview.layer.whiteouts import Whiteouts
from tests.containers.starting import Lab
from tests.support import tars
from tests.support.trees import snapshot

FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
INIT = f"{'f' * 64}-init"


def made(own: Lab, *entries: tars.Entry, without: tuple[str, ...] = ()) -> Path:
    """Fill an init layer over an image; return a folder with the whole tree's copy."""
    image = own.layer(tars.layer(*entries)) if entries else own.image
    before = snapshot(own.driver.layer_folder(image))
    mask = os.umask(0o077)
    try:
        fill(own.driver, INIT, image)
    finally:
        os.umask(mask)
    assert snapshot(own.driver.layer_folder(image)) == before
    return Path(own.driver.layer_folder(INIT))


def check(own: Lab) -> None:
    """Hold that everything is of the right kind."""
    with own.driver.mounted(INIT) as place:
        tree = Path(place)
        for name in FOLDERS:
            assert stat.S_ISDIR(os.lstat(tree / name).st_mode), name
        for name in FILES:
            assert stat.S_ISREG(os.lstat(tree / name).st_mode), name
        assert os.readlink(tree / "etc/mtab") == "/proc/mounts" or (tree / "etc/mtab").is_symlink()


def test_what_is_missing_is_made(own: Lab) -> None:
    folder = made(own, tars.folder("bin"), tars.file("bin/x", b"x"))
    check(own)
    for name in (*FOLDERS, *FILES):
        state = os.lstat(folder / name)
        assert stat.S_IMODE(state.st_mode) == 0o755, name
        assert (state.st_uid, state.st_gid) == (0, 0)
        assert stat.S_ISDIR(state.st_mode) or state.st_size == 0
    assert os.readlink(folder / "etc/mtab") == "/proc/mounts"


def test_what_is_there_is_left_alone(own: Lab) -> None:
    image = (
        tars.folder("etc", mode=0o711, uid=5, gid=6),
        tars.file("etc/hosts", b"image's", mode=0o600),
        tars.symlink("etc/mtab", "/proc/self/mounts"),
        tars.folder("proc", mode=0o555),
        tars.folder("dev"),
        tars.file("dev/console", b"c"),
    )
    folder = made(own, *image)
    check(own)
    if own.driver.whiteouts is not Whiteouts.NONE:
        # Only what was missing is in the layer's own folder.
        assert not (folder / "etc/hosts").exists()
        assert not (folder / "proc").exists()
        assert not os.path.lexists(folder / "etc/mtab")
    with own.driver.mounted(INIT) as place:
        tree = Path(place)
        assert (tree / "etc/hosts").read_bytes() == b"image's"
        assert os.readlink(tree / "etc/mtab") == "/proc/self/mounts"
        state = os.lstat(tree / "etc")
        assert stat.S_IMODE(state.st_mode) == 0o711
        if own.driver.name == "vfs" or os.geteuid() == 0:
            assert state.st_mtime_ns > 0


@pytest.mark.parametrize("kind", ["link", "dangling", "file", "fifo", "folder"])
def test_what_stands_in_the_way_is_replaced_and_never_followed(
    kind: str, own: Lab, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "hosts").write_text("outside\n")
    make = {
        "link": lambda name: tars.symlink(name, str(outside)),
        "dangling": lambda name: tars.symlink(name, "/not/there"),
        "file": lambda name: tars.file(name, b"f"),
        "fifo": tars.fifo,
        "folder": tars.folder,
    }[kind]
    before = snapshot(outside)
    inner = (*FILES, "dev/pts", "dev/shm", "etc/mtab")
    for names in (("etc", "dev", "proc", "sys"), inner):
        made(own, *(make(name) for name in names))
        if kind != "folder" or names is not inner:
            check(own)
        own.driver.remove(INIT)
    assert snapshot(outside) == before


def test_an_image_without_layers_has_them_too(own: Lab) -> None:
    fill(own.driver, INIT, None)
    check(own)


def test_it_takes_no_time_to_speak_of(own: Lab) -> None:
    if own.driver.name == "vfs":
        pytest.skip("vfs copies the image here")
    image = own.image
    for number in range(60):
        image = own.layer(tars.layer(tars.file(f"f{number}", b"x")), image)
    best = 1.0
    for number in range(5):
        id = f"{number:064x}".replace("0", "e") + "-init"
        begun = time.perf_counter()
        fill(own.driver, id, image)
        best = min(best, time.perf_counter() - begun)
    # 2 ms on an idle machine; this one may have much else to do.
    assert best < 0.05


def test_a_whole_image_gets_little(own: Lab) -> None:
    if own.driver.name == "vfs":
        pytest.skip("vfs copies the image here")
    folder = made(own)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert found == sorted(
        {*FILES, "dev", "dev/pts", "dev/shm", "etc", "etc/mtab"},
    )
