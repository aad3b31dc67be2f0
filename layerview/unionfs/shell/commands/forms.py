"""How modes, sizes and times are printed."""

from __future__ import annotations

import stat
import time

from layerview.unionfs.union import Attributes

_UNITS = "KMGTPE"


def mode_text(mode: int) -> str:
    """Return a mode as `ls -l` shows it."""
    return stat.filemode(mode)


def human(size: int) -> str:
    """Return bytes as busybox's -h shows them: 1023, 1.0K, 12.5M."""
    if size < 1024:
        return str(size)
    value, tenths, unit = size, 0, -1
    while value >= 1024 and unit + 1 < len(_UNITS):
        unit += 1
        tenths = (value % 1024 * 10 + 512) // 1024
        value //= 1024
    if tenths >= 10:
        value, tenths = value + 1, 0
    return f"{value}.{tenths}{_UNITS[unit]}"


def list_time(ns: int, now_ns: int) -> str:
    """Return a time as `ls -l` shows it: with the year where it is half a year ago, or to come."""
    age = (now_ns - ns) // 10**9
    when = time.localtime(ns // 10**9)
    months = "JanFebMarAprMayJunJulAugSepOctNovDec"
    month = months[when.tm_mon * 3 - 3 : when.tm_mon * 3]
    if age > 3600 * 24 * 365 // 2 or age < -15 * 60:
        return f"{month} {when.tm_mday:2} {when.tm_year:5}"
    return f"{month} {when.tm_mday:2} {when.tm_hour:02}:{when.tm_min:02}"


def full_time(ns: int) -> str:
    """Return a time as `stat` shows it."""
    seconds, rest = divmod(ns, 10**9)
    when = time.localtime(seconds)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', when)}.{rest:09} {time.strftime('%z', when)}"


def kind(attributes: Attributes) -> str:
    """Return what kind of file it is, as `stat` says."""
    names = {
        stat.S_IFREG: "regular file" if attributes.size else "regular empty file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symbolic link",
        stat.S_IFCHR: "character special file",
        stat.S_IFBLK: "block special file",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
    }
    return names.get(stat.S_IFMT(attributes.mode), "weird file")
