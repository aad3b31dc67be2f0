"""Writing into config.v2.json how a container ended.

The shim holds this module for as long as a container runs: it imports nothing heavy.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress

from layerview.containers.json_log import timestamp

_NAME = "config.v2.json"
_PATIENCE = 30.0
"""Seconds that others have for what they change."""


def record_exit(folder: int, code: int, *, volatile: bool) -> None:
    """Say in a container's config that it has ended.

    Where that can't be done, what is said is that it was killed, by the lock that is free.

    Args:
        folder: a descriptor of containers/ID.
        code: the exit status.
        volatile: whether it need not reach the disk.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                break
            time.sleep(0.005)
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        _change(folder, code, volatile)
    with suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_UN)


def _change(folder: int, code: int, volatile: bool) -> None:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(_NAME, flags, dir_fd=folder), "rb+", 0) as file:
        before = file.read()
        config = json.loads(before)
        ended = {"Running": False, "Paused": False, "Pid": 0, "ExitCode": code}
        config.setdefault("State", {}).update(ended, FinishedAt=timestamp())
        text = json.dumps(config, separators=(",", ":")).encode()
        try:
            _replace(folder, text, os.fstat(file.fileno()).st_mode & 0o777, volatile)
        except OSError:
            # A container that fills its disk, and ends because of that, must not lose its exit
            # status: what is there is written over, which takes no room.
            _overwrite(file.fileno(), before, text)


def _replace(folder: int, text: bytes, mode: int, volatile: bool) -> None:
    beside = _NAME + ".shim"
    with suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(beside, flags, mode, dir_fd=folder), "wb") as file:
            file.write(text)
            file.flush()
            if not volatile:
                os.fsync(file.fileno())
        os.rename(beside, _NAME, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise


def _overwrite(fd: int, before: bytes, text: bytes) -> None:
    """Write over a file's content, all or nothing."""
    if os.pwrite(fd, text, 0) == len(text):
        os.ftruncate(fd, len(text))
    else:
        os.pwrite(fd, before, 0)
        os.ftruncate(fd, len(before))
