"""The kernel's own aufs, which few kernels have: as Docker's driver mounts it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from layerview.drivers.file_systems import known_file_systems
from layerview.drivers.mounts import mount
from layerview.drivers.namespace import is_initial

_MS_RDONLY = 1
_MS_REMOUNT = 0x20
_OPTIONS = "dio,xino=/dev/shm/aufs.xino,dirperm1"
_ROOM = 54
"""Bytes of the page of options that the kernel wants for itself (moby, aufs.go, aufsMount)."""


def has_kernel_aufs() -> bool:
    """Whether the kernel's aufs can be mounted here; it knows no user namespaces."""
    return os.geteuid() == 0 and is_initial() and "aufs" in known_file_systems()


def mount_kernel_aufs(target: str, branches: Sequence[str], *, read_only: bool) -> None:
    """Mount branches, the top one first, which is written.

    Those that do not fit into the page that mount(2) takes are added one by one.

    Raises:
        OSError: as mount(2) has it.
    """
    top, *below = branches
    words = f"br:{top}={'ro+wh' if read_only else 'rw'}"
    room = os.sysconf("SC_PAGE_SIZE") - _ROOM - len(_OPTIONS) - 1
    waiting = list(below)
    while waiting and len(os.fsencode(f"{words}:{waiting[0]}=ro+wh")) < room:
        words += f":{waiting.pop(0)}=ro+wh"
    flags = _MS_RDONLY if read_only else 0
    mount("none", target, "aufs", flags, f"{words},{_OPTIONS}")
    for branch in waiting:
        mount("none", target, "aufs", flags | _MS_REMOUNT, f"append:{branch}=ro+wh")
