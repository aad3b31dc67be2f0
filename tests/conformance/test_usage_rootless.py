"""usage, whose and prune --orphans for ordinary users: all of their own, and of others' what may be
read, with the rest said.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.people import as_user, readable_site, user
from tests.support import archives, tars

pytestmark = pytest.mark.conformance

BASE = tars.layer(
    tars.folder("d", mode=0o700, uid=1000, gid=1000),
    tars.file("d/f", b"k" * 50_000, mode=0o600, uid=1000, gid=1000),
    tars.folder("shut", mode=0o000),
    tars.file("shut/in", b"in" * 9000, mode=0o000),
)
TOP = tars.layer(tars.folder("d", mode=0o700, uid=1000), tars.file("d/new", b"n" * 30_000))


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with readable_site() as made:
        yield made


class Person:
    """An ordinary user with an area of two images and a container."""

    def __init__(self, name: str, site: Path, place: Path) -> None:
        self._name, self._site = name, site
        self.root = place / "area"
        self._env = {"LAYERVIEW_ROOT": str(self.root), "LAYERVIEW_DRIVER": "overlay2"}
        for image, layers in (("base", [BASE]), ("a", [BASE, TOP])):
            file = archives.docker_archive(
                place / image, archives.image(*layers, tags=[f"{image}:1"])
            )
            self.well("load", "-i", file)
        self.well("create", "--name", "box", "base:1", "true")

    def __call__(self, *words: object) -> subprocess.CompletedProcess[str]:
        call = ("-m", "layerview", *map(str, words))
        done = as_user(self._name, self._site, *call, timeout=600, **self._env)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def well(self, *words: object) -> str:
        done = self(*words)
        assert (done.returncode, done.stderr) == (0, ""), (words, done)
        return done.stdout

    def json(self, *words: object) -> Any:
        return json.loads(self.well(*words, "--json"))

    def make(self, path: Path, size: int) -> None:
        """Make a folder with a file of the user's own."""
        account = pwd.getpwnam(self._name)
        path.mkdir()
        (path / "f").write_bytes(b"f" * size)
        for each in (path, path / "f"):
            os.chown(each, account.pw_uid, account.pw_gid)


@pytest.fixture(scope="module", params=["lvuser", "lvplain"])
def person(request: pytest.FixtureRequest, site: Path) -> Iterator[Person]:
    name = user(request.param)
    # On a disk, not in memory, that everybody may enter.
    place = Path(f"/var/tmp/layerview-usage-{os.getpid()}")
    place.mkdir(mode=0o755)
    account = pwd.getpwnam(name)
    os.chown(place, account.pw_uid, account.pw_gid)
    try:
        yield Person(name, site, place)
    finally:
        subprocess.run(["rm", "-rf", "--", str(place)], check=True)


def du(path: Path) -> int:
    words = ["du", "-s", "-B1", "-x", str(path)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[0])


def test_of_ones_own_area_all_is_counted_and_orphans_go(person: Person) -> None:
    orphan = secrets.token_hex(32)
    person.make(person.root / "overlay2" / orphan, 20_000)
    document = person.json("usage")
    assert document["total_bytes"] == du(person.root)
    assert document["problems"] == []
    kinds = {part["kind"] for part in document["parts"]}
    assert kinds >= {"image_layer", "container_layer", "init_layer", "orphan", "metadata"}
    (found,) = [part for part in document["parts"] if part["kind"] == "orphan"]
    assert found["id"] == orphan

    # whose, by path, from outside of the user namespace, and by name.
    layer = next(part for part in document["parts"] if len(part["owners"]) == 2)
    answer = person.json("whose", f"{layer['path']}/diff/shut/in")
    assert (answer["kind"], answer["inside"]) == ("layer", "/shut/in")
    assert answer["bytes"] == layer["bytes"]
    assert {one["reference"] for one in answer["images"]} == {"a:1", "base:1"}
    assert person.json("whose", "box")["kind"] == "container"
    assert person.json("whose", orphan)["orphan"] is True

    answer = person.json("prune", "--orphans", "--force")
    assert answer["deleted"] == [found["path"]]
    after = person.json("usage")
    assert [part for part in after["parts"] if part["kind"] == "orphan"] == []
    assert after["total_bytes"] == du(person.root)
    assert person.json("doctor")["ok"] is True


def test_of_others_data_roots_what_may_be_read_is_and_the_rest_is_said(
    person: Person,
) -> None:
    """No folder is called an orphan where records that may speak of it can't be read."""
    root = person.root.parent / "engine"
    shutil.copytree(person.root, root, symlinks=True)
    shutil.rmtree(root / "layerview")
    subprocess.run(["chown", "-R", "root:root", str(root)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    lost = root / "overlay2" / secrets.token_hex(32)
    lost.mkdir()
    done = person("usage", root, "--json")
    document = json.loads(done.stdout)
    assert document["total_bytes"] == du(root)
    assert [part["path"] for part in document["parts"] if part["kind"] == "orphan"] == [str(lost)]
    assert "rm -r" in next(p["remedy"] for p in document["parts"] if p["kind"] == "orphan")

    shut = [root / "containers", root / "image/overlay2/layerdb/mounts"]
    volume = root / "volumes"
    volume.mkdir(mode=0o700)
    for path in shut:
        path.chmod(0o700)
    done = person("usage", root, "--json")
    assert done.returncode == 1
    assert str(shut[0]) in done.stderr
    document = json.loads(done.stdout)
    assert not any(part["kind"] == "orphan" for part in document["parts"])
    assert any(not part["complete"] for part in document["parts"])
    assert document["total_bytes"] < du(root)
    answer = json.loads(person("whose", lost, "--json").stdout)
    assert (answer["kind"], answer["orphan"]) == ("other", None)

    done = person("prune", "--orphans", "--force", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`layerview usage {root}`" in done.stderr
    (root / "image").chmod(0o700)
    for words in (["usage", root], ["whose", lost]):
        done = person(*words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
