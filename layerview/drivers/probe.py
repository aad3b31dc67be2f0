"""Which storage drivers work on a folder here, why others do not, and what would make them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from layerview.drivers.base import Driver
from layerview.drivers.by_name import make_driver
from layerview.drivers.copying import FICLONE
from layerview.drivers.file_systems import file_system
from layerview.drivers.kernel_aufs import has_kernel_aufs
from layerview.drivers.mounts import attach, detach, mount_overlay
from layerview.drivers.namespace import (
    call_in_mount_namespace,
    call_in_user_namespace,
    is_initial,
    namespace_limit,
)
from layerview.drivers.removal import remove_tree
from layerview.errors import LayerviewError
from layerview.records import Record

_CAP_SYS_ADMIN = 21
_FUSE = "/dev/fuse"

_Trial = Callable[[str, str, bool], tuple[str, str] | None]
"""Tries a driver in a scratch folder on a place, in a user namespace or not: what hinders it."""


class Finding(Record):
    """What was found out about a driver."""

    name: str
    works: bool
    default: bool
    """The one that is taken where nothing else is asked for."""
    reason: str
    """Why it works or does not, one line."""
    remedy: str
    """What would make it work; empty when it does."""
    rootless: bool
    """Whether ordinary users can have it on this machine."""
    copy_on_write: str
    """See Driver."""


def probe(root: str) -> list[Finding]:
    """Try every driver on a folder, the best first; nothing is left there.

    Args:
        root: the area; where it is not there yet, the nearest folder above it is tried.
    """
    place = nearest_place(root)
    found = [
        _overlay2(place),
        _aufs(place),
        _vfs(place),
        *planned(place),
    ]
    default = next((finding.name for finding in found if finding.works), "")
    return [
        Finding(
            finding.name,
            finding.works,
            finding.name == default,
            finding.reason,
            finding.remedy,
            finding.rootless,
            finding.copy_on_write,
        )
        for finding in found
    ]


def choose_driver(root: str, wanted: str | None) -> Driver:
    """Return the driver that is asked for, by the call or by LAYERVIEW_DRIVER, else the best.

    Raises:
        UsageError: when there is none of that name.
        LayerviewError: when it does not work here, with the reason and the remedy.
    """
    name = wanted or os.environ.get("LAYERVIEW_DRIVER", "")
    trials = {"overlay2": _overlay2, "aufs": _aufs, "vfs": _vfs}
    if name:
        driver = make_driver(name, root)
        finding = trials[name](nearest_place(root))
        if not finding.works:
            raise LayerviewError(f"driver {name}: {finding.reason}; {finding.remedy}")
        return driver
    findings = []
    for each, trial in trials.items():
        finding = trial(nearest_place(root))
        if finding.works:
            return make_driver(each, root)
        findings.append(finding)
    raise LayerviewError(f"no storage driver works on {root}: {findings[-1].reason}")


def nearest_place(root: str) -> str:
    """Return the nearest folder that is there, and no engine's: nothing is written in those."""
    place = os.path.realpath(root)
    if os.path.lexists(os.path.join(place, "image")) and not os.path.lexists(
        os.path.join(place, "layerview")
    ):
        place = os.path.dirname(place)
    while not os.path.isdir(place) and place != "/":
        place = os.path.dirname(place)
    return place


# --- overlay2 ---


def _overlay2(place: str) -> Finding:
    def finding(works: bool, reason: str, remedy: str, rootless: bool) -> Finding:
        return Finding("overlay2", works, False, reason, remedy, rootless, "file")

    refused = _refused(place)
    if refused is not None:
        return finding(False, *refused, _rootless_overlay(place))
    kind = file_system(place)
    if os.geteuid() != 0:
        problem = _in_namespace(place, _trial)
        if problem is not None:
            return finding(False, *problem, False)
        return finding(True, f"kernel overlayfs in a user namespace, on {kind}", "", True)
    user = not is_initial()
    problem = _alone(place, user, _trial)
    if problem is not None:
        return finding(False, *problem, False)
    how = "kernel overlayfs in a user namespace" if user else "kernel overlayfs"
    return finding(True, f"{how}, on {kind}", "", user or _rootless_overlay(place))


def _rootless_overlay(place: str) -> bool:
    """Whether an ordinary user could have it: what root may find out about that."""
    if not _may_write(place):
        return False
    return namespace_limit() is None and _in_namespace(place, _trial) is None


