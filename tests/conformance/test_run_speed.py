"""`layerview run --rm IMAGE true`, a whole process, takes at most three times as long as runc."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.container_lab import BUSYBOX, COMMAND, Lab, busybox_layer

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="the overlay driver needs root"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed"),
    pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed"),
]
_TURNS = 25


def took(words: Sequence[object], cwd: Path, env: dict[str, str]) -> float:
    """Run a command that goes well; return its seconds."""
    begun = time.perf_counter()
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    spent = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    return spent


def bundle(folder: Path) -> Path:
    """Make what `runc run` needs, with runc's own settings."""
    (folder / "rootfs/bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "rootfs/bin/busybox")
    (folder / "rootfs/bin/true").symlink_to("busybox")
    subprocess.run(["runc", "spec"], cwd=folder, check=True, timeout=60)
    settings = json.loads((folder / "config.json").read_text())
    settings["process"] |= {"terminal": False, "args": ["true"]}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_a_run_takes_at_most_three_times_runc_s(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "area")
    lab.load("bb:1", busybox_layer())
    lab.end_worker()
    # As installed: compiled once.
    env = {**lab.environment, "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    ours = [*COMMAND, "run", "--rm", "bb:1", "true"]
    theirs = ["runc", "run", f"layerview-speed-{os.getpid()}"]
    folder = bundle(tmp_path / "bundle")
    try:
        took(theirs, folder, env)
    except AssertionError as error:
        pytest.skip(f"runc runs nothing here: {error}")
    took(ours, folder, env)
    # In turns: what else the machine does at the time slows down both.
    spent = [(took(ours, folder, env), took(theirs, folder, env)) for _ in range(_TURNS)]
    mine, runc = (statistics.median(column) for column in zip(*spent, strict=True))
    print(f"layerview run {mine * 1e3:.1f} ms, runc run {runc * 1e3:.1f} ms")
    lab.nothing_left()
    assert mine <= 3 * runc
