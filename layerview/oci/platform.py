"""Platforms: what an image runs on, spelled and matched as Docker does (containerd/platforms)."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from layerview.errors import FormatError
from layerview.oci.fields import Fields
from layerview.text import printable

_UNKNOWN = "unknown"

_OS = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?")
_PART = re.compile(r"[A-Za-z0-9_.-]+")
_VERSION = re.compile(r"v?([0-9])(?:\.([0-9]))?")

_OS_ALIASES = {"macos": "darwin"}
# Alias, its architecture, and the variant it stands for (None: whatever was given).
_ARCHITECTURE_ALIASES: dict[str, tuple[str, str | None]] = {
    "i386": ("386", ""),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
# How kernels name what the aliases above do not cover.
_MACHINES = {
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "armv5tel": "arm/v5",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
    "loongarch64": "loong64",
}
# Where one word is given, it is told apart by these; the names are Go's GOOS and GOARCH.
# fmt: off
_KNOWN_OS = frozenset((
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
    "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos",
))
_KNOWN_ARCHITECTURES = frozenset((
    "386", "amd64", "amd64p32", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64",
    "mips64le", "mips64p32", "mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv",
    "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
))
# fmt: on


class Platform(NamedTuple):
    """An operating system and an architecture (image-spec, image-index.md, "platform")."""

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse `os[(version)]`, `architecture` or `os[(version)]/architecture[/variant]`.

        What is left out is this machine's architecture, and "linux".

        Raises:
            FormatError: the text names no platform.
        """
        first, *rest = text.split("/", 3)
        match = _OS.fullmatch(first)
        if match is None or len(rest) > 2 or not all(_PART.fullmatch(part) for part in rest):
            raise _not_a_platform(text)
        system = _normal_os(match[1])
        version = match[2] or None
        if not rest:
            if system in _KNOWN_OS:
                return cls.host()._replace(os=system, os_version=version)
            if version is not None or _normal_architecture(first, None)[0] not in (
                _KNOWN_ARCHITECTURES
            ):
                raise _not_a_platform(text)
            system, rest = "linux", [first]
        given = rest[1] if len(rest) == 2 else None
        architecture, variant = _normal_architecture(rest[0], given)
        if architecture == "arm64" and given is not None:
            variant = variant or "v8"
        if architecture == "arm" and given is None and variant == "v7":
            variant = None
        return cls(system, architecture, variant, version)

    @classmethod
    def host(cls) -> Platform:
        """Return the platform whose images this machine runs: Linux on its architecture."""
        machine = os.uname().machine
        name, _, variant = _MACHINES.get(machine, machine).partition("/")
        architecture, normal = _normal_architecture(name, variant or None)
        return cls("linux", architecture, normal)

    @classmethod
    def from_json(cls, value: object, document: str = "platform") -> Platform:
        """Read the platform object of a descriptor.

        Raises:
            FormatError: a field is missing or has a wrong type.
        """
        return cls.from_fields(Fields(value, document))

    @classmethod
    def from_fields(cls, fields: Fields) -> Platform:
        """Read a platform inside a larger document."""
        return cls(
            os=fields.text("os"),
            architecture=fields.text("architecture"),
            variant=fields.optional_text("variant") or None,
            os_version=fields.optional_text("os.version") or None,
        )

    @property
    def is_unknown(self) -> bool:
        """Whether this is `unknown/unknown`, which marks manifests that are no images."""
        return self.os == self.architecture == _UNKNOWN

    def normalised(self) -> Platform:
        """Return the one spelling of this platform: `arm64/v8` is `arm64`, `arm` is `arm/v7`."""
        architecture, variant = _normal_architecture(self.architecture, self.variant)
        return Platform(_normal_os(self.os), architecture, variant, self.os_version)

    def matches(self, other: Platform) -> bool:
        """Tell whether both are the same platform, however spelled.

        A version of the operating system counts where both have one, up to its third number
        (the build of Windows).
        """
        mine, theirs = self.normalised(), other.normalised()
        if mine._replace(os_version=None) != theirs._replace(os_version=None):
            return False
        if mine.os_version is None or theirs.os_version is None:
            return True
        return mine.os_version.split(".")[:3] == theirs.os_version.split(".")[:3]

    def fallbacks(self) -> list[Platform]:
        """Return the platforms whose images run on this one, itself and then the nearest first.

        `arm/v7` runs `arm/v6` and `arm/v5`, `amd64/v3` runs `amd64/v2`, `amd64` and `386`,
        `arm64` runs `arm/v8` and below.
        """
        platform = self.normalised()
        below: list[tuple[str, str | None]] = []
        version = _VERSION.fullmatch(platform.variant or "v8")
        if platform.architecture == "arm64":
            if version:
                major, minor = int(version[1]), int(version[2] or 0)
                if major == 9:
                    below += [("arm64", _arm64_variant(9, step)) for step in _down(minor)]
                    # Armv9.x is Armv8.(x+5) and more.
                    major, minor = 8, minor + 6
                if major == 8:
                    below += [("arm64", _arm64_variant(8, step)) for step in _down(minor)]
            below += [("arm", f"v{step}") for step in (8, 7, 6, 5)]
        elif platform.architecture == "arm" and version:
            below += [("arm", f"v{step}") for step in range(int(version[1]) - 1, 4, -1)]
        elif platform.architecture == "amd64":
            if platform.variant and version:
                steps = range(int(version[1]) - 1, 0, -1)
                below += [("amd64", f"v{step}" if step > 1 else None) for step in steps]
            below.append(("386", None))
        return [
            platform,
            *(
                Platform(platform.os, architecture, variant, platform.os_version)
                for architecture, variant in below
            ),
        ]

    def __str__(self) -> str:
        if not self.os:
            return _UNKNOWN
        system = f"{self.os}({self.os_version})" if self.os_version else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


def _normal_os(name: str) -> str:
    lower = name.lower()
    return _OS_ALIASES.get(lower, lower)


def _normal_architecture(name: str, variant: str | None) -> tuple[str, str | None]:
    lower = name.lower()
    architecture, implied = _ARCHITECTURE_ALIASES.get(lower, (lower, None))
    level = (variant or "").lower() if implied is None else implied
    if (architecture, level) in (("amd64", "v1"), ("arm64", "8"), ("arm64", "v8")):
        level = ""
    elif architecture == "arm" and not level:
        level = "v7"
    elif architecture == "arm" and level in ("5", "6", "7", "8"):
        level = f"v{level}"
    return architecture, level or None


def _arm64_variant(major: int, minor: int) -> str | None:
    if minor:
        return f"v{major}.{minor}"
    return None if major == 8 else f"v{major}"


def _down(minor: int) -> range:
    return range(minor - 1, -1, -1)


def _not_a_platform(text: str) -> FormatError:
    return FormatError(f'"{printable(text[:80])}" is not a platform such as "linux/arm64"')
