"""What is watched: a container's layer on disk, and those below it."""

from __future__ import annotations

from typing import NamedTuple

from layerview.layer.whiteouts import Whiteouts
from layerview.watch.events import INIT


class WatchedLayer(NamedTuple):
    """A read-only layer below a container's own."""

    number: int
    """From 0, the image's base; INIT for the container's first layer."""
    folder: str
    """Its files on disk, absolute; on vfs the whole tree up to it."""
    chain_id: str = ""
    """`sha256:` and 64 digits; empty where it is unknown."""
    instruction: str = ""
    """The history's `created_by`, for people."""
    size: int | None = None
    """Bytes of its files, where they are known."""


class WatchedVolume(NamedTuple):
    """A volume or bind mount of the container."""

    name: str
    """The volume's; empty for a bind mount."""
    source: str
    """On the machine, absolute."""
    target: bytes
    """In the container, relative."""
    read_only: bool = False


class Target(NamedTuple):
    """A container that can be watched. All of it is read-only."""

    engine: str
    """layerview, docker or podman."""
    id: str
    """64 hexadecimal digits."""
    name: str
    image: str
    """The reference or ID it was made from."""
    driver: str
    """overlay2, aufs, vfs, or overlay (Podman's)."""
    whiteouts: Whiteouts
    """The form of deletions in `upper`; NONE on vfs."""
    upper: str
    """The container's own layer on disk, absolute."""
    layers: tuple[WatchedLayer, ...]
    """Those below, top first."""
    volumes: tuple[WatchedVolume, ...] = ()
    pid: int | None = None
    """The first process, as this machine counts; None when it does not run."""
    steps: str | None = None
    """The socket where our union's server tells its steps (see unionfs.steps); aufs only."""
    work: str | None = None
    """overlayfs's work directory, where a copy-up is under way before it lands."""
    copied_at_start: int | None = None
    """Bytes that making the container's layer copied: a whole tree on vfs, else 0."""


def below(target: Target) -> tuple[WatchedLayer, ...]:
    """Return the image's own layers, top first."""
    return tuple(layer for layer in target.layers if layer.number != INIT)
