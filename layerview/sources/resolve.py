"""The one way from a name that a person gives to an opened image."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from layerview.errors import (
    Cancelled,
    DamageError,
    FormatError,
    LayerviewError,
    LimitError,
    NotFoundError,
    UsageError,
)
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference
from layerview.progress import QUIET, Progress
from layerview.sources.archive import Archive
from layerview.sources.image import Image, ImageChoice
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.sources.docker_archive import SavedImage
    from layerview.sources.oci_layout import Layout

FILE_TRANSPORTS = ("docker-archive", "oci", "oci-archive")
OTHER_TRANSPORTS = ("docker://", "containers-storage:")
DATA_ROOT = "data-root:"
"""Names what a Docker data root holds; see `data_root`."""
LOCAL = "local:"
"""Names an image of the local storage area; see `store.area.default_root`."""
ENGINE = "docker-daemon:"
"""Names an image of the Docker Engine; see `engine.open_in_engine`."""
DEMO = "demo:"
"""Names the demo image; `demo:REFERENCE` one of its images."""


class SeveralImages(UsageError):
    """A file holds several images, and the name does not say which."""

    def __init__(self, location: str, choices: list[ImageChoice]) -> None:
        self.location = location
        self.choices = choices
        names = ", ".join(
            printable(f"{choice.name} ({choice.platform})" if choice.platform else choice.name)
            for choice in choices[:20]
        )
        more = f" and {len(choices) - 20} more" if len(choices) > 20 else ""
        super().__init__(f"{printable(location)} holds several images; ask for one: {names}{more}")


def open_image(name: str, *, platform: str | None = None, progress: Progress = QUIET) -> Image:
    """Open the image that a person named.

    Args:
        name: a file or folder, "-" for standard input, or a name with a transport in front:
            `docker-archive:FILE[:REFERENCE]`, `oci:DIR[:REFERENCE]`,
            `oci-archive:FILE[:REFERENCE]`, `data-root:FOLDER[:REFERENCE]`, `local:REFERENCE`,
            `docker-daemon:NAME`, `demo:[REFERENCE]`. A reference may also follow a bare file or
            folder; a name that is no file is looked up in the local area, in Docker, in Podman.
        platform: "os/architecture[/variant]", where an index has several.
        progress: told about unpacking an outer compression.

    Raises:
        UsageError: when the platform is no platform.
        SeveralImages: when the name does not say which of several images.
        NotFoundError: when there is no such file, reference or platform.
        FormatError: when the file is no image.
    """
    wanted = _platform(platform) if platform is not None else None
    transport, location, selector = split_name(name)
    if transport == "demo":
        from layerview.sources.demo import DEFAULT_REFERENCE, demo_image

        return _open_folder("oci", str(demo_image(progress)), selector or DEFAULT_REFERENCE, wanted)
    if transport in ("data-root", "local"):
        return _open_in_root(transport, location, selector, wanted)
    if transport == "docker-daemon":
        from layerview.sources.engine import open_in_engine

        return open_in_engine(location, platform=wanted, progress=progress)
    if transport == "name":
        return _open_by_name(location, wanted, progress)
    if location != "-" and os.path.isdir(location):
        return _open_folder(transport, location, selector, wanted)
    archive = Archive(location, progress)
    try:
        return open_archive(transport, archive, selector, wanted)
    except BaseException:
        archive.close()
        raise


def _platform(text: str) -> Platform:
    try:
        return Platform.parse(text)
    except FormatError as error:
        raise UsageError(str(error)) from None


def split_name(name: str) -> tuple[str | None, str, str | None]:
    """Split a name into transport, file or folder, and reference.

    The transport is "name" where there is no such file, but an image might be called so.

    Raises:
        UsageError: when the transport can't be read by this version.
        NotFoundError: when there is no such file or folder.
    """
    if name == "-":
        return None, "-", None
    for other in OTHER_TRANSPORTS:
        if name.startswith(other) and not os.path.exists(name):
            raise UsageError(
                f"{other.rstrip('/').rstrip(':')} is not read yet; save the image to a file:"
                " docker save NAME -o FILE"
            )
    if name.startswith(DEMO) and not os.path.exists(name):
        return "demo", "", name[len(DEMO) :] or None
    if name.startswith(LOCAL) and not os.path.exists(name):
        from layerview.store.area import default_root

        return "local", default_root(), name[len(LOCAL) :] or None
    if name.startswith(DATA_ROOT) and not os.path.exists(name):
        return "data-root", *_split_root(name[len(DATA_ROOT) :])
    if name.startswith(ENGINE) and not os.path.exists(name):
        return "docker-daemon", name[len(ENGINE) :], None
    transport: str | None = None
    rest = name
    for known in FILE_TRANSPORTS:
        if name.startswith(known + ":"):
            transport, rest = known, name[len(known) + 1 :]
            break
    if transport is not None and (rest == "-" or rest.startswith("-:")):
        return transport, "-", rest[2:] or None
    if os.path.exists(rest):
        return transport, rest, None
    # The file may have a colon in its name and a reference may have several: longest file wins.
    at = len(rest)
    while (at := rest.rfind(":", 0, at)) > 0:
        if os.path.exists(rest[:at]):
            return transport, rest[:at], rest[at + 1 :] or None
    if transport is None and may_be_a_name(rest):
        return "name", rest, None
    raise NotFoundError(f"{printable(rest)}: no such file or folder")


def _split_root(text: str) -> tuple[str, str | None]:
    """Split `FOLDER`, `FOLDER:NAME` or `FOLDER/NAME`; the longest folder wins."""
    if os.path.isdir(text):
        return text, None
    for mark in ":/":
        at = len(text)
        while (at := text.rfind(mark, 0, at)) > 0:
            if os.path.isdir(text[:at]):
                return text[:at], text[at + 1 :] or None
    raise NotFoundError(f"{printable(text)}: no such folder")


def may_be_a_name(text: str) -> bool:
    """Whether an image may be called so: a reference, an ID, or an ID's first digits."""
    if re.fullmatch(r"(?:sha256:)?[0-9a-f]{1,64}", text):
        return True
    try:
        Reference.parse(text)
    except FormatError:
        return False
    return True


