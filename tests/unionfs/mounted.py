"""A union that is mounted for a test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from layerview.drivers.mounts import attach, detach
from layerview.unionfs.serve import can_serve, serve
from tests.support.container_lab import eventually


class Mounted(NamedTuple):
    """What is there: branches top first, and the mount."""

    branches: list[Path]
    place: Path
    steps: Path
    pid: int
    passthrough: bool

    @property
    def top(self) -> Path:
        """The branch that is written."""
        return self.branches[0]

    @property
    def is_served(self) -> bool:
        """Whether the server is there still."""
        with suppress(OSError):
            return "State:\tZ" not in Path(f"/proc/{self.pid}/status").read_text()
        return False


def need_mounts() -> None:
    """Skip a test where a union can't be served."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root, if only of a user namespace")
    reason = can_serve()
    if reason is not None:
        pytest.skip(reason)


@contextmanager
def mounted(
    branches: Sequence[Path], place: Path, *, passthrough: bool = True
) -> Iterator[Mounted]:
    """Serve branches and mount them at a place; hold that nothing of it is left afterwards."""
    need_mounts()
    socket = place.parent / f"{place.name}-steps"
    socket.mkdir()
    place.mkdir()
    served = serve(
        [str(branch) for branch in branches], steps=str(socket / "steps"), passthrough=passthrough
    )
    try:
        folder = os.open(place, os.O_PATH | os.O_DIRECTORY)
        attach(served.tree, folder)
        os.close(folder)
    finally:
        os.close(served.tree)
    made = Mounted([*branches], place, socket / "steps", served.pid, served.passthrough)
    try:
        yield made
    finally:
        detach(str(place))
        with suppress(ProcessLookupError):
            eventually(lambda: not made.is_served, "the server does not end")
    faults = socket / "faults"
    assert not faults.exists(), faults.read_text()


def copy(source: Path, target: Path) -> None:
    """Copy a folder with all that belongs to it."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
