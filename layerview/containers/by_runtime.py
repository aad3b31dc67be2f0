"""Starting a container by an OCI runtime that the machine has: crun or runc."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from layerview.containers.calls import (
    CLONE_NEWNS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    OPEN_PATH,
    attach,
    clone_tree,
    restrict,
    restrict_attached,
)
from layerview.containers.mountpoints import open_place
from layerview.containers.plan import Bind, Plan, StartError
from layerview.containers.privileges import leave_keyring, no_ids
from layerview.containers.program import find_program
from layerview.drivers.mounts import mount, mount_points, unshare
from layerview.drivers.namespace import is_initial
from layerview.text import printable

if TYPE_CHECKING:
    import socket

    from layerview.containers.users import User

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "crun": ("--cgroup-manager=disabled",),
    "runc": ("--rootless=true",),
}
"""The runtimes, and what lets each do without cgroups, as layerview's own launcher does."""

_CGROUPS = "/sys/fs/cgroup"
_ATTEMPTS = 5000
"""Looks, a millisecond apart, at whether a started runtime has made way for the program."""
_MAX_LOG = 1 << 20
_PROGRAM_PROBLEMS = (
    ("not found in $path", "executable file not found in $PATH", 127),
    ("no such file or directory", "no such file or directory", 127),
    ("not a directory", "not a directory", 127),
    ("permission denied", "permission denied", 126),
    ("operation not permitted", "permission denied", 126),
    ("exec format error", "exec format error", 126),
    ("too many levels of symbolic links", "too many levels of symbolic links", 126),
)
"""What runtimes say of a program (small letters), what is said here, and the exit status."""


class RuntimeStart(NamedTuple):
    """A container that a runtime started."""

    init: int
    """Its first process, a child of this one, as this process counts."""
    pid: int
    """The same, as /proc here counts."""
    master: int
    """The master of its terminal; -1 without one."""


def find_runtime(name: str) -> str | None:
    """Return where a runtime is installed; ordinary users' PATH often lacks the sbin folders."""
    folders = os.environ.get("PATH", os.defpath).split(":")
    for folder in (*folders, "/usr/local/sbin", "/usr/sbin", "/sbin"):
        path = os.path.join(folder, name)
        if os.path.isabs(folder) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def start_by_runtime(
    plan: Plan, root: str, *, stdin: int = -1, stdout: int = -1, stderr: int = -1
) -> RuntimeStart:
    """Start a container's first process, in a PID namespace below this one's.

    This process must be the first of its PID namespace, and its mounts its own: the runtime goes
    when it has started the container, which then is this process's child. What it wrote is gone
    when this returns: signals and further commands need no runtime.

    Args:
        plan: what is started.
        root: where the container's tree is mounted.
        stdin: the container's end of its input; without a terminal.
        stdout: the same of its output.
        stderr: the same of its errors.

    Raises:
        StartError: when it was not started; nothing of it is left.
    """
    program = find_runtime(plan.runtime)
    if program is None:
        raise StartError(f"{plan.runtime} is not installed (any more)")
    folder = os.path.join(plan.run, "runc")
    _clear(plan)
    try:
        os.mkdir(folder, 0o700)
        with ExitStack() as held:
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, place)
            return _start(plan, program, root, place, (stdin, stdout, stderr))
    except OSError as error:
        raise StartError(f"{plan.runtime}: {_words(error)}") from None
    finally:
        with suppress(OSError):
            _clear(plan)


def _clear(plan: Plan) -> None:
    """Remove what a runtime left in the runtime folder."""
    from layerview.drivers.removal import remove_tree

    remove_tree(os.path.realpath(plan.run), "runc")


def _start(
    plan: Plan, program: str, root: str, folder: int, ends: tuple[int, int, int]
) -> RuntimeStart:
    import socket

    here = f"/proc/self/fd/{folder}"
    _write(folder, "config.json", json.dumps(_config(plan, root)).encode())
    words = [program, *PROGRAMS[plan.runtime]]
    words += ["--root", os.path.join(plan.run, "runc", "state"), "--log", "log"]
    words += ["--log-format", "json", "run", "--detach", "--no-new-keyring", "--pid-file", "pid"]
    with ExitStack() as held:
        listening = None
        if plan.tty:
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            held.callback(listening.close)
            listening.bind(f"{here}/console")
            listening.listen(1)
            words += ["--console-socket", "console"]
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            held.callback(os.close, null)
            ends = (null, null, null)
        words.append(plan.id)
        status = _run(plan, words, root, ends)
        if status != 0:
            raise _failure(plan, root, _logged(here), status)
        init = _number(_read(f"{here}/pid"), plan)
        master = -1
        if listening is not None:
            master = _received(listening)
            _resize(master, plan)
        try:
            pid = _outside(init)
            _await_exec(plan, pid, master if plan.tty else ends[2])
            return RuntimeStart(init, pid, master)
        except BaseException:
            if master >= 0:
                os.close(master)
            raise


