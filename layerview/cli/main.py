"""The way in: which command was asked for, and what becomes of errors.

Nothing heavy is imported before the words of the call are known.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from layerview import __version__
from layerview.errors import LayerviewError, UsageError

COMMANDS = {
    "images": ("layerview.cli.images", "the images of the storage area or of a Docker data root"),
    "df": ("layerview.cli.df", "what images, containers and volumes take on the disk"),
    "layers": ("layerview.cli.layers", "the stack, top first: size, entries, what made it"),
    "history": ("layerview.cli.history", "what made the image, newest first, as docker history"),
    "inspect": ("layerview.cli.inspect", "the image's config, digests and layers, unread"),
    "files": ("layerview.cli.files", "the unified view, or what one layer holds"),
    "which": ("layerview.cli.which", "the search for a path, layer by layer from the top"),
    "cat": ("layerview.cli.cat", "a file's content, also of a hidden version"),
    "extract": ("layerview.cli.extract", "copy a file or folder out of the image"),
    "waste": ("layerview.cli.waste", "hidden and duplicated bytes, by path and by layer"),
    "diff": ("layerview.cli.diff", "what differs between two images"),
    "load": ("layerview.cli.load", "images from a file into the local storage area"),
    "save": ("layerview.cli.save", "images of the local storage area into a file"),
    "tag": ("layerview.cli.tag", "another name for an image of the area"),
    "rmi": ("layerview.cli.rmi", "take a name away, and the image with its last one"),
    "prune": ("layerview.cli.prune", "delete the images that nothing uses"),
    "doctor": ("layerview.cli.doctor", "whether the area is sound, and what works here"),
    "drivers": ("layerview.cli.drivers", "which storage drivers work here, and what others lack"),
}

_USAGE = """\
usage: layerview [IMAGE...] [--theme dark|light] [--ascii] [--platform P] [--no-cache]
       layerview COMMAND IMAGE [...]

See every layer of a container image, and which layer each file resolves from.

Without a command the terminal UI opens, on IMAGE or on the list of images. IMAGE is a file or a
folder (what docker save writes, an OCI layout or archive, a root file system), "-" for standard
input, demo: for the demo image, or a name, as nginx:latest, that is looked up in the local storage
area and then in the Docker Engine. A transport in front of it says where:
  docker-archive:FILE[:REFERENCE]   oci:DIR[:REFERENCE]   oci-archive:FILE[:REFERENCE]
  data-root:DIR[:NAME]   data-root:DIR:container:NAME   local:NAME
  docker-daemon:NAME   docker-daemon:container:NAME   docker-daemon:ENGINE::NAME

commands (layerview COMMAND --help tells more):
{commands}

options:
  --theme NAME    colours of the terminal UI: dark or light
  --ascii         draw with ASCII only
  --binary        sizes in KiB and MiB
  --platform P    which image of a multi-platform index, as linux/arm64
  --no-cache      do not read or write the index cache (or set LAYERVIEW_NO_CACHE=1)
  --version       print the version
  -h, --help      print this help

Exit status: 0 done; 1 it failed, or a layer is damaged; 2 usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run layerview; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Millions of small objects live until the end: looking for cycles among them is in vain.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except UsageError as error:
        _complain(str(error))
        return 2
    except LayerviewError as error:
        _complain(str(error))
        return 1
    except BrokenPipeError:
        # The reader went away; keep the interpreter from complaining when it flushes again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except MemoryError:
        _complain("there is not enough memory for this image")
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{(error.strerror or str(error)).lower()}")
        return 1


def _run(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        module: ModuleType = importlib.import_module(COMMANDS[words[0]][0])
        return int(module.run(words[1:]))
    if any(word in ("-h", "--help") for word in words):
        width = max(map(len, COMMANDS))
        lines = (f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
        sys.stdout.write(_USAGE.format(commands="\n".join(lines)))
        return 0
    if "--version" in words:
        print(f"layerview {__version__}")
        return 0
    from layerview.cli.tui import run

    return run(words)


def _complain(message: str) -> None:
    from layerview.text import printable

    sys.stdout.flush()
    print(f"layerview: {printable(message)}", file=sys.stderr)
