"""What a path below a data root is: a layer's folder, a record, a log, a volume.

Names alone say it, but for the short links of overlay2; records say whose it is (see `whose`).
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.store.data_root import DataRoot
from layerview.store.driver_homes import HOMES, REMOVING, id_of
from layerview.store.layout import is_container_id
from layerview.text import is_hex, printable

_REMAPPED = re.compile(r"\d{1,10}\.\d{1,10}", re.ASCII)
_TREES = ("diff", "merged", "upper", "root")
"""Folders in a layer's that show a tree: overlay2, fuse-overlayfs, and overlay."""
_LOGS = ("-json.log", "local-logs", "container-cached.log")
_METADATA = (
    "image",
    "network",
    "plugins",
    "runtimes",
    "swarm",
    "trust",
    "engine-id",
    "layerview",
    "containers",
    "volumes",
)


@dataclass(frozen=True, slots=True)
class RootPath:
    """What a path leads to."""

    kind: str
    """"folder" (of a driver), "layer", "mount" and "image" (records), "container", "log",
    "volume", "build_cache", "temporary", "metadata", or "other"."""
    path: str
    """Of the whole thing, absolute."""
    driver: str = ""
    id: str = ""
    """The driver's ID, the ChainID's or image ID's digits, the container's ID, or a name."""
    inside: str | None = None
    """The path that those see who have it mounted, "/" and below; None where none does."""


def root_of(path: str) -> tuple[DataRoot, str]:
    """Find the data root that a path lies in, the outermost; what a container made is none.

    Returns:
        The root, and the path as it lies in it.

    Raises:
        NotFoundError: when there is none.
        LayerviewError: when it may not be looked into.
    """
    place = os.path.abspath(path)
    # As it was typed, then with the links above it followed, /var/lib/docker may be one, then
    # with all that are followed.
    above, name = os.path.split(place)
    links = os.path.join(os.path.realpath(above), name), os.path.realpath(place)
    for attempt in dict.fromkeys((place, *links)):
        found = _outermost(attempt)
        if found is not None:
            return found, attempt
    raise NotFoundError(f"{printable(path)} lies in no Docker data root; name the root with --root")


def _outermost(path: str) -> DataRoot | None:
    parts = path.strip("/").split("/")
    refused: LayerviewError | None = None
    for depth in range(1, len(parts) + 1):
        at = "/" + "/".join(parts[:depth])
        with suppress(LayerviewError):
            if depth < len(parts) and _REMAPPED.fullmatch(parts[depth]):
                # dockerd --userns-remap has a root of its own below, and passes over the rest.
                inner = DataRoot(os.path.join(at, parts[depth]))
                if inner.drivers():
                    return inner
        try:
            if not stat.S_ISDIR(os.stat(os.path.join(at, "image")).st_mode):
                continue
            root = DataRoot(at)
            if root.drivers():
                return root
        except PermissionError:
            said = f"{printable(at)} may only be looked into by its owner; use sudo"
            refused = refused or NotFoundError(said)
        except OSError:
            continue
        except LayerviewError as error:
            refused = refused or error
    if refused is not None:
        raise refused
    return None


def look_up(root: DataRoot, path: str) -> RootPath:
    """Say what a path below a data root is, whether it is there or not.

    Raises:
        NotFoundError: when it lies elsewhere.
    """
    place = os.path.abspath(path)
    below = os.path.relpath(place, root.path)
    if below == ".." or below.startswith("../"):
        raise NotFoundError(f"{printable(path)} does not lie in {printable(root.path)}")
    parts = below.split("/")
    found = _folder(root, parts)
    if found is not None:
        return found
    top = parts[0]
    if below == ".":
        return RootPath("metadata", root.path)
    if top == "image" and len(parts) > 2:
        found = _record(root, parts)
        if found is not None:
            return found
    if top == "containers" and len(parts) > 1 and is_container_id(parts[1]):
        home = os.path.join(root.path, *parts[:2])
        if len(parts) > 2 and is_log(parts[2]):
            return RootPath("log", os.path.join(home, parts[2]), id=parts[1])
        return RootPath("container", home, id=parts[1])
    if top == "volumes" and len(parts) > 1 and _is_folder(root, parts[:2]):
        home = os.path.join(root.path, *parts[:2])
        seen = "/" + "/".join(parts[3:]) if parts[2:3] == ["_data"] else None
        return RootPath("volume", home, id=parts[1], inside=seen)
    if top == "buildkit":
        return RootPath("build_cache", os.path.join(root.path, "buildkit"), id=top)
    if top == "tmp":
        return RootPath("temporary", os.path.join(root.path, *parts[:2]), id=parts[-1])
    kind = "metadata" if top in _METADATA or top in HOMES else "other"
    return RootPath(kind, os.path.join(root.path, *parts[: 2 if top == "layerview" else 1]))


