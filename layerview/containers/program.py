"""The last steps before a container's program: its signals, descriptors, folder, and execve(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
from contextlib import suppress

from layerview.containers.plan import StartError
from layerview.drivers.mounts import libc
from layerview.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_MOST_INTERPRETERS = 6
"""As many as the kernel goes through, and one more."""
_SYS_CLOSE_RANGE = 436
_NO_DESCRIPTOR = 1 << 31
"""More than there can be."""
_SIG_SETMASK = int(signal.SIG_SETMASK)
_MASK = 128
"""Bytes of the C library's sigset_t."""


def reset_signals() -> None:
    """Give signals, mask and umask the state that a program expects, whatever was inherited.

    What this process has handlers for becomes the default by execve(2).
    """
    with open("/proc/self/status", "rb", 0) as file:
        words = file.read(4096).partition(b"SigIgn:\t")[2].partition(b"\n")[0]
    ignored, number = int(words, 16), 1
    while ignored:
        if ignored & 1:
            # Python's own call is ten times as slow, and so is that for the mask.
            libc().signal(ctypes.c_int(number), None)
        ignored >>= 1
        number += 1
    libc().sigprocmask(_SIG_SETMASK, ctypes.create_string_buffer(_MASK), None)
    os.umask(0o022)


def only(*kept: int) -> None:
    """Close every descriptor but these (-1 stands for none)."""
    start = 0
    for fd in (*sorted({fd for fd in kept if fd >= 0}), _NO_DESCRIPTOR):
        if start < fd:
            _close_range(start, fd - 1)
        start = fd + 1


def _close_range(first: int, last: int) -> None:
    """Close descriptors; Python's own call tries each number there is where the kernel can't."""
    words = map(ctypes.c_uint, (first, last, 0))
    if libc().syscall(_SYS_CLOSE_RANGE, *words) < 0:
        for fd in map(int, os.listdir("/proc/self/fd")):
            if first <= fd <= last:
                with suppress(OSError):
                    os.close(fd)


def enter_folder(cwd: str) -> None:
    """Go into a folder of the container, which is made when it is missing, as Docker does.

    To be called when nothing outside is open any more: a name as /proc/self/fd/7 leads wherever
    that is open to (CVE-2024-21626).

    Raises:
        StartError: when it can't be entered.
    """
    try:
        try:
            os.chdir(cwd or "/")
        except FileNotFoundError:
            os.makedirs(cwd, 0o755, exist_ok=True)
            os.chdir(cwd)
        # The kernel gives no path of a folder outside of this process's root.
        inside = os.getcwd().startswith("/")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StartError(f"chdir to {printable(cwd)}: {reason}", 126) from None
    if not inside:
        raise StartError(f"chdir to {printable(cwd)}: it leads out of the container", 126)


def execute(args: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """Execute a program, looked up in the PATH of its environment.

    Raises:
        StartError: 127 when it is not found, 126 when it can't be executed; as Docker words it.
    """
    path = find_program(args[0], env.get("PATH", ""))
    if _is_ours(path):
        raise StartError(f'exec: "{printable(args[0])}": permission denied', 126)
    try:
        os.execve(path, args, env)
    except OSError as error:
        reason = (error.strerror or "").lower()
        if error.errno == errno.ENOENT:
            reason = "no such file or directory (of its interpreter)"
        raise StartError(f"exec {printable(path)}: {reason}", 126) from None
    except ValueError as error:
        # A NUL byte, or a variable without a name.
        raise StartError(f"exec {printable(path)}: {error}") from None


def _is_ours(path: str) -> bool:
    """Whether what would be executed is this process's own program, or is interpreted by it.

    By a link to /proc/self/exe an image has the machine's Python run inside of the container,
    whose root could then write to it (CVE-2019-5736). The keeper executes it as well, for as long
    as the container lives, which is why nobody can; but there is no need to try.
    """
    try:
        own = os.stat("/proc/self/exe")
        for _ in range(_MOST_INTERPRETERS):
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                if os.path.samestat(os.fstat(fd), own):
                    return True
                line = os.read(fd, 256)
            finally:
                os.close(fd)
            if line[:2] != b"#!":
                return False
            path = os.fsdecode(line[2:].partition(b"\n")[0].strip().partition(b" ")[0])
    except (OSError, ValueError):
        return False
    return False


def find_program(name: str, search: str) -> str:
    """Look a program up as Docker does (Go's exec.LookPath).

    Raises:
        StartError: when there is none, or none that can be executed.
    """
    what = f'exec: "{printable(name)}"'
    if "/" in name:
        code = _unfit(name)
        if code in (errno.ENOENT, errno.ENOTDIR):
            raise StartError(f"{what}: stat {printable(name)}: {os.strerror(code).lower()}", 127)
        if code:
            raise StartError(f"{what}: {os.strerror(code).lower()}", 126)
        return name
    for folder in search.split(":"):
        path = os.path.join(folder or ".", name)
        if not _unfit(path):
            return path
    raise StartError(f"{what}: executable file not found in $PATH", 127)


def _unfit(path: str) -> int:
    """Return the error of executing what is at a path, 0 where it seems to be possible."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.ENOENT
    except ValueError:
        return errno.ENOENT
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    return 0 if os.access(path, os.X_OK, effective_ids=True) else errno.EACCES
