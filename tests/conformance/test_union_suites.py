"""The union under public suites of file systems' tests, from checkouts that the environment names.

LAYERVIEW_UNIONMOUNT_SUITE: unionmount-testsuite (amir73il/unionmount-testsuite on GitHub);
LAYERVIEW_PJDFSTEST: pjdfstest (pjd/pjdfstest), built there. Neither is a part of layerview. What
they came to, and when, is in docs/conformance.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.drivers.mounts import detach
from tests.unionfs.mounted import mounted, need_mounts

UNIONMOUNT = os.environ.get("LAYERVIEW_UNIONMOUNT_SUITE", "")
PJDFSTEST = os.environ.get("LAYERVIEW_PJDFSTEST", "")
WITHOUT_REDIRECT = 55
"""Tests of unionmount-testsuite where folders of lower layers can't be renamed (--xdev)."""
TOP = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(os.geteuid() != 0, reason="the suites mount, and give files away, as root"),
]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    # Other users, whom the suites become, must reach it.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    yield tmp_path
    detach(str(tmp_path / "m"))


@pytest.mark.skipif(
    not UNIONMOUNT, reason="LAYERVIEW_UNIONMOUNT_SUITE names no checkout of unionmount-testsuite"
)
@pytest.mark.parametrize("passthrough", ["yes", "no"])
def test_unionmount_testsuite_passes_whole(passthrough: str, scratch: Path) -> None:
    need_mounts()
    program = scratch / "union"
    program.write_text(
        f"#!/bin/sh\nexec env PYTHONPATH={TOP} {sys.executable} -m tests.support.mount_union"
        f' "$@" -o passthrough={passthrough}\n'
    )
    program.chmod(0o755)
    base = scratch / "base"
    base.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "./run", "--ov", f"--fuse={program}", "--samefs", "--xdev"],
        cwd=UNIONMOUNT,
        env={**os.environ, "UNIONMOUNT_BASEDIR": str(base)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    assert said.count("*** ./run --ov") == WITHOUT_REDIRECT


@pytest.mark.skipif(not PJDFSTEST, reason="LAYERVIEW_PJDFSTEST names no checkout of pjdfstest")
@pytest.mark.skipif(shutil.which("prove") is None, reason="prove, of perl, is not installed")
@pytest.mark.parametrize("passthrough", [True, False])
def test_pjdfstest_passes_whole(passthrough: bool, scratch: Path) -> None:
    upper, lower = scratch / "upper", scratch / "lower"
    upper.mkdir()
    lower.mkdir()
    with mounted([upper, lower], scratch / "m", passthrough=passthrough) as made:
        done = subprocess.run(
            ["prove", "-Q", "-r", str(Path(PJDFSTEST) / "tests")],
            cwd=made.place,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        count = re.search(r"Tests=(\d+)", done.stdout)
        assert count is not None
        assert int(count[1]) > 8000
