"""Watching from within a container's user namespace, where its files may be read.

An ordinary user's container has files of other ids, which this user may not read outside. A
child process enters the container's user namespace (not its mounts: paths stay the machine's)
and sends its records out. It gets the target as a line, and ends when its input does.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator

import layerview
from layerview.errors import LayerviewError
from layerview.watch.events import Record
from layerview.watch.target import Target
from layerview.watch.wire import decode_records, decode_target, encode_records, encode_target

_CLONE_NEWUSER = 0x10000000
_TICK = 0.1
_PIECE = 1 << 16
_FAILED = b"!"
"""Begins a line that says why there are no records."""
_LONGEST = 1 << 28


def is_needed(target: Target) -> bool:
    """Whether a container's files are to be read in its own user namespace."""
    if os.geteuid() == 0 or target.pid is None:
        return False
    try:
        theirs = os.stat(f"/proc/{target.pid}/ns/user")
        own = os.stat("/proc/self/ns/user")
    except OSError:
        return False
    return theirs.st_ino != own.st_ino


def observe(target: Target, stop: threading.Event, *, reads: bool) -> Iterator[list[Record]]:
    """See observe.observe.

    Raises:
        LayerviewError: what the child could not do.
    """
    with _start() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write((b"1" if reads else b"0") + encode_target(target))
            child.stdin.flush()
            for line in _lines(child.stdout.fileno(), stop):
                if line.startswith(_FAILED):
                    raise LayerviewError(line[1:].decode("utf-8", "replace").strip())
                yield decode_records(line)
        except BrokenPipeError:
            raise LayerviewError("the watching process ended at once") from None
        finally:
            child.kill()


def _start() -> subprocess.Popen[bytes]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(layerview.__file__)))
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from layerview.watch.inside import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    except OSError as error:
        raise LayerviewError(f"the watching process can't be started: {error}") from None


def _lines(fd: int, stop: threading.Event) -> Iterator[bytes]:
    """Yield lines as they come, until there are no more or it is time to stop."""
    held = bytearray()
    while not stop.is_set():
        if not select.select([fd], [], [], _TICK)[0]:
            continue
        piece = os.read(fd, _PIECE)
        if not piece:
            return
        held += piece
        while (end := held.find(b"\n")) >= 0:
            yield bytes(held[: end + 1])
            del held[: end + 1]
        if len(held) > _LONGEST:
            raise LayerviewError("the watching process says too much at once")


def main() -> None:
    """Be the child."""
    line = sys.stdin.buffer.readline(_LONGEST)
    reads, target = line[:1] == b"1", decode_target(line[1:])
    out = sys.stdout.buffer
    try:
        _enter(target)
        from layerview.watch import observe as observing

        stop = threading.Event()
        threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
        for batch in observing.observe_here(target, stop, reads=reads):
            out.write(encode_records(batch))
            out.flush()
    except BrokenPipeError:
        os._exit(0)
    except LayerviewError as error:
        out.write(_FAILED + str(error).encode("utf-8", "surrogateescape") + b"\n")
        out.flush()


def _wait_for_end(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _enter(target: Target) -> None:
    import ctypes

    from layerview.drivers.mounts import libc

    try:
        door = os.open(f"/proc/{target.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # It ended just now: what it has left is looked at from here.
        return
    if libc().setns(ctypes.c_int(door), ctypes.c_int(_CLONE_NEWUSER)) < 0:
        code = ctypes.get_errno()
        raise LayerviewError(
            f"the user namespace of {target.id[:12]} can't be entered:"
            f" {os.strerror(code).lower()}; its owner and root can"
        )
    os.close(door)
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise LayerviewError(f"root of {target.id[:12]} can't be become: {reason}") from None
