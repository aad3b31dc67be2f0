"""Commands of layerview's own that the screen sends out as processes: what writes, or takes long.

A process can be killed, may enter a user namespace (which a process with threads can't), and
leaves the screen's interpreter alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import layerview
from layerview.errors import LayerviewError
from layerview.text import printable

PROGRESS = "LAYERVIEW_PROGRESS"
COMMAND = (sys.executable, "-P", "-m", "layerview")


@dataclass(frozen=True, slots=True)
class Returned:
    """What an errand brought back."""

    said: tuple[object, ...]
    """The JSON documents that the command printed."""
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
        # A file, not a pipe: nobody reads while progress is listened to.
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child is back
        self._asked_to_stop = False
        try:
            self._child = subprocess.Popen(
                [*COMMAND, *words],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.PIPE,
                env={**own_environment(), PROGRESS: "lines"},
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
        assert self._child.stderr is not None
        notes: list[str] = []
        for raw in self._child.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            words = line.rsplit("\t", 2)
            if len(words) == 3 and words[1].isdigit():
                total = int(words[2]) if words[2].isdigit() else None
                progress(words[0], int(words[1]), total)
            elif line:
                notes.append(line.removeprefix("layerview: "))
        self._child.stderr.close()
        status = self._child.wait()
        with self._printed as file:
            file.seek(0)
            printed = file.read().decode("utf-8", "replace")
        return _returned(status, printed, notes)

    def stop(self) -> None:
        """Stop it: it undoes what it began; asked again, it is ended as it is."""
        if self._asked_to_stop:
            # What is left lying is cleared up by the next command.
            self._child.terminate()
        else:
            self._child.send_signal(signal.SIGINT)
        self._asked_to_stop = True


def own_environment() -> dict[str, str]:
    """Return an environment in which a child finds this layerview."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(layerview.__file__)))
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def returned(status: int, printed: str, complaints: str) -> Returned:
    """Return what a command said.

    Raises:
        LayerviewError: what it complained about.
    """
    lines = (line.removeprefix("layerview: ") for line in complaints.splitlines())
    return _returned(status, printed, [line for line in lines if line])


def _returned(status: int, printed: str, notes: Sequence[str]) -> Returned:
    if status:
        raise LayerviewError(notes[-1] if notes else "it was stopped")
    return Returned(tuple(_documents(printed)), tuple(notes))


def _documents(printed: str) -> Iterator[object]:
    """Read one document, or one a line."""
    decoder = json.JSONDecoder()
    printed = printed.lstrip()
    while printed:
        try:
            document, end = decoder.raw_decode(printed)
        except ValueError:
            return
        yield document
        printed = printed[end:].lstrip()


def names_loaded(back: Returned) -> list[str]:
    """Return the names of the images that `load --json` tells of; IDs of those without one."""
    names: list[str] = []
    for document in back.said:
        if isinstance(document, dict):
            references = document.get("references") or [str(document.get("image_id", ""))[:19]]
            names += [printable(str(name)) for name in references if name]
    return names


def started_ids(back: Returned) -> list[str]:
    """Return the IDs of started containers.

    Raises:
        LayerviewError: when there are none.
    """
    ids = [str(one["id"]) for one in back.said if isinstance(one, dict) and "id" in one]
    if not ids:
        raise LayerviewError("; ".join(back.notes) or "nothing was started")
    return ids
