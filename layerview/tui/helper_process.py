"""Processes of layerview's own that the terminal UI asks by lines of JSON."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO

from layerview.errors import LayerviewError
from layerview.tui.errands import own_environment


def start(
    command: Sequence[str], listen: Callable[[subprocess.Popen[bytes], IO[bytes]], None]
) -> subprocess.Popen[bytes]:
    """Start one, and a thread that listens to it.

    Args:
        command: the whole command line.
        listen: is given the process and the file that its complaints go to; see `last_words`.

    Raises:
        LayerviewError: when no process can be started.
    """
    # A file, not a pipe: nobody reads while it works.
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has ended
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=own_environment(),
            start_new_session=True,
        )
    except OSError as error:
        complaints.close()
        raise LayerviewError(f"no process can be started: {error}") from None
    threading.Thread(target=listen, args=(child, complaints), daemon=True).start()
    return child


def last_words(child: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    """Wait until one has ended; return what it complained of last, or ""."""
    assert child.stdout is not None
    child.stdout.close()
    child.wait()
    with complaints:
        complaints.seek(0)
        said = complaints.read(1 << 16).decode("utf-8", "replace").splitlines()
    last = next((line for line in reversed(said) if line.strip()), "")
    return last.removeprefix("layerview: ")