# --- before ---


def _config(plan: Plan, root: str) -> dict[str, object]:
    import resource

    from layerview.containers import oci_bundle
    from layerview.containers.users import with_home

    _make_places(plan, root)
    user = _user(plan.user, root)
    place = oci_bundle.Place(
        root,
        [_source(plan, number) for number in range(len(plan.binds))],
        not is_initial(),
        _is_mapped(oci_bundle.TTY_GROUP, "gid_map"),
        resource.getrlimit(resource.RLIMIT_NOFILE),
    )
    return oci_bundle.config(
        plan,
        place,
        uid=user.uid,
        gid=user.gid,
        groups=_groups(user),
        env=with_home(plan.env, user),
    )


def _make_places(plan: Plan, root: str) -> None:
    """Make what is mounted on, as the launcher does, where it is not in what is mounted before."""
    tree = os.open(root, OPEN_PATH | os.O_DIRECTORY)
    try:
        covered = ["dev/", "sys/"]
        for bind in plan.binds:
            target = os.path.normpath(f"/{bind.target}").lstrip("/")
            _check_place(target, bind)
            if not any(f"{target}/".startswith(place) for place in covered):
                _make_place(tree, bind)
            covered.append(f"{target}/")
    finally:
        os.close(tree)


def _check_place(path: str, bind: Bind) -> None:
    """Refuse what no container may mount on.

    Args:
        path: where it comes to, relative to the container's root.
        bind: what is mounted there.

    Raises:
        StartError: for the root itself and for /proc.
    """
    if path in ("", "."):
        raise StartError(f"{printable(bind.target)}: nothing is mounted on the container's root")
    if path == "proc" or path.startswith("proc/"):
        raise StartError(f"{printable(bind.target)}: nothing is mounted inside of /proc")


def _make_place(tree: int, bind: Bind) -> None:
    what = printable(bind.target)
    folder = True
    if bind.kind == "bind":
        try:
            folder = stat.S_ISDIR(os.stat(bind.source).st_mode)
        except OSError as error:
            raise StartError(
                f"{printable(bind.source)}, for {what} in the container: {_plain(error)}"
            ) from None
    try:
        place, made = open_place(tree, os.fsencode(bind.target), folder=folder)
    except OSError as error:
        raise StartError(f"{what}: not mounted: {_plain(error)}") from None
    try:
        top = os.readlink(f"/proc/self/fd/{tree}")
        _check_place(os.path.relpath(os.readlink(f"/proc/self/fd/{place}"), top), bind)
        if folder != stat.S_ISDIR(os.fstat(place).st_mode):
            kinds = ("a folder", "a file") if folder else ("a file", "a folder")
            raise StartError(
                f"{printable(bind.source or 'tmpfs')} is {kinds[0]}, and {what} in the container"
                f" {kinds[1]}"
            )
        if made and bind.kind == "tmpfs":
            # Runtimes give a tmpfs the mode of what it covers.
            os.chmod(f"/proc/self/fd/{place}", 0o1777)
    finally:
        os.close(place)


def _user(name: str, root: str) -> User:
    """Look a user up in the container's own files."""
    from layerview.containers.users import User, find

    def look() -> dict[str, object]:
        found = find(name)
        return {"uid": found.uid, "gid": found.gid, "groups": found.groups, "home": found.home}

    found = _inside(root, look)
    return User(found["uid"], found["gid"], tuple(found["groups"]), found["home"])


