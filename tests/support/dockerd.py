"""A real Docker Engine for tests: its own data root, mounts and processes, gone when it is stopped.

It runs in namespaces of its own, so that nothing of it outlives the test, whatever happens.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

DOCKER = shutil.which("docker", path="/usr/bin:/bin") or "docker"

_ENTER = """
mount --bind "$0" "$0"
for name in proc sys dev; do mount --rbind /$name "$0/$name"; done
mkdir -p "$0/engine" "$1/data"
mount --bind "$1" "$0/engine"
[ "$2" = "$1/data" ] || mount --bind "$2" "$0/engine/data"
system=$0
shift 2
exec chroot "$system" "$@"
"""
"""A shell's words: become a program of another system, with a folder and a data root in /engine."""


def docker26() -> Path:
    """Return the root of a system with Docker 26; skip where there is none."""
    found = os.environ.get("LAYERVIEW_DOCKER26", "")
    if not found:
        pytest.skip("LAYERVIEW_DOCKER26 names no system with Docker 26")
    return Path(found)


@contextmanager
def newer_engine() -> Iterator[str]:
    """Yield the address of an engine of Docker 25 or newer; skip where there is none.

    It is the one that LAYERVIEW_NEWER_ENGINE names, else one of the system that
    LAYERVIEW_DOCKER26 names.
    """
    if address := os.environ.get("LAYERVIEW_NEWER_ENGINE", ""):
        yield address
        return
    with Dockerd("overlay2", system=docker26()) as started:
        yield f"unix://{started.socket}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class Dockerd:
    """One engine; use it as a context manager."""

    def __init__(
        self,
        driver: str,
        data: Path | None = None,
        more: Sequence[object] = (),
        system: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            driver: the storage driver.
            data: the data root; a new one that goes with the engine when it is None.
            more: further words for its command line.
            system: the root of a system whose engine it is, instead of this machine's.
        """
        if os.geteuid() != 0:
            pytest.skip("an engine needs root")
        for program in ("dockerd", "unshare"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        # A socket's path has at most 107 bytes: pytest's own folders may be longer.
        self._folder = Path(tempfile.mkdtemp(prefix="lvd-"))
        self.data = data if data is not None else self._folder / "data"
        self.socket = str(self._folder / "s")
        (self._folder / "daemon.json").write_text("{}")
        folder = self._folder
        self.data_inside = self.data
        """Where the data root lies for processes in the engine's namespaces (see `inside`)."""
        words: list[object] = [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        ]
        if system is not None:
            self.data.mkdir(parents=True, exist_ok=True)
            words += ["sh", "-ec", _ENTER, system, self._folder, self.data]
            folder = Path("/engine")
            self.data_inside = system / "engine/data"
        words += [
            *("dockerd", "--config-file", folder / "daemon.json"),
            *("--data-root", self.data if system is None else "/engine/data"),
            *("--exec-root", folder / "exec"),
            *("--pidfile", folder / "pid", "--host", f"unix://{folder}/s"),
            *("--storage-driver", driver, "--bridge=none"),
            *("--iptables=false", "--ip6tables=false"),
            *more,
        ]
        self._log = open(self._folder / "log", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(
            list(map(str, words)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def __enter__(self) -> Dockerd:
        end = time.monotonic() + 60
        while True:
            try:
                self.api("/_ping")
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    said = (self._folder / "log").read_text(errors="replace").splitlines()[-3:]
                    self.stop()
                    pytest.skip(f"no engine starts here: {said}")
                time.sleep(0.05)

    def __exit__(self, *ignored: object) -> None:
        self.stop()

    def stop(self, *, keep: bool = False) -> None:
        """End it and all that it started; the data root goes too unless it is kept."""
        if self._process.poll() is None:
            # Containers' first processes may ignore SIGTERM; as first of its PID namespace the
            # engine takes all of them with it.
            subprocess.run(
                f"{DOCKER} ps -q | xargs -r {DOCKER} kill",
                shell=True,
                env=self.env,
                capture_output=True,
                timeout=60,
            )
            with suppress(ProcessLookupError, ValueError):
                engine = self.pid
                os.kill(engine, signal.SIGTERM)
                self._wait_for_its_last_word(30)
                os.kill(engine, signal.SIGKILL)
            self._process.wait(30)
        self._log.close()
        if not keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for_its_last_word(self, seconds: float) -> None:
        """Wait until all is shut down but its containerd, which it would await for a second."""
        end = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < end:
            if "Daemon shutdown complete" in self.log:
                return
            time.sleep(0.01)

    def kill(self) -> None:
        """End it and all that it started as a power cut would; its data root stays."""
        os.kill(self.pid, 9)
        self._process.wait(30)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def inside(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a program that sees the engine's mounts and processes, as this machine's do it."""
        enter = ("nsenter", "--target", str(self.pid), "--mount", "--pid")
        return subprocess.run(
            [*enter, *map(str, words)], env=self.env, capture_output=True, text=True, timeout=120
        )

    @property
    def is_alive(self) -> bool:
        """Whether it runs; engines die of bugs of their own."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What the engine has said so far."""
        return (self._folder / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The engine's own process, below the one that made its namespaces."""
        outer = self._process.pid
        [child] = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        return int(child)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Docker's client talks to it."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}

    def docker(self, *words: object, stdin: bytes | None = None) -> bytes:
        """Run Docker's client; return what it prints."""
        done = subprocess.run(
            [DOCKER, *map(str, words)], env=self.env, input=stdin, capture_output=True, timeout=120
        )
        assert done.returncode == 0, (words, done.stderr.decode(errors="replace"))
        return done.stdout

    def inspect(self, name: str) -> Any:
        """Return what `docker inspect` says of an image or a container."""
        return json.loads(self.docker("inspect", name))[0]

    def api(self, path: str, body: object = None) -> Any:
        """Ask the API; with a body, have it do something."""
        connection = _UnixConnection(self.socket)
        try:
            if body is None:
                connection.request("GET", path)
            else:
                words = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body), words)
            data = connection.getresponse().read()
        finally:
            connection.close()
        return json.loads(data) if data[:1] in b"{[" else data
