"""All images that a file or folder holds, opened one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerview.errors import UsageError
from layerview.progress import QUIET, Progress
from layerview.sources.archive import Archive
from layerview.sources.image import Image
from layerview.sources.resolve import SeveralImages, open_image


@contextmanager
def open_all(
    name: str, *, platform: str | None = None, progress: Progress = QUIET
) -> Iterator[Iterator[Image]]:
    """Open all images that a name stands for, in order; each is closed when the next comes.

    Of an image that is there for several platforms one is opened: this machine's, or `platform`.

    Args:
        name: as for `open_image`; without a reference all images of the file are meant.
        platform: likewise.
        progress: likewise.

    Raises:
        UsageError: when an image is there for several platforms, none of them this machine's.
        LayerviewError: as `open_image` does.
    """
    transport, colon, rest = name.rpartition(":") if name.endswith(":-") else ("", "", name)
    if rest != "-":
        yield _images(name, name, platform, progress)
        return
    # Standard input can be read but once: it is opened again as the file it was copied to.
    archive = Archive("-", progress)
    try:
        path = f"/proc/self/fd/{archive.fd}"
        yield _images(f"{transport}{colon}{path}", name, platform, progress)
    finally:
        archive.close()


def _images(name: str, shown: str, platform: str | None, progress: Progress) -> Iterator[Image]:
    try:
        image = open_image(name, platform=platform, progress=progress)
    except SeveralImages as several:
        names = list(dict.fromkeys(choice.name for choice in several.choices))
    else:
        with image:
            image.location = shown if name != shown else image.location
            yield image
        return
    for one in names:
        try:
            image = open_image(one, platform=platform, progress=progress)
        except SeveralImages as several:
            platforms = ", ".join(str(choice.platform) for choice in several.choices)
            raise UsageError(
                f"{shown} has this image for several platforms; ask for one with --platform:"
                f" {platforms}"
            ) from None
        with image:
            image.location = shown if name != shown else image.location
            yield image
