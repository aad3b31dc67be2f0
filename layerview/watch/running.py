"""A container's first process, and the overlayfs that it has for its root, as /proc tells them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import NamedTuple

from layerview.store.liveness import start_time

_MOST = 1 << 20
"""Bytes of a file in /proc that are read."""
_OCTAL = re.compile(r"\\([0-7]{3})")


class OverlayMount(NamedTuple):
    """What an overlayfs was mounted with."""

    lowers: tuple[str, ...]
    """The layers below, the nearest first."""
    upper: str
    work: str
    user: bool
    """Whether its marks are `user.overlay.*` and not `trusted.overlay.*`."""


def first_process(id: str, said: int | None = None) -> int | None:
    """Find a container's first process; None where there is none, or it can't be told.

    Args:
        id: the container's.
        said: the process that an engine names, as it counts: it may do so in a PID namespace.
    """
    if said and _belongs(said, id):
        return said
    found: list[tuple[bool, int, int]] = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and id.encode() in _read(f"/proc/{name}/cgroup"):
            began = start_time(int(name))
            if began is not None:
                found.append((not _is_first(int(name)), began, int(name)))
    return min(found)[2] if found else None


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    return start_time(pid) is not None


def _belongs(pid: int, id: str) -> bool:
    # Where there are no control groups of one's own, files of the container are mounted in it.
    names = (f"/proc/{pid}/cgroup", f"/proc/{pid}/mountinfo")
    return is_alive(pid) and any(id.encode() in _read(name) for name in names)


def _is_first(pid: int) -> bool:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"NSpid:"):
            return line.split()[-1] == b"1"
    return False


def _read(path: str) -> bytes:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(_MOST)
    return b""


def root_mount(pid: int) -> OverlayMount | None:
    """Return the overlayfs that a process has for its root; None where it is none.

    Raises:
        OSError: when that may not be looked at.
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        text = file.read(_MOST).decode("utf-8", "surrogateescape")
    found = None
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) > 6 and words[4] == "/" and "-" in words[6:]:
            kind, _, options = words[words.index("-", 6) + 1 :][:3]
            # What was mounted last lies on top.
            found = parse_options(options) if kind == "overlay" else None
    return found


def parse_options(text: str) -> OverlayMount | None:
    """Read an overlayfs's options as /proc shows them, its names as they were given.

    A relative name counts from where the mounting process stood: see `absolute`.
    """
    lowers: list[str] = []
    named: dict[str, str] = {}
    for option in text.split(","):
        name, _, raw = option.partition("=")
        value = _OCTAL.sub(lambda match: chr(int(match[1], 8)), raw)
        if name == "lowerdir":
            lowers += _split(value)
        elif name == "lowerdir+":
            lowers.append(value)
        else:
            named[name] = value
    if "upperdir" not in named:
        return None
    return OverlayMount(
        tuple(lowers), named["upperdir"], named.get("workdir", ""), "userxattr" in named
    )


def _split(text: str) -> list[str]:
    """Split `lowerdir`, in which a colon of a name has a backslash before it."""
    pieces = re.findall(r"(?:[^:\\]|\\.)+", text, re.DOTALL)
    return [re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL) for piece in pieces]


def absolute(mount: OverlayMount) -> OverlayMount | None:
    """Resolve the relative names of layers by where the upper one lies; None where that fails."""
    if all(os.path.isabs(name) for name in mount.lowers):
        return mount
    place = mount.upper
    while place not in ("", "/"):
        place = os.path.dirname(place)
        found = tuple(os.path.normpath(os.path.join(place, name)) for name in mount.lowers)
        if all(map(os.path.isdir, found)):
            return mount._replace(lowers=found)
    return None
