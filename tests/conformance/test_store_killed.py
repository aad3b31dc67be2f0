"""A SIGKILL at each file operation in turn, from outside: the area is as before or as after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from layerview.cli.main import main
from layerview.drivers.mounts import mount_points
from layerview.store.area import Area
from layerview.store.check import AreaCheck
from tests.support import archives, areas, tars

CALLS = (
    *("openat", "openat2", "write", "pwrite64", "mkdir", "mkdirat", "mknodat", "symlink"),
    *("symlinkat", "linkat", "rename", "unlink", "unlinkat", "rmdir", "fsync", "setxattr"),
    *("fchmod", "chmod", "utimensat", "ftruncate", "close"),
)
STEPS = {"openat": 5, "openat2": 3, "close": 9}
"""Of calls that change nothing mostly, every so many; LAYERVIEW_KILLS=all takes each."""
BASE = tars.layer(
    tars.folder("d"),
    tars.file("d/f", b"k" * 1000),
    tars.symlink("l", "d/f"),
    tars.hardlink("h", "d/f"),
)
TOP = tars.layer(tars.folder("d"), tars.file("d/.wh.f", b""), tars.file("new", b"n"))

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="overlays need root"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


@dataclass(frozen=True)
class Killed:
    """What a kill left."""

    root: Path
    ended: int
    """How the command ended."""
    where: str


class Killer:
    """Starts commands, each to be killed at its Nth system call of a kind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._asked: IO[str] = self._server.stdin
        self._said: IO[str] = self._server.stdout
        self._tracer: subprocess.Popen[bytes]

    def each(
        self,
        places: tuple[Path, Path],
        ready: Callable[[Path], list[str]],
        calls: Iterable[str],
        steps: Mapping[str, int],
    ) -> Iterator[Killed]:
        """Kill a command at each system call of each kind in turn, as long as it makes them.

        While one area is looked at, the next kill goes on in the other.

        Args:
            places: where the two areas are.
            ready: brings an area to where the command begins; returns the command's words.
            calls: the kinds of system calls.
            steps: of some kinds only every so many are taken.
        """
        for call in calls:
            step = 1 if os.environ.get("LAYERVIEW_KILLS") == "all" else steps.get(call, 1)
            here, there = places
            self._start(ready(here), call, 1)
            for number in range(1, 1000, step):
                ended = self._end()
                if not ended:
                    break
                self._start(ready(there), call, number + step)
                try:
                    yield Killed(here, ended, f"killed at {call} {number}")
                except BaseException:
                    self._end()
                    raise
                here, there = there, here
            else:
                self._end()

    def _start(self, words: list[str], call: str, number: int) -> None:
        go = self._folder / "go"
        go.unlink(missing_ok=True)
        self._asked.write(json.dumps({"words": words, "go": str(go)}) + "\n")
        self._asked.flush()
        pid = int(self._said.readline())
        tracer = subprocess.Popen(
            [
                *("strace", "-f", "-qqq", "-o", "/dev/null", "-p", str(pid)),
                *("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"),
            ],
            stderr=subprocess.PIPE,
        )
        status = Path(f"/proc/{pid}/status")
        while "TracerPid:\t0" in status.read_text():
            if tracer.poll() is not None:
                go.touch()
                assert tracer.stderr is not None
                pytest.skip(f"strace may not trace here: {tracer.stderr.read()!r}")
            time.sleep(0.001)
        go.touch()
        self._tracer = tracer

    def _end(self) -> int:
        ended = int(self._said.readline())
        self._tracer.wait()
        assert self._tracer.stderr is not None
        self._tracer.stderr.close()
        return ended

    def close(self) -> None:
        self._asked.close()
        self._said.close()
        self._server.wait()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what is killed is never powered off."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    folder = Path(tempfile.mkdtemp(prefix="layerview-killed-", dir=memory))
    yield folder
    clear(folder)


