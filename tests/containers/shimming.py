"""A shim with a real child in a PID namespace of its own, and no container around it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layerview.containers import shim, talk

ROOT = Path(__file__).resolve().parents[2]
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
BUSYBOX = "/bin/busybox"


@dataclass
class Kept:
    """A shim, and where it is to be found."""

    folder: Path
    run: Path
    shim: int
    pid: int

    @property
    def log(self) -> Path:
        return self.folder / "ID-json.log"

    def entries(self) -> list[dict[str, str]]:
        """Return the log's lines."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]

    def said(self, stream: str = "stdout") -> str:
        """Return all that was logged of a stream."""
        return "".join(e.get("log", "") for e in self.entries() if e["stream"] == stream)

    def connect(self) -> talk.Shim:
        return talk.connect(str(self.run))

    def lives(self) -> bool:
        """Whether the lock is held."""
        with open(self.folder / "layerview.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def state(self) -> dict[str, Any]:
        """Return the State of config.v2.json."""
        return dict(json.loads((self.folder / "config.v2.json").read_bytes())["State"])

    def memory(self) -> int:
        """Return the shim's VmRSS in bytes."""
        for line in Path(f"/proc/{self.shim}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        raise AssertionError("it is gone")

    def is_small(self) -> bool:
        """Whether it has executed itself anew."""
        return b"layerview.containers.shim" in Path(f"/proc/{self.shim}/cmdline").read_bytes()

    def become_small(self) -> None:
        until(self.is_small, "become small")
        # It answers again once it is there.
        with self.connect() as shim:
            shim.state()

    def ended(self) -> None:
        until(lambda: not self.lives(), "end")


def until(done: Callable[[], bool], what: str = "happen", seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"it did not {what}"
        time.sleep(0.005)


@contextmanager
def kept(
    place: Path,
    *words: str,
    tty: bool = False,
    stdin_once: bool = False,
    client: socket.socket | None = None,
    remove: Sequence[str] | None = None,
    pause: float = 0.0,
    environment: dict[str, str] | None = None,
    **more: object,
) -> Iterator[Kept]:
    """Run a program with a shim; both are gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("a PID namespace without a user namespace needs root")
    folder, run = place / "containers" / "ID", place / "layerview" / "run" / "ID"
    folder.mkdir(parents=True, exist_ok=True)
    run.mkdir(parents=True, exist_ok=True)
    config = {"ID": "ID", "State": {"Running": True, "Pid": 1, "StartedAt": "2026-01-02"}}
    (folder / "config.v2.json").write_text(json.dumps({**config, "Name": "/é"}))
    asked = {
        "folder": str(folder),
        "run": str(run),
        "words": words,
        "tty": tty,
        "stdin_once": stdin_once,
        "client": client.fileno() if client is not None else -1,
        "remove": remove,
        "pause": pause,
        "more": more,
    }
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.containers.shimming", json.dumps(asked)],
        stdout=subprocess.PIPE,
        pass_fds=[client.fileno()] if client is not None else [],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    assert started.stdout is not None
    said = json.loads(started.stdout.readline())
    if client is not None:
        client.close()
    found = Kept(folder, run, **said)
    try:
        yield found
    finally:
        if found.lives():
            with suppress(ProcessLookupError):
                os.kill(found.shim, 9)
            found.ended()
        started.stdout.close()
        started.wait()


def _be_started(asked: dict[str, Any]) -> None:
    """Do what launch does, as far as the shim goes."""
    from layerview.drivers.mounts import MS_REC, MS_SLAVE, mount, unshare

    shim._SETTLED += asked["pause"]
    lock = os.open(asked["folder"] + "/layerview.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    unshare(_CLONE_NEWPID | _CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_SLAVE)
    if os.fork():
        os._exit(0)
    listener = socket.socket(socket.AF_UNIX)
    place = os.open(asked["run"], os.O_PATH)
    listener.bind(f"/proc/self/fd/{place}/shim")
    listener.listen(128)
    tells, told = os.pipe()
    ends = [-1, -1, -1]
    master = -1
    if asked["tty"]:
        master, slave = pty.openpty()
        inner = [slave, slave, slave]
    else:
        pipes = [os.pipe() for _ in range(3)]
        ends = [pipes[0][1], pipes[1][0], pipes[2][0]]
        inner = [pipes[0][0], pipes[1][1], pipes[2][1]]
    unshare(_CLONE_NEWPID)
    init = os.fork()
    if init == 0:
        unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWNET)
        os.write(told, os.readlink("/proc/self").encode())
        os.setsid()
        for number, fd in enumerate(inner):
            os.dup2(fd, number)
        if asked["tty"]:
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.closerange(3, 1000)
        for number in range(1, 65):
            with suppress(OSError, ValueError):
                import signal

                signal.signal(number, signal.SIG_DFL)
        os.execv(asked["words"][0], asked["words"])
    for fd in set(inner):
        os.close(fd)
    pid = int(os.read(tells, 20))
    own = int(os.readlink("/proc/self"))
    os.write(1, json.dumps({"shim": own, "pid": pid}).encode() + b"\n")
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.chdir("/")
    shim.keep(
        {
            "id": "ID",
            "folder": asked["folder"],
            "run": asked["run"],
            "listen": listener.detach(),
            "init": init,
            "pid": pid,
            "tty": asked["tty"],
            "master": master,
            "stdin": ends[0],
            "stdout": ends[1],
            "stderr": ends[2],
            "stdin_once": asked["stdin_once"],
            "log": asked["folder"] + "/ID-json.log",
            "keep": [lock],
            "client": asked["client"],
            "package": str(ROOT),
            "python": sys.executable,
            "remove": asked["remove"],
            **asked["more"],
        }
    )


if __name__ == "__main__":
    _be_started(json.loads(sys.argv[1]))
