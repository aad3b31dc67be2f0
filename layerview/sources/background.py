"""Opening an image and reading its layers in another process, so that a screen stays free.

The child is spawned, not forked: a fresh interpreter that imports no screen. It gets one JSON
line that says what to open, or where the layers lie, and answers with frames: a kind and two
lengths, then JSON and, for an index, its packed columns. Killing it is all that cancelling takes.
This module imports little, so that the child starts before the screen is imported.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import layerview
from layerview.errors import LayerviewError

if TYPE_CHECKING:
    from layerview.sources.image import Image, LayerSource
    from layerview.sources.loading import LoadedLayer

FRAME = struct.Struct("<cxxxIQ")
"""Kind, bytes of JSON, bytes of packed index."""
_LONGEST = 1 << 40
_PIPE = 1 << 20
"""Bytes that the pipe from the child holds, where the system lets us choose."""
_LAST = (b"F", b"E", b"X")
"""Kinds of frames after which there is none."""


class Frame(NamedTuple):
    """What the child says, as it came: the kind, JSON, and an index's packed columns."""

    kind: bytes
    said: bytes
    packed: bytes


# Named tuples, not dataclasses: eight of those take longer to make than the child to start.


class Opening(NamedTuple):
    """How far the opening is, where it takes long; at most ten times a second."""

    what: str
    done: int
    total: int | None


class ImageOpened(NamedTuple):
    """The child opened the image; its layers are known, none is read yet."""

    image: Image


class OpenFailed(NamedTuple):
    """The image can't be opened."""

    error: LayerviewError


class LayerStarted(NamedTuple):
    """The child began to read a layer."""

    number: int


class LayerProgress(NamedTuple):
    """How far a layer is read; at most ten times a second."""

    number: int
    done: int
    total: int | None


class LayerLoaded(NamedTuple):
    """A layer is read."""

    layer: LoadedLayer


class Verified(NamedTuple):
    """All bytes of a layer were hashed."""

    number: int
    ok: bool
    message: str
    """What is wrong, one line; "" when nothing is."""


class LoadFailed(NamedTuple):
    """The child could not go on."""

    message: str


class Finished(NamedTuple):
    """All layers are read and hashed."""


Event = (
    Opening
    | ImageOpened
    | OpenFailed
    | LayerStarted
    | LayerProgress
    | LayerLoaded
    | Verified
    | LoadFailed
    | Finished
)


