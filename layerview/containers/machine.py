"""What this machine can and cannot do for containers, and what would help."""

from __future__ import annotations

import errno
import os

from layerview.containers.calls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    clone_tree,
)
from layerview.containers.trials import refused, try_out
from layerview.drivers.mounts import mount, unshare
from layerview.drivers.namespace import call_in_user_namespace, id_ranges, namespace_limit
from layerview.errors import LayerviewError

_FILES = ("/etc/subuid", "/etc/subgid")
_MANY = 65535
"""IDs that images may use besides root's."""


def launcher_problem() -> tuple[str, str] | None:
    """Try what layerview's own launcher needs; return what is in its way, and what helps."""
    problem = try_out(_trial)
    if problem is None:
        return None
    reason, _, remedy = problem.partition("; ")
    return reason, remedy or "be root, or allow namespaces and mounts in the sandbox"


def _trial() -> str | None:
    try:
        unshare(CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
    except OSError as error:
        return refused(error)
    try:
        os.close(clone_tree(-1, "/", recursive=True))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return "this kernel has no open_tree(2); Linux 5.2 or later, or --runtime runc"
        return f"mounts: {(error.strerror or '').lower()}"
    child = os.fork()
    if child == 0:
        code = 0
        try:
            mount("proc", "/proc", "proc")
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == errno.EPERM:
        return (
            "/proc can't be mounted: parts of this machine's own are hidden, as in a container;"
            " run that with --security-opt systempaths=unconfined or --privileged"
        )
    return f"/proc can't be mounted: {os.strerror(code).lower()}" if code > 0 else None


def users_problem() -> tuple[str, str] | None:
    """Say why an ordinary user can run no containers here, and what helps.

    For root it is what is forbidden to all others; for others it is tried.
    """
    if os.geteuid() == 0:
        return namespace_limit()
    try:
        call_in_user_namespace(lambda: None)
    except LayerviewError as error:
        reason, _, remedy = str(error).partition("; ")
        return reason, remedy or "be root"
    return None


def ids_problem() -> tuple[str, str] | None:
    """Say why an image's users other than root have no IDs here, and what helps.

    To be asked as root, if only of a user namespace.
    """
    if os.geteuid() != 0:
        return "without a user namespace no user of an image has an ID here", "get user namespaces"
    ranges = _map("uid_map"), _map("gid_map")
    if all(sum(count for _, _, count in found) > 1 for found in ranges):
        return None
    import shutil

    # Only one's own ID is mapped: it is what 0 stands for.
    uid = ranges[0][0][1] if ranges[0] else os.geteuid()
    helps = []
    missing = [name for name in ("newuidmap", "newgidmap") if shutil.which(name) is None]
    if missing:
        helps.append(f"install {' and '.join(missing)} (the package uidmap or shadow-utils)")
    lacking = [path for path in _FILES if not id_ranges(path, uid)]
    if lacking:
        helps.append(
            f"usermod --add-subuids 100000-{100000 + _MANY} --add-subgids"
            f" 100000-{100000 + _MANY} {_name(uid)} (numbers that are free in {_FILES[0]})"
        )
    reasons = [f"{name} is not installed" for name in missing]
    reasons += [f"{path} gives you no range" for path in lacking]
    return (
        "an image's root alone has an ID here, other users can't run: "
        + (" and ".join(reasons) or "newuidmap refused your ranges"),
        " and ".join(helps) or f"look at the ranges in {' and '.join(_FILES)}",
    )


def _map(name: str) -> list[tuple[int, int, int]]:
    try:
        with open(f"/proc/self/{name}") as lines:
            return [(int(a), int(b), int(c)) for a, b, c in map(str.split, lines)]
    except OSError:
        return [(0, 0, 1 << 32)]


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
