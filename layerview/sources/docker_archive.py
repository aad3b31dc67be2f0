"""What `docker save` writes: an archive with a manifest.json, as Docker 1.10 to 24 and 25+ do.

Format: moby's image/tarexport; the 25+ form is an OCI layout with a manifest.json beside it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from layerview.errors import FormatError, LayerviewError, NotFoundError
from layerview.layer.blob import Blob
from layerview.oci.config import ImageConfig
from layerview.oci.descriptor import Descriptor
from layerview.oci.digest import Digest
from layerview.oci.fields import Fields, load_json
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference
from layerview.sources.archive import Archive
from layerview.sources.image import Image, ImageChoice, LayerSource
from layerview.text import encode, printable

MANIFEST = b"manifest.json"


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One item of manifest.json."""

    number: int
    config: str
    layers: tuple[str, ...]
    references: tuple[str, ...]
    layer_sources: dict[str, Descriptor]
    """Descriptors of blobs that are no plain tars, by DiffID (Docker 25+)."""
    parent: Digest | None = None
    """The image that it was built on."""

    @property
    def image_id(self) -> Digest | None:
        """What its config's name claims."""
        return _digest_of_name(self.config)


def saved_images(archive: Archive) -> list[SavedImage]:
    """Read manifest.json.

    Raises:
        FormatError: when it does not have the form it should have.
    """
    data = archive.read(MANIFEST)
    if data is None:
        return []
    document = f"{archive.name}: manifest.json"
    items = load_json(data, document)
    if not isinstance(items, list) or not items:
        raise FormatError(f"{document}: is no list of images")
    images = []
    for number, item in enumerate(items):
        fields = Fields(item, document)
        sources = {}
        for diff_id, value in fields.mapping("LayerSources").items():
            sources[diff_id] = Descriptor.from_json(value, f"{document}: LayerSources")
        images.append(
            SavedImage(
                number,
                fields.text("Config"),
                fields.texts("Layers"),
                fields.texts("RepoTags"),
                sources,
                _parent(fields.optional_text("Parent")),
            )
        )
    return images


def _parent(text: str | None) -> Digest | None:
    # What is no digest is no image's, so that it does no harm.
    with suppress(FormatError):
        return Digest.parse(text or "")
    return None


def choices(archive: Archive, saved: list[SavedImage]) -> list[ImageChoice]:
    """Say how each image of an archive can be asked for."""
    found = []
    for image in saved:
        selector = image.references[0] if image.references else f"@{image.number}"
        image_id = platform = None
        try:
            config = _config(archive, image)
            image_id, platform = config.image_id, str(config.platform)
        except LayerviewError:
            pass
        name = f"docker-archive:{archive.name}:{selector}"
        found.append(ImageChoice(name, image.references, image_id, platform))
    return found


def select(saved: list[SavedImage], selector: str, archive_name: str) -> SavedImage:
    """Find the image that a reference, "@number" or an image ID's beginning names.

    Raises:
        NotFoundError: when there is none.
    """
    if selector.startswith("@") and selector[1:].isdecimal() and len(selector) < 9:
        number = int(selector[1:])
        if number < len(saved):
            return saved[number]
    wanted = _normal(selector)
    for image in saved:
        if selector in image.references or wanted in map(_normal, image.references):
            return image
    if len(selector) >= 4:
        plain = selector.removeprefix("sha256:")
        for image in saved:
            if image.config.rpartition("/")[2].startswith(plain):
                return image
    names = ", ".join(
        printable(image.references[0]) if image.references else f"@{image.number}"
        for image in saved
    )
    raise NotFoundError(f"{archive_name} has no image {printable(selector)}; it has {names}")


def _normal(reference: str) -> str:
    try:
        return str(Reference.parse(reference))
    except FormatError:
        return reference


