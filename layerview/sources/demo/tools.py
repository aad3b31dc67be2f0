"""The machine's own programs for the demo image, each with the libraries that it needs.

A program is taken whole or not at all: with its loader and every library, found by reading ELF
headers, or it is left out. Places are those of the machine, so that the loader finds in the image
what it finds here; what lies in a real /bin, /sbin, /lib or /lib64 moves below /usr.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from layerview.errors import FormatError
from layerview.sources.demo.elf import Elf, read_elf

PROGRAM_FOLDERS = (
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/current-system/sw/bin",
)
MAX_FILE = 8_000_000
MAX_TOTAL = 22_000_000
MAX_LIBRARIES = 64
MERGED = ("bin", "sbin", "lib", "lib64")

# e_machine -> Go's name of the architecture, and Debian's multiarch folder.
_MACHINES = {
    3: ("386", "i386-linux-gnu"),
    21: ("ppc64le", "powerpc64le-linux-gnu"),
    22: ("s390x", "s390x-linux-gnu"),
    40: ("arm", "arm-linux-gnueabihf"),
    62: ("amd64", "x86_64-linux-gnu"),
    183: ("arm64", "aarch64-linux-gnu"),
    243: ("riscv64", "riscv64-linux-gnu"),
    258: ("loong64", "loongarch64-linux-gnu"),
}


@dataclass(slots=True)
class Toolbox:
    """Programs and libraries of this machine, by the place that they get in the image."""

    files: dict[str, str] = field(default_factory=dict)
    """Place in the image -> real path here."""
    links: dict[str, str] = field(default_factory=dict)
    """Place in the image -> target of the symbolic link there."""
    architecture: str | None = None
    programs: list[str] = field(default_factory=list)
    """Names of the programs that were taken."""
    size: int = 0

    @property
    def folders(self) -> dict[str, str]:
        """The links that merge /bin and its like into /usr, as they are on this machine."""
        found = {}
        for name in MERGED:
            if os.path.islink(f"/{name}"):
                found[name] = os.path.realpath(f"/{name}").lstrip("/")
            elif os.path.isdir(f"/{name}") or name != "lib64":
                found[name] = f"usr/{name}"
        return found


class _Unfit(Exception):
    """A program cannot be taken: something it needs is missing, too large or not readable."""


def locate(name: str) -> str | None:
    """Find a program in the usual folders; None when there is none."""
    for folder in PROGRAM_FOLDERS:
        path = f"{folder}/{name}"
        if os.path.isfile(path) and os.access(path, os.R_OK | os.X_OK):
            return path
    return None


def gather(names: Iterable[str]) -> Toolbox:
    """Take the named programs, as far as they fit; empty when there is no usable shell.

    Args:
        names: programs, the most useful first; `sh` is one that must be there.
    """
    box = Toolbox()
    for name in ["sh", *names]:
        path = locate(name)
        if path is None:
            continue
        try:
            _take(box, name, path)
        except (_Unfit, FormatError, OSError):
            if name == "sh":
                break
    return box if "sh" in box.programs else Toolbox()


def _take(box: Toolbox, name: str, path: str) -> None:
    wanted = _closure(path)
    machine = wanted[path].machine
    architecture = _MACHINES[machine][0] if machine in _MACHINES else None
    if architecture is None or box.architecture not in (None, architecture):
        raise _Unfit
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    size = box.size
    for found in wanted:
        real = os.path.realpath(found)
        home = _place(real)
        _link_folder(links, os.path.dirname(found))
        at = _place(os.path.join(os.path.realpath(os.path.dirname(found)), os.path.basename(found)))
        if at != home:
            links[at] = os.path.relpath(home, os.path.dirname(at))
        if home not in box.files and home not in files:
            status = os.stat(real)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
                raise _Unfit
            size += status.st_size
            files[home] = real
    if size > MAX_TOTAL:
        raise _Unfit
    box.files |= files
    box.links |= {at: to for at, to in links.items() if at not in box.files}
    box.architecture, box.size = architecture, size
    box.programs.append(name)


def _closure(program: str) -> dict[str, Elf]:
    """The program, its loader and its libraries, by the paths under which they are found."""
    found: dict[str, Elf] = {program: _elf(program)}
    waiting = [program]
    loader = found[program].interpreter
    if loader is not None:
        found[loader] = _elf(loader)
        waiting.append(loader)
    sonames = {os.path.basename(path) for path in found}
    while waiting:
        asking = waiting.pop()
        for soname in found[asking].needed:
            if soname in sonames:
                continue
            sonames.add(soname)
            library = _library(soname, asking, found[asking], loader)
            found[library] = _elf(library)
            waiting.append(library)
            if len(found) > MAX_LIBRARIES:
                raise _Unfit
    return found


def _elf(path: str) -> Elf:
    elf = read_elf(path)
    if elf is None:
        raise _Unfit
    return elf


def _library(soname: str, asking: str, elf: Elf, loader: str | None) -> str:
    """Find a library where the loader would look for it, without its cache."""
    if "/" in soname:
        raise _Unfit
    origin = os.path.dirname(os.path.realpath(asking))
    folders = [
        folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for folder in elf.search
    ]
    triplet = _MACHINES.get(elf.machine, ("", ""))[1]
    folders += [f"/lib/{triplet}", f"/usr/lib/{triplet}"]
    folders += ["/lib64", "/usr/lib64"] if elf.bits == 64 else []
    folders += ["/lib", "/usr/lib"]
    if loader is not None:
        folders.append(os.path.dirname(os.path.realpath(loader)))
    for folder in folders:
        path = os.path.normpath(f"{folder}/{soname}")
        if os.path.isabs(path) and os.path.isfile(path):
            other = read_elf(path)
            if other is not None and (other.bits, other.machine) == (elf.bits, elf.machine):
                return path
    raise _Unfit


def _place(path: str) -> str:
    """Where a real path of this machine lies in the image."""
    place = path.lstrip("/")
    first = place.partition("/")[0]
    if first in MERGED and not os.path.islink(f"/{first}"):
        return f"usr/{place}"
    return place


def _link_folder(links: dict[str, str], folder: str) -> None:
    """Keep a link that stands for a folder on the way, other than those that merge into /usr."""
    head, slash, rest = folder.lstrip("/").partition("/")
    merged = os.path.realpath(f"/{head}") if head in MERGED else f"/{head}"
    at, home = _place(merged + slash + rest), _place(os.path.realpath(folder))
    if at != home:
        links[at] = os.path.relpath(home, os.path.dirname(at))
