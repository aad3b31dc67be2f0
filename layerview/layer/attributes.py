"""Owner, mode, extended attributes and time of an entry, given to what was made of it on disk.

Order: owner first, for it clears setuid bits and capabilities (chown(2)); then extended
attributes, the mode, and the time last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from layerview.layer.index import LayerIndex
from layerview.layer.kinds import Kind
from layerview.layer.override import OVERRIDE
from layerview.text import printable

_UNSETTABLE = 0xFFFFFFFF
"""As an owner, chown(2) takes it for "leave it as it is"."""
_SET_IDS = 0o6000
_CAPABILITY = b"security.capability"
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_FUSE_OVERLAY = (b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs.")
_READABLE: dict[int, int] = {Kind.FILE: 0o400, Kind.DIR: 0o700, Kind.IMPLIED_DIR: 0o700}
"""What the caller needs to work with what is their own."""


class Owners(Protocol):
    """How recorded owners become owners on disk."""

    def ids(self, uid: int, gid: int) -> tuple[int, int] | None:
        """Return the ids on disk; None when there are none for these."""


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

    def __init__(
        self,
        say: Callable[[str], object],
        *,
        squash: bool = False,
        owners: Owners | None = None,
    ) -> None:
        """Prepare.

        Args:
            say: told what could not be kept of an entry, and why.
            squash: note owner and mode in OVERRIDE where the owner can't be kept, and let the
                caller read what is made.
            owners: what to make of owners; None: as they are, for root.
        """
        self._say = say
        self._squash = squash
        self._owners = owners
        self._root = os.geteuid() == 0

    @property
    def keeps_owners(self) -> bool:
        """Whether owners are kept as they are."""
        return self._root and self._owners is None

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
        if attributes.xattrs:
            for name, value in attributes.xattrs.items():
                self._set_xattr(where, name, value, owned)
        if self._squash and not owned:
            self._note_owner(where, kind, attributes)
        if kind != Kind.SYMLINK:
            mode = attributes.mode
            if mode & _SET_IDS and not owned:
                mode &= ~_SET_IDS
                if not self._squash:
                    self._say("setuid and setgid are dropped, for its owner can't be kept")
            if self._squash and not owned:
                mode |= _READABLE.get(kind, 0)
            os.chmod(where, mode)
        if attributes.mtime is not None:
            try:
                os.utime(where, ns=(attributes.mtime, attributes.mtime))
            except (OverflowError, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EINVAL:
                    raise
                self._say("its time can't be kept")

    def _own(self, where: int | str, attributes: Attributes) -> bool:
        uid, gid = attributes.uid, attributes.gid
        if self._owners is not None:
            found = self._owners.ids(uid, gid)
            if found is None:
                return False
            uid, gid = found
        elif not self._root:
            return False
        if _UNSETTABLE in (uid, gid):
            self._say("its owner can't be kept: there is no such number")
            return False
        try:
            os.chown(where, uid, gid)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOTSUP):
                raise
            self._say(f"its owner can't be kept: {(error.strerror or '').lower()}")
            return False
        return True

    def _note_owner(self, where: int | str, kind: int, attributes: Attributes) -> None:
        owner = b"%d:%d" % (attributes.uid, attributes.gid)
        try:
            os.setxattr(where, OVERRIDE, b"%s:0%o" % (owner, attributes.mode))
        except OSError as error:
            # Only files and folders can have attributes of this kind.
            if error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise
            if kind == Kind.SYMLINK and attributes.uid == attributes.gid == 0:
                # What symbolic links have where nothing else is said.
                return
            self._say(f"its owner {owner.decode()} can't be kept, nor noted")

    def _set_xattr(self, where: int | str, name: bytes, value: bytes, owned: bool) -> None:
        shown = printable(name)
        if name.startswith(_OVERLAY):
            # They would steer a mount that has the target as a lower layer.
            self._say(f"{shown} is left out: overlayfs would obey it")
            return
        if name == OVERRIDE or name.startswith(_FUSE_OVERLAY):
            self._say(f"{shown} is left out: fuse-overlayfs would obey it")
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
