"""`layerview worker`: carries out commands for the terminal UI, each in a process split off here.

The screen's own process has threads, and so may neither split itself nor enter a user namespace.
This one has none, has imported what starts a container, and is root of the user namespace already.
It reads JSON lines `{"n": number, "words": [...]}` and answers `{"n", "status", "out", "err"}`, in
the order in which the commands end.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Sequence

from layerview.errors import LayerviewError, NamespaceError

_BEFOREHAND = (
    "layerview.cli.run",
    "layerview.cli.ps",
    "layerview.cli.rm",
    "layerview.cli.stop",
    "layerview.containers.launch",
    "layerview.containers.life",
    "layerview.containers.init_layer",
    "layerview.containers.listing",
    "layerview.containers.mounting",
    "layerview.containers.shim",
    "layerview.containers.talk",
    "layerview.drivers.by_name",
    "layerview.drivers.overlay2",
    "layerview.drivers.vfs",
    "layerview.store.writing",
)
"""What a start needs: each process split off here has it at once."""
_LONGEST = 1 << 20
"""Bytes of a request."""


def run(words: Sequence[str]) -> int:
    """Serve until the input ends."""
    from layerview.store.area import default_root

    # Who one is outside of the user namespace says where the area is.
    os.environ["LAYERVIEW_ROOT"] = default_root()
    if os.geteuid() == 0:
        return _serve()
    from layerview.drivers.namespace import run_in_user_namespace

    try:
        return run_in_user_namespace(_serve)
    except NamespaceError:
        # What needs none, as a list of containers, goes on; each command says what it lacks.
        return _serve()


def _serve() -> int:
    for name in _BEFOREHAND:
        importlib.import_module(name)
    wake, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # The screen ends its worker by shutting the pipe: what was asked for is carried out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    at_work: dict[int, _Errand] = {}
    asked, open_ = b"", True
    while open_ or at_work:
        ready, _, _ = select.select([wake, *([0] if open_ else [])], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _answer(at_work)
        if 0 not in ready:
            continue
        data = os.read(0, 1 << 16)
        open_ = bool(data) and len(asked) < _LONGEST
        *lines, asked = (asked + data).split(b"\n")
        for line in lines:
            _begin(line, at_work)
    return 0


class _Errand:
    """A command that a child carries out, and what it prints."""

    def __init__(self, number: object) -> None:
        self.number = number
        self.out = os.memfd_create("out", os.MFD_CLOEXEC)
        self.err = os.memfd_create("err", os.MFD_CLOEXEC)

    def said(self, fd: int) -> str:
        """Return what was printed, and close it."""
        size = os.fstat(fd).st_size
        text = os.pread(fd, size, 0).decode("utf-8", "surrogateescape")
        os.close(fd)
        return text


def _begin(line: bytes, at_work: dict[int, _Errand]) -> None:
    try:
        request = json.loads(line)
        number, words = request["n"], list(map(str, request["words"]))
    except (ValueError, KeyError, TypeError):
        return
    errand = _Errand(number)
    child = os.fork()
    if child == 0:
        _carry_out(words, errand)
    at_work[child] = errand


def _carry_out(words: list[str], errand: _Errand) -> None:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, target in ((null, 0), (errand.out, 1), (errand.err, 2)):
            os.dup2(fd, target)
        from layerview.cli.main import main

        status = main(words)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except LayerviewError:
        status = 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _answer(at_work: dict[int, _Errand]) -> None:
    while at_work:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if child == 0:
            return
        errand = at_work.pop(child, None)
        if errand is None:
            continue
        code = os.waitstatus_to_exitcode(status)
        said = {
            "n": errand.number,
            "status": code if code >= 0 else 128 - code,
            "out": errand.said(errand.out),
            "err": errand.said(errand.err),
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