class BackgroundLoader:
    """Reads an image's layers in a child process, which may also open the image."""

    def __init__(
        self,
        image: Image | None = None,
        *,
        name: str = "",
        platform: str | None = None,
        cache: bool = True,
    ) -> None:
        """Prepare to read.

        Args:
            image: an opened image, that stays open until the loader is done.
            name: without an image: what the child opens, as for `open_image`.
            platform: likewise.
            cache: use the index cache on disk.
        """
        self._image = image
        self._name = name
        self._platform = platform
        self._cache = cache
        self._cancelled = False
        self._child: subprocess.Popen[bytes] | None = None
        self._telling = threading.Lock()
        self._has_job = self._may_go_on = False

    def start(self) -> None:
        """Start the child.

        Raises:
            LayerviewError: when no process can be started.
        """
        descriptors = {
            layer.blob.descriptor
            for layer in (self._image.layers if self._image is not None else ())
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
        assert self._child.stdout is not None
        with suppress(OSError, AttributeError):
            # Indexes are megabytes: each piece that passes costs a change of threads.
            fcntl.fcntl(self._child.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
        with self._telling:
            self._tell(self._job())
            self._has_job = True
            if self._may_go_on:
                self._tell(b"\n")

    def go_on(self) -> None:
        """Let the child hash what it only read: it waits until a first screen has the machine."""
        with self._telling:
            if self._has_job and not self._may_go_on:
                self._tell(b"\n")
            self._may_go_on = True

    def _tell(self, line: bytes) -> None:
        stdin = self._child.stdin if self._child is not None else None
        # A child that is gone already: `frames` says so.
        with suppress(OSError, ValueError):
            if stdin is not None:
                # Left open: the child stays until it is closed.
                stdin.write(line)
                stdin.flush()

    def _job(self) -> bytes:
        job: dict[str, object] = {"cache": self._cache}
        if self._image is not None:
            from layerview.sources.description import describe_layer

            job["layers"] = [describe_layer(layer) for layer in self._image.layers]
        else:
            job |= {"name": self._name, "platform": self._platform}
        return json.dumps(job).encode() + b"\n"

    def cancel(self) -> None:
        """Stop at once; `events` ends."""
        self._cancelled = True
        if self._child is not None:
            self._child.kill()

    def frames(self) -> Iterator[Frame]:
        """Yield what the child says, not yet decoded; to be read in a thread of its own."""
        child = self._child
        if child is None:
            return
        assert child.stdout is not None
        ended = False
        try:
            while (frame := _read_frame(child.stdout)) is not None:
                ended = frame.kind in _LAST
                yield frame
                if ended:
                    break
        finally:
            child.kill()
            child.stdout.close()
            if child.stdin is not None:
                with suppress(OSError):
                    child.stdin.close()
            child.wait()
        if not ended and not self._cancelled:
            yield Frame(b"E", b'{"message": "the reading process ended unexpectedly"}', b"")

    def events(self) -> Iterator[Event]:
        """Yield what happens until all is done.

        The last event is Finished, LoadFailed or OpenFailed, unless it was cancelled.
        """
        self.go_on()
        return map(self.decode, self.frames())

    @property
    def _layers(self) -> list[LayerSource]:
        return self._image.layers if self._image is not None else []

    def decode(self, frame: Frame) -> Event:
        """Make a frame an event.

        Raises:
            LayerviewError: when the image can't be put together here.
        """
        fields = json.loads(frame.said)
        match frame.kind:
            case b"O":
                return Opening(fields["what"], fields["done"], fields["total"])
            case b"I":
                from layerview.sources.description import image_from

                self._image = image_from(fields)
                return ImageOpened(self._image)
            case b"X":
                return OpenFailed(_error(fields))
            case b"S":
                return LayerStarted(fields["number"])
            case b"P":
                return LayerProgress(fields["number"], fields["done"], fields["total"])
            case b"L":
                from layerview.layer.packing import unpack
                from layerview.sources.loading import LoadedLayer, check_claims

                source = self._layers[fields["number"]]
                index = unpack(frame.packed) if frame.packed else None
                loaded = LoadedLayer(source, index, damage=fields["damage"])
                return LayerLoaded(check_claims(loaded, fields["diff_id"], fields["digest"]))
            case b"V":
                from layerview.sources.loading import LoadedLayer, check_claims

                source = self._layers[fields["number"]]
                if fields.get("damage"):
                    return Verified(source.number, False, fields["damage"])
                loaded = check_claims(
                    LoadedLayer(source, None), fields["diff_id"], fields["digest"]
                )
                return Verified(source.number, loaded.verified is not False, loaded.damage or "")
            case b"E":
                return LoadFailed(fields["message"])
            case _:
                return Finished()


def _read_frame(stream: IO[bytes]) -> Frame | None:
    """Read one frame; None when the child is gone, perhaps in the middle of one."""
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    kind, said_length, packed_length = FRAME.unpack(head)
    if packed_length > _LONGEST:
        return None
    said = stream.read(said_length)
    packed = stream.read(packed_length) if packed_length else b""
    if len(said) < said_length or len(packed) < packed_length:
        return None
    return Frame(kind, said, packed)


def _error(fields: dict[str, Any]) -> LayerviewError:
    """Make the error again that stopped the child."""
    if fields["choices"] is not None:
        from layerview.sources.image import ImageChoice
        from layerview.sources.resolve import SeveralImages

        choices = [
            ImageChoice(choice["name"], tuple(choice["references"]), None, choice["platform"])
            for choice in fields["choices"]
        ]
        return SeveralImages(fields["location"], choices)
    return LayerviewError(fields["message"])
