"""Each driver under a real Docker Engine, as a plugin, beside engines with Docker's own drivers.

What is loaded has the IDs and DiffIDs that Docker's overlay2 gives, and is saved byte for byte.
What is built has the time of building in its configuration, so that no engine gives one image ID
twice; its layers have that time nowhere but in deletions, which no step can set:

- a layer without deletions has the DiffID that Docker's overlay2 gives, whatever the driver;
- one with deletions has the bytes that Docker's driver of the same name gives, but for their times.
  (vfs lists deletions one by one and in another order, with other modes: not as overlay2 does;
  aufs, of which no engine here has one of its own, is held against overlay2 without the order);
- configurations are equal but for times, and names that are made of them.

The engine here is 20.10, which writes into headers what later ones do not (engine_layers): the
plugin adds that. That layerview's own bytes are those of a later engine, test_layer_docker shows.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.engine_layers import without_times_of_deletions
from tests.support.dockerd import Dockerd

LAB = os.environ.get("LAYERVIEW_LAB_IMAGES", "")
NAMES = ["busybox", "whiteouts", "opaque", "hardlinks", "kinds", "meta", "deep", "empty"]
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not LAB, reason="LAYERVIEW_LAB_IMAGES names no folder of lab images"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine needs root"),
    pytest.mark.skipif(shutil.which("nsenter") is None, reason="nsenter is not installed"),
]

# Every time that a layer would record is set, so that the same steps give the same bytes.
BUILD = """\
FROM lab/whiteouts
ADD copied.tar /
RUN mkdir -p /new/deep && echo new >/new/deep/file && ln /new/deep/file /new/hard && \
    ln -s deep/file /new/link && chmod 4755 /new/deep/file && chown 33:44 /new && \
    find /new -exec touch -h -d @1000000000 {} + && touch -d @999999999 /copied/one
RUN rm -r /new/deep /copied/two && mkdir /new/deep && echo again >/new/deep/other && \
    find /new /copied -exec touch -h -d @1000000001 {} +
RUN echo more >>/new/deep/other && mkfifo /new/pipe && mknod /new/null c 1 3 && \
    find /new -exec touch -h -d @1000000002 {} +
CMD ["sh"]
"""
ADDING = """
set -e
mkdir -p /work/sub; echo data >/work/sub/f; chmod 0700 /new; ln /work/sub/f /work/hard
echo appended >>/etc/passwd-lab
find /work /new /etc/passwd-lab /etc -exec touch -h -d @1000000003 {} +
"""
DELETING = """
set -e
rm /new/deep/other /new/hard; rm -rf /copied /new/pipe; mkdir /new/pipe
find /new -exec touch -h -d @1000000004 {} +
"""


@contextmanager
def plugged(driver: str, folder: Path) -> Iterator[Dockerd]:
    """An engine whose storage driver is one of layerview's."""
    name = f"layerview-{driver}-{os.getpid()}"
    socket = f"/run/docker/plugins/{name}.sock"
    engine = Dockerd(name, more=["--experimental"])
    # The trees must be mounted where the engine's containers see them, and /proc is the engine's.
    log = folder / "plugin.log"
    enter = ["nsenter", "--target", str(_inner(engine)), "--mount", "--pid", f"--wd={ROOT}"]
    with open(log, "wb") as out:
        plugin = subprocess.Popen(
            [*enter, sys.executable, "-m", "tests.conformance.graph_plugin", socket, driver],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=ROOT,
        )
    try:
        with engine:
            yield engine
        said = log.read_text()
        assert said == "", said
    finally:
        plugin.kill()
        plugin.wait()
        with suppress(FileNotFoundError):
            os.unlink(socket)


def _inner(engine: Dockerd) -> int:
    """Return the engine's own process, within its namespaces."""
    outer = engine._process.pid
    for _ in range(500):
        with suppress(OSError, ValueError):
            child = int(Path(f"/proc/{outer}/task/{outer}/children").read_text())
            if "dockerd" in Path(f"/proc/{child}/cmdline").read_text():
                return child
        time.sleep(0.01)
    pytest.skip("no engine starts here")


@pytest.fixture(scope="module")
def own() -> Iterator[Dockerd]:
    with Dockerd("overlay2") as engine:
        yield engine


@pytest.fixture(scope="module")
def peer(ours: Dockerd) -> Iterator[Dockerd]:
    """An engine with Docker's own driver of the same name, or overlay2 where there is none."""
    with Dockerd("vfs" if has_kind(ours, "vfs") else "overlay2") as engine:
        yield engine


