"""The images that the Images screen lists: given, opened lately, and the demo image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from layerview.errors import LayerviewError, NotFoundError
from layerview.oci.instruction import instruction
from layerview.progress import Progress
from layerview.text import printable

DEMO = "demo:"
_DEMO_NAMES = (DEMO, "changed-ubuntu", "changed-ubuntu:latest")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".oci")
MOST_IN_A_FOLDER = 200
"""How many archives of one folder are listed at most."""


def is_demo(name: str) -> bool:
    """Whether a name is the demo image's, made here or loaded."""
    return name.removeprefix("local:") in _DEMO_NAMES


@dataclass(frozen=True, slots=True)
class ListedLayer:
    """One layer of a listed image: enough to draw its slab."""

    key: Hashable
    size: int
    instruction: str


@dataclass(slots=True)
class Listed:
    """One line of the list."""

    name: str
    """What opens it."""
    title: str
    tag: str = ""
    image_id: str = ""
    layers: Sequence[ListedLayer] | None = None
    """Base first; None while nobody has looked."""
    place: str = ""
    location: str = ""
    error: str = ""
    unique: int | None = None
    """Bytes of layers that no other listed image of the same storage has."""
    storage: str = ""
    """Images of one storage share its layers on disk; files are taken for one together."""
    removable: bool = False
    """Whether it lies in the local area, which is ours to change."""
    told: int | None = None
    """Bytes of its layers as an engine tells them, where the layers themselves are not known."""
    asking: bool = False
    """Whether it stands for a place that has not answered yet."""

    @property
    def size(self) -> int | None:
        """The bytes of its layers as they are stored."""
        return self.told if self.layers is None else sum(layer.size for layer in self.layers)


def is_folder_of_images(name: str) -> bool:
    """Whether a name is a folder that stands for the images in it."""
    return list(_inside(name)) != [name]


def names_to_list(given: Iterable[str], recent: Iterable[str]) -> list[Listed]:
    """Return a line for each name, before anything is opened; the demo image comes last."""
    seen: set[str] = set()
    lines: list[Listed] = []
    for name in [*(inner for outer in given for inner in _inside(outer)), *recent]:
        key = os.path.abspath(name) if os.path.exists(name) else name
        if key in seen or name == DEMO:
            continue
        seen.add(key)
        lines.append(Listed(name, printable(_short(name)), location=printable(_folder(name))))
    lines.append(Listed(DEMO, "demo image", place="demo", location="made here, on first use"))
    return lines


def _inside(name: str) -> Iterator[str]:
    """A folder that is no image itself stands for the archives and layouts in it."""
    try:
        if not os.path.isdir(name) or os.path.exists(os.path.join(name, "index.json")):
            yield name
            return
        found = []
        with os.scandir(name) as entries:
            for entry in entries:
                layout = os.path.join(entry.path, "oci-layout")
                if os.path.exists(layout) or (entry.name.endswith(ARCHIVES) and entry.is_file()):
                    found.append(entry.path)
    except OSError:
        yield name
        return
    yield from sorted(found)[:MOST_IN_A_FOLDER] if found else [name]


def _short(name: str) -> str:
    path = os.path.abspath(name) if os.path.exists(name) else name
    home = os.path.expanduser("~")
    here = os.getcwd()
    if path.startswith(here + os.sep):
        return os.path.join(".", os.path.relpath(path, here))
    return "~" + path[len(home) :] if path.startswith(home + os.sep) else path


def _folder(name: str) -> str:
    return os.path.dirname(_short(name)) if os.path.exists(name) else ""


_PLACES = {"directory": "folder", "data-root": "root", "local": "local", "docker-daemon": "docker"}
"""What places are called in the list; all others are files."""


