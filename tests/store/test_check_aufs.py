"""What is wrong with driver aufs's own files and servers is told, and the remedy helps."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from layerview.sources.several import open_all
from layerview.store.area import Area
from layerview.store.check import AreaCheck, Check, repair
from layerview.transfer.load import load
from layerview.unionfs.serve import can_serve
from tests.support import archives, containers
from tests.support.areas import BASE, TOP

LISTENER = """
import os, socket, sys, time
os.chdir(sys.argv[1])
line = socket.socket(socket.AF_UNIX)
line.bind("steps")
line.listen(4)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = archives.docker_archive(
        tmp_path / "a.tar", archives.image(BASE, TOP, tags=["a:1"], compression="gzip")
    )
    area = Area.open(str(tmp_path / "area"), create=True)
    with open_all(str(path)) as images, area.writing() as writing:
        for image in images:
            load(writing, "aufs", image)
    return tmp_path / "area"


@pytest.fixture
def layers(root: Path) -> tuple[str, str]:
    """The IDs of the image's two layers, the base first."""
    lists = {path.name: path.read_text() for path in (root / "aufs/layers").iterdir()}
    (base,) = (id for id, text in lists.items() if not text)
    (top,) = (id for id, text in lists.items() if text)
    return base, top


def wanting(root: Path) -> list[Check]:
    """Return what a check asks something about."""
    return [each for each in AreaCheck(Area.open(str(root))).run() if each.remedy or not each.ok]


def one(root: Path, words: str) -> Check:
    [check] = wanting(root)
    assert re.search(words, check.found), check
    return check


def put_right(root: Path) -> None:
    area = Area.open(str(root))
    assert repair(area, AreaCheck(area).run(), print)
    assert wanting(root) == []


def test_a_sound_area(root: Path) -> None:
    containers.created(root, "a:1", "steady")
    checks = AreaCheck(Area.open(str(root))).run()
    assert [each for each in checks if each.remedy or not each.ok] == []
    said = {each.name: each.found for each in checks}
    assert said["aufs: lists of layers"] == "2"


@pytest.mark.parametrize("text", [None, "", "0" * 64 + "\n", "../../x\n"])
def test_a_list_of_layers_is_written_again(
    root: Path, layers: tuple[str, str], text: str | None
) -> None:
    base, top = layers
    path = root / "aufs/layers" / top
    path.unlink()
    if text is not None:
        path.write_text(text)
    check = one(root, re.escape(str(path)))
    assert check.name == "aufs: lists of layers"
    put_right(root)
    assert path.read_text() == f"{base}\n"


@pytest.mark.parametrize("left", ["aufs/mnt/ID", "aufs/diff/ID-removing", "aufs/layers/ID"])
def test_what_is_half_there_is_deleted(root: Path, left: str) -> None:
    path = root / left.replace("ID", "f" * 64)
    if "layers" in left:
        path.write_text("")
    else:
        path.mkdir()
    one(root, "layer ffffffffffff is half made or half removed")
    put_right(root)
    assert not path.exists()


def test_a_socket_that_nobody_listens_at_is_deleted(root: Path, layers: tuple[str, str]) -> None:
    folder = root / "layerview/union" / layers[1]
    folder.mkdir(parents=True)
    assert wanting(root) == []
    with closing(socket.socket(socket.AF_UNIX)) as line:
        bind(line, folder)
    check = one(root, "left of a union that is served no more")
    assert check.ok
    put_right(root)
    assert not folder.exists()


def bind(line: socket.socket, folder: Path) -> None:
    fd = os.open(folder, os.O_PATH)
    try:
        line.bind(f"/proc/self/fd/{fd}/steps")
    finally:
        os.close(fd)


@pytest.fixture
def server(root: Path, layers: tuple[str, str]) -> Iterator[subprocess.Popen[str]]:
    folder = root / "layerview/union" / layers[1]
    folder.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_server_that_nobody_needs_is_ended(root: Path, server: subprocess.Popen[str]) -> None:
    one(root, rf"process {server.pid} \(.*\) serves the union of layer \w+, which no container")
    area = Area.open(str(root))
    repair(area, AreaCheck(area).run(), print)
    assert server.wait(10) == -signal.SIGKILL
    put_right(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="a union is mounted by root")
def test_a_server_that_was_killed_is_missed_where_its_tree_is_in_use(root: Path) -> None:
    why = can_serve()
    if why:
        pytest.skip(why)
    made = containers.created(root, "a:1", "steady")
    area = Area.open(str(root))
    with area.writing() as writing:
        driver = writing.driver("aufs")
        with driver.mounted(made.mount_id) as place:
            assert wanting(root) == []
            pid = server_of(driver.steps_of(made.mount_id))  # type: ignore[attr-defined]
            os.kill(pid, signal.SIGKILL)
            while True:
                with suppress(OSError):
                    os.listdir(place)
                    continue
                break
            check = one(root, f"the server of the union of container {made.id[:12]} was killed")
            assert check.remedy == f"`layerview restart {made.id[:12]}` starts it anew"
            assert check.repair is None
        with driver.mounted(made.mount_id) as place:
            assert os.listdir(place)
        assert wanting(root) == []


def server_of(steps: str) -> int:
    """Ask `ss`-like: who listens there, by the kernel's word."""
    from layerview.store.check_aufs import server_at

    found = server_at(os.path.dirname(steps))
    assert found is not None
    return found
