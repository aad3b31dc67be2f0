"""What a container's processes may ask of the kernel: capabilities, and the filter of calls."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from layerview.containers import seccomp
from layerview.containers.privileges import KEPT
from layerview.drivers.namespace import mapped_owners
from tests.containers.starting import Lab

ROOT = Path(__file__).resolve().parents[2]
DOCKERS = 0xA80425FB
"""The capabilities of a container of Docker's, as /proc/self/status shows them."""
NOTHING = "0" * 16


def status(area: Lab, **more: str) -> dict[str, str]:
    ended = area.run("cat", "/proc/self/status", **more)
    return dict(re.findall(r"^(\w+):\s+(.*)$", ended.out, re.M))


def test_root_has_dockers_capabilities(area: Lab) -> None:
    assert sum(1 << number for number in KEPT) == DOCKERS
    found = status(area)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(found[name], 16) == DOCKERS
    assert found["CapInh"] == found["CapAmb"] == NOTHING
    assert found["NoNewPrivs"] == "0"
    assert found["Seccomp"] == "2"


def test_other_users_have_none_but_may_get_them(area: Lab) -> None:
    owners = mapped_owners()
    if owners is not None and owners.ids(1000, 1001) is None:
        pytest.skip("user 1000 has no ID here")
    found = status(area, user="joe")
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert found[name] == NOTHING
    assert int(found["CapBnd"], 16) == DOCKERS
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4


# The filter.


def headers(machine: str) -> dict[str, int]:
    """Return the numbers of an architecture's calls, as the kernel's headers have them."""
    place = {
        "x86_64": "x86_64-linux-gnu/asm/unistd_64.h",
        "i386": "x86_64-linux-gnu/asm/unistd_32.h",
        "generic": "asm-generic/unistd.h",
    }[machine]
    try:
        text = (Path("/usr/include") / place).read_text()
    except FileNotFoundError:
        pytest.skip(f"there is no {place} (linux-libc-dev)")
    return {
        name: int(number)
        for name, number in re.findall(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\b", text)
    }


ARCHITECTURES = {
    # machine of the filter, architecture in the call, where its numbers are
    "x86_64": ("x86_64", 0xC000003E, "x86_64"),
    "i386": ("x86_64", 0x40000003, "i386"),
    "aarch64": ("aarch64", 0xC00000B7, "generic"),
    "riscv64": ("riscv64", 0xC00000F3, "generic"),
}
ALLOW, KILL = "allow", "kill"


def decide(machine: str, audit: int, number: int, *arguments: int) -> str | int:
    """Run the filter, as the kernel does, on a call; return what becomes of it."""
    program = seccomp.program(machine)
    assert program is not None
    data = struct.pack("=IIQ", number, audit, 0)
    data += struct.pack("=6Q", *arguments, *[0] * (6 - len(arguments)))
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = value = 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                value = struct.unpack_from("=I", data, operand)[0]
            case 0x15:
                at += yes if value == operand else no
            case 0x25:
                at += yes if value > operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x45:
                at += yes if value & operand else no
            case 0x06:
                if operand == 0x7FFF0000:
                    return ALLOW
                return KILL if operand == 0x80000000 else operand & 0xFFFF
            case _:
                raise AssertionError(hex(code))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_call_is_decided_as_the_list_says(name: str) -> None:
    machine, audit, where = ARCHITECTURES[name]
    numbers = headers(where)
    new = {
        *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
        *("io_uring_setup", "io_uring_enter", "io_uring_register", "pidfd_getfd"),
        *("process_madvise", "quotactl_fd", "set_mempolicy_home_node"),
    }
    denied = {numbers[call] for call in (*seccomp.DENIED, *new) if call in numbers}
    assert len(denied) > 40
    special = {numbers["clone"], numbers["clone3"], numbers["personality"], numbers["socket"]}
    for call, number in numbers.items():
        if number not in special and number <= 450:
            wanted = errno.EPERM if number in denied else ALLOW
            assert decide(machine, audit, number) == wanted, call
    assert decide(machine, audit, numbers["clone3"]) == errno.ENOSYS
    assert decide(machine, audit, numbers["clone"], 0x1200011) == ALLOW
    for flag in (17, 25, 26, 27, 28, 29, 30):
        assert decide(machine, audit, numbers["clone"], 1 << flag | 17) == errno.EPERM
    assert decide(machine, audit, numbers["socket"], 1) == ALLOW
    assert decide(machine, audit, numbers["socket"], 40) == errno.EPERM
    for personality in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert decide(machine, audit, numbers["personality"], personality) == ALLOW
    # ADDR_NO_RANDOMIZE
    assert decide(machine, audit, numbers["personality"], 0x40000) == errno.EPERM
    for number in (467, 999, 0x40000000 | 165, 0xFFFFFFFF):
        assert decide(machine, audit, number) == errno.ENOSYS


def test_arms_own_calls_are_allowed() -> None:
    audit = 0x40000028
    assert decide("aarch64", audit, 0xF0002) == ALLOW
    assert decide("aarch64", audit, 0xF0005) == ALLOW
    assert decide("aarch64", audit, 0xF1000) == errno.ENOSYS
    assert decide("aarch64", audit, 21) == errno.EPERM
    assert decide("aarch64", audit, 337) == errno.EPERM
    assert decide("aarch64", audit, 4) == ALLOW


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_an_architecture_that_is_not_the_machines_is_none(machine: str) -> None:
    assert decide(machine, 0x80000016, 1) == KILL


def test_a_machine_that_is_not_known_has_no_filter() -> None:
    assert seccomp.program("sparc") is None


CALLS = """
import ctypes, errno, json, os, sys
from layerview.containers.calls import prctl
from layerview.containers.seccomp import install
libc = ctypes.CDLL(None, use_errno=True)
prctl(38, 1)
assert install()
def call(number, *words):
    result = libc.syscall(number, *map(ctypes.c_long, words))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "done"
unshare, keyctl, bpf, getpid = json.loads(sys.argv[1])
print(json.dumps([
    call(unshare, 0x10000000), call(keyctl, 0, -3, 0), call(bpf, 0, 0, 0), call(435, 0, 0),
    call(777), call(getpid), os.waitstatus_to_exitcode(os.system("true")),
]))
"""


def test_the_kernel_keeps_to_it() -> None:
    numbers = {"x86_64": (272, 250, 321, 39), "aarch64": (97, 219, 280, 172)}
    if os.uname().machine not in numbers:
        pytest.skip("the numbers of this machine's calls are not known here")
    words = json.dumps(numbers[os.uname().machine])
    done = subprocess.run(
        [sys.executable, "-c", CALLS, words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said == ["EPERM", "EPERM", "EPERM", "ENOSYS", "ENOSYS", "done", 0]


def test_threads_and_children_can_be_had(own: Lab) -> None:
    """The C library does without clone3, as it does on older kernels."""
    ended = own.sh("(echo a & wait); echo b | cat; busybox timeout 5 true && echo c")
    assert ended.out.split() == ["a", "b", "c"]


def test_there_is_no_word_longer_than_the_kernel_takes() -> None:
    assert ctypes.sizeof(ctypes.c_long) in (4, 8)
    for machine in ("x86_64", "aarch64", "riscv64"):
        program = seccomp.program(machine)
        assert program is not None
        assert len(program) // 8 <= 4096
