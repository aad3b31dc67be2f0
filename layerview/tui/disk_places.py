"""The roots that the Disk screen can tell of: the local area, and those of Docker's engines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from layerview.tui.places import usual_roots


class DiskRoot(NamedTuple):
    """A data root."""

    kind: str
    """"local", "docker" for an engine's, "root" for one without."""
    path: str


def roots_here() -> list[DiskRoot]:
    """Find the local area and the folders where Docker keeps its data; nobody is asked."""
    from layerview.store.area import default_root

    area = default_root()
    found = [DiskRoot("local", area)] if os.path.isdir(os.path.join(area, "image")) else []
    for root in usual_roots():
        closed = os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK)
        if closed or os.path.isdir(os.path.join(root, "image")):
            found.append(DiskRoot("root", root))
    return found


def roots_of_engines() -> list[DiskRoot]:
    """Ask the engines of this machine where they keep their data; may take some seconds."""
    from layerview.sources.docker_context import candidates
    from layerview.sources.engine import look_at

    found = []
    for endpoint in candidates():
        socket = endpoint.address.removeprefix("unix://")
        # One behind a network has its folders in another machine; Podman's are no data root.
        if socket == endpoint.address or not os.path.exists(socket):
            continue
        if "podman" in endpoint.address:
            continue
        root = look_at(endpoint).data_root
        if root and os.path.isdir(os.path.join(root, "image")):
            found.append(DiskRoot("docker", root))
    return found


def merged(*lists: Iterable[DiskRoot]) -> list[DiskRoot]:
    """Return each root once, as the first list that has it calls it."""
    seen: dict[str, DiskRoot] = {}
    for roots in lists:
        for root in roots:
            seen.setdefault(os.path.realpath(root.path), root)
    return list(seen.values())
