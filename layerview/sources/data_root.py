"""Images and containers of a Docker data root, opened in place: no daemon, nothing written.

`data-root:PATH`, `data-root:PATH:REFERENCE`, `data-root:PATH:ID`,
`data-root:PATH:container:NAME`; our own area has the same form.
"""

from __future__ import annotations

import os

from layerview.errors import LayerviewError, NotFoundError
from layerview.layer.whiteouts import Whiteouts
from layerview.oci.config import History
from layerview.oci.digest import Digest
from layerview.sources.image import Image, ImageChoice, LayerSource
from layerview.store.data_root import ContainerRecord, DataRoot, ImageRecord
from layerview.text import printable

TRANSPORT = "data-root"
CONTAINER = "container:"


def open_data_root(
    path: str,
    wanted: str | None,
    *,
    driver: str | None = None,
    place: str = TRANSPORT,
) -> Image:
    """Open an image or a container of a data root.

    Args:
        path: of the data root.
        wanted: a reference, an ID or its beginning, or "container:" and a name or ID; None where
            there is but one image.
        driver: the storage driver; all are asked where none is named.
        place: the transport that the name had.

    Raises:
        NotFoundError: when there is no such data root, image or container.
        FormatError: when the folder is no data root, or a record is not as Docker writes it.
        SeveralImages: when there are several, and `wanted` does not say which.
    """
    root = DataRoot(path)
    if wanted is None:
        found = choices(root, place, driver)
        if len(found) > 1:
            from layerview.sources.resolve import SeveralImages

            raise SeveralImages(path, found)
        if not found:
            raise NotFoundError(f"{printable(path)} holds no images")
        wanted = str(found[0].image_id)
    if wanted.startswith(CONTAINER):
        return open_container(root, root.container(wanted.removeprefix(CONTAINER)), place=place)
    return open_record(root, root.image(wanted, driver), place=place)


def choices(root: DataRoot, place: str = TRANSPORT, driver: str | None = None) -> list[ImageChoice]:
    """List a data root's images as what `open_image` takes, those with a name first."""
    start = f"{place}:{root.path}:" if place == TRANSPORT else f"{place}:"
    records = [
        record
        for name in ([driver] if driver is not None else root.drivers())
        for record in root.images(name, [])
    ]
    records.sort(key=lambda record: (not record.references, record.references))
    seen = set()
    found = []
    for record in records:
        if record.image_id in seen:
            continue
        seen.add(record.image_id)
        called = record.references[0] if record.references else str(record.image_id)
        found.append(
            ImageChoice(
                start + called,
                record.references,
                record.image_id,
                str(record.config.platform) if record.config.os else None,
            )
        )
    return found


def open_record(root: DataRoot, record: ImageRecord, *, place: str = TRANSPORT) -> Image:
    """Open an image of a data root; layers that are not as they should be count as missing."""
    layers, damage = _image_layers(root, record.driver, record.chain_ids)
    name = record.references[0] if record.references else record.image_id.short
    return Image(
        record.config,
        layers,
        name=name,
        place=place,
        location=root.path,
        references=record.references,
        digest=_manifest_digest(record),
        image_id=record.image_id,
        damage=damage,
        parents=_parents(root, record),
    )


def _parents(root: DataRoot, record: ImageRecord) -> tuple[Digest, ...]:
    """Follow an image to those that it was built on here."""
    found: list[Digest] = []
    at = record.parent
    # A step of the history each, so no more than those can be of use.
    while at is not None and at not in found and len(found) < len(record.config.history):
        try:
            parent = root.image(str(at), record.driver).parent
        except LayerviewError:
            break
        found.append(at)
        at = parent
    return tuple(found)


def open_container(root: DataRoot, record: ContainerRecord, *, place: str = TRANSPORT) -> Image:
    """Open a container: its image's layers, the one with /etc/hosts and the like, and its own."""
    image: ImageRecord | None = None
    warnings = []
    if record.image_id is not None:
        try:
            image = root.image(str(record.image_id), record.driver)
        except LayerviewError as error:
            warnings.append(f"its image can't be read: {error}")
    chain = image.chain_ids if image is not None else _chain(root, record)
    layers, damage = _image_layers(root, record.driver, chain)
    below = layers[-1].directory if layers else None
    whiteouts = root.whiteouts(record.driver)
    if record.driver == "overlay":
        whiteouts = Whiteouts.USER if root.rootless else Whiteouts.TRUSTED
    name = record.name or record.id[:12]
    own = [("container", record.mount_id, record.folder, f"what container {name} changed")]
    if record.init_id:
        what = "what the engine put there for each container"
        own.insert(0, ("init", record.init_id, record.init_folder, what))
    for role, cache_id, folder, made_by in own:
        problem = root.folder_problem(folder)
        layers.append(
            LayerSource(
                len(layers),
                history=History(created=record.created, created_by=printable(made_by)),
                folder=folder if problem is None else None,
                missing_reason=problem or "",
                whiteouts=whiteouts,
                lower=below if whiteouts is Whiteouts.NONE else None,
                cache_id=cache_id,
                directory=folder or None,
                role=role,
            )
        )
        below = folder or None
    opened = Image(
        image.config if image is not None else None,
        layers,
        name=printable(name),
        place=place,
        location=root.path,
        image_id=record.image_id,
        damage=damage,
    )
    opened.warnings.extend(warnings)
    return opened


def _chain(root: DataRoot, record: ContainerRecord) -> tuple[Digest, ...]:
    """Follow a container's layers down to the base by what the layers say."""
    chain: list[Digest] = []
    at = record.parent
    while at is not None and at not in chain:
        chain.append(at)
        at = root.layer(record.driver, at).parent
    return tuple(reversed(chain))


def _image_layers(
    root: DataRoot, driver: str, chain: tuple[Digest, ...]
) -> tuple[list[LayerSource], list[str]]:
    """Find an image's layers; also say what is wrong with their records."""
    layers: list[LayerSource] = []
    damage = []
    whiteouts = root.whiteouts(driver)
    lower: str | None = None
    for number, chain_id in enumerate(chain):
        try:
            record = root.layer(driver, chain_id)
        except LayerviewError as error:
            damage.append(f"layer {number}: {error}")
            layers.append(LayerSource(number, missing_reason=str(error)))
            lower = None
            continue
        problem = root.folder_problem(record.folder)
        alone = record.tar_split is None and whiteouts is Whiteouts.NONE
        if problem is None and alone and number and lower is None:
            problem = "the layer below, with which its tree must be compared, is not here"
        layers.append(
            LayerSource(
                number,
                folder=record.folder if problem is None else None,
                missing_reason=problem or "",
                whiteouts=whiteouts,
                lower=lower if whiteouts is Whiteouts.NONE else None,
                tar_split=record.tar_split,
                cache_id=record.cache_id,
                directory=record.folder or None,
                size=record.size,
            )
        )
        if problem is not None and record.folder and not os.path.lexists(record.folder):
            damage.append(f"layer {number}: {problem}")
        lower = record.folder if problem is None else None
    return layers, damage


def _manifest_digest(record: ImageRecord) -> Digest | None:
    """Return the digest of the image's manifest, where a registry's is noted."""
    for name in record.digests:
        return Digest.parse(name.rpartition("@")[2])
    return None
