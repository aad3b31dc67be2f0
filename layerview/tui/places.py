"""The places where images are found by themselves: the local area, data roots, engines.

Finding a place is cheap and opens nothing; each is looked into on its own, so that one that is
dead or slow holds up none of the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError
from layerview.oci.config import pair_history
from layerview.oci.instruction import instruction
from layerview.text import printable
from layerview.tui.listing import Listed, ListedLayer, split_reference

if TYPE_CHECKING:
    from layerview.oci.digest import Digest
    from layerview.sources.docker_context import Endpoint
    from layerview.sources.engine import EngineImage
    from layerview.store.data_root import DataRoot, ImageRecord

_ENGINES = {"docker": "Docker Engine", "podman": "Podman", "rootless": "rootless Docker"}


@dataclass(frozen=True, slots=True)
class Place:
    """One place, not yet looked into."""

    kind: str
    """"local", "docker", "podman", or "root" for a data root without an engine."""
    name: str
    """What people call it."""
    where: str
    """What tells it from others of its kind: a folder, or an engine's address."""
    list: Callable[[], list[Listed]]
    """Lists its images. Raises LayerviewError where the place can't be looked into."""


def find_places() -> list[Place]:
    """Find the places of this machine and user; nothing is opened and nobody asked."""
    from layerview.sources.docker_context import candidates
    from layerview.store.area import default_root

    places = []
    area = default_root()
    if os.path.isdir(os.path.join(area, "image")):
        places.append(
            Place("local", "local area", area, partial(list_root, area, "local", "local:"))
        )
    for endpoint in candidates():
        socket = endpoint.address.removeprefix("unix://")
        if socket != endpoint.address and not endpoint.said_by and not os.path.exists(socket):
            continue
        kind = "podman" if "podman" in endpoint.address else "docker"
        name = _ENGINES.get(endpoint.name, endpoint.name)
        places.append(Place(kind, name, socket, partial(list_engine, endpoint, kind)))
    engines = any(place.kind == "docker" for place in places)
    for root in usual_roots():
        # One that can't be entered is told of only where no engine stands in for it.
        closed = os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK)
        if (closed and not engines) or os.path.isdir(os.path.join(root, "image")):
            opens = f"data-root:{root}:"
            places.append(Place("root", "data root", root, partial(list_root, root, "root", opens)))
    return places


def usual_roots() -> list[str]:
    """Return where Docker keeps its data, as root and rootless, whether it is there or not."""
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.expanduser("~/.local/share")
    return ["/var/lib/docker", os.path.join(data, "docker")]


def look(place: Place) -> list[Listed]:
    """List a place's images; one that can't be looked into is a line that says why."""
    try:
        return place.list()
    except (LayerviewError, OSError) as error:
        why = str(error)
    except Exception as error:
        # One place's trouble, even a bug's, must not be the others'.
        why = f"{type(error).__name__}: {error}"
    failed = waiting(place)
    failed.asking, failed.error = False, printable(why)
    return [failed]


def waiting(place: Place) -> Listed:
    """Return the line of a place that has not answered yet."""
    return Listed(
        "", printable(place.name), place=place.kind, location=printable(place.where), asking=True
    )


def list_root(path: str, kind: str, opens: str) -> list[Listed]:
    """List the images of a data root, read in place.

    Args:
        path: the root.
        kind: the kind of place that it is shown as.
        opens: what stands before a reference or ID to open the image.

    Raises:
        LayerviewError: when it is no data root, or can't be read.
    """
    from layerview.store.data_root import DataRoot

    root = DataRoot(path)
    lines: list[Listed] = []
    for driver in root.drivers():
        problems: list[str] = []
        sizes = {layer.chain_id: layer.size for layer in root.layers(driver, problems)}
        images = root.images(driver, problems)
        built_on = {image.parent for image in images}
        found: list[Listed] = []
        for image in images:
            if not image.references and image.image_id in built_on:
                # A step of the classic builder, which docker images passes over as well.
                continue
            found += _lines(root, image, sizes, kind, opens)
        lines += sorted(found, key=lambda line: (line.title, line.tag))
        if problems:
            broken = Listed("", f"{len(problems):,} damaged", place=kind, location=driver)
            broken.error = printable(problems[0])
            lines.append(broken)
    return lines


def list_engine(endpoint: Endpoint, kind: str) -> list[Listed]:
    """List the images of an engine: with their layers where its data root can be read here.

    Raises:
        LayerviewError: when it does not answer.
    """
    from layerview.sources.engine import TRANSPORT, EngineImages, look_at

    info = look_at(endpoint)
    if info.error:
        raise LayerviewError(info.error)
    images = EngineImages(endpoint).list()
    if info.data_root and not info.containerd_store:
        opens = f"{TRANSPORT}:" if endpoint.current else f"{TRANSPORT}:{endpoint.address}::"
        try:
            lines = list_root(info.data_root, kind, opens)
        except (LayerviewError, OSError):
            lines = []
        # The folder of that name may be another engine's, or stand in another machine.
        if {line.image_id for line in lines} >= {image.image_id.short for image in images}:
            return lines
    return [line for image in images for line in _told(image, kind, endpoint)]


def _told(image: EngineImage, kind: str, endpoint: Endpoint) -> list[Listed]:
    lines = []
    for reference in image.references or ("",):
        title, tag = split_reference(reference)
        line = Listed(image.name, title or "<none>", tag or "<none>", image.image_id.short)
        line.place, line.location = kind, printable(endpoint.address.removeprefix("unix://"))
        line.storage = endpoint.address
        line.told, line.unique = image.size, image.unique_size
        lines.append(line)
    return lines


def _lines(
    root: DataRoot, image: ImageRecord, sizes: Mapping[Digest, int], kind: str, opens: str
) -> list[Listed]:
    rows = pair_history(image.config.history, len(image.chain_ids))
    made = {row.layer: row.history for row in rows if row.layer is not None}
    layers = [
        ListedLayer(chain_id, sizes.get(chain_id, 0), instruction(made.get(number)))
        for number, chain_id in enumerate(image.chain_ids)
    ]
    location = image.driver if kind == "local" else root.path
    lines = []
    for reference in image.references or ("",):
        title, tag = split_reference(reference)
        lines.append(
            Listed(
                opens + (reference or str(image.image_id)),
                printable(title) or "<none>",
                printable(tag) or "<none>",
                image.image_id.short,
                layers,
                kind,
                location,
                storage=f"{root.path}\0{image.driver}",
                removable=kind == "local",
            )
        )
    return lines