def _alone(place: str, user: bool, trial: _Trial) -> tuple[str, str] | None:
    """Try a mount as root: it goes with the process that made it, however that ends."""
    try:
        with _scratch(place) as folder:
            return _answer(call_in_mount_namespace(lambda: trial(folder, place, user)))
    except OSError as error:
        return _hindered(error.errno or errno.EIO, place, user)
    except LayerviewError as error:
        return str(error), "use vfs"


def _in_namespace(place: str, trial: _Trial) -> tuple[str, str] | None:
    """Try a mount in a user namespace; return what hinders it, and the remedy."""
    try:
        with _scratch(place) as folder:
            return _answer(call_in_user_namespace(lambda: trial(folder, place, True)))
    except (LayerviewError, OSError) as error:
        reason, _, remedy = str(error).partition("; ")
        return reason, remedy or "be root"


def _answer(found: object) -> tuple[str, str] | None:
    """Take in what a trial in another process found: nothing, or what hinders it."""
    if isinstance(found, list):
        reason, remedy = found
        return str(reason), str(remedy)
    if isinstance(found, int):
        return f"trying it was stopped (status {found})", "try again, or use vfs"
    return None


def _trial(folder: str, place: str, user: bool) -> tuple[str, str] | None:
    """Mount a tiny overlay, delete a file in it, see the whiteout, in a mount namespace."""
    merged = os.path.join(folder, "m")
    try:
        for name in ("a", "b", "u", "w", "m"):
            os.mkdir(os.path.join(folder, name))
        for name in ("a/f", "b/g"):
            with open(os.path.join(folder, name), "w"):
                pass
        os.setxattr(
            os.path.join(folder, "a"),
            "user.overlay.opaque" if user else "trusted.overlay.opaque",
            b"y",
        )
        mount_overlay(folder, ["a", "b"], "u", "w", "m", user=user)
        os.unlink(os.path.join(merged, "f"))
        marked = os.lstat(os.path.join(folder, "u/f"))
        if not stat.S_ISCHR(marked.st_mode) or marked.st_rdev:
            return "overlayfs marks deletions in another way here", "use vfs"
        return None
    except OSError as error:
        return _hindered(error.errno or errno.EIO, place, user)
    finally:
        with suppress(OSError):
            detach(merged)


def _hindered(code: int, place: str, user: bool) -> tuple[str, str]:
    """Say what an error of the trial means, and what would help."""
    kind = file_system(place)
    if code == errno.ENODEV:
        return (
            "this kernel has no overlayfs",
            "modprobe overlay, or use aufs or vfs",
        )
    if code == errno.ENOTSUP:
        return (
            f"{kind} at {place} keeps no extended attributes for overlayfs",
            "put the area on ext4, xfs or btrfs (--root), or use aufs or vfs",
        )
    if code in (errno.EPERM, errno.EACCES):
        if user:
            return (
                "mounting overlayfs in a user namespace is not permitted here",
                "Linux 5.11 or later and a sandbox that allows mount, or be root; or use vfs",
            )
        if not _has_capability(_CAP_SYS_ADMIN):
            return (
                "this root may not mount (it has no CAP_SYS_ADMIN, as in a container)",
                "run the container with --cap-add SYS_ADMIN or --privileged, or use vfs",
            )
        return (
            "mounting is not permitted here (a sandbox's seccomp or security module)",
            "allow mount in the sandbox, or use vfs",
        )
    if code in (errno.EINVAL, errno.ESTALE):
        return (
            f"overlayfs cannot write on {kind} at {place}",
            "put the area on ext4, xfs or btrfs (--root), or use aufs or vfs",
        )
    return (
        f"overlayfs on {kind} at {place}: {os.strerror(code).lower()}",
        "put the area elsewhere (--root), or use aufs or vfs",
    )


def _has_capability(number: int) -> bool:
    with suppress(OSError, ValueError), open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> number & 1)
    return True


# --- aufs ---


def _aufs(place: str) -> Finding:
    def finding(works: bool, reason: str, remedy: str, rootless: bool) -> Finding:
        return Finding("aufs", works, False, reason, remedy, rootless, "file")

    refused = _refused(place)
    if refused is not None:
        return finding(False, *refused, False)
    kind = file_system(place)
    if os.geteuid() != 0:
        problem = _in_namespace(place, _union_trial)
        if problem is not None:
            return finding(False, *problem, False)
        return finding(True, f"layerview's union in a user namespace, on {kind}", "", True)
    if has_kernel_aufs():
        return finding(True, f"the kernel's aufs, on {kind}", "", _rootless_union(place))
    user = not is_initial()
    problem = _alone(place, user, _union_trial)
    if problem is not None:
        return finding(False, *problem, False)
    how = "layerview's union in a user namespace" if user else "layerview's union through FUSE"
    return finding(True, f"{how}, on {kind}", "", user or _rootless_union(place))