@pytest.fixture(scope="module", params=["overlay2", "aufs", "vfs"])
def ours(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with plugged(request.param, tmp_path_factory.mktemp("plugin")) as engine:
        yield engine


def image_of(engine: Dockerd, name: str) -> tuple[str, list[str], int]:
    found = engine.inspect(name)
    return found["Id"], found["RootFS"].get("Layers", []), found["Size"]


def layers(engine: Dockerd, name: str) -> list[bytes]:
    """Return the layers of an image, base first."""
    files = members(engine.docker("save", name))
    [manifest] = json.loads(files["manifest.json"])
    return [files[path] for path in manifest["Layers"]]


def deletes(layer: bytes) -> bool:
    with tarfile.open(fileobj=io.BytesIO(layer)) as opened:
        return any(os.path.basename(name).startswith(".wh.") for name in opened.getnames())


def diff_id(layer: bytes) -> str:
    return f"sha256:{hashlib.sha256(layer).hexdigest()}"


def timeless(engine: Dockerd, name: str) -> Any:
    """Return an image's configuration, without what is made of times, and without its layers."""
    files = members(engine.docker("save", name))
    [manifest] = json.loads(files["manifest.json"])
    config = json.loads(files[manifest["Config"]])
    for key in ("created", "container", "rootfs"):
        config.pop(key, None)
    for entry in config["history"]:
        entry.pop("created", None)
    # Hostname: the container's ID. Image: the ID of the image that a step began with.
    for part in (config.get("config", {}), config.get("container_config", {})):
        for key in ("Hostname", "Image"):
            part.pop(key, None)
    return config


def test_the_engine_uses_the_driver(ours: Dockerd) -> None:
    assert json.loads(ours.docker("info", "--format", "{{json .Driver}}")).startswith("layerview-")


@pytest.mark.parametrize("name", NAMES)
def test_load_and_save(name: str, ours: Dockerd, own: Dockerd) -> None:
    for engine in (ours, own):
        engine.docker("load", "-i", f"{LAB}/docker/{name}.tar")
    assert image_of(ours, f"lab/{name}")[:2] == image_of(own, f"lab/{name}")[:2]
    saved = [members(engine.docker("save", f"lab/{name}")) for engine in (ours, own)]
    assert saved[0] == saved[1]


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            member.name: file.read()
            for member in opened
            if member.isfile() and (file := opened.extractfile(member)) is not None
        }


def context(folder: Path) -> Path:
    """A build context; an archive, for folders that COPY makes have the time of that."""
    with tarfile.open(folder / "copied.tar", "w") as made:
        # BuildKit makes the files that it mounts others on, where there are none.
        for name in ("copied/", "copied/one", "copied/two", "etc/", "etc/hosts", "etc/resolv.conf"):
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.mode, member.mtime = 0o755, 1_000_000_000
            member.uid, member.gid = 7, 8
            member.size = 0 if name.endswith("/") else 5
            made.addfile(member, io.BytesIO(b"12345"))
    (folder / "Dockerfile").write_text(BUILD)
    return folder


@dataclass(frozen=True)
class Seen:
    """What an engine makes of the steps."""

    tree: list[str]
    changes: list[list[str]]
    configs: list[Any]
    layers: list[bytes]


