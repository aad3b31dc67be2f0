"""The Docker Engine as a source: its images listed, and opened in place or out of one stream."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from layerview.errors import FormatError, LayerviewError, NotFoundError, UsageError
from layerview.oci.digest import Digest
from layerview.oci.fields import Fields
from layerview.oci.platform import Platform
from layerview.oci.reference import Reference
from layerview.progress import QUIET, Progress
from layerview.sources.docker_context import Endpoint, candidates, current_endpoint, named
from layerview.sources.engine_client import EngineClient, EngineError, NotInEngine
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.sources.image import Image

TRANSPORT = "docker-daemon"
_CONTAINER = "container:"
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 62
_MOST_IMAGES = 100_000


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """One engine that was looked for, and what it said."""

    endpoint: Endpoint
    version: str = ""
    api: str = ""
    driver: str = ""
    """The storage driver, or containerd's snapshotter."""
    containerd_store: bool = False
    """Whether containerd keeps the images, and not a storage driver of the engine's own."""
    data_root: str = ""
    """As the engine names it: it may stand elsewhere, or be no folder of this machine."""
    images: int = 0
    containers: int = 0
    error: str = ""
    """Why there is nothing to be had, one line; "" when it answers."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.endpoint.name


@dataclass(frozen=True, slots=True)
class EngineImage:
    """One image of an engine, as the engine describes it."""

    engine: Endpoint
    image_id: Digest
    """With containerd's store the digest of its manifest or index, else of its config."""
    references: tuple[str, ...]
    """Its names in Docker's familiar form, safe to print."""
    digests: tuple[str, ...]
    created: int
    """Seconds since 1970."""
    size: int
    """Bytes of all its layers."""
    shared_size: int | None = None
    """Bytes of layers that other images of this engine have too; None where unknown."""
    containers: int | None = None
    """How many containers are made from it; None where unknown."""

    @property
    def unique_size(self) -> int | None:
        """Bytes that removing it would free; None where unknown."""
        return None if self.shared_size is None else max(0, self.size - self.shared_size)

    @property
    def name(self) -> str:
        """What `open_image` takes."""
        called = self.references[0] if self.references else str(self.image_id)
        if self.engine.current:
            return f"{TRANSPORT}:{called}"
        # A context also says how the engine is spoken to.
        context = self.engine.name.removeprefix("context ")
        where = context if context != self.engine.name else self.engine.address
        return f"{TRANSPORT}:{where}::{called}"


# Listing -------------------------------------------------------------------------------------


def list_engines() -> list[EngineInfo]:
    """Look at every engine that may be here, all at once; each answers or says why not.

    It takes no longer than the slowest: see `look_at`.
    """
    from concurrent.futures import ThreadPoolExecutor

    found = candidates()
    with ThreadPoolExecutor(max_workers=len(found)) as pool:
        return list(pool.map(look_at, found))


def look_at(endpoint: Endpoint) -> EngineInfo:
    """Ask an engine what it is, in two answers' time at most; an error stands in what returns."""
    client = EngineClient(endpoint)
    try:
        return _info(client)
    except LayerviewError as error:
        return EngineInfo(endpoint, error=str(error))


def _info(client: EngineClient) -> EngineInfo:
    fields = client.fields("/info")
    return EngineInfo(
        client.endpoint,
        version=printable((fields.optional_text("ServerVersion") or "")[:64]),
        api=client.api,
        driver=printable((fields.optional_text("Driver") or "")[:64]),
        containerd_store=["driver-type", "io.containerd.snapshotter.v1"]
        in _pairs(fields.get("DriverStatus")),
        data_root=fields.optional_text("DockerRootDir") or "",
        images=_size(fields, "Images"),
        containers=_size(fields, "Containers"),
    )


def _pairs(value: object) -> list[object]:
    return value if isinstance(value, list) else []


_Images = list[EngineImage]


