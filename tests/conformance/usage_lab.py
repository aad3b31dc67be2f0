"""A data root that a real engine fills with all that takes space, and orphans made on purpose.

What is expected of the account is asked of others: the total of `du`, whose a folder is of
`docker inspect` and of the engine's own records.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import archives, tars
from tests.support.container_lab import busybox_layer, eventually
from tests.support.dockerd import DOCKER, Dockerd

LOG_BYTES = 24_000_000
FOLDERS = {"overlay2": "overlay2", "vfs": "vfs/dir", "btrfs": "btrfs/subvolumes"}
"""Where each driver has a folder for each layer, below the data root."""
_OWN = ("l", "backingFsBlockDev")
"""What overlay2 keeps beside them."""
CLASSIC = "FROM base:1\nLABEL of=lab\nRUN echo one >/one\nRUN rm /one && echo two >/two\n"
CHANGES = "head -c 700000 /dev/zero >/big; echo >/data/f; echo >/anonymous/f; rm -r /srv"
STAYS = "head -c 100000 /dev/zero >/written; touch /ready; sleep 10000"
KIT = """\
# syntax is none: there is no registry
FROM base:1
COPY context /context
RUN --mount=type=cache,target=/kept head -c 300000 /dev/zero >/kept/f
RUN head -c {size} /dev/zero >/built-{name}
"""


def random_layer(name: str, size: int) -> bytes:
    """Return a layer that no other image has."""
    return tars.layer(tars.folder(name), tars.file(f"{name}/data", secrets.token_bytes(size)))


def base_image() -> archives.Image:
    """Return the image that all others stand on."""
    second = tars.layer(
        tars.folder("srv"),
        tars.file("srv/big", secrets.token_bytes(1_500_000)),
        tars.hardlink("srv/again", "srv/big"),
        *(tars.file(f"srv/f{number}", b"x" * number) for number in range(200)),
    )
    return archives.image(busybox_layer(), second, tags=["base:1"], config={"Cmd": ["sh"]})


@dataclass
class Lab:
    """A data root of a driver's, and the engine that runs on it now and then."""

    driver: str
    data: Path
    folder: Path
    """For what is no part of the data root."""
    system: Path | None = None
    """The system whose engine it is; None for this machine's."""
    base: archives.Image = field(default_factory=base_image)
    running: Dockerd | None = None
    orphans: set[str] = field(default_factory=set)
    """Paths of what was made an orphan."""

    @property
    def engine(self) -> Dockerd:
        """The engine, started when it isn't running."""
        if self.running is None:
            self.running = Dockerd(self.driver, self.data, system=self.system).__enter__()
        return self.running

    def stop(self) -> None:
        """Stop the engine."""
        if self.running is not None:
            self.running.stop()
            self.running = None

    def kill(self) -> None:
        """End the engine as a power cut would."""
        if self.running is not None:
            self.running.kill()
            self.running = None

    @property
    def home(self) -> Path:
        """Where the driver has a folder for each layer."""
        return self.data / FOLDERS[self.driver]

    @property
    def layerdb(self) -> Path:
        """The records of layers."""
        return self.data / "image" / self.driver / "layerdb"

    def folders(self) -> set[str]:
        """Names of the driver's folders."""
        return set(os.listdir(self.home)) - {*_OWN}

    def load(self, *images: archives.Image) -> None:
        """Have the engine load images."""
        file = archives.docker_archive(self.folder / f"{secrets.token_hex(4)}.tar", *images)
        self.engine.docker("load", "-q", "-i", file)
        file.unlink()

    def kit(self, name: str, *more: str, size: int = 200_000) -> None:
        """Have BuildKit build an image called `NAME:1`."""
        done = self.kit_build(name, "-q", *more, size=size)
        out, _ = done.communicate(timeout=120)
        assert done.returncode == 0, out

    def kit_build(self, name: str, *more: str, size: int = 200_000) -> subprocess.Popen[bytes]:
        """Start a build, which prints its steps as they begin if it is not told `-q`."""
        place = self.folder / f"context-{name}"
        (place / "context").mkdir(parents=True, exist_ok=True)
        (place / "context/file").write_bytes(secrets.token_bytes(50_000))
        (place / "Dockerfile").write_text(KIT.format(size=size, name=name))
        words = [DOCKER, "build", "--network", "none", "-t", f"{name}:1", *more, str(place)]
        env = {**self.engine.env, "DOCKER_BUILDKIT": "1"}
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def cache_id(self, image: archives.Image, number: int = -1) -> str:
        """Return the name of the folder of an image's layer."""
        return self.record(image, number).joinpath("cache-id").read_text()

    def record(self, image: archives.Image, number: int = -1) -> Path:
        """Return the record of an image's layer."""
        return self.layerdb / image.chain_ids[number].replace(":", "/")