def is_log(name: str) -> bool:
    """Whether a name in a container's folder is a log's (drivers json-file and local)."""
    return any(word in name for word in _LOGS)


def driver_names(root: DataRoot) -> list[str]:
    """Name the drivers that have folders here, images or not."""
    known = root.drivers()
    here = (name for name in HOMES if os.path.isdir(os.path.join(root.path, name)))
    return list(dict.fromkeys([*known, *here]))


def _folder(root: DataRoot, parts: list[str]) -> RootPath | None:
    """Understand DRIVER/ID/…, DRIVER/PLACE/ID/… and DRIVER/l/SHORT/…."""
    driver = parts[0]
    home = HOMES.get(driver)
    if home is None:
        return None
    if home.places == ("",):
        place, rest = "", parts[1:]
        if rest[:1] == ["l"] and len(rest) > 1:
            rest = [_linked(root, driver, rest[1]), "diff", *rest[2:]]
        trees = len(rest) > 1 and rest[1] in _TREES
        below = rest[2:]
    else:
        place, rest = parts[1] if len(parts) > 1 else "", parts[2:]
        if place not in home.places:
            return None
        trees, below = place != "layers", rest[1:]
    if not rest or not id_of(rest[0]):
        return None
    path = os.path.join(root.path, driver, place, rest[0])
    return RootPath("folder", path, driver, rest[0], "/" + "/".join(below) if trees else None)


def _linked(root: DataRoot, driver: str, short: str) -> str:
    """Return whose a short name of overlay2's is; "" where it leads nowhere in the driver's."""
    try:
        target = os.readlink(os.path.join(root.path, driver, "l", short))
    except (OSError, ValueError):
        return ""
    parts = target.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == ".." and parts[2] == "diff" else ""


def _record(root: DataRoot, parts: list[str]) -> RootPath | None:
    """Understand image/DRIVER/…."""
    driver, rest = parts[1], parts[2:]
    with suppress(FormatError):
        layout = root.layout(driver)
        if rest[:2] == ["layerdb", "sha256"] and len(rest) > 2:
            kind = "temporary" if rest[2].endswith(REMOVING) else "layer"
            chain = rest[2].partition("-")[0]
            if is_hex(chain, 64):
                return RootPath(kind, os.path.join(layout.layers, rest[2]), driver, chain)
        if rest[:2] == ["layerdb", "mounts"] and len(rest) > 2 and is_container_id(rest[2]):
            return RootPath("mount", os.path.join(layout.mounts, rest[2]), driver, rest[2])
        if rest[:2] == ["layerdb", "tmp"] and len(rest) > 2:
            path = os.path.join(layout.layers_tmp, rest[2])
            return RootPath("temporary", path, driver, rest[2])
        if rest[:1] == ["imagedb"] and rest[2:3] == ["sha256"] and is_hex("".join(rest[3:4]), 64):
            return RootPath("image", os.path.join(layout.base, *rest[:4]), driver, rest[3])
    return None


def _is_folder(root: DataRoot, parts: list[str]) -> bool:
    path = os.path.join(root.path, *parts)
    return os.path.isdir(path) or not os.path.lexists(path)
