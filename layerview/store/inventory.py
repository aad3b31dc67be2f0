"""What a data root holds, added up as Docker adds it up: who shares what, and what is used.

The rules are those of moby (daemon/images/images.go, daemon/disk_usage.go) and of Docker's
command line (cli/command/formatter/disk_usage.go).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from layerview.errors import LayerviewError
from layerview.layer.beneath import OPEN_FOLDER
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.digest import Digest
from layerview.store.data_root import ContainerRecord, DataRoot, ImageRecord, LayerRecord
from layerview.times import seconds_of

_ACTIVE = ("running", "paused", "restarting")


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image, with what it takes and who uses it; sizes in bytes."""

    record: ImageRecord
    layers: tuple[LayerRecord, ...]
    """Base first; those whose record can't be read are left out."""
    containers: tuple[ContainerRecord, ...]
    children: int
    """Images that were built on it here."""
    shared_size: int
    """Of the layers that other listed images have as well."""
    unique_size: int

    @property
    def size(self) -> int:
        """Of all layers."""
        return self.shared_size + self.unique_size

    @property
    def is_whole(self) -> bool:
        """Whether all its layers are here, so that the sizes are right."""
        return len(self.layers) == len(self.record.chain_ids)

    @property
    def is_intermediate(self) -> bool:
        """Whether it is but a step on the way to another, so that Docker does not list it."""
        record = self.record
        return not record.references and not record.digests and self.children > 0

    @property
    def is_dangling(self) -> bool:
        """Whether it has no name."""
        return not self.record.references and not self.record.digests


class Inventory:
    """All that a data root holds, read once."""

    def __init__(self, root: DataRoot, driver: str | None = None) -> None:
        """Read the records.

        Args:
            root: the data root.
            driver: whose images; all where none is named.
        """
        self.root = root
        self.problems: list[str] = []
        """What could not be read, a line each."""
        drivers = [driver] if driver is not None else root.drivers()
        self.containers = [
            record for record in root.containers(self.problems) if record.driver in drivers
        ]
        self.layers: dict[tuple[str, Digest], LayerRecord] = {}
        self.images: list[ImageUse] = []
        """The newest first, as Docker lists them."""
        for name in drivers:
            self._read(name)
        self.images.sort(key=_age)

    def _read(self, driver: str) -> None:
        root, layers = self.root, self.layers
        layers.update(((driver, one.chain_id), one) for one in root.layers(driver, self.problems))
        records = root.images(driver, self.problems)
        children: dict[Digest, int] = {}
        for record in records:
            if record.parent is not None:
                children[record.parent] = children.get(record.parent, 0) + 1
        users: dict[Digest, int] = {}
        """How many listed images have a layer."""
        for record in records:
            named = record.references or record.digests
            if named or not children.get(record.image_id):
                for chain_id in record.chain_ids:
                    users[chain_id] = users.get(chain_id, 0) + 1
        for record in records:
            own = [layers.get((driver, chain_id)) for chain_id in record.chain_ids]
            found = [layer for layer in own if layer is not None]
            shared = sum(layer.size for layer in found if users.get(layer.chain_id, 0) > 1)
            self.images.append(
                ImageUse(
                    record,
                    tuple(found),
                    tuple(
                        one
                        for one in self.containers
                        if one.name and one.image_id == record.image_id and one.driver == driver
                    ),
                    children.get(record.image_id, 0),
                    shared,
                    sum(layer.size for layer in found) - shared,
                )
            )

    @property
    def listed(self) -> list[ImageUse]:
        """The images that Docker lists: steps on the way to another are left out."""
        return [image for image in self.images if not image.is_intermediate]

    def image(self, wanted: str) -> ImageUse:
        """Find an image by reference or ID.

        Raises:
            NotFoundError: when there is none.
        """
        found = self.root.image(wanted)
        return next(
            image
            for image in self.images
            if image.record.image_id == found.image_id and image.record.driver == found.driver
        )

    @property
    def layers_size(self) -> int:
        """Bytes of all layers that listed images have, each once."""
        used = {
            (layer.driver, layer.chain_id): layer.size
            for image in self.listed
            for layer in image.layers
        }
        return sum(used.values())

    @property
    def reclaimable(self) -> int:
        """Bytes that Docker calls reclaimable: all but those that used images alone have."""
        used = sum(image.unique_size for image in self.listed if image.containers)
        return self.layers_size - used

    def container_size(self, record: ContainerRecord) -> int | None:
        """Bytes that a container changed (Docker's SizeRw); None where that can't be told."""
        return container_size(self.root, record)

    def image_of(self, record: ContainerRecord) -> ImageUse | None:
        """Return the image that a container was made from."""
        for image in self.images:
            if (image.record.image_id, image.record.driver) == (record.image_id, record.driver):
                return image
        return None


def _age(image: ImageUse) -> tuple[float, tuple[str, ...], str]:
    created = seconds_of(image.record.config.created)
    moment = created if created is not None else float("-inf")
    return -moment, image.record.references, image.record.image_id.hex


def container_size(root: DataRoot, record: ContainerRecord) -> int | None:
    """Sum what a container changed, as Docker does; None where its files can't be read."""
    return changed_size(root, record.driver, record.folder, record.init_folder or None)


def changed_size(root: DataRoot, driver: str, folder: str, lower: str | None) -> int | None:
    """Sum what a driver's folder holds that the one below it has not, as Docker does.

    Args:
        root: the data root.
        driver: whose folders they are.
        folder: the upper one.
        lower: the one below; None for none.

    Returns:
        Bytes; None where files can't be read.
    """
    if not folder or root.folder_problem(folder) is not None:
        return None
    if root.whiteouts(driver) is not Whiteouts.NONE:
        return folder_size(folder)
    from layerview.layer.tree_changes import compare_trees

    try:
        changes = compare_trees(lower, folder)
    except (LayerviewError, OSError):
        return None
    paths = (change.path for change in changes if change.kind != "D")
    base = os.fsencode(folder)
    return _sizes([base + b"/" + path for path in paths])


def folder_size(folder: str) -> int | None:
    """Sum the bytes of all that is no folder below a folder, each inode once.

    moby, pkg/directory. What goes meanwhile does not count. None where something may not be read.
    """
    from layerview.layer.tree_figures import apparent_size

    try:
        fd = os.open(folder, OPEN_FOLDER)
    except OSError:
        return None
    try:
        return apparent_size(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def _sizes(paths: Sequence[bytes]) -> int:
    total = 0
    seen: set[tuple[int, int]] = set()
    for path in paths:
        with suppress(OSError):
            state = os.lstat(path)
            if not stat.S_ISDIR(state.st_mode) and (state.st_dev, state.st_ino) not in seen:
                seen.add((state.st_dev, state.st_ino))
                total += state.st_size
    return total


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A volume of the local driver."""

    name: str
    folder: str
    size: int | None
    """Bytes; None where it may not be read."""
    links: int
    """Containers that have it mounted."""


def volumes(inventory: Inventory) -> list[VolumeUse]:
    """List the volumes below a data root."""
    base = os.path.join(inventory.root.path, "volumes")
    found = []
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return []
    for name in names:
        folder = os.path.join(base, name, "_data")
        with suppress(OSError):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                continue
            links = sum(name in record.volumes for record in inventory.containers)
            found.append(VolumeUse(name, folder, folder_size(folder), links))
    return found


def is_active(record: ContainerRecord) -> bool:
    """Whether a container runs, so that Docker would not count it as reclaimable."""
    return record.status in _ACTIVE
