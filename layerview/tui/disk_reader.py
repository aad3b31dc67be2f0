"""The process that measures for the Disk screen: a million files leave the screen alone.

It is `layerview meter`: root of the user namespace where an ordinary user's containers wrote, and
ended at once when nobody waits for it any more, as it only reads.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import IO

from layerview.errors import LayerviewError
from layerview.tui import helper_process
from layerview.tui.errands import COMMAND

Document = Mapping[str, object]


class DiskReader:
    """Asks the measuring process, which is started when it is first needed."""

    def __init__(self, tell: Callable[[int, Document], None]) -> None:
        """Make it.

        Args:
            tell: called in a thread with the number of what was asked and each answer to it; the
                last one has `done` or `error`.
        """
        self._tell = tell
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._open: set[int] = set()
        self._closed = False

    def ask(self, do: str, **words: object) -> int:
        """Ask for something; return the number that its answers have.

        Raises:
            LayerviewError: when no process can be started.
        """
        with self._lock:
            number = next(self._numbers)
            child = self._started()
            self._open.add(number)
            self._write(child, {"n": number, "do": do, **words})
        return number

    def stop(self, number: int) -> None:
        """Have no more of it."""
        with self._lock:
            if self._child is not None and number in self._open:
                self._open.discard(number)
                self._write(self._child, {"n": number, "do": "stop"})

    def close(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._closed = True
            self._open.clear()
            if self._child is not None and self._child.stdin is not None:
                with suppress(OSError):
                    self._child.stdin.close()

    @staticmethod
    def _write(child: subprocess.Popen[bytes], request: Document) -> None:
        assert child.stdin is not None
        # One that has ended is told of by its listener.
        with suppress(OSError):
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the process; the lock is held."""
        if self._closed:
            raise LayerviewError("layerview is being left")
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._child = helper_process.start([*COMMAND, "meter"], self._listen)
        return self._child

    def _listen(self, child: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
        """Hand answers out until the process ends; called in a thread of its own."""
        assert child.stdout is not None
        for line in child.stdout:
            with suppress(ValueError):
                answer = json.loads(line)
                number = answer.get("n") if isinstance(answer, dict) else None
                if not isinstance(number, int):
                    continue
                with self._lock:
                    wanted = number in self._open
                    if wanted and ("done" in answer or "error" in answer):
                        self._open.discard(number)
                if wanted:
                    self._tell(number, answer)
        last = helper_process.last_words(child, complaints)
        with self._lock:
            if child.stdin is not None:
                with suppress(OSError):
                    child.stdin.close()
            left = sorted(self._open) if self._child is child else []
            self._open.difference_update(left)
        reason = last or "the process that measures has ended"
        for number in left:
            self._tell(number, {"n": number, "error": reason})
