"""A layer as the Docker Engine keeps it, beside what layerview makes of the same bytes.

LAYERVIEW_NEWER_ENGINE  the address of an engine of Docker 24 or newer, with overlay2 or vfs
LAYERVIEW_DOCKER26      else: the root of a system with Docker 26 (docker26-lab makes one)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import tarfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layerview.layer.pack import pack_changes, pack_folder
from layerview.layer.tar_split import open_in, read_headers, rebuild
from layerview.layer.tree_changes import compare_trees, folder_changes
from layerview.layer.whiteouts import Whiteouts
from tests.conformance.engine_layers import as_docker_20_10, without_times_of_deletions
from tests.layer.applying import opened, unpack
from tests.layer.layers import index_of
from tests.support.dockerd import DOCKER, Dockerd, newer_engine

LAB = Path(os.environ.get("LAYERVIEW_LAB_IMAGES", ""))
DATA = LAB / "engine" / "data"
LAYERS = DATA / "image" / "overlay2" / "layerdb" / "sha256"

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine's folders are root's"),
]

NAMES: list[Any] = sorted(path.name for path in LAYERS.iterdir()) if LAYERS.is_dir() else []


@pytest.fixture(params=NAMES or [pytest.param("", marks=pytest.mark.skip("no lab images"))])
def layer(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A layer's entry in the layer database, and its own folder."""
    entry = LAYERS / request.param
    return entry, DATA / "overlay2" / (entry / "cache-id").read_text() / "diff"


def meaning(tar_split: bytes) -> list[tuple[Any, ...]]:
    """What the lines say: adjoining segments are one, wherever they were cut."""
    found: list[tuple[Any, ...]] = []
    for number, line in enumerate(gzip.decompress(tar_split).splitlines()):
        item = json.loads(line)
        assert item.pop("position") == number
        if item["type"] == 2:
            data = b64decode(item["payload"])
            if found and found[-1][0] == 2:
                data = found.pop()[1] + data
            found.append((2, data))
        else:
            found.append((1, sorted(item.items())))
    return found


def test_layers_come_back_from_docker_s_own_tar_split(layer: tuple[Path, Path]) -> None:
    entry, folder = layer
    with opened(folder) as fd, open(entry / "tar-split.json.gz", "rb") as tar_split:
        data = b"".join(rebuild(tar_split, open_in(fd)))
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == (entry / "diff").read_text()


def test_our_tar_split_says_what_docker_s_does(layer: tuple[Path, Path], tmp_path: Path) -> None:
    entry, folder = layer
    theirs = (entry / "tar-split.json.gz").read_bytes()
    with opened(folder) as fd, open(entry / "tar-split.json.gz", "rb") as tar_split:
        data = b"".join(rebuild(tar_split, open_in(fd)))
    ours = unpack(tmp_path / "layer", data)
    assert meaning(ours.tar_split) == meaning(theirs)
    if len((entry / "cache-id").read_text()) == 64:
        # BuildKit's layers have other IDs, and sizes without symbolic links.
        assert ours.applied.size == int((entry / "size").read_text())
    with open(entry / "tar-split.json.gz", "rb") as tar_split:
        found, wanted = read_headers(tar_split).columns, index_of(data).columns
    for name in type(wanted).__slots__:
        assert getattr(found, name) == getattr(wanted, name), name


def test_our_folder_is_docker_s(layer: tuple[Path, Path], tmp_path: Path) -> None:
    """All that a mount would show of it: packed, both are the same bytes."""
    entry, folder = layer
    with opened(folder) as fd, open(entry / "tar-split.json.gz", "rb") as tar_split:
        data = b"".join(rebuild(tar_split, open_in(fd)))
    ours = unpack(tmp_path / "layer", data)
    theirs, found = (
        index_of(b"".join(pack_folder(str(path), Whiteouts.TRUSTED)))
        for path in (folder, ours.folder)
    )
    assert list(found.walk_rows()) == list(theirs.walk_rows())
    for row, kind in enumerate(theirs.kinds[: len(theirs)]):
        path = theirs.path(row)
        assert found.kinds[row] == kind, path
        if kind == 6:
            continue
        for name in ("modes", "uids", "gids", "sizes"):
            assert getattr(found, name)[row] == getattr(theirs, name)[row], (path, name)
        assert found.mtimes[row] == theirs.mtimes[row], path
    assert (found.opaque, found.links, found.targets) == (
        theirs.opaque,
        theirs.links,
        theirs.targets,
    )
    assert found.xattrs == theirs.xattrs