def _rootless_union(place: str) -> bool:
    """Whether an ordinary user could have it, for whom the device must be open as well."""
    with suppress(OSError):
        if os.stat(_FUSE).st_mode & 0o006 == 0o006 and namespace_limit() is None:
            return _in_namespace(place, _union_trial) is None
    return False


def _union_trial(folder: str, place: str, user: bool) -> tuple[str, str] | None:
    """Mount a tiny union, delete a file in it, see the whiteout, in a mount namespace."""
    from layerview.unionfs.serve import can_serve, serve

    problem = can_serve()
    if problem is not None:
        reason, _, remedy = problem.partition("; ")
        return reason, f"{remedy}, or use vfs" if remedy else "use vfs"
    merged, top, below = (os.path.join(folder, name) for name in ("m", "u", "a"))
    try:
        for path in (merged, top, below):
            os.mkdir(path)
        with open(os.path.join(below, "f"), "w"):
            pass
        served = serve([top, below])
        try:
            mount_point = os.open(merged, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                attach(served.tree, mount_point)
            finally:
                os.close(mount_point)
        finally:
            os.close(served.tree)
        os.unlink(os.path.join(merged, "f"))
        if not os.path.lexists(os.path.join(top, ".wh.f")):
            return "the union marks no deletions here", "use vfs"
        return None
    except OSError as error:
        why = (error.strerror or "").lower()
        return f"a union of folders on {file_system(place)} at {place}: {why}", "use vfs"
    finally:
        with suppress(OSError):
            detach(merged)


# --- vfs ---


def _vfs(place: str) -> Finding:
    refused = _refused(place)
    works = refused is None
    reason, remedy = refused or (f"full copies, on {file_system(place)}", "")
    if works and _clones(place):
        reason += ", which shares their blocks"
    return Finding("vfs", works, False, reason, remedy, works, "none")


def _clones(place: str) -> bool:
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    with suppress(OSError), ExitStack() as held:
        source, copy = (os.open(place, flags, 0o600) for _ in range(2))
        held.callback(os.close, source)
        held.callback(os.close, copy)
        os.write(source, bytes(8192))
        fcntl.ioctl(copy, FICLONE, source)
        return True
    return False


@contextmanager
def _scratch(place: str) -> Iterator[str]:
    """Make a folder for a trial; it is gone afterwards, whatever became of who used it."""
    folder = os.path.join(place, f".layerview-probe-{os.urandom(6).hex()}")
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        with suppress(OSError, LayerviewError):
            remove_tree(place, os.path.basename(folder))


def _may_write(place: str) -> bool:
    return _refused(place) is None


def _refused(place: str) -> tuple[str, str] | None:
    """Say why nothing can be made in a folder."""
    try:
        with _scratch(place):
            pass
    except OSError as error:
        remedy = {
            errno.EROFS: "mount it writable, or choose another area (--root)",
            errno.ENOSPC: "make room on its disk, or choose another area (--root)",
        }.get(error.errno or 0, "choose an area of your own (--root)")
        return f"{place} cannot be written: {(error.strerror or '').lower()}", remedy
    return None


# --- those to come ---


def planned(place: str) -> list[Finding]:
    """Say what the other drivers of Docker's lack: first of all, layerview's part."""
    checks: list[tuple[str, str, Callable[[], str], str]] = [
        (
            "btrfs",
            "block",
            lambda: "" if file_system(place) == "btrfs" else f"{place} is on {file_system(place)}",
            "a later layerview, and an area on btrfs (--root); use overlay2 or vfs",
        ),
        (
            "zfs",
            "block",
            lambda: "" if os.path.exists("/dev/zfs") else "there is no /dev/zfs",
            "a later layerview, and an area on a ZFS pool; use overlay2 or vfs",
        ),
        (
            "devicemapper",
            "block",
            lambda: (
                "" if os.path.exists("/dev/mapper/control") else "this kernel has no device-mapper"
            ),
            "a later layerview, root, and a kernel with dm-thin-pool; use overlay2 or vfs",
        ),
    ]
    found = []
    for name, copies, lacking, remedy in checks:
        lack = lacking()
        reason = "not bundled yet" + (f", and {lack}" if lack else "")
        found.append(Finding(name, False, False, reason, remedy, False, copies))
    return found
