"""Which OCI runtimes the machine has and whether they work here; layerview's own launcher does."""

from __future__ import annotations

import json
import os
import stat
import struct
from contextlib import suppress

from layerview.containers.plan import Plan, StartError
from layerview.drivers.mounts import mount
from layerview.drivers.namespace import is_initial
from layerview.errors import LayerviewError, UsageError
from layerview.records import Record
from layerview.store.area import is_own

OWN = "layerview"
"""The launcher that needs nothing installed."""
RUNTIMES = ("crun", "runc")

_CACHE = "runtimes.json"
_MAX_CACHE = 1 << 16
_STAGES = ("/mnt", "/srv", "/media", "/tmp")
"""Folders that a trial may cover with an empty one, which nobody else sees."""
_OTHERS = "use another runtime, or layerview's own launcher (leave out --runtime)"


class RuntimeFinding(Record):
    """What was found out about a runtime."""

    name: str
    works: bool
    default: bool
    """The one that is taken where nothing else is asked for."""
    reason: str
    """Why it works or does not, one line."""
    remedy: str
    """What would make it work, or what to do without it; empty when it works."""
    path: str | None
    """The program; None where there is none."""


def probe_runtimes(own: str) -> list[RuntimeFinding]:
    """Say of every runtime whether it works here; layerview's own comes first.

    Args:
        own: the area's corner that is layerview's (it need not be there), which remembers what
            worked for as long as program and boot are the same.
    """
    from layerview.containers.machine import launcher_problem

    problem = launcher_problem()
    reason, remedy = problem or ("it needs nothing installed", "")
    launcher = RuntimeFinding(OWN, problem is None, problem is None, reason, remedy, None)
    return [launcher, *(_find_out(own, name) for name in RUNTIMES)]


def choose_runtime(own: str, wanted: str) -> str:
    """Return the runtime that is asked for, by the call or by LAYERVIEW_RUNTIME, else our own.

    Args:
        own: see `probe_runtimes`.
        wanted: "" where the call asks for none.

    Raises:
        UsageError: when there is none of that name.
        LayerviewError: when it does not work here, with the reason and the remedy.
    """
    name = wanted or os.environ.get("LAYERVIEW_RUNTIME", "") or OWN
    if name == OWN:
        return OWN
    if name not in RUNTIMES:
        known = ", ".join((OWN, *RUNTIMES))
        raise UsageError(f"no runtime is called {name[:40]!r}: {known} are")
    finding = _find_out(own, name)
    if not finding.works:
        raise LayerviewError(f"runtime {name}: {finding.reason}; {finding.remedy}")
    return name


def _find_out(own: str, name: str) -> RuntimeFinding:
    from layerview.containers.by_runtime import find_runtime

    path = find_runtime(name)
    if path is None:
        return RuntimeFinding(
            name, False, False, "not installed", f"install {name}, or do without: {_own()}", None
        )
    key = _key(path)
    if key is None or _remembered(own).get(name) != key:
        from layerview.containers.trials import try_out

        problem = try_out(lambda: _trial(name))
        if problem is not None:
            reason, _, remedy = problem.partition("; ")
            return RuntimeFinding(name, False, False, reason, remedy or _OTHERS, path)
        if key is not None:
            _remember(own, name, key)
    return RuntimeFinding(name, True, False, f"{path} runs containers here", "", path)


def _own() -> str:
    return "layerview's own launcher needs none"


# --- what is remembered ---


def _key(path: str) -> list[object] | None:
    """Return what it depends on whether a runtime works: the program, the boot, and who one is."""
    try:
        state = os.stat(path)
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read(64).strip()
    except OSError:
        return None
    # As who is not root one is tried in a user namespace, in which others come as its root.
    root = os.geteuid() == 0 and is_initial()
    return [path, state.st_mtime_ns, state.st_size, state.st_ino, boot, root]


def _remembered(own: str) -> dict[str, object]:
    with suppress(OSError, ValueError):
        fd = os.open(os.path.join(own, _CACHE), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                found = json.loads(file.read(_MAX_CACHE))
                return found if isinstance(found, dict) else {}
    return {}


def _remember(own: str, name: str, key: list[object]) -> None:
    """Keep that a runtime works, where the area is there, is ours and can be written.

    That one does not is not kept: somebody may see to it.
    """
    beside = os.path.join(own, f"{_CACHE}.{os.getpid()}")
    with suppress(OSError):
        if is_own(own):
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump({**_remembered(own), name: key}, file)
            os.rename(beside, os.path.join(own, _CACHE))


# --- trials ---


def _trial(name: str) -> str | None:
    """Start a program that ends when its input does, look at what it was given, and end it."""
    from layerview.containers.by_runtime import start_by_runtime

    stage = next((folder for folder in _STAGES if os.path.isdir(folder)), None)
    if stage is None:
        return "there is no folder for a trial: none of " + ", ".join(_STAGES)
    mount("tmpfs", stage, "tmpfs")
    root, run = os.path.join(stage, "root"), os.path.join(stage, "run")
    os.mkdir(run)
    for folder in ("", "dev", "proc", "sys"):
        os.mkdir(os.path.join(root, folder), 0o755)
    program = _PROGRAMS.get(os.uname().machine)
    if program is not None:
        with open(os.path.join(root, "program"), "wb") as file:
            os.fchmod(file.fileno(), 0o755)
            file.write(program)
    stdin, feed = os.pipe()
    nothing = os.open("/dev/null", os.O_RDWR)
    plan = Plan(
        id="layerview-trial",
        folder=run,
        run=run,
        mount_id="",
        log="",
        args=("/program",),
        env=(),
        hostname="trial",
        runtime=name,
    )
    try:
        started = start_by_runtime(plan, root, stdin=stdin, stdout=nothing, stderr=nothing)
    except StartError as error:
        # All that a runtime does comes before it looks for the program.
        return None if program is None and error.code == 127 else _explained(str(error))
    problem = _unfit(started.pid)
    os.close(stdin)
    os.close(feed)
    _, status = os.waitpid(started.init, 0)
    if problem is None and status:
        return f"a container ended with {os.waitstatus_to_exitcode(status)} instead of 0"
    return problem


def _unfit(pid: int) -> str | None:
    """Look from outside whether a container is as safe, and as easy to clear up, as our own."""
    with open(f"/proc/{pid}/mountinfo") as lines:
        for line in lines:
            words = line.split()
            if words[4] == "/" and "nodev" not in words[5].split(","):
                return "it leaves device files of an image working"
    with open(f"/proc/{pid}/cgroup") as theirs, open("/proc/self/cgroup") as ours:
        if theirs.read() != ours.read():
            return "it makes cgroups, which nobody would remove"
    return None


def _explained(said: str) -> str:
    """Make the commonest complaints of runtimes plainer."""
    text = said.lower()
    if "seccomp" in text and "not supported" in text:
        return "it was built without seccomp"
    return said


def _program(machine: int, code: str) -> bytes:
    """Build the smallest program file that Linux executes (elf(5)): a header and code."""
    start = 0x400000
    body = bytes.fromhex(code)
    size = 64 + 56 + len(body)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        bytes.fromhex("7f454c46020101"),
        *(2, machine, 1, start + 64 + 56, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 4096) + body


_PROGRAMS = {
    # read(0, stack, 1); exit(what it returned): 0 at the end of the input
    "x86_64": _program(62, "31c031ff4889e6ba010000000f0589c7b83c0000000f05"),
    "aarch64": _program(183, "000080d2e1030091220080d2e80780d2010000d4a80b80d2010000d4"),
}
