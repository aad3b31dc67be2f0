"""Areas with an image of busybox, one for each driver and each runtime."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.starters import KINDS, need_runtime
from tests.containers.starting import DRIVERS, Lab, lab


@pytest.fixture(params=KINDS, ids="-".join)
def area(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """An area, by every driver and runtime."""
    need_mounts()
    driver, runtime = request.param
    with lab(driver, tmp_path / "root", need_runtime(runtime)) as made:
        yield made


@pytest.fixture(params=sorted(DRIVERS))
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """An area by every driver, whose containers the launcher starts."""
    need_mounts()
    with lab(request.param, tmp_path / "root") as made:
        yield made


def need_mounts() -> None:
    """Skip where nobody may mount; ordinary users run these files in a user namespace."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root, if only of a user namespace")