def _open_by_name(name: str, wanted: Platform | None, progress: Progress) -> Image:
    """Look for an image by a name that is no file's, place by place."""
    from layerview.sources.docker_context import podman_is_here
    from layerview.sources.engine import open_in_engine

    places: list[tuple[Callable[..., Image], str]] = [
        (_open_in_area, name),
        (open_in_engine, name),
    ]
    if podman_is_here():
        places.append((open_in_engine, f"podman::{name}"))
    tried = ["no such file or folder"]
    for look, called in places:
        try:
            return look(called, platform=wanted, progress=progress)
        except (Cancelled, DamageError, LimitError, SeveralImages):
            # It was there.
            raise
        except LayerviewError as error:
            tried.append(str(error))
    raise NotFoundError(f"{name}: {'; '.join(tried)}")


def _open_in_area(name: str, *, platform: Platform | None, progress: Progress) -> Image:
    """Open an image that the local area holds."""
    from layerview.store.area import default_root

    root = default_root()
    if not os.path.isdir(os.path.join(root, "image")):
        raise NotFoundError("the local area is empty")
    return _open_in_root("local", root, name, platform)


def _open_in_root(place: str, path: str, wanted: str | None, platform: Platform | None) -> Image:
    from layerview.sources.data_root import open_data_root

    image = open_data_root(path, wanted, place=place)
    config = image.config
    if platform is not None and config.os and not config.platform.matches(platform):
        raise NotFoundError(
            f"{printable(path)} has {printable(image.name)} for {config.platform}, not {platform}"
        )
    return image


def list_images(name: str, *, progress: Progress = QUIET) -> list[ImageChoice]:
    """List the images that a file or folder holds.

    Raises:
        NotFoundError: when there is no such file or folder.
        FormatError: when it is no image.
    """
    try:
        with open_image(name, progress=progress) as image:
            return [ImageChoice(name, image.references, image.image_id, image.platform or None)]
    except SeveralImages as several:
        return several.choices


