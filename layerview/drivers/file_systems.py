"""File systems: what one is called, and which ones the kernel has."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from layerview.drivers.mounts import libc

_MAGICS = {
    0x01021994: "tmpfs",
    0x2FC12FC1: "zfs",
    0x58465342: "xfs",
    0x61756673: "aufs",
    0x65735546: "FUSE",
    0x6969: "NFS",
    0x73717368: "squashfs",
    0x794C7630: "overlay",
    0x9123683E: "btrfs",
    0xEF53: "ext4",
    0xF2F52010: "f2fs",
}
"""What statfs(2) calls file systems."""


def file_system(path: str) -> str:
    """Return what kind of file system a path is on, by its name or its number."""
    buffer = (ctypes.c_long * 64)()
    if libc().statfs(os.fsencode(path), ctypes.byref(buffer)) != 0:
        return "unknown"
    magic = buffer[0] & 0xFFFFFFFF
    return _MAGICS.get(magic, f"a file system of type {magic:#x}")


def known_file_systems() -> list[str]:
    """Return what this kernel can mount now, by its names."""
    with suppress(OSError), open("/proc/filesystems") as lines:
        return [line.split()[-1] for line in lines]
    return []
