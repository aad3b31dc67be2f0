"""A user namespace: where an ordinary user is root over ids and mounts of their own."""

from __future__ import annotations

import errno
import json
import os
import pwd
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from layerview import errors
from layerview.drivers.mounts import MS_REC, MS_SLAVE, libc, mount, unshare
from layerview.drivers.mounts import is_initial as is_initial
from layerview.errors import LayerviewError, NamespaceError
from layerview.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from layerview.layer.apply import Owners

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_ALL = 1 << 32
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SI_KERNEL = 0x80


def run_in_user_namespace(work: Callable[[], int]) -> int:
    """Run `work` as root of a user namespace, in a child process; return its exit status.

    Root, also of a user namespace, needs none: then `work` is just called. The child sees the
    user's id as 0 and, where newuidmap and newgidmap are installed and /etc/subuid and
    /etc/subgid give the user ranges, these from 1 on. Mounts that it makes are its own and end
    with it. Interrupts reach it, and its errors come back as errors.

    Returns:
        What `work` returned; 128 and the signal's number where one ended it.

    Raises:
        LayerviewError: what `work` raised, or why there is no user namespace and what helps.
    """
    if os.geteuid() == 0:
        return work()
    found = call_in_user_namespace(work)
    return found if isinstance(found, int) else 1


def call_in_user_namespace(work: Callable[[], object]) -> object:
    """Do the same for a result that JSON can hold, as any user; signals give their status."""
    return _call(work, _CLONE_NEWUSER | _CLONE_NEWNS)


def call_in_mount_namespace(work: Callable[[], object]) -> object:
    """Call `work`, as who one is, in a child process whose mounts are its own and end with it.

    Returns:
        What `work` returned, which JSON must be able to hold; 128 and the signal's number where
        one ended it.

    Raises:
        LayerviewError: what `work` raised.
        OSError: what `work` raised, or why there is no such namespace: PermissionError but for
            who may mount.
    """
    return _call(work, _CLONE_NEWNS)


def _call(work: Callable[[], object], namespaces: int) -> object:
    user = bool(namespaces & _CLONE_NEWUSER)
    sys.stdout.flush()
    sys.stderr.flush()
    ready, tell_ready = os.pipe()
    mapped, tell_mapped = os.pipe()
    answer, tell_answer = os.pipe()
    watched = {*_PASSED_ON, signal.SIGCHLD}
    # Nothing that comes from here on is lost: the parent asks for it below.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        child = os.fork()
        if child == 0:
            for fd in (ready, tell_mapped, answer):
                os.close(fd)
            _be_child(work, namespaces, tell_ready, mapped, tell_answer, before)
        for fd in (tell_ready, mapped, tell_answer):
            os.close(fd)
        with os.fdopen(ready, "rb") as words, os.fdopen(answer, "rb") as result:
            failed = words.read()
            code = int(failed) if failed else 0
            try:
                if not code:
                    if user:
                        _map_ids(child)
                    os.write(tell_mapped, b"1")
            except OSError as error:
                code = error.errno or errno.EPERM
            finally:
                os.close(tell_mapped)
            status = _wait(child)
            text = result.read()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if code and user:
        raise NamespaceError("; ".join(_problem(code)))
    if code:
        raise OSError(code, os.strerror(code))
    if not text:
        return status
    return _understood(json.loads(text), status)


