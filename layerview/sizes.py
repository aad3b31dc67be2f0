"""How layerview prints a number of bytes: one style everywhere."""

from __future__ import annotations

_SI = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_size(size: int, *, binary: bool = False) -> str:
    """Format bytes with one decimal, as "701 B" or "131.3 MB" (binary: "125.2 MiB")."""
    base, units = (1024, _BINARY) if binary else (1000, _SI)
    if abs(size) < base:
        return f"{size} B"
    value = float(size)
    for unit in units[1:]:
        value /= base
        if abs(value) < base - 0.05 or unit == units[-1]:
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")
