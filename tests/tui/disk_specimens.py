"""A made-up data root for the Disk screen, and what tells of it in place of a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from layerview.store.account import Part
from layerview.tui.app import LayerviewApp
from layerview.tui.disk_places import DiskRoot

ROOT = "/var/lib/docker"
Answers = Callable[[Mapping[str, Any]], list[dict[str, object]]]


def digest(name: str) -> str:
    """Return a ChainID that belongs to a name."""
    return "sha256:" + (name.encode().hex() * 64)[:64]


def layer(name: str, instruction: str) -> dict[str, object]:
    """Return a layer of an image as it is told."""
    return {"chain_id": digest(name), "cache_id": name, "instruction": instruction}


ROOTFS = layer("rootfs", "ADD rootfs.tar.gz /")
PYTHON = layer("python", "RUN apt-get update && apt-get install -y python3")
NEEDS = layer("needs", "COPY requirements.txt /srv/app/")
APP = layer("app", "COPY app/ /srv/app/")
JOBS = layer("jobs", "COPY jobs/ /srv/jobs/")

IMAGES = [
    {
        "id": "3f7bcee56709" + "0" * 52,
        "names": ["shop/web:7.2", "shop/web:latest"],
        "driver": "overlay2",
        "layers": [ROOTFS, PYTHON, NEEDS, APP],
    },
    {
        "id": "e2a6608f19c3" + "0" * 52,
        "names": ["shop/worker:7.2"],
        "driver": "overlay2",
        "layers": [ROOTFS, PYTHON, JOBS],
    },
    {
        "id": "c8be1ac8145a" + "0" * 52,
        "names": [],
        "driver": "overlay2",
        "layers": [ROOTFS],
    },
]
CONTAINERS = [
    {
        "id": "75bab0d54f3c" + "0" * 52,
        "name": "hopeful_turing",
        "status": "running",
        "image": "shop/web:7.2",
        "driver": "overlay2",
        "ids": ["turing", "turing-init"],
        "image_id": IMAGES[0]["id"],
    },
    {
        "id": "2b6e98f84c4c" + "0" * 52,
        "name": "witty_curie",
        "status": "exited",
        "image": "shop/worker:7.2",
        "driver": "overlay2",
        "ids": ["curie", "curie-init"],
        "image_id": IMAGES[1]["id"],
    },
]
WEB, WORKER = ("shop/web:7.2", "shop/web:latest"), ("shop/worker:7.2",)


def of_layer(id: str, size: int, *owners: str, kind: str = "image_layer", **more: Any) -> Part:
    """Return a folder of the driver's."""
    path = f"{ROOT}/overlay2/{id}"
    return Part(kind, id, path, size, owners, id, "overlay2", **{"entries": size // 9_000, **more})


def log(name: str, id: str, size: int) -> Part:
    """Return the log of a container."""
    path = f"{ROOT}/containers/{id}{'0' * 52}/{id}{'0' * 52}-json.log"
    return Part("log", name, path, size, (name,), id + "0" * 52, entries=1)


def volume(name: str, size: int, *owners: str) -> Part:
    """Return a volume."""
    note = "" if owners else "no container mounts it"
    path = f"{ROOT}/volumes/{name}"
    return Part("volume", name, path, size, owners, name, note=note, entries=size // 50_000)


PARTS = [
    of_layer("rootfs", 78_102_528, *WEB, *WORKER, "c8be1ac8145a"),
    of_layer("python", 143_601_664, *WEB, *WORKER),
    of_layer("needs", 24_576, *WEB),
    of_layer("app", 109_604_864, *WEB),
    of_layer("jobs", 18_702_336, *WORKER),
    of_layer("turing", 24_903_680, "hopeful_turing", kind="container_layer"),
    of_layer("turing-init", 53_248, "hopeful_turing", kind="init_layer"),
    of_layer("curie", 315_301_888, "witty_curie", kind="container_layer"),
    of_layer("curie-init", 53_248, "witty_curie", kind="init_layer"),
    log("hopeful_turing", "75bab0d54f3c", 32_104_448),
    log("witty_curie", "2b6e98f84c4c", 4_096),
    volume("data", 7_401_472, "hopeful_turing", "witty_curie"),
    volume("old-backup", 1_300_000_768),
    of_layer(
        "3nxq0sd0u3l5m1p7vsg6y2b4c",
        61_403_136,
        kind="build_cache",
        note="mount / from exec /bin/sh -c pip install -r requirements.txt",
    ),
    of_layer("kq2w8g5yn1c0r7t4xz9u3vd6a", 1_404_928, kind="build_cache", note="local source"),
    of_layer(
        "9a3c0de7b1f248c5d6a7e8f90b1c2d3e4f5061728394a5b6c7d8e9f001122334",
        212_402_176,
        kind="orphan",
        note="no image, container or build cache refers to it",
    ),
    of_layer(
        "f00d0de7b1f248c5d6a7e8f90b1c2d3e4f5061728394a5b6c7d8e9f001122334",
        8_192,
        kind="orphan",
        note="its removal was begun and not ended",
    ),
    Part("metadata", "image", f"{ROOT}/image", 4_702_208, entries=811),
    Part("metadata", "containers", f"{ROOT}/containers", 98_304, entries=22),
    Part("metadata", "network", f"{ROOT}/network", 69_632, entries=4),
    Part("temporary", "tmp", f"{ROOT}/tmp", 4_096, entries=1),
    Part("other", "containerd", f"{ROOT}/containerd", 12_288, entries=3),
]
FREES = {
    f"image:overlay2:{IMAGES[0]['id']}": 4_096,
    f"image:overlay2:{IMAGES[1]['id']}": 4_096,
    f"image:overlay2:{IMAGES[2]['id']}": 0,
    f"container:{CONTAINERS[0]['id']}": 57_061_376,
    f"container:{CONTAINERS[1]['id']}": 315_359_232,
    "volume:data": 7_401_472,
    "volume:old-backup": 1_300_000_768,
    "group:build_cache": 62_808_064,
    "group:orphan": 212_410_368,
}
WAYS = {
    f"{ROOT}/volumes/old-backup": "if its data is not needed: `docker volume rm old-backup`",
    PARTS[15].path: (
        "stop the engine, run this again, and if it is still an orphan:"
        f" `rm -r --one-file-system {PARTS[15].path}`"
    ),
}
FILES = [
    ("static", "folder", 84_103_168, 1_204, 0),
    ("GeoLite2-City.mmdb", "file", 24_903_680, 1, 0),
    ("templates", "folder", 503_808, 96, 0),
    ("secrets", "folder", 4_096, 1, 3),
    ("main.py", "file", 8_192, 1, 0),
    ("current", "link", 0, 1, 0),
]


def told(part: Part) -> dict[str, object]:
    """Return a part as it is told."""
    return {name: getattr(part, name) for name in Part.__slots__} | {"owners": list(part.owners)}


def stock(*, own: bool = False) -> dict[str, object]:
    """Return what is told first."""
    return {"images": IMAGES, "containers": CONTAINERS, "own": own}


def done(parts: list[Part] = PARTS, **more: object) -> dict[str, object]:
    """Return what is told at the end."""
    answer: dict[str, object] = {
        "done": True,
        "parts": [told(part) for part in parts],
        "frees": FREES,
        "ways": WAYS,
        "problems": [],
        "driver": "overlay2",
        "engine": "",
    }
    return {**answer, **more}


class ToldReader:
    """Answers what it is told to; keeps what it was asked."""

    def __init__(self, **answers: object) -> None:
        known: dict[str, object] = {
            "account": [stock(), done()],
            "folder": [
                {"found": [dict(zip(_FOUND, one, strict=True)) for one in FILES]},
                {"done": True, "rest": [0, 0], "problems": []},
            ],
            "sizes": [{"done": True, "sizes": {}}],
        }
        self.answers: dict[str, object] = {**known, **answers}
        """For what is done a list of answers, or what makes one of the words."""
        self.asked: list[dict[str, object]] = []
        self.stopped: list[int] = []
        self.closed = False
        self._tell: Callable[[int, Mapping[str, object]], None] | None = None
        self._numbers = count(1)

    def begin(self, tell: Callable[[int, Mapping[str, object]], None]) -> ToldReader:
        """Take note of who listens."""
        self._tell = tell
        return self

    def ask(self, do: str, **words: object) -> int:
        """Answer."""
        number = next(self._numbers)
        self.asked.append({"n": number, "do": do, **words})
        answers: Any = self.answers[do]
        for answer in answers(words) if callable(answers) else answers:
            self.tell(number, answer)
        return number

    def tell(self, number: int, answer: Mapping[str, object]) -> None:
        """Answer once more."""
        assert self._tell is not None
        self._tell(number, {"n": number, **answer})

    def stop(self, number: int) -> None:
        """Take note."""
        self.stopped.append(number)

    def close(self) -> None:
        """Take note."""
        self.closed = True


_FOUND = ("name", "kind", "bytes", "entries", "unread")


def app_on(reader: ToldReader, *, kind: str = "docker", **options: Any) -> LayerviewApp:
    """Return the app with this reader, on the made-up root."""
    app = LayerviewApp(**options)
    app.disk_reader = reader.begin  # type: ignore[method-assign,assignment]
    app.disk_root = DiskRoot(kind, ROOT)
    return app