def fill(lab: Lab) -> None:
    """Have the engine make images, containers, volumes, logs and a build cache."""
    engine = lab.engine
    docker = engine.docker
    above = archives.image(
        *lab.base.layers, random_layer("above", 400_000), tags=["above:1", "reg.example:5000/a/b:2"]
    )
    single = archives.image(busybox_layer(), random_layer("single", 10_000), tags=["single:1"])
    lab.load(lab.base, above, single)
    docker("build", "--network", "none", "-q", "-t", "classic:1", "-", stdin=CLASSIC.encode())
    again = CLASSIC.replace("two", "three").encode()
    docker("build", "--network", "none", "-q", "-", stdin=again)  # without a name
    docker("create", *_called("created"), "--hostname", "there", "classic:1", "true")
    turning = ("--log-opt", "max-size=300k", "--log-opt", "max-file=3")
    runs: list[tuple[str, ...]] = [
        ("stopped", "-v", "used:/data", "-v", "/anonymous", "above:1", *_sh(CHANGES)),
        ("talks", "base:1", *_sh(f"head -c {LOG_BYTES} /dev/zero | tr '\\0' x")),
        ("turns", *turning, "base:1", *_sh("head -c 1000000 /dev/zero | tr '\\0' x")),
        ("local", "--log-driver", "local", "base:1", "echo", "local"),
        ("untagged", "single:1", "touch", "/untagged"),
        ("runs", "-d", "--ipc", "shareable", "-v", "used:/data", "base:1", *_sh(STAYS)),
    ]
    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda words: docker("run", *_called(words[0]), *words[1:]), runs))
    docker("rmi", "-f", "single:1")  # only the container needs its layers
    eventually(lambda: "ready" in docker("diff", "runs").decode(), "it does not run", 60)
    docker("volume", "create", "nobodys")
    lab.kit("kit")
    lab.kit("gone", size=123_000)
    docker("rmi", "gone:1")  # only the cache has it now


def _called(name: str) -> tuple[str, ...]:
    return "--network", "none", "--name", name


def _sh(script: str) -> tuple[str, str, str]:
    return "sh", "-ec", script


# Orphans ------------------------------------------------------------------------------------------


def make_orphans(lab: Lab) -> None:
    """Leave behind all that engines leave behind; the engine is ended for it.

    For a while it is killed in the middle of a load; what it cleans up when it starts again is
    left behind after that.
    """
    lost = archives.image(*lab.base.layers, random_layer("lost", 300_000), tags=["lost:1"])
    half = archives.image(*lab.base.layers, random_layer("half", 200_000), tags=["half:1"])
    nobody = archives.image(*lab.base.layers, random_layer("no", 100_000), tags=["nobody:1"])
    lab.load(lost, half, nobody)
    lab.engine.docker("create", "--name", "init-left", "--network", "none", "base:1", "true")
    container = lab.engine.inspect("init-left")["Id"]
    lab.stop()
    _forget_layer(lab, lost)
    _forget_container(lab, container)
    _copy_as_removing(lab)
    _forget_image(lab, nobody)
    _half_remove(lab, half)


def _forget_layer(lab: Lab, image: archives.Image) -> None:
    """Take the record of a layer away, whose folder stays."""
    lab.orphans.add(str(lab.home / lab.cache_id(image)))
    shutil.rmtree(lab.record(image))