def _inside(root: str, look: Callable[[], dict[str, object]]) -> dict[str, Any]:
    """Look something up in a child process that has the container's tree for its root.

    Raises:
        StartError: what the looking raised.
    """
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        said: dict[str, object]
        try:
            os.chroot(root)
            os.chdir("/")
            said = look()
        except StartError as error:
            said = {"error": str(error), "code": error.code}
        except BaseException as error:
            said = {"error": _words(error), "code": 125}
        with suppress(OSError):
            os.write(tell, json.dumps(said).encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(heard, "rb") as words:
        text = words.read()
    os.waitpid(child, 0)
    answer: dict[str, Any] = json.loads(text or b'{"error": "it was stopped", "code": 125}')
    if "error" in answer:
        raise StartError(answer["error"], answer["code"])
    return answer


def _groups(user: User) -> Sequence[int]:
    """Return a user's further groups, as far as this process may set any.

    Raises:
        StartError: when the user has no IDs here.
    """
    fixed = _read("/proc/self/setgroups").strip() == b"deny"
    groups = () if fixed and not user.uid and not user.gid else user.groups
    if not _is_mapped(user.uid, "uid_map") or not all(
        _is_mapped(gid, "gid_map") for gid in (user.gid, *groups)
    ):
        raise no_ids(user)
    return groups


def _is_mapped(id: int, kind: str) -> bool:
    """Whether an ID can be had here, by /proc/self/uid_map or gid_map (user_namespaces(7))."""
    try:
        with open(f"/proc/self/{kind}") as lines:
            ranges = [tuple(map(int, line.split())) for line in lines]
    except OSError:
        return True
    return any(first <= id < first + count for first, _, count in ranges)


# --- the runtime ---


def _run(plan: Plan, words: Sequence[str], root: str, ends: tuple[int, int, int]) -> int:
    """Run the runtime in a mount namespace in which it can do its work, and return its status."""
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _prepare(plan, root)
            # By its name: a descriptor would be of a mount that the runtime does not see.
            os.chdir(os.path.join(plan.run, "runc"))
            _become(words, ends, tell)
        except BaseException as error:
            with suppress(OSError):
                os.write(tell, _words(error).encode())
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(heard, "rb") as failed:
        text = failed.read()
    _, status = os.waitpid(child, 0)
    if text:
        raise StartError(text.decode())
    return os.waitstatus_to_exitcode(status)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError):
        reason = _plain(error)
        return f"{printable(str(error.filename))}: {reason}" if error.filename else reason
    return str(error) if isinstance(error, StartError) else repr(error)


def _prepare(plan: Plan, root: str) -> None:
    """Make the mounts of a runtime: /proc of its own processes, no cgroups, no device nodes.

    Nobody would remove cgroups after a `kill -9`. runc wants to see the tree of them, and goes
    without when it can't write it; crun refuses some forms of it on sight.
    """
    unshare(CLONE_NEWNS)
    leave_keyring()
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except PermissionError:
        raise StartError(
            "/proc: not permitted: parts of this machine's own /proc are hidden, as in a"
            " container; give that an unmasked /proc, or be root"
        ) from None
    if plan.runtime == "crun" and os.path.isdir(_CGROUPS):
        mount("tmpfs", _CGROUPS, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for place in mount_points(_CGROUPS):
        with suppress(OSError):
            # ENOENT, EACCES: hidden or shut anyway.
            restrict_attached(place, MS_RDONLY)
    _bind(root, root, MS_NODEV)
    for number, bind in enumerate(plan.binds):
        if bind.kind == "bind":
            flags = MS_NODEV | (MS_RDONLY if bind.read_only else 0)
            _bind(bind.source, _source(plan, number), flags)


def _source(plan: Plan, number: int) -> str:
    """Return where the runtime finds what a bind shows, with its flags on all that is below."""
    return os.path.join(plan.run, "runc", f"bind-{number}")


def _bind(source: str, place: str, flags: int) -> None:
    """Mount a file or folder with all that is mounted in it, and add flags to each mount."""
    tree = clone_tree(-1, os.path.realpath(source), recursive=True)
    with ExitStack() as held:
        held.callback(os.close, tree)
        if not os.path.lexists(place):
            if os.path.isdir(source):
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        later = not restrict(tree, flags, recursive=True)
        here = os.open(place, OPEN_PATH)
        held.callback(os.close, here)
        attach(tree, here)
        if later:
            for below in mount_points(os.path.realpath(place)):
                restrict_attached(below, flags)


def _become(words: Sequence[str], ends: tuple[int, int, int], tell: int) -> NoReturn:
    """Become the runtime, with nothing open but the container's ends."""
    kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (*ends, tell)]
    for number, fd in enumerate(kept[:3]):
        os.dup2(fd, number)
    os.closerange(3, kept[3])
    os.closerange(kept[3] + 1, os.sysconf("SC_OPEN_MAX"))
    # LISTEN_FDS, NOTIFY_SOCKET and the like would be passed on into the container.
    os.execve(words[0], list(words), {"PATH": os.environ.get("PATH", os.defpath)})


def _logged(folder: str) -> str:
    """Return the last error in a runtime's log, one JSON object a line."""
    found = ""
    for line in _read(f"{folder}/log").splitlines():
        with suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("level") in ("error", "fatal", "panic") and isinstance(entry["msg"], str):
                found = entry["msg"]
    return found


