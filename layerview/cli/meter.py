"""`layerview meter`: measures a data root for the terminal UI, in processes beside the screen.

It reads JSON lines `{"n": number, "do": "account" | "folder" | "sizes" | "stop", ...}` and answers
with lines `{"n": number, ...}`, the last of which has `done` or `error`. Each request is carried
out in a process split off here, which is killed when it is stopped or the input ends: it only
reads.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
from collections.abc import Sequence

from layerview.errors import LayerviewError, NamespaceError
from layerview.text import printable

_LONGEST = 1 << 24
"""Bytes of a request: the paths of a thousand volumes and more."""


def run(words: Sequence[str]) -> int:
    """Serve until the input ends."""
    if os.geteuid() == 0:
        return _serve()
    from layerview.drivers.namespace import run_in_user_namespace

    try:
        # What containers wrote may be hidden from an ordinary user outside of a namespace.
        return run_in_user_namespace(_serve)
    except NamespaceError:
        return _serve()


def _serve() -> int:
    server = _Server()
    try:
        server.serve()
    finally:
        server.stop_all()
    return 0


class _Work:
    """A request that a child carries out, and the line that it has half written."""

    def __init__(self, number: object, child: int, pipe: int) -> None:
        self.number = number
        self.child = child
        self.pipe = pipe
        self.begun = b""
        self.ended = False


class _Server:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._at_work: dict[int, _Work] = {}
        """By pipe."""

    def serve(self) -> None:
        """Take requests and pass answers on, until the input ends."""
        self._selector.register(0, selectors.EVENT_READ)
        asked = b""
        while True:
            for key, _ in self._selector.select():
                if key.fd != 0:
                    self._pass_on(self._at_work[key.fd])
                    continue
                data = os.read(0, 1 << 16)
                if not data or len(asked) > _LONGEST:
                    return
                *lines, asked = (asked + data).split(b"\n")
                for line in lines:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            number, do = request["n"], request["do"]
        except (ValueError, KeyError, TypeError):
            return
        if do == "stop":
            for work in [one for one in self._at_work.values() if one.number == number]:
                self._end(work)
            return
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            _carry_out(request, there)
        os.close(there)
        self._at_work[here] = _Work(number, child, here)
        self._selector.register(here, selectors.EVENT_READ)

    def _pass_on(self, work: _Work) -> None:
        """Pass on the whole lines that a child wrote."""
        data = os.read(work.pipe, 1 << 16)
        if data:
            *lines, work.begun = (work.begun + data).split(b"\n")
            for line in lines:
                work.ended |= line.startswith((b'{"done"', b'{"error"'))
                # The number is put in here, so that a line is parsed by the screen alone.
                _write(b'{"n":%d,' % _whole(work.number) + line[1:] + b"\n")
            return
        if not work.ended:
            problem = json.dumps({"n": work.number, "error": "the process that measures has ended"})
            _write(problem.encode() + b"\n")
        self._end(work)

    def _end(self, work: _Work) -> None:
        self._selector.unregister(work.pipe)
        del self._at_work[work.pipe]
        os.close(work.pipe)
        os.kill(work.child, signal.SIGKILL)
        os.waitpid(work.child, 0)

    def stop_all(self) -> None:
        """End all that is under way."""
        for work in list(self._at_work.values()):
            self._end(work)


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0


def _write(line: bytes) -> None:
    while line:
        line = line[os.write(1, line) :]


def _carry_out(request: dict[str, object], pipe: int) -> None:
    """Carry a request out in a process of its own, and end that."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(pipe, 1)
        from layerview.cli.metering import carry_out

        carry_out(request, lambda answer: _write(json.dumps(answer).encode() + b"\n"))
    except (LayerviewError, OSError) as error:
        _write(json.dumps({"error": printable(str(error))}).encode() + b"\n")
    except BaseException as error:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        _write(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
    finally:
        os._exit(0)