def _be_child(
    work: Callable[[], object],
    namespaces: int,
    tell_ready: int,
    mapped: int,
    tell_answer: int,
    mask: Iterable[int],
) -> NoReturn:
    status = 1
    try:
        parent = os.getppid()
        try:
            unshare(namespaces)
        except OSError as error:
            os.write(tell_ready, str(error.errno).encode())
            os._exit(1)
        os.close(tell_ready)
        if not os.read(mapped, 1):
            os._exit(1)
        os.close(mapped)
        said: dict[str, object] = {}
        try:
            if namespaces & _CLONE_NEWUSER:
                _become_root()
            # What is mounted in here must not show outside, where the kernel does not see to it.
            mount("none", "/", "", MS_REC | MS_SLAVE)
            libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            result = work()
            said = {"result": result}
            status = result if isinstance(result, int) else 0
        except LayerviewError as error:
            said = {"error": type(error).__name__, "message": str(error)}
        except OSError as error:
            said = {"errno": error.errno, "message": error.strerror, "file": _text(error.filename)}
        except KeyboardInterrupt:
            said = {"interrupted": True}
            status = 130
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        if said:
            with os.fdopen(tell_answer, "wb") as out:
                out.write(json.dumps(said).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _text(name: object) -> str | None:
    if isinstance(name, bytes):
        return os.fsdecode(name)
    return name if isinstance(name, str) else None


def _understood(said: dict[str, object], status: int) -> object:
    """Give back what the child's work returned, or raise what it raised."""
    if "error" in said:
        kind = getattr(errors, str(said["error"]), LayerviewError)
        raise kind(str(said["message"]))
    if "errno" in said:
        code = said["errno"] if isinstance(said["errno"], int) else errno.EIO
        raise OSError(code, str(said["message"]), said["file"])
    if "interrupted" in said:
        raise KeyboardInterrupt
    return said.get("result", status)


def _become_root() -> None:
    with suppress(OSError):
        # Not allowed where the groups could not be mapped: they stay, and stay without effect.
        os.setgroups([])
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        reason, remedy = _problem(error.errno or errno.EPERM)
        raise NamespaceError(f"{reason}; {remedy}") from None


def _wait(child: int) -> int:
    """Wait for the child and pass signals on to it; SIGCHLD and these are blocked."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        got = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        # What the terminal sends reaches the child as well: it is in the same process group.
        if got.si_signo != signal.SIGCHLD and got.si_code != _SI_KERNEL:
            with suppress(ProcessLookupError):
                os.kill(child, got.si_signo)


# --- ids ---


def _map_ids(child: int) -> None:
    """Give the child's namespace its ids: ranges by newuidmap, else the user's own alone."""
    uid, gid = os.geteuid(), os.getegid()
    users, groups = id_ranges("/etc/subuid", uid), id_ranges("/etc/subgid", uid)
    if (
        users
        and groups
        and _map_by_program("newuidmap", child, uid, users)
        and _map_by_program("newgidmap", child, gid, groups)
    ):
        return
    with suppress(PermissionError):
        # EPERM: newuidmap did its part and newgidmap did not.
        _write(f"/proc/{child}/uid_map", f"0 {uid} 1\n")
    _write(f"/proc/{child}/setgroups", "deny")
    _write(f"/proc/{child}/gid_map", f"0 {gid} 1\n")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def id_ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """Read a user's ranges out of /etc/subuid or /etc/subgid (subuid(5)): start and count.

    Lines name the user or the user's id; others, broken and endless ones are passed over.
    """
    names = {str(uid)}
    with suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    found: list[tuple[int, int]] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.strip().split(":")
                if len(words) != 3 or words[0] not in names:
                    continue
                if not all(word.isascii() and word.isdigit() for word in words[1:]):
                    continue
                start, count = int(words[1][:12]), int(words[2][:12])
                if start > 0 and count > 0 and start + count <= _ALL - 1:
                    found.append((start, count))
    except OSError:
        return []
    return found[:100]


def _map_by_program(program: str, child: int, own: int, ranges: Sequence[tuple[int, int]]) -> bool:
    import subprocess

    words = [program, str(child), "0", str(own), "1"]
    inside = 1
    for start, count in ranges:
        if start <= own < start + count:
            continue
        words += [str(inside), str(start), str(count)]
        inside += count
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


class MappedOwners(Record):
    """The ids that a file can be given here; see layer.apply.Owners."""

    users: tuple[tuple[int, int], ...]
    """First id and number of ids, by range."""
    groups: tuple[tuple[int, int], ...]

    def ids(self, uid: int, gid: int) -> tuple[int, int] | None:
        """Return the ids as they are where both can be given, else None: squash them."""
        if any(start <= uid < start + count for start, count in self.users) and any(
            start <= gid < start + count for start, count in self.groups
        ):
            return uid, gid
        return None


def mapped_owners() -> Owners | None:
    """Return which ids files can be given by this process; None where that is every id."""
    if os.geteuid() != 0:
        return MappedOwners(((os.geteuid(), 1),), ((os.getegid(), 1),))
    users, groups = _map_here("uid_map"), _map_here("gid_map")
    if all(any(start == 0 and count >= _ALL - 1 for start, count in m) for m in (users, groups)):
        return None
    return MappedOwners(users, groups)


def _map_here(name: str) -> tuple[tuple[int, int], ...]:
    try:
        lines = _read(f"/proc/self/{name}").splitlines()
    except OSError:
        return ((0, _ALL),)
    return tuple((int(inside), int(count)) for inside, _, count in map(str.split, lines))


# --- why not ---


def namespace_limit() -> tuple[str, str] | None:
    """Return what this machine forbids ordinary users about user namespaces, and the remedy."""
    if not os.path.exists("/proc/self/ns/user"):
        return "this kernel has no user namespaces", "use a kernel with CONFIG_USER_NS, or be root"
    if _setting("user/max_user_namespaces") == "0":
        return (
            "user namespaces are turned off (user.max_user_namespaces is 0)",
            "sysctl user.max_user_namespaces=15000, or be root",
        )
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return (
            "user namespaces are root's alone (kernel.unprivileged_userns_clone is 0)",
            "sysctl kernel.unprivileged_userns_clone=1, or be root",
        )
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor keeps ordinary users from mounting in user namespaces",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, an AppArmor profile that"
            " allows userns, or be root",
        )
    return None


def _problem(code: int) -> tuple[str, str]:
    """Say why there is no user namespace, and what helps."""
    limit = namespace_limit()
    if limit is not None:
        return limit
    if code in (errno.ENOSPC, errno.EUSERS):
        return (
            "there are too many user namespaces, or they are nested too deep",
            "end some, or raise user.max_user_namespaces",
        )
    if code in (errno.ENOSYS, errno.EINVAL):
        return "this kernel has no user namespaces", "use a kernel with CONFIG_USER_NS, or be root"
    if code in (errno.EPERM, errno.EACCES):
        return (
            "a user namespace is not permitted here (a sandbox's seccomp or security module)",
            "allow unshare and mount in the sandbox, or be root",
        )
    return f"no user namespace: {os.strerror(code).lower()}", "be root"


def _setting(name: str) -> str | None:
    try:
        return _read(f"/proc/sys/{name}").strip()
    except OSError:
        return None