# --- what went wrong ---


def _plain(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _failure(plan: Plan, root: str, said: str, status: int) -> StartError:
    """Say why a runtime did not start a container, with Docker's exit status for it.

    125 is the runtime's own trouble; the others are the program's, by the words that the two
    runtimes have for it (moby, daemon/start.go, translateContainerdStartErr).
    """
    text = said.lower()
    if not any(word in text for word in ("exec: ", "executable", "exec container process")):
        code = 126 if "chdir to cwd" in text and "permission denied" in text else 125
        return StartError(
            f"{plan.runtime}: {printable(said) or f'it ended with status {status}'}", code
        )
    try:
        # The launcher's own words, which say more, where it comes to the same: it does not see
        # what is mounted in the tree.
        path = dict(entry.partition("=")[::2] for entry in plan.env).get("PATH", "")
        _inside(root, lambda: {"path": find_program(plan.args[0], path)})
    except StartError as error:
        return error
    word = printable(plan.args[0])
    problem, code = printable(said.rpartition(": ")[2]), 126
    for phrase, meant, its_code in _PROGRAM_PROBLEMS:
        if phrase in text:
            problem, code = meant, its_code
            break
    if "/" in word and "$PATH" in problem:
        problem = "no such file or directory"
    return StartError(f'exec: "{word}": {problem}', code)


def _await_exec(plan: Plan, pid: int, errors: int) -> None:
    """Wait until the runtime has made way for the program, and for this process as its parent.

    A runtime says that the container runs a moment before, and whatever hinders it then (an
    interpreter that is missing, the format of the file) it says on the container's errors alone,
    and ends.

    Args:
        plan: what is started.
        pid: the first process, as /proc here counts.
        errors: where the runtime's words went: the container's end of its errors, or the
            terminal's master.
    """
    own = os.readlink("/proc/self").encode()
    for _ in range(_ATTEMPTS):
        with open(f"/proc/{pid}/stat", "rb") as file:
            start, _, rest = file.read(4096).rpartition(b") ")
        state, parent, *_ = rest.split()
        if parent == own:
            if not _is_runtime(os.fsdecode(start.partition(b" (")[2]), plan):
                return
            if state in (b"Z", b"X"):
                reason = _reason(_remainder(errors))
                raise StartError(f"exec {printable(plan.args[0])}: {reason}", 126)
        time.sleep(0.001)
    raise StartError(f"{plan.runtime} did not execute {printable(plan.args[0])}")


def _reason(said: str) -> str:
    """Return what hindered a program at last, in the launcher's own words."""
    for phrase, meant, _ in _PROGRAM_PROBLEMS:
        if phrase in said.lower():
            missing = "no such file or directory"
            return f"{missing} (of its interpreter)" if meant == missing else meant
    return printable(said.rpartition(": ")[2]) or "the runtime gave no reason"


def _is_runtime(name: str, plan: Plan) -> bool:
    """Whether a process's name is a runtime's that is about to execute the program."""
    if name == os.path.basename(plan.args[0])[:15]:
        return False
    return name.startswith(("runc:[", plan.runtime))


def _remainder(fd: int) -> str:
    """Read what was written to a pipe, by its other end, or to a terminal, by its master."""
    with suppress(OSError), ExitStack() as held:
        if not os.isatty(fd):
            fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            held.callback(os.close, fd)
        os.set_blocking(fd, False)
        return os.read(fd, 4096).decode("utf-8", "replace").strip()
    return ""


# --- after ---


def _received(listening: socket.socket) -> int:
    """Take the terminal's master from the console socket (runc, docs/terminals.md)."""
    import socket

    listening.settimeout(5)
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(5)
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    if not fds:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "console")
    os.set_inheritable(fds[0], False)
    return fds[0]


def _resize(master: int, plan: Plan) -> None:
    """Set the terminal's size; not every runtime heeds the one in the config."""
    import struct
    import termios

    if plan.rows and plan.columns:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", plan.rows, plan.columns, 0, 0))


def _outside(child: int) -> int:
    """Return a child's number as /proc here counts: by the pidfd's (Linux 5.3)."""
    fd = os.pidfd_open(child)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key == "Pid" and int(value) > 0:
                    return int(value)
    finally:
        os.close(fd)
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), f"process {child}")


def _number(text: bytes, plan: Plan) -> int:
    if not text.strip().isdigit():
        raise StartError(f"{plan.runtime} started a container and named no process")
    return int(text)


def _write(folder: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_LOG)
    except FileNotFoundError:
        return b""
