"""`layerview watch --json` beside a container of a real engine: what it tells of known changes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support import tars
from tests.support.container_lab import busybox_layer

READY = "touch /srv/ready"
CHANGES = (
    "echo more >> /srv/low; echo again >> /srv/low; chmod 700 /srv/tool; mv /srv/top /srv/moved;"
    " rm /srv/gone; echo new > /srv/new; echo kept > /data/kept; touch /srv/done"
)
DONE = "/srv/done"


def layers() -> list[bytes]:
    """Return three layers, each of which has something that is changed."""
    return [
        busybox_layer(
            tars.folder("srv"), tars.file("srv/low", b"low\n" * 1000), tars.file("srv/gone", b"old")
        ),
        tars.layer(tars.folder("srv"), tars.file("srv/tool", b"#!/bin/sh\n", mode=0o755)),
        tars.layer(tars.folder("srv"), tars.file("srv/top", b"top\n")),
    ]


class Watching:
    """A `watch --json` that is under way."""

    def __init__(self, words: Sequence[str], env: dict[str, str], cwd: Path | None = None) -> None:
        self._process = subprocess.Popen(
            list(words), env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.lines: list[dict[str, Any]] = []
        self._timer = threading.Timer(60, self._process.kill)
        self._timer.start()

    def until(self, path: str) -> None:
        """Read lines until one tells of a path."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["path"] == path:
                return
        raise AssertionError((self.lines, self._process.communicate()[1].decode()))

    def end(self, *, interrupt: bool = True) -> tuple[int, str]:
        """Interrupt it, or let it end; return its status and what it said on standard error."""
        if interrupt:
            self._process.send_signal(signal.SIGINT)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process:
            self.lines += map(json.loads, self._process.stdout)
            said = self._process.stderr.read().decode()
        self._timer.cancel()
        return self._process.returncode, said


def told(
    words: Sequence[str],
    env: dict[str, str],
    act: Callable[[str], object],
    cwd: Path | None = None,
    said: str = "",
) -> list[dict[str, Any]]:
    """Watch while the changes are made; return the lines that tell of them.

    Args:
        words: of the watching.
        env: its environment.
        act: has a shell of the container do something.
        cwd: where it stands.
        said: what is to be found on standard error; nothing else may.
    """
    act(READY)
    watching = Watching(words, env, cwd)
    watching.until("/srv/ready")
    assert all(line["held"] for line in watching.lines)
    act(CHANGES)
    watching.until(DONE)
    status, errors = watching.end()
    assert status == 0
    assert said in errors if said else not errors
    return [line for line in watching.lines if not line["held"]]


def told_rightly(lines: list[dict[str, Any]], upper: str, *, origins: bool = True) -> None:
    """Hold that lines tell of the changes, and from which layers.

    Args:
        lines: of `watch --json`.
        upper: the container's layer on disk.
        origins: whether overlayfs says where a file came from; in a user namespace it does not.
    """
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        found.setdefault(f"{line['kind']} {line['path']}", line)
    copied = {
        path.removeprefix("copy_up "): (line["layer"], line["searched"][-1:], line["bytes"])
        for path, line in found.items()
        if path.startswith("copy_up /srv/")
    }
    # A rename that is seen late is told as a copy-up under the new name.
    late = "copy_up /srv/moved" in found
    unknown = late and not origins and found["copy_up /srv/moved"]["layer"] is None
    assert copied == {
        "/srv/low": (0, [0], 4000),
        "/srv/tool": (1, [1], 10),
        "/srv/moved" if late else "/srv/top": (None, [], None) if unknown else (2, [2], 4),
    }, lines
    renamed = found["copy_up /srv/moved" if late else "rename /srv/moved"]
    assert renamed["from"] == (None if unknown else "/srv/top")
    assert [layer for layer in found["copy_up /srv/low"]["searched"] if layer >= 0] == [2, 1, 0]
    assert found["copy_up /srv/low"]["disk_path"] == f"{upper}/srv/low"
    assert found["whiteout /srv/gone"]["layer"] == 0
    assert found["whiteout /srv/top"]["layer"] == 2
    assert {"create /srv/new", "create /data/kept", f"create {DONE}"} <= set(found), lines
    assert found["create /data/kept"]["volume"] is True
    assert not found["create /srv/new"]["volume"]
    assert not [line for line in lines if line["kind"] == "copy_up" and line["volume"]]
