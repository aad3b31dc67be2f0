"""The tar of a layer in a data root, made again byte by byte by its tar-split."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator

from layerview.errors import DamageError, NotFoundError
from layerview.layer.tar_split import open_in, rebuild
from layerview.store.durable import named
from layerview.text import printable


def rebuilt(tar_split: str, folder: str) -> Iterator[bytes]:
    """Yield the bytes of a layer's tar.

    Args:
        tar_split: the layer's tar-split.json.gz.
        folder: where the driver keeps the layer's files.

    Raises:
        NotFoundError: when one of them is not there.
        DamageError: when a file is not what it was, or the tar-split is damaged.
    """
    with named(tar_split):
        lines = os.open(tar_split, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(lines, "rb") as stream:
        with named(folder):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield from rebuild(stream, open_in(fd))
        finally:
            os.close(fd)


def tar_length(tar_split: str) -> int:
    """Return how many bytes the tar has that a tar-split makes.

    Raises:
        NotFoundError: when it is not there.
        DamageError: when it is none.
    """
    total = 0
    with named(tar_split):
        fd = os.open(tar_split, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        with os.fdopen(fd, "rb") as file, gzip.open(file) as lines:
            for line in lines:
                item = json.loads(line)
                if item["type"] == 2:
                    payload = item["payload"]
                    total += len(payload) // 4 * 3 - payload[-2:].count("=")
                else:
                    size = item.get("size", 0)
                    if type(size) is not int or size < 0:
                        raise ValueError
                    total += size
    except NotFoundError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamageError(f"{printable(tar_split)} is damaged") from None
    return total