def steps(engine: Dockerd, buildkit: str, place: Path) -> Seen:
    """Build an image; run, compare and commit twice, one upon the other."""
    engine.docker("load", "-i", f"{LAB}/docker/whiteouts.tar")
    tag = f"built-{buildkit}"
    done = subprocess.run(
        ["docker", "build", "--network", "none", "--no-cache", "-t", tag, str(place)],
        env={**engine.env, "DOCKER_BUILDKIT": buildkit, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    look = "find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc/host*' "
    look += "! -path '/etc/resolv*' -exec stat -c '%N %a %u %g %F %s' {} + | sort"
    run = ("run", "--network", "none")
    tree = engine.docker(*run, "--rm", tag, "sh", "-c", look).decode().splitlines()
    changes, images = [], [tag]
    for number, script in enumerate((ADDING, DELETING)):
        container, image = f"c-{buildkit}-{number}", f"committed-{buildkit}-{number}"
        engine.docker(*run, "--name", container, images[-1], "sh", "-c", script)
        changes.append(sorted(engine.docker("diff", container).decode().splitlines()))
        engine.docker("commit", container, image)
        engine.docker("rm", container)
        images.append(image)
    shown = engine.docker(*run, "--rm", images[-1], "cat", "/work/hard")
    assert shown == b"data\n"
    stack = layers(engine, images[-1])
    assert [diff_id(layer) for layer in stack] == image_of(engine, images[-1])[1]
    return Seen(tree, changes, [timeless(engine, image) for image in images], stack)


@pytest.mark.parametrize("buildkit", ["0", "1"], ids=["classic", "buildkit"])
def test_build_run_diff_commit_save(
    buildkit: str, ours: Dockerd, peer: Dockerd, own: Dockerd, tmp_path: Path
) -> None:
    place = context(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        seen = pool.map(lambda engine: steps(engine, buildkit, place), (ours, peer, own))
        found, same, overlay2 = seen
    assert found.tree == same.tree == overlay2.tree
    assert found.changes == same.changes
    assert found.configs == same.configs == overlay2.configs
    assert len(found.layers) == len(same.layers) == len(overlay2.layers)
    own_layers = found.layers[-6:]
    assert [deletes(layer) for layer in own_layers] == [False, False, True, False, False, True]
    for number, (layer, wanted, reference) in enumerate(
        zip(found.layers, same.layers, overlay2.layers, strict=True)
    ):
        if deletes(layer) and has_kind(ours, "aufs"):
            # In the order of the names on disk, where a deletion's begins with a dot; each is a
            # file of its own there, and has not the mode or the link that overlay2 makes of it.
            one, other = (
                sorted(entry[:2] if "/.wh." in f"/{entry[0]}" else entry for entry in listed(each))
                for each in (layer, wanted)
            )
            assert one == other, number
        elif deletes(layer):
            assert listed(layer) == listed(wanted), number
            assert without_times_of_deletions(layer) == without_times_of_deletions(wanted), number
        else:
            assert listed(layer) == listed(reference), number
            assert diff_id(layer) == diff_id(wanted) == diff_id(reference), number


def has_kind(engine: Dockerd, name: str) -> bool:
    """Whether an engine's driver is a plugin over layerview's of this name."""
    return f"-{name}-" in engine.docker("info", "--format", "{{.Driver}}").decode()


def listed(layer: bytes) -> list[tuple[Any, ...]]:
    """What a layer holds, for a message that can be read."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as opened:
        return [
            (member.name, member.type, oct(member.mode), member.uid, member.linkname)
            + ((member.mtime,) if not os.path.basename(member.name).startswith(".wh.") else ())
            for member in opened
        ]


def test_everything_can_be_removed(ours: Dockerd, peer: Dockerd) -> None:
    """What the engine asks a plugin to remove is gone: graph_plugin looks, each time.

    It does not ask for all. Where BuildKit makes a layer of a chain that is there already (the
    classic builder made the same), the engine keeps the older folder and forgets BuildKit's (moby
    20.10, RegisterByGraphID): one for each such layer stays, with Docker's own drivers too.
    """
    for engine in (ours, peer):
        forgotten = made_twice(engine)
        assert len(emptied(engine)) == forgotten


def made_twice(engine: Dockerd) -> int:
    """Count the layers that both builders made."""
    tags = engine.docker("images", "--format", "{{.Repository}}").decode().split()
    if not {"built-0", "built-1", "lab/whiteouts"} <= set(tags):
        return 0
    base, one, other = (
        image_of(engine, name)[1] for name in ("lab/whiteouts", "built-0", "built-1")
    )
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=True))
    return len(list(same)) - len(base)


def emptied(engine: Dockerd) -> list[Path]:
    """Remove all images and the build cache; return the folders of layers that are left."""
    # Parents go with their children, or are refused while these are there.
    for _ in range(20):
        ids = engine.docker("images", "--quiet", "--all", "--no-trunc").decode().split()
        if not ids:
            break
        words = ["docker", "rmi", "--force", *dict.fromkeys(ids)]
        subprocess.run(words, env=engine.env, capture_output=True, timeout=120, check=False)
    assert engine.docker("images", "--quiet", "--all") == b""
    engine.docker("builder", "prune", "--all", "--force")
    [home] = [path for path in engine.data.iterdir() if path.name.startswith("layerview-")] or [
        engine.data
    ]
    folders = ("overlay2/*", "aufs/diff/*", "vfs/dir/*")
    kept = [path for place in folders for path in home.glob(place) if path.name != "l"]
    # Of images and containers nothing is left: what is, BuildKit named.
    assert [path.name for path in kept if len(path.name) != 25] == []
    if (home / "overlay2").exists():
        links = {os.readlink(path) for path in home.glob("overlay2/l/*")}
        assert links == {f"../{path.name}/diff" for path in kept}
    return kept
