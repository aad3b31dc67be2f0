"""Commands of layerview's own that the screen sends out as processes: what writes, or takes long.

A process can be killed, may enter a user namespace (which a process with threads can't), and
leaves the screen's interpreter alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import layerview
from layerview.errors import LayerviewError

PROGRESS = "LAYERVIEW_PROGRESS"


@dataclass(frozen=True, slots=True)
class Returned:
    """What an errand brought back."""

    said: object
    """The JSON document that the command printed; None when it printed none."""
    notes: tuple[str, ...]
    """Lines for people."""


class Errand:
    """One command, running."""

    def __init__(self, words: Sequence[str]) -> None:
        """Start it.

        Args:
            words: the command line without the program, `--json` among them.

        Raises:
            LayerviewError: when no process can be started.
        """
        package = os.path.dirname(os.path.dirname(os.path.abspath(layerview.__file__)))
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "layerview", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, PROGRESS: "lines"},
                start_new_session=True,
            )
        except OSError as error:
            raise LayerviewError(f"no process can be started: {error}") from None

    def finish(self, progress: Callable[[str, int, int | None], object]) -> Returned:
        """Wait until it is done; to be called in a thread.

        Args:
            progress: told what is being done, how much of it, and of how much.

        Raises:
            LayerviewError: what the command complained about.
        """
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        notes: list[str] = []
        # What is printed fits a pipe: one document about one image.
        for raw in self._child.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            what, _, numbers = line.rpartition("\t")
            what, _, done = what.rpartition("\t")
            if what and done.isdigit():
                progress(what, int(done), int(numbers) if numbers.isdigit() else None)
            elif line:
                notes.append(line.removeprefix("layerview: "))
        printed = self._child.stdout.read()
        self._child.stdout.close()
        self._child.stderr.close()
        if self._child.wait():
            raise LayerviewError(notes[-1] if notes else "it was stopped")
        try:
            said = json.loads(printed) if printed.strip() else None
        except ValueError:
            said = None
        return Returned(said, tuple(notes))

    def stop(self) -> None:
        """Stop it; what it began is undone by itself or by the next command."""
        self._child.terminate()
