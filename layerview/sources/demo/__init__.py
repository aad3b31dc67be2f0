"""The demo image: made on first use from this machine's programs, and kept in the cache.

It is made again when the recipe, the way of building, or one of the programs and libraries in it
changed. What is kept is a folder below cache_dir()/demo: the OCI layout, and stamp.json, which
says what it was made of.
"""

from __future__ import annotations

from pathlib import Path

from layerview.errors import LayerviewError
from layerview.progress import QUIET, Progress
from layerview.settings import asset, cache_dir
from layerview.sources.demo.stamp import LAYOUT, holds

__all__ = ["DEFAULT_REFERENCE", "demo_image"]

DEFAULT_REFERENCE = "changed-ubuntu:latest"
"""The image of the layout that `demo:` opens; `ubuntu-demo:15.04` is its base."""


def demo_image(progress: Progress | None = None) -> Path:
    """Return the OCI layout of the demo image, built first where there is none that holds.

    Raises:
        LayerviewError: when it cannot be written, or was cancelled.
    """
    home = cache_dir() / "demo"
    recipe = asset("demo-image.toml").read_bytes()
    found = _kept(home, recipe)
    if found is None:
        # Only here: a kept image opens without tarfile and tomllib.
        from layerview.sources.demo.make import make

        try:
            found = make(home, recipe, progress or QUIET)
        except OSError as error:
            raise LayerviewError(
                f"cannot make the demo image in {home}: {error.strerror or error};"
                " XDG_CACHE_HOME names another place"
            ) from error
    return found / LAYOUT


def _kept(home: Path, recipe: bytes) -> Path | None:
    """Find a finished image that is what would be built now."""
    try:
        folders = sorted(entry for entry in home.iterdir() if not entry.name.startswith("."))
    except OSError:
        return None
    return next((folder for folder in folders if holds(folder, recipe)), None)
