"""The worker: one process beside the screen that carries out commands of layerview's own at once.

The screen's process has threads, so it may neither split itself nor enter a user namespace. What a
start needs is imported in the worker already, which is as root of the user namespace as a command
would be. Work that takes long and tells how far it is stays an errand's (see `errands`).
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import IO

from layerview.errors import LayerviewError
from layerview.tui import helper_process
from layerview.tui.errands import COMMAND, Returned, returned


class WorkerGone(LayerviewError):
    """The worker has ended; what was asked for may or may not be done."""


class _Question:
    """What was asked for, and not answered yet."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.answer: dict[str, object] | None = None


class WorkerProcess:
    """Asks the worker, which is started when it is first needed; to be called in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._open: dict[int, _Question] = {}
        self._numbers = count(1)
        self._closed = False
        self._complaint = ""
        """What the last worker said at its end."""

    def ask(self, words: Sequence[str]) -> Returned:
        """Have a command carried out; wait until it is done.

        Args:
            words: the command line without the program, `--json` among them where it reports.

        Raises:
            LayerviewError: what the command complained about.
            WorkerGone: when the worker ended before it was done.
        """
        question = _Question()
        number = next(self._numbers)
        request = json.dumps({"n": number, "words": list(words)}).encode() + b"\n"
        with self._lock:
            child = self._started()
            self._open[number] = question
            assert child.stdin is not None
            # Where it has ended, the listener answers, and knows why.
            with suppress(OSError):
                child.stdin.write(request)
                child.stdin.flush()
        question.answered.wait()
        if question.answer is None:
            raise WorkerGone(self._complaint or "layerview's worker has ended; try again")
        answer = question.answer
        status = answer.get("status")
        return returned(
            status if isinstance(status, int) else 1,
            str(answer.get("out", "")),
            str(answer.get("err", "")),
        )

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the worker; the lock is held."""
        if self._closed:
            raise WorkerGone("layerview is being left")
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._child = helper_process.start([*COMMAND, "worker"], self._listen)
        return self._child

    def _listen(self, child: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
        """Hand answers out until the worker ends; called in a thread of its own."""
        assert child.stdout is not None
        for line in child.stdout:
            with suppress(ValueError):
                answer = json.loads(line)
                number = answer.get("n") if isinstance(answer, dict) else None
                with self._lock:
                    question = self._open.pop(number, None) if isinstance(number, int) else None
                if question is not None:
                    question.answer = answer
                    question.answered.set()
        self._complaint = helper_process.last_words(child, complaints)
        with self._lock:
            if child.stdin is not None:
                with suppress(OSError):
                    child.stdin.close()
            if self._child is child or self._child is None:
                left, self._open = list(self._open.values()), {}
            else:
                left = []
        for question in left:
            question.answered.set()

    def close(self) -> None:
        """Ask for nothing more; what was asked for is carried out all the same."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None and child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()
