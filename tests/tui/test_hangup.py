"""The terminal goes away, and no signal says so."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.support import archives, tars


def test_the_program_ends_with_its_terminal(tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    layer = tars.layer(tars.file("file-in-it", b"x"))
    archives.docker_archive(image, archives.image(layer, tags=["app:1"]))
    terminal, end = pty.openpty()
    # In a session of its own, and without a controlling terminal: it gets no SIGHUP.
    program = subprocess.Popen(
        [sys.executable, "-m", "layerview", str(image)],
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "LAYERVIEW_ROOT": str(tmp_path / "area")},
    )
    os.close(end)
    try:
        shown, until = b"", time.monotonic() + 60
        while b"file-in-it" not in shown and time.monotonic() < until:
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 1 << 16)
        assert b"file-in-it" in shown, shown[-500:]
        os.close(terminal)
        assert program.wait(20) == 129
    finally:
        program.kill()
        program.wait()
