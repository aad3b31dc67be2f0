"""What a figure depends on: the machine, the versions, the load, the date."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version


def machine(dive: str | None) -> dict[str, str]:
    """Describe the machine and the versions of what is measured."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.1f} GiB",
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "python": platform.python_version(),
        "textual": version("textual"),
        "layerview": version("layerview"),
    }
    if dive is not None:
        said = subprocess.run([dive, "--version"], capture_output=True, text=True, check=False)
        facts["dive"] = said.stdout.strip() or said.stderr.strip()
    facts["load at the start"] = load()
    return facts


def load() -> str:
    """Return the load of the last one, five and fifteen minutes."""
    return " ".join(f"{part:.2f}" for part in os.getloadavg())


def _field(path: str, name: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""
