"""An opened image told to another process, and put together again there."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from layerview.errors import DamageError
from layerview.layer.blob import Blob, open_regular
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import History, ImageConfig
from layerview.oci.digest import Digest
from layerview.sources.image import Image, LayerSource


def describe(image: Image) -> dict[str, Any]:
    """Say in JSON's types what an image is and where its bytes are.

    It holds as long as this process lives: an archive that was unpacked has no name elsewhere.
    """
    return {
        "config": image.config.raw.decode("utf-8", "surrogateescape") if image.has_config else None,
        "file": _file(image),
        "layers": [describe_layer(layer) for layer in image.layers],
        "name": image.name,
        "place": image.place,
        "location": image.location,
        "references": list(image.references),
        "digest": _text(image.digest),
        "image_id": _text(image.image_id),
        "warnings": image.warnings,
        "damage": image.damage,
        "parents": list(map(str, image.parents)),
    }


def describe_layer(layer: LayerSource) -> dict[str, Any]:
    """Say in JSON's types where a layer's bytes are, and what they should hash to."""
    blob = layer.blob
    return {
        "number": layer.number,
        "diff_id": _text(layer.diff_id),
        "digest": _text(layer.digest),
        "media_type": layer.media_type,
        "compressed_size": layer.compressed_size,
        "missing_reason": layer.missing_reason,
        "folder": layer.folder,
        "whiteouts": layer.whiteouts.value,
        "lower": layer.lower,
        "tar_split": layer.tar_split,
        "cache_id": layer.cache_id,
        "directory": layer.directory,
        "size": layer.size,
        "role": layer.role,
        "history": _history(layer) if layer.role else None,
        "path": blob.path if blob is not None else None,
        "fd": blob.descriptor if blob is not None else None,
        "start": blob.start if blob is not None else 0,
        "length": blob.length if blob is not None else 0,
    }


def blob_of(layer: dict[str, Any], fd: int | None) -> Blob | None:
    """Make a described layer's blob, read from a descriptor where it was before."""
    if layer["path"] is None:
        return None
    return Blob(
        layer["path"],
        fd=fd if layer["fd"] is not None else None,
        start=layer["start"],
        length=layer["length"],
    )


def layer_from(said: dict[str, Any], fd: int | None) -> LayerSource:
    """Put a described layer together, its blob read from a descriptor where it was before."""
    history = said["history"]
    return LayerSource(
        said["number"],
        diff_id=_digest(said["diff_id"]),
        digest=_digest(said["digest"]),
        media_type=said["media_type"],
        compressed_size=said["compressed_size"],
        history=History(*history) if history is not None else None,
        blob=blob_of(said, fd),
        folder=said["folder"],
        missing_reason=said["missing_reason"],
        whiteouts=Whiteouts(said["whiteouts"]),
        lower=said["lower"],
        tar_split=said["tar_split"],
        cache_id=said["cache_id"],
        directory=said["directory"],
        size=said["size"],
        role=said["role"],
    )


def image_from(said: dict[str, Any]) -> Image:
    """Put a described image together.

    Raises:
        NotFoundError: when its file is gone meanwhile.
        DamageError: when another file stands there meanwhile.
    """
    file = said["file"]
    fd = None
    if file is not None:
        fd = open_regular(file["path"])
        state = os.fstat(fd)
        if [state.st_dev, state.st_ino] != file["identity"]:
            os.close(fd)
            raise DamageError(f"{said['location']} was replaced while it was opened")
    config = said["config"]
    layers = [layer_from(layer, fd) for layer in said["layers"]]

    def close() -> None:
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    image = Image(
        ImageConfig.from_json(config.encode("utf-8", "surrogateescape")) if config else None,
        layers,
        name=said["name"],
        place=said["place"],
        location=said["location"],
        references=tuple(said["references"]),
        digest=_digest(said["digest"]),
        image_id=_digest(said["image_id"]),
        damage=said["damage"],
        parents=tuple(map(Digest.parse, said["parents"])),
        close=close,
    )
    image.warnings = said["warnings"]
    return image


def _file(image: Image) -> dict[str, Any] | None:
    """Name the open file that layers are read from: its own name, or this process's for it."""
    for layer in image.layers:
        blob = layer.blob
        if blob is None or blob.descriptor is None:
            continue
        state = os.fstat(blob.descriptor)
        identity = [state.st_dev, state.st_ino]
        path = f"/proc/{os.getpid()}/fd/{blob.descriptor}"
        with suppress(OSError):
            named = os.stat(blob.path)
            if [named.st_dev, named.st_ino] == identity:
                path = os.path.abspath(blob.path)
        return {"path": path, "identity": identity}
    return None


def _history(layer: LayerSource) -> list[str | None] | None:
    """Say what made a layer that no config knows."""
    made = layer.history
    return [made.created, made.created_by] if made is not None else None


def _text(value: Digest | None) -> str | None:
    return None if value is None else str(value)


def _digest(text: str | None) -> Digest | None:
    return None if text is None else Digest.parse(text)