class EngineImages:
    """The images of one engine."""

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        """Prepare to ask; nothing is asked yet.

        Args:
            endpoint: the engine; None is the one that Docker's own client would talk to.

        Raises:
            LayerviewError: when Docker's settings name an engine that can't be found.
        """
        self.client = EngineClient(endpoint if endpoint is not None else current_endpoint())

    def list(self, *, shared: bool = True) -> _Images:
        """List the images, the newest first.

        Args:
            shared: also ask what is shared and used, which takes an engine some work; where it
                does not answer in time, `shared_size` and `containers` stay None.

        Raises:
            LayerviewError: when the engine does not answer, or not as an engine does.
        """
        found = self._images("/images/json")
        used: dict[Digest, tuple[int | None, int | None]] = {}
        if shared and found:
            with suppress(LayerviewError):
                used = self._used()
        return [
            replace(image, shared_size=used[image.image_id][0], containers=used[image.image_id][1])
            if image.image_id in used
            else image
            for image in found
        ]

    def _images(self, path: str) -> _Images:
        document = f"{self.client.what}: {path}"
        answer = self.client.json(path)
        if not isinstance(answer, list):
            raise FormatError(f"{document}: is no list of images")
        if len(answer) > _MOST_IMAGES:
            raise FormatError(f"{document}: lists more than {_MOST_IMAGES:,} images")
        images = [self._image(Fields(item, document)) for item in answer]
        return sorted(images, key=lambda image: -image.created)

    def _image(self, fields: Fields) -> EngineImage:
        return EngineImage(
            self.client.endpoint,
            _image_id(fields),
            _references(fields.texts("RepoTags")),
            _references(fields.texts("RepoDigests")),
            created=_size(fields, "Created"),
            size=_size(fields, "Size"),
        )

    def _used(self) -> dict[Digest, tuple[int | None, int | None]]:
        """Ask for shared sizes and containers; by image ID."""
        only = "?type=image" if self.client.knows(1, 42) else ""
        fields = self.client.fields(f"/system/df{only}")
        return {
            _image_id(item): (_known(item, "SharedSize"), _known(item, "Containers"))
            for item in fields.objects("Images")
        }


def _image_id(fields: Fields) -> Digest:
    text = fields.text("Id")
    # Podman leaves the algorithm away here and there.
    return Digest("sha256", text) if _CONTAINER_ID.fullmatch(text) else fields.digest("Id")


def _known(fields: Fields, key: str) -> int | None:
    """Read a number that is -1 where the engine did not count."""
    value = fields.integer(key)
    return value if 0 <= value < _LARGEST else None


def _size(fields: Fields, key: str) -> int:
    value = fields.integer(key) if fields.get(key) is not None else 0
    if not -_LARGEST < value < _LARGEST:
        fields.fail(key, "is out of all proportion")
    return max(0, value)


