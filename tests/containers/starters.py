"""With what tests start containers: layerview's own launcher, and every runtime that is there."""

from __future__ import annotations

from functools import cache

import pytest

from layerview.containers.runtimes import RuntimeFinding, probe_runtimes
from tests.containers.starting import DRIVERS

RUNTIMES = ("layerview", "crun", "runc")
KINDS = [(driver, "layerview") for driver in sorted(DRIVERS)]
KINDS += [("overlay2", runtime) for runtime in RUNTIMES[1:]]
"""Drivers and runtimes for a fixture's `params`: what a runtime is given is the same mounted tree
whatever the driver, but for vfs, where it is a plain folder (see test_runtimes.py)."""


@cache
def found() -> dict[str, RuntimeFinding]:
    """Try the runtimes once a run."""
    return {finding.name: finding for finding in probe_runtimes("/nowhere")}


def need_runtime(name: str) -> str:
    """Return a runtime's name; skip where it does not work, with what it lacks."""
    finding = found()[name]
    if not finding.works:
        pytest.skip(f"runtime {name}: {finding.reason}")
    return name
