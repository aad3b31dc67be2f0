"""Extracts an image's root into a folder as the user nobody: run as root, prints JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

from layerview.errors import LayerviewError
from layerview.sources.resolve import open_image
from layerview.view.extract import extract
from tests.view.extracting import Opened

NOBODY = 65534


def run(archive: str, folder: str) -> int:
    with open_image(archive) as image:
        opened = Opened(image)
        for layer in opened.layers:
            opened.contents.layer(layer.source.number)
        # Modules and folders that only root may read were read by now.
        os.chdir(folder)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            done = extract(opened.view, opened.contents, b"", "./target")
        except LayerviewError as error:
            print(error, file=sys.stderr)
            return 1
        print(json.dumps(dataclasses.asdict(done)))
        return 0


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
