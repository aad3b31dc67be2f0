"""The demo image made beside its place, made to last, and given its name last of all.

Several processes may do this at once: the first to finish gives the folder its name, the others
take that one and throw theirs away.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path

from layerview.progress import Progress
from layerview.sources.demo.build import build_image, sync_folder, write_file
from layerview.sources.demo.recipe import parse_recipe
from layerview.sources.demo.stamp import LAYOUT, STAMP, holds, stamp_of
from layerview.sources.demo.tools import gather

_PART = ".part-"
_DAY = 86_400.0


def make(home: Path, recipe: bytes, progress: Progress) -> Path:
    """Build the demo image below `home`; return its folder.

    Raises:
        OSError: when it cannot be written.
        LayerviewError: when the recipe is broken, a program changed, or it was cancelled.
    """
    parsed = parse_recipe(recipe.decode())
    box = gather(parsed.programs)
    home.mkdir(parents=True, exist_ok=True)
    part = _beside(home)
    part.mkdir()
    try:
        build_image(part / LAYOUT, parsed, box, progress)
        stamp = stamp_of(part, recipe, ("sh", *parsed.programs), box)
        write_file(part / STAMP, stamp)
        sync_folder(part)
        final = _settle(part, home / hashlib.sha256(stamp).hexdigest()[:16], recipe)
        sync_folder(home)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _sweep(home, keep=final)
    return final


def _beside(home: Path) -> Path:
    return home / f"{_PART}{os.getpid()}-{secrets.token_hex(4)}"


def _settle(part: Path, final: Path, recipe: bytes) -> Path:
    """Give the finished folder its name; where another process was first, take that one's."""
    for _ in range(10):
        try:
            part.rename(final)
        except OSError:
            if holds(final, recipe):
                return final
            # What stands there is broken: out of the way, and once more.
            aside = _beside(final.parent)
            try:
                final.rename(aside)
            except FileNotFoundError:
                continue
            shutil.rmtree(aside, ignore_errors=True)
        else:
            return final
    raise OSError(f"{final} cannot be replaced")


def _sweep(home: Path, keep: Path) -> None:
    """Remove what crashed builds and older programs left, once nobody can be using it."""
    for entry in home.iterdir():
        if entry == keep:
            continue
        try:
            age = time.time() - entry.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > _DAY:
            shutil.rmtree(entry, ignore_errors=True)
