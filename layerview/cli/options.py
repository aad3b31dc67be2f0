"""Words that several commands share, and the opening of the image they name."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from layerview.errors import NotFoundError, UsageError
from layerview.progress import Progress
from layerview.text import printable

if TYPE_CHECKING:
    from layerview.sources.image import Image
    from layerview.sources.loading import ImageContents, LoadedLayer
    from layerview.view.union import UnionView


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are layerview's."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parser(
    command: str, about: str, *, example: str = "", reads: bool = True
) -> argparse.ArgumentParser:
    """Make a command's parser with the words that every command knows.

    Args:
        command: its name.
        about: what it does.
        example: one call.
        reads: whether it reads an image's layers, and so knows the words for that.
    """
    made = _Parser(
        prog=f"layerview {command}",
        description=about,
        epilog=f"example: {example}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--binary", action="store_true", help="sizes in KiB and MiB")
    if not reads:
        return made
    made.add_argument("--platform", metavar="P", help="which image of an index, as linux/arm64")
    made.add_argument("--no-cache", action="store_true", help="leave the index cache alone")
    made.add_argument("--verify", action="store_true", help="hash plain layers too")
    return made


@dataclass(slots=True)
class Opened:
    """An image with its layers read."""

    image: Image
    layers: list[LoadedLayer]
    view: UnionView
    contents: ImageContents
    progress: TerminalProgress

    def layer(self, number: int) -> LoadedLayer:
        """Return one layer.

        Raises:
            NotFoundError: when the image has none of that number.
        """
        if not 0 <= number < len(self.layers):
            count = len(self.layers)
            has = f"layers 0 to {count - 1}" if count else "no layers"
            raise NotFoundError(f"there is no layer {number}; the image has {has}")
        return self.layers[number]


@contextmanager
def opened(arguments: argparse.Namespace, name: str | None = None) -> Iterator[Opened]:
    """Open the image that the call names, and read its layers."""
    # Late: commands that read no image need none of it.
    from layerview.sources.loading import ImageContents, load_layers
    from layerview.sources.resolve import open_image
    from layerview.view.union import UnionView

    progress = TerminalProgress()
    wanted = arguments.image if name is None else name
    with open_image(wanted, platform=arguments.platform, progress=progress) as image:
        layers = load_layers(
            image, verify=arguments.verify, cache=not arguments.no_cache, progress=progress
        )
        view = UnionView([layer.index for layer in layers])
        progress.clear()
        yield Opened(image, layers, view, ImageContents(layers), progress)


def report(opened_images: Sequence[Opened]) -> int:
    """Say on stderr what is wrong with the images; return the exit status."""
    sys.stdout.flush()
    status = 0
    for item in opened_images:
        status |= report_image(item.image, item.layers)
    return status


def report_image(image: Image, layers: Sequence[LoadedLayer]) -> int:
    """Say on stderr what is wrong with an image; return the exit status."""
    missing = [layer for layer in image.layers if not layer.available]
    if missing:
        numbers = ", ".join(str(layer.number) for layer in missing)
        word = "layer" if len(missing) == 1 else "layers"
        verb = "is" if len(missing) == 1 else "are"
        _say(f"{word} {numbers} {verb} not here ({missing[0].missing_reason}); the rest is shown")
    damage = [*image.damage, *(layer.damage for layer in layers if layer.damage is not None)]
    if damage:
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        _say(f"{image.location}: {damage[0]}{more}; what could be read is shown")
    return 1 if damage else 0


def _say(message: str) -> None:
    print(f"layerview: {printable(message)}", file=sys.stderr)


def image_path(text: str) -> bytes:
    """Turn a path as it was typed into one of the view's."""
    raw = os.fsencode(text)
    return raw.strip(b"/") + (b"/" if raw.rstrip(b"/") and raw.endswith(b"/") else b"")


def natural(text: str) -> int:
    """Read a number of 0 or more, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


class TerminalProgress(Progress):
    """Progress on a terminal's stderr; nothing in a pipe, nor for work of half a second.

    With LAYERVIEW_PROGRESS=lines, as the terminal UI sets it for its errands, a line each:
    what, how much of it is done, and of how much, with tabs between.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown = False
        self._as_lines = os.environ.get("LAYERVIEW_PROGRESS") == "lines"
        wanted = self._as_lines or sys.stderr.isatty()
        self._next = time.monotonic() + 0.5 if wanted else float("inf")

    def step(self, what: str, done: int, total: int | None) -> None:
        """See Progress."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.1
        if self._as_lines:
            words = printable(what).replace("\t", " ")
            sys.stderr.write(f"{words}\t{done}\t{'' if total is None else total}\n")
            sys.stderr.flush()
            return
        self._shown = True
        share = f" {100 * done // total} %" if total else ""
        sys.stderr.write(f"\r\x1b[K{printable(what)}{share}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away again."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
