"""Which of the kernel's calls a container has not got: a seccomp filter like Docker's default.

Docker lists what is allowed. Here is what that leaves out and a container without CAP_SYS_ADMIN
could still call: other namespaces and mounts, kernel modules, keys, clocks. They fail with EPERM;
calls that are newer than this list fail with ENOSYS, as on a kernel that has not got them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache

from layerview.containers.calls import prctl

_NEWEST = 466
"""The last call that was looked at (removexattrat)."""

_NEW = 0x7E020000
"""CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET."""
_AF_VSOCK = 40
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)

# Since Linux 5.1 new calls have the same number everywhere: open_tree, move_mount, fsopen,
# fsconfig, fsmount, fspick, io_uring_*, quotactl_fd, mount_setattr, set_mempolicy_home_node,
# pidfd_getfd, process_madvise, statmount, listmount, lsm_*.
_COMMON = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 450, 457, 458)

_DENIED = """
mount umount umount2 pivot_root unshare setns
init_module finit_module delete_module create_module query_module get_kernel_syms
kexec_load kexec_file_load bpf perf_event_open userfaultfd
add_key request_key keyctl open_by_handle_at
swapon swapoff reboot acct quotactl nfsservctl lookup_dcookie _sysctl sysfs ustat uselib
iopl ioperm vm86 vm86old settimeofday clock_settime clock_settime64 stime
syslog vhangup fanotify_init kcmp mbind set_mempolicy get_mempolicy move_pages migrate_pages
sethostname setdomainname
"""
DENIED = tuple(_DENIED.split())
"""Names of calls, in the order of the numbers below."""


class _Calls:
    """An architecture's numbers of the calls that are looked at."""

    def __init__(
        self, audit: int, denied: str, clone: int, personality: int, socket: int, own: range
    ) -> None:
        self.audit = audit
        self.denied = [int(word) for word in denied.split() if word != "-"]
        self.clone, self.personality, self.socket = clone, personality, socket
        self.own = own
        """Calls beyond the newest that only this architecture has."""


# fmt: off
_X86_64 = _Calls(0xC000003E, """
    165 - 166 155 272 308
    175 313 176 174 178 177
    246 320 321 298 323
    248 249 250 304
    167 168 169 163 179 180 212 156 139 136 134
    172 173 - - 164 227 - -
    103 153 300 312 237 238 239 279 256
    170 171""", 56, 135, 41, range(0))
_I386 = _Calls(0x40000003, """
    21 22 52 217 310 346
    128 350 129 127 167 130
    283 - 357 336 374
    286 287 288 342
    87 115 88 51 131 169 253 149 135 62 86
    110 101 166 113 79 264 404 25
    103 111 338 349 274 276 275 317 294
    74 121""", 120, 136, 359, range(0))
_GENERIC = """
    40 - 39 41 97 268
    105 273 106 - - -
    104 294 280 241 282
    217 218 219 265
    224 225 142 89 60 42 18 - - - -
    - - - - 170 112 404 -
    116 58 262 272 235 237 236 239 238
    161 162"""
_AARCH64 = _Calls(0xC00000B7, _GENERIC, 220, 92, 198, range(0))
_RISCV64 = _Calls(0xC00000F3, _GENERIC, 220, 92, 198, range(0))
_ARM = _Calls(0x40000028, """
    21 - 52 218 337 375
    128 379 129 - - -
    347 401 386 364 388
    309 310 311 371
    87 115 88 51 131 169 249 149 135 62 86
    - - - - 79 262 404 -
    103 111 367 378 319 321 320 344 400
    74 121""", 120, 136, 281, range(0xF0000, 0xF1000))
# fmt: on

_MACHINES = {
    "x86_64": (_X86_64, _I386),
    "aarch64": (_AARCH64, _ARM),
    "riscv64": (_RISCV64,),
}

_LOAD, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_FAIL = 0x00050000
_KILL = 0x80000000
_CLONE3 = 435
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
"""Offsets in what a filter looks at; the low half of the first argument (little-endian)."""

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@cache
def program(machine: str) -> bytes | None:
    """Return the filter for a machine (`uname -m`) as BPF, None where its calls are not known."""
    known = _MACHINES.get(machine)
    if known is None:
        return None
    parts = [_step(_LOAD, _ARCHITECTURE)]
    for calls in known:
        block = _block(calls)
        parts += [_step(_EQUAL, calls.audit, 0, len(block)), *block]
    parts.append(_step(_RETURN, _KILL))
    return b"".join(parts)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _block(calls: _Calls) -> list[bytes]:
    """Write one architecture's part: it never falls through to what is behind it."""
    denied = sorted({*calls.denied, *_COMMON})
    ends = [_step(_RETURN, _FAIL | code) for code in (errno.ENOSYS, errno.EPERM)]
    ends.append(_step(_RETURN, _ALLOW))
    no_such, refused, allowed = -3, -2, -1
    # (code, value, where to go on yes and on no); 0 is the next step, ends count from behind.
    steps: list[tuple[int, int, int, int]] = [(_LOAD, _NUMBER, 0, 0)]
    if calls.own:
        steps += [
            (_GREATER, calls.own.stop - 1, no_such, 0),
            (_AT_LEAST, calls.own.start, allowed, 0),
        ]
    steps += [(_GREATER, _NEWEST, no_such, 0), (_EQUAL, _CLONE3, no_such, 0)]
    steps += [(_EQUAL, number, refused, 0) for number in denied]
    steps += [
        (_EQUAL, calls.clone, 0, 2),
        (_LOAD, _FIRST, 0, 0),
        (_ANY_BIT, _NEW, refused, allowed),
    ]
    steps += [
        (_EQUAL, calls.socket, 0, 2),
        (_LOAD, _FIRST, 0, 0),
        (_EQUAL, _AF_VSOCK, refused, allowed),
        (_EQUAL, calls.personality, 0, allowed),
        (_LOAD, _FIRST, 0, 0),
        *((_EQUAL, value, allowed, 0) for value in _PERSONALITIES[:-1]),
        (_EQUAL, _PERSONALITIES[-1], allowed, refused),
    ]
    total = len(steps) + len(ends)

    def distance(at: int, where: int) -> int:
        return where if where >= 0 else total + where - at - 1

    written = [
        _step(code, value, distance(at, yes), distance(at, no))
        for at, (code, value, yes, no) in enumerate(steps)
    ]
    return [*written, *ends]


def install() -> bool:
    """Filter this process's calls and its children's for good; needs CAP_SYS_ADMIN here.

    Returns:
        Whether there is a filter for this machine.

    Raises:
        OSError: as prctl(2) has it.
    """
    code = program(os.uname().machine)
    if code is None:
        return False
    made = _Program(len(code) // 8, code)
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(made))
    return True