def _references(texts: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for text in texts:
        # "<none>:<none>" is no name.
        with suppress(FormatError):
            found.append(Reference.parse(text).familiar)
    return tuple(found)


# Opening -------------------------------------------------------------------------------------


def open_in_engine(
    name: str, *, platform: Platform | None = None, progress: Progress = QUIET
) -> Image:
    """Open an image of an engine, in place where its files can be read here.

    Args:
        name: `[ENGINE::]NAME`, where NAME is a reference, an ID, an ID's beginning, or
            `container:NAME`; ENGINE is an address, "docker", "rootless", "podman" or a context.
        platform: which one, where the engine has the image for several.
        progress: told about what is read; asked during every wait whether to go on.

    Raises:
        NotFoundError: when the engine has no such image.
        LayerviewError: when the engine does not answer, or the image can't be read.
    """
    client, wanted = _client_and_name(name)
    if wanted.startswith(_CONTAINER):
        return _open_container(client, wanted.removeprefix(_CONTAINER))
    if not wanted:
        _say_which(client)
    found = _inspect(client, wanted)
    info = _info(client)
    if platform is not None and found.platform is not None and not info.containerd_store:
        if not found.platform.matches(platform):
            raise NotFoundError(
                f"{client.what} has {printable(wanted)} for {found.platform}, not for {platform}"
            )
        platform = None
    image = _in_place(client, info, found)
    if image is None:
        image = _streamed(client, found, platform, progress)
        if not info.containerd_store and image.image_id != found.image_id:
            image.damage.append(
                f"the engine sent another image: {image.image_id}, not {found.image_id}"
            )
    return _as_of_engine(image, client, found)


def describe_in_engine(name: str) -> EngineImage:
    """Ask what an image is; nothing of it is read.

    Args:
        name: as for `open_in_engine`, but no container.

    Raises:
        NotFoundError: when the engine has no such image.
        LayerviewError: when the engine does not answer.
    """
    client, wanted = _client_and_name(name)
    found = _inspect(client, wanted)
    return EngineImage(
        client.endpoint, found.image_id, found.references, (), found.created, found.size
    )


def _client_and_name(name: str) -> tuple[EngineClient, str]:
    engine, _, wanted = name.rpartition("::")
    return EngineClient(named(engine) if engine else current_endpoint()), wanted


@dataclass(frozen=True, slots=True)
class _Inspected:
    """What an engine says of one image."""

    wanted: str
    image_id: Digest
    references: tuple[str, ...]
    created: int
    size: int
    platform: Platform | None


def _inspect(client: EngineClient, wanted: str) -> _Inspected:
    from layerview.sources.resolve import may_be_a_name

    if not may_be_a_name(wanted):
        raise UsageError(f"{printable(wanted[:120])} is no name of an image, and no ID")
    try:
        fields = client.fields(f"/images/{wanted}/json")
    except NotInEngine:
        tool = "podman" if client.endpoint.address.endswith("/podman.sock") else "docker"
        pull = "" if _ID.fullmatch(wanted) else f"; {tool} pull {wanted} brings it there"
        raise NotInEngine(f"{client.what} has no image {wanted}{pull}") from None
    system, architecture = fields.optional_text("Os"), fields.optional_text("Architecture")
    platform = None
    if system and architecture:
        variant = fields.optional_text("Variant") or None
        platform = Platform(printable(system), printable(architecture), variant).normalised()
    return _Inspected(
        wanted,
        _image_id(fields),
        _references(fields.texts("RepoTags")),
        _seconds(fields.optional_text("Created")),
        _size(fields, "Size"),
        platform,
    )


def _seconds(recorded: str | None) -> int:
    """Read an RFC 3339 time as seconds since 1970; 0 where there is none."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(recorded or "")
        return max(0, int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()))
    except (ValueError, OverflowError):
        return 0


def _streamed(
    client: EngineClient, found: _Inspected, platform: Platform | None, progress: Progress
) -> Image:
    from layerview.sources.archive import Archive
    from layerview.sources.resolve import open_archive

    shown = f"{found.wanted} from the engine"
    # By ID: the name may come to mean another image meanwhile.
    path = f"/images/{found.image_id}/get"
    waiting = f"waiting for the engine to pack {found.wanted}"
    with client.stream(path, progress=progress, what=waiting) as stream:
        archive = Archive(shown, progress, stream=stream, expected=found.size or None)
    try:
        return open_archive(None, archive, None, platform)
    except BaseException:
        archive.close()
        raise


def _in_place(client: EngineClient, info: EngineInfo, found: _Inspected) -> Image | None:
    """Open an image where the engine keeps it; None where that can't be read here."""
    if not _is_here(client, info):
        return None
    from layerview.sources.data_root import open_data_root

    # Whoever's folder it is: an ID stands for the very bytes of a config, and that for its layers.
    try:
        image = open_data_root(
            info.data_root, str(found.image_id), driver=info.driver, place=TRANSPORT
        )
    except (LayerviewError, OSError):
        return None
    if not all(layer.available for layer in image.layers):
        image.close()
        return None
    return image


def _is_here(client: EngineClient, info: EngineInfo) -> bool:
    """Whether the engine may keep its images in a folder of this machine, as storage drivers do."""
    local = client.endpoint.socket is not None
    return local and not info.containerd_store and os.path.isabs(info.data_root)


def _as_of_engine(image: Image, client: EngineClient, found: _Inspected) -> Image:
    image.place = TRANSPORT
    image.location = printable(client.endpoint.address)
    image.references = found.references
    image.name = found.references[0] if found.references else found.image_id.short
    image.warnings = [warning for warning in image.warnings if warning != "the image has no name"]
    return image


def _open_container(client: EngineClient, wanted: str) -> Image:
    if not _CONTAINER_NAME.fullmatch(wanted):
        raise UsageError(f"{printable(wanted[:120])} is no name of a container, and no ID")
    try:
        fields = client.fields(f"/containers/{wanted}/json")
    except NotInEngine:
        raise NotInEngine(
            f"{client.what} has no container {wanted}; docker ps -a lists those there are"
        ) from None
    container_id = fields.text("Id")
    if not _CONTAINER_ID.fullmatch(container_id):
        fields.fail("Id", "is no container's ID")
    info = _info(client)
    why = "containerd keeps its images" if info.containerd_store else "it is not on this machine"
    if _is_here(client, info):
        from layerview.sources.data_root import CONTAINER, open_data_root

        try:
            image = open_data_root(info.data_root, CONTAINER + container_id, place=TRANSPORT)
        except (LayerviewError, OSError) as error:
            why = str(error)
        else:
            image.location = printable(client.endpoint.address)
            return image
    raise EngineError(
        f"{client.what} keeps the layers of container {wanted} where they can't be read: {why};"
        f" docker commit {wanted} NAME makes an image of it"
    )


def _say_which(client: EngineClient) -> None:
    """Say which images there are, as where a file holds several."""
    from layerview.sources.image import ImageChoice
    from layerview.sources.resolve import SeveralImages

    images = EngineImages(client.endpoint).list(shared=False)
    if not images:
        raise NotFoundError(f"{client.what} has no images")
    raise SeveralImages(
        str(client.endpoint),
        [ImageChoice(image.name, image.references, image.image_id) for image in images],
    )
