"""Serving a union to real processes: a FUSE mount, and a process of its own behind it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from layerview.unionfs.fuse.mount import can_mount, checked, libc, make_tree, open_device

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 1 << 18
_MNT_DETACH = 2
_PR_SET_NAME = 15
_PR_SET_IO_FLUSHER = 57
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_OPEN_TREE_CLONE = 1
_AT_RECURSIVE = 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100

PROCESS_NAME = "layerview-union"
"""As `ps` and /proc/PID/comm have it."""
_SPARED = -500
"""How much later than others the server is ended when memory runs out, as dockerd has it."""
_MOST_FAULTS = 1 << 16
_PATIENCE = 2.0
"""Seconds that a server of before has for its end."""
_SIGNALS = (*range(1, 32), *range(34, 65))
"""All but the C library's own."""


class Served(NamedTuple):
    """A union that is served."""

    tree: int
    """Descriptor of the mount, which is attached nowhere; the caller's to attach and close."""
    pid: int
    """The server, as this PID namespace counts."""
    passthrough: bool
    """Whether the kernel reads and writes the files itself."""


def can_serve() -> str | None:
    """Try whether this process can serve a union.

    Returns:
        None where it can; else the reason, with what helps, for people.
    """
    return can_mount()


def serve(
    branches: Sequence[str],
    *,
    steps: str | None = None,
    volatile: bool = False,
    passthrough: bool = True,
    read_only: bool = False,
) -> Served:
    """Mount a union of folders, and leave it to a process of its own.

    Who calls this is root, if only of a user namespace. The server stays in the namespaces of the
    caller but for that of mounts: it sees none, and keeps none of them busy but the branches'. It
    ends when the mount is gone everywhere.

    Args:
        branches: absolute, the top one first, which is written.
        steps: where it listens for those who want to hear of its steps; None: nowhere.
        volatile: let nothing wait for the disk.
        passthrough: have the kernel read and write the files itself, where it does that.
        read_only: write to no branch at all.

    Raises:
        OSError: when a branch, the device or the mount fails; nothing of the attempt is left.
    """
    connection = open_device()
    try:
        tree = make_tree(connection)
        try:
            said = _begin(_Wish(connection, branches, steps, volatile, passthrough, read_only))
        except BaseException:
            os.close(tree)
            raise
    finally:
        os.close(connection)
    return Served(tree, said["pid"], bool(said["passthrough"]))


class _Wish(NamedTuple):
    connection: int
    branches: Sequence[str]
    steps: str | None
    volatile: bool
    passthrough: bool
    read_only: bool


def _begin(wish: _Wish) -> dict[str, int]:
    answer, tell = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that comes between the forks would be handled by the wrong process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        child = os.fork()
        if child == 0:
            try:
                if os.fork() == 0:
                    _be_server(wish, tell)
            finally:
                os._exit(0)
        os.close(tell)
        tell = -1
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if tell >= 0:
            os.close(tell)
    with os.fdopen(answer, "rb") as words:
        text = words.read()
    said = json.loads(text) if text else {"errno": errno.EIO, "message": "the server was killed"}
    if "errno" in said:
        raise OSError(said["errno"], said["message"], said.get("file"))
    return dict(said)


def _be_server(wish: _Wish, tell: int) -> NoReturn:
    """Serve, and end with it."""
    try:
        _serve(wish, tell)
    except Exception as error:
        code, reason = getattr(error, "errno", None), getattr(error, "strerror", None)
        file = getattr(error, "filename", None)
        said = {
            "errno": code or errno.EIO,
            "message": reason or f"{type(error).__name__}: {error}",
            "file": os.fsdecode(file) if isinstance(file, str | bytes) else None,
        }
        with suppress(OSError):
            os.write(tell, json.dumps(said).encode())
    finally:
        os._exit(0)


def _serve(wish: _Wish, tell: int) -> None:
    # All that is needed later is imported here: the server leaves the file system.
    import select
    import traceback as traceback

    from layerview.unionfs.fuse.listeners import Listeners, listen
    from layerview.unionfs.fuse.server import Server
    from layerview.unionfs.union import Union

    os.setsid()
    os.umask(0)
    _settle()
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    connection, tell = _above(wish.connection), _above(tell)
    folders = [_above(os.open(path, flags)) for path in wish.branches]
    kept = [connection, tell, *folders]
    listening: socket.socket | None = None
    place = -1
    if wish.steps is not None:
        listening, place = listen(wish.steps)
        place = _above(place)
        kept += [listening.fileno(), place, _above(_succeed(place))]
    _close_others(kept)
    _leave_mounts()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)

    poll = listeners = None
    if listening is not None:
        poll = select.poll()
        listeners = Listeners(listening, poll)
    union = Union(folders, writable=not wish.read_only)
    faults = _Faults(place)
    server = Server(
        connection,
        union,
        folders[0],
        volatile=wish.volatile,
        passthrough=wish.passthrough,
        on_fault=faults.note,
    )
    os.write(
        tell,
        json.dumps({"pid": os.getpid(), "passthrough": int(server.passthrough)}).encode(),
    )
    os.close(tell)
    try:
        server.serve(listeners, poll)
    finally:
        if wish.steps is not None and listeners is not None:
            _unlink_own(place, os.path.basename(wish.steps), listening)
            listeners.close()
        server.close()