def _open_folder(
    transport: str | None, location: str, selector: str | None, wanted: Platform | None
) -> Image:
    index = os.path.join(location, "index.json")
    layout = os.path.join(location, "oci-layout")
    if transport == "oci" or (
        transport is None
        and os.path.isfile(index)
        and (os.path.isfile(layout) or os.path.isdir(os.path.join(location, "blobs")))
    ):
        from layerview.sources.oci_layout import FolderLayout

        return _open_layout(FolderLayout(location), "oci", selector, wanted)
    if transport is not None:
        raise FormatError(f"{printable(location)} is a folder, not an archive")
    if selector is not None:
        raise NotFoundError(f"{printable(location)} is a plain folder: it has no images by name")
    from layerview.sources.rootfs import open_rootfs_folder

    return open_rootfs_folder(location)


def open_archive(
    transport: str | None, archive: Archive, selector: str | None, wanted: Platform | None
) -> Image:
    """Open the image in an archive that a selector or a platform asks for.

    Raises:
        LayerviewError: see `open_image`.
    """
    from layerview.sources import docker_archive

    if transport != "oci-archive":
        saved = docker_archive.saved_images(archive) if _is_saved(archive, transport) else []
        # manifest.json has one platform of each image; the index beside it may have more.
        elsewhere = transport is None and selector is None and b"index.json" in archive.members
        if saved and not (
            elsewhere
            and wanted is not None
            and not any(docker_archive.platform_matches(archive, one, wanted) for one in saved)
        ):
            return _open_saved(archive, saved, selector, wanted)
        if transport == "docker-archive":
            raise FormatError(
                f"{printable(archive.name)} has no manifest.json: docker save has one"
            )
    if b"index.json" in archive.members and (
        transport is not None or b"oci-layout" in archive.members or _has_blobs(archive)
    ):
        from layerview.sources.oci_layout import ArchiveLayout

        return _open_layout(ArchiveLayout(archive), "oci-archive", selector, wanted)
    if transport is not None:
        raise FormatError(f"{printable(archive.name)} has no index.json: it is no OCI archive")
    remains = docker_archive.open_remains(archive)
    if remains is not None:
        return remains
    if not archive.members and archive.damage:
        raise FormatError(
            f"{printable(archive.name)} is no image: neither a tar nor a folder"
            f" ({archive.damage[0]})"
        )
    if selector is not None:
        raise NotFoundError(f"{printable(archive.name)} is a plain tar: it has no images by name")
    from layerview.sources.rootfs import open_rootfs_tar

    return open_rootfs_tar(archive)


def _is_saved(archive: Archive, transport: str | None) -> bool:
    """Whether manifest.json is docker save's, not some file of a root file system."""
    manifest = b"manifest.json"
    if manifest not in archive.members:
        return False
    if transport is not None:
        return True
    start = archive.find(manifest)
    if start is None:
        return False
    with start.opened() as fd:
        return os.pread(fd, min(start.length, 64), start.start).lstrip().startswith(b"[")


def _has_blobs(archive: Archive) -> bool:
    return any(name.startswith(b"blobs/") for name in archive.members)


def _open_saved(
    archive: Archive,
    saved: list[SavedImage],
    selector: str | None,
    wanted: Platform | None,
) -> Image:
    from layerview.sources import docker_archive

    if selector is not None:
        return docker_archive.open_saved(
            archive, docker_archive.select(saved, selector, archive.name), saved
        )
    matching = saved
    if wanted is not None:
        matching = [
            image for image in saved if docker_archive.platform_matches(archive, image, wanted)
        ]
        if not matching:
            raise NotFoundError(f"{printable(archive.name)} has no image for {wanted}")
    if len(matching) > 1:
        raise SeveralImages(archive.name, docker_archive.choices(archive, matching))
    return docker_archive.open_saved(archive, matching[0], saved)


def _open_layout(
    layout: Layout, place: str, selector: str | None, wanted: Platform | None
) -> Image:
    from layerview.sources import oci_layout

    found = oci_layout.candidates(layout)
    if not found:
        raise FormatError(f"{printable(layout.name)} lists no image")
    if selector is not None:
        found = oci_layout.select(found, selector, layout.name)
    matching = oci_layout.for_platform(found, wanted)
    if len({candidate.descriptor.digest for candidate in matching}) > 1:
        raise SeveralImages(layout.name, oci_layout.choices(layout, matching, place))
    return oci_layout.open_candidate(layout, matching[0], place)
