"""Reading an image's layers in another process, so that a screen stays free.

The child is spawned, not forked: a fresh interpreter that imports no screen. It gets one JSON
line that says where the layers lie, and answers with frames: a kind, a number, and two lengths,
then JSON and, for an index, its packed columns. Killing it is all that cancelling takes.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import layerview
from layerview.errors import LayerviewError
from layerview.layer.packing import unpack
from layerview.sources.image import Image
from layerview.sources.loading import LoadedLayer, check_claims

FRAME = struct.Struct("<cxxxIQ")
"""Kind, bytes of JSON, bytes of packed index."""
_LONGEST = 1 << 40


@dataclass(frozen=True, slots=True)
class LayerStarted:
    """The child began to read a layer."""

    number: int


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """How far a layer is read; at most ten times a second."""

    number: int
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class LayerLoaded:
    """A layer is read."""

    layer: LoadedLayer


@dataclass(frozen=True, slots=True)
class Verified:
    """All bytes of a layer were hashed."""

    number: int
    ok: bool
    message: str
    """What is wrong, one line; "" when nothing is."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The child could not go on."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All layers are read and hashed."""


Event = LayerStarted | LayerProgress | LayerLoaded | Verified | LoadFailed | Finished


class BackgroundLoader:
    """Reads an image's layers in a child process."""

    def __init__(self, image: Image, *, cache: bool = True) -> None:
        """Prepare to read.

        Args:
            image: stays open until the loader is done.
            cache: use the index cache on disk.
        """
        self._image = image
        self._cache = cache
        self._cancelled = False
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the child.

        Raises:
            LayerviewError: when no process can be started.
        """
        descriptors = {
            layer.blob.descriptor
            for layer in self._image.layers
            if layer.blob is not None and layer.blob.descriptor is not None
        }
        package = os.path.dirname(os.path.dirname(os.path.abspath(layerview.__file__)))
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        try:
            # -P: a folder that holds an image's files must not provide our modules.
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "layerview.sources.reader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=sorted(descriptors),
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except OSError as error:
            raise LayerviewError(f"the reading process can't be started: {error}") from None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(self._job())
            self._child.stdin.close()
        except OSError:
            # It is gone already; `events` says so.
            pass

    def _job(self) -> bytes:
        layers = []
        for layer in self._image.layers:
            blob = layer.blob
            layers.append(
                {
                    "number": layer.number,
                    "folder": layer.folder,
                    "path": blob.path if blob is not None else None,
                    "fd": blob.descriptor if blob is not None else None,
                    "start": blob.start if blob is not None else 0,
                    "length": blob.length if blob is not None else 0,
                    "diff_id": str(layer.diff_id) if layer.diff_id is not None else None,
                    "digest": str(layer.digest) if layer.digest is not None else None,
                }
            )
        return json.dumps({"cache": self._cache, "layers": layers}).encode()

    def cancel(self) -> None:
        """Stop at once; `events` ends."""
        self._cancelled = True
        if self._child is not None:
            self._child.kill()

    def events(self) -> Iterator[Event]:
        """Yield what happens until all is done; to be read in a thread of its own.

        The last event is Finished or LoadFailed, unless it was cancelled.
        """
        child = self._child
        if child is None:
            return
        assert child.stdout is not None
        finished = False
        try:
            while (event := self._next(child.stdout)) is not None:
                finished = isinstance(event, Finished | LoadFailed)
                yield event
                if finished:
                    break
        finally:
            child.kill()
            child.stdout.close()
            child.wait()
        if not finished and not self._cancelled:
            yield LoadFailed("the reading process ended unexpectedly")

    def _next(self, stream: IO[bytes]) -> Event | None:
        head = stream.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        kind, said, packed = FRAME.unpack(head)
        if packed > _LONGEST:
            return None
        fields = json.loads(stream.read(said))
        data = stream.read(packed) if packed else b""
        if len(data) < packed:
            return None
        match kind:
            case b"S":
                return LayerStarted(fields["number"])
            case b"P":
                return LayerProgress(fields["number"], fields["done"], fields["total"])
            case b"L":
                source = self._image.layers[fields["number"]]
                index = unpack(data) if packed else None
                loaded = LoadedLayer(source, index, damage=fields["damage"])
                return LayerLoaded(check_claims(loaded, fields["diff_id"], fields["digest"]))
            case b"V":
                source = self._image.layers[fields["number"]]
                loaded = check_claims(
                    LoadedLayer(source, None), fields["diff_id"], fields["digest"]
                )
                return Verified(source.number, loaded.verified is not False, loaded.damage or "")
            case b"E":
                return LoadFailed(fields["message"])
            case _:
                return Finished()
