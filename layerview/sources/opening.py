"""An image being opened and read beside everything else, from the moment it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from layerview.errors import LayerviewError
from layerview.progress import Progress
from layerview.sources.background import BackgroundLoader, Event, LayerLoaded, LoadFailed
from layerview.sources.image import Image
from layerview.sources.resolve import open_image


class ImageOpening:
    """Opens an image in a thread, and starts the process that reads its layers."""

    def __init__(
        self,
        name: str,
        *,
        platform: str | None = None,
        cache: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """Start at once.

        Args:
            name: as for `open_image`.
            platform: likewise.
            cache: use the index cache on disk.
            progress: told about unpacking an outer compression.
        """
        self.name = name
        self._progress = progress if progress is not None else Progress()
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._opened = threading.Event()
        self._image: Image | None = None
        self._error: BaseException | None = None
        self._loader: BackgroundLoader | None = None
        self._run(lambda: open_image(name, platform=platform, progress=self._progress), cache)

    def _run(self, opening: Callable[[], Image], cache: bool) -> None:
        thread = threading.Thread(
            target=self._work, args=(opening, cache), name=f"opening {self.name}", daemon=True
        )
        thread.start()

    def _work(self, opening: Callable[[], Image], cache: bool) -> None:
        try:
            image = opening()
            loader = self._loader = BackgroundLoader(image, cache=cache)
            if not self._progress.cancelled:
                loader.start()
            self._image = image
        except BaseException as error:  # whoever asks for the image gets it
            self._error = error
            return
        finally:
            self._opened.set()
        try:
            for event in loader.events():
                if isinstance(event, LayerLoaded) and event.layer.index is not None:
                    # Summed up here, where nobody waits for it.
                    _ = event.layer.index.size
                self._events.put(event)
        except Exception as error:  # a thread's error would be lost
            self._events.put(LoadFailed(str(error)))
        finally:
            self._events.put(None)

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

    def events(self) -> Iterator[Event]:
        """Yield what happens while the layers are read; see BackgroundLoader.events."""
        self._opened.wait()
        if self._error is not None:
            return
        while (event := self._events.get()) is not None:
            yield event

    def cancel(self) -> None:
        """Stop reading at once; `events` ends."""
        self._progress.cancel()
        if self._loader is not None:
            self._loader.cancel()