def _succeed(place: int) -> int:
    """Wait until a server of before, whose tree is gone, has written down what it knows.

    Returns:
        A descriptor of the steps' folder with a lock on it, which is let go of at this one's end.
    """
    lock = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.002)
    return lock


def _settle() -> None:
    """Take what a server wants from the process it is: signals, limits, a name."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    none = ctypes.c_ulong(0)
    name = ctypes.c_char_p(PROCESS_NAME.encode())
    libc().prctl(ctypes.c_int(_PR_SET_NAME), name, none, none, none)
    # The kernel may want memory back from files whose data goes through here.
    one = ctypes.c_ulong(1)
    libc().prctl(ctypes.c_int(_PR_SET_IO_FLUSHER), one, none, none, none)
    with suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
        if int(file.read()) > _SPARED:
            file.seek(0)
            file.write(str(_SPARED))


def _above(fd: int) -> int:
    """Return a descriptor that is none of 0, 1 and 2, which the caller may have had closed."""
    return fd if fd > 2 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _close_others(kept: Sequence[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    highest = max(map(int, os.listdir("/proc/self/fd")), default=1 << 16)
    os.closerange(start, highest + 1)


def _leave_mounts() -> None:
    """Have a mount namespace with nothing in it but /proc.

    As a member of the caller's the server would keep alive what is mounted there, its own mount
    among that, and might one day wait for itself.

    Raises:
        OSError: as unshare(2), mount(2) and pivot_root(2) have it.
    """
    c = libc()
    checked(c.unshare(ctypes.c_int(_CLONE_NEWNS)), "unshare")
    _mount(b"none", b"/", b"", _MS_REC_PRIVATE)
    processes = checked(
        c.syscall(
            _SYS_OPEN_TREE,
            ctypes.c_int(_AT_FDCWD),
            ctypes.c_char_p(b"/proc"),
            ctypes.c_uint(_OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC),
        ),
        "/proc",
    )
    # Any folder does to put the new root on.
    _mount(b"none", b"/proc", b"tmpfs", 0)
    os.chdir("/proc")
    os.mkdir("proc", 0o555)
    checked(
        c.syscall(
            _SYS_MOVE_MOUNT,
            ctypes.c_int(processes),
            ctypes.c_char_p(b""),
            ctypes.c_int(_AT_FDCWD),
            ctypes.c_char_p(b"proc"),
            ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
        ),
        "move_mount",
    )
    os.close(processes)
    dot = ctypes.c_char_p(b".")
    checked(c.pivot_root(dot, dot), "pivot_root")
    # The old root lies on top of the new one now.
    checked(c.umount2(dot, ctypes.c_int(_MNT_DETACH)), "umount2")
    os.chdir("/")


def _mount(source: bytes, target: bytes, kind: bytes, flags: int) -> None:
    checked(
        libc().mount(
            ctypes.c_char_p(source),
            ctypes.c_char_p(target),
            ctypes.c_char_p(kind),
            ctypes.c_ulong(flags),
            None,
        ),
        os.fsdecode(target),
    )


def _unlink_own(folder: int, name: str, own: socket.socket | None) -> None:
    """Take the socket away, but not one that somebody else has put there since."""
    with suppress(OSError):
        if own is None:
            return
        # The socket's own inode is another one than its name's: ask who listens there.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)
            own.close()
            try:
                asking.connect(f"/proc/self/fd/{folder}/{name}")
            except ConnectionRefusedError:
                os.unlink(name, dir_fd=folder)


class _Faults:
    """Errors that are the server's own, in a file `faults` beside the steps' socket."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._room = _MOST_FAULTS

    def note(self) -> None:
        """Write down the error that is being handled."""
        import traceback

        text = traceback.format_exc().encode("utf-8", "backslashreplace")
        if self._folder < 0 or len(text) > self._room:
            return
        self._room -= len(text)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            fd = os.open("faults", flags, 0o600, dir_fd=self._folder)
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
