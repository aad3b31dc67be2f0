"""Containers for tests: an image of busybox made through a driver, started by hand."""

from __future__ import annotations

import fcntl
import io
import json
import os
import select
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerview.containers import shim
from layerview.containers.launch import launch
from layerview.containers.plan import Plan, Started
from layerview.containers.talk import Frames
from layerview.drivers import mounts
from layerview.drivers.base import Driver
from layerview.drivers.overlay2 import Overlay2
from layerview.drivers.vfs import Vfs
from tests.support import tars

DRIVERS: dict[str, Callable[[str], Driver]] = {"overlay2": Overlay2, "vfs": Vfs}
BUSYBOX = "/bin/busybox"
_APPLETS = (
    "sh true false echo cat ls id ps mount umount hostname sleep env pwd stat mkdir rm ln mknod"
    " dd chmod chown touch head kill readlink unshare nsenter chroot su ip ifconfig tty stty wc"
    " grep tail test find cut sort mv cp nc sync df printenv"
)
APPLETS = _APPLETS.split()
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nbin:x:2:2:bin:/bin:/bin/false\n"
PASSWD += b"joe:x:1000:1001:Joe:/home/joe:/bin/sh\n"
GROUP = b"root:x:0:\nbin:x:2:root,joe\njoe:x:1001:\ntty:x:5:\nstaff:x:50:joe\n"


def busybox(*more: tars.Entry, without: Sequence[str] = ()) -> bytes:
    """Return the tar of a small image, and what else is to be in it."""
    with open(BUSYBOX, "rb") as file:
        program = file.read()
    entries = [
        tars.folder("bin"),
        tars.file("bin/busybox", program, mode=0o755),
        *(tars.symlink(f"bin/{name}", "busybox") for name in APPLETS),
        tars.folder("etc"),
        tars.file("etc/passwd", PASSWD),
        tars.file("etc/group", GROUP),
        *(tars.folder(name) for name in ("root", "tmp", "dev", "proc", "sys")),
    ]
    return tars.layer(*(entry for entry in entries if entry.name.decode() not in without), *more)


@dataclass
class Ended:
    """What a container left."""

    status: int
    out: str
    err: str


class Attached:
    """One's end of a container's input and output."""

    def __init__(self, line: socket.socket, started: Started) -> None:
        self.line, self.started = line, started
        self.out = ""
        self.frames = Frames()
        line.settimeout(20)

    def send(self, text: str) -> None:
        """Give input."""
        self.line.sendall(text.encode())

    def finish(self) -> int:
        """Give no more input, and read until the end; return the exit status."""
        self.line.shutdown(socket.SHUT_WR)
        return self.read()

    def read(self, until: str | None = None) -> int:
        """Read until a text was said, or until the end; return the exit status, or -1."""
        while self.frames.exit is None and (until is None or until not in self.out):
            data = self.line.recv(65536)
            assert data, self.out
            self.out += b"".join(piece for _, piece in self.frames.feed(data)).decode()
        return -1 if self.frames.exit is None else self.frames.exit


@dataclass
class Lab:
    """An area with one driver, and containers in it that are nobody's records."""

    root: Path
    driver: Driver
    image: str = ""
    runtime: str = "layerview"
    made: int = 0
    locks: dict[str, int] = field(default_factory=dict)

    def layer(self, tar: bytes, parent: str | None = None) -> str:
        """Make an image's layer; return its ID."""
        self.made += 1
        id = f"{self.made:064x}"
        self.driver.create(id, parent)
        self.driver.apply(id, parent, io.BytesIO(tar))
        return id

    def plan(self, *args: str, image: str = "", **more: Any) -> Plan:
        """Make a container's layers and folder, and the plan of its start."""
        from layerview.containers.init_layer import fill

        self.made += 1
        id = f"{self.made:064x}"
        fill(self.driver, f"{id}-init", image or self.image)
        self.driver.create_writable(id, f"{id}-init")
        folder = self.root / "containers" / id
        folder.mkdir(parents=True)
        (folder / "config.v2.json").write_text('{"State":{}}')
        (self.root / "layerview" / "run").mkdir(parents=True, exist_ok=True)
        more.setdefault("env", ("PATH=/bin",))
        more.setdefault("runtime", self.runtime)
        return Plan(
            id=id,
            folder=str(folder),
            run=str(self.root / "layerview" / "run" / id),
            mount_id=id,
            log=str(folder / f"{id}-json.log"),
            args=args,
            **more,
        )

    def start(self, plan: Plan, **more: Any) -> Started:
        """Start a container."""
        path = os.path.join(plan.folder, "layerview.lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return launch(plan, self.driver, lock=lock, **more)
        finally:
            os.close(lock)

    def run(self, *args: str, **more: Any) -> Ended:
        """Run a container to its end."""
        plan = self.plan(*args, **more)
        return self.wait(plan, self.start(plan))

    def sh(self, script: str, **more: Any) -> Ended:
        """Run a shell's script to its end."""
        return self.run("sh", "-c", script, **more)

    def wait(self, plan: Plan, started: Started, seconds: float = 20) -> Ended:
        """Wait for a container's end and the shim's."""
        wait_for_end(started.shim, seconds)
        folder = Path(plan.folder)
        state = json.loads((folder / "config.v2.json").read_bytes())["State"]
        log = [json.loads(line) for line in _lines(Path(plan.log))]
        out, err = (
            "".join(line["log"] for line in log if line["stream"] == stream)
            for stream in ("stdout", "stderr")
        )
        return Ended(state["ExitCode"], out, err)

    @contextmanager
    def attached(self, plan: Plan) -> Iterator[Attached]:
        """Start a container, attached from the start; it has ended afterwards."""
        here, there = socket.socketpair()
        with here:
            with there:
                started = self.start(plan, client=there.fileno())
            yield Attached(here, started)
        wait_for_end(started.shim)

    def upper(self, plan: Plan) -> Path:
        """Return the folder that the container writes to."""
        return Path(self.driver.layer_folder(plan.mount_id))


def _lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines() if log.exists() else []


def wait_for_end(pid: int, seconds: float = 20) -> None:
    """Wait until a process that is none of this one's children has ended."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([ended], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"process {pid} did not end within {seconds} s")
    finally:
        os.close(ended)


@contextmanager
def lab(kind: str, root: Path, runtime: str = "layerview") -> Iterator[Lab]:
    """Make an area of one driver; in the end nothing of its containers may be left."""
    made = Lab(root, DRIVERS[kind](str(root)), runtime=runtime)
    made.image = made.layer(busybox())
    try:
        yield made
    finally:
        left = keepers(root)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for_end(pid)
        places = mounts.mount_points(os.path.realpath(root))
        for place in places:
            mounts.detach(place)
        for id in made.driver.ids():
            made.driver.remove(id)
        shutil.rmtree(root)
        assert not places, places


def keepers(root: Path) -> list[int]:
    """Return the processes that hold a lock of a container of the area."""
    found = []
    for lock in root.glob("containers/*/layerview.lock"):
        with open(lock, "rb+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(json.loads(file.read())["shim"])
    return found


stand_in = shim.keep
"""What a keeper becomes."""
