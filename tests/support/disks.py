"""File systems made for a test, in a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MAKE = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
}


@contextmanager
def disk(kind: str, folder: Path, size: int = 512 << 20) -> Iterator[Path]:
    """Mount a new file system of a kind on a folder of its own; skip where that can't be."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    program = _MAKE[kind][0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    known = Path("/proc/filesystems").read_text().split()
    if kind not in known:
        subprocess.run(["modprobe", kind], capture_output=True, check=False)
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    image, place = folder / f"{kind}.image", folder / kind
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run([*_MAKE[kind], str(image)], check=True, capture_output=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no loop mount here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        image.unlink()


def free(place: Path) -> int:
    """Bytes that are free on a file system, when all is written."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.sync()
        found = os.fstatvfs(fd)
    finally:
        os.close(fd)
    return found.f_bfree * found.f_frsize
