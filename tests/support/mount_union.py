"""Mounts a union as mount(8) has it done: `mount_union SOURCE PLACE -o lowerdir=A:B,upperdir=U`.

`passthrough=no` among the options has our server read and write the files, as for ordinary users.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from layerview.drivers.mounts import attach
from layerview.unionfs.serve import serve


def options(words: Sequence[str]) -> dict[str, str]:
    """Read what stands behind each -o, with and without a space between."""
    found: dict[str, str] = {}
    for before, word in zip(("", *words), words, strict=False):
        text = word if before == "-o" else word[2:] if word.startswith("-o") else ""
        for option in filter(None, text.split(",")):
            name, _, value = option.partition("=")
            found[name] = value
    return found


def main(words: Sequence[str]) -> None:
    """Mount it, and leave it to its server."""
    _source, place, *more = words
    given = options(more)
    branches = [given["upperdir"], *given["lowerdir"].split(":")]
    served = serve(branches, passthrough=given.get("passthrough") != "no")
    attach(served.tree, os.open(place, os.O_PATH | os.O_DIRECTORY))


if __name__ == "__main__":
    main(sys.argv[1:])
