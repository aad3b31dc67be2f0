"""A SIGKILL at each file operation of what makes, renames and removes containers and volumes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.cli.main import main
from layerview.store.area import Area
from layerview.store.volumes import listed
from tests.conformance import test_store_killed as store
from tests.support import archives, areas, containers, tars

CALLS = (*store.CALLS, "flock", "renameat", "renameat2")
STEPS = {**store.STEPS, "openat": 11, "openat2": 7, "close": 19, "flock": 4}
BOX = tars.layer(
    tars.folder("d", mode=0o750),
    tars.file("d/f", b"k" * 1000),
    tars.symlink("d/l", "f"),
    tars.file("prog", b"#!", mode=0o755),
)
COMMANDS = {
    "create": ["create", "--name", "made", "-v", "data:/d", "-v", "/also", "a:1", "/prog"],
    "create --rm": ["create", "--rm", "--name", "made", "-v", "/d", "a:1", "/prog"],
    "rm": ["rm", "there"],
    "rm -v": ["rm", "-v", "there"],
    "rename": ["rename", "there", "renamed"],
    "volume create": ["volume", "create", "fresh"],
    "volume rm": ["volume", "rm", "free"],
    "volume prune": ["volume", "prune", "--force", "--all"],
}

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="overlays need root"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what is killed is never powered off."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    folder = Path(tempfile.mkdtemp(prefix="layerview-killed-", dir=memory))
    yield folder
    store.clear(folder)


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[store.Killer]:
    made = store.Killer(tmp_path)
    yield made
    made.close()


State = tuple[frozenset[tuple[str, str]], frozenset[tuple[str, int]], int]


def snapshot(root: Path) -> State:
    """Return the containers, the volumes with what they hold, and the number of driver's folders.

    Names that are made up are all the same here; layers without a container count as folders.
    """
    data = Area.open(str(root)).data
    found = frozenset((one.name, one.status) for one in data.containers() if one.name)
    volumes = frozenset(
        ("" if volume.is_anonymous else volume.name, len(os.listdir(volume.folder)))
        for volume in listed(data)
    )
    return found, volumes, len(areas.folders(root, data.drivers()[0]))


def leftovers(root: Path) -> list[str]:
    """Return what only a dead writer can have left."""
    found = [*root.glob("layerview/making/*"), *root.glob("layerview/removing/*")]
    found += root.glob("containers/*/.tmp-*")
    return [*store.leftovers(root), *map(str, found)]


@pytest.mark.parametrize("driver", ["overlay2", "vfs"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_kill_at_any_file_operation(
    killer: store.Killer,
    place: Path,
    driver: str,
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    roots = place / "one/area", place / "two/area"
    before_root = place / "before"

    def words_for(root: Path) -> list[str]:
        first, *more = COMMANDS[command]
        at = 1 if first == "volume" else 0
        return [first, *more[:at], "--root", str(root), *more[at:]]

    image = archives.docker_archive(tmp_path / "a.tar", archives.image(BOX, tags=["a:1"]))
    for each in (
        ["load", "-i", str(image), "--driver", driver],
        ["create", "--name", "there", "-v", "data:/d", "-v", "/own", "a:1", "/prog"],
        ["create", "--name", "other", "-v", "data:/d", "a:1", "/prog"],
        ["volume", "create", "free"],
    ):
        at = 2 if each[0] == "volume" else 1
        assert main([*each[:at], "--root", str(before_root), *each[at:]]) == 0
    if command == "create":
        # Its volumes are its own: one is made for it, and filled.
        for each in ("there", "other"):
            assert main(["rm", "-v", "--root", str(before_root), each]) == 0
        assert main(["volume", "rm", "--root", str(before_root), "data"]) == 0

    def ready(root: Path) -> list[str]:
        """Bring an area to where the command begins; return its words."""
        store.clear(root)
        root.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", before_root, root], check=True)
        return words_for(root)

    begins = ready(roots[0])
    before = snapshot(roots[0])
    assert main(begins) == 0
    after = snapshot(roots[0])
    assert before != after

    kills = 0
    for killed in killer.each(roots, ready, CALLS, STEPS):
        root, where = killed.root, f"{command} {killed.where}"
        assert killed.ended == -9, where
        kills += 1
        assert store.problems(root) == [], where
        now = snapshot(root)[0]
        assert now in (before[0], after[0]), where
        again = main(words_for(root))
        said = capsys.readouterr().err
        if again:
            # It was done but for its end.
            assert now == after[0], (where, said)
            assert "taken by" in said or "has no" in said, (where, said)
        assert store.problems(root) == [], where
        assert areas.repaired(root) == [], where
        assert snapshot(root) == after, where
        assert leftovers(root) == [], where
        documents = list(root.glob("containers/*/config.v2.json"))
        assert all(json.loads(path.read_bytes())["ID"] for path in documents), where
        assert containers.of(root) == {path.parent.name for path in documents}, where
    capsys.readouterr()
    assert kills > 10
    print(f"{command}, {driver}: {kills} kills")
