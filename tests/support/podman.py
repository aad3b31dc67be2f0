"""A real Podman for tests, root's or an ordinary user's: its own store, gone when it is stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest


class Podman:
    """One store, without a service; use it as a context manager."""

    def __init__(self, user: str = "root", driver: str = "overlay") -> None:
        if os.geteuid() != 0:
            pytest.skip("another user's Podman needs root")
        for program in ("podman", "conmon", "runc", "setpriv"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        self.user = user
        self.folder = Path(tempfile.mkdtemp(prefix="lvp-"))
        for name in ("xdg", "tmp", "volumes"):
            (self.folder / name).mkdir(mode=0o700)
        # runc and these limits: what is the default needs rights that root lacks in some machines.
        (self.folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            'netns = "none"\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
            f'events_logger = "file"\ntmp_dir = "{self.folder}/tmp"\n'
            f'volume_path = "{self.folder}/volumes"\n'
        )
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{self.folder}/store"\n'
            f'runroot = "{self.folder}/run"\nrootless_storage_path = "{self.folder}/store"\n'
        )
        shutil.chown(self.folder, user, user)
        for place in self.folder.iterdir():
            shutil.chown(place, user, user)

    def __enter__(self) -> Podman:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.run("rm", "-fa", "-t", "0", check=False)
        # Rootless, a process keeps the user namespace.
        for place in self.folder.glob("**/pause.pid"):
            pid = int(place.read_text())
            if Path(f"/proc/{pid}/comm").read_text() == "podman pause\n":
                os.kill(pid, 9)
        # What watches over a container calls Podman once more when that has ended.
        end = time.monotonic() + 20
        while self._processes() and time.monotonic() < end:
            time.sleep(0.05)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> list[Path]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.fsencode(self.folder) in (process / "cmdline").read_bytes():
                    found.append(process)
        return found

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Podman, and who looks for it, find the store."""
        return {
            "HOME": pwd.getpwnam(self.user).pw_dir,
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "CONTAINERS_CONF": f"{self.folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
            "XDG_RUNTIME_DIR": f"{self.folder}/xdg",
        }

    @property
    def become(self) -> list[str]:
        """The words before a command of the user's."""
        return ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups"]

    def run(
        self, *words: object, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run Podman."""
        done = subprocess.run(
            [*self.become, "podman", *map(str, words)],
            env=self.env,
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
            cwd=self.folder,
        )
        assert not check or done.returncode == 0, (words, done.stderr.decode(errors="replace"))
        return done
