"""An area with images to run, and layerview's command line over it, a process a call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support import archives, tars

BUSYBOX = "/bin/busybox"
COMMAND = (sys.executable, "-P", "-m", "layerview")
APPLETS = (
    *(
        "sh",
        "cat",
        "cp",
        "chmod",
        "chown",
        "echo",
        "env",
        "false",
        "grep",
        "head",
        "hostname",
        "id",
    ),
    *(
        "ip",
        "kill",
        "ln",
        "ls",
        "mkdir",
        "mknod",
        "mount",
        "mv",
        "ps",
        "pwd",
        "rm",
        "sleep",
        "stat",
    ),
    *("stty", "tail", "test", "top", "touch", "tr", "true", "tty", "umount", "vi", "wc", "yes"),
)
PASSWD = b"root:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000::/home/demo:/bin/sh\n"
GROUP = b"root:x:0:\ndemo:x:1000:\nextra:x:44:demo\n"


def busybox_layer(*more: tars.Part) -> bytes:
    """Return a layer with a shell and what belongs to it."""
    return tars.layer(
        *(tars.folder(name) for name in ("bin", "etc", "home", "root")),
        tars.folder("tmp", mode=0o1777),
        tars.folder("home/demo", uid=1000, gid=1000),
        tars.file("bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755),
        *(tars.symlink(f"bin/{name}", "busybox") for name in APPLETS),
        tars.file("etc/passwd", PASSWD),
        tars.file("etc/group", GROUP),
        *more,
    )


def changed_layers() -> list[bytes]:
    """Return the four layers of the documentation's changed-ubuntu, in small."""
    return [
        busybox_layer(
            tars.folder("etc/apt"),
            tars.file("etc/apt/sources.list", b"# deb-src universe\n" * 100),
            tars.folder("data"),
            tars.file("data/seed", b"from the image\n", mode=0o640, uid=0, gid=0),
            tars.folder("data/sub", mode=0o700),
        ),
        tars.layer(
            tars.folder("usr"),
            tars.folder("usr/sbin"),
            tars.file("usr/sbin/policy-rc.d", b"#!/bin/sh\nexit 101\n", mode=0o755),
        ),
        tars.layer(
            tars.folder("etc"),
            tars.folder("etc/apt"),
            tars.file("etc/apt/sources.list", b"deb-src universe\n" * 100),
        ),
        tars.layer(tars.folder("tmp", mode=0o1777), tars.file("tmp/newfile", b"Hello world\n")),
    ]


class Lab:
    """One area."""

    def __init__(self, root: Path, driver: str = "overlay2", runtime: str = "layerview") -> None:
        self.root = root
        self.driver = driver
        self.runtime = runtime
        self.scratch = root.parent
        self._worker: subprocess.Popen[bytes] | None = None
        self._asked = 0

    @property
    def environment(self) -> dict[str, str]:
        """What the commands are called with."""
        return {
            **os.environ,
            "LAYERVIEW_ROOT": str(self.root),
            "LAYERVIEW_RUNTIME": self.runtime,
            "LAYERVIEW_NO_CACHE": "1",
        }

    def call(
        self, *words: object, stdin: bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a process of its own; it prints no traceback, whatever happens."""
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    def ask(self, *words: object) -> subprocess.CompletedProcess[bytes]:
        """Have a command carried out by the worker that the terminal UI has: it starts at once."""
        if self._worker is None:
            self._worker = self.popen("worker", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._asked += 1
        request = {"n": self._asked, "words": list(map(str, words))}
        self._worker.stdin.write(json.dumps(request).encode() + b"\n")
        self._worker.stdin.flush()
        said = json.loads(self._worker.stdout.readline())
        assert said["n"] == self._asked
        assert "Traceback" not in said["err"], said["err"]
        out, err = (said[key].encode("utf-8", "surrogateescape") for key in ("out", "err"))
        return subprocess.CompletedProcess(list(words), said["status"], out, err)

    def end_worker(self) -> None:
        """Let the worker end."""
        if self._worker is not None:
            assert self._worker.stdin is not None
            assert self._worker.stdout is not None
            self._worker.stdin.close()
            assert self._worker.wait(20) == 0
            self._worker.stdout.close()
            self._worker = None

    def out(self, *words: object) -> str:
        """Have a command done that goes well; return what it printed, without its last newline."""
        done = self.ask(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode().removesuffix("\n")

    def json(self, *words: object) -> Any:
        """Run a command that goes well with --json; return its document."""
        return json.loads(self.out(*words, "--json"))

    def popen(self, *words: object, **more: Any) -> subprocess.Popen[bytes]:
        """Begin a command."""
        return subprocess.Popen([*COMMAND, *map(str, words)], env=self.environment, **more)

    def load(self, name: str, *layers: bytes, **config: Any) -> None:
        """Put an image into the area."""
        path = self.scratch / "image.tar"
        settings = {"Cmd": ["sh"], **config}
        archives.docker_archive(path, archives.image(*layers, tags=[name], config=settings))
        self.out("load", "-q", "--driver", self.driver, "-i", path)
        path.unlink()

    def state(self, word: str) -> dict[str, Any]:
        """Return what `ps` says of a container."""
        found = [one for one in self.json("ps", "-a") if word in (one["id"], one["name"])]
        assert len(found) == 1, found
        return dict(found[0])

    def upper(self, word: str) -> Path:
        """Return the folder of a container's own files."""
        id = self.state(word)["id"]
        mount = self.root / "image" / self.driver / "layerdb/mounts" / id / "mount-id"
        if self.driver != "overlay2":
            homes = {"aufs": "aufs/diff", "vfs": "vfs/dir"}
            return self.root / homes[self.driver] / mount.read_text()
        return self.root / "overlay2" / mount.read_text() / "diff"

    def processes(self) -> list[int]:
        """Return the processes that name the area, or show one of its trees."""
        own = {os.getpid(), self._worker.pid if self._worker is not None else 0}
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdecimal() or int(entry) in own:
                continue
            try:
                said = Path(f"/proc/{entry}/cmdline").read_bytes()
                mounts = Path(f"/proc/{entry}/mountinfo").read_bytes()
            except OSError:
                continue
            place = os.fsencode(self.root)
            if place in said or any(place in line for line in mounts.splitlines()):
                found.append(int(entry))
        return found

    def nothing_left(self) -> None:
        """Hold that no process and no mount of the area is there any more."""
        eventually(lambda: not self.processes(), f"processes {self.processes()} are left")
        union = self.root / "layerview/union"
        eventually(lambda: not [*union.glob("*/*")], f"{[*union.glob('*/*')]} are left of unions")
        mounts = Path("/proc/self/mountinfo").read_text()
        assert str(self.root) not in mounts

    def clear(self) -> None:
        """End all containers, as a test's last step."""
        ids = self.out("ps", "-aq").split()
        if ids:
            self.ask("rm", "-f", "-v", *ids)
        names = [one["name"] for one in self.json("volume", "ls")]
        if names:
            self.out("volume", "rm", *names)


def eventually(holds: Callable[[], object], otherwise: str, patience: float = 10) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def kill(pid: int) -> None:
    """Kill a process for certain."""
    os.kill(pid, signal.SIGKILL)


def lines(text: str) -> list[str]:
    """Split into lines, blanks at their ends taken off."""
    return [line.rstrip() for line in text.splitlines()]


def words_of(text: str) -> Iterator[Sequence[str]]:
    """Split a table into its rows' cells: three blanks or more stand between."""
    for line in text.splitlines():
        yield [cell.strip() for cell in line.split("   ") if cell.strip()]
