"""Podman's store on disk (containers/storage): its containers and the layers below each.

It is read in place and never written. What the files say is hostile where the store is another
user's: lengths are bounded, IDs checked, and folders opened without following a link.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from layerview.errors import FormatError, LayerviewError, LimitError, NotFoundError
from layerview.layer.beneath import open_beneath
from layerview.oci.config import ImageConfig
from layerview.oci.fields import MAX_DOCUMENT_BYTES, Fields, load_json
from layerview.text import printable

DRIVERS = ("overlay", "vfs")
"""Those whose layers are folders that can be watched."""
_HEX = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 500
"""Layers below one; overlayfs takes no more."""


class Store(NamedTuple):
    """One store: a graph root, and where what lasts until the next boot lies."""

    graph: str
    run: str
    driver: str


class StoredContainer(NamedTuple):
    """What a store says of a container."""

    store: Store
    id: str
    names: tuple[str, ...]
    image: str
    """The image's ID; empty for a root file system of one's own."""
    image_name: str
    layer: str

    @property
    def name(self) -> str:
        """What people call it."""
        return self.names[0] if self.names else self.id[:12]


class StoredLayer(NamedTuple):
    """What a store says of a layer."""

    parent: str
    diff_id: str
    size: int | None


def containers(store: Store) -> list[StoredContainer]:
    """List a store's containers.

    Raises:
        NotFoundError: when the store can't be read.
        FormatError: when it is not as Podman writes it.
    """
    found = []
    for fields in _lists(store, "containers"):
        id, layer = fields.text("id"), fields.text("layer")
        if not (_HEX.fullmatch(id) and _HEX.fullmatch(layer)):
            fields.fail("id", "is no container's ID")
        image = fields.optional_text("image") or ""
        noted = {}
        with suppress(LayerviewError):
            told = load_json((fields.optional_text("metadata") or "").encode(), "metadata")
            noted = told if isinstance(told, dict) else {}
        called = noted.get("image-name")
        found.append(
            StoredContainer(
                store,
                id,
                fields.texts("names"),
                image if _HEX.fullmatch(image) else "",
                called if isinstance(called, str) else "",
                layer,
            )
        )
    return found


def layers(store: Store) -> dict[str, StoredLayer]:
    """Return a store's layers by their ID; see `containers`."""
    found = {}
    for fields in _lists(store, "layers"):
        id, parent = fields.text("id"), fields.optional_text("parent") or ""
        if not _HEX.fullmatch(id) or (parent and not _HEX.fullmatch(parent)):
            fields.fail("id", "is no layer's ID")
        size = fields.get("diff-size")
        found[id] = StoredLayer(
            parent,
            fields.optional_text("diff-digest") or "",
            size if isinstance(size, int) and not isinstance(size, bool) else None,
        )
    return found


def below(known: dict[str, StoredLayer], layer: str) -> list[str]:
    """Return the IDs of the layers below one, nearest first.

    Raises:
        FormatError: when one is missing, or they have no end.
    """
    found: list[str] = []
    at = known[layer].parent if layer in known else ""
    while at:
        if at not in known or len(found) > _DEEPEST:
            raise FormatError(f"layer {at[:12]} is not in Podman's store, or below itself")
        found.append(at)
        at = known[at].parent
    return found


def folder(store: Store, id: str, *names: str) -> str:
    """Return a layer's folder, or one in it.

    Raises:
        NotFoundError: when it is not there, or may not be looked at.
        FormatError: when a symbolic link stands in its place.
    """
    if not _HEX.fullmatch(id):
        raise FormatError(f'"{printable(id[:80])}" is no layer\'s ID')
    parts = ("overlay", id, *names) if store.driver == "overlay" else ("vfs", "dir", id)
    path = os.path.join(store.graph, *parts)
    try:
        base = os.open(store.graph, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            wanted = os.fsencode(os.path.join(*parts))
            os.close(open_beneath(base, wanted, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        finally:
            os.close(base)
    except PermissionError:
        raise NotFoundError(f"{printable(path)}: permission denied; use sudo") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NotFoundError(f"{printable(path)}: {why}") from None
    return path


def image_config(store: Store, image: str) -> ImageConfig | None:
    """Return the config of an image; None where it is not there as it should be."""
    if not _HEX.fullmatch(image):
        return None
    # Names that are no plain words are base64 behind a "=".
    name = "=" + b64encode(f"sha256:{image}".encode()).decode()
    below_graph = os.path.join(f"{store.driver}-images", image, name)
    with suppress(LayerviewError, OSError):
        data = _read(store.graph, below_graph)
        return ImageConfig.from_json(data, printable(os.path.join(store.graph, below_graph)))
    return None


def runtime_config(container: StoredContainer) -> Fields | None:
    """Return what the runtime was told at the last start; None where there was none."""
    path = _userdata(container, "config.json")
    with suppress(LayerviewError, OSError):
        shown = printable(os.path.join(container.store.graph, path))
        return Fields(load_json(_read(container.store.graph, path), shown), shown)
    return None


def noted_pid(container: StoredContainer) -> int | None:
    """Return what was noted as the first process at the last start; it may have ended."""
    with suppress(LayerviewError, OSError, ValueError):
        return int(_read(container.store.run, _userdata(container, "pidfile"))[:64])
    return None


def _userdata(container: StoredContainer, name: str) -> str:
    home = f"{container.store.driver}-containers"
    return os.path.join(home, container.id, "userdata", name)


def _lists(store: Store, what: str) -> Iterator[Fields]:
    """Yield the entries of a list; those that need not outlive a boot may stand apart."""
    home = f"{store.driver}-{what}"
    for place in (store.graph, store.run):
        for name in (f"{what}.json", f"volatile-{what}.json"):
            shown = printable(os.path.join(place, home, name))
            try:
                data = _read(place, os.path.join(home, name))
            except FileNotFoundError:
                if place == store.graph and not os.path.isdir(os.path.join(place, home)):
                    raise NotFoundError(f"{printable(place)} is no store of Podman's") from None
                continue
            except PermissionError:
                raise NotFoundError(f"{printable(place)}: permission denied; use sudo") from None
            except OSError as error:
                raise NotFoundError(f"{shown}: {(error.strerror or '').lower()}") from None
            listed = load_json(data, shown) if data.strip() else []
            for item in listed if isinstance(listed, list) else []:
                yield Fields(item, shown)


def _read(place: str, path: str) -> bytes:
    """Read a small file of a store, through real folders only."""
    base = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(base, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(base)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no file")
        data = os.pread(fd, MAX_DOCUMENT_BYTES + 1, 0)
    finally:
        os.close(fd)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise LimitError(f"{printable(path)} is longer than {MAX_DOCUMENT_BYTES:,} bytes")
    return data