def _half_remove(lab: Lab, image: archives.Image) -> None:
    """Stop in the middle of a layer's removal: its record is renamed, the folder is there."""
    lab.orphans.add(str(lab.home / lab.cache_id(image)))
    _forget_names(lab, image)
    record = lab.record(image)
    # moby, layer/layer_store.go: the record's name, a random number of ten digits, "removing".
    record.rename(record.with_name(f"{record.name}-{secrets.randbelow(10**10):010}-removing"))


def _forget_image(lab: Lab, image: archives.Image) -> None:
    """Take an image away but not its layer's record."""
    lab.orphans.add(str(lab.home / lab.cache_id(image)))
    _forget_names(lab, image)


def _forget_names(lab: Lab, image: archives.Image) -> None:
    store = lab.data / "image" / lab.driver
    name = image.image_id.removeprefix("sha256:")
    store.joinpath("imagedb/content/sha256", name).unlink()
    shutil.rmtree(store / "imagedb/metadata/sha256" / name, ignore_errors=True)
    names = json.loads((store / "repositories.json").read_text())
    for repository, tags in list(names["Repositories"].items()):
        if image.image_id in tags.values():
            del names["Repositories"][repository]
    (store / "repositories.json").write_text(json.dumps(names))


def _forget_container(lab: Lab, container: str) -> None:
    """Leave nothing of a container but the folder of its init layer."""
    record = lab.layerdb / "mounts" / container
    mount = record.joinpath("mount-id").read_text()
    lab.orphans.add(str(lab.home / record.joinpath("init-id").read_text()))
    shutil.rmtree(record)
    shutil.rmtree(lab.data / "containers" / container)
    remove_folder(lab, mount)


def remove_folder(lab: Lab, name: str) -> None:
    """Remove a driver's folder."""
    if lab.driver == "btrfs":
        words = ["btrfs", "subvolume", "delete", str(lab.home / name)]
        subprocess.run(words, check=True, capture_output=True)
    else:
        shutil.rmtree(lab.home / name)


def _copy_as_removing(lab: Lab) -> None:
    """Leave a folder that was renamed to be removed."""
    place = lab.home / f"{secrets.token_hex(32)}-removing"
    lab.orphans.add(str(place))
    if lab.driver == "btrfs":
        words = ["btrfs", "subvolume", "create", str(place)]
        subprocess.run(words, check=True, capture_output=True)
    (place / "diff").mkdir(parents=True)
    (place / "diff/half").write_bytes(b"h" * 50_000)


def interrupt_load(lab: Lab) -> None:
    """Kill the engine while it loads an image: a folder that no record names is left."""
    layer = tars.layer(
        *(tars.file(f"file{number}", secrets.token_bytes(5000)) for number in range(8000))
    )
    image = archives.image(*lab.base.layers, layer, tags=["interrupted:1"])
    file = archives.docker_archive(lab.folder / "interrupted.tar", image)
    engine, before = lab.engine, lab.folders()
    loading = subprocess.Popen(
        [DOCKER, "load", "-q", "-i", str(file)],
        env=engine.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for(lambda: any(_has_files(lab, name) for name in lab.folders() - before))
    lab.kill()
    loading.wait(60)
    file.unlink()
    left = lab.folders() - before
    assert len(left) == 1
    lab.orphans.update(str(lab.home / name) for name in left)


def _has_files(lab: Lab, name: str) -> bool:
    place = lab.home / name
    found = place / "diff" if lab.driver == "overlay2" else place
    # Its own folder is made first.
    return found.is_dir() and any(name.startswith("file") for name in os.listdir(found))


def _wait_for(holds: Callable[[], bool], patience: float = 60) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


# What others say ----------------------------------------------------------------------------------


def du(place: Path | str, lab: Lab, *, inside: bool = False) -> int:
    """Return what `du` counts below a path, in bytes."""
    # btrfs: each layer is a subvolume, which is a device of its own.
    words = ["du", "-s", "-B1", *([] if lab.driver == "btrfs" else ["-x"]), str(place)]
    if inside:
        done = lab.engine.inside(*words)
    else:
        done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[0])


