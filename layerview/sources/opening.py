"""An image being opened and read beside everything else, from the moment it was asked for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING

from layerview.errors import LayerviewError

if TYPE_CHECKING:
    from layerview.sources.background import BackgroundLoader, Event, Frame, Opening
    from layerview.sources.image import Image

_BATCH = 0.02
"""Seconds after which events are handed on though more are known."""
_IS_CACHED = b'"cached": true'


class ImageOpening:
    """Opens an image and reads its layers in another process; a thread takes what comes."""

    def __init__(
        self,
        name: str,
        *,
        platform: str | None = None,
        cache: bool = True,
        image: Image | None = None,
    ) -> None:
        """Start at once.

        Args:
            name: as for `open_image`.
            platform: likewise.
            cache: use the index cache on disk.
            image: the image, where it is open already; it stays its owner's to close.
        """
        self.name = name
        self._given = image
        self._platform = platform
        self._cache = cache
        self._frames: SimpleQueue[Frame | None] = SimpleQueue()
        self._held: list[Frame | None] = []
        """A frame that was looked at and left for later."""
        self._opened = threading.Event()
        self._image: Image | None = None
        self._error: LayerviewError | None = None
        self._loader: BackgroundLoader | None = None
        self._cancelled = False
        self.progress: Opening | None = None
        """How far the opening is, where it takes long; any thread may look."""
        threading.Thread(target=self._work, name=f"opening {name}", daemon=True).start()

    def _work(self) -> None:
        try:
            self._read()
        except LayerviewError as error:
            self._fail(error)
        except Exception as error:  # a thread's error would be lost
            self._fail(LayerviewError(f"{self.name}: {error}"))
        finally:
            self._opened.set()
            self._frames.put(None)

    def _fail(self, error: LayerviewError) -> None:
        from layerview.sources.background import Frame

        if self._image is None:
            self._error = error
        else:
            said = json.dumps({"message": str(error)}).encode()
            self._frames.put(Frame(b"E", said, b""))

    def _read(self) -> None:
        from layerview.sources.background import (
            BackgroundLoader,
            ImageOpened,
            OpenFailed,
            Opening,
        )

        image = self._given
        if image is None and self.name == "-":
            # Standard input is this process's.
            from layerview.sources.resolve import open_image

            image = open_image(self.name, platform=self._platform)
        loader = self._loader = BackgroundLoader(
            image, name=self.name, platform=self._platform, cache=self._cache
        )
        if image is not None:
            self._take(image)
        if self._cancelled:
            return
        loader.start()
        for frame in loader.frames():
            if self._image is not None:
                # Decoded by who wants it: the first frame of a screen does not wait for that.
                self._frames.put(frame)
            elif frame.kind in b"OIXE":
                event = loader.decode(frame)
                if isinstance(event, Opening):
                    self.progress = event
                elif isinstance(event, ImageOpened):
                    self._take(event.image)
                elif isinstance(event, OpenFailed):
                    self._fail(event.error)
                else:
                    self._fail(LayerviewError(json.loads(frame.said)["message"]))

    def _take(self, image: Image) -> None:
        self._image = image
        self._opened.set()

    @property
    def is_open(self) -> bool:
        """Whether `image` answers at once."""
        return self._opened.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until `image` answers at once, but no longer than so many seconds."""
        return self._opened.wait(seconds)

    def image(self) -> Image:
        """Wait for the image.

        Raises:
            LayerviewError: what opening it raised.
        """
        self._opened.wait()
        if self._error is not None:
            raise self._error
        if self._image is None:
            raise LayerviewError(f"{self.name} was not opened")
        return self._image

    def at_hand(self, seconds: float) -> list[Event]:
        """Return what came out of the index cache by now; decode for so many seconds at most."""
        loader = self._loader
        events: list[Event] = []
        until = time.monotonic() + seconds
        while loader is not None and not self._frames.empty() and time.monotonic() < until:
            frame = self._frames.get()
            if frame is None or not (frame.kind == b"S" or _IS_CACHED in frame.said):
                self._held.append(frame)
                break
            events.append(loader.decode(frame))
        return events

    def events(self) -> Iterator[list[Event]]:
        """Yield what happens while the layers are read, all that is known at a time.

        See BackgroundLoader.events.
        """
        loader = self._loader
        if loader is None:
            return
        loader.go_on()
        ended = False
        while not ended:
            frame = self._held.pop() if self._held else self._frames.get()
            events = []
            until = time.monotonic() + _BATCH
            while frame is not None:
                events.append(loader.decode(frame))
                if self._frames.empty() or time.monotonic() > until:
                    break
                frame = self._frames.get()
            else:
                ended = True
            yield events

    def cancel(self) -> None:
        """Stop at once; `events` ends."""
        self._cancelled = True
        if self._loader is not None:
            self._loader.cancel()
