"""`layerview save`: images of the storage area as an archive."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from layerview.cli.area import add_area_options, area, in_own_area
from layerview.cli.options import TerminalProgress, parser
from layerview.errors import UsageError
from layerview.store.durable import named

Write = Callable[[bytes], object]


def run(words: Sequence[str]) -> int:
    """Save one or more images."""
    made = parser(
        "save",
        "Write images as one archive, which docker load and OCI tools read.",
        example="layerview save app:latest -o app.tar",
        reads=False,
    )
    made.add_argument("images", metavar="IMAGE", nargs="+", help="a name or an ID")
    made.add_argument("-o", "--output", metavar="FILE", help="where to; standard output if not")
    form = made.add_mutually_exclusive_group()
    form.add_argument("--gzip", action="store_true", help="compress the archive with gzip")
    form.add_argument("--zstd", action="store_true", help="compress the archive with zstd")
    add_area_options(made)
    arguments = made.parse_args(words)
    if arguments.output is None and sys.stdout.isatty():
        raise UsageError("an archive is no text for a terminal: give -o FILE, or a pipe")
    return in_own_area(arguments, lambda: _save(arguments))


def _save(arguments: argparse.Namespace) -> int:
    from layerview.transfer.save import save, wanted_images

    data = area(arguments).data
    progress = TerminalProgress()
    images = wanted_images(data, arguments.images, arguments.driver)
    with _output(arguments.output) as raw, _packed(raw, arguments) as write:
        save(data, images, write, progress=progress)
    progress.clear()
    return 0


@contextmanager
def _output(name: str | None) -> Iterator[Write]:
    """Give what writes to a file, which is there when all is well and not before."""
    if name is None or name == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if os.path.exists(name) and not os.path.isfile(name):
        # A device or a pipe, which nothing can be renamed over.
        with named(name), open(name, "wb") as device:
            yield device.write
        return
    temporary = f"{name}.{secrets.token_hex(8)}.part"
    try:
        with named(name):
            with open(temporary, "xb") as file:
                yield file.write
            os.replace(temporary, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


@contextmanager
def _packed(write: Write, arguments: argparse.Namespace) -> Iterator[Write]:
    if not arguments.gzip and not arguments.zstd:
        yield write
        return
    packer = _gzip() if arguments.gzip else _zstd()

    def packed(data: bytes) -> None:
        write(packer.compress(data))

    yield packed
    write(packer.flush())


def _gzip() -> Any:
    library: Any = zlib
    level = 6
    with suppress(ImportError):  # no wheel for this machine: the slower standard library
        from isal import isal_zlib as library

        level = 2
    return library.compressobj(level, zlib.DEFLATED, 31)


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdCompressor()