def open_saved(archive: Archive, saved: SavedImage, beside: list[SavedImage]) -> Image:
    """Open one image of an archive.

    Args:
        archive: where it is.
        saved: the image.
        beside: all images there.
    """
    warnings: list[str] = []
    damage = list(archive.damage)
    config: ImageConfig | None
    try:
        config = _config(archive, saved)
    except LayerviewError as error:
        config = None
        damage.append(str(error))
    claimed = saved.image_id
    if config is not None and claimed is not None and config.image_id != claimed:
        damage.append(f"the config is not the one its name says: {config.image_id}, not {claimed}")
    diff_ids = config.diff_ids if config is not None else ()
    layers = []
    for number, member in enumerate(saved.layers):
        layer = LayerSource(number, media_type="application/vnd.docker.image.rootfs.diff.tar")
        if number < len(diff_ids):
            source = saved.layer_sources.get(str(diff_ids[number]))
            if source is not None:
                layer.media_type = source.media_type
                layer.digest, layer.compressed_size = source.digest, source.size
        blob = archive.find(encode(member))
        if blob is None:
            layer.missing_reason = f"{printable(member)} is not in the archive"
        else:
            _describe(layer, blob, member)
        layers.append(layer)
    if not saved.references:
        warnings.append("the image has no name")
    references = tuple(printable(name) for name in saved.references)
    image_id = config.image_id if config is not None else claimed
    return Image(
        config,
        layers,
        name=references[0] if references else _unnamed(image_id, archive.name),
        place="docker-archive",
        location=archive.name,
        references=references,
        image_id=image_id,
        warnings=warnings,
        damage=damage,
        parents=_parents(saved, beside),
        close=archive.close,
    )


def _parents(saved: SavedImage, beside: list[SavedImage]) -> tuple[Digest, ...]:
    """Follow an image to those of the archive that it was built on."""
    by_id = {image.image_id: image for image in beside}
    found: list[Digest] = []
    at = saved.parent
    while at is not None and at in by_id and at not in found:
        found.append(at)
        at = by_id[at].parent
    return tuple(found)


def _describe(layer: LayerSource, blob: Blob, member: str) -> None:
    layer.blob = blob
    layer.compressed_size = blob.length
    # In the 25+ form the blob is named by its digest; in the old one by an ID of no content.
    if layer.digest is None and "blobs/" in member:
        layer.digest = _digest_of_name(member)


def _unnamed(image_id: Digest | None, archive_name: str) -> str:
    return image_id.short if image_id is not None else archive_name


def _config(archive: Archive, saved: SavedImage) -> ImageConfig:
    data = archive.read(encode(saved.config))
    name = printable(saved.config)
    if data is None:
        raise NotFoundError(f"{archive.name}: the config {name} is not in the archive")
    return ImageConfig.from_json(data, f"{archive.name}: {name}")


def _digest_of_name(member: str) -> Digest | None:
    """Read the sha256 that a member's name claims, if it claims one."""
    base = member.rpartition("/")[2].removesuffix(".json")
    try:
        return Digest("sha256", base)
    except FormatError:
        return None


def open_remains(archive: Archive) -> Image | None:
    """Open an archive whose manifest was cut off: its layers, as far as they are there.

    Returns:
        None when it does not look like an image's archive.
    """
    members = _by_parent(
        archive,
        [
            name
            for name in archive.members
            if name.endswith(b"/layer.tar") or name.startswith(b"blobs/sha256/")
        ],
    )
    layers: list[LayerSource] = []
    for name in members:
        blob = archive.find(name)
        if blob is None or (name.startswith(b"blobs/") and _is_json(blob)):
            continue
        layer = LayerSource(len(layers))
        _describe(layer, blob, printable(name))
        layers.append(layer)
    if not layers:
        return None
    return Image(
        None,
        layers,
        name=archive.name,
        place="docker-archive",
        location=archive.name,
        warnings=["no manifest.json: the order of the layers may be another"],
        damage=archive.damage or ["manifest.json is not in the archive"],
        close=archive.close,
    )


def _by_parent(archive: Archive, members: list[bytes]) -> list[bytes]:
    """Sort `ID/layer.tar` members by the parents that `ID/json` names, the base first."""
    parents: dict[bytes, bytes] = {}
    for name in members:
        folder = name.rpartition(b"/")[0]
        with suppress(LayerviewError):
            data = archive.read(folder + b"/json")
            if data is not None:
                parent = Fields(load_json(data, "json"), "json").optional_text("parent")
                parents[folder] = encode(parent or "")

    depths: dict[bytes, int] = {}
    for start in parents:
        chain: list[bytes] = []
        at = start
        while at in parents and at not in depths:
            depths[at] = 0  # known from here on, so that a ring of parents ends
            chain.append(at)
            at = parents[at]
        depth = depths.get(at, 0)
        for folder in reversed(chain):
            depth += 1
            depths[folder] = depth
    return sorted(members, key=lambda name: depths.get(name.rpartition(b"/")[0], 0))


def _is_json(blob: Blob) -> bool:
    with blob.opened() as fd:
        return os.pread(fd, 1, blob.start) in (b"{", b"[")


def platform_matches(archive: Archive, saved: SavedImage, wanted: Platform) -> bool:
    """Whether an image says it is for a platform."""
    try:
        return _config(archive, saved).platform.matches(wanted)
    except LayerviewError:
        return False
