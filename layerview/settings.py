"""Where layerview keeps and finds its files (XDG base directories) and its shipped assets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # pathlib costs a tenth of a small command's whole time: only who wants a Path pays.
    from pathlib import Path


def _base(variable: str, fallback: str) -> Path:
    from pathlib import Path

    value = os.environ.get(variable, "")
    # The XDG specification: a relative path is invalid and must be ignored.
    return Path(value) if os.path.isabs(value) else Path(os.path.expanduser("~")) / fallback


def cache_dir() -> Path:
    """The folder of what can be made again: indexes, the demo image."""
    return _base("XDG_CACHE_HOME", ".cache") / "layerview"


def state_dir() -> Path:
    """The folder of what is remembered between runs: images opened lately."""
    return _base("XDG_STATE_HOME", ".local/state") / "layerview"


def cache_wanted() -> bool:
    """Whether the index cache may be used, as LAYERVIEW_NO_CACHE says."""
    return os.environ.get("LAYERVIEW_NO_CACHE", "") in ("", "0")


def asset(name: str) -> Path:
    """Find a shipped file: in the installed package, or in the checkout's top-level assets/.

    Raises:
        FileNotFoundError: when there is no such asset.
    """
    from pathlib import Path

    package = Path(__file__).resolve().parent
    for folder in (package / "assets", package.parent / "assets"):
        path = folder / name
        if path.exists():
            return path
    raise FileNotFoundError(f"asset {name} is neither in {package}/assets nor beside it")
