"""From a plan to the config.json that OCI runtimes take (runtime-spec 1.0.2)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from layerview.containers.plan import Plan
from layerview.containers.rootfs import DEVICES, MASKED, READ_ONLY
from layerview.containers.seccomp import DENIED

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""Those that Docker leaves a container (moby, oci/caps/defaults.go): privileges.KEPT by name."""

TTY_GROUP = 5
_NEW_CALLS = (
    *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "quotactl_fd"),
    *("pidfd_getfd", "process_madvise", "set_mempolicy_home_node", "statmount", "listmount"),
)
"""seccomp's calls whose numbers are everywhere the same."""
_NAMESPACES = (1 << 17, *(1 << bit for bit in range(25, 31)))
"""CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET."""
_AF_VSOCK = 40
_EPERM, _ENOSYS = 1, 38
_KEPT = {
    os.ST_RDONLY: "ro",
    os.ST_NOSUID: "nosuid",
    os.ST_NODEV: "nodev",
    os.ST_NOEXEC: "noexec",
    os.ST_NOATIME: "noatime",
    os.ST_NODIRATIME: "nodiratime",
    os.ST_RELATIME: "relatime",
}


class Place(NamedTuple):
    """What of the process that starts a container matters to its config."""

    root: str
    """Where the container's tree is mounted."""
    sources: Sequence[str]
    """Where the plan's binds are mounted for the runtime, in their order; "" for a tmpfs."""
    user_namespace: bool
    """Whether this is no root of the machine, but of a user namespace."""
    tty_group: bool
    """Whether TTY_GROUP is mapped here."""
    open_files: tuple[int, int]
    """RLIMIT_NOFILE, soft and hard: runtimes in Go raise their own."""


def config(
    plan: Plan,
    place: Place,
    *,
    uid: int,
    gid: int,
    groups: Sequence[int],
    env: Mapping[str, str],
) -> dict[str, object]:
    """Return the config of a container.

    There are no cgroups, so none that keeps devices away: instead no file system that the
    container can write has working device nodes.

    Args:
        plan: what is started.
        place: where.
        uid: of the first process.
        gid: of the first process.
        groups: its supplementary groups.
        env: its environment, complete.
    """
    soft, hard = place.open_files
    process: dict[str, object] = {
        "terminal": plan.tty,
        "user": {"uid": uid, "gid": gid, "additionalGids": list(groups)},
        "args": list(plan.args),
        "env": [f"{key}={value}" for key, value in env.items()],
        "cwd": plan.cwd or "/",
        "capabilities": _capabilities(uid),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}],
        "noNewPrivileges": False,
    }
    if plan.tty and plan.rows and plan.columns:
        process["consoleSize"] = {"height": plan.rows, "width": plan.columns}
    kinds = ["pid", "ipc", "uts", "mount"]
    if plan.network != "host":
        kinds.append("network")
    if os.path.exists("/proc/self/ns/cgroup"):
        kinds.append("cgroup")
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": place.root, "readonly": False},
        "hostname": plan.hostname,
        "mounts": _mounts(plan, place),
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": [f"/{path}" for path in MASKED],
            "readonlyPaths": [f"/{path}" for path in READ_ONLY],
            "rootfsPropagation": "rslave",
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": _denied()},
        },
    }


def _capabilities(uid: int) -> dict[str, list[str]]:
    """Root's; other users get them by executing a file that gives them, as in Docker."""
    every = list(CAPABILITIES)
    own = every if uid == 0 else []
    return {
        "bounding": every,
        "permitted": own,
        "effective": own,
        "inheritable": [],
        "ambient": [],
    }


def _denied() -> list[dict[str, object]]:
    """Return the rules of the launcher's own filter, but for personality(2)'s many arguments."""

    def rule(names: Sequence[str], code: int, args: Sequence[object] = ()) -> dict[str, object]:
        found: dict[str, object] = {"names": list(names), "action": "SCMP_ACT_ERRNO"}
        found["errnoRet"] = code
        if args:
            found["args"] = list(args)
        return found

    def equal(value: int) -> dict[str, object]:
        return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}

    def has(bit: int) -> dict[str, object]:
        return {"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}

    return [
        rule([*DENIED, *_NEW_CALLS], _EPERM),
        *(rule(["clone"], _EPERM, [has(bit)]) for bit in _NAMESPACES),
        rule(["clone3"], _ENOSYS),
        rule(["socket"], _EPERM, [equal(_AF_VSOCK)]),
    ]


# --- mounts ---


def _mounts(plan: Plan, place: Place) -> list[dict[str, object]]:
    guarded = ["nosuid", "noexec", "nodev"]
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if place.tty_group:
        terminals.append(f"gid={TTY_GROUP}")
    dev = ["nosuid", "nodev", "strictatime", "mode=755", "size=65536k"]
    found = [
        _mount("/proc", "proc", "proc", guarded),
        _mount("/dev", "tmpfs", "tmpfs", dev),
        _mount("/dev/pts", "devpts", "devpts", terminals),
        _mount("/dev/mqueue", "mqueue", "mqueue", guarded),
        _mount("/dev/shm", "tmpfs", "shm", [*guarded, "mode=1777", "size=65536k"]),
    ]
    if plan.runtime == "crun":
        # It makes a mount of the root without the flags that this had.
        found.insert(0, _bound("/.", place.root, ["bind", "remount", "nodev"], place))
    if place.user_namespace and plan.network == "host":
        # A sysfs of one's own needs a network of one's own.
        found.append(_bound("/sys", "/sys", ["rbind", "ro", *guarded], place))
        if os.path.isdir("/sys/fs/cgroup"):
            found.append(_mount("/sys/fs/cgroup", "tmpfs", "tmpfs", ["ro", *guarded, "size=4k"]))
    else:
        found.append(_mount("/sys", "sysfs", "sysfs", ["ro", *guarded]))
    if not place.user_namespace:
        # In one, runtimes bind these themselves; elsewhere they would make nodes, to no effect.
        # Read-only keeps the machine's own nodes from a chmod, and no device from being written.
        found += [
            _mount(f"/dev/{name}", "bind", f"/dev/{name}", ["bind", "ro", "nosuid"])
            for name in DEVICES
            if os.path.exists(f"/dev/{name}")
        ]
    for bind, source in zip(plan.binds, place.sources, strict=True):
        access = "ro" if bind.read_only else "rw"
        if bind.kind == "tmpfs":
            found.append(_mount(bind.target, "tmpfs", "tmpfs", [*guarded, access]))
        else:
            options = ["rbind", access, "nodev"]
            found.append(_bound(bind.target, source, options, place, like=bind.source))
    return found


def _bound(
    target: str, source: str, options: list[str], place: Place, *, like: str = ""
) -> dict[str, object]:
    if place.user_namespace:
        # What the machine's own mount has set can't be taken off in a user namespace.
        flags = os.statvfs(like or source).f_flag
        kept = [word for flag, word in _KEPT.items() if flags & flag and word not in options]
        options = [*(word for word in options if not (word == "rw" and "ro" in kept)), *kept]
    return _mount(target, "bind", source, options)


def _mount(target: str, kind: str, source: str, options: Sequence[str]) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}
