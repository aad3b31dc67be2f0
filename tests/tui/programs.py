"""Real programs on a real pseudo-terminal, for the terminal pane."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def running(
    args: Sequence[str], *, rows: int = 24, columns: int = 80
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a program on a terminal of its own; give the master, which the caller closes."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (rows, columns))
    program = subprocess.Popen(
        args,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "PS1": "# ",
            "LC_ALL": "C.UTF-8",
        },
    )
    os.close(slave)
    try:
        yield master, program
    finally:
        program.kill()
        program.wait()