@dataclass(frozen=True)
class Owned:
    """What the engine says of a driver's folder."""

    kind: str
    images: frozenset[str]
    """Names of the images that have it, IDs of those without a name (of steps on the way to another
    one only where no other has it); of a container's own layer the image that it is made of."""
    containers: frozenset[str]
    """Names of the containers that stand on it."""
    diff_id: str = ""


def owned(lab: Lab) -> dict[str, Owned]:
    """Say of each folder that an image or a container has whose it is."""
    engine = lab.engine
    images: dict[str, set[str]] = {}
    containers: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    diff_ids: dict[str, str] = {}
    names: dict[str, set[str]] = {}
    # First those that `docker images` lists, then the steps on the way to others.
    listed = [each["Id"] for each in engine.api("/images/json")]
    steps = {each["Id"] for each in engine.api("/images/json?all=1")} - {*listed}
    for image_id in [*listed, *steps]:
        said = engine.api(f"/images/{image_id}/json")
        stack = _image_stack(lab, said)
        names[said["Id"]] = set(said["RepoTags"] or [said["Id"]])
        for name, diff_id in zip(stack, said["RootFS"]["Layers"], strict=True):
            if image_id not in steps or name not in images:
                images.setdefault(name, set()).update(names[said["Id"]])
            kinds[name] = "layer"
            diff_ids[name] = diff_id
    for each in engine.api("/containers/json?all=1"):
        said = engine.api(f"/containers/{each['Id']}/json")
        mounts = lab.layerdb / "mounts" / each["Id"]
        mount, init = (mounts.joinpath(f"{key}-id").read_text() for key in ("mount", "init"))
        kinds[mount], kinds[init] = "container", "init"
        stack = [mount, init, *_below(lab, mounts.joinpath("parent").read_text())]
        if lab.driver == "overlay2":
            assert stack == _named_folders(said["GraphDriver"]["Data"])
        for name in stack:
            containers.setdefault(name, set()).add(said["Name"].strip("/"))
            kinds.setdefault(name, "layer")
        for name in (mount, init):
            images[name] = names.get(said["Image"], set())
    return {
        name: Owned(
            kind,
            frozenset(images.get(name, ())),
            frozenset(containers.get(name, ())),
            diff_ids.get(name, ""),
        )
        for name, kind in kinds.items()
    }


def _image_stack(lab: Lab, said: Any) -> list[str]:
    """Return the folders of an image's layers, base first."""
    chain = ""
    for diff_id in said["RootFS"]["Layers"]:
        chain = archives.sha256(f"{chain} {diff_id}".encode()) if chain else diff_id
    found = _below(lab, chain)[::-1]
    if lab.driver == "overlay2" and said["GraphDriver"]["Data"]:
        assert found == _named_folders(said["GraphDriver"]["Data"])[::-1]
    return found


def _below(lab: Lab, chain_id: str) -> list[str]:
    """Return the folders of a layer and all below, top first."""
    found = []
    while chain_id:
        record = lab.layerdb / chain_id.replace(":", "/")
        found.append(record.joinpath("cache-id").read_text())
        parent = record / "parent"
        chain_id = parent.read_text() if parent.exists() else ""
    return found


def _named_folders(data: dict[str, str]) -> list[str]:
    """Return the folders that `docker inspect` names, top first."""
    paths = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
    return [Path(path).parent.name for path in paths]


def cached(lab: Lab) -> set[str]:
    """Return the folders that nobody but BuildKit's cache has, all orphans left out."""
    mine = {Path(path).name for path in lab.orphans}
    return lab.folders() - owned(lab).keys() - mine


def is_cache_name(name: str) -> bool:
    """Tell whether a folder's name is one of BuildKit's."""
    return re.fullmatch(r"[0-9a-z]{25}", name) is not None


def calm(measure: Callable[[], int], work: Callable[[], Any]) -> Iterator[tuple[int, Any]]:
    """Measure before and after some work; yield what both said and the work's result."""
    for _ in range(10):
        before, result, after = measure(), work(), measure()
        if before == after:
            yield before, result
            return
        time.sleep(0.5)
    raise AssertionError("it never came to rest")
