"""Loading an image that `run` or `create` names and the area does not have so."""

from __future__ import annotations

import os

from layerview.cli.area import area, say
from layerview.cli.flags import Values
from layerview.cli.load import choose_driver_of
from layerview.cli.options import TerminalProgress
from layerview.errors import NotFoundError, UsageError
from layerview.sources.image import Image
from layerview.store.area import Area
from layerview.store.data_root import ImageRecord
from layerview.text import printable


def load_from_area(place: Area, record: ImageRecord, driver: str, *, trial: bool = True) -> None:
    """Make an image's layers under another driver than those that it lies under.

    Args:
        place: the area.
        record: the image.
        driver: the other one.
        trial: whether it is tried first.

    Raises:
        LayerviewError: when they can't be made.
    """
    from layerview.sources.data_root import open_record
    from layerview.transfer.load import load

    called = record.references[0] if record.references else record.image_id.short
    progress = TerminalProgress()
    with place.writing(say) as writing:
        with writing.lock.hold():
            name = choose_driver_of(place.root, driver, trial=trial)
        say(f"{called} lies under {record.driver}: making its layers under {name}")
        with open_record(place.data, record, place="local") as image:
            loaded = load(writing, name, image, progress=progress)
        progress.clear()
        for note in loaded.notes:
            say(note)


def load_from_elsewhere(
    arguments: Values, word: str, driver: str | None, *, trial: bool = True
) -> tuple[Area, str]:
    """Load an image that a file, a folder, or a transport in front of a name has.

    Args:
        arguments: `driver`, `platform`, `root`.
        word: what has it.
        driver: to load under; None: the best.
        trial: whether that is tried first.

    Returns:
        The area, which is made where there is none, and the image's name in it.

    Raises:
        NotFoundError: when it is no such thing.
        UsageError: when it has several images.
        LayerviewError: when it can't be loaded.
    """
    from layerview.sources.resolve import SeveralImages, open_image, split_name
    from layerview.transfer.load import load

    try:
        transport = split_name(word)[0]
    except NotFoundError:
        transport = "name"
    if transport in ("name", "local") or word == "-":
        # Standard input is the container's.
        shown = printable(word)
        raise NotFoundError(
            f"no image {shown} in the area: `layerview load FILE` brings it there, or"
            f" `layerview load docker-daemon:{shown}` from Docker"
        )
    progress = TerminalProgress()
    try:
        image = open_image(word, platform=arguments.platform, progress=progress)
    except SeveralImages as several:
        raise UsageError(str(several)) from None
    with image:
        place = area(arguments, create=True)
        known = _known(place, image, driver)
        if known is not None:
            return place, known
        say(f"loading {word} into the area first")
        with place.writing(say) as writing:
            with writing.lock.hold():
                name = choose_driver_of(place.root, driver, trial=trial)
            loaded = load(writing, name, image, progress=progress)
        progress.clear()
    for note in loaded.notes:
        say(note)
    for reference, before in loaded.renamed:
        say(f"{reference} was the name of image {before.short}, which keeps no name of it")
    if arguments.driver is None and driver is None:
        arguments.driver = name
    called = loaded.references[0] if loaded.references else str(loaded.image_id)
    return place, called.removesuffix(":latest")


def _known(place: Area, image: Image, driver: str | None) -> str | None:
    """Return the name by which the area has an image already; None where it has not."""
    # An area that was made just now has no images' folder yet.
    if image.image_id is None or not os.path.isdir(os.path.join(place.root, "image")):
        return None
    try:
        record = place.data.image(str(image.image_id), driver)
    except NotFoundError:
        return None
    called = next((name for name in image.references if name in record.references), None)
    return called.removesuffix(":latest") if called is not None else None