@pytest.mark.skipif(not NAMES, reason="no lab images")
def test_changes_are_what_docker_diff_prints() -> None:
    with Dockerd("overlay2") as engine:
        check_changes(lambda *words: engine.docker(*words).decode())


def check_changes(run: Callable[..., str]) -> None:
    tar = LAB / "docker" / "busybox.tar"
    image = run("load", "--quiet", "--input", str(tar)).split()[-1]
    script = """
        mkdir -p /bin/new /n/m; echo > /n/m/f; rm /bin/cat; ln -s x /bin/link; chmod 700 /home
        rm -rf /etc; mkdir /etc; echo > /etc/other; mkfifo /p; touch -d @5 /n/old
        mv /bin/ls /bin/moved; cp -a /bin/sh /bin/copy; chown 7 /bin/wc; mkdir /tmp/t
    """
    container = run("create", "--network", "none", image, "sh", "-c", script).strip()
    try:
        run("start", "--attach", container)
        graph = json.loads(run("inspect", container))[0]["GraphDriver"]["Data"]
        found = folder_changes(graph["UpperDir"], graph["LowerDir"].split(":"), Whiteouts.TRUSTED)
        printed = [f"{change.kind} /{os.fsdecode(change.path)}" for change in found]
        assert sorted(printed) == sorted(run("diff", container).splitlines())
        assert "D /bin/cat" in printed
    finally:
        run("rm", "--force", container)


# -- packing: the bytes that an engine makes of a folder ------------------------------------------


@dataclass(frozen=True)
class Engine:
    """A running engine, the files of which are seen from here."""

    address: str
    driver: str
    version: int
    root: str
    """What `/` of the engine is here."""
    data: str

    def docker(self, *words: object) -> bytes:
        env = {**os.environ, "DOCKER_HOST": self.address}
        done = subprocess.run([DOCKER, *map(str, words)], env=env, capture_output=True, timeout=120)
        assert done.returncode == 0, (words, done.stderr.decode(errors="replace"))
        return done.stdout

    def packed(self, pieces: Iterator[bytes]) -> bytes:
        """Join what is packed, as an engine of this version has it."""
        return b"".join(as_docker_20_10(pieces) if self.version < 23 else pieces)


def engine_at(address: str) -> Engine:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(address.removeprefix("unix://"))
        found = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", found)
    words = [DOCKER, "--host", address, "info", "--format", "{{json .}}"]
    said = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    version = int(said["ServerVersion"].split(".")[0])
    root = f"/proc/{pid}/root"
    return Engine(address, said["Driver"], version, root, root + said["DockerRootDir"])