def look(line: Listed, platform: str | None, progress: Progress) -> list[Listed]:
    """Open what a line names and return the images in it; an error stands in the line.

    Raises:
        Cancelled: when `progress` was cancelled.
    """
    from layerview.sources.image import ImageChoice
    from layerview.sources.resolve import SeveralImages, open_image

    choices: list[ImageChoice | None] = [None]
    lines: list[Listed] = []
    try:
        told = _told_by_engine(line.name)
        if told is not None:
            return [told]
        try:
            image = open_image(line.name, platform=platform, progress=progress)
        except SeveralImages as several:
            choices = list(several.choices)
            image = None
        for choice in choices:
            name = line.name if choice is None else choice.name
            if image is None or choice is not None:
                image = open_image(
                    name,
                    platform=platform or (choice.platform if choice is not None else None),
                    progress=progress,
                )
            with image:
                title, tag = split_reference(image.references[0] if image.references else "")
                layers = [
                    ListedLayer(
                        source.chain_id or source.diff_id or (name, source.number),
                        source.compressed_size or source.size or 0,
                        instruction(source.history),
                    )
                    for source in image.layers
                ]
                lines.append(
                    Listed(
                        name,
                        printable(title) or line.title,
                        printable(tag),
                        image.image_id.short if image.image_id else "",
                        layers,
                        _PLACES.get(image.place, "file"),
                        line.title if title else line.location,
                    )
                )
    except (LayerviewError, OSError) as error:
        progress.check()
        line.error = printable(str(error))
        return lines or [line]
    return lines


def _told_by_engine(name: str) -> Listed | None:
    """Describe an image of an engine: opening it might stream all of it; None for all else."""
    from layerview.sources.resolve import split_name

    transport, called, _ = split_name(name)
    if transport == "name" and _is_in_area(called):
        return None
    container = called.rpartition("::")[2].startswith("container:")
    if transport not in ("docker-daemon", "name") or not called or container:
        return None
    from layerview.sources.engine import describe_in_engine

    try:
        image = describe_in_engine(called)
    except LayerviewError as error:
        if transport != "name":
            raise
        raise NotFoundError(f"{called}: no such file or folder; {error}") from None
    title, tag = split_reference(image.references[0] if image.references else "")
    line = Listed(name, title or printable(called), tag, image.image_id.short)
    line.place, line.told = "docker", image.size
    line.storage = image.engine.address
    line.location = printable(image.engine.address.removeprefix("unix://"))
    return line


def is_of_area(name: str) -> bool:
    """Whether a name is one of an image in the local area, which is listed by itself."""
    return name.startswith("local:") and not name.startswith("local:container:")


def is_of_engine(name: str) -> bool:
    """Whether a name is one of an image in an engine."""
    return name.startswith("docker-daemon:")


def _is_in_area(name: str) -> bool:
    from layerview.store.area import default_root
    from layerview.store.data_root import DataRoot

    try:
        DataRoot(default_root()).image(name)
    except LayerviewError:
        return False
    return True


def split_reference(reference: str) -> tuple[str, str]:
    """Split a reference into the name and the tag that are shown for it."""
    name, _, digest = reference.partition("@")
    if ":" not in name and "/" not in name and not digest:
        # A layout may name its images by a tag alone.
        return "", name
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, tag or digest[:19]


def share(lines: Iterable[Listed]) -> int:
    """Work out the unique bytes of each line; return all bytes, layers of a storage once."""
    lines = list(lines)
    known = [line for line in lines if line.layers is not None]
    users = users_of(known)
    sizes = {(line.storage, layer.key): layer.size for line in known for layer in line.layers or ()}
    for line in known:
        line.unique = sum(
            layer.size for layer in line.layers or () if users[line.storage, layer.key] == 1
        )
    return sum(sizes.values()) + _told(line for line in lines if line.layers is None)


def _told(lines: Iterable[Listed]) -> int:
    """Sum up what engines tell of images whose layers are not known: at least so much is stored."""
    unique, shared = 0, {"": 0}
    images = {(line.storage, line.image_id): line for line in lines}
    for line in images.values():
        own = line.unique if line.unique is not None else line.told or 0
        unique += own
        # What several images share is on the disk once; the most that one of them shares is there.
        shared[line.storage] = max(shared.get(line.storage, 0), (line.told or 0) - own)
    return unique + sum(shared.values())


def users_of(lines: Iterable[Listed]) -> Counter[tuple[str, Hashable]]:
    """Count by how many listed images of a storage each layer is used.

    Several names of one image are one user.
    """
    seen = {
        (line.storage, line.image_id or line.name): {layer.key for layer in line.layers}
        for line in lines
        if line.layers is not None
    }
    return Counter((storage, key) for (storage, _), keys in seen.items() for key in keys)
