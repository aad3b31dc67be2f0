"""The storage area of ordinary users: one with ranges of IDs of their own, one without.

Each command is a process of that user's, started outside any user namespace; nothing of root's is
there for it but the programs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pwd
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.people import PYTHON, as_user, readable_site, user
from tests.support import archives, tars

pytestmark = pytest.mark.conformance

FAR = 70_001
"""No id of a user's: ranges have 65,536."""
BASE = tars.layer(
    tars.folder(mode=0o755),
    tars.folder("d", mode=0o2750, uid=3, gid=4),
    tars.file("d/f", b"k" * 1000, mode=0o4711, uid=1000, gid=1000, xattrs={"user.k": b"v"}),
    tars.hardlink("h", "d/f"),
    tars.symlink("l", "d/f", uid=7, gid=7),
    tars.folder("shut", mode=0o000),
    tars.file("shut/in", b"in", mode=0o000, uid=FAR, gid=FAR),
    tars.fifo("p"),
    tars.char("null", 1, 3),
)
TOP = tars.layer(
    tars.whiteout("h"),
    tars.folder("d"),
    tars.opaque("d"),
    tars.file("d/new", b"new", uid=FAR, gid=1),
    tars.file("made/by", b"nobody"),
)
OTHER = tars.layer(tars.file("other", b"o" * 5000))


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    user("lvuser")
    with readable_site() as made:
        yield made


