"""What a kept demo image was made of, and whether the same would be made now."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from layerview.sources.demo.tools import Toolbox, locate

BUILDER = 1
"""Goes up when the same recipe would give another image."""
LAYOUT, STAMP = "ubuntu-demo", "stamp.json"


def stamp_of(folder: Path, recipe: bytes, programs: Iterable[str], box: Toolbox) -> bytes:
    """Describe the finished image in `folder`: recipe, programs, libraries, and its own files."""
    layout = folder / LAYOUT
    files = sorted(path for path in layout.rglob("*") if path.is_file())
    return json.dumps(
        {
            "builder": BUILDER,
            "recipe": hashlib.sha256(recipe).hexdigest(),
            "programs": {name: _program(name) for name in programs},
            "sources": {path: _identity(path) for path in sorted(box.files.values())},
            "layout": {str(path.relative_to(layout)): path.stat().st_size for path in files},
        },
        indent=1,
    ).encode()


def holds(folder: Path, recipe: bytes) -> bool:
    """Whether the image in `folder` is whole, and what would be made now."""
    try:
        stamp = json.loads((folder / STAMP).read_bytes())
        return (
            stamp["builder"] == BUILDER
            and stamp["recipe"] == hashlib.sha256(recipe).hexdigest()
            and all(_program(name) == known for name, known in stamp["programs"].items())
            and all(_identity(path) == known for path, known in stamp["sources"].items())
            and all(
                os.stat(folder / LAYOUT / name).st_size == size
                for name, size in stamp["layout"].items()
            )
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _program(name: str) -> list[str] | None:
    path = locate(name)
    return None if path is None else [path, os.path.realpath(path)]


def _identity(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_mode]
