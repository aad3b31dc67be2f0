"""The way in: which command was asked for, and what becomes of errors.

Nothing heavy is imported before the words of the call are known.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from layerview import __version__
from layerview.errors import LayerviewError, UsageError

_GROUPS = {
    "images": {
        "images": "the images of the storage area or of a Docker data root",
        "layers": "the stack, top first: size, entries, what made it",
        "history": "what made the image, newest first, as docker history",
        "inspect": "a container, or an image's config, digests and layers, unread",
        "files": "the unified view, or what one layer holds",
        "which": "the search for a path, layer by layer from the top",
        "cat": "a file's content, also of a hidden version",
        "extract": "copy a file or folder out of the image",
        "waste": "hidden and duplicated bytes, by path and by layer",
        "diff": "what differs between two images",
        "load": "images from a file into the local storage area",
        "save": "images of the local storage area into a file",
        "tag": "another name for an image of the area",
        "rmi": "take a name away, and the image with its last one",
    },
    "containers": {
        "run": "a new container of an image, started",
        "create": "a new container of an image, not started yet",
        "start": "containers that do not run",
        "stop": "ask containers to end, and kill them after a while",
        "restart": "stop containers, and start them again",
        "kill": "a signal for running containers",
        "rm": "remove containers, with what they changed",
        "ps": "the containers that run, or all",
        "shell": "a container in the built-in shell, where none can be started",
        "exec": "another command in a running container",
        "attach": "the input and output of a running container",
        "logs": "what a container wrote",
        "wait": "until containers have ended; prints how",
        "rename": "another name for a container",
        "commit": "an image of what a container changed",
        "changes": "what a container changed, as docker diff",
        "watch": "what a container copies up and changes, as it happens; Docker's and Podman's too",
        "volume": "create, ls, inspect, rm, prune: folders that outlive containers",
        "container": "prune: the containers that do not run; and the words above",
    },
    "the storage area": {
        "df": "what images, containers and volumes take, as Docker counts them",
        "usage": "where the disk went: every byte below a data root, orphans too",
        "whose": "whose a folder or an ID is, and where an image's bytes lie",
        "prune": "delete stopped containers, and images that nothing uses",
        "doctor": "whether the area is sound, and what works here",
        "drivers": "which storage drivers work here, and what others lack",
    },
}
_HIDDEN = ("worker", "meter")
"""What the terminal UI calls."""
COMMANDS = {
    name: f"layerview.cli.{name}"
    for name in (*(name for group in _GROUPS.values() for name in group), *_HIDDEN)
}
_OWN_FAILURE = {"run": 125, "exec": 125}
"""Docker's exit status where layerview fails, and not what it was told to run."""

_USAGE = """\
usage: layerview [IMAGE...] [--theme dark|light] [--ascii] [--platform P] [--no-cache]
       layerview COMMAND [...]

See every layer of a container image, and which layer each file resolves from.

Without a command the terminal UI opens, on IMAGE or on the list of images. IMAGE is a file or a
folder (what docker save writes, an OCI layout or archive, a root file system), "-" for standard
input, demo: for the demo image, or a name, as nginx:latest, that is looked up in the local storage
area and then in the Docker Engine. A transport in front of it says where:
  docker-archive:FILE[:REFERENCE]   oci:DIR[:REFERENCE]   oci-archive:FILE[:REFERENCE]
  data-root:DIR[:NAME]   data-root:DIR:container:NAME   local:NAME
  docker-daemon:NAME   docker-daemon:container:NAME   docker-daemon:ENGINE::NAME

{commands}

layerview COMMAND --help tells more.

options:
  --theme NAME    colours of the terminal UI: dark or light
  --ascii         draw with ASCII only
  --binary        sizes in KiB and MiB
  --platform P    which image of a multi-platform index, as linux/arm64
  --no-cache      do not read or write the index cache (or set LAYERVIEW_NO_CACHE=1)
  --replay FILE   show a recording of `layerview watch --record FILE`, live
  --version       print the version
  -h, --help      print this help

Exit status: 0 done; 1 it failed, or a layer is damaged; 2 usage. run and exec end as Docker's:
with the command's own, 125 when layerview failed, 126 and 127 when it can't be run or found.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run layerview; return its exit status."""
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Millions of small objects live until the end: looking for cycles among them is in vain.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    failed = _OWN_FAILURE.get(words[0], 0) if words else 0
    try:
        status = _run(words)
        sys.stdout.flush()
        if arguments is None and words and words[0] in _GROUPS["containers"]:
            # They leave nothing open; taking Python down is a tenth of a short one's time.
            os._exit(status)
        return status
    except UsageError as error:
        _complain(str(error))
        return failed or 2
    except LayerviewError as error:
        _complain(str(error))
        return failed or 1
    except BrokenPipeError:
        # The reader went away; keep the interpreter from complaining when it flushes again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except MemoryError:
        _complain("there is not enough memory for this image")
        return failed or 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{(error.strerror or str(error)).lower()}")
        return failed or 1


def _open_streams() -> None:
    """Have something behind the standard streams where the caller closed them.

    Else what is opened next would be taken for one of them.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # It gets the lowest number that is free.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115


def _run(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        # As importlib.import_module does, which is not there before it is imported itself.
        module = __import__(COMMANDS[words[0]], fromlist=["run"])
        return int(module.run(words[1:]))
    if any(word in ("-h", "--help") for word in words):
        width = max(map(len, COMMANDS))
        groups = (
            "\n".join(
                [f"{title}:", *(f"  {name:<{width}}  {about}" for name, about in group.items())]
            )
            for title, group in _GROUPS.items()
        )
        sys.stdout.write(_USAGE.format(commands="\n\n".join(groups)))
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