@dataclass(frozen=True)
class Person:
    """An ordinary user with an area, and archives to load."""

    name: str
    site: Path
    place: Path
    driver: str

    @property
    def root(self) -> Path:
        return self.place / "area"

    def __call__(self, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command; no traceback, whatever happens."""
        done = as_user(
            self.name, self.site, "-m", "layerview", *map(str, words), **{**self.env, **more}
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @property
    def env(self) -> dict[str, str]:
        return {
            "LAYERVIEW_ROOT": str(self.root),
            "LAYERVIEW_DRIVER": self.driver,
            "LAYERVIEW_NO_CACHE": "1",
        }

    def well(self, *words: object) -> str:
        """Run a command that goes well; return what it prints."""
        done = self(*words)
        assert done.returncode == 0, (words, done)
        return done.stdout

    def json(self, *words: object) -> Any:
        return json.loads(self.well(*words, "--json"))

    def sound(self) -> None:
        """Doctor says that all is well, or which of it is not."""
        document = self.json("doctor")
        assert document["ok"] is True
        area = [one for one in document["checks"] if not one["name"].startswith("machine")]
        assert [one for one in area if not one["ok"]] == []
        assert any(one["name"] == f"{self.driver}: layers" for one in area) or not self.images()

    def images(self) -> dict[str, str]:
        """Image IDs by name."""
        return {name: one["image_id"] for one in self.json("images") for name in one["references"]}

    @property
    def ranged(self) -> bool:
        """Whether the user has ids beside the own one."""
        return self.name == "lvuser"


@pytest.fixture(params=["lvuser", "lvplain"])
def name(request: pytest.FixtureRequest) -> str:
    return user(request.param)


@pytest.fixture(params=["overlay2", "vfs"])
def person(request: pytest.FixtureRequest, name: str, site: Path) -> Iterator[Person]:
    # On a disk, not in memory, that everybody may enter.
    place = Path(f"/var/tmp/layerview-store-{os.getpid()}")
    place.mkdir(mode=0o755)
    one = Person(name, site, place, request.param)
    archives.docker_archive(place / "docker.tar", archives.image(BASE, TOP, tags=["a:1"]))
    archives.oci_archive(
        place / "oci.tar",
        archives.image(BASE, OTHER, tags=["example.org/b:2"], compression="gzip"),
    )
    account = pwd.getpwnam(name)
    os.chown(place, account.pw_uid, account.pw_gid)
    try:
        found = {one["name"]: one for one in one.json("drivers")}
        if not found[request.param]["works"]:
            pytest.skip(f"{request.param} for {name}: {found[request.param]['reason']}")
        yield one
    finally:
        subprocess.run(["rm", "-rf", "--", str(place)], check=True)


def layer_ids(*layers: bytes) -> list[str]:
    return [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]


def test_a_life_of_images(person: Person) -> None:
    for file in ("docker.tar", "oci.tar"):
        person.well("load", "-i", person.place / file)
    images = person.images()
    assert set(images) == {"a:1", "example.org/b:2"}
    person.sound()

    # History, df, layers: DiffIDs are those of the tars, the base is there once.
    for name, tar in (("a:1", TOP), ("example.org/b:2", OTHER)):
        found = person.json("layers", f"local:{name}")
        assert sorted(layer["diff_id"] for layer in found) == sorted(layer_ids(BASE, tar))
        assert len(person.json("history", f"local:{name}")) >= 2
    items = person.json("df", "-v")["images"]["items"]
    # As Docker has it, links count where the driver has a folder of the layer's own.
    assert {one["shared_size"] for one in items} == {1002 if person.driver == "vfs" else 1005}
    assert sorted(one["unique_size"] for one in items) == [9, 5000]
    homes = person.root / ("vfs/dir" if person.driver == "vfs" else "overlay2")
    assert len([path for path in homes.iterdir() if path.name != "l"]) == 3

    # Which and files: the view is that of the tar, owners and modes that can't be given included.
    ladder = person.json("which", "local:a:1", "/d/new")
    assert ladder["ladder"][0]["state"] == "winner"
    done = person("which", "local:a:1", "/d/f", "--json")
    assert done.returncode == 1
    shown = {
        one["path"]: (one["mode"], one["uid"], one["gid"])
        for one in map(json.loads, person.well("files", "local:a:1", "--json").splitlines())
    }
    archived = {
        one["path"]: (one["mode"], one["uid"], one["gid"])
        for one in map(
            json.loads, person.well("files", person.place / "docker.tar", "--json").splitlines()
        )
    }
    assert shown == archived
    assert shown["/d/new"][1:] == (FAR, 1)
    assert person.well("cat", "local:a:1", "/d/new") == "new"
    # Only a folder's own mode keeps its owner out, when looking from outside of a namespace.
    done = person("cat", "local:a:1", "/shut/in")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "layerview: /shut/in: permission denied\n"

    # Tag, save: the very bytes.
    person.well("tag", "a:1", "c:3")
    assert person.images()["c:3"] == images["a:1"]
    person.well("save", "a:1", "example.org/b:2", "-o", person.place / "saved.tar")
    with tarfile.open(person.place / "saved.tar") as saved:
        manifest = json.load(saved.extractfile("manifest.json") or io.BytesIO())
        for item, tar in zip(manifest, (TOP, OTHER), strict=True):
            parts = [saved.extractfile(path) for path in item["Layers"]]
            assert [part.read() for part in parts if part is not None] == [BASE, tar]
            config = saved.extractfile(item["Config"])
            assert config is not None
            image_id = f"sha256:{hashlib.sha256(config.read()).hexdigest()}"
            assert image_id == images[item["RepoTags"][0]]

    # Away again: names, images, layers.
    assert "Untagged: c:3" in person.well("rmi", "c:3")
    person.well("rmi", "example.org/b:2")
    person.sound()
    assert set(person.images()) == {"a:1"}
    person.well("prune", "-a", "-f")
    person.sound()
    assert person.images() == {}
    assert [path for path in homes.iterdir() if path.name != "l"] == []

    # All of it is the user's own, or of the ids that the user has.
    own = pwd.getpwnam(person.name).pw_uid
    assert {os.lstat(path).st_uid for path in person.root.rglob("*")} == {own}


def test_owners_are_mapped_or_kept_beside_the_files(person: Person) -> None:
    person.well("load", "-i", person.place / "docker.tar")
    own = pwd.getpwnam(person.name).pw_uid
    homes = person.root / ("vfs/dir" if person.driver == "vfs" else "overlay2")
    (folder,) = {path.parent for path in homes.rglob("d") if (path / "f").exists()}
    states = {name: os.lstat(folder / name) for name in ("d", "d/f", "shut/in")}
    kept = {
        name: os.getxattr(folder / name, "user.containers.override_stat")
        for name in states
        if "user.containers.override_stat" in os.listxattr(folder / name)
    }
    # An id that no range has is never given: what it was is written beside the file.
    assert states["shut/in"].st_uid == own
    assert kept["shut/in"] == b"%d:%d:00" % (FAR, FAR)
    if person.ranged:
        # 0 is the user, 1 the first of the range in /etc/subuid (user_namespaces(7)).
        start = next(
            int(line.split(":")[1])
            for line in Path("/etc/subuid").read_text().splitlines()
            if line.startswith(f"{person.name}:")
        )
        assert (states["d"].st_uid, states["d"].st_gid) == (start + 2, start + 3)
        assert states["d/f"].st_uid == start + 999
        assert states["d/f"].st_mode & 0o7777 == 0o4711
        assert set(kept) == {"shut/in"}
    else:
        assert {state.st_uid for state in states.values()} == {own}
        assert kept["d"] == b"3:4:02750"
        assert kept["d/f"] == b"1000:1000:04711"
        # Nobody becomes this user by a file of an image.
        assert not states["d/f"].st_mode & 0o6000


def test_nothing_of_roots_is_needed(person: Person) -> None:
    """No call that needs root's rights outside of the user's own namespace is even tried."""
    person.well("load", "-i", person.place / "docker.tar")
    done = as_user(
        person.name,
        person.site,
        "-c",
        "import sys\n"
        "from layerview.drivers import mounts\n"
        "from layerview.cli.main import main\n"
        "import os\n"
        "before = mounts.mount_points('/')\n"
        "words = (['tag', 'a:1', 'n:1'], ['doctor'], ['rmi', 'n:1'])\n"
        "status = [main(each) for each in words]\n"
        "assert mounts.mount_points('/') == before\n"
        "assert os.geteuid() == int(sys.argv[1])\n"
        "sys.exit(max(status))",
        str(pwd.getpwnam(person.name).pw_uid),
        **person.env,
    )
    assert done.returncode == 0, done
    # Not with privileges that are set aside either: no_new_privs keeps newuidmap from working.
    done = subprocess.run(
        [
            *("setpriv", "--reuid", person.name, "--regid", person.name, "--init-groups"),
            *("--no-new-privs", "--bounding-set=-all", "env", "-i", "PATH=/usr/bin:/bin"),
            *(f"PYTHONPATH={person.site}", *(f"{key}={text}" for key, text in person.env.items())),
            *(PYTHON, "-m", "layerview", "load", "-i", str(person.place / "oci.tar")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if person.ranged:
        # Then the user has one id, and files of the layers that are there have others.
        assert "Traceback" not in done.stderr
    else:
        assert done.returncode == 0, done
    person.sound()


def test_another_users_area_is_refused_in_a_line(person: Person) -> None:
    person.well("load", "-i", person.place / "docker.tar")
    person.root.chmod(0o755)
    other = user("lvplain" if person.ranged else "lvuser")
    for words in (["rmi", "a:1"], ["load", "-i", str(person.place / "oci.tar")], ["prune", "-f"]):
        done = as_user(other, person.site, "-m", "layerview", *words, **person.env)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert str(person.root) in done.stderr
    person.sound()
    assert set(person.images()) == {"a:1"}


@pytest.mark.parametrize("command", ["load", "rmi"])
def test_a_kill_in_the_middle(person: Person, command: str) -> None:
    big = tars.layer(*(tars.file(f"n{number}", bytes(4000)) for number in range(4000)))
    archives.docker_archive(person.place / "big.tar", archives.image(BASE, big, tags=["big:1"]))
    person.well("load", "-i", person.place / "docker.tar")
    if command == "rmi":
        person.well("load", "-i", person.place / "big.tar")
    words = ["load", "-i", str(person.place / "big.tar")] if command == "load" else ["rmi", "big:1"]
    homes = person.root / ("vfs/dir" if person.driver == "vfs" else "overlay2")

    def files() -> int:
        # As fast as can be: what is counted goes meanwhile.
        found = (name for _, _, names in os.walk(homes) for name in names)
        return sum(name[0] == "n" and name[1:].isdigit() for name in found)

    full = 4000
    process = subprocess.Popen(
        [
            *("setpriv", "--reuid", person.name, "--regid", person.name, "--init-groups"),
            *("--reset-env", "env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={person.site}"),
            *(f"{key}={text}" for key, text in person.env.items()),
            *(PYTHON, "-m", "layerview", *words),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while not 0 < files() < full:
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < end
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # the child in the namespace dies with its parent, a moment later
    left = files()
    assert 0 < left < full
    person.sound()  # what is half done is said, and is no damage
    document = person.json("doctor")
    assert any(one["name"] == "unfinished work" for one in document["checks"])
    done = person("doctor", "--repair")
    assert (done.returncode, "repaired:" in done.stderr) == (0, True), done
    assert files() == 0
    assert set(person.images()) == {"a:1"}
    assert [*person.root.glob("layerview/tmp/*"), *person.root.glob("layerview/intents/*")] == []
    person.sound()
    person.well("load", "-i", person.place / "big.tar")
    person.sound()