def clear(folder: Path) -> None:
    # Drivers are tried in mount namespaces of their own, which end with who is killed.
    assert mount_points(str(folder)) == []
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Killer]:
    made = Killer(tmp_path)
    yield made
    made.close()


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, str]:
    """An image of two layers, and one of its base alone."""
    both = archives.docker_archive(tmp_path / "a.tar", archives.image(BASE, TOP, tags=["a:1"]))
    base = archives.docker_archive(tmp_path / "b.tar", archives.image(BASE, tags=["b:1"]))
    return str(both), str(base)


def snapshot(root: Path) -> tuple[set[str], set[str], int]:
    """Return the names, the image IDs and the number of layers of an area."""
    if not (root / "layerview" / "version").exists():
        return set(), set(), 0
    names: set[str] = set()
    images: set[str] = set()
    layers = 0
    for driver in sorted((root / "image").glob("*")):
        if (driver / "repositories.json").exists():
            found = json.loads((driver / "repositories.json").read_text())
            names |= {name for tags in found["Repositories"].values() for name in tags}
        images |= {path.name for path in (driver / "imagedb/content/sha256").glob("*")}
        layers += sum(len(path.name) == 64 for path in (driver / "layerdb/sha256").glob("*"))
    return names, images, layers


def problems(root: Path) -> list[str]:
    if not (root / "layerview" / "version").exists():
        return []
    return [
        f"{each.name}: {each.found}"
        for each in AreaCheck(Area.open(str(root))).run()
        if not each.ok
    ]


def leftovers(root: Path) -> list[str]:
    """Return what only a dead writer can have left."""
    found = [*root.glob("layerview/tmp/*"), *root.glob("layerview/intents/*")]
    found += [*root.glob("image/*/layerdb/tmp/*"), *root.glob("image/*/layerdb/sha256/*-removing")]
    return list(map(str, found))


@pytest.mark.parametrize("driver", ["overlay2", "vfs"])
@pytest.mark.parametrize("command", ["first load", "second load", "rmi", "tag"])
def test_a_kill_at_any_file_operation(
    killer: Killer,
    images: tuple[str, str],
    place: Path,
    driver: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    roots = place / "one/area", place / "two/area"
    before_root = place / "before"
    both, base = images
    begins = {
        "first load": ["load", "-i", both, "--driver", driver],
        "second load": ["load", "-i", both, "--driver", driver],
        "rmi": ["rmi", "a:1"],
        "tag": ["tag", "a:1", "c:1"],
    }[command]

    def ready(root: Path) -> list[str]:
        """Bring an area to where the command begins; return its words."""
        clear(root)
        root.parent.mkdir(exist_ok=True)
        if before_root.exists():
            subprocess.run(["cp", "-a", before_root, root], check=True)
        return [*begins, "--root", str(root)]

    if command != "first load":
        loads = [base] if command == "second load" else [base, both]
        for image in loads:
            assert main(["load", "-i", image, "--driver", driver, "--root", str(before_root)]) == 0
    words = ready(roots[0])
    before = snapshot(roots[0])
    assert main(words) == 0
    after = snapshot(roots[0])
    assert before != after

    kills = 0
    for killed in killer.each(roots, ready, CALLS, STEPS):
        root, where = killed.root, f"{command} {killed.where}"
        if killed.ended != -9:
            # What tries overlay2 is a process of its own: the command survives it, and says so.
            assert (killed.ended, driver, command) == (1, "overlay2", "first load"), where
            assert list(root.parent.rglob(".layerview-probe-*")) == [], where
        kills += 1
        assert problems(root) == [], where
        names, _, _ = snapshot(root)
        assert names in (before[0], after[0]), where
        again = main([*begins, "--root", str(root)])
        if command == "rmi" and names == after[0] and again:
            # It was done but for its end: then there is nothing left to remove.
            assert "has no image a:1" in capsys.readouterr().err
        else:
            assert again == 0, (where, capsys.readouterr().err)
        assert problems(root) == [], where
        assert areas.repaired(root) == []
        assert snapshot(root) == after, where
        assert leftovers(root) == [], where
    capsys.readouterr()
    assert kills > (10 if command == "tag" else 30)
    print(f"{command}, {driver}: {kills} kills")
