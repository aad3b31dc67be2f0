"""From a container's records in a data root, ours or Docker's, to what can be watched of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from layerview.containers.mounting import mounts_of
from layerview.drivers.base import folder_size
from layerview.errors import LayerviewError
from layerview.oci.config import pair_history
from layerview.store import volumes
from layerview.store.data_root import ContainerRecord, DataRoot, LayerRecord
from layerview.text import printable
from layerview.watch.events import INIT
from layerview.watch.target import Target, WatchedLayer, WatchedVolume

DRIVERS = ("overlay2", "fuse-overlayfs", "aufs", "vfs")
"""Whose containers can be watched."""
_INIT = "what the engine put there for each container"


def recorded_target(
    data: DataRoot,
    record: ContainerRecord,
    *,
    engine: str,
    pid: int | None,
    steps: str | None = None,
) -> Target:
    """Return what can be watched of a container.

    Args:
        data: where it lies.
        record: its records.
        engine: whose it is.
        pid: its first process, as this machine counts.
        steps: where our union's server tells its steps.

    Raises:
        LayerviewError: when its driver keeps no folders, or a layer's record can't be read.
    """
    name = record.name or record.id[:12]
    if record.driver not in DRIVERS:
        raise LayerviewError(
            f"container {printable(name)} lies on {printable(record.driver)}, which can't be"
            f" watched yet: {', '.join(DRIVERS)} can"
        )
    try:
        layers = _layers(data, record)
    except LayerviewError as error:
        raise LayerviewError(f"container {printable(name)} can't be watched: {error}") from None
    overlay = record.driver in ("overlay2", "fuse-overlayfs")
    return Target(
        engine=engine,
        id=record.id,
        name=name,
        image=record.image_name or str(record.image_id or ""),
        driver=record.driver,
        whiteouts=data.whiteouts(record.driver),
        upper=record.folder,
        layers=layers,
        volumes=_volumes(data, record),
        pid=pid,
        steps=steps,
        work=os.path.join(os.path.dirname(record.folder), "work") if overlay else None,
        copied_at_start=_copied(data, record, layers),
    )


def _layers(data: DataRoot, record: ContainerRecord) -> tuple[WatchedLayer, ...]:
    chain: list[LayerRecord] = []
    at = record.parent
    while at is not None:
        layer = data.layer(record.driver, at)
        chain.append(layer)
        at = layer.parent
    made_by = _instructions(data, record, len(chain))
    found = [
        WatchedLayer(number, layer.folder, str(layer.chain_id), made_by[number], layer.size)
        for number, layer in zip(reversed(range(len(chain))), chain, strict=True)
    ]
    if record.init_id:
        found.insert(0, WatchedLayer(INIT, record.init_folder, instruction=_INIT))
    return tuple(found)


def _instructions(data: DataRoot, record: ContainerRecord, count: int) -> list[str]:
    made_by = [""] * count
    if record.image_id is None:
        return made_by
    with suppress(LayerviewError):
        config = data.image(str(record.image_id), record.driver).config
        for row in pair_history(config, count):
            if row.layer is not None and row.history is not None:
                made_by[row.layer] = row.history.created_by or ""
    return made_by


def _volumes(data: DataRoot, record: ContainerRecord) -> tuple[WatchedVolume, ...]:
    if record.document is None:
        return ()
    found = []
    for mount in mounts_of(record.document):
        name, source = (str(mount[key] or "") for key in ("name", "source"))
        if mount["type"] == "volume" and name:
            # By its name: where the data root lies may have changed.
            with suppress(LayerviewError):
                own = volumes.folder(data.path, name)
                source = own if os.path.isdir(own) else source
        if mount["type"] == "tmpfs" or not source:
            continue
        target = os.fsencode(str(mount["destination"])).strip(b"/")
        found.append(WatchedVolume(name, source, target, bool(mount["read_only"])))
    return tuple(found)


def _copied(data: DataRoot, record: ContainerRecord, layers: Sequence[WatchedLayer]) -> int | None:
    """Return how much making the container copied: on vfs a whole tree for each of its layers."""
    if record.driver != "vfs":
        return 0
    with suppress(LayerviewError):
        noted = data.container_notes(record.id).get("allocated")
        if isinstance(noted, int):
            return noted
    try:
        return sum(folder_size(layer.folder) for layer in layers[: 2 if record.init_id else 1])
    except OSError:
        return None