@pytest.fixture(scope="module", params=["overlay2", "vfs", "newer"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if not NAMES:
        pytest.skip("no lab images")
    if request.param == "newer":
        with newer_engine() as address:
            if not address.startswith("unix://"):
                pytest.skip(f"{address} is no engine of this machine")
            found = engine_at(address)
            if found.driver not in ("overlay2", "vfs"):
                pytest.skip(f"the newer engine has {found.driver}")
            yield found
        return
    with Dockerd(request.param) as started:
        yield engine_at(f"unix://{started.socket}")


@dataclass(frozen=True)
class Container:
    """One that has ended, and where its files lie."""

    name: str
    folder: str
    """Its own folder; with vfs the full tree."""
    below: str
    """The same of the layer below."""


@pytest.fixture
def container(engine: Engine) -> Iterator[Callable[[str], Container]]:
    """Run a script in a new container."""
    image = engine.docker("load", "--quiet", "--input", LAB / "docker" / "busybox.tar")
    made: list[str] = []

    def run(script: str) -> Container:
        words = ("create", "--network", "none", image.split()[-1].decode(), "sh", "-ec", script)
        name = engine.docker(*words).decode().strip()
        made.append(name)
        engine.docker("start", "--attach", name)
        mounts = f"{engine.data}/image/{engine.driver}/layerdb/mounts/{name}"
        ids = [Path(f"{mounts}/{key}-id").read_text() for key in ("mount", "init")]
        form = "overlay2/{}/diff" if engine.driver == "overlay2" else "vfs/dir/{}"
        return Container(name, *(f"{engine.data}/{form.format(id)}" for id in ids))

    yield run
    for name in made:
        engine.docker("rm", "--force", name)


def pack(engine: Engine, made: Container) -> bytes:
    if engine.driver == "overlay2":
        return engine.packed(pack_folder(made.folder, Whiteouts.TRUSTED))
    changes = compare_trees(made.below, made.folder)
    return engine.packed(pack_changes(made.below, made.folder, changes))


def commit(engine: Engine, made: Container) -> tuple[str, bytes]:
    """Let the engine pack it; return the DiffID and the layer."""
    image = engine.docker("commit", made.name).decode().strip()
    try:
        diff_id = json.loads(engine.docker("inspect", image))[0]["RootFS"]["Layers"][-1]
        with tarfile.open(fileobj=io.BytesIO(engine.docker("save", image))) as saved:
            files = {member.name: member for member in saved}
            manifest = saved.extractfile("manifest.json")
            assert manifest is not None
            layer = saved.extractfile(files[json.load(manifest)[0]["Layers"][-1]])
            assert layer is not None
            data = layer.read()
    finally:
        engine.docker("rmi", "--force", image)
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id
    return diff_id, data


def check_equal(found: bytes, wanted: bytes) -> None:
    """Fail with the first place that differs, and not with megabytes."""
    if found == wanted:
        return
    for at in range(0, max(len(found), len(wanted)), 512):
        ours, theirs = found[at : at + 512], wanted[at : at + 512]
        assert ours.hex(" ", 8) == theirs.hex(" ", 8), (at, ours, theirs)


# What can't be made from inside: written into the container's folder.
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
NAMESPACED = struct.pack("<6I", 0x03000001, 1 << 10, 0, 0, 0, 1000)


def fill(top: Path) -> None:
    """Make entries of every kind."""
    top.mkdir()
    long = "n" * 60
    for path in (
        "empty",
        "a/b",
        "a-b/c",
        f"{long}/{long}/{long}/{long}",
        "ü/é",
        "x" * 101,
        "y" * 255 + "/" + "z" * 99,
        "p" * 99,
        "q" * 100,
        "r" * 99 + "ö",
    ):
        (top / path).mkdir(parents=True)
    for number, path in enumerate(
        (
            "plain",
            "a/x",
            "a-b/x",
            "a.b",
            f"{long}/{long}/f",
            f"{long}/{long}/{long}/{long}/f",
            f"{long}/{long}/{'m' * 100}",
            f"{long}/{long}/{'m' * 101}",
            f"{long}/{'m' * 30}é",
            "s" * 99,
            "s" * 100,
            "s" * 101,
            "s" * 255,
            "ü/é/ñ",
            "ü/capable",
            "new\nline and = and space",
        )
    ):
        (top / path).write_bytes(b"x" * (number * 171))
    os.close(os.open(os.fsencode(top) + b"/latin-\xe9", os.O_CREAT | os.O_WRONLY, 0o640))
    with open(top / "sparse", "wb") as file:
        file.truncate(3 << 20)
        os.pwrite(file.fileno(), b"data", 1 << 20)
    os.mkfifo(top / "fifo", 0o622)
    os.mknod(top / "char", 0o020600, os.makedev(300, 70000))
    os.mknod(top / "block", 0o060660, os.makedev(8, 1))
    with socket.socket(socket.AF_UNIX) as made:
        # By a short name: what is bound has at most 107 bytes.
        made.bind(f"/proc/self/fd/{(fd := os.open(top, os.O_RDONLY))}/socket")
        os.close(fd)
    for name, target in (
        ("short", "a/x"),
        ("long", "t" * 101),
        ("odd", "ü"),
        ("hundred", "t" * 100),
    ):
        (top / f"link-{name}").symlink_to(target)
    for old, new in (
        ("plain", "again"),
        ("plain", "z-again"),
        ("char", "char2"),
        ("fifo", "fifo2"),
        ("link-short", "link-short2"),
        (f"{long}/{long}/{'m' * 101}", "z-of-long"),
        ("ü/é/ñ", "z-of-odd"),
        ("ü/capable", "z-capable"),
    ):
        os.link(top / old, top / new, follow_symlinks=False)
    for path, xattr, value in (
        ("ü/capable", "security.capability", CAPABILITY),
        ("a/x", "security.capability", NAMESPACED),
        (f"{long}/{long}/f", "security.capability", CAPABILITY),
        ("plain", "user.x", b"1"),
        ("a", "user.x", b"1"),
    ):
        os.setxattr(top / path, xattr, value)
    for path, owner in (
        ("a.b", (1 << 21, 5)),
        ("a-b", ((1 << 21) - 1, 1 << 31)),
        ("s" * 100, (65534, 7)),
        ("char", (1, 5)),
        ("s" * 101, (1 << 21, 1 << 21)),
    ):
        os.chown(top / path, *owner)
    for path, mode in (("a.b", 0o4711), ("a", 0o3770), ("a-b/x", 0), ("empty", 0o1777)):
        os.chmod(top / path, mode)


def age(top: Path) -> None:
    """Give all a time of its own, and some odd ones."""
    odd = {
        "a-b/x": -1,
        "s" * 99: -1_500_000_000,
        "s" * 101: -1_000_000_000,
        "link-short": -86_400 * 10**9,
        "empty": 999_999_999,
        "a.b": 1_234_567_890_999_999_999,
        "sparse": (1 << 31) * 10**9,
        "fifo": ((1 << 33) - 1) * 10**9,
        "block": (1 << 33) * 10**9,
        "ü/é": (1 << 33) * 10**9 + 1,
    }
    paths = sorted(path.relative_to(top) for path in top.rglob("*"))
    for number, path in enumerate(paths):
        time = odd.get(str(path), (1_500_000_000 + number) * 10**9 + number)
        os.utime(top / path, ns=(0, time), follow_symlinks=False)


def test_a_folder_is_packed_into_the_bytes_that_the_engine_makes_of_it(
    engine: Engine, container: Callable[[str], Container]
) -> None:
    made = container("echo x >/new; chmod 711 /root; echo root::0:0::/: >>/etc/passwd")
    fill(Path(made.folder, "many"))
    age(Path(made.folder, "many"))
    found = pack(engine, made)
    diff_id, wanted = commit(engine, made)
    check_equal(found, wanted)
    assert f"sha256:{hashlib.sha256(found).hexdigest()}" == diff_id
    assert pack(engine, made) == found
    with tarfile.open(fileobj=io.BytesIO(found)) as opened:
        names = opened.getnames()
    assert "many/ü/é/ñ" in names
    assert "many/socket" not in names
    assert sorted(set(names)) == sorted(names)


DELETING = """
    rm /bin/cat /bin/ls /bin/wc /etc/group; rm -rf /var /root; mkdir -m 2751 /var; chown 5:6 /var
    echo x >/var/other; mv /bin/cp /bin/moved; mkdir /bin/new
"""


def test_deletions_are_packed_into_the_bytes_that_the_engine_makes_of_them(
    engine: Engine, container: Callable[[str], Container]
) -> None:
    made = container(DELETING)
    if engine.driver == "overlay2":
        # The kernel can't be told to, but a name too long for the field may be among them.
        long = Path(made.folder, "d" * 60, "d" * 60)
        long.mkdir(parents=True)
        os.mknod(long / "w", 0o020000, 0)
        os.link(long / "w", long / ("v" * 60))
        os.setxattr(long, "trusted.overlay.opaque", b"y")
    found = pack(engine, made)
    diff_id, wanted = commit(engine, made)
    if engine.driver == "vfs":
        # There the engine gives deletions the time of packing, and a DiffID that never comes back.
        assert found != wanted
        found, wanted = without_times_of_deletions(found), without_times_of_deletions(wanted)
    else:
        assert f"sha256:{hashlib.sha256(found).hexdigest()}" == diff_id
    check_equal(found, wanted)
    with tarfile.open(fileobj=io.BytesIO(found)) as opened:
        names = opened.getnames()
    assert {"bin/.wh.cat", "bin/.wh.ls", ".wh.root"} <= set(names)
    assert ("var/.wh..wh..opq" in names) == (engine.driver == "overlay2")
