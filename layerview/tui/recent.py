"""The images opened lately, remembered in a small file between runs."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from layerview.settings import state_dir

KEPT = 20
"""How many names are remembered."""


def _file() -> Path:
    return state_dir() / "recent.json"


def recent() -> list[str]:
    """Return the names of images opened lately, the newest first."""
    try:
        names = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str)][:KEPT]


def remember(name: str) -> None:
    """Put a name before the others; a place that can't be written is let go."""
    if "://" not in name and ":" not in name.split("/")[0] and name != "-":
        name = os.path.abspath(name)
    if name == "-":
        return
    names = [name, *(other for other in recent() if other != name)][:KEPT]
    target = _file()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=".recent")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(names, file, indent=1)
                file.write("\n")
            os.replace(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError:
        return
