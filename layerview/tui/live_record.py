"""Recording what a Live view is told, in a thread of its own: a slow disk holds no screen up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from layerview.errors import LayerviewError
from layerview.text import printable
from layerview.watch.events import Record
from layerview.watch.target import Target

PATIENCE = 2.0
"""Seconds that the end of a recording may take before it is left to itself."""


class LiveRecorder:
    """Writes a recording."""

    def __init__(self, path: str, target: Target, failed: Callable[[str], object]) -> None:
        """Begin it.

        Args:
            path: the file, which must not be there yet.
            target: the container.
            failed: told, in the thread, why it is not written.
        """
        self.path = path
        self._target = target
        self._failed = failed
        self._batches: queue.SimpleQueue[Sequence[Record] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def write(self, records: Sequence[Record]) -> None:
        """Put records at the end."""
        self._batches.put(records)

    def close(self) -> None:
        """End it, once all is written."""
        self._batches.put(None)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        from layerview.watch.recording import Recorder

        try:
            with Recorder(self.path, self._target) as recorder:
                while (batch := self._batches.get()) is not None:
                    recorder.write(batch)
        except (LayerviewError, OSError) as error:
            self._failed(printable(str(error)))
