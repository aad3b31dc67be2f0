"""The storage drivers' own folders in a data root: where each has something under an ID."""

from __future__ import annotations

from typing import NamedTuple

from layerview.store.layout import is_driver_id

REMOVING = "-removing"
"""Behind an ID whose folder is to be removed (aufs)."""


_DEVICE = "backingFsBlockDev"
"""By which an engine limits what layers may take (moby, quota/projectquota.go)."""


class Home(NamedTuple):
    """How a driver's own folder is laid out."""

    places: tuple[str, ...]
    """Folders in it that have an entry for each ID, that with the files first; "" is itself."""
    known: tuple[str, ...] = ()
    """Entries of it that are the driver's own."""


HOMES = {
    "overlay2": Home(("",), ("l", _DEVICE)),
    "fuse-overlayfs": Home(("",), ("l", _DEVICE)),
    "overlay": Home(("",), (_DEVICE,)),
    "aufs": Home(("diff", "layers", "mnt")),
    "vfs": Home(("dir",), (_DEVICE,)),
    "btrfs": Home(("subvolumes",), ("quotas",)),
}
"""By the driver's name, which is the folder's too."""
_TRIALS = ("check-overlayfs-support", "opaque-bug-check", "metacopy-check", "overlay-test")
"""How folders begin in which engines try what the machine can do (moby, daemon/graphdriver)."""


def id_of(name: str) -> str:
    """Return the driver's ID that an entry is of; "" where it is of none."""
    return name if is_driver_id(name.removesuffix(REMOVING)) else ""


def is_trial(name: str) -> bool:
    """Whether an entry was made to try what the machine can do."""
    return name.startswith(_TRIALS)
