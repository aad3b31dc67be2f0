"""Names that AUFS keeps for itself in a branch, and those that a file may not get."""

from __future__ import annotations

import errno
import os

from layerview.layer.names import OPAQUE_MARKER, WHITEOUT_PREFIX

WORK = b".wh..wh.orph"
"""In the top branch's root: what is not in its place yet, or no more."""
RECORDS = b".wh..wh.numbers"
"""In the top branch's root, while nothing serves the union: see records.py."""
LONGEST = 255 - len(WHITEOUT_PREFIX)
"""Bytes of the longest name that is made: a whiteout of it must fit into a name as well."""

__all__ = [
    "LONGEST",
    "OPAQUE_MARKER",
    "RECORDS",
    "WHITEOUT_PREFIX",
    "WORK",
    "check_new",
    "failure",
]


def failure(code: int, name: bytes | str | None = None) -> OSError:
    """Return the error of a number."""
    if name is None:
        return OSError(code, os.strerror(code))
    return OSError(code, os.strerror(code), os.fsdecode(name))


def check_new(name: bytes) -> None:
    """Refuse a name that nothing may get.

    Raises:
        OSError: EPERM for `.wh.` names, ENAMETOOLONG, EINVAL for what is no name.
    """
    if name.startswith(WHITEOUT_PREFIX):
        raise failure(errno.EPERM, name)
    if len(name) > LONGEST:
        raise failure(errno.ENAMETOOLONG, name)
    if not name or b"/" in name or b"\0" in name:
        raise failure(errno.EINVAL, name)
    if name in (b".", b".."):
        raise failure(errno.EEXIST, name)
