"""Owner, mode, extended attributes and time of an entry, given to what was made of it on disk.

Order: owner first, for it clears setuid bits and capabilities (chown(2)); then extended
attributes, the mode, and the time last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from layerview.layer.index import LayerIndex
from layerview.layer.kinds import Kind
from layerview.text import printable

_UNSETTABLE = 0xFFFFFFFF
"""As an owner, chown(2) takes it for "leave it as it is"."""
_SET_IDS = 0o6000
_CAPABILITY = b"security.capability"
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an entry says of itself beside its content."""

    mode: int = 0o755
    """Permission bits, setuid, setgid and sticky included."""
    uid: int = 0
    gid: int = 0
    mtime: int | None = None
    """Nanoseconds since 1970; None when none is recorded."""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, index: LayerIndex, row: int) -> Attributes:
        """Read a row's attributes; those of a folder that no entry names are the usual ones."""
        if index.kinds[row] == Kind.IMPLIED_DIR:
            return cls()
        return cls(
            index.modes[row],
            index.uids[row],
            index.gids[row],
            nanoseconds(index.mtimes[row], index.fraction(row)),
            index.xattrs.get(row, {}),
        )


def nanoseconds(seconds: int, fraction: int) -> int:
    """Return a recorded time in nanoseconds (`fraction` as IndexColumns.fractions has it)."""
    return seconds * 1_000_000_000 + (fraction >> 4)


class AttributeSetter:
    """Gives attributes to entries, as far as this user may."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """Prepare.

        Args:
            say: told what could not be kept of an entry, and why.
        """
        self._say = say
        self._root = os.geteuid() == 0

    def apply(self, fd: int, kind: int, attributes: Attributes) -> None:
        """Give an entry its attributes.

        Args:
            fd: of the entry itself; opened with O_PATH where it is no file or folder.
            kind: a `Kind`.
            attributes: which.

        Raises:
            OSError: when a mode or time can't be set.
        """
        # What O_PATH gives can only be named through /proc: still this very entry, whatever
        # has its name by now.
        where: int | str = fd
        if kind not in (Kind.FILE, Kind.DIR, Kind.IMPLIED_DIR):
            where = f"/proc/self/fd/{fd}"
        owned = self._own(where, attributes)
        for name, value in attributes.xattrs.items():
            self._set_xattr(where, name, value, owned)
        if kind != Kind.SYMLINK:
            mode = attributes.mode
            if mode & _SET_IDS and not owned:
                mode &= ~_SET_IDS
                self._say("setuid and setgid are dropped, for its owner can't be kept")
            os.chmod(where, mode)
        if attributes.mtime is not None:
            try:
                os.utime(where, ns=(attributes.mtime, attributes.mtime))
            except (OverflowError, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EINVAL:
                    raise
                self._say("its time can't be kept")

    def _own(self, where: int | str, attributes: Attributes) -> bool:
        if not self._root:
            return False
        if _UNSETTABLE in (attributes.uid, attributes.gid):
            self._say("its owner can't be kept: there is no such number")
            return False
        try:
            os.chown(where, attributes.uid, attributes.gid)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOTSUP):
                raise
            self._say(f"its owner can't be kept: {(error.strerror or '').lower()}")
            return False
        return True

    def _set_xattr(self, where: int | str, name: bytes, value: bytes, owned: bool) -> None:
        shown = printable(name)
        if name.startswith(_OVERLAY):
            # They would steer a mount that has the target as a lower layer.
            self._say(f"{shown} is left out: overlayfs would obey it")
            return
        if name.startswith(b"security.") and (name != _CAPABILITY or not owned):
            why = "such labels are the machine's own"
            if name == _CAPABILITY:
                why = "its owner can't be kept" if self._root else "only root may set it"
            self._say(f"{shown} is left out: {why}")
            return
        try:
            os.setxattr(where, name, value)
        except (OSError, ValueError) as error:
            why = (error.strerror or "").lower() if isinstance(error, OSError) else "no such name"
            self._say(f"{shown} can't be kept: {why}")
